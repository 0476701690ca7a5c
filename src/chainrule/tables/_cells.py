"""What a column holds: truth values, numbers or text; nothing that differs becomes the same."""

from __future__ import annotations

import numbers
from collections.abc import Mapping
from datetime import date, time, timedelta
from decimal import Decimal

import numpy as np

from .._base.errors import DataError
from ._table import as_floats, is_text, objects

_TEXT_LIKE = (str, bytes, numbers.Real, Decimal, np.bool_, date, time, timedelta, np.datetime64, np.timedelta64)


def as_columns(columns: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """``as_column`` of each, by name."""
    return {name: as_column(name, values) for name, values in columns.items()}


def as_column(name: str, values: np.ndarray) -> np.ndarray:
    """What ``read_columns`` gives, as a table has it: see ``Table``. Raises DataError for what is no number or text."""
    if values.dtype.kind == "f":
        return values.astype(np.float64)
    if values.dtype.kind in "iu":
        return values.astype(np.int64 if np.can_cast(values.dtype, np.int64) else np.uint64)
    if values.dtype.kind == "b":
        return values
    kinds = set(map(type, values)) - {type(None)}
    if kinds == {int}:  # whole numbers that float64 cannot hold; what is infinite there is refused as such
        return floats if np.isinf(floats := as_floats(values)).any() else values
    other = [kind for kind in kinds if not issubclass(kind, _TEXT_LIKE)]
    if other:
        raise DataError(
            f"column {name!r} holds {other[0].__name__} objects: expected one number or text a cell. "
            "Make columns of its parts, or save the file without it."
        )
    return objects(None if v is None else _text(v) for v in values)


def as_feature(values: np.ndarray) -> np.ndarray:
    """Text as it is, all else as float64."""
    return values if is_text(values) else as_floats(values)


def _text(value: object) -> str:
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)
