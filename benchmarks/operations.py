"""What is timed: each operation of a training, on one network and one backend, as a call without arguments.

Every call waits for its device, so that what is timed is the work and not the asking for it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from grid import Network, threads_of_fit

import chainrule as cr
from chainrule._backend import Backend, reference_backend
from chainrule._kernels import with_providers
from chainrule._random import Key
from chainrule.backpropagation import value_and_gradient
from chainrule.batch import Batch, make_window
from chainrule.losses import SoftmaxCrossEntropy
from chainrule.training._step import Problem, initial_state, make_epoch_step

BATCHES = 8  # that a step goes round
LOSS = SoftmaxCrossEntropy()


def backend_of(name: str, dtype: str = "float32", *, compile: bool | None = None) -> Backend:
    """``numpy`` is NumPy alone, ``numpy+numba`` with ``chainrule[fast]``; else a library's name."""
    library, _, extra = name.partition("+")
    return with_providers(reference_backend(library, dtype=dtype, compile=compile), fast=bool(extra))


def wait(on: Backend, x: Any) -> None:
    """Until ``x`` has been computed."""
    if on.name == "jax":
        x.block_until_ready()
    elif on.name == "torch" and x.is_cuda:
        import torch

        torch.cuda.synchronize()
    elif on.name == "cupy":
        x.device.synchronize()


def problem_of(network: Network) -> Problem:
    return Problem(network.net, LOSS, cr.Adam(1e-3))


def data_of(network: Network, on: Backend, batches: int, dtype: str) -> Batch:
    """Random rows and classes on the backend."""
    X, y = network.data(batches, dtype)
    return Batch(on.asarray(X), on.asarray(y.reshape(-1, 1), on.xp.int32))


def matmul(network: Network, on: Backend, dtype: str) -> Callable[[], None]:
    """The largest product of the network's forward pass."""
    rows, (n_in, n_out) = network.batch, max(zip(network.sizes, network.sizes[1:], strict=False), key=np.prod)
    rng = np.random.default_rng(0)
    a, b = (on.asarray(rng.standard_normal(shape).astype(dtype)) for shape in ((rows, n_in), (n_in, n_out)))
    return lambda: wait(on, on.xp.matmul(a, b))


def forward(network: Network, on: Backend, dtype: str) -> Callable[[], None]:
    """The training pass forward, uncompiled."""
    made = _parts(network, on, dtype)
    state, batch, key = made
    net = network.net

    def run() -> None:
        params = net.layout.split(on, state.theta)
        wait(on, net.forward(on, params, state.buffers, batch.x, key)[0])

    return run


def forward_backward(network: Network, on: Backend, dtype: str) -> Callable[[], None]:
    """The cost of a batch and its gradient, uncompiled."""
    state, batch, key = _parts(network, on, dtype)
    net = network.net

    def run() -> None:
        wait(on, value_and_gradient(on, net, LOSS, state.theta, state.buffers, batch, key)[1])

    return run


def _parts(network: Network, on: Backend, dtype: str) -> tuple[Any, Batch, Key]:
    word = on.zeros((1, 1), on.xp.int32)
    return initial_state(on, problem_of(network), seed=0), data_of(network, on, 1, dtype), Key(word, word)


def step(network: Network, on: Backend, dtype: str) -> Callable[[], None]:
    """A whole step as ``fit`` runs it: gather, forward, loss, backward, optimizer."""
    data = data_of(network, on, BATCHES, dtype)
    order = on.asarray(np.random.default_rng(1).permutation(data.x.shape[0]), on.xp.int32)
    window, start = make_window(on, network.batch), on.zeros((1,), on.xp.int32)
    program = on.compile(make_epoch_step, problem_of(network))
    state, taken = initial_state(on, problem_of(network), seed=0), 0

    def run() -> None:
        nonlocal state, taken
        if taken % BATCHES == 0:  # a new epoch
            state = state._replace(cursor=on.copy(start))
        taken += 1
        state = program(state, data, order, window)
        wait(on, state.theta)

    run.inside = lambda: threads_of_fit(network, on, program)  # type: ignore[attr-defined]  # for grid.block
    return run


def epoch(network: Network, on: Backend, dtype: str) -> Callable[[], None]:
    """``fit`` for one epoch from the user's arrays: checks, initial weights, shuffling, steps, the model."""
    X, y = network.data(BATCHES, dtype)
    net = network.net
    options: dict[str, Any] = {"loss": LOSS, "batch_size": network.batch, "epochs": 1, "backend": on}
    return lambda: wait(on, cr.fit(net, X, y, **options).theta)


def inference(network: Network, on: Backend, dtype: str, rows: int | None = None) -> Callable[[], None]:
    """``model.predict`` of a batch, from and to arrays of the backend."""
    X, y = network.data(1, dtype)
    model = cr.fit(network.net, X, y, loss=LOSS, batch_size=network.batch, epochs=1, backend=on)
    wanted = rows or network.batch
    x = on.asarray(np.resize(X, (wanted, X.shape[1])))
    return lambda: wait(on, model.predict(x))


OPERATIONS = {
    "matmul": matmul,
    "forward": forward,
    "forward+backward": forward_backward,
    "step": step,
    "epoch": epoch,
    "inference": inference,
}


def flop_of(operation: str, network: Network) -> float:
    """Floating-point operations of one call's products."""
    products = [a * b for a, b in zip(network.sizes, network.sizes[1:], strict=False)]
    forward_pass = 2.0 * network.batch * sum(products)
    return {
        "matmul": 2.0 * network.batch * max(products),
        "forward": forward_pass,
        "inference": forward_pass,
        "epoch": BATCHES * network.flop,
    }.get(operation, network.flop)


def plain(on: Backend) -> Backend:
    """``on`` with its steps as they are."""
    return replace(on, compiled=False)
