"""Ours: the step as ``fit`` takes it, predictions by ``model.predict``, and ``fit`` itself for the crossover.

``fit`` launches one graph a step on CuPy. Where a program takes several steps in a call (JAX), ``fit`` gives it as many
as last some milliseconds, and here a dispatch is one call. ``predict`` looks for numbers that are not finite, which
waits for the device once; the others' predictions do not look.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from operations import LOSS, wait

import chainrule as cr
from chainrule._backend import Backend
from chainrule._backend._loop import changed, inside, whole
from chainrule.backpropagation import value_and_gradient
from chainrule.batch import Batch, make_window
from chainrule.training._step import Problem, State, initial_state, make_epoch_step

from . import fused_kernel
from .epilogues import with_epilogues
from .equality import Training, sampled
from .ladder import Rung
from .runners import (
    B1,
    B2,
    EPSILON,
    DeviceName,
    NotMeasuredError,
    Runner,
    Trainee,
    pieces,
    predicting,
    training,
)

LIBRARY = {"cuda": "cupy", "cpu": "numpy"}


def default(rung: Rung, device: DeviceName) -> Runner:
    return _made(rung, _backend(rung, LIBRARY[device], compile=None))


def compiled(rung: Rung, device: DeviceName) -> Runner:
    return _made(rung, _backend(rung, LIBRARY[device], compile=True))


def steps_in_one_graph(rung: Rung, device: DeviceName) -> Runner:
    """Compiled, with as many steps in a graph as JAX scans, which ``fit`` does not do."""
    return training(rung, _training(rung, _backend(rung, LIBRARY[device], compile=True), in_one=True))


def one_kernel(rung: Rung, device: DeviceName) -> Runner:
    """Compiled, with one kernel for all layers in the place of several, which no other backend has."""
    if device != "cuda":
        raise NotMeasuredError("the kernel trains on a CUDA device.")
    on = _backend(rung, LIBRARY[device], compile=True)
    if fused_kernel.find(rung.network.net, rung.precision, rung.network.batch, fused_kernel.shared_limit()) is None:
        raise NotMeasuredError("the kernel does not cover this network on this device.")
    kernels = {**on.providers, value_and_gradient: fused_kernel.value_and_gradient}
    return training(rung, _training(rung, replace(on, providers=kernels), in_one=True))


def epilogues(rung: Rung, device: DeviceName) -> Runner:
    """Compiled, with ReLU and the bias gradients in the products, as many steps in a graph."""
    if device != "cuda":
        raise NotMeasuredError("cuBLASLt's products are for a CUDA device.")
    on = _backend(rung, LIBRARY[device], compile=True)
    return training(rung, _training(rung, on, with_epilogues(rung.network.net), in_one=True))


def on_torch(rung: Rung, device: DeviceName) -> Runner:
    return _made(rung, _backend(rung, f"torch:{device}", compile=None))


def on_torch_compiled(rung: Rung, device: DeviceName) -> Runner:
    if device != "cuda":
        raise NotMeasuredError("its kernels are for a CUDA device.")
    return _made(rung, _backend(rung, f"torch:{device}", compile=True))


def on_jax(rung: Rung, device: DeviceName) -> Runner:
    return _made(rung, _backend(rung, "jax:gpu" if device == "cuda" else "jax:cpu", compile=None))


def fit_on_device(rung: Rung, device: DeviceName) -> Runner:
    return _fits(rung, _backend(rung, LIBRARY[device], compile=None))


def fit_on_numpy(rung: Rung, device: DeviceName) -> Runner:
    return _fits(rung, _backend(rung, "numpy", compile=None))


def _backend(rung: Rung, library: str, *, compile: bool | None) -> Backend:
    try:
        return cr.backend(library, compile=compile, precision=rung.precision)
    except cr.ConfigurationError as reason:
        raise NotMeasuredError(str(reason)) from reason


def _made(rung: Rung, on: Backend) -> Runner:
    return _prediction(rung, on) if rung.kind == "inference" else training(rung, _training(rung, on))


def _training(rung: Rung, on: Backend, network: cr.Sequential | None = None, *, in_one: bool = False) -> Trainee:
    """``fit``'s innermost loop; as there, the host sets the cursor back at the end of the data."""
    problem = Problem(network or rung.network.net, LOSS, cr.Adam(rung.rate, B1, B2, EPSILON))
    X, y, order = rung.training_data()
    data = Batch(on.asarray(X), on.asarray(y.reshape(-1, 1), on.xp.int32))
    placed, window = on.asarray(order, on.xp.int32), make_window(on, rung.network.batch)
    one = on.compile(make_epoch_step, problem)
    several = on.compile(partial(_make_steps, rung.steps), problem) if in_one else one
    state: Any
    taken = 0

    def restart() -> None:
        nonlocal state, taken
        state, taken = initial_state(on, problem, seed=0), 0

    def take(program: Callable[..., Any], steps: int) -> None:
        nonlocal state, taken
        if taken == rung.batches:
            state, taken = changed(state, inside(state)._replace(cursor=on.zeros((1,), on.xp.int32))), 0
        taken += steps
        state = program(state, data, placed, window)

    repeat = getattr(one, "repeat", None)

    def dispatch() -> None:
        if in_one:
            take(several, rung.steps)
        elif repeat is not None:
            take(partial(repeat, rung.steps), rung.steps)
        else:
            for _ in range(rung.steps):
                take(one, 1)

    return Trainee(
        restart,
        lambda: take(one if repeat is None else partial(repeat, 1), 1),
        dispatch,
        lambda: pieces(rung.network, on.to_numpy(whole(state).theta)),
        lambda: pieces(rung.network, on.to_numpy(whole(state).moments[0])),
        lambda: wait(on, inside(state).step),
    )


def _make_steps(steps: int, backend: Backend, problem: Problem) -> Callable[..., State]:
    step = make_epoch_step(backend, problem)

    def take(state: State, data: Batch, order: Any, window: Any) -> State:
        for _ in range(steps):
            state = step(state, data, order, window)
        return state

    return take


def _prediction(rung: Rung, on: Backend) -> Runner:
    """``predict``, from its checks to class indices that stay on the device."""
    net = rung.network.net
    model = cr.Model(net, on.asarray(net.initial_theta(0)), on.asarray(net.initial_buffers()), LOSS, on)
    X = on.asarray(rung.rows_to_predict())
    return predicting(lambda: model.predict(X), lambda: wait(on, X))


def _fits(rung: Rung, on: Backend) -> Runner:
    """Epochs of ``fit`` after the first one, which may compile, on arrays that lie on the device."""
    X, y, _ = rung.training_data()
    x, classes = on.asarray(X), on.asarray(y, on.xp.int32)

    def fitted(epochs: int) -> cr.Model:
        adam = cr.Adam(rung.rate, B1, B2, EPSILON)
        options: dict[str, Any] = {"batch_size": rung.network.batch, "epochs": epochs, "backend": on}
        return cr.fit(rung.network.net, x, classes, loss=LOSS, optimizer=adam, **options)

    def first() -> Training:
        start, end = (sampled(pieces(rung.network, theta)) for theta in (None, on.to_numpy(fitted(1).theta)))
        return Training([], [after - before for after, before in zip(end, start, strict=True)])

    epochs = 2

    def seconds(least: float) -> float:
        nonlocal epochs
        while sum(measured := fitted(epochs).history["seconds"][1:]) < least:
            epochs *= 2
        return sum(measured) / (len(measured) * rung.batches)

    return Runner(first, seconds)
