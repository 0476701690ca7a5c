"""One training step, as a pure function: ``step(state, batch) -> (state, cost)``. Arrays in, arrays out.

**Donation**: a step owns the state it is given, may overwrite its arrays in place, and returns it; the caller rebinds
and never looks at the old name again. What leaves for the user is copied. Nothing in a step reads a number on the host,
so the same function runs eagerly, under ``jax.jit``, and in a captured graph; what changes from step to step lives in
arrays of shape ``(1,)``, never in Python numbers that compiling would freeze.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import zip_longest
from numbers import Real
from typing import Any, Literal, NamedTuple, TypeVar

import numpy as np

from .._backend import Backend, dtype_name, to_host
from .._backend._loop import Loop, changed, inside
from .._backend._trees import leaves, rebuild, tree_map
from .._base.errors import require
from .._base.options import check_range
from .._base.typing import Array
from .._random import member_key, step_key
from ..backpropagation import penalized, value_and_gradient
from ..batch import Batch, advance, gather
from ..losses import LossFunction
from ..network import Sequential
from ..optimizers import Clip, Moments, Optimizer, clipped, once, update
from ..penalties import Penalty
from ..schedules import as_schedule
from ._pieces import in_pieces, joined, on_pieces, takes_pieces


class State(NamedTuple):
    """Everything that a step changes. A leading axis k, of theta, moments, buffers, key and cost, is a stack."""

    theta: Array  # (..., p) all trained parameters
    moments: Moments  # the optimizer's, each (..., p)
    buffers: Array  # (..., q) running statistics
    step: Array  # (1,) int32, how many steps were taken
    cursor: Array  # (1,) int32, the first row of the next batch in the epoch's order
    key: Array  # (..., 2) int32, the members' cipher keys
    scale: Array  # (1,) or (k, 1), multiplies the scheduled rate
    cost: Array  # (..., 1) sum over the epoch so far of cost times weight
    weight: Array  # (1,) sum over the epoch so far of the weights


Arrays = TypeVar("Arrays", bound=tuple[Any, ...])
StepFunction = Callable[[State, Batch], tuple[State, Array]]


@dataclass(frozen=True)
class Problem:
    """What is trained and how: all that a step needs besides arrays.

    ``network`` ends in what ``loss`` is computed from (``without_link``). An epoch's cost is the mean of its batches'
    by their ``weights``, the sums of the examples', or by their numbers of ``rows``, which is scikit-learn's.
    """

    network: Sequential
    loss: LossFunction
    optimizer: Optimizer
    penalty: Penalty | None = None
    clip: Clip | None = None
    epoch_mean: Literal["weights", "rows"] = "weights"

    def parts(self) -> Iterator[object]:
        """Everything that a step calls."""
        yield from self.network.parts()
        yield from (self.loss, self.optimizer, self.optimizer.learning_rate, self.penalty, self.clip)


def initial_state(backend: Backend, problem: Problem, *, seed: int, members: Sequence[int] | None = None) -> State:
    """The state before the first step. ``members`` numbers a stack's networks; None is one network, member 0."""
    thetas = [problem.network.initial_theta(seed, member) for member in members or (0,)]
    theta = backend.asarray(thetas[0] if members is None else np.stack(thetas))
    return fresh_state(backend, problem, theta, initial_buffers(backend, problem.network, members), seed, members)


def initial_buffers(backend: Backend, network: Sequential, members: Sequence[int] | None = None) -> Array:
    """The buffers before the first step, ``(q,)`` or ``(k, q)``."""
    buffers = network.initial_buffers()
    return backend.asarray(buffers if members is None else np.stack([buffers] * len(members)))


def fresh_state(
    backend: Backend,
    problem: Problem,
    theta: Array,
    buffers: Array,
    seed: int,
    members: Sequence[int] | None = None,
    *,
    epochs_before: int = 0,
) -> State:
    """A state that starts from these parameters, which it owns from now on.

    Raises ConfigurationError for parameters, or numbers in the problem, that the backend's dtype cannot hold.
    """
    xp, dtype = backend.xp, dtype_name(backend.dtype)
    check_range(problem.parts(), dtype)
    finite = bool(backend.to_numpy(xp.all(xp.isfinite(theta))))
    require(finite, f"the first weights must be finite in {dtype}, got some that are not: draw smaller ones.")
    key = np.asarray([member_key(seed, member, epochs_before) for member in members or (0,)], dtype=np.int32)
    lead = theta.shape[:-1]
    return State(
        theta=theta,
        moments=tuple(problem.optimizer.init(backend, theta, backend.asarray(problem.network.decays()))),
        buffers=buffers,
        step=backend.zeros((1,), xp.int32),
        cursor=backend.zeros((1,), xp.int32),
        key=backend.asarray(key.reshape(*lead, 2), xp.int32),
        scale=backend.asarray(np.ones(1)),
        cost=backend.zeros((*lead, 1)),
        weight=backend.zeros((1,)),
    )


def make_step(backend: Backend, problem: Problem, guarded: bool = True) -> StepFunction:
    """The pure step ``(state, batch) -> (state, cost)``: forward, loss, backward, optimizer. Donates the state.

    A batch whose weights sum to 0 changes nothing but the counters. That takes a copy of theta and the moments in every
    step with weights; where no weight is 0 the step need not be ``guarded`` so.
    """
    xp = backend.xp
    rate = problem.optimizer.learning_rate
    constant = float(rate) if isinstance(rate, Real) else None  # which takes no array
    schedule = as_schedule(rate)
    decays = None if problem.penalty is None else backend.asarray(problem.network.decays())

    def step(state: State, batch: Batch) -> tuple[State, Array]:
        number = state.step + 1
        t = xp.astype(number, backend.dtype)
        # Through run, so that one kernel may take all of it: benchmarks/gpu/fused_kernel.py.
        value, gradient, buffers = backend.run(
            value_and_gradient,
            problem.network,
            problem.loss,
            state.theta,
            state.buffers,
            batch,
            step_key(state.key, number),
        )
        if problem.penalty is not None and decays is not None:
            regularized = problem.penalty, decays, state.theta, batch, value, gradient
            value, gradient = backend.run(penalized, *regularized)
        if problem.clip is not None:
            gradient = backend.run(clipped, problem.clip, gradient)
        eta = backend.run(once, state.scale * (constant if constant is not None else schedule.rate(xp, t)))
        before_update = _copies(backend, state) if guarded and batch.weight is not None else None
        theta, moments = backend.run(update, problem.optimizer, state.theta, gradient, state.moments, t, eta)
        batch_weight = None if batch.weight is None else xp.sum(batch.weight, axis=-2)
        if before_update is not None and batch_weight is not None:
            live, both = batch_weight > 0.0, (theta, tuple(moments), buffers)
            before_step = before_update.theta, before_update.moments, before_update.buffers
            pairs = zip(leaves(both), leaves(before_step), strict=True)
            theta, moments, buffers = rebuild(both, (xp.where(live, new, old) for new, old in pairs))
        counters = state.step, state.cursor, state.cost, state.weight
        by = batch_weight if problem.epoch_mean == "weights" else None
        count, cursor, cost, weight = backend.run(advance, counters, value, batch.x.shape[-2], by)
        return State(theta, tuple(moments), buffers, count, cursor, state.key, state.scale, cost, weight), value

    return step


def make_epoch_step(
    backend: Backend, problem: Problem, guarded: bool = True
) -> Callable[[State, Batch, Array, Array], State]:
    """What is compiled: the step after the gather of its rows. See ``gather`` for the arguments.

    It is a ``Loop`` where the library takes several steps in one call, or theta and the moments are pieces in it.
    """
    pieces = problem.network.layout if takes_pieces(backend, problem.network.size, problem.optimizer) else None
    step = make_step(backend if pieces is None else on_pieces(backend), problem, guarded)

    def epoch_step(state: State, data: Batch, order: Array, window: Array) -> State:
        return step(state, backend.run(gather, data, order, state.cursor, window))[0]

    if pieces is not None:
        return Loop(epoch_step, partial(in_pieces, backend, pieces), partial(joined, backend))
    return Loop(epoch_step) if backend.compiled and backend.library.LOOPS else epoch_step


def copy_state(backend: Backend, state: State) -> State:
    """A copy of the whole state that no later step can overwrite."""
    copied: State = tree_map(backend.copy, state)
    return copied


def copy_held(backend: Backend, state: Any) -> Any:
    """The same of a state that may be held, which stays so."""
    return changed(state, copy_state(backend, inside(state)))


def owned_state(backend: Backend, state: State, before: State) -> State:
    """``state``, of which a step may overwrite every array: what was not here in ``before`` is copied.

    It may be elsewhere too, or be somebody's who goes on to read it.
    """
    both = zip_longest(leaves(state), leaves(before))
    owned: State = rebuild(state, (new if new is old else backend.copy(new) for new, old in both))
    return owned


def move_state(backend: Backend | None, arrays: Arrays) -> Arrays:
    """``arrays``, a state or a part of one, on another backend, integers as they are; None brings them to the host."""

    def move(x: Any) -> Any:
        if backend is None:
            return to_host(x)
        whole = dtype_name(x.dtype).startswith("int")
        return backend.asarray(x, backend.xp.int32 if whole else None)

    moved: Arrays = tree_map(move, arrays)
    return moved


def _copies(backend: Backend, state: State) -> State:
    theta, moments = tree_map(backend.copy, (state.theta, state.moments))
    return state._replace(theta=theta, moments=moments)
