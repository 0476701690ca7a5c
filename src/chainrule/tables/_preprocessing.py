"""How a table becomes X and y, and predictions become labels and units: learned once, and kept in the model file."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np

from .._base.errors import ConfigurationError, DataError, unknown_name, warn
from ._checks import check_finite, check_not_missing, check_texts, mixture, refuse
from ._columns import CategoricalColumn, Column, NumericColumn, column_from_json
from ._json import JsonFields
from ._report import notes
from ._table import Table, counted, drop_options, first_text, is_text, listed, missing
from ._targets import Labels, Quantity, Target, Task, checked_target, infer_task, target_from_json

Unseen = Literal["error", "ignore", "warn"]


@dataclass(frozen=True)
class Preprocessing:
    """X = [each column encoded, side by side]; decode(prediction) = label or unit.

    Numbers are standardised, (x - mean) / std, and text is one-hot. Columns are found by name, in any order. ``learn``
    makes one from a table, and ``cr.fit(..., preprocessing=prepared)`` a model that takes such tables and predicts in
    their words.

    Args:
        columns: how each column is encoded, a ``NumericColumn`` or ``CategoricalColumn``.
        target: how the target is: ``Labels``, or a ``Quantity``.
        unseen: what a category that training never saw is: ``"error"`` (the default), or, ``"ignore"``, all zeros.
        impute: ``"median"``: missing numbers become the column's median and missing text its most frequent category;
            None (the default): they are refused.
        dropped: columns left out of training, which may stand in a table and are passed over; default none.
        notes: what was inferred and why, in sentences; default none.

    Example:
        >>> import tempfile, chainrule as cr, pandas as pd
        >>> from chainrule.tables import Preprocessing, read_table
        >>> flats = {"city": ["Oslo", "Rome", "Oslo", "Rome"], "rooms": [1, 2, 3, 4], "rent": [700, 800, 900, 1000]}
        >>> path = tempfile.mkdtemp() + "/flats.csv"
        >>> pd.DataFrame(flats).to_csv(path, index=False)
        >>> table = read_table(path, target="rent")
        >>> prepared = Preprocessing.learn(table, task="regression")
        >>> prepared.feature_names
        ('city=Oslo', 'city=Rome', 'rooms')
        >>> prepared.features(table).round(2).tolist()[0], prepared.decode([0.0]).tolist()
        ([1.0, 0.0, -1.34], [850.0])
        >>> X, y = {name: table.columns[name] for name in ("city", "rooms")}, table.target
        >>> options = {"loss": "squared_error", "optimizer": cr.SGD(0.1), "epochs": 500, "preprocessing": prepared}
        >>> model = cr.fit(cr.mlp([prepared.n_features, 1]), X, y, **options)
        >>> model.predict({"city": ["Rome"], "rooms": [5]}).round().tolist()
        [1100.0]
    """

    columns: tuple[Column, ...]
    target: Target
    unseen: Unseen = "error"
    impute: Literal["median"] | None = None
    dropped: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @staticmethod
    def learn(
        table: Table,
        rows: np.ndarray | None = None,
        *,
        task: Task | None = None,
        impute: Literal["median"] | None = None,
        unseen: Unseen = "error",
    ) -> Preprocessing:
        """What the training rows of a table say about its columns and its target.

        Means, deviations, medians and categories come from these rows alone; the classes come from all rows.

        Args:
            table: what ``read_table`` read, with its target.
            rows: the indices of the training rows; default all.
            task: ``"classification"`` or ``"regression"``; default what the target asks for, see ``infer_task``.
            impute: ``"median"`` to fill what is missing; default None, which refuses it.
            unseen: ``"error"`` (the default) or ``"ignore"``, for categories that training never saw.

        Raises:
            DataError: a column or a target that cannot be learned from; the message names it and says what to do.
            ConfigurationError: an unknown option or column, or a task that the target cannot be for.
        """
        if unseen not in ("error", "ignore"):
            raise unknown_name("treatment of unseen categories", unseen, ("error", "ignore"))
        if impute not in (None, "median"):
            raise unknown_name("imputation", impute, ("median",))
        task, why = infer_task(table, task)
        rows = np.arange(table.n) if rows is None else rows
        _check_columns(table, rows, impute)
        columns = tuple(
            (CategoricalColumn if is_text(x) else NumericColumn).learn(name, x[rows], impute is not None)
            for name, x in table.columns.items()
        )
        learned = Preprocessing(columns, _learn_target(table, rows, task), unseen, impute, table.dropped)
        return replace(learned, notes=(why, *notes(table, rows, learned.columns, learned.target)))

    @property
    def kind(self) -> Task:
        """Classification or regression."""
        return self.target.kind

    @property
    def target_name(self) -> str:
        """What is predicted."""
        return self.target.name

    @property
    def target_std(self) -> float:
        """What one unit of a prediction is worth in the target's own unit; 1 for labels."""
        return self.target.std if isinstance(self.target, Quantity) else 1.0

    @property
    def classes(self) -> tuple[str | int | bool, ...]:
        """The labels in the order of their indices; empty for regression."""
        return self.target.classes if isinstance(self.target, Labels) else ()

    @cached_property
    def feature_names(self) -> tuple[str, ...]:
        """The name of each column of X."""
        return tuple(name for column in self.columns for name in column.feature_names)

    @property
    def n_features(self) -> int:
        """The width of X."""
        return sum(len(c.categories) if isinstance(c, CategoricalColumn) else 1 for c in self.columns)

    @property
    def categorical(self) -> tuple[str, ...]:
        """What to hand to ``read_table`` so that codes such as 007 are read as they were in training."""
        named = [column.name for column in self.columns if isinstance(column, CategoricalColumn)]
        return (*named, self.target.name) if self.classes and isinstance(self.classes[0], str) else tuple(named)

    def features(self, table: Table, *, unseen: Unseen | None = None) -> np.ndarray:
        """X ``(n, features)``, float64.

        Args:
            table: with the columns that were learned.
            unseen: overrides what was learned, which is the default; ``"warn"``: held-out rows may have rare
                categories, which are taken as none of the known, and named in a warning.

        Raises:
            DataError: columns that are missing or unknown, text where numbers were, missing or infinite values, and
                categories that training never saw.
        """
        self._check_names(table)
        numeric = [column.name for column in self.columns if isinstance(column, NumericColumn)]
        texts = {name: table.columns[name] for name in numeric if is_text(table.columns[name])}
        refuse(
            table,
            {name: mixture(x) or f"such as {first_text(x)!r}" for name, x in texts.items()},
            "has text where the model was trained on numbers: {}. Correct those cells",
        )
        unfilled = [column.name for column in self.columns if not column.fills]
        check_not_missing(table, unfilled, "This model was trained without --impute median: fill them")
        check_finite(table, [column.name for column in self.columns])
        if (treatment := unseen or self.unseen) != "ignore":
            self._meet_unseen(table, refused=treatment != "warn")
        return np.concatenate([column.encode(table.columns[column.name]) for column in self.columns], axis=1)

    def targets(self, table: Table) -> np.ndarray:
        """The table's target as y ``(n,)``: class indices, int64, or standardised numbers, float64.

        Raises DataError for a target that is missing, or has a label that training did not know.
        """
        return self.target.encode(checked_target(table)[1])

    def decode(self, raw: Any) -> np.ndarray:
        """Labels for class indices, or the target's own units for standardised numbers: ``(n,)``."""
        return self.target.decode(np.asarray(raw).reshape(-1))

    def describe(self) -> list[str]:
        """What was inferred and why, in sentences."""
        return list(self.notes)

    def to_json(self) -> dict[str, Any]:
        """The whole description in JSON types, as a model file has it."""
        return {
            "columns": [column.to_json() for column in self.columns],
            "target": self.target.to_json(),
            "unseen": self.unseen,
            "impute": self.impute,
            "dropped": list(self.dropped),
            "notes": list(self.notes),
        }

    @staticmethod
    def from_json(value: Any) -> Preprocessing:
        """The inverse of ``to_json``. Raises ModelFileError for anything that ``to_json`` cannot have written."""
        stored = JsonFields.of(value, "preprocessing")
        items = stored.items("columns")
        columns = tuple(column_from_json(JsonFields.of(c, f"preprocessing.columns[{i}]")) for i, c in enumerate(items))
        target = target_from_json(stored.inner("target"))
        names = [*(column.name for column in columns), target.name]
        stored.expect(1 < len(names) == len(set(names)), "columns", "one or more columns, no two of one name")
        impute = stored.choice("impute", None, "median")
        stored.expect(
            all(c.fills == (impute is not None) for c in columns), "impute", "a filling for each column or none"
        )
        unseen = stored.choice("unseen", "error", "ignore")
        return Preprocessing(columns, target, unseen, impute, stored.texts("dropped"), stored.texts("notes"))

    def _meet_unseen(self, table: Table, *, refused: bool) -> None:
        """Warn of categories that training never saw, or refuse them."""
        counts = {column.name: column.unseen(table.columns[column.name]) for column in self.columns}
        unseen = {name: counted(found) for name, found in counts.items() if found}
        if unseen and not refused:
            named = ", ".join(f"{name!r}: {texts}" for name, texts in unseen.items())
            warn(f"{table.source} has categories that training never saw, taken as none: {named}.")
        if refused:
            refuse(
                table,
                unseen,
                "has categories that training never saw: {}. Correct them, or pass over them (--unseen ignore)",
            )

    def _check_names(self, table: Table) -> None:
        """Every column of training is there, and no other but the target and those that were left out."""
        known = [column.name for column in self.columns]
        absent = [name for name in known if name not in table.columns]
        extra = [name for name in table.columns if name not in {*known, self.target.name, *self.dropped}]
        if absent:
            by_lower = {name.lower(): name for name in extra}
            nearest = difflib.get_close_matches(absent[0].lower(), by_lower, n=1)
            hint = f"Is {by_lower[nearest[0]]!r} the column {absent[0]!r}? Rename it" if nearest else "Add them"
            raise DataError(
                f"{table.source} lacks {len(absent):,} of the {len(known):,} columns that the model was trained on: "
                f"{listed(absent)}. {hint}, or train a model without them."
            )
        if extra:
            raise DataError(
                f"{table.source} has columns that the model was not trained on: {listed(extra)}. Leave them out "
                f"({drop_options(extra)})."
            )


def _learn_target(table: Table, rows: np.ndarray, task: Task) -> Target:
    name, values = checked_target(table)
    different = len(np.unique(values[rows]))
    if different < 2:
        raise DataError(
            f"target {name!r} has {different} different {'class' if task == 'classification' else 'number'} in the "
            f"{len(rows):,} training rows: expected two or more; hold out fewer rows, or another seed's."
        )
    return Labels.learn(name, values) if task == "classification" else Quantity.learn(name, values[rows])


def _check_columns(table: Table, rows: np.ndarray, impute: str | None) -> None:
    """Every column can be learned from."""
    if not table.columns:
        raise DataError(
            f"{table.source} has no columns left besides the target {table.target_name!r}: expected at least one. "
            "If it should have more, give their separator with --separator."
        )
    unknown = [name for name in table.categorical if name not in table.columns and name != table.target_name]
    if unknown:
        raise ConfigurationError(
            f"{table.source} has no column {listed(unknown)} to take as categories: it has {listed(table.columns, 20)}."
        )
    names = list(table.columns)
    empty = {name: "no value" for name in names if missing(table.columns[name][rows]).all()}
    refuse(table, empty, f"has columns without a value in the {len(rows):,} training rows: {{}}. Fill them", drop=True)
    check_texts(table)
    check_finite(table, names)
    if impute is None:
        check_not_missing(table, names, "Fill them, give --impute median", drop=True)
