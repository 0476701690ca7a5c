"""What was seen in training: one record an epoch."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import SupportsIndex, overload

from ._base.errors import MissingEntryError, missing_column

Record = dict[str, float]

_RENAMED = {"rate": "learning_rate"}


@dataclass(frozen=True)
class History:
    """One record an epoch: ``epoch``, ``loss``, ``learning_rate``, ``seconds``, and ``val_...`` with a validation set.

    ``history["loss"]`` is a column, ``history[-1]`` the last record, ``history[5:]`` a history of the epochs from the
    sixth on; ``"val_loss" in history`` tells whether there is such a column, and ``for record in history`` goes through
    the epochs.

    ``loss`` is the mean over the epoch's examples while they were trained, penalty included; ``val_loss`` is measured
    after the epoch, without it. ``learning_rate`` is that of the epoch's last step, ``seconds`` what the epoch took.

    Args:
        records: a dictionary of numbers by column for each epoch; default none.

    Example:
        >>> import chainrule as cr
        >>> X, y = [[0.0], [1.0]], [0.0, 1.0]
        >>> sgd = cr.SGD(0.1)
        >>> history = cr.fit(cr.mlp([1, 1]), X, y, loss="squared_error", optimizer=sgd, epochs=3).history
        >>> history.names, history[-1]["epoch"], history["learning_rate"][1:]
        (('epoch', 'loss', 'learning_rate', 'seconds'), 3, [0.1, 0.1])
        >>> len(history[1:]), history["loss"][2] < history["loss"][0]
        (2, True)
    """

    records: tuple[Record, ...] = ()

    @staticmethod
    def from_json(records: Iterable[Record]) -> History:
        """The history of the records in a model file, where early versions called the learning rate ``rate``."""
        return History(tuple({_RENAMED.get(name, name): x for name, x in record.items()} for record in records))

    def __len__(self) -> int:
        return len(self.records)

    def __iter__(self) -> Iterator[Record]:
        return iter(self.records)

    def __contains__(self, name: object) -> bool:
        """Whether there is such a column."""
        return name in self.names

    @overload
    def __getitem__(self, key: str) -> list[float]: ...
    @overload
    def __getitem__(self, key: SupportsIndex) -> Record: ...
    @overload
    def __getitem__(self, key: slice) -> History: ...
    def __getitem__(self, key: str | SupportsIndex | slice) -> list[float] | Record | History:
        """A column by its name, NaN where an epoch has no such entry; an epoch's record by its number, from 0 or -1 on;
        a slice of the epochs. Without any epoch every column is empty.

        Raises MissingEntryError, which is a KeyError and an IndexError, for what there is not.
        """
        if isinstance(key, slice):
            return History(self.records[key])
        if isinstance(key, SupportsIndex):
            if not -len(self) <= key.__index__() < len(self):
                raise MissingEntryError(f"the history has {len(self)} epochs, got history[{key}]: count from 0, or -1.")
            return self.records[key]
        if self.records and key not in self:
            raise missing_column(key, self.names)
        return [record.get(key, math.nan) for record in self.records]

    @property
    def names(self) -> tuple[str, ...]:
        """The columns, in the order in which they first appear: what ``history[name]`` takes."""
        return tuple(dict.fromkeys(name for record in self.records for name in record))

    def to_csv(self) -> str:
        """The records as CSV text: a line of names, then one an epoch, empty where an epoch lacks a column.

        Example:
            >>> import chainrule as cr
            >>> print(cr.History(({"epoch": 1, "loss": 0.5}, {"epoch": 2, "loss": 0.25, "val_loss": 0.3})).to_csv())
            epoch,loss,val_loss
            1,0.5,
            2,0.25,0.3
            <BLANKLINE>
        """
        text = io.StringIO()
        writer = csv.DictWriter(text, self.names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.records)
        return text.getvalue()
