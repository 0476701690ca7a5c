"""Iterables of batches, gone through once an epoch, the next batch prepared while a step runs on this one."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sized
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from itertools import islice
from typing import Any, TypeVar

from .._backend import library_of
from .._errors import ConfigurationError, DataError

Prepared = TypeVar("Prepared")
_END = object()


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
        """The batches after the first ``done``."""
        made = self._given() if callable(self._given) else self._given
        if not hasattr(made, "__iter__"):
            raise ConfigurationError(f"the function must make an iterable of batches, got a {type(made).__name__}.")
        if hasattr(made, "__next__"):
            if made is self._begun:
                raise self._only_once(made)
            self._begun = made
        return islice(made, done, None)

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
    return library_of(X) is None and (
        callable(X) or (hasattr(X, "__iter__") and not any(hasattr(X, name) for name in array))
    )


def read_ahead(batches: Iterator[Any], prepare: Callable[[Any], Prepared]) -> Generator[Prepared]:
    """``prepare`` of each batch, the next one fetched and prepared by a thread meanwhile."""
    with ThreadPoolExecutor(1, thread_name_prefix="chainrule-batches") as thread:

        def fetch() -> Any:
            batch = next(batches, _END)
            return batch if batch is _END else prepare(batch)

        ahead = thread.submit(fetch)
        while (batch := ahead.result()) is not _END:
            ahead = thread.submit(fetch)
            yield batch
