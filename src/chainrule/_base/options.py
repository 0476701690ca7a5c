"""Checks of options: what a user passes besides arrays. Each failure is one sentence: expected, got, what to do."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np

from .errors import USE_FLOAT64, ConfigurationError, require, unknown_name

# What annotates a field: the type, or its text where the module postpones annotations.
BOOL, FLOAT, INT, INT_OR_NONE = (bool, "bool"), (float, "float"), (int, "int"), (int | None, "int | None")
_NO_NUMBERS = (bool, np.timedelta64)  # to Python they are whole numbers


def check_numbers(settings: Any, *, endless: Sequence[str] = ()) -> None:
    """The numbers among a frozen dataclass's fields, made Python's own; a field must be what it is annotated as.

    NumPy's numbers are welcome but would not stay harmless: ``float32_array * np.float64(2)`` is float64. A number is
    finite, but for those of the fields that are ``endless``.
    """
    for field in dataclasses.fields(settings):
        value, name = getattr(settings, field.name), f"{type(settings).__name__}: {field.name}"
        if field.type in INT or (field.type in INT_OR_NONE and value is not None):
            whole = whole_number(name, value)
            require(whole < 2**63, f"{name} must be below 2**63, got a number of {whole.bit_length()} bits.")
            object.__setattr__(settings, field.name, whole)
        elif field.type in BOOL:
            object.__setattr__(settings, field.name, flag(name, value))
        elif field.type in FLOAT or isinstance(value, Real):
            number = real_number(name, value)
            require(field.name in endless or math.isfinite(number), f"{name} must be a finite number, got {number}.")
            object.__setattr__(settings, field.name, number)


def check_range(parts: Iterable[Any], dtype: str) -> None:
    """Raise ConfigurationError if a finite number among the fields of ``parts`` is infinite in ``dtype``, or may be 0.

    Below the smallest normal number some libraries and devices calculate with 0.
    """
    low, high = float(np.finfo(dtype).smallest_normal), float(np.finfo(dtype).max)
    wider = "" if dtype == "float64" else f", or {USE_FLOAT64}"
    for name, number in (found for part in parts for found in _floats(part)):
        require(
            number == 0 or not math.isfinite(number) or low <= abs(number) <= high,
            f"{name} must be 0 or of a size from {low:.3g} to {high:.3g} in {dtype}, got {number!r}: "
            f"give another number{wider}.",
        )


def _floats(part: Any) -> Iterator[tuple[str, float]]:
    """The names and values of a dataclass's fields, and of the items of its tuples, that are floats."""
    for field in dataclasses.fields(part) if dataclasses.is_dataclass(part) else ():
        value = getattr(part, field.name)
        for number in value if isinstance(value, tuple) else (value,):
            if isinstance(number, float):
                yield f"{type(part).__name__}: {field.name}", number


def whole_number(name: str, value: Any, least: int | None = None) -> int:
    """``value`` as an int, at least ``least``."""
    whole = isinstance(value, Integral) and not isinstance(value, _NO_NUMBERS)
    at_least = "" if least is None else f" >= {least}"
    require(
        whole and (least is None or int(value) >= least), f"{name} must be a whole number{at_least}, got {value!r}."
    )
    return int(value)


def real_number(name: str, value: Any, *, nan: bool = False) -> float:
    """``value`` as a float; NaN is a number where it is said."""
    real = isinstance(value, Real) and not isinstance(value, _NO_NUMBERS)
    try:
        number = float(value) if real else math.nan
    except OverflowError:
        raise ConfigurationError(f"{name} must be a number below 1.8e308, got one of more digits.") from None
    require(real and (nan or not math.isnan(number)), f"{name} must be a number, got {value!r:.60}.")
    return number


def flag(name: str, value: Any) -> bool:
    """``value`` as a bool."""
    given = isinstance(value, bool) or type(value).__name__ in ("bool", "bool_")  # NumPy's too
    require(given, f"{name} must be True or False, got {value!r:.60}.")
    return bool(value)


def check_instance(value: object, protocol: type, *, expected: str, write: str) -> None:
    """Raise ConfigurationError unless ``value`` is what ``expected`` says; ``write`` is an example of it."""
    if isinstance(value, type):
        name = value.__name__
        raise ConfigurationError(f"expected {expected}, got the class {name}: write an object, {name}().")
    missing = lacks(value, protocol)
    if missing:
        some = len(missing) < len(members(protocol))
        got = f"a {type(value).__name__} that has no {' and no '.join(missing)}" if some else repr(value)
        raise ConfigurationError(f"expected {expected}, got {got}: write {write}.")


def lacks(value: object, protocol: type) -> list[str]:
    """What ``value`` has not of a protocol, or of a class: nothing where its own class names it."""
    if protocol in type(value).__mro__:
        return []
    taken_by_its_methods = getattr(protocol, "_is_protocol", False)
    return [name for name in members(protocol) if not (taken_by_its_methods and hasattr(value, name))]


def members(protocol: type) -> list[str]:
    """What a protocol asks for: its public members, and what is abstract."""
    public = {name for name in vars(protocol) if not name.startswith("_")}
    return sorted(public | getattr(protocol, "__abstractmethods__", set()))


def find(kind: str, given: Any, table: Mapping[str, Any], protocol: type, *, expected: str, write: str) -> Any:
    """What has the name ``given`` in the table, or the object itself; see ``check_instance``."""
    if given is None or (isinstance(given, str) and given not in table):
        raise unknown_name(kind, given, table)
    if isinstance(given, str):
        return table[given]
    check_instance(given, protocol, expected=expected, write=write)
    return given


def as_list(value: Any, *, name: str, example: str) -> list[Any]:
    """``value`` as a list; one thing alone, or a string, is no list."""
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise ConfigurationError(f"{name} must be a list, got {value!r}: write {name}=[{example}].")
    return list(value)
