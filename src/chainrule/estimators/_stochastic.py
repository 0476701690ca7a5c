"""The stochastic solvers: the library's loop over shuffled batches, with scikit-learn's draws and its way to stop."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import replace
from functools import partial

import numpy as np

from .._backend import Backend
from .._base.errors import DivergenceError, require, warn
from ..optimizers import Optimizer, planned
from ..schedules import as_schedule
from ..training import (
    DeviceFeed,
    HostFeed,
    Plan,
    Problem,
    Run,
    Snapshot,
    State,
    batch_sizes,
    copy_state,
    fresh_state,
    move_state,
    train,
)
from ._convergence import Convergence
from ._order import Order
from ._records import NON_FINITE, Fitted, PreparedFit, Progress, Settings
from ._sklearn_callbacks import SklearnCallbacks
from ._sparse import SparseRows, move_rows, on_sparse
from ._validation import Show, make_measure, make_score


def fit_stochastic(
    fit: PreparedFit, settings: Settings, fitted: Fitted, told: SklearnCallbacks | None, show: Show
) -> None:
    """Train ``fitted``'s model: ``max_iter`` epochs at most, or one of ``partial_fit``."""
    rows, validation, history = len(fit.rows), fit.validation_set, fitted.model.history
    sizes = batch_sizes(rows, _batch_size(settings, rows), fitted.model.network)
    backend = (on_sparse(fit.backend) if fit.sparse else fit.backend).compiling(fit.problem.parts())
    if settings.incremental:
        _check_length(fit.problem.optimizer)
    problem = replace(fit.problem, optimizer=planned(fit.problem.optimizer, settings.max_iter * len(sizes)))
    progress = _resume(backend, problem, fitted, rows, settings.incremental)
    if settings.incremental:
        _tell_end(backend, progress, len(sizes))
    feed: DeviceFeed | HostFeed
    if fit.sparse:
        feed = HostFeed(backend, fit.data, sizes, SparseRows(fit.data.x), partial(move_rows, backend))
    elif progress.feed is not None and progress.feed.takes(backend, fit.data, sizes):
        feed = progress.feed
    else:
        feed = DeviceFeed(backend, fit.data, sizes)
    if feed is not progress.feed:
        feed.compile(backend, problem)
    run = Run(
        backend=backend,
        problem=problem,
        held=progress.state,
        columns=("loss",) if validation is None else ("loss", "val_loss", "val_score"),
        first_epoch=len(history) + 1,
        epochs=1 if settings.incremental else settings.max_iter,
        steps_per_epoch=len(sizes),
        build=lambda run: fitted.model_of(run.state.theta, run.state.buffers, run.history),
        history=history,
        rate_scale=progress.rate_scale,
    )

    def order(epoch: int) -> np.ndarray:
        if settings.shuffle:
            progress.order.shuffle(fitted.generator)
        return fit.rows[progress.order.index()]

    measure = make_measure(backend, problem, validation)
    score = make_score(backend, problem.network, validation, settings.scoring, fitted, show)
    epochs = fitted.begin_epochs(settings, validates=validation is not None)
    convergence = Convergence(settings, fitted, epochs, rows, fit.constant, validation, score, progress.best)
    if settings.early_stopping and fitted.goes_on and not settings.incremental:  # to be better than before
        convergence.beat(run, {name: float(backend.to_numpy(value)[0]) for name, value in measure(run.state).items()})
    progress.order.begin(fitted.generator)
    told_too = [*settings.callbacks, *([] if told is None else [told])]
    try:
        with backend.training(problem.network.multiplications(sizes[0])):
            _train(run, Plan(feed, order, measure), convergence, told_too)
    finally:  # whatever a callback raises, nothing that was trained is lost
        progress.order.end(fitted.generator)
        # Copied, since the program's own arrays are the next call's too.
        progress.state = copy_state(backend, run.state) if settings.incremental else run.state
        progress.problem, progress.rate_scale = problem, run.rate_scale
        progress.best, progress.ended = convergence.best, convergence.ended
        progress.feed = _program_of(feed) if settings.incremental else None
        fitted.model, fitted.stopped, fitted.progress = run.model(), run.stopped, progress


def _train(run: Run, plan: Plan, convergence: Convergence, callbacks: Iterable[object]) -> None:
    """Train, until Ctrl-C or, under early stopping, a divergence too."""
    try:
        train(run, plan, [convergence, *callbacks])
    except DivergenceError as error:
        if not convergence.settings.early_stopping:
            raise DivergenceError(
                f"{NON_FINITE} {error.finding}",
                epoch=error.epoch,
                step=error.step,
                layer=error.layer,
                model=error.model,
            ) from None
        kept = convergence.end_diverged(run)
        warn(f"{NON_FINITE} {error} The {kept} are kept.", RuntimeWarning)
    except KeyboardInterrupt:
        warn("Training interrupted by user.")


def _check_length(optimizer: Optimizer) -> None:
    """Refuse a schedule that lasts as long as the training: how many calls are to come is the caller's to know."""
    kind = type(optimizer.learning_rate).__name__
    require(
        planned(optimizer, 1) is optimizer,
        f"partial_fit cannot know how many steps are to come, and the schedule {kind} has no length of its own: give "
        f"it the steps of all calls together, {kind}(..., steps=1000), or take a constant rate.",
    )


def _tell_end(backend: Backend, progress: Progress, steps: int) -> None:
    """Say once that the calls go on after the end of a schedule, where its rate may be 0."""
    schedule = progress.problem.optimizer.learning_rate
    end = getattr(schedule, "steps", None)
    if not isinstance(end, int) or progress.past_end or int(backend.to_numpy(progress.state.step)[0]) + steps <= end:
        return
    progress.past_end = True
    final = float(as_schedule(schedule).rate(np, np.asarray([float(end)]))[0])
    warn(
        f"the schedule {type(schedule).__name__} has come to the end of its {end} steps, and partial_fit goes on at "
        f"its last rate, {final:.3g}: give it more steps, or another rate with set_params."
    )


def _key_seed(generator: np.random.RandomState) -> int:
    """What keys a step's random numbers: the state of the generator, of which a draw would shift all later ones."""
    state = generator.get_state(legacy=False)["state"]  # of any bit generator: numbers, and arrays of them, by name
    return zlib.crc32(b"".join(np.asarray(state[name]).tobytes() for name in sorted(state)))


def _program_of(feed: DeviceFeed | HostFeed) -> DeviceFeed | None:
    """What compiled the steps, for the next call of ``partial_fit``, without the examples."""
    if not isinstance(feed, DeviceFeed):
        return None
    feed.release()
    return feed


def _batch_size(settings: Settings, rows: int) -> int:
    if settings.batch_size is None:
        return min(200, rows)
    if settings.batch_size > rows:
        warn("Got `batch_size` less than 1 or larger than sample size. It is going to be clipped")
    return int(np.clip(settings.batch_size, 1, rows))


def _resume(backend: Backend, problem: Problem, fitted: Fitted, rows: int, incremental: bool) -> Progress:
    """The state to start from: the model's weights, and for ``partial_fit`` the optimizer as it was left."""
    model, before = fitted.model, fitted.progress if incremental else None
    theta, buffers = backend.copy(backend.asarray(model.theta)), backend.copy(backend.asarray(model.buffers))

    def fresh(seed: int, epochs_before: int = 0) -> State:
        return fresh_state(backend, problem, theta, buffers, seed, epochs_before=epochs_before)

    if before is None or type(before.problem.optimizer) is not type(problem.optimizer):
        state = fresh(_key_seed(fitted.generator), len(model.history))
        return Progress(state, problem, Order(rows))
    # Copied, since a step owns what it is given, and a call that fails must leave what there was.
    state = copy_state(backend, move_state(backend, before.state))._replace(theta=theta, buffers=buffers)
    order = before.order.copy() if before.order.rows == rows else Order(rows)
    best = None if before.best is None else Snapshot(*move_state(backend, before.best))
    if before.problem == problem:
        return replace(before, state=state, order=order, best=best, ended=False)
    # Other settings of an optimizer may ask for fewer moments, or for more (Lion's decay): those of before stay.
    moments = fresh(0).moments
    state = state._replace(moments=state.moments[: len(moments)] + moments[len(state.moments) :])
    return Progress(state, problem, order, before.rate_scale, best)
