"""Iterables of batches, gone through once an epoch, the next batch prepared while a step runs on this one."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sized
from functools import cached_property
from itertools import islice
from typing import Any

from ..._backend import library_of
from ..._base.errors import ConfigurationError, DataError
from ._attributes import attributes_of


class Batches:
    """An iterable of batches, or a function that makes one; each ``start`` goes through them anew.

    Raises ConfigurationError for what is none, or can be gone through only once.
    """

    def __init__(self, given: Iterable[Any] | Callable[[], Iterable[Any]]) -> None:
        if not isinstance(given, list | tuple) and not are_batches(given):
            raise ConfigurationError(
                f"y is missing, one target for each example; without it X must be an iterable of batches (X, y), or a "
                f"function that makes one, got a {type(given).__name__}."
            )
        self._given = given
        self._begun: Any = None  # what ran out, or will: it must not come again
        if hasattr(type(given), "__next__"):
            raise self._only_once(given)

    @property
    def length(self) -> int | None:
        """How many batches there are, where that is known."""
        try:
            return len(self._given) if isinstance(self._given, Sized) else None
        except TypeError:  # of a loader whose data has no length
            return None

    def start(self, done: int = 0) -> Iterator[Any]:
        """The batches after the first ``done``. A generator that was made for it is closed with it."""
        made = self._given() if callable(self._given) else self._given
        if not hasattr(made, "__iter__"):
            raise ConfigurationError(f"the function must make an iterable of batches, got a {type(made).__name__}.")
        if hasattr(made, "__next__"):
            if made is self._begun:
                raise self._only_once(made)
            self._begun = made
        try:
            yield from islice(made, done, None)
        finally:
            if isinstance(made, Generator):  # which ``_begun`` would keep open, and another thread close
                made.close()

    def _only_once(self, given: Any) -> ConfigurationError:
        return ConfigurationError(
            f"a {type(given).__name__} can be gone through only once, and each epoch goes through the batches: "
            "give a function that makes a new one each time, or an object with __iter__."
        )

    @cached_property
    def first(self) -> Any:
        """The first batch."""
        for batch in self.start():
            return batch
        raise DataError("there is no batch: expected an iterable of batches (X, y).")


def are_batches(X: Any) -> bool:
    """Whether X is an iterable of batches to predict, or a function that makes one."""
    array = ("shape", "__array__", "__array_interface__", "__dataframe__", "iloc", "tocsr", "__getitem__")
    if library_of(X) is not None:
        return False
    return callable(X) or attributes_of(X, ("__iter__", *array)) == {"__iter__"}
