"""The loop: epochs of steps, and one synchronisation an epoch."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from .._backend._loop import inside, whole
from .._base.errors import DivergenceError, InterruptedTraining, warn
from .._base.typing import Array
from ..history import History, Record
from ..schedules import as_schedule
from ._callbacks import has_hook
from ._divergence import is_finite, locate
from ._feed import Feed
from ._interrupt import Interrupt, deferred_interrupt
from ._run import Run
from ._step import State, copy_held, copy_state, owned_state

OnDivergence = Literal["raise", "stop", "recover"]
_NOTE = "The training's weights so far are in this error's .model."
_TOGETHER = 0.005  # seconds, which nobody who presses Ctrl-C or watches a bar notices
_RECOVERIES = 10  # halvings of the rate: a thousandth of it, after which something else is wrong


@dataclass(frozen=True)
class Plan:
    """What every epoch does: ``order(epoch)`` are its rows in turn, ``measure`` what is read at the end, and
    ``on_divergence`` what becomes of a training run that turns NaN or infinite.
    """

    feed: Feed
    order: Callable[[int], np.ndarray]
    measure: Callable[[State], dict[str, Array]] | None
    on_divergence: OnDivergence = "raise"


def train(
    run: Run, plan: Plan, callbacks: Sequence[object], on_break: Callable[[Run], None] = lambda run: None
) -> None:
    """Train from where the run is to its last epoch, a callback's ``run.stop``, or Ctrl-C.

    Every hook is called, whatever happens; ``on_break`` where the run breaks off between two records.
    An error that ends it takes the weights so far with it, as its ``model``. It passes no generator that is a context,
    nor an ExitStack with a callback that raises: these write to the error, and one may take no attributes.
    """
    with deferred_interrupt() as interrupt:
        begun: list[object] = []  # who is told the end
        try:
            try:
                for callback in callbacks:
                    _call([callback], "on_train_begin", run)
                    begun.append(callback)
                _Loop(run, plan, callbacks, on_break, interrupt).go_through_epochs()
            finally:
                _call_all(begun, "on_train_end", run)
        except BaseException as error:
            _give_weights(run, error)
            raise
    if interrupt.asked:
        warn(f"interrupted in epoch {run.epoch}, step {run.step}: the model so far is returned.", InterruptedTraining)


@dataclass(frozen=True)
class _Loop:
    """The epochs of a training run. ``done`` is how many steps of an epoch were taken before it was gone on with."""

    run: Run
    plan: Plan
    callbacks: Sequence[object]
    on_break: Callable[[Run], None]
    interrupt: Interrupt

    def go_through_epochs(self) -> None:
        run, done = self.run, self.run.step
        if self.plan.on_divergence != "recover":
            run.first = run.best = None
        elif run.first is None:
            run.first = copy_state(run.backend, run.state)
        try:
            while run.epoch < run.last_epoch and run.stopped is None:
                run.epoch += 1
                self.epoch(done)
                done = 0
        except BaseException as error:
            if run.trained and not _has_model_of(run, error):  # a divergence has one, and no state to go on from
                with suppress(Exception):  # what ended the training comes first
                    self.on_break(run)
            raise

    def epoch(self, done: int) -> None:
        """The steps of one epoch and its record; where it diverges it is taken again, or the last one."""
        run, started = self.run, time.perf_counter()
        run.step = done
        _call(self.callbacks, "on_epoch_begin", run)
        if not done:
            _zero_sums(run)
        epoch_start, order, diverged = copy_held(run.backend, run.held), self.plan.order(run.epoch), False
        try:
            while (measured := self.steps(order, done, epoch_start)) is None:
                if diverged:
                    run.best = None  # the best epoch's end was on its way to infinity already
                diverged = True
                if not self.recover(order, done, epoch_start):
                    return
                epoch_start, done = copy_held(run.backend, run.held), 0
        except BaseException:
            with suppress(Exception):  # a device that fails
                if not run.backend.to_numpy(is_finite(run.backend, inside(run.held)))[0]:
                    run.held, run.step = epoch_start, done
            raise
        if self.interrupt.asked:
            run.stop("interrupted")
            if run.steps_per_epoch is None or run.step < run.steps_per_epoch:
                self.on_break(run)
                return
        run.steps_per_epoch = run.step
        record: Record = {"epoch": run.epoch, **measured, "seconds": time.perf_counter() - started}
        if run.first is not None and record["loss"] <= min(run.history["loss"], default=math.inf):
            run.best = copy_state(run.backend, run.state)
        run.history = History((*run.history.records, record))
        _call_all(self.callbacks, "on_epoch_end", run, record)

    def steps(self, order: np.ndarray, done: int, epoch_start: Any) -> dict[str, float] | None:
        """The steps that are not done, and what is measured after them; None where a number is not finite.

        Ends after the step in flight when Ctrl-C was pressed.
        """
        run, backend, feed = self.run, self.run.backend, self.plan.feed
        listeners = [callback for callback in self.callbacks if has_hook(callback, "on_step_end")]
        run.step, pace = done, _Pace(alone=not any(getattr(each, "every_step", True) for each in listeners))
        with np.errstate(all="ignore"):  # NumPy alone would warn of an overflow, which is found below on every backend
            for rows in feed.begin(order, done, lambda: self.interrupt.asked):
                try:
                    run.held, taken = feed.step(run.held, rows, pace.most)
                except BaseException:  # half of it may be in the state, which it was free to write over
                    run.held, run.step = epoch_start, done
                    raise
                run.step, run.trained = run.step + taken, True
                pace.took(taken)
                _call(listeners, "on_step_end", run)
                if self.interrupt.asked:
                    break
            state: State = inside(run.held)
            columns = {"loss": state.cost / state.weight, **(self.plan.measure(run.state) if self.plan.measure else {})}
            counted = is_finite(backend, state), backend.xp.astype(state.step, backend.dtype)
            numbers = backend.to_numpy(backend.xp.concat([*counted, *columns.values()]))  # the one synchronisation
        finite, step, *values = map(float, numbers)
        return {**dict(zip(columns, values, strict=True)), "learning_rate": _rate(run, step)} if finite else None

    def recover(self, order: np.ndarray, done: int, epoch_start: Any) -> bool:
        """Put the run back to good weights, at half the rate: True. Or end the training: False. Or raise."""
        run, on_divergence = self.run, self.plan.on_divergence
        with np.errstate(all="ignore"):
            found = locate(run.backend, run.problem, whole(epoch_start), self.plan.feed, order, run.step, done)
        run.state = found.good
        of_steps = max(run.steps_per_epoch or 0, run.step)
        what = (
            f"training diverged in epoch {run.epoch}, step {found.step} of {of_steps}: the first number that is not "
            f"finite came from {found.layer}; {found.cause}."
        )
        if on_divergence == "stop":
            warn(f"{what} Training ends with the last good weights.")
            run.stop("training diverged")
            return False
        if on_divergence == "raise" or run.recoveries == _RECOVERIES:
            raise DivergenceError(what, epoch=run.epoch, step=found.step, layer=found.layer, model=run.model())
        good = run.best or run.first
        assert good is not None, "there is a first state to recover from"
        run.recoveries += 1
        run.state = copy_state(run.backend, good)
        _zero_sums(run)
        run.scale_rate(0.5)
        rate = _rate(run, int(run.backend.to_numpy(run.state.step)[0]) + 1)
        warn(f"{what} The epoch starts again at half the rate, {rate:.3g}.")
        return True


class _Pace:
    """How many steps are taken together where nothing looks between them: as many as take a few milliseconds."""

    def __init__(self, *, alone: bool) -> None:
        self._alone, self.most, self._began = alone, 1, time.perf_counter()

    def took(self, steps: int) -> None:
        now = time.perf_counter()
        if self._alone:
            each = max((now - self._began) / steps, 1e-7)
            self.most = min(max(int(_TOGETHER / each), 1), 2 * self.most)
        self._began = now


def _zero_sums(run: Run) -> None:
    """Begin an epoch: its first row, and no cost yet."""
    zeros = run.backend.zeros
    cursor, cost = zeros((1,), run.backend.xp.int32), zeros(inside(run.held).cost.shape)
    run.put(cursor=cursor, cost=cost, weight=zeros((1,)))


def _rate(run: Run, step: float) -> float:
    """The learning rate of a step, counted from 1, from the schedule's own formula on the host."""
    rate = as_schedule(run.problem.optimizer.learning_rate).rate(np, np.asarray([float(step)]))[0]
    return float(rate) * run.rate_scale


def _give_weights(run: Run, error: BaseException) -> None:
    if run.trained and not _has_model_of(run, error):
        with suppress(Exception):  # no memory for a copy, or an exception that takes no attributes
            error.model = run.model()  # type: ignore[attr-defined]
            if _NOTE not in getattr(error, "__notes__", ()):
                error.add_note(_NOTE)


def _has_model_of(run: Run, error: BaseException) -> bool:
    """Whether the error carries this run's weights already; those of another training run in a callback are not its."""
    return getattr(getattr(error, "model", None), "history", None) is run.history


def _call(callbacks: Iterable[object], hook: str, run: Run, *arguments: object) -> None:
    before = run.held
    for callback in callbacks:
        if hasattr(callback, hook):
            getattr(callback, hook)(run, *arguments)
    if run.held is not before:
        run.state = owned_state(run.backend, run.state, whole(before))


def _call_all(callbacks: Sequence[object], hook: str, run: Run, *arguments: object) -> None:
    """Call each, also after one that raises; the last error is raised then."""
    if callbacks:
        try:
            _call(callbacks[:1], hook, run, *arguments)
        finally:
            _call_all(callbacks[1:], hook, run, *arguments)
