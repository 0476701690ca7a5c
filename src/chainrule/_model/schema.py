"""What a model was trained on: how columns and labels become the network's numbers, and how predictions come back."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .._backend import library_of, to_host
from .._base.errors import ConfigurationError, warn
from .._data.labels import Label, check_columns, name_classes, names_of, number_classes
from .._data.streams import open_rows, read_targets
from ..tables import Preprocessing, Quantity, Unseen, as_table, as_target, is_table_file, with_names


@dataclass(frozen=True)
class Schema:
    """Between the user's data and the network: ``inputs`` and ``targets`` go in, ``decode`` brings predictions back.

    With ``preprocessing`` a table becomes X column by column, found by name, and an array is the raw columns by
    position; labels, and numbers in the target's own unit, become y. Without it ``feature_names`` are the columns that
    a frame must have, in their order (empty: any), and ``classes`` the labels (empty: class numbers).
    """

    preprocessing: Preprocessing | None = None
    classes: tuple[Label, ...] = ()
    feature_names: tuple[str, ...] = ()

    @staticmethod
    def of(preprocessing: Preprocessing) -> Schema:
        """What a preprocessing says."""
        return Schema(preprocessing, preprocessing.classes, tuple(column.name for column in preprocessing.columns))

    def named(self, X: Any, n_in: int) -> Schema:
        """The same, with the names of X's columns where none are known and X has one for each input."""
        names = () if self.feature_names else names_of(X)
        if len(names) != n_in:
            return self
        twice = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < n_in else []
        if twice:
            warn(
                f"X has several columns of the name {twice[0]!r}: the model does not remember its names, and takes the "
                "columns of every frame by position. Rename them apart.",
                UserWarning,
            )
        return self if twice else replace(self, feature_names=names)

    def open_rows(self, X: Any) -> Any | None:
        """X as rows that are read a window at a time; None for what is in memory, or is read as a table."""
        if self.preprocessing is not None and is_table_file(X):
            return None
        rows = open_rows(X)
        return rows if rows is None or self.preprocessing is not None else self.encode(rows)

    def window(self, rows: Any, window: np.ndarray) -> Any:
        """A window of these rows as the network takes it."""
        return window if self.preprocessing is None else self.encode(with_names(rows, window))

    def inputs(self, X: Any, *, what: str = "X", unseen: Unseen | None = None) -> Any:
        """X as the network takes it; without preprocessing what is not in memory is opened, and not read.

        Raises DataError for columns that it was not trained on.
        ``unseen`` says what a category is that training never saw, in place of what the preprocessing says.
        """
        rows = open_rows(X, what) if self.preprocessing is None else None
        return self.encode(X if rows is None else rows, what=what, unseen=unseen)

    def encode(self, X: Any, *, what: str = "X", unseen: Unseen | None = None) -> Any:
        """The same of what is in memory or opened."""
        if self.preprocessing is None:
            check_columns(self.feature_names, X, what)
            return X
        return self.preprocessing.features(as_table(X, self.preprocessing, what), unseen=unseen)

    def targets(self, y: Any, what: str = "y") -> Any:
        """Y in memory, as the loss takes it: the numbers of labels, or numbers in the unit of training."""
        y = read_targets(y, what)
        if self.preprocessing is None:
            return number_classes(self.classes, y) if self.classes else y
        return self.preprocessing.targets(as_target(y, self.preprocessing))

    def weights(self, sample_weight: Any, what: str = "sample_weight") -> Any:
        """The weights in memory, where X and y are."""
        weights = read_targets(sample_weight, what)
        return weights if self.preprocessing is None or weights is None else to_host(weights)

    def decode(self, predictions: Any) -> Any:
        """Labels for class indices, the target's own unit for numbers, in the library of the predictions."""
        if self.preprocessing is None or not isinstance(self.preprocessing.target, Quantity):
            return name_classes(self.classes, predictions)
        if isinstance(predictions, np.ndarray):
            return self.preprocessing.decode(predictions)  # in float64
        target = self.preprocessing.target
        return target.mean + target.std * predictions

    @property
    def unit(self) -> float:
        """How much of the target's own unit one unit of the network's output is."""
        return 1.0 if self.preprocessing is None else self.preprocessing.target_std


def training_schema(known: Schema | None, preprocessing: Any, X: Any, n_in: int) -> tuple[Schema, Any | None]:
    """The schema of a training run: what its model knows (None: a network), the preprocessing, or X's columns.

    And X as rows that are read a window at a time; None for what is in memory, or is read as a table.
    Raises ConfigurationError for a preprocessing that makes other inputs than the network has.
    """
    if preprocessing is None:
        if known is not None and known.preprocessing is not None:
            return known, None
        rows = open_rows(X)
        given = X if rows is None else rows
        if library_of(given) is not None:  # the columns of an array have no names
            return known or Schema(), rows
        if known is not None:
            check_columns(known.feature_names, given)
        return (known or Schema()).named(given, n_in), rows
    if not isinstance(preprocessing, Preprocessing):
        raise ConfigurationError(
            f"preprocessing must be a chainrule.tables.Preprocessing, got {preprocessing!r:.60}: make one with "
            "Preprocessing.learn(table)."
        )
    if known not in (None, Schema()):
        raise ConfigurationError("this model knows its data already: leave preprocessing out.")
    if preprocessing.n_features != n_in:
        raise ConfigurationError(
            f"the preprocessing makes {preprocessing.n_features:,} columns of a table, the network has {n_in:,} "
            f"inputs: make it with {preprocessing.n_features:,}."
        )
    return Schema.of(preprocessing), None
