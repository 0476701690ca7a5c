"""Ours: the step as ``fit`` takes it, predictions by ``model.predict``, and ``fit`` itself for the crossover."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from operations import LOSS, wait

import chainrule as cr
from chainrule._backend import Backend
from chainrule.backpropagation import value_and_gradient
from chainrule.batch import Batch, make_window
from chainrule.training._step import Problem, initial_state, make_epoch_step

from . import fused_kernel
from .ladder import Rung
from .runners import B1, B2, EPSILON, RATE, DeviceName, NotMeasuredError, Runner, predicting, stepping

LIBRARY = {"cuda": "cupy", "cpu": "numpy"}


def eager(rung: Rung, device: DeviceName) -> Runner:
    return _made(rung, _backend(rung, LIBRARY[device], compile=False))


def compiled(rung: Rung, device: DeviceName) -> Runner:
    return _made(rung, _backend(rung, LIBRARY[device], compile=True))


def fused(rung: Rung, device: DeviceName) -> Runner:
    """Compiled, with one kernel for all layers in the place of several, which no other backend has."""
    if device != "cuda" or rung.kind != "training":
        raise NotMeasuredError("the fused kernel trains on a CUDA device.")
    on = _backend(rung, LIBRARY[device], compile=True)
    if fused_kernel.find(rung.network.net, rung.precision, rung.network.batch, fused_kernel.shared_limit()) is None:
        raise NotMeasuredError("the fused kernel does not cover this network on this device.")
    kernels = {**on.providers, value_and_gradient: fused_kernel.value_and_gradient}
    return _made(rung, replace(on, providers=kernels))


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
    return _predictions(rung, on) if rung.kind == "inference" else _steps(rung, on)


def _steps(rung: Rung, on: Backend) -> Runner:
    """``fit``'s innermost loop; as there, the host sets the cursor back at the end of the data."""
    problem = Problem(rung.network.net, LOSS, cr.Adam(RATE, B1, B2, EPSILON))
    X, y, order = rung.training_data()
    data = Batch(on.asarray(X), on.asarray(y.reshape(-1, 1), on.xp.int32))
    placed, window = on.asarray(order, on.xp.int32), make_window(on, rung.network.batch)
    program = on.compile(make_epoch_step, problem)
    state, taken = initial_state(on, problem, seed=0), 0

    def step() -> None:
        nonlocal state, taken
        if taken == rung.batches:
            state, taken = state._replace(cursor=on.zeros((1,), on.xp.int32)), 0
        taken += 1
        state = program(state, data, placed, window)

    def loss() -> Any:
        nonlocal state
        state = state._replace(cost=on.zeros((1,)), weight=on.zeros((1,)))
        step()
        return on.to_numpy(state.cost / state.weight)[0]

    losses = stepping(rung, loss, lambda: None).first
    return Runner(losses, stepping(rung, step, lambda: wait(on, state.theta)).seconds)


def _predictions(rung: Rung, on: Backend) -> Runner:
    """``predict``, from its checks to class indices that stay on the device."""
    net = rung.network.net
    model = cr.Model(net, on.asarray(net.initial_theta(0)), on.asarray(net.initial_buffers()), LOSS, on)
    X = on.asarray(rung.rows_to_predict())
    return predicting(rung, lambda: model.predict(X), lambda: wait(on, X))


def _fits(rung: Rung, on: Backend) -> Runner:
    """The second epoch of ``fit`` on arrays that lie on the device; the first one may compile."""
    X, y, _ = rung.training_data()
    x, classes = on.asarray(X), on.asarray(y, on.xp.int32)

    def records(epochs: int) -> cr.History:
        adam = cr.Adam(RATE, B1, B2, EPSILON)
        options: dict[str, Any] = {"batch_size": rung.network.batch, "epochs": epochs, "backend": on}
        return cr.fit(rung.network.net, x, classes, loss=LOSS, optimizer=adam, **options).history

    return Runner(
        lambda: np.array(records(2)["loss"]),
        lambda: records(2)["seconds"][1] / rung.batches,
    )
