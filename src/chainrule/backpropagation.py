"""Backpropagation: the cost of a batch and its gradient with respect to every parameter, in one pass forward and back.

theta ──split──▶ params ─┐
x ──────────────────────▶ forward ─▶ loss ─▶ backward ──join──▶ dC/dtheta
"""

from __future__ import annotations

from ._backend import Backend
from ._base.typing import Array
from ._layout import Pieces, join
from ._random import Key
from .batch import Batch
from .losses import LossFunction, cost
from .network import Sequential
from .penalties import Penalty


def value_and_gradient(
    backend: Backend,
    network: Sequential,
    loss: LossFunction,
    penalty: Penalty | None,
    theta: Array,
    buffers: Array,
    batch: Batch,
    key: Key,
) -> tuple[Array, Array, Array]:
    """(C, dC/dtheta ``(..., p)``, the buffers after the pass). ``network`` ends in what the loss is computed from."""
    params = network.layout.split(backend, theta)
    z, residuals, buffers = network.forward(backend, params, buffers, batch.x, key)
    value, dz = backend.run(cost, loss, z, batch.y, batch.weight)
    gradients = network.backward(backend, params, residuals, dz)
    if penalty is not None:
        value, gradients = _penalize(backend, network, penalty, params, batch, value, gradients)
    return value, backend.run(join, gradients), buffers


def _penalize(
    backend: Backend,
    network: Sequential,
    penalty: Penalty,
    params: tuple[Pieces, ...],
    batch: Batch,
    value: Array,
    gradients: list[Pieces],
) -> tuple[Array, list[Pieces]]:
    xp = backend.xp
    share: Array | float = 1.0 / batch.x.shape[-2]
    if batch.weight is not None:
        total = xp.sum(batch.weight)
        share = 1.0 / xp.where(total > 0.0, total, xp.ones_like(total))
    decays = [[p.decays for p in layer.parameters()] for layer in network.layers]
    weights = [w for ps, ds in zip(params, decays, strict=True) for w, d in zip(ps, ds, strict=True) if d]
    penalized = [
        tuple(g + penalty.gradient(xp, w, share) if d else g for g, w, d in zip(gs, ps, ds, strict=True))
        for gs, ps, ds in zip(gradients, params, decays, strict=True)
    ]
    return value + penalty.value(xp, weights, share), penalized
