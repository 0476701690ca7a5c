"""Nested tuples of arrays, which states and batches are; None is no array."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from operator import methodcaller
from typing import Any


def leaves(tree: Any) -> Iterator[Any]:
    """The arrays of nested tuples."""
    if isinstance(tree, tuple):
        for part in tree:
            yield from leaves(part)
    elif tree is not None:
        yield tree


def tree_map(function: Callable[[Any], Any], tree: Any) -> Any:
    """Nested tuples like ``tree``, of what ``function`` makes of each array."""
    if isinstance(tree, tuple):
        parts = [tree_map(function, part) for part in tree]
        return type(tree)(*parts) if hasattr(tree, "_fields") else tuple(parts)
    return None if tree is None else function(tree)


def rebuild(tree: Any, arrays: Iterator[Any]) -> Any:
    """Nested tuples like ``tree``, of other arrays."""
    return tree_map(lambda _: next(arrays), tree)


def overwrite(
    own: Any,
    given: Any,
    *,
    is_apart: Callable[[Any], bool] = lambda _: True,
    copy: Callable[[Any], Any] = methodcaller("copy"),
) -> None:
    """Write the arrays of ``given`` into those of ``own``, some of which it may hold elsewhere.

    What is not ``is_apart`` may be a view of one of them.
    """
    own_arrays = list(leaves(own))
    changed = [(old, new) for old, new in zip(own_arrays, leaves(given), strict=True) if old is not new]
    addresses = set(map(id, own_arrays))
    # All are read before one is overwritten.
    read = [new if is_apart(new) and id(new) not in addresses else copy(new) for _, new in changed]
    for (mine, _), new in zip(changed, read, strict=True):
        mine[...] = new


def shapes(tree: Any) -> tuple[Any, ...]:
    """The shape and dtype of each array: what a program is made for."""
    return tuple((leaf.shape, leaf.dtype) for leaf in leaves(tree))
