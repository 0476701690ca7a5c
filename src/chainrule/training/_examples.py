"""What a training run goes through: data that is given as a whole, or batch by batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from .._backend import Backend, dtype_name, reference_backend
from .._base.errors import DataError, warn
from .._base.options import whole_number
from .._data.checks import is_flat, prepare, prepare_streamed
from .._data.labels import names_of
from .._data.streams import Batches, Windows, read_once, rows_in_window, shuffled_in_windows
from .._model.schema import Schema
from .._random import host_generator
from ..batch import Batch
from ..losses import LossFunction
from ..network import Sequential
from ._feed import DeviceFeed, Feed, HostFeed, IterableFeed
from ._staging import HostRows, carrier, rows_on_host
from ._step import move_state

DEFAULT_BATCH = 128


class Examples(NamedTuple):
    """The examples of a training run: all of them in ``data``, or None where they come batch by batch."""

    data: Batch | None  # what identifies a resumed training; batches may come in another order each time
    batch_size: int
    flat: bool  # whether y is one number a row
    feed: Feed
    order: Callable[[int], np.ndarray]  # of the rows in an epoch


def whole(
    backend: Backend,
    X: Any,
    y: Any,
    sample_weight: Any,
    network: Sequential,
    loss: LossFunction,
    batch_size: int | None,
    seed: int | None,
    *,
    in_memory: bool,
) -> Examples:
    """X, y and weights on the backend, in a new order each epoch; without a seed in their own.

    An X that is not in memory stays where it is, and one that has no room on the device stays on the host.
    """
    roomy = backend.memory is None or not in_memory
    on_host = None if roomy else rows_on_host(backend, network, X, batch_size or DEFAULT_BATCH)
    on_device, X = in_memory and on_host is None, X if on_host is None else on_host
    check = prepare if on_device else prepare_streamed
    data = check(backend, X, y, sample_weight, n_in=network.n_in, n_out=network.n_out, loss=loss)
    rows = int(data.x.shape[0])
    sizes, window = batch_sizes(rows, batch_size, network), rows
    if on_device:
        feed: Feed = DeviceFeed(backend, data, sizes)
    elif in_memory:
        feed = HostFeed(backend, data, sizes, HostRows(X), carrier(backend))
    else:
        window = rows_in_window(X, sizes[0])
        feed = HostFeed(backend, data, sizes, Windows(X, window, dtype_name(backend.dtype)), backend.asarray)
    starts = getattr(data.x, "starts", None)  # where a file's own blocks start, which are read as a whole

    def order(epoch: int) -> np.ndarray:
        """Drawn on the host and keyed by the seed and the epoch: the same on every backend."""
        if seed is None:
            return np.arange(rows)
        return shuffled_in_windows(host_generator(seed, "order", epoch), rows, window, sizes[0], starts)

    return Examples(data, sizes[0], is_flat(y), feed, order)


def in_batches(backend: Backend, batches: Batches, network: Sequential, loss: LossFunction, schema: Schema) -> Examples:
    """Batches as they come: a step each."""
    first = batches.first
    nameless = schema == Schema() and not (isinstance(first, tuple | list) and first and names_of(first[0]))
    host, own = reference_backend("numpy", dtype=dtype_name(backend.dtype)), backend.copying()

    def to_batch(number: int, batch: Any) -> Batch:
        X, y, weight = parts_of(batch, f"batch {number}", DataError)
        n_in, n_out, what = network.n_in, network.n_out, f"X of batch {number}"
        if nameless and names_of(X):
            raise DataError(f"{what} has column names, and batch 1 had none: give all batches as frames, or as arrays.")
        X, y, weight = read_once(schema.inputs(X, what=what), what), schema.targets(y), schema.weights(weight)
        # What comes from the host is checked there: on a device with a memory of its own each check would wait for it.
        checked_on = own if backend.memory is None or backend.library.owns(X) else host
        with backend.active():  # in the thread that reads ahead it is not yet
            made = prepare(checked_on, X, y, weight, n_in=n_in, n_out=n_out, loss=loss, what=what, training=False)
            if made.x.shape[0] < network.least_rows:
                raise DataError(
                    f"batch {number} has one row, on which batch normalisation cannot train: leave it out, as torch's "
                    "DataLoader(..., drop_last=True) does, or put it into the batch before."
                )
            if isinstance(made.x, np.ndarray):  # as rows that are gathered lie: a product's last bits depend on it
                made = made._replace(x=np.ascontiguousarray(made.x))
            return made if checked_on is own else move_state(backend, made)

    rows = to_batch(1, first).x.shape[0]
    feed = IterableFeed(backend, start=batches.start, to_batch=to_batch, steps=batches.length)
    return Examples(None, rows, is_flat(first[1]), feed, lambda epoch: np.empty(0, int))


def parts_of(given: Any, what: str, error: type[Exception]) -> tuple[Any, Any, Any]:
    """X, y and their weights, or None for these."""
    if not isinstance(given, tuple | list) or len(given) not in (2, 3):
        shown = " ".join(repr(given).split())[:60]
        raise error(f"{what} must be (X, y) or (X, y, sample_weight), got {shown}.")
    X, y, weight = (*given, None)[:3]
    return X, y, weight


def batch_sizes(rows: int, batch_size: int | None, network: Sequential) -> list[int]:
    """How many rows each step of an epoch takes."""
    if batch_size is None:
        batch_size = min(DEFAULT_BATCH, rows)
    batch_size = whole_number("batch_size", batch_size, least=1)
    if batch_size > rows:
        warn(
            f"batch_size {batch_size} is more than the {rows} rows there are: each step takes all of them.", UserWarning
        )
        batch_size = rows
    plan = [batch_size] * (rows // batch_size)
    rest = rows % batch_size
    if 0 < rest < network.least_rows and plan:
        plan[-1] += rest  # batch normalisation cannot train on one row
    elif rest:
        plan.append(rest)
    return plan
