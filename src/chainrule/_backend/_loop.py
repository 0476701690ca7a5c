"""Several steps in one call, and what they work on between two calls."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any


def as_it_is(state: Any) -> Any:
    return state


@dataclass(frozen=True)
class Loop:
    """``after(body(... body(before(state), *inputs) ..., *inputs))``; called, it takes one step."""

    body: Callable[..., Any]
    before: Callable[[Any], Any] = as_it_is
    after: Callable[[Any], Any] = as_it_is

    def __call__(self, state: Any, *inputs: Any) -> Any:
        return self.after(self.body(self.before(state), *inputs))


class Held:
    """A state as the body of a loop has it; ``whole`` is what it stands for, made when it is first asked for."""

    def __init__(self, state: Any, after: Callable[[Any], Any]) -> None:
        self.state, self._after = state, after

    @cached_property
    def whole(self) -> Any:
        return self._after(self.state)

    def having(self, state: Any) -> Held:
        """Another state of the same form."""
        return Held(state, self._after)


def inside(state: Any) -> Any:
    """A state as its loop has it, with the same names."""
    return state.state if isinstance(state, Held) else state


def whole(state: Any) -> Any:
    """What a state stands for that may be held."""
    return state.whole if isinstance(state, Held) else state


def changed(state: Any, inner: Any) -> Any:
    """``inner``, held as ``state`` is."""
    return state.having(inner) if isinstance(state, Held) else inner
