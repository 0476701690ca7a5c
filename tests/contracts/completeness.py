"""Which kinds there are, so that a test can say that its table has all of them."""

from __future__ import annotations

import inspect
from types import ModuleType
from typing import Any


def kinds(module: ModuleType, *methods: str) -> set[str]:
    """The public concrete classes of a module that have these methods: what a table must name."""
    return {
        name
        for name, kind in vars(module).items()
        if inspect.isclass(kind) and not name.startswith("_") and not getattr(kind, "_is_protocol", False)
        if kind.__module__.startswith(module.__name__) and all(callable(getattr(kind, m, None)) for m in methods)
    }


def named(*objects: Any) -> set[str]:
    return {type(o).__name__ for o in objects}
