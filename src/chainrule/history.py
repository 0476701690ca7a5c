"""What was seen in training: one record an epoch."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass

Record = dict[str, float]


@dataclass(frozen=True)
class History:
    """One record an epoch: ``epoch``, ``loss``, ``rate``, ``seconds``, and ``val_...`` where validation was asked for.

    ``loss`` is the mean over the epoch's batches while they were trained, penalty included; ``val_loss`` is measured
    after the epoch, without it.

    Example:
        >>> from chainrule import History
        >>> History(({"epoch": 1, "loss": 0.5}, {"epoch": 2, "loss": 0.25}))["loss"]
        [0.5, 0.25]
    """

    records: tuple[Record, ...] = ()

    def __len__(self) -> int:
        return len(self.records)

    def __iter__(self) -> Iterator[Record]:
        return iter(self.records)

    def __getitem__(self, name: str) -> list[float]:
        """One column, NaN where an epoch has no such entry."""
        return [record.get(name, float("nan")) for record in self.records]

    @property
    def names(self) -> tuple[str, ...]:
        """The columns, in the order in which they first appear."""
        return tuple(dict.fromkeys(name for record in self.records for name in record))

    def to_csv(self) -> str:
        """The records as CSV text."""
        text = io.StringIO()
        writer = csv.DictWriter(text, self.names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.records)
        return text.getvalue()
