"""The loop: epochs of steps, and one synchronisation an epoch."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from typing import Literal

import numpy as np

from .._base.errors import DivergenceError, InterruptedTraining
from .._base.typing import Array
from ..history import History, Record
from ..schedules import as_schedule
from ._checkpoint import Resumed, resume_callbacks
from ._divergence import is_finite, locate
from ._feed import Feed
from ._interrupt import Interrupt, deferred_interrupt
from ._run import Run
from ._step import State, copy_state, owned_state

OnDivergence = Literal["raise", "stop", "recover"]
_HAS_MODEL = " The error's .model has the last good weights."
_NOTE = "The training's weights so far are in this error's .model."
_RECOVERIES = 10  # halvings of the rate: a thousandth of it, after which something else is wrong


@dataclass(frozen=True)
class Plan:
    """What every epoch does: ``order(epoch)`` are its rows in turn, ``measure`` what is read at the end, and
    ``on_divergence`` what becomes of a training run that turns NaN or infinite.
    """

    feed: Feed
    order: Callable[[int], np.ndarray]
    measure: Callable[[State], dict[str, Array]]
    on_divergence: OnDivergence = "raise"


def train(run: Run, plan: Plan, callbacks: Sequence[object], resumed: Resumed | None = None) -> None:
    """Train until the last epoch, a callback's ``run.stop``, or Ctrl-C. Every hook is called, whatever happens.

    An error that ends it takes the weights so far with it, as its ``model``. It passes no generator that is a context,
    nor an ExitStack with a callback that raises: these write to the error, and one may take no attributes.
    """
    with deferred_interrupt() as interrupt:
        begun: list[object] = []
        try:
            try:
                _train(run, plan, callbacks, interrupt, resumed, begun)
            finally:
                _call_all(begun, "on_train_end", run)
        except BaseException as error:
            _give_weights(run, error)
            raise
    if interrupt.asked:
        warnings.warn(
            f"interrupted in epoch {run.epoch}, step {run.step}: the model so far is returned.",
            InterruptedTraining,
            stacklevel=4,
        )


def _train(
    run: Run,
    plan: Plan,
    callbacks: Sequence[object],
    interrupt: Interrupt,
    resumed: Resumed | None,
    begun: list[object],
) -> None:
    first_epoch, first_step = _start(run, plan, callbacks, resumed, begun)
    try:
        for epoch in range(first_epoch, run.last_epoch + 1):
            if run.stopped is not None:
                break
            run.epoch = epoch
            _epoch(run, plan, callbacks, interrupt, first_step if epoch == first_epoch else 0)
    except BaseException as error:
        if run.trained and not _has_model_of(run, error):  # a divergence has one, and no state to go on from
            with suppress(Exception):  # what ended the training comes first
                _call(callbacks, "on_break", run)
        raise


def _start(
    run: Run, plan: Plan, callbacks: Sequence[object], resumed: Resumed | None, begun: list[object]
) -> tuple[int, int]:
    """Begin, or go on: the first epoch, and how many of its steps are done. Whoever has ``begun`` is told the end."""
    for callback in callbacks:
        _call([callback], "on_train_begin", run)
        begun.append(callback)
    if resumed is not None:
        resume_callbacks(callbacks, resumed.callbacks)
        run.epoch, run.step, run.stopped = resumed.position.epoch, run.steps_per_epoch or 0, resumed.stopped
    if plan.on_divergence == "recover":
        run.good = (resumed.good if resumed is not None else []) or [copy_state(run.backend, run.state)]
    return (run.first_epoch, 0) if resumed is None else (resumed.position.epoch + 1, resumed.position.step)


def _give_weights(run: Run, error: BaseException) -> None:
    if run.trained and not _has_model_of(run, error):
        with suppress(Exception):  # no memory for a copy, or an exception that takes no attributes
            error.model = run.model()  # type: ignore[attr-defined]
            if _NOTE not in getattr(error, "__notes__", ()):
                error.add_note(_NOTE)


def _has_model_of(run: Run, error: BaseException) -> bool:
    """Whether the error carries this run's weights already; those of another training run in a callback are not its."""
    return getattr(getattr(error, "model", None), "history", None) is run.history


def _epoch(run: Run, plan: Plan, callbacks: Sequence[object], interrupt: Interrupt, done: int) -> None:
    """One epoch, but for the steps that are ``done``, its record, and its divergence if it has one."""
    started, run.step = time.perf_counter(), done
    _call(callbacks, "on_epoch_begin", run)
    epoch_start, order = _begin(run, done), plan.order(run.epoch)
    try:
        for attempt in count(1):
            measured = _steps(run, plan, order, callbacks, interrupt, done, epoch_start)
            if measured.pop("finite"):
                break
            error = _divergence(run, epoch_start, plan, order, done)
            if attempt == 2:
                run.good = run.good[:1]  # the best epoch's end was on its way to infinity already
            if not _go_on(run, plan, error):
                return
            epoch_start, done = copy_state(run.backend, run.state), 0
    except BaseException:
        with suppress(Exception):  # a device that fails
            if not run.backend.to_numpy(is_finite(run.backend, run.state))[0]:
                run.state, run.step = epoch_start, done
        raise
    if interrupt.asked:
        run.stop("interrupted")
        if run.steps_per_epoch is None or run.step < run.steps_per_epoch:
            _call(callbacks, "on_break", run)
            return
    run.steps_per_epoch = run.step
    seconds = time.perf_counter() - started
    rate = _rate(run, measured.pop("step"))
    record: Record = {"epoch": run.epoch, **measured, "learning_rate": rate, "seconds": seconds}
    if plan.on_divergence == "recover" and record["loss"] <= min(run.history["loss"], default=math.inf):
        run.good = [run.good[0], copy_state(run.backend, run.state)]
    run.history = History((*run.history.records, record))
    _call_all(callbacks, "on_epoch_end", run, record)


def _begin(run: Run, done: int) -> State:
    """Set the epoch's counters to 0, unless some of it is done, and keep a copy of the state to come back to."""
    backend = run.backend
    if done:
        return copy_state(backend, run.state)
    _zero_sums(run)
    return copy_state(backend, run.state)


def _zero_sums(run: Run) -> None:
    backend = run.backend
    cursor, cost, weight = (
        backend.zeros((1,), backend.xp.int32),
        backend.zeros(run.state.cost.shape),
        backend.zeros((1,)),
    )
    run.state = run.state._replace(cursor=cursor, cost=cost, weight=weight)


def _steps(
    run: Run,
    plan: Plan,
    order: np.ndarray,
    callbacks: Sequence[object],
    interrupt: Interrupt,
    done: int,
    epoch_start: State,
) -> dict[str, float]:
    """The epoch's steps, and what is measured after them; ends after the step in flight when Ctrl-C was pressed."""
    backend = run.backend
    listeners = [callback for callback in callbacks if hasattr(callback, "on_step_end")]
    run.step = done
    with np.errstate(all="ignore"):  # NumPy alone would warn of an overflow, which is found below on every backend
        for number, rows in enumerate(plan.feed.begin(order, done, lambda: interrupt.asked), done + 1):
            try:
                run.state = plan.feed.step(run.state, rows)
            except BaseException:  # half of it may be in the state, which it was free to write over
                run.state, run.step = epoch_start, done
                raise
            run.step, run.trained = number, True
            _call(listeners, "on_step_end", run)
            if interrupt.asked:
                break
        loss = run.state.cost / run.state.weight
        counted = {"finite": is_finite(backend, run.state), "step": backend.xp.astype(run.state.step, backend.dtype)}
        arrays = {**counted, "loss": loss, **plan.measure(run.state)}
        numbers = backend.to_numpy(backend.xp.concat(list(arrays.values())))  # the epoch's one synchronisation
    return dict(zip(arrays, map(float, numbers), strict=True))


def _go_on(run: Run, plan: Plan, error: DivergenceError) -> bool:
    """Take the epoch again, from good weights at half the rate: True. Or end the training: False. Or raise."""
    what = str(error).removesuffix(_HAS_MODEL)
    if plan.on_divergence == "stop":
        warnings.warn(f"{what} Training ends with the last good weights.", stacklevel=7)
        run.stop("training diverged")
        return False
    if plan.on_divergence == "raise" or run.recoveries == _RECOVERIES:
        raise error
    run.recoveries += 1
    run.state = copy_state(run.backend, run.good[-1])
    _zero_sums(run)
    run.scale_rate(0.5)
    rate = _rate(run, int(run.backend.to_numpy(run.state.step)[0]) + 1)
    warnings.warn(f"{what} The epoch starts again at half the rate, {rate:.3g}.", stacklevel=7)
    return True


def _divergence(run: Run, epoch_start: State, plan: Plan, order: np.ndarray, done: int) -> DivergenceError:
    with np.errstate(all="ignore"):
        found = locate(run.backend, run.problem, epoch_start, plan.feed, order, run.step, done)
    run.state = found.good
    return DivergenceError(
        f"training diverged in epoch {run.epoch}, step {found.step} of {max(run.steps_per_epoch or 0, run.step)}: the "
        f"first number that is not finite came from {found.layer}; {found.cause}.{_HAS_MODEL}",
        epoch=run.epoch,
        step=found.step,
        layer=found.layer,
        model=run.model(),
    )


def _rate(run: Run, step: float) -> float:
    """The learning rate of a step, counted from 1, from the schedule's own formula on the host."""
    rate = as_schedule(run.problem.optimizer.learning_rate).rate(np, np.asarray([float(step)]))[0]
    return float(rate) * run.rate_scale


def _call(callbacks: Iterable[object], hook: str, run: Run, *arguments: object) -> None:
    before = run.state
    for callback in callbacks:
        if hasattr(callback, hook):
            getattr(callback, hook)(run, *arguments)
    if run.state is not before:
        run.state = owned_state(run.backend, run.state, before)


def _call_all(callbacks: Sequence[object], hook: str, run: Run, *arguments: object) -> None:
    """Call each, also after one that raises; the last error is raised then."""
    if callbacks:
        try:
            _call(callbacks[:1], hook, run, *arguments)
        finally:
            _call_all(callbacks[1:], hook, run, *arguments)
