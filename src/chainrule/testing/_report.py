"""What was checked, and where."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass


@dataclass(frozen=True, repr=False)
class ContractReport:
    """What a part was checked for, and on which backends; ``print`` it.

    Attributes:
        part: its name.
        kind: ``"a layer"``, ``"a loss"``, ...
        checked: what it was checked for, in a few words each.
        backends: where, with the dtypes.
        notes: what a newcomer may want to know of the part: that it is random, that it cannot be pickled.
    """

    part: str
    kind: str
    checked: tuple[str, ...]
    backends: tuple[str, ...]
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        rows = [("checked", self.checked), ("on", self.backends), *(("note", (note,)) for note in self.notes)]
        lines = (
            textwrap.fill(
                ", ".join(words), 100, initial_indent=f"  {head:<9}", subsequent_indent=" " * 11, break_on_hyphens=False
            )
            for head, words in rows
        )
        return "\n".join([f"{self.part} does what {self.kind} must.", *lines])
