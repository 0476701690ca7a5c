"""Where a training run turned NaN or infinite: found by going back and replaying.

A step never reads a number on the host. The loop reads once an epoch; when it then finds a number that is not finite,
it returns to the copy of the state at the epoch's start and replays the epoch, which gives the same numbers because
everything random is keyed. The replay stops at the step, and looks into it for the layer.
"""

from __future__ import annotations

from functools import partial, reduce
from itertools import islice
from operator import and_
from typing import NamedTuple

import numpy as np

from .._backend import Backend
from .._backend._trees import leaves
from .._base.typing import Array
from .._random import step_key
from ..batch import Batch
from ..layers import Residual
from ..losses import cost
from ..network import Sequential
from ._feed import Feed
from ._step import Problem, State, copy_state, make_step


class Divergence(NamedTuple):
    """The step (from 1), the layer in words, the likely cause, and the last state whose numbers were finite."""

    step: int
    layer: str
    cause: str
    good: State


def is_finite(backend: Backend, state: State) -> Array:
    """1 where theta, the moments, the buffers and the epoch's cost are finite, else 0, as an array ``(1,)``.

    A weight whose second moment is infinite would stand still for ever, and its own numbers would not show it.
    """
    xp = backend.xp
    numbers = leaves((state.theta, state.buffers, state.cost, state.moments))
    each = [xp.all(xp.isfinite(array)) for array in numbers]
    return xp.reshape(xp.astype(reduce(and_, each), backend.dtype), (1,))


def locate(
    backend: Backend, problem: Problem, start: State, feed: Feed, order: np.ndarray, steps: int, done: int = 0
) -> Divergence:
    """Replay an epoch's first ``steps``, the rows in this order, and find the first that is not finite.

    ``start`` is the state after the first ``done`` steps.
    """
    # As it was trained, to the last bit; but a compilation that takes long is for the training alone.
    compiles = backend.library.COMPILES
    step = backend.compile(make_step, problem) if compiles else make_step(backend, problem)
    state = copy_state(backend, start)  # a step owns what it is given, and ``start`` may be what is returned
    for number, rows in enumerate(islice(feed.begin(order, done), steps - done), done + 1):
        good = copy_state(backend, state)
        batch = feed.batch(rows)
        state, _ = step(state, batch)
        if not backend.to_numpy(is_finite(backend, state))[0]:
            return Divergence(number, *_look_into(backend, problem, good, batch), good)
    return Divergence(steps, "no layer: the replay stayed finite", "rounding at the edge of overflow", start)


def _look_into(backend: Backend, problem: Problem, state: State, batch: Batch) -> tuple[str, str]:
    """The first layer, forward and then backward, that made a number that is not finite; and why, with numbers."""
    network, xp = problem.network, backend.xp
    params = network.layout.split(backend, state.theta)
    buffers = network.buffer_layout.split(backend, state.buffers)
    key = step_key(state.key, state.step + 1)
    cause = partial(_cause, _to_scale(backend, problem, batch))
    residuals: list[Residual] = []
    for i, (z, residual, running) in enumerate(network.walk_forward(backend, params, buffers, batch.x, key)):
        residuals.append(residual)
        if not all(np.isfinite(_largest(backend, made)) for made in (z, *running)):
            return _words(network, i), cause("its outputs overflowed")
    value, dz = cost(backend, problem.loss, z, batch.y, batch.weight)
    if not np.isfinite(_largest(backend, value)):
        size = _largest(backend, z)
        return f"the loss ({type(problem.loss).__name__})", cause(f"its inputs reach {size:.3g}")
    norm = 0.0
    for i, _, gradients in network.walk_backward(backend, params, residuals, dz):
        sizes = [_largest(backend, g) for g in gradients]
        if not np.all(np.isfinite(sizes)):
            return _words(network, i), cause("its gradient overflowed")
        norm = max([norm, *sizes])
    total = batch.x.shape[0] if batch.weight is None else xp.sum(batch.weight)
    if not np.isfinite(_largest(backend, state.cost + xp.reshape(value, (*value.shape, 1)) * total)):
        return f"the loss ({type(problem.loss).__name__})", cause("its sum over the epoch overflowed")
    return "the optimizer's update", cause(f"the gradient reaches {norm:.3g}; the learning rate is too high")


def _words(network: Sequential, i: int) -> str:
    return f"layer {i + 1} ({network.layers[i]})"


def _largest(backend: Backend, x: Array) -> float:
    xp = backend.xp
    return float(backend.to_numpy(xp.reshape(xp.max(xp.abs(x)), (1,)))[0])


def _to_scale(backend: Backend, problem: Problem, batch: Batch) -> dict[str, str]:
    """What is far from standard deviation 1, and how far: X, y, both or none."""
    given = {"X": ("inputs", batch.x)} | ({"y": ("targets", batch.y)} if problem.loss.target == "numbers" else {})
    sizes = {name: (words, _largest(backend, array)) for name, (words, array) in given.items()}
    return {name: f"{words} reach {size:.3g}" for name, (words, size) in sizes.items() if size > 30}


def _cause(to_scale: dict[str, str], what: str) -> str:
    if to_scale:
        found, names = " and ".join(to_scale.values()), " and ".join(to_scale)
        return f"{what}, and {found}: scale {names} to mean 0 and standard deviation 1"
    return f"{what}: lower the learning rate or clip the gradient (clip=cr.ClipNorm(1.0))"
