"""A batch of examples, and how a step takes its own from all of them."""

from __future__ import annotations

from typing import NamedTuple

from ._backend import Backend
from ._base.typing import Array


class Batch(NamedTuple):
    """Examples ``(B, n_in)``, targets ``(B, 1)`` or ``(B, n)``, and their weights ``(B, 1)`` or None for all 1."""

    x: Array
    y: Array
    weight: Array | None = None


def gather(backend: Backend, data: Batch, order: Array, cursor: Array, window: Array) -> Batch:
    """The examples ``order[cursor + window]``: order ``(N,)`` numbers the rows, window ``(B,)`` is 0 to B - 1.

    The cursor is an array, so one program serves all batches of a size.

    Faster bodies take its place on NumPy, Numba, CuPy, torch: ``chainrule where gather``.
    """
    xp = backend.xp
    index = xp.take(order, cursor + window, axis=0)
    weight = None if data.weight is None else xp.take(data.weight, index, axis=0)
    return Batch(xp.take(data.x, index, axis=0), xp.take(data.y, index, axis=0), weight)


def make_window(backend: Backend, rows: int) -> Array:
    """0 to rows - 1, int32."""
    return backend.xp.arange(rows, dtype=backend.xp.int32, device=backend.device)


Counters = tuple[Array, Array, Array, Array]


def advance(backend: Backend, counters: Counters, value: Array, rows: int, batch_weight: Array | None) -> Counters:
    """The counters after a step on a batch: its cost, its rows, the sum of its weights ``(1,)`` or None for all 1.

    They are the number of steps ``(1,)``, the first row of the next batch ``(1,)``, and the epoch's sums so far: of
    cost times weight ``(..., 1)``, and of the weights ``(1,)``. Donates the counters.

    Faster bodies take its place on NumPy, Numba, CuPy, torch: ``chainrule where advance``.
    """
    xp = backend.xp
    step, cursor, cost, weight = counters
    batch_weight = xp.full_like(weight, rows) if batch_weight is None else batch_weight
    step += 1
    cursor += rows
    cost += xp.reshape(value, (*value.shape, 1)) * batch_weight
    weight += batch_weight
    return step, cursor, cost, weight
