"""A record read back from JSON, field by field: what a file says is checked before it is believed."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from .._base.errors import ModelFileError


class JsonFields(NamedTuple):
    """The fields of one JSON object and the words that say where it stands. All raise ModelFileError."""

    fields: Mapping[str, Any]
    where: str

    @staticmethod
    def of(value: Any, where: str) -> JsonFields:
        """The object ``value``, if it is one."""
        if not isinstance(value, Mapping):
            raise _altered(where, "an object", value)
        return JsonFields(value, where)

    def text(self, name: str) -> str:
        """The field, a string."""
        return self._checked(name, "text", lambda v: isinstance(v, str))

    def choice(self, name: str, *choices: Any) -> Any:
        """The field, one of these."""
        return self._checked(name, f"one of {choices}", lambda v: isinstance(v, str | None) and v in choices)

    def number(self, name: str) -> float:
        """The field, a finite number."""
        return float(self._checked(name, "a finite number", _is_finite))

    def scale(self, name: str) -> float:
        """The field, a finite number above 0."""
        return float(self._checked(name, "a finite number above 0", lambda v: _is_finite(v) and v > 0))

    def texts(self, name: str) -> tuple[str, ...]:
        """The field, a list of strings."""
        return tuple(
            self._checked(
                name, "a list of texts", lambda v: isinstance(v, list) and all(isinstance(item, str) for item in v)
            )
        )

    def items(self, name: str) -> list[Any]:
        """The field, a list."""
        return self._checked(name, "a list", lambda v: isinstance(v, list))

    def inner(self, name: str) -> JsonFields:
        """The field, an object of its own."""
        return JsonFields.of(self.fields.get(name), f"{self.where}.{name}")

    def expect(self, condition: bool, name: str, expected: str) -> None:
        """Raise unless the condition holds for the field."""
        if not condition:
            raise _altered(f"{self.where}.{name}", expected, self.fields.get(name))

    def _checked(self, name: str, expected: str, holds: Callable[[Any], bool]) -> Any:
        value = self.fields.get(name)
        self.expect(holds(value), name, expected)
        return value


def _is_finite(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond all floats
        return False


def _altered(where: str, expected: str, got: Any) -> ModelFileError:
    return ModelFileError(
        f"{where}: expected {expected}, got {reprlib.repr(got)}: "
        "the model file is damaged or was altered; take another copy of it."
    )
