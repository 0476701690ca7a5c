"""A part is a value: frozen, equal to its copy, and the same after it was called."""

from __future__ import annotations

import copy
import inspect
import pickle
import re
from collections.abc import Callable
from functools import cached_property
from types import FunctionType
from typing import Any

from .._base.short_name import short_name
from ._part import Part


def part_of(thing: Any) -> Part:
    """The part. Raises for what is no frozen dataclass that equals its copy."""
    part = Part(thing, name_of(thing))
    _check_value(part)
    return part


def name_of(thing: Any) -> str:
    """The part in a few words; a function by its name."""
    try:
        text = str(getattr(thing, "name", None) or short_name(thing))
    except ValueError:  # a field that is an array has no truth value
        return type(thing).__name__
    return re.sub(r"<function (?:\S*\.)?(\S+) at \w+>", r"\1", text)


def _check_value(part: Part) -> None:
    """Two of the same fields are one and the same part: a network is compared, saved and resumed by that."""
    frozen = getattr(type(part.thing), "__dataclass_params__", None)
    if frozen is None or not frozen.frozen or not frozen.eq:
        raise part.broken("expected a frozen dataclass; write @dataclass(frozen=True) above the class")
    try:
        hash(part.thing)
        unlike = copy.copy(part.thing) != part.thing
    except (TypeError, ValueError) as error:
        raise part.broken(
            f"its fields must be numbers, strings or tuples of these, which do not change ({error})"
        ) from error
    if unlike:
        raise part.broken("a copy of it is not equal to it; its fields must be numbers, strings or tuples of these")


def pickled(part: Part) -> tuple[str, ...]:
    """A note where it cannot be pickled. Raises where it comes back as another."""
    try:
        back = pickle.loads(pickle.dumps(part.thing))
    except Exception:  # whatever __reduce__ or __setstate__ raise
        return ("cannot be pickled, for other processes: write its class and functions at the top of a module",)
    if back != part.thing:
        raise part.broken("it comes back from pickle as another; its fields must be all that it has")
    return ()


def unchanged(part: Part) -> Callable[[], None]:
    """``check()`` raises if an attribute of the part has changed since, or a variable that its methods name."""
    before = _surroundings(part.thing)

    def check() -> None:
        for name, now in _surroundings(part.thing).items():
            if before.get(name) != now:
                codes = [(method, function.__code__) for method, function in _methods(part.thing).items()]
                users = [
                    method for method, code in codes if name in (*code.co_names, *code.co_freevars, *code.co_consts)
                ]
                advice = "what changes must be in arrays that it is given and returns"
                raise part.broken(f"{name} is another after it was called; {advice}", " or ".join(users))

    return check


def _surroundings(thing: Any) -> dict[str, str]:
    """What the part has besides its arguments, by name: attributes, and numbers and lists outside of its class."""
    found = {name: value for kind in reversed(type(thing).__mro__) for name, value in vars(kind).items()}
    cached = {name for name, value in found.items() if isinstance(value, cached_property)}
    found |= {name: value for name, value in getattr(thing, "__dict__", {}).items() if name not in cached}
    for function in _methods(thing).values():
        outside = inspect.getclosurevars(function)
        named = (*outside.globals.items(), *outside.nonlocals.items())
        found |= {name: value for name, value in named if isinstance(value, int | float | list | dict | set)}
    return {
        name: repr(value)
        for name, value in found.items()
        if not (name.startswith(("__", "_abc")) or callable(value) or hasattr(value, "__get__"))
    }


def _methods(thing: Any) -> dict[str, FunctionType]:
    """What is written in the user's own classes."""
    theirs = [kind for kind in reversed(type(thing).__mro__) if not kind.__module__.startswith("chainrule.")]
    return {name: f for kind in theirs for name, f in vars(kind).items() if isinstance(f, FunctionType)}
