"""The loop: epochs of steps, and one synchronisation an epoch."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from .._backend import Backend
from .._errors import DivergenceError, InterruptedTraining
from .._random import host_generator
from .._typing import Array
from ..data import Batch, make_window
from ..history import History, Record
from ..schedules import as_schedule
from ._divergence import is_finite, locate
from ._interrupt import Interrupt, deferred_interrupt
from ._run import Run
from ._step import State, copy_state, make_epoch_step

Program = Callable[[State, Batch, Array, Array], State]


@dataclass(frozen=True)
class Plan:
    """What every epoch does: the data, how many rows each step takes, their order, and what is measured at the end."""

    data: Batch
    sizes: Sequence[int]
    shuffle: bool
    seed: int
    measure: Callable[[State], dict[str, Array]]

    def order(self, run: Run) -> Array:
        """The epoch's order of rows, drawn on the host and keyed by (seed, epoch): the same on every backend."""
        rows = self.data.x.shape[0]
        order = host_generator(self.seed, "order", run.epoch).permutation(rows) if self.shuffle else np.arange(rows)
        return run.backend.asarray(order, run.backend.xp.int32)


def train(run: Run, plan: Plan, callbacks: Sequence[object]) -> None:
    """Train until the last epoch, a callback's ``run.stop``, or Ctrl-C. Every hook is called, whatever happens."""
    program: Program = run.backend.compile(make_epoch_step, run.problem, _has_zero_weights(run.backend, plan.data))
    windows = {rows: make_window(run.backend, rows) for rows in dict.fromkeys(plan.sizes)}
    begun: list[object] = []
    with deferred_interrupt() as interrupt:
        try:
            for callback in callbacks:
                _call([callback], "on_train_begin", run)
                begun.append(callback)
            for epoch in range(run.first_epoch, run.last_epoch + 1):
                run.epoch = epoch
                _epoch(run, plan, program, windows, callbacks, interrupt)
                if run.stopped is not None:
                    break
        finally:
            _call(begun, "on_train_end", run)
    if interrupt.asked:
        warnings.warn(
            f"interrupted in epoch {run.epoch}, step {run.step}: the model so far is returned.",
            InterruptedTraining,
            stacklevel=3,
        )


def _has_zero_weights(on: Backend, data: Batch) -> bool:
    return data.weight is not None and not on.to_numpy(on.xp.all(data.weight > 0.0))


def _epoch(
    run: Run,
    plan: Plan,
    program: Program,
    windows: dict[int, Array],
    callbacks: Sequence[object],
    interrupt: Interrupt,
) -> None:
    """One epoch, its record, and its divergence if it has one."""
    on, started = run.backend, time.perf_counter()
    kept, order = _begin(run), plan.order(run)
    with np.errstate(all="ignore"):  # NumPy alone would warn of an overflow, which is found below on every backend
        _steps(run, plan, program, windows, order, callbacks, interrupt)
        loss = run.state.cost / run.state.weight
        arrays = {"finite": is_finite(on, run.state), "loss": loss, **plan.measure(run.state)}
        numbers = on.to_numpy(on.xp.concat(list(arrays.values())))  # the epoch's one synchronisation
    measured = dict(zip(arrays, map(float, numbers), strict=True))
    if not measured.pop("finite"):
        raise _divergence(run, kept, plan, order)
    if interrupt.asked:
        run.stop("interrupted")
        if run.step < len(plan.sizes):
            return
    seconds = time.perf_counter() - started
    record: Record = {"epoch": run.epoch, **measured, "rate": _rate(run), "seconds": seconds}
    run.history = History((*run.history.records, record))
    _call(callbacks, "on_epoch_end", run, record)


def _begin(run: Run) -> State:
    """Set the epoch's counters to 0, and keep a copy of the state to come back to."""
    on = run.backend
    cursor, cost, weight = on.zeros((1,), on.xp.int32), on.zeros(run.state.cost.shape), on.zeros((1,))
    run.state = run.state._replace(cursor=cursor, cost=cost, weight=weight)
    return copy_state(on, run.state)


def _steps(
    run: Run,
    plan: Plan,
    program: Program,
    windows: dict[int, Array],
    order: Array,
    callbacks: Sequence[object],
    interrupt: Interrupt,
) -> None:
    """The epoch's steps; ends early after the step in flight when Ctrl-C was pressed."""
    listeners = [callback for callback in callbacks if hasattr(callback, "on_step_end")]
    for run.step, rows in enumerate(plan.sizes, 1):
        run.state = program(run.state, plan.data, order, windows[rows])
        _call(listeners, "on_step_end", run)
        if interrupt.asked:
            break


def _divergence(run: Run, kept: State, plan: Plan, order: Array) -> DivergenceError:
    with np.errstate(all="ignore"):
        found = locate(run.backend, run.problem, kept, plan.data, order, plan.sizes[: run.step])
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
    t = (run.epoch - run.first_epoch) * run.steps_per_epoch + run.step
    return float(as_schedule(run.problem.optimizer.learning_rate).rate(np, np.asarray([float(t)]))[0]) * run.rate_scale


def _call(callbacks: Iterable[object], hook: str, *arguments: object) -> None:
    for callback in callbacks:
        if hasattr(callback, hook):
            getattr(callback, hook)(*arguments)
