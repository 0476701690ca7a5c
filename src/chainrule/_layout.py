"""All trained parameters are ONE flat vector, ``theta``; a Layout says which piece is which.

``split`` cuts ``theta`` of shape ``(..., p)`` into arrays ``(..., rows, columns)``: views on NumPy, CuPy and torch,
slices on JAX, read-only by contract on all. ``join`` is its inverse. Buffers (what is not trained: running statistics)
are a second flat vector with a Layout of its own. A leading axis is a stack of networks and passes through.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ._backend import Backend
from ._base.typing import Array, Shape

Pieces = tuple[Array, ...]


@dataclass(frozen=True, slots=True)
class Slot:
    """One piece of the flat vector: ``flat[..., start:stop]`` reshaped to ``shape``."""

    start: int
    stop: int
    shape: Shape


@dataclass(frozen=True, slots=True)
class Layout:
    """The pieces of a flat vector, grouped by layer."""

    groups: tuple[tuple[Slot, ...], ...]
    size: int

    @staticmethod
    def of(shapes: Iterable[Sequence[Shape]]) -> Layout:
        """The layout of layers whose pieces have these shapes, one after the other without gaps."""
        groups, start = [], 0
        for layer in shapes:
            slots = []
            for shape in layer:
                stop = start + math.prod(shape)
                slots.append(Slot(start, stop, tuple(shape)))
                start = stop
            groups.append(tuple(slots))
        return Layout(tuple(groups), start)

    def split(self, backend: Backend, flat: Array) -> tuple[Pieces, ...]:
        """The pieces of ``flat``, a tuple for each layer."""
        return backend.run(split, self.groups, flat)


def split(backend: Backend, groups: tuple[tuple[Slot, ...], ...], flat: Array) -> tuple[Pieces, ...]:
    """The pieces ``(..., rows, columns)`` of a flat vector ``(..., p)``, a tuple for each layer.

    Faster bodies take its place on torch: ``chainrule where split``.
    """
    xp, lead = backend.xp, flat.shape[:-1]
    return tuple(
        tuple(xp.reshape(flat[..., slot.start : slot.stop], lead + slot.shape) for slot in group) for group in groups
    )


def join(backend: Backend, groups: Iterable[Pieces]) -> Array:
    """The flat vector ``(..., p)`` of pieces ``(..., rows, columns)``; at least one piece.

    Faster bodies take its place on CuPy: ``chainrule where join``.
    """
    xp = backend.xp
    return xp.concat([xp.reshape(piece, (*piece.shape[:-2], -1)) for group in groups for piece in group], axis=-1)
