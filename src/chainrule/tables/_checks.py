"""Columns that cannot be learned from as they are: missing, infinite, and text that is no categories.

Each is refused in one sentence that names every column of that ailment, its count, and what to do.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping

import numpy as np

from .._base.errors import DataError
from ._table import Table, drop_options, is_text, listed, missing

MOST_CATEGORIES = 100

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_COMMA_NUMBER = re.compile(r"[+-]?\d[\d.]*,[\d.,]*\d")
_DATE = re.compile(r"\d{4}[-/.]\d{1,2}[-/.]\d{1,2}([ T].*)?|\d{1,2}([-/.])\d{1,2}\2(\d{4}|\d{2})([ T].*)?")

_SENTENCES = {
    "dates": "has dates where numbers or categories are expected: {}. Make columns of their year, month or weekday",
    "commas": "has numbers with commas, which read as text: {}. Write 1234.5 for 1.234,5 or 1,234.5",
    "too many": "has text with too many different values to make a column of each: {}. An id or free text "
    f"teaches nothing, and at most {MOST_CATEGORIES} categories are taken: group them",
    "mixed": "has columns that mix numbers and text: {}. Correct those cells or leave them empty, take the "
    "column as categories with --categorical NAME",
}


def refuse(table: Table, found: Mapping[str, str], sentence: str, *, drop: bool = False) -> None:
    """Raise DataError where anything was found: each column by name with its detail, at most ten of them.

    ``sentence`` has a ``{}`` for them and no full stop; ``drop`` adds the words that leave them out.
    """
    if not found:
        return
    columns = ", ".join(f"{name!r} ({detail})" for name, detail in list(found.items())[:10])
    more = f" and {len(found) - 10:,} more columns" if len(found) > 10 else ""
    leave = f", or leave {'it' if len(found) == 1 else 'them'} out with {drop_options(found)}" if drop else ""
    raise DataError(f"{table.source} {sentence.format(columns + more)}{leave}.")


def check_not_missing(table: Table, names: Collection[str], remedy: str, *, drop: bool = False) -> None:
    """Raise DataError if one of these columns has missing values."""
    counts = {name: int(missing(table.columns[name]).sum()) for name in names}
    found = {name: f"{count:,} of {table.n:,}" for name, count in counts.items() if count}
    refuse(table, found, f"has missing values: {{}}. {remedy}", drop=drop)


def check_finite(table: Table, names: Collection[str]) -> None:
    """Raise DataError if one of these columns has infinite values."""
    counts = {name: int(np.isinf(x).sum()) for name in names if not is_text(x := table.columns[name])}
    found = {name: f"{count:,} of {table.n:,}" for name, count in counts.items() if count}
    refuse(table, found, "has infinite values: {}. Correct those cells or leave them empty")


def check_texts(table: Table) -> None:
    """Raise DataError, naming all columns of one ailment at once, unless every column of text can be categories."""
    found: dict[str, dict[str, str]] = {kind: {} for kind in _SENTENCES}
    for name, values in table.columns.items():
        if is_text(values) and (diagnosis := _diagnose(values, asked_for=name in table.categorical)):
            kind, detail = diagnosis
            found[kind][name] = detail
    for kind, columns in found.items():
        refuse(table, columns, _SENTENCES[kind], drop=True)


def _diagnose(values: np.ndarray, asked_for: bool) -> tuple[str, str] | None:
    """What keeps a column of text from being categories, and the detail that shows it; None where nothing does."""
    counts = _counts(values)
    words = _words(counts)
    if not asked_for and words:
        if all(_DATE.fullmatch(word) for word in words):
            return "dates", f"such as {words[0]!r}"
        if all(_COMMA_NUMBER.fullmatch(word) for word in words):
            return "commas", f"such as {words[0]!r}"
        # Numbers with a few words among them are a mixture even if all differ; with many words they are codes.
        if len(words) <= MOST_CATEGORIES and (mixed := mixture(values)):
            return "mixed", mixed
    if len(counts) > MOST_CATEGORIES or len(counts) == counts.total() > 2:
        return "too many", f"{len(counts):,} different in {len(values):,} rows"
    return None


def mixture(values: np.ndarray) -> str:
    """``997 numbers with 3 texts ('unknown', '?')`` for text of which some but not all are numbers, else ''."""
    counts = _counts(values)
    words = _words(counts)
    n_words = sum(counts[word] for word in words)
    n_numbers = counts.total() - n_words
    if not n_words or not n_numbers:
        return ""
    return f"{n_numbers:,} number{'s' * (n_numbers != 1)} with {n_words:,} text{'s' * (n_words != 1)} ({listed(words)})"


def _counts(values: np.ndarray) -> Counter[str]:
    return Counter(v for v in values.tolist() if v is not None)


def _words(counts: Counter[str]) -> list[str]:
    """The texts that are not numbers."""
    return [text for text in counts if not _NUMBER.fullmatch(text)]
