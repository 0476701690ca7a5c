"""A trained network and the user's data: X as it comes, predictions as they go back, and how good they are."""

from __future__ import annotations

import threading
import traceback
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, NoReturn

import numpy as np

from .._backend import Backend, dtype_name, follower, library_of, returned, to_host
from .._backend._library import Library
from .._base.errors import DataError, DeviceMemoryError, readable_size
from .._base.typing import Array
from .._data.checks import check_finite, check_inputs, check_matrix, prepare
from .._data.streams import are_batches, check_map, in_windows, read_once, rows_in_window
from ..links import Link, LinkFinish, find_link
from ..losses import LossFunction
from ..metrics import HostMetric
from ..network import Sequential
from .evaluation import evaluate
from .prediction import ForwardPass, bytes_a_row
from .schema import Schema


@dataclass(frozen=True, eq=False)
class Predictor:
    """A trained network, where it runs, and the schema of its data; each thread has passes of its own."""

    network: Sequential  # up to the pre-activations
    theta: Array
    buffers: Array
    loss: LossFunction
    backend: Backend
    schema: Schema
    flat: bool

    def predict(self, finish: LinkFinish, X: Any) -> Any:
        """``finish(link, backend, z)`` of the last pre-activations z of X, in the library of X.

        Rows that are not in memory are asked a window at a time.
        """
        if type(X) is np.ndarray and self.schema.preprocessing is None:  # what is asked for in a loop
            check_map(X)
            return self._predict_numbers(finish, X, X)
        if are_batches(X):
            return self._predict_batches(finish, X() if callable(X) else X)
        owner = follower(X)
        if owner is not None:
            return self._predict_traced(owner, finish, X)
        rows = self.schema.open_rows(X)
        if rows is None:
            return self._predict_numbers(finish, self.schema.encode(X), X)
        return self._predict_windows(finish, rows)

    def evaluate(self, X: Any, y: Any, sample_weight: Any, metrics: dict[str, HostMetric | None]) -> dict[str, float]:
        """``loss`` and metrics by name."""
        backend, schema = self.backend, self.schema
        X = read_once(schema.inputs(X))
        y, sample_weight = schema.targets(y), schema.weights(sample_weight)
        n_in, n_out, loss = self.network.n_in, self.network.n_out, self.loss
        try:
            with backend.active(), np.errstate(all="ignore"):  # r2 of a constant target divides by 0, and says so
                batch = prepare(backend, X, y, sample_weight, n_in=n_in, n_out=n_out, loss=loss, training=False)
                arrays = evaluate(backend, self._forward(), loss, batch, metrics, schema)
                values = backend.to_numpy(backend.xp.concat(list(arrays.values())))
        except MemoryError as error:
            self._ran_out(error, X)
        return {name: float(value) for name, value in zip(arrays, values, strict=True)}

    def _predict_numbers(self, finish: LinkFinish, x: Any, X: Any) -> Any:
        """The predictions for the network's inputs x, in memory, in the library of X."""
        forward = self._forward(finish) if self.backend.library.RECORDS else None  # else only on its device
        if forward is not None and forward.watches:
            numbers = check_matrix(x, self.network.n_in)
            predictions = forward(self.backend.asarray(numbers))
            if forward.came_upon_infinite():
                check_finite(self.backend, numbers, "X", x)
                self._check_decided(finish, predictions, x)
            return self._shaped(predictions) if type(X) is np.ndarray else self._as_given(predictions, X)
        host = self._left_on_host(x)
        if host is not None:
            return np.concatenate([self._predict_numbers(finish, part, part) for part in in_windows(host)])
        try:
            with self.backend.active(), np.errstate(all="ignore"):  # NumPy alone would warn of an overflow
                predictions = self._forward(finish)(check_inputs(self.backend, x, self.network.n_in))
                self._check_decided(finish, predictions, x)
                return self._as_given(predictions, X)
        except MemoryError as error:
            self._ran_out(error, x)

    def _check_decided(self, finish: LinkFinish, predictions: Array, x: Any) -> None:
        if finish is Link.decide and find_link(self.loss).predicts_classes:
            check_decided(self.backend, predictions, x)

    def _predict_windows(self, finish: LinkFinish, rows: Any) -> np.ndarray:
        """The same of rows that are not in memory."""
        predictions, first = [], 0
        for window in in_windows(rows):
            try:
                x = self.schema.window(rows, window)
                predictions.append(self._predict_numbers(finish, x, x))
            except DataError as error:
                if first == 0:
                    raise
                raise DataError(f"counted from row {first:,}: {error}") from error
            first += len(window)
        return np.concatenate(predictions)

    def _predict_batches(self, finish: LinkFinish, batches: Any) -> Any:
        """The predictions for batches of rows, one below the other, as for the first one. Of ``(X, y)`` X is taken."""
        if not hasattr(batches, "__iter__"):
            raise DataError(f"expected X or an iterable of batches, got a {type(batches).__name__}.")
        first, predictions = None, []
        for batch in batches:
            prediction = self.predict(finish, batch[0] if isinstance(batch, tuple | list) else batch)
            first = prediction if first is None else first
            predictions.append(to_host(prediction))  # now: the next batch may be made in the memory of this one
        if first is None:
            raise DataError("there is no batch: expected an iterable of batches of rows.")
        owner, whole = library_of(first), np.concatenate(predictions)
        return whole if owner is None else owner.from_numpy(whole, owner.device_of(first))

    def _predict_traced(self, owner: Library, finish: LinkFinish, X: Any) -> Any:
        """The predictions as a function of X that jax.jit, jax.grad, torch.func.grad and the like can follow."""
        backend = self.backend
        if owner is not backend.library:
            raise DataError(
                f"{owner.NAME} follows what is done with X, to differentiate or to compile it, which a model on "
                f"{backend.name} does not allow: ask model.to({owner.NAME!r})."
            )
        if self.schema.preprocessing is not None:
            raise DataError(
                f"{owner.NAME} cannot follow how a table is encoded: ask model.without_preprocessing(), which takes "
                "what the network is given."
            )
        with backend.active():
            x = backend.xp.astype(check_matrix(X, self.network.n_in), backend.dtype)
            z = self.network.apply(backend, self.theta, self.buffers, x)
            return self._shaped(finish(find_link(self.loss), backend, z))

    def _left_on_host(self, X: Any) -> np.ndarray | None:
        """X, where the device has no room for it and for its predictions; it is then asked a window at a time."""
        memory = self.backend.memory
        size = 0 if memory is None else self.backend.bytes_to_move(X)
        if memory is None or size == 0 or len(X) <= rows_in_window(X, 1) or 2 * size <= memory.free():
            return None
        return to_host(X)

    def _ran_out(self, error: MemoryError, X: Any) -> NoReturn:
        """Raise DeviceMemoryError for an error of the device, the host's own as it is."""
        memory = self.backend.memory
        if memory is None:
            raise error
        traceback.clear_frames(error.__traceback__)  # they hold the arrays that filled the memory
        each, free = bytes_a_row(self.backend, self.network), memory.free()
        raise DeviceMemoryError(
            f"{self.backend.device_name} ran out of memory: {len(X):,} rows take up to about "
            f"{readable_size(each * len(X))}, and {readable_size(free)} are free: ask for at most about "
            f"{max(1, free // each):,} rows at a time."
        ) from error

    def _forward(self, finish: LinkFinish | None = None) -> ForwardPass:
        """The pass that ends in ``finish``: one for each thread, since what it keeps must not be shared."""
        passes: dict[LinkFinish | None, ForwardPass] = vars(self._of_thread).setdefault("passes", {})
        if finish not in passes:
            self._check_finite()
            last = None if finish is None else partial(finish, find_link(self.loss))
            passes[finish] = ForwardPass(self.backend, self.network, last, watch=last is not None).load(
                self.theta, self.buffers
            )
        return passes[finish]

    @cached_property
    def _of_thread(self) -> threading.local:
        return threading.local()

    def _check_finite(self) -> None:
        """Raise DataError for weights that are NaN or infinite: all predictions would be, and the classes the first."""
        for name, numbers in (("theta", self.theta), ("buffers", self.buffers)):
            finite = np.isfinite(self.backend.to_numpy(numbers))
            if not finite.all():
                raise DataError(
                    f"this model cannot predict: {np.sum(~finite):,} of the {finite.size:,} numbers of its {name} are "
                    "NaN or infinite. Train it anew, or load another file of its training, as best.safetensors."
                )

    def _as_given(self, predictions: Array, X: Any) -> Any:
        """``predictions`` in the shape of the targets, in the library and on the device of X."""
        return returned(self.backend, self._shaped(predictions), X)

    def _shaped(self, predictions: Array) -> Array:
        one = self.flat and predictions.ndim == 2 and predictions.shape[-1] == 1
        return self.backend.xp.reshape(predictions, (-1,)) if one else predictions


def check_decided(backend: Backend, predictions: Array, X: Any) -> None:
    """Raise DataError where ``predictions``, classes by number, have none for some rows: the outputs overflowed."""
    lowest = (
        np.minimum.reduce(predictions, None)
        if isinstance(predictions, np.ndarray)
        else backend.to_numpy(backend.xp.min(predictions))
    )
    if lowest >= 0:
        return
    host, rows = to_host(predictions), X if hasattr(X, "toarray") else to_host(X)
    lost = np.flatnonzero(~(host >= 0).reshape(len(host), -1).all(axis=1))
    raise DataError(
        f"the network's outputs are not finite in {dtype_name(backend.dtype)} for {len(lost)} of {len(host)} rows "
        f"({', '.join(map(str, lost[:5]))}{', ...' if len(lost) > 5 else ''}), so these have no class: they reach "
        f"{abs(rows[lost]).max():.3g}, give X as it was scaled for training."
    )
