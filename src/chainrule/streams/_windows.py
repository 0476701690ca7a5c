"""Rows in an epoch's order, a window of the file at a time, and orders that suit this."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np

from .._backend import dtype_name
from .._errors import DataError, DTypeError

WINDOW_BYTES = 2**26


def rows_in_window(X: Any, batch_size: int) -> int:
    """How many rows are read at a time: 64 MB of float64, in whole batches."""
    each = 8 * int(np.prod(X.shape[1:]))
    return max(1, WINDOW_BYTES // (each * batch_size)) * batch_size


def shuffled_in_windows(
    generator: np.random.Generator, rows: int, window: int, batch_size: int, starts: Sequence[int] | None = None
) -> np.ndarray:
    """A permutation of the rows whose every window is made of runs of neighbours, drawn from all over the file.

    A run is an eighth of a window, in whole batches, or what lies between two of the ``starts``; runs come in random
    order, where they are equal with the last, shorter one last; the rows of a window are shuffled among themselves.
    Read in this order a file is read in long pieces. Rows that make one window are shuffled as rows in memory are.
    """
    if rows <= window:
        return generator.permutation(rows)
    if starts is None:
        run = max(1, window // (8 * batch_size)) * batch_size
        whole = rows // run
        edges = np.append(np.arange(whole + 1) * run, rows)
        turns = np.append(generator.permutation(whole), whole)
    else:
        edges = np.append(np.asarray(starts), rows)
        turns = generator.permutation(len(starts))
    order = np.concatenate([np.arange(edges[i], edges[i + 1], dtype=np.int64) for i in turns])
    for first in range(0, rows, window):
        generator.shuffle(order[first : first + window])
    return order


class Windows:
    """The rows of X in an epoch's order, a window at a time, the next one read ahead by a thread.

    Raises DTypeError for what NumPy would make numbers of in its own way: complex ones, dates, text, records.
    """

    def __init__(self, X: Any, window: int, dtype: str) -> None:
        if not dtype_name(getattr(X, "dtype", "float64")).startswith(("bool", "int", "uint", "float", "bfloat")):
            raise DTypeError(f"X must hold real numbers, got dtype {X.dtype}: write its numbers to another file.")
        self._X, self._window, self._dtype = X, window, dtype
        self._reader: ThreadPoolExecutor | None = None
        self._here: tuple[int, np.ndarray] | None = None
        self._ahead: tuple[int, Future[np.ndarray]] | None = None

    def begin(self, order: np.ndarray) -> None:
        """Take the rows in this order from now on."""
        self._order, self._here, self._ahead = order, None, None

    def take(self, first: int, rows: int) -> np.ndarray:
        """The ``rows`` of the order from its ``first`` one on."""
        parts = []
        while rows > 0:
            number, offset = divmod(first, self._window)
            part = self._get(number)[offset : offset + rows]
            parts.append(part)
            first, rows = first + len(part), rows - len(part)
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def close(self) -> None:
        """End the thread."""
        if self._reader is not None:
            self._reader.shutdown(cancel_futures=True)
            self._reader = None

    def _get(self, number: int) -> np.ndarray:
        if self._here is not None and self._here[0] == number:
            return self._here[1]
        ahead, self._ahead = self._ahead, None
        rows = ahead[1].result() if ahead is not None and ahead[0] == number else self._read(number)
        self._here = number, rows
        if (number + 1) * self._window < len(self._order):
            if self._reader is None:
                self._reader = ThreadPoolExecutor(1, thread_name_prefix="chainrule-rows")
            self._ahead = number + 1, self._reader.submit(self._read, number + 1)
        return rows

    def _read(self, number: int) -> np.ndarray:
        """A window's rows, read run by run and put in their order. Raises DataError for NaN, infinity, or too large."""
        wanted = self._order[number * self._window : (number + 1) * self._window]
        by_place = np.argsort(wanted, kind="stable")
        ordered = wanted[by_place]
        gathered = np.empty((len(wanted), *self._X.shape[1:]), self._dtype)
        with np.errstate(over="ignore", invalid="ignore"):
            for start, stop in _runs(ordered):
                gathered[by_place[start:stop]] = self._X[int(ordered[start]) : int(ordered[stop - 1]) + 1]
            if np.isfinite(gathered.sum()):  # a sum that is finite has finite terms
                return gathered
        bad = np.sort(wanted[~np.isfinite(gathered).all(axis=1)])
        if len(bad):
            listed = ", ".join(map(str, bad[:5])) + (", ..." if len(bad) > 5 else "")
            raise DataError(
                f"X holds NaN, infinity or numbers too large for {self._dtype} in rows {listed}: drop or scale them."
            )
        return gathered


def _runs(ordered: np.ndarray) -> Iterator[tuple[int, int]]:
    """The stretches of neighbours in sorted row numbers."""
    breaks = np.flatnonzero(np.diff(ordered) != 1) + 1
    yield from zip([0, *breaks], [*breaks, len(ordered)], strict=True)
