"""Nested tuples of arrays, which states and batches are; None is no array."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any


def leaves(tree: Any) -> Iterator[Any]:
    """The arrays of nested tuples."""
    if isinstance(tree, tuple):
        for part in tree:
            yield from leaves(part)
    elif tree is not None:
        yield tree


def rebuild(tree: Any, arrays: Iterator[Any]) -> Any:
    """Nested tuples like ``tree``, of other arrays."""
    if isinstance(tree, tuple):
        parts = [rebuild(part, arrays) for part in tree]
        return type(tree)(*parts) if hasattr(tree, "_fields") else tuple(parts)
    return None if tree is None else next(arrays)


def overwrite(own: Any, given: Any, *, is_apart: Callable[[Any], bool] = lambda _: True) -> None:
    """Write the arrays of ``given`` into those of ``own``, some of which it may hold elsewhere.

    What is not ``is_apart`` may be a view of one of them.
    """
    own_arrays = set(map(id, leaves(own)))
    changed = [pair for pair in zip(leaves(own), leaves(given), strict=True) if pair[0] is not pair[1]]
    # All are read before one is overwritten.
    read = [new if is_apart(new) and id(new) not in own_arrays else new.copy() for _, new in changed]
    for (mine, _), new in zip(changed, read, strict=True):
        mine[...] = new


def shapes(tree: Any) -> tuple[Any, ...]:
    """The shape and dtype of each array: what a program is made for."""
    return tuple((leaf.shape, leaf.dtype) for leaf in leaves(tree))
