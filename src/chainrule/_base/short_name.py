"""How a part of a network is called, in tables and messages: by its class and its numbers."""

from __future__ import annotations

import dataclasses
from typing import Any


def short_name(part: Any) -> str:
    """``LeakyReLU(0.2)``: a dataclass with its values up to the last that is not the default."""
    values: list[Any] = []
    shown = 0
    for field in dataclasses.fields(part) if dataclasses.is_dataclass(part) else ():
        value = getattr(part, field.name)
        values.append(f"{value:g}" if isinstance(value, float) else str(value))
        shown = shown if repr(value) == repr(field.default) else len(values)  # arrays do not compare
    kind = type(part).__name__
    return f"{kind}({', '.join(values[:shown])})" if shown else kind
