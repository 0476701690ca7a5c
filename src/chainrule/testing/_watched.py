"""A namespace that sees whether a number is read on the host, for whatever function of the standard comes."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._backend._record import Tape, Traced


class Watched:
    """NumPy's namespace on traced arrays: each function computes at once, and what it makes is traced again."""

    def __init__(self, xp: Any, tape: Tape) -> None:
        self._xp, self._tape = xp, tape

    def __getattr__(self, name: str) -> Any:
        plain = getattr(self._xp, name)
        if not callable(plain) or isinstance(plain, type):
            return plain

        def function(*arguments: Any, **options: Any) -> Any:
            made = plain(*map(_untraced, arguments), **{key: _untraced(value) for key, value in options.items()})
            return self._traced(made)

        return function

    def _traced(self, made: Any) -> Any:
        if isinstance(made, tuple):
            return tuple(map(self._traced, made))
        return Traced(self._tape, np.asarray(made)) if isinstance(made, np.ndarray | np.floating | np.bool_) else made


def _untraced(x: Any) -> Any:
    if isinstance(x, tuple | list):
        return type(x)(map(_untraced, x))
    return x.array if isinstance(x, Traced) else x
