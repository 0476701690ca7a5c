"""What is predicted: one of several labels, or a quantity; which of the two, and why."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

import numpy as np

from .._base.errors import ConfigurationError, DataError, unknown_name
from ._checks import mixture
from ._columns import mean_and_std
from ._json import JsonFields
from ._table import Table, as_floats, as_text, counted, is_text, listed, missing

Task = Literal["classification", "regression"]
Label = str | int | bool


@dataclass(frozen=True)
class Labels:
    """Label <-> its index among the sorted classes; a class keeps its type: text, whole number or boolean."""

    name: str
    classes: tuple[Label, ...]

    kind: ClassVar[Task] = "classification"

    @staticmethod
    def learn(name: str, values: np.ndarray) -> Labels:
        """The classes that occur in ``values``."""
        classes = set(_labels(name, values))
        if any(isinstance(label, int) and not -(2**63) <= label < 2**63 for label in classes):
            classes = set(as_text(values))  # a file of a model has no larger numbers
        return Labels(name, tuple(sorted(classes)))

    def encode(self, values: np.ndarray) -> np.ndarray:
        """Labels (n,) -> class indices (n,), int64. Raises DataError for a label that is no class."""
        if isinstance(self.classes[0], str):
            values = as_text(values)
        index = {label: i for i, label in enumerate(self.classes)}
        labels = _labels(self.name, values)
        unknown = Counter(label for label in labels if label not in index)
        if unknown:
            raise DataError(
                f"target {self.name!r} has labels that training never saw: {counted(unknown)}. "
                f"The classes are {listed(self.classes, 10)}."
            )
        return np.asarray([index[label] for label in labels], dtype=np.int64)

    def decode(self, raw: np.ndarray) -> np.ndarray:
        """Class indices (n,) -> labels (n,). Raises DataError for an index that is no class."""
        if raw.dtype.kind not in "iu" or (raw.size and not 0 <= raw.min() <= raw.max() < len(self.classes)):
            raise DataError(f"class indices must be integers 0..{len(self.classes) - 1}, got {listed(np.unique(raw))}.")
        return np.asarray(self.classes)[raw]

    def to_json(self) -> dict[str, Any]:
        """The target as JSON types."""
        return {"kind": self.kind, "name": self.name, "classes": list(self.classes)}

    @staticmethod
    def from_json(stored: JsonFields) -> Labels:
        """The inverse of ``to_json``, checked."""
        classes = stored.items("classes")
        kinds = set(map(type, classes))
        alike = len(kinds) == 1 and kinds <= {str, int, bool}
        # Before the set: larger integers can be chosen to be of one hash, and a set of them takes hours.
        small = alike and (str in kinds or all(-(2**63) <= c < 2**63 for c in classes))
        different = small and 2 <= len(set(classes)) == len(classes)
        stored.expect(different, "classes", "two or more different texts, integers or booleans")
        return Labels(stored.text("name"), tuple(classes))


@dataclass(frozen=True)
class Quantity:
    """y -> (y - mean) / std, with the mean and std of the training rows, and back.

    Args:
        name: of the target's column.
        mean: in the target's own unit.
        std: in the same unit, > 0.
    """

    name: str
    mean: float
    std: float

    kind: ClassVar[Task] = "regression"

    @staticmethod
    def learn(name: str, values: np.ndarray) -> Quantity:
        """The statistics of the training rows' ``values``."""
        return Quantity(name, *mean_and_std(as_floats(values)))

    def encode(self, values: np.ndarray) -> np.ndarray:
        """Numbers (n,) -> standardised (n,), float64."""
        if is_text(values):
            raise DataError(f"target {self.name!r} must be numbers, as it was in training, got text.")
        return (as_floats(values) - self.mean) / self.std

    def decode(self, raw: np.ndarray) -> np.ndarray:
        """Standardised (n,) -> the target's own unit (n,), float64."""
        return raw.astype(np.float64) * self.std + self.mean

    def to_json(self) -> dict[str, Any]:
        """The target as JSON types."""
        return {"kind": self.kind, "name": self.name, "mean": self.mean, "std": self.std}

    @staticmethod
    def from_json(stored: JsonFields) -> Quantity:
        """The inverse of ``to_json``, checked."""
        return Quantity(stored.text("name"), stored.number("mean"), stored.scale("std"))


Target = Labels | Quantity


def target_from_json(stored: JsonFields) -> Target:
    """The target of the kind that the record names."""
    return (Labels if stored.choice("kind", *get_args(Task)) == "classification" else Quantity).from_json(stored)


def infer_task(table: Table, task: Task | None = None) -> tuple[Task, str]:
    """The task that the table's target asks for, and the sentence that says why.

    Text and booleans are labels. Whole numbers are labels where there are few: at most 10 different (5 % of the rows,
    up to 20, in a longer table), each standing for two rows or more on average. All other numbers are quantities.

    Args:
        table: with a target.
        task: ``"classification"`` or ``"regression"``, which overrides this; default None.

    Raises:
        DataError: missing or infinite targets, one target only, or nearly as many labels as rows.
        ConfigurationError: a task that the target cannot be for.

    Example:
        >>> import numpy as np
        >>> from chainrule.tables import Table, infer_task
        >>> infer_task(Table({}, np.asarray([True, False] * 2), "paid", "flats"))
        ('classification', "'paid': 2 different booleans in 4 rows: classification (override with --task regression)")
    """
    if task is not None and task not in get_args(Task):
        raise unknown_name("task", task, get_args(Task))
    name, values = checked_target(table)
    different = len(np.unique(values))
    kind = _kind(values)
    few = different <= min(20, max(10, table.n // 20), table.n // 2)
    inferred: Task = (
        "classification" if kind in ("texts", "booleans") or (kind == "whole numbers" and few) else "regression"
    )
    chosen = task or inferred
    if different == 1:
        raise _nothing_to_learn(table, "classification" if kind in ("texts", "booleans") else task)
    if chosen == "regression" and kind == "texts":
        raise ConfigurationError(
            f"target {name!r} is text such as {values[0]!r}: regression predicts numbers. Use --task classification."
        )
    if chosen == "classification":
        _refuse_as_labels(table, kind, different)
    other = "regression" if chosen == "classification" else "classification"
    why = "as asked" if task else f"override with --task {other}"
    found = f"{name!r}: {different:,} different {kind} in {table.n:,} rows: {chosen}"
    return chosen, found if kind == "texts" and not task else f"{found} ({why})"


def checked_target(table: Table) -> tuple[str, np.ndarray]:
    """The target's name and its values, none of which is missing or infinite."""
    if table.target is None or table.target_name is None:
        raise DataError(f"{table.source} was read without a target: name the column to predict with --target NAME.")
    name, values = table.target_name, table.target
    gone = int(missing(values).sum())
    if gone:
        raise DataError(
            f"target {name!r} has {gone:,} missing values in {len(values):,} rows of {table.source}: "
            "a row without a target teaches nothing; remove these rows."
        )
    infinite = int(np.isinf(values).sum()) if values.dtype.kind == "f" else 0
    if infinite:
        raise DataError(f"target {name!r} has {infinite:,} infinite values: correct or remove these rows.")
    return name, values


def _kind(values: np.ndarray) -> str:
    if is_text(values):
        return "texts"
    if values.dtype.kind == "b":
        return "booleans"
    return "whole numbers" if _all_whole(values) else "numbers"


def _all_whole(values: np.ndarray) -> bool:
    # Beyond 2^53 a float64 no longer says which whole number was meant.
    return values.dtype.kind in "iuO" or bool(np.all((values == np.floor(values)) & (np.abs(values) <= 2**53)))


def _labels(name: str, values: np.ndarray) -> list[Any]:
    if values.dtype.kind == "f":
        if not _all_whole(values):
            raise DataError(
                f"target {name!r} has numbers that are not whole, such as {_fraction(values)!r}: no labels."
            )
        values = values.astype(np.int64)
    return values.tolist()


def _fraction(values: np.ndarray) -> float:
    return float(values[values != np.floor(values)][0]) if np.any(values != np.floor(values)) else float(values[0])


def _nothing_to_learn(table: Table, task: Task | None) -> DataError:
    assert table.target is not None
    value = table.target[0]
    shown = repr(value if isinstance(value, str | int) else value.item())
    if task == "classification":
        return DataError(
            f"target {table.target_name!r} has one class only, {shown}, in all {table.n:,} rows: expected two or more; "
            "choose another --target."
        )
    digits = " to the 16 digits of float64" if table.target.dtype.kind == "f" else ""
    return DataError(
        f"target {table.target_name!r} is constant, {shown} in all {table.n:,} rows{digits}: there is nothing to "
        "learn; choose another --target."
    )


def _refuse_as_labels(table: Table, kind: str, different: int) -> None:
    name, values = table.target_name, table.target
    assert values is not None
    if kind == "numbers":
        raise ConfigurationError(
            f"target {name!r} has numbers that are not whole, such as {_fraction(values)!r}: they are no labels. "
            "Use --task regression."
        )
    if kind == "texts" and name not in table.categorical and (mixed := mixture(values)):
        raise DataError(
            f"target {name!r} mixes {mixed}: correct those cells, or take all of them as labels with "
            f"--categorical {name}."
        )
    if different > table.n / 2:
        raise DataError(
            f"target {name!r} has {different:,} different {kind} in {table.n:,} rows, too many to be classes (each "
            f"needs two rows or more): {'choose another --target' if kind == 'texts' else 'use --task regression'}."
        )
