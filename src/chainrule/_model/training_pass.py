"""One training pass over a network, or a model, and data: what ``trace`` shows and ``diagnose`` judges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from .._backend import Backend
from .._base.errors import DataError, require
from .._base.options import whole_number
from .._base.typing import Array
from .._data.checks import check_inputs, prepare
from .._data.streams import read_once, read_targets
from .._kernels import backend as make_backend
from .._layout import Pieces
from .._random import Key, member_key, single_key
from ..layers import Residual
from ..losses import LossFunction, cost, find_loss
from ..network import Sequential, without_link
from .schema import Schema


class Trained(Protocol):
    """A trained network: what is asked of a model."""

    @property
    def network(self) -> Sequential: ...
    @property
    def theta(self) -> Array: ...
    @property
    def buffers(self) -> Array: ...
    @property
    def loss(self) -> LossFunction: ...
    @property
    def backend(self) -> Backend: ...


class Question(NamedTuple):
    """What is passed through which network where; theta and the buffers are drawn where they are None."""

    backend: Backend
    network: Sequential  # ends in what the loss is computed from, where there is a loss
    loss: LossFunction | None
    X: Any
    y: Any
    theta: Any
    buffers: Any
    seed: int


class TrainingPass(NamedTuple):
    """What a pass met at each layer: ``(y, residual, buffers)``, and back (dC/dy, dC/dparams) by the layer's index."""

    backend: Backend
    network: Sequential
    params: Sequence[Pieces]
    buffers: Sequence[Pieces]
    key: Key
    x: Array
    forward: Sequence[tuple[Array, Residual, Pieces]]
    cost: Array | None  # None without targets
    backward: Mapping[int, tuple[Array, Pieces]]


def ask(
    network: Sequential | Trained, X: Any, y: Any, *, loss: Any, theta: Any, buffers: Any, seed: Any, backend: Any
) -> Question:
    """The arguments checked; a model brings what is not said, and takes X and y as it was trained on them.

    Raises ConfigurationError for what is neither network nor model, and for y without a loss.
    """
    if not isinstance(network, Sequential):
        require(
            hasattr(network, "theta"),
            f"expected a network or a model, got {network!r:.60}: write cr.mlp([4, 8, 1]), or estimator.model_.",
        )
        model = network
        schema = getattr(model, "schema", Schema())
        X, y = schema.inputs(X), None if y is None else schema.targets(y)
        network, loss = model.network, model.loss if loss is None else loss
        theta, buffers = model.theta if theta is None else theta, model.buffers if buffers is None else buffers
        backend = model.backend if isinstance(backend, str) and backend == "auto" else backend
    seed = whole_number("seed", seed, least=0)
    require(y is None or loss is not None, "y needs a loss, got loss=None: give loss='squared_error' or another.")
    found = None if loss is None else find_loss(loss)
    network = network if found is None else without_link(network, found)
    return Question(make_backend(backend, like=X), network, found, X, y, theta, buffers, seed)


def answer(question: Question, *, stacks: bool = False) -> TrainingPass:
    """The pass, and with targets the one back; of theta ``(k, p)`` too where ``stacks`` of networks are taken.

    Raises DataError for X, y, theta or buffers that do not fit the network.
    """
    backend, network, loss, X, y, theta, buffers, seed = question
    X, y = read_once(X), read_targets(y)
    x = check_inputs(backend, X, network.n_in)
    theta = _vector(backend, "theta", network.initial_theta(seed) if theta is None else theta, network.size, stacks)
    buffers = network.initial_buffers() if buffers is None else buffers
    buffers = _vector(backend, "buffers", buffers, network.buffer_layout.size, stacks)
    params, split = network.layout.split(backend, theta), network.buffer_layout.split(backend, buffers)
    key = _key(backend, theta, seed)
    forward = list(network.walk_forward(backend, params, split, x, key))
    value, back = None, {}
    if y is not None and loss is not None:
        n_in, n_out = network.n_in, network.n_out
        batch = prepare(backend, X, y, n_in=n_in, n_out=n_out, loss=loss, training=False)
        value, dz = backend.run(cost, loss, forward[-1][0], batch.y, None)
        walk = network.walk_backward(backend, params, [residual for _, residual, _ in forward], dz)
        back = {i: (dy, gradients) for i, dy, gradients in walk}
    return TrainingPass(backend, network, params, split, key, x, forward, value, back)


def _vector(backend: Backend, name: str, given: Any, size: int, stacks: bool) -> Array:
    try:
        vector = backend.asarray(given)
    except (TypeError, ValueError):
        raise DataError(f"{name} must be numbers, got {given!r:.60}.") from None
    if vector.shape[-1:] != (size,) or not 1 <= vector.ndim <= 1 + stacks:
        several = f", or (k, {size}) for k networks" if stacks else ""
        raise DataError(f"{name} must have shape ({size},) for this network{several}, got {tuple(vector.shape)}.")
    return vector


def _key(backend: Backend, theta: Array, seed: int) -> Key:
    """The key of the pass; of k networks each has its own."""
    if theta.ndim == 1:
        return single_key(backend, seed)
    words = np.asarray([member_key(seed, member) for member in range(theta.shape[0])])
    k0, k1 = (backend.asarray(column.reshape(-1, 1, 1), backend.xp.int32) for column in words.T)
    return Key(k0, k1)
