"""An operand in bfloat16, rounded once in a pass forward and back, though it is in two products."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .._backend import Backend


def rounded_once(backend: Backend, given: Any, rounded: Callable[[], Any]) -> Any:
    """What ``rounded`` makes of ``given``. A pass keeps it for a second product, and no longer."""
    kept = {} if backend.kept is None else backend.kept
    if id(given) in kept:
        return kept.pop(id(given))[1]
    made = rounded()
    kept[id(given)] = given, made  # with what it was made of, whose id is no one else's meanwhile
    return made
