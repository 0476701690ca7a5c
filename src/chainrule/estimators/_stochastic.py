"""The stochastic solvers: the library's loop over shuffled batches, with scikit-learn's draws and its way to stop."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from .._backend import Backend
from .._base.errors import DivergenceError, require
from .._base.typing import Array
from .._model.evaluation import evaluate
from .._model.schema import Schema
from ..layers import Dropout, RandomizedLeakyReLU
from ..optimizers import Optimizer, planned
from ..schedules import as_schedule
from ..training import (
    DeviceFeed,
    HostFeed,
    Plan,
    Problem,
    ProgressBar,
    Run,
    Snapshot,
    State,
    batch_sizes,
    copy_state,
    fresh_state,
    move_state,
    train,
)
from ._convergence import Convergence, start
from ._inputs import is_sparse
from ._order import Order
from ._prepared import NON_FINITE, PreparedFit
from ._sparse import SparseRows, move_rows, on_sparse
from ._validation import ValidationForward, make_score


@dataclass
class Progress:
    """What ``partial_fit`` goes on from. It pickles, whatever the rows: arrays come to the host, and the compiled step
    is left out.
    """

    state: State
    problem: Problem
    order: Order  # of the training rows, in the last epoch
    rate_scale: float = 1.0
    best: Snapshot | None = None
    ended: bool = False  # whether early stopping has ended the calls of partial_fit
    past_end: bool = False  # whether it was said that the schedule is over
    feed: DeviceFeed | None = field(default=None, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        best = None if self.best is None else Snapshot(*move_state(None, self.best))
        return {**vars(self), "state": move_state(None, self.state), "best": best, "feed": None}


def fit_stochastic(
    estimator: Any, fit: PreparedFit, callbacks: Iterable[object], *, fresh: bool, incremental: bool
) -> None:
    """Train the estimator's model: ``max_iter`` epochs at most, or one of ``partial_fit``."""
    start(estimator, fresh=fresh, validates=fit.validation_set is not None, incremental=incremental)
    rows, epochs = len(fit.rows), 1 if incremental else estimator.max_iter
    sizes = batch_sizes(rows, _batch_size(estimator, rows), fit.network)
    backend = on_sparse(fit.backend) if is_sparse(fit.data.x) else fit.backend
    backend = backend.compiling(fit.problem.parts())
    if incremental:
        _check_length(fit.problem.optimizer)
    optimizer = planned(fit.problem.optimizer, estimator.max_iter * len(sizes))
    fit = replace(fit, problem=replace(fit.problem, optimizer=optimizer))
    progress = _resume(estimator, backend, fit, incremental)
    if incremental:
        _tell_end(backend, progress, len(sizes))
    feed = _feed(backend, fit, progress, sizes)
    convergence = Convergence(
        estimator,
        rows=rows,
        constant=fit.constant,
        score=None if fit.validation_set is None else make_score(estimator, backend, fit),
        validation_constant=0.0 if fit.validation_set is None else fit.validation_set.constant,
        incremental=incremental,
        best=progress.best,
    )
    history = estimator.model_.history
    run = Run(
        backend=backend,
        problem=fit.problem,
        state=progress.state,
        columns=("loss", "val_loss", "val_score") if fit.validation_set is not None else ("loss",),
        first_epoch=len(history) + 1,
        epochs=epochs,
        steps_per_epoch=len(sizes),
        build=fit.model,
        history=history,
        rate_scale=progress.rate_scale,
    )

    def order(epoch: int) -> np.ndarray:
        if estimator.shuffle:
            progress.order.shuffle(estimator._random_state)
        return fit.rows[progress.order.index()]

    measure = _measure(backend, fit)
    if estimator.early_stopping and not (fresh or incremental):
        convergence.beat(run, {name: float(backend.to_numpy(value)[0]) for name, value in measure(run.state).items()})
    listeners = [convergence, *callbacks, *([ProgressBar()] if estimator.verbose == "bar" else [])]
    progress.order.begin(estimator._random_state)
    try:
        train(run, Plan(feed, order, measure), listeners)
    except DivergenceError as error:
        _diverged(estimator, error, run, convergence)
    except KeyboardInterrupt:
        warnings.warn("Training interrupted by user.", stacklevel=2)
    finally:  # whatever a callback raises, nothing that was trained is lost
        progress.order.end(estimator._random_state)
        # Copied, since the program's own arrays are the next call's too.
        progress.state = copy_state(backend, run.state) if incremental else run.state
        progress.problem, progress.rate_scale = fit.problem, run.rate_scale
        progress.best, progress.ended = convergence.best, convergence.ended
        progress.feed = _program_of(feed, incremental)
        estimator.model_, estimator.stopped_, estimator._progress = run.model(), run.stopped, progress


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
    warnings.warn(
        f"the schedule {type(schedule).__name__} has come to the end of its {end} steps, and partial_fit goes on at "
        f"its last rate, {final:.3g}: give it more steps, or another rate with set_params.",
        stacklevel=2,
    )


def _program_of(feed: DeviceFeed | HostFeed, incremental: bool) -> DeviceFeed | None:
    """What compiled the steps, for the next call of ``partial_fit``, without the examples."""
    if not incremental or not isinstance(feed, DeviceFeed):
        return None
    feed.release()
    return feed


def _batch_size(estimator: Any, rows: int) -> int:
    if estimator.batch_size == "auto":
        return min(200, rows)
    if estimator.batch_size > rows:
        warnings.warn(
            "Got `batch_size` less than 1 or larger than sample size. It is going to be clipped", stacklevel=2
        )
    return int(np.clip(estimator.batch_size, 1, rows))


def _resume(estimator: Any, backend: Backend, fit: PreparedFit, incremental: bool) -> Progress:
    """The state to start from: the model's weights, and for ``partial_fit`` the optimizer as it was left."""
    model = estimator.model_
    theta, buffers = backend.copy(backend.asarray(model.theta)), backend.copy(backend.asarray(model.buffers))
    random = any(isinstance(layer, Dropout | RandomizedLeakyReLU) for layer in fit.network.layers)

    def fresh(seed: int) -> State:
        return fresh_state(backend, fit.problem, theta, buffers, seed)

    before: Progress | None = getattr(estimator, "_progress", None) if incremental else None
    if before is None or type(before.problem.optimizer) is not type(fit.problem.optimizer):
        seed = int(estimator._random_state.randint(2**31 - 1)) if random else 0
        return Progress(fresh(seed), fit.problem, Order(len(fit.rows)))
    # Copied, since a step owns what it is given, and a call that fails must leave what there was.
    state = copy_state(backend, move_state(backend, before.state))._replace(theta=theta, buffers=buffers)
    order = before.order.copy() if before.order.rows == len(fit.rows) else Order(len(fit.rows))
    best = None if before.best is None else Snapshot(*move_state(backend, before.best))
    if before.problem == fit.problem:
        return replace(before, state=state, order=order, best=best, ended=False)
    # Other settings of an optimizer may ask for fewer moments, or for more (Lion's decay): those of before stay.
    moments = fresh(0).moments
    state = state._replace(moments=state.moments[: len(moments)] + moments[len(state.moments) :])
    return Progress(state, fit.problem, order, before.rate_scale, best)


def _feed(backend: Backend, fit: PreparedFit, progress: Progress, sizes: list[int]) -> DeviceFeed | HostFeed:
    if is_sparse(fit.data.x):
        feed: DeviceFeed | HostFeed = HostFeed(
            backend, fit.data, sizes, SparseRows(fit.data.x), partial(move_rows, backend)
        )
    elif progress.feed is not None and progress.feed.takes(backend, fit.data, sizes):
        return progress.feed
    else:
        feed = DeviceFeed(backend, fit.data, sizes)
    feed.compile(fit.problem)
    return feed


def _measure(backend: Backend, fit: PreparedFit) -> Callable[[State], dict[str, Array]]:
    validation_set = fit.validation_set
    if validation_set is None:
        return lambda state: {}
    forward = ValidationForward(backend, fit.problem.network, validation_set.batch)

    def measure(state: State) -> dict[str, Array]:
        loaded = forward.load(state.theta, state.buffers)
        return {
            "val_loss": evaluate(backend, lambda x: loaded(), fit.problem.loss, validation_set.batch, {}, Schema())[
                "loss"
            ]
        }

    return measure


def _diverged(estimator: Any, error: DivergenceError, run: Run, convergence: Convergence) -> None:
    """As in scikit-learn: an error, or under early stopping NaN as the last score, the best weights and a warning."""
    if not estimator.early_stopping:
        raise DivergenceError(
            f"{NON_FINITE} {error.finding}", epoch=error.epoch, step=error.step, layer=error.layer, model=error.model
        ) from None
    estimator.n_iter_ += 1
    estimator.loss_ = float("nan")
    for curve in (estimator.loss_curve_, estimator.validation_scores_, estimator.validation_loss_curve_):
        curve.append(float("nan"))
    run.stop("training diverged")
    convergence.ended = True
    if convergence.best is not None:
        run.restore(convergence.best)
    ends_with = "last good weights" if convergence.best is None else "best weights so far"
    warnings.warn(f"{NON_FINITE} {error} The {ends_with} are kept.", RuntimeWarning, stacklevel=2)
