"""A step as ``torch.compile`` makes it, called again and again on the same arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import is_
from types import FunctionType
from typing import Any

from .._base.errors import warn
from ._loop import Loop
from ._trees import leaves, shapes

_FILTER = "keep_portable_guards_unsafe"  # of torch.compiler; a version without it asks all guards
_FROZEN = {"array_api_compat", "builtins", "chainrule", "math", "torch"}


class Compiled:
    """A step that is compiled for the shapes it is called with; its first argument is donated, and is what it returns.

    It writes into the arrays that it is given and returns none of them: torch would make a new view of each in every
    call. Where it cannot be compiled it runs as it is, and a warning says why, once. torch compiles a function for a
    few shapes only (``recompile_limit``); the step runs as it is for others.

    Args:
        step: the step itself; of a ``Loop`` the body is compiled, for what ``before`` makes of the state: views of it.
        options: of ``torch.compile``.
    """

    def __init__(self, step: Callable[..., Any], options: dict[str, Any]) -> None:
        import torch

        loop = step if isinstance(step, Loop) else Loop(step)
        self._step, self._before = step, loop.before
        self._program = torch.compile(_in_place(loop.body), fullgraph=True, dynamic=False, **options)
        self._known: set[Any] = set()  # the shapes that it was compiled for
        self._closed = False  # to any other
        self._last: tuple[Any, tuple[Any, ...], Any] = None, (), None  # state and inputs, and what stood for the state

    def __call__(self, state: Any, *inputs: Any) -> Any:
        before, given, own = self._last
        if state is before and all(map(is_, inputs, given)):
            results = self._program(own, *inputs)
        else:
            made_for = shapes((state, inputs))
            if self._closed and made_for not in self._known:
                return self._step(state, *inputs)
            own = self._before(state)
            try:
                results = self._program(own, *inputs)
            except _failures() as error:
                # Compilation fails before any of the step has run, so its state is untouched.
                self._give_up(error)
                return self._step(state, *inputs)
            self._known.add(made_for)
            self._last = state, inputs, own
        return (state, *results) if results else state

    def repeat(self, steps: int, state: Any, *inputs: Any) -> Any:
        """The state after as many steps on these arguments; of a step that returns nothing else."""
        for _ in range(steps):
            state = self(state, *inputs)
        return state

    def _give_up(self, error: Exception) -> None:
        import torch

        self._closed, reason = True, str(error).strip().splitlines()[0]
        if isinstance(error, torch._dynamo.exc.FailOnRecompileLimitHit):
            what = "torch.compile takes a step of so many shapes only, others run"
            reason = f"torch._dynamo.config.recompile_limit is {torch._dynamo.config.recompile_limit}"
        else:
            what = "torch.compile failed, the step runs"
            self._known.clear()
        warn(f"{what} uncompiled: {reason}", RuntimeWarning)


def _failures() -> tuple[type[Exception], ...]:
    import torch

    return torch._dynamo.exc.TorchDynamoException, torch._dynamo.exc.FailOnRecompileLimitHit


def _in_place(step: Callable[..., Any]) -> Callable[..., tuple[Any, ...]]:
    """The step, which leaves what the state becomes in the state's arrays and returns what there is besides."""

    def write(state: Any, *inputs: Any) -> tuple[Any, ...]:
        made = step(state, *inputs)
        after, *results = (made,) if type(made) is type(state) else made
        changed = [(old, new) for old, new in zip(leaves(state), leaves(after), strict=True) if old is not new]
        read = [new.clone() for _, new in changed]  # before one is overwritten that another becomes
        for (old, _), new in zip(changed, read, strict=True):
            old.copy_(new)
        return tuple(results)

    # With code of its own: torch counts by it, and the steps of all training runs have theirs from one function.
    return FunctionType(write.__code__.replace(), write.__globals__, write.__name__, None, write.__closure__)


def filtered_guards() -> dict[str, Any]:
    """The option of ``torch.compile`` by which a call asks no guard that cannot fail, where this torch has it."""
    import torch

    return {"guard_filter_fn": _may_fail} if hasattr(torch.compiler, _FILTER) else {}


def _may_fail(guards: Sequence[Any]) -> list[bool]:
    """Which guards are asked in each call: all of them, where the step goes through code of the user's own.

    Else those of the arguments, and of what holds for the process: whether autograd records, how many threads there
    are. A step of ours alone is frozen, and asking whether it still is took longer than a small step.
    """
    import torch

    modules = {str(getattr(guard.value, "__module__", None) or "builtins").partition(".")[0] for guard in guards}
    if not {name for name in modules if not name.startswith("namedtuple_")} <= _FROZEN:
        return [True] * len(guards)
    portable = getattr(torch.compiler, _FILTER)(guards)
    return [kept or guard.name.startswith(("state", "inputs")) for kept, guard in zip(portable, guards, strict=True)]
