"""Backpropagation: the cost of a batch and its gradient with respect to every parameter, in one pass forward and back.

theta ──split──▶ params ─┐
x ──────────────────────▶ forward ─▶ loss ─▶ backward ──join──▶ dC/dtheta
"""

from __future__ import annotations

from ._backend import Backend
from ._base.typing import Array
from ._random import Key
from .batch import Batch
from .losses import LossFunction, cost
from .network import Sequential, flat_gradient
from .penalties import Penalty


def value_and_gradient(
    backend: Backend,
    network: Sequential,
    loss: LossFunction,
    theta: Array,
    buffers: Array,
    batch: Batch,
    key: Key,
) -> tuple[Array, Array, Array]:
    """(C, dC/dtheta ``(..., p)``, the buffers after the pass). ``network`` ends in what the loss is computed from."""
    backend = backend.for_a_pass()
    params = network.layout.split(backend, theta)
    z, residuals, buffers = network.forward(backend, params, buffers, batch.x, key)
    value, dz = backend.run(cost, loss, z, batch.y, batch.weight)
    return value, backend.run(flat_gradient, network, params, residuals, dz), buffers


def penalized(
    backend: Backend, penalty: Penalty, decays: Array, theta: Array, batch: Batch, value: Array, gradient: Array
) -> tuple[Array, Array]:
    """C and dC/dtheta with the penalty's of theta ``(..., p)`` where that decays, which ``decays``, 0 or 1, says."""
    xp = backend.xp
    share: Array | float = 1.0 / batch.x.shape[-2]
    if batch.weight is not None:
        total = xp.sum(batch.weight)
        share = 1.0 / xp.where(total > 0.0, total, xp.ones_like(total))
    weights = decays * theta
    return value + penalty.value(xp, weights, share), gradient + penalty.gradient(xp, weights, share)
