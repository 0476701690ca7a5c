"""A Table is named columns of numbers or of text, and the column that is to be predicted.

What a column means to a network is not decided here but in ``preprocessing``.
"""

from __future__ import annotations

import difflib
import math
import shlex
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

import numpy as np

from .._base.errors import ConfigurationError


@dataclass(frozen=True, eq=False)
class Table:
    """Columns by name, each ``(n,)``: float64 with NaN where missing, or text as objects with None where missing.

    ``read_table`` makes one. The target keeps its own type, because it decides what is learned: booleans, int64 or
    uint64, float64, text, or whole numbers as objects where no dtype holds them all. Booleans among the columns are the
    numbers 0 and 1.

    Args:
        columns: arrays by name, the target not among them.
        target: ``(n,)``, or None.
        target_name: its name, or None.
        source: what messages call the table: its path.
        categorical: the columns that were asked to be read as text; default none.
        dropped: those that were left out on purpose; default none.

    Example:
        >>> import numpy as np
        >>> from chainrule.tables import Table
        >>> table = Table({"rooms": np.asarray([1.0, 2.0]), "floor": np.asarray([3.0, 0.0])}, None, None, "flats")
        >>> table.n, list(table.without(["floor"]).columns), table.take(np.asarray([1])).columns["rooms"].tolist()
        (2, ['rooms'], [2.0])
    """

    columns: Mapping[str, np.ndarray]
    target: np.ndarray | None
    target_name: str | None
    source: str
    categorical: frozenset[str] = frozenset()
    dropped: tuple[str, ...] = ()

    @property
    def n(self) -> int:
        """How many rows there are."""
        return len(self.target if self.target is not None else next(iter(self.columns.values()), ()))

    def take(self, rows: np.ndarray) -> Table:
        """The table of these rows, by their indices."""
        target = None if self.target is None else self.target[rows]
        return replace(self, columns={name: x[rows] for name, x in self.columns.items()}, target=target)

    def without(self, names: Iterable[str]) -> Table:
        """The table less these columns. Raises ConfigurationError for a column that is not there."""
        left = dict(self.columns)
        for name in (out := tuple(dict.fromkeys(names))):
            if name not in left:
                raise no_column(self.source, name, left)
            del left[name]
        return replace(self, columns=left, dropped=(*self.dropped, *out))


def is_text(values: np.ndarray) -> bool:
    """Whether a column is text: all else is numbers, as objects where no dtype holds them."""
    return values.dtype.kind == "O" and not isinstance(next((v for v in values if v is not None), None), int)


def missing(values: np.ndarray) -> np.ndarray:
    """True where a value is missing: None among objects, NaN among floats."""
    if values.dtype.kind == "O":
        return np.fromiter((v is None for v in values), bool, len(values))
    return np.isnan(values) if values.dtype.kind == "f" else np.zeros(len(values), bool)


def as_floats(values: np.ndarray) -> np.ndarray:
    """Numbers as float64, NaN where missing; what is too large is infinite."""
    if values.dtype.kind != "O":
        return values.astype(np.float64)
    return np.asarray([math.nan if v is None else float(Decimal(v)) for v in values], dtype=np.float64)


def first_text(values: np.ndarray) -> str | None:
    """The first text of a column that is not missing."""
    return next((v for v in values.tolist() if v is not None), None)


def as_text(values: np.ndarray) -> np.ndarray:
    """Numbers as the text that they would be in a file: ``3`` for 3.0, None for NaN; text is returned as it is."""
    if is_text(values):
        return values
    return objects(_number_text(v) for v in values.tolist())


def objects(values: Iterable[object]) -> np.ndarray:
    """A 1-D array of objects: ``np.asarray`` would make fixed-width text of them."""
    made = list(values)
    array = np.empty(len(made), dtype=object)
    array[:] = made
    return array


def _number_text(value: float | bool | None) -> str | None:
    if value is None:
        return None
    if isinstance(value, float):
        if math.isnan(value):
            return None
        if value.is_integer():
            return str(int(value))
    return str(value)


def no_column(source: str, name: str, columns: Collection[str]) -> ConfigurationError:
    """The error for a column that is not there, with the nearest name that is."""
    by_lower = {column.lower(): column for column in columns}
    nearest = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.5)
    hint = f"did you mean {by_lower[nearest[0]]!r}? " if nearest else ""
    has = f"It has {listed(columns, 20)}."
    if len(columns) == 1:
        has = f"It has one column only, {listed(columns)}; if that is several, give their --separator."
    return ConfigurationError(f"{source} has no column {name!r}: {hint}{has}")


def listed(names: Iterable[object], most: int = 5) -> str:
    """Names in a sentence: ``'a', 'b', 'c' and 4 more``."""
    words = [repr(name) for name in names]
    return ", ".join(words[:most]) + (f" and {len(words) - most:,} more" if len(words) > most else "")


def counted(counts: Counter[Any], most: int = 5) -> str:
    """``'Oslo' (3 rows), 'Rome' (1 row) and 4 more``."""
    shown = ", ".join(f"{key!r} ({n:,} row{'s' * (n != 1)})" for key, n in counts.most_common(most))
    return shown if len(counts) <= most else f"{shown} and {len(counts) - most:,} more"


def drop_options(names: Iterable[str], most: int = 10) -> str:
    """The words that leave these columns out on the command line: ``--drop a,b``."""
    return f"--drop {shlex.quote(','.join(list(names)[:most]))}"
