"""What was inferred from a table, said aloud: one sentence for each thing that a reader might want otherwise."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from ._columns import CategoricalColumn, Column, NumericColumn
from ._table import Table, counted, drop_options, is_text, listed, missing
from ._targets import Labels, Target


def notes(table: Table, rows: np.ndarray, columns: Sequence[Column], target: Target) -> Iterator[str]:
    """The sentences about a table whose training ``rows`` taught these columns and this target."""
    yield from _target_notes(table, target)
    numeric = [column.name for column in columns if isinstance(column, NumericColumn)]
    categorical = [column for column in columns if isinstance(column, CategoricalColumn)]
    if numeric:
        yield f"numbers, standardised: {listed(numeric, 10)}"
    if categorical:
        widths = {column.name: len(column.categories) for column in categorical}
        yield "categories, one column each: " + ", ".join(f"{name!r} ({width})" for name, width in widths.items())
    if table.dropped:
        yield f"left out: {listed(table.dropped, 10)}"
    for column in columns:
        filled = int(missing(table.columns[column.name]).sum())
        if filled and isinstance(column, NumericColumn):
            yield f"{column.name!r}: {filled:,} missing values become the median, {column.median:g}"
        elif filled and isinstance(column, CategoricalColumn):
            most = column.most_frequent
            yield f"{column.name!r}: {filled:,} missing values become the most frequent category, {most!r}"
    yield from _warnings(table, rows, categorical)


def _target_notes(table: Table, target: Target) -> Iterator[str]:
    if not isinstance(target, Labels):
        yield f"{target.name!r} has mean {target.mean:g} and standard deviation {target.std:g} in the training rows"
        return
    yield f"classes: {listed(target.classes, 20)}"
    assert table.target is not None
    sizes = np.bincount(target.encode(table.target))
    single = [label for label, size in zip(target.classes, sizes, strict=True) if size == 1]
    if single:
        yield f"warning: one row only of {listed(single)}: such a class cannot be both learned and tested"


def _warnings(table: Table, rows: np.ndarray, categorical: Sequence[CategoricalColumn]) -> Iterator[str]:
    constant = [name for name, x in table.columns.items() if _is_constant(x[rows])]
    rounded = [name for name in constant if _is_rounded(table.columns[name])]
    if rounded:
        advice = "codes are told apart as text, with --categorical NAME"
        yield f"warning: one value in every training row after rounding to float64: {listed(rounded)}; {advice}"
    if len(constant) > len(rounded):
        same = [name for name in constant if name not in rounded]
        yield f"warning: the same value in every training row, which teaches nothing: {listed(same)}"
    ids = [name for name, x in table.columns.items() if _numbers_the_rows(x)]
    if ids:
        advice = f"consider {drop_options(ids)}"
        yield f"warning: a different whole number in each row, as an id has: {listed(ids)}; {advice}"
    for column in categorical:
        unseen = counted(column.unseen(table.columns[column.name]))
        if unseen:
            yield f"warning: {column.name!r} has categories in the held-out rows only, taken as none: {unseen}"


def _is_constant(values: np.ndarray) -> bool:
    present = values[~missing(values)]
    return bool(np.all(present == present[0])) and len(present) == len(values)


def _is_rounded(values: np.ndarray) -> bool:
    """Whether these are numbers of which float64 does not hold every whole one."""
    return not is_text(values) and bool(np.abs(values).max() >= 2**53)


def _numbers_the_rows(values: np.ndarray) -> bool:
    """Whether a column is 1..n or the like in any order: n whole numbers without gap or repetition."""
    n = len(values)
    if n < 10 or is_text(values) or np.ptp(values) != n - 1:  # NaN compares as different
        return False
    return bool(np.array_equal(np.sort(values) - values.min(), np.arange(n)))
