"""Rows in an epoch's order, a window of the file at a time, and orders that suit this."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any, NoReturn

import numpy as np

from ..._backend import dtype_name, to_host
from ..._base.errors import ChainruleError, DataError, DTypeError
from ._ahead import ReadAhead

WINDOW_BYTES = 2**26


def rows_in_window(X: Any, batch_size: int) -> int:
    """How many rows are read at a time: 64 MB of float64, in whole batches."""
    each = 8 * max(1, int(np.prod(X.shape[1:])))
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
        _require_numbers(getattr(X, "dtype", "float64"))
        self._X, self._window, self._dtype = X, window, dtype
        self._ahead = ReadAhead[np.ndarray]("X")
        self._here: tuple[int, np.ndarray] | None = None
        self._coming: Generator[np.ndarray] | None = None
        self._next = 0  # the number of the window that comes

    def begin(self, order: np.ndarray, stop: Callable[[], bool] = lambda: False) -> None:
        """Take the rows in this order from now on; where ``stop`` becomes true, none that must be waited for."""
        self.close()
        self._order, self._stop, self._here = order, stop, None

    def take(self, first: int, rows: int) -> np.ndarray | None:
        """The ``rows`` of the order from its ``first`` one on; None when ``stop`` becomes true before they are there.

        Raises DataError where X fails to give its rows, its error chained.
        """
        parts = []
        while rows > 0:
            number, offset = divmod(first, self._window)
            window = self._get(number)
            if window is None:
                return None
            parts.append(window[offset : offset + rows])
            first, rows = first + len(parts[-1]), rows - len(parts[-1])
            del window
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def close(self) -> None:
        """End the thread."""
        if self._coming is not None:
            self._coming.close()
            self._coming = None

    def _get(self, number: int) -> np.ndarray | None:
        if self._here is None or self._here[0] != number:
            self._here = None  # first, or there were three windows at a time
            if self._coming is None or self._next != number:
                self.close()
                order, count = self._order, -(-len(self._order) // self._window)
                numbers = range(number, count)
                self._coming = self._ahead.through(lambda: (self._read(order, n) for n in numbers), self._stop)
            window = next(self._coming, None)
            if window is None:
                return None
            self._here, self._next = (number, window), number + 1
        return self._here[1]

    def _read(self, order: np.ndarray, number: int) -> np.ndarray:
        """A window's rows, read run by run and put in their order. Raises DataError for NaN, infinity, or too large."""
        wanted = order[number * self._window : (number + 1) * self._window]
        by_place = np.argsort(wanted, kind="stable")
        ordered = wanted[by_place]
        gathered = np.empty((len(wanted), *self._X.shape[1:]), self._dtype)
        with np.errstate(over="ignore", invalid="ignore"):
            for start, stop in _runs(ordered):
                rows = slice_of(self._X, int(ordered[start]), int(ordered[stop - 1]) + 1)
                _require_numbers(rows.dtype)
                gathered[by_place[start:stop]] = rows
            if np.isfinite(gathered.sum()):  # a sum that is finite has finite terms
                return gathered
        if not np.isfinite(gathered).all():
            self._refuse(gathered, wanted)
        return gathered

    def _refuse(self, gathered: np.ndarray, wanted: np.ndarray) -> NoReturn:
        """Raise DataError for what is not finite in the rows of these numbers, and for the first column of it."""
        finite, missing = np.isfinite(gathered), bool(np.isnan(gathered).any())
        rows = np.sort(wanted[~finite.all(axis=1)])
        listed = ", ".join(map(str, rows[:5])) + (", ..." if len(rows) > 5 else "")
        names = getattr(self._X, "columns", ())
        column = int(np.argmin(finite.all(axis=0)))
        where = f", first in column {names[column]!r}" if len(names) == finite.shape[1] else ""
        found = "NaN" if missing else f"infinity, or numbers too large for {self._dtype},"
        remedy = "fill the missing values in, or drop these rows" if missing else "drop or scale them"
        raise DataError(f"X holds {found} in rows {listed}{where}: {remedy}.")


def _runs(ordered: np.ndarray) -> Iterator[tuple[int, int]]:
    """The stretches of neighbours in sorted row numbers."""
    breaks = np.flatnonzero(np.diff(ordered) != 1) + 1
    yield from zip([0, *breaks], [*breaks, len(ordered)], strict=True)


def _require_numbers(dtype: Any) -> None:
    if not dtype_name(dtype).startswith(("bool", "int", "uint", "float", "bfloat")):
        raise DTypeError(f"X must hold real numbers, got dtype {dtype}: write its numbers to another file.")


def slice_of(X: Any, first: int, last: int, what: str = "X") -> np.ndarray:
    """The rows from ``first`` to before ``last``, as X gives them: perhaps in memory that it fills again next time.

    Raises DataError where X fails, its error chained, and for what is not these rows.
    """
    try:
        rows = to_host(X[first:last])
    except (ChainruleError, MemoryError):
        raise
    except Exception as error:
        raise DataError(
            f"{what} cannot be read from row {first} on ({type(error).__name__}: {' '.join(str(error).split())})."
        ) from error
    expected = (last - first, *X.shape[1:])
    if rows.shape != expected:
        raise DataError(f"{what}[{first}:{last}] must be rows of shape {expected}, got shape {rows.shape}.")
    return rows
