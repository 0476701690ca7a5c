"""Tables of a few rows, and what a refusal must say."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from chainrule.tables import Table


def table(target: Any = None, **columns: Any) -> Table:
    """A table made by hand, with columns of numbers, or of text as objects."""

    def column(values: Any) -> np.ndarray:
        array = np.asarray(values)
        return np.asarray(values, dtype=object) if array.dtype.kind in "UO" else array.astype(float)

    answers = None if target is None else np.asarray(target, dtype=object if isinstance(target[0], str) else None)
    return Table({name: column(x) for name, x in columns.items()}, answers, None if target is None else "y", "data.csv")


HALVES = [0.5 * i for i in range(20)]  # a target that is plainly a quantity
TURNS = ["a", "b"] * 10  # and one that is plainly a label


def refusal(error: type[Exception], action: Any, *parts: str) -> None:
    with pytest.raises(error) as caught:
        action()
    message = str(caught.value)
    missing = [part for part in parts if part not in message]
    assert not missing, f"{missing} not in: {message}"
    assert "\n" not in message
