"""Nested tuples of arrays, which states and batches are; None is no array."""

from __future__ import annotations

from collections.abc import Iterator
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


def shapes(tree: Any) -> tuple[Any, ...]:
    """The shape and dtype of each array: what a program is made for."""
    return tuple((leaf.shape, leaf.dtype) for leaf in leaves(tree))
