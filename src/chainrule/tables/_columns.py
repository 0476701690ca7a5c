"""The two kinds of column and how each becomes numbers: standardised, or one-hot."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from ._json import JsonFields
from ._table import as_text, missing


@dataclass(frozen=True)
class NumericColumn:
    """x -> (x - mean) / std, with the mean and std of the training rows; a missing x is the median first, if kept."""

    name: str
    mean: float
    std: float
    median: float | None = None

    @staticmethod
    def learn(name: str, values: np.ndarray, impute: bool) -> NumericColumn:
        """The statistics of the training rows' ``values``, of which at least one is not missing."""
        present = values[~missing(values)]
        median = float(np.median(present)) if impute else None
        filled = values if median is None else np.where(missing(values), median, values)
        return NumericColumn(name, *mean_and_std(filled), median)

    @property
    def feature_names(self) -> tuple[str, ...]:
        """One: the column's own."""
        return (self.name,)

    @property
    def fills(self) -> bool:
        """Whether missing values are filled."""
        return self.median is not None

    def unseen(self, values: np.ndarray) -> Counter[str]:
        """None: every number can be standardised."""
        return Counter()

    def encode(self, values: np.ndarray) -> np.ndarray:
        """(n,) -> (n, 1)."""
        filled = values if self.median is None else np.where(missing(values), self.median, values)
        return ((filled - self.mean) / self.std).reshape(-1, 1)

    def to_json(self) -> dict[str, Any]:
        """The column as JSON types."""
        return {"kind": "numeric", "name": self.name, "mean": self.mean, "std": self.std, "median": self.median}

    @staticmethod
    def from_json(stored: JsonFields) -> NumericColumn:
        """The inverse of ``to_json``, checked."""
        median = None if stored.fields.get("median") is None else stored.number("median")
        return NumericColumn(stored.text("name"), stored.number("mean"), stored.scale("std"), median)


@dataclass(frozen=True)
class CategoricalColumn:
    """x -> one-hot over the training rows' categories, sorted; any other text is all zeros.

    A missing x is the most frequent category first, if kept: a column of text has no median.
    """

    name: str
    categories: tuple[str, ...]
    most_frequent: str | None = None

    @staticmethod
    def learn(name: str, values: np.ndarray, impute: bool) -> CategoricalColumn:
        """The categories of the training rows' ``values``, of which at least one is not missing."""
        counts = Counter(v for v in as_text(values).tolist() if v is not None)
        categories = tuple(sorted(counts))
        return CategoricalColumn(name, categories, max(categories, key=lambda c: counts[c]) if impute else None)

    @property
    def feature_names(self) -> tuple[str, ...]:
        """``city=Oslo``, ``city=Rome``, ..."""
        return tuple(f"{self.name}={category}" for category in self.categories)

    @property
    def fills(self) -> bool:
        """Whether missing values are filled."""
        return self.most_frequent is not None

    def unseen(self, values: np.ndarray) -> Counter[str]:
        """The texts that are none of the categories, and how often each."""
        counts = Counter(as_text(values).tolist())
        known = {None, *self.categories}
        return Counter({text: count for text, count in counts.items() if text not in known})

    def encode(self, values: np.ndarray) -> np.ndarray:
        """(n,) -> (n, number of categories)."""
        position = {category: i for i, category in enumerate(self.categories)}
        if self.most_frequent is not None:
            position[None] = position[self.most_frequent]  # type: ignore[index] # missing is None, a key like another
        index = np.asarray([position.get(v, -1) for v in as_text(values).tolist()], dtype=np.int64)
        return (index[:, None] == np.arange(len(self.categories))).astype(np.float64)

    def to_json(self) -> dict[str, Any]:
        """The column as JSON types."""
        return {
            "kind": "categorical",
            "name": self.name,
            "categories": list(self.categories),
            "most_frequent": self.most_frequent,
        }

    @staticmethod
    def from_json(stored: JsonFields) -> CategoricalColumn:
        """The inverse of ``to_json``, checked."""
        categories = stored.texts("categories")
        stored.expect(
            0 < len(set(categories)) == len(categories), "categories", "one or more categories, no two the same"
        )
        return CategoricalColumn(stored.text("name"), categories, stored.choice("most_frequent", None, *categories))


Column = NumericColumn | CategoricalColumn


def column_from_json(stored: JsonFields) -> Column:
    """The column of the kind that the record names."""
    numeric = stored.choice("kind", "numeric", "categorical") == "numeric"
    return NumericColumn.from_json(stored) if numeric else CategoricalColumn.from_json(stored)


def mean_and_std(values: np.ndarray) -> tuple[float, float]:
    """The mean and the standard deviation, 1 where all values are the same.

    Taken of values / max |values|, so that neither very large nor very small numbers overflow when squared.
    """
    low, high = float(values.min()), float(values.max())
    if low == high:
        return low, 1.0
    scale = max(-low, high)
    scaled = values / scale
    return float(scaled.mean()) * scale, float(scaled.std()) * scale or 1.0
