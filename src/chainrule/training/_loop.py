"""The loop: epochs of steps, and one synchronisation an epoch."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from .._errors import DivergenceError, InterruptedTraining
from .._typing import Array
from ..history import History, Record
from ..schedules import as_schedule
from ._checkpoint import Resumed, resume_callbacks
from ._divergence import is_finite, locate
from ._feed import Feed
from ._interrupt import Interrupt, deferred_interrupt
from ._run import Run
from ._step import State, copy_state


@dataclass(frozen=True)
class Plan:
    """What every epoch does: ``order(epoch)`` are its rows in turn, ``sizes`` says how many of them each step takes,
    and ``measure`` what is read at the end.
    """

    feed: Feed
    sizes: Sequence[int]
    order: Callable[[int], np.ndarray]
    measure: Callable[[State], dict[str, Array]]


def train(run: Run, plan: Plan, callbacks: Sequence[object], resumed: Resumed | None = None) -> None:
    """Train until the last epoch, a callback's ``run.stop``, or Ctrl-C. Every hook is called, whatever happens."""
    first_epoch, first_step = run.first_epoch, 0
    begun: list[object] = []
    with deferred_interrupt() as interrupt:
        try:
            for callback in callbacks:
                _call([callback], "on_train_begin", run)
                begun.append(callback)
            if resumed is not None:
                resume_callbacks(callbacks, resumed.callbacks)
                first_epoch, first_step = resumed.place.epoch + 1, resumed.place.step
                run.epoch, run.step, run.stopped = resumed.place.epoch, run.steps_per_epoch, resumed.stopped
            for epoch in range(first_epoch, run.last_epoch + 1):
                if run.stopped is not None:
                    break
                run.epoch = epoch
                _epoch(run, plan, callbacks, interrupt, first_step if epoch == first_epoch else 0)
        finally:
            _call(begun, "on_train_end", run)
    if interrupt.asked:
        warnings.warn(
            f"interrupted in epoch {run.epoch}, step {run.step}: the model so far is returned.",
            InterruptedTraining,
            stacklevel=3,
        )


def _epoch(run: Run, plan: Plan, callbacks: Sequence[object], interrupt: Interrupt, done: int) -> None:
    """One epoch, but for the steps that are ``done``, its record, and its divergence if it has one."""
    on, started = run.backend, time.perf_counter()
    _call(callbacks, "on_epoch_begin", run)
    kept = _begin(run, done)
    plan.feed.begin(plan.order(run.epoch), sum(plan.sizes[:done]))
    with np.errstate(all="ignore"):  # NumPy alone would warn of an overflow, which is found below on every backend
        _steps(run, plan, callbacks, interrupt, done)
        loss = run.state.cost / run.state.weight
        arrays = {"finite": is_finite(on, run.state), "loss": loss, **plan.measure(run.state)}
        numbers = on.to_numpy(on.xp.concat(list(arrays.values())))  # the epoch's one synchronisation
    measured = dict(zip(arrays, map(float, numbers), strict=True))
    if not measured.pop("finite"):
        raise _divergence(run, kept, plan, done)
    if interrupt.asked:
        run.stop("interrupted")
        if run.step < len(plan.sizes):
            _call(callbacks, "on_interrupt", run)
            return
    seconds = time.perf_counter() - started
    record: Record = {"epoch": run.epoch, **measured, "rate": _rate(run), "seconds": seconds}
    run.history = History((*run.history.records, record))
    _call(callbacks, "on_epoch_end", run, record)


def _begin(run: Run, done: int) -> State:
    """Set the epoch's counters to 0, unless some of it is done, and keep a copy of the state to come back to."""
    on = run.backend
    if done:
        return copy_state(on, run.state)
    cursor, cost, weight = on.zeros((1,), on.xp.int32), on.zeros(run.state.cost.shape), on.zeros((1,))
    run.state = run.state._replace(cursor=cursor, cost=cost, weight=weight)
    return copy_state(on, run.state)


def _steps(run: Run, plan: Plan, callbacks: Sequence[object], interrupt: Interrupt, done: int) -> None:
    """The epoch's steps; ends early after the step in flight when Ctrl-C was pressed."""
    listeners = [callback for callback in callbacks if hasattr(callback, "on_step_end")]
    for run.step, rows in enumerate(plan.sizes[done:], done + 1):
        run.state = plan.feed.step(run.state, rows)
        _call(listeners, "on_step_end", run)
        if interrupt.asked:
            break


def _divergence(run: Run, kept: State, plan: Plan, done: int) -> DivergenceError:
    with np.errstate(all="ignore"):
        found = locate(run.backend, run.problem, kept, plan.feed, plan.sizes[: run.step], done)
    run.state = found.good
    return DivergenceError(
        f"training diverged in epoch {run.epoch}, step {found.step} of {run.steps_per_epoch}: the first number that is "
        f"not finite came from {found.layer}; {found.cause}. The error's .model has the last good weights.",
        epoch=run.epoch,
        step=found.step,
        layer=found.layer,
        model=run.model(),
    )


def _rate(run: Run) -> float:
    """The learning rate of the epoch's last step, from the schedule's own formula on the host."""
    t = run.steps_before + (run.epoch - run.first_epoch) * run.steps_per_epoch + run.step
    return float(as_schedule(run.problem.optimizer.learning_rate).rate(np, np.asarray([float(t)]))[0]) * run.rate_scale


def _call(callbacks: Iterable[object], hook: str, *arguments: object) -> None:
    for callback in callbacks:
        if hasattr(callback, hook):
            getattr(callback, hook)(*arguments)
