"""A keyword that a function does not have is answered with the right one; signatures stay as they are."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import wraps
from inspect import Parameter, signature
from typing import ParamSpec, TypeVar

from .errors import too_many_arguments, unknown_argument

P = ParamSpec("P")
R = TypeVar("R")

_BY_KEYWORD = (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)


def names_arguments(function: Callable[P, R], name: str = "") -> Callable[P, R]:
    """The function, which raises ArgumentError for a keyword that it does not have, and for too many by position."""
    parameters = signature(function).parameters.values()
    known = [each.name for each in parameters if each.kind in _BY_KEYWORD]
    placed = [each.name for each in parameters if each.kind is Parameter.POSITIONAL_OR_KEYWORD]
    takes_all = any(each.kind is Parameter.VAR_POSITIONAL for each in parameters)
    name = name or function.__name__

    @wraps(function)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        for given in kwargs:
            if given not in known:
                raise unknown_argument(name, given, [each for each in known if each != "self"])
        if len(args) > len(placed) and not takes_all:
            raise too_many_arguments(name, len(args), placed, known[len(placed) :])
        return function(*args, **kwargs)

    return checked


def classes_name_arguments(parts: Iterable[object]) -> None:
    """The same for the classes among ``parts``, when one of their objects is made."""
    for part in (each for each in parts if isinstance(each, type)):
        made = vars(part).get("__init__")
        if made is not None and made.__module__.startswith("chainrule."):  # not typing's, of a protocol
            type.__setattr__(part, "__init__", names_arguments(made, part.__name__))
