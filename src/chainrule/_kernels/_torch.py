"""torch's faster bodies: fewer calls, no array of theta's size made on the way, and its fused loop of Adam.

On a CPU they are for steps that are not compiled; torch.compile fuses the references by itself. On CUDA, where nothing
in a step may wait for the device (``_backend._torch.is_captured``), they are for all steps.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from .. import _layout, batch, layers, losses, network, optimizers
from .._backend import Backend, Provider, _torch
from .._layout import Pieces
from ..activations import ACTIVATIONS, Elementwise, ReLU
from ..batch import Batch
from ..layers import Activate, BatchNorm, Dense, Dropout, LayerNorm, RandomizedLeakyReLU, Residual, Softmax
from ..losses import LossFunction, SoftmaxCrossEntropy
from ..network import Sequential
from ..optimizers import OPTIMIZERS, Adam, AdamW, Optimizer
from ._torch_compiled import STEERED

_CHUNK = 131_072  # parameters: what is made of a chunk stays in a core's cache, and in memory that malloc keeps
_PLAIN = SoftmaxCrossEntropy()
_OURS = {Dense, Activate, BatchNorm, Dropout, LayerNorm, RandomizedLeakyReLU, Softmax, *map(type, ACTIVATIONS.values())}


def affine(backend: Backend, x: Any, W: Any, b: Any = None) -> Any:
    """The product of one network starts from the bias."""
    return NotImplemented if b is None or x.ndim != 2 or W.ndim != 2 else backend.xp.addmm(b, x, W)


def input_gradient(backend: Backend, dy: Any, W: Any) -> Any:
    """The product as torch has it: numbers of one dtype need no promotion."""
    return dy @ W.mT


def activate(backend: Backend, activation: Elementwise, z: Any) -> Any:
    """ReLU, in one pass."""
    return backend.xp.relu(z) if type(activation) is ReLU else NotImplemented


def activation_gradient(backend: Backend, activation: Elementwise, z: Any, a: Any, da: Any) -> Any:
    """ReLU, from a alone, in a's dtype: torch's own, threshold_backward, lets da through where a is NaN."""
    if type(activation) is not ReLU or _is_followed(backend, da):
        return NotImplemented
    import torch

    return torch.gt(a, 0.0, out=torch.empty_like(a)).mul_(da)


def cost(backend: Backend, loss: LossFunction, z: Any, y: Any, weight: Any) -> Any:
    """SoftmaxCrossEntropy of one network and class indices, without smoothing and weights."""
    of_classes = loss == _PLAIN and y.shape[1] == 1 and not y.is_floating_point()
    if not of_classes or weight is not None or z.ndim != 2 or _is_followed(backend, z):
        return NotImplemented
    import torch

    share, own = 1.0 / z.shape[0], y.long()
    logs = torch.log_softmax(z, -1)
    value = logs.gather(1, own).sum() * -share
    dz = logs.exp_()
    if _torch.is_captured(backend.device):  # where scattering is not said to be deterministic
        dz -= (torch.arange(z.shape[1], device=z.device) == own).to(z.dtype)
        return value, dz.mul_(share)
    return value, dz.mul_(share).scatter_add_(1, own, dz.new_full(own.shape, -share))


def flat_gradient(
    backend: Backend, net: Sequential, params: Sequence[Pieces], residuals: Sequence[Residual], dz: Any
) -> Any:
    """One network of the library's own layers: what a weight's product gives is written to its place in one vector."""
    # What others give is looked at by ``walk_backward``; rounded operands have products of their own.
    ours = backend.precision == "float32" and _OURS.issuperset(map(type, net.parts()))
    if not ours or dz.ndim != 2 or _is_followed(backend, dz):
        return NotImplemented
    import torch

    flat, dy = dz.new_empty(net.layout.size), dz
    places: Any = net.layout.split(backend, flat)
    for i in reversed(range(net.lowest_trained, len(net.layers))):
        layer, grads = net.layers[i], places[i]
        if type(layer) is Dense:
            torch.mm(residuals[i].mT, dy, out=grads[0])
            if layer.bias:
                torch.sum(dy, 0, keepdim=True, out=grads[1])
        else:
            for place, made in zip(grads, layer.gradients(backend, residuals[i], dy), strict=True):
                place.copy_(made)
        if i > net.lowest_trained:
            dy = layer.pullback(backend, params[i], residuals[i], dy, grads)
    return flat


def adam(backend: Backend, rule: Adam | AdamW, theta: Any, g: Any, moments: Any, t: Any, eta: Any) -> Any:
    """One rate for all: torch's own loop over theta, the gradient and the moments."""
    import torch
    from torch.optim.adam import adam as torchs

    captured = _torch.is_captured(backend.device)
    hostless = theta.dtype == torch.float32 and not rule.epsilon_hat  # CUDA reads t and eta as float32, epsilon here
    if eta.numel() != 1 or not g.is_contiguous() or (captured and not hostless) or _is_followed(backend, theta):
        return NotImplemented
    epsilon = rule.epsilon
    if rule.epsilon_hat and rule.b2:
        epsilon /= math.sqrt(-math.expm1(t.item() * math.log(rule.b2)))
    before = (t - 1.0).to(torch.float32).reshape(())  # it counts the step itself
    torchs(
        [theta], [g], [moments[0]], [moments[1]], [], [before], fused=True, amsgrad=False, maximize=False,
        lr=eta.reshape(()) if captured else eta.item(), beta1=rule.b1, beta2=rule.b2, weight_decay=0.0, eps=epsilon,
    )  # fmt: skip
    return theta, moments


def update(backend: Backend, rule: Optimizer, theta: Any, g: Any, moments: Any, t: Any, eta: Any) -> Any:
    """On a CPU a chunk at a time, by the rule's own arithmetic, where each coordinate is by itself: the same bits."""
    ours = type(rule) in OPTIMIZERS.values() and type(rule) is not Adam
    if _torch.is_captured(backend.device) or not ours or theta.ndim != 1 or theta.numel() <= _CHUNK:
        return NotImplemented
    for part, slope, *some in zip(*(x.split(_CHUNK) for x in (theta, g, *moments)), strict=True):
        rule.update(backend, part, slope, tuple(some), t, eta)
    return theta, moments


def gather(backend: Backend, source: Any, order: Any, cursor: Any, window: Any) -> Any:
    """No row is numbered from the end; on a CPU by a slice of the order."""
    if _torch.is_captured(backend.device):
        index = order.index_select(0, cursor + window)
    else:
        start = cursor.item()
        index = order[start : start + window.shape[0]]
    weight = None if source.weight is None else source.weight.index_select(0, index)
    return Batch(source.x.index_select(0, index), source.y.index_select(0, index), weight)


def split(backend: Backend, groups: tuple[tuple[_layout.Slot, ...], ...], flat: Any) -> Any:
    """One network's vector, in one call."""
    if flat.ndim != 1:
        return NotImplemented
    parts = iter(flat.split([slot.stop - slot.start for group in groups for slot in group]))
    return tuple(tuple(next(parts).view(slot.shape) for slot in group) for group in groups)


def advance(backend: Backend, counters: Any, value: Any, rows: int, weight: Any) -> Any:
    """One network whose examples weigh 1: no arrays for the numbers."""
    if weight is not None or value.ndim:
        return NotImplemented
    step, cursor, cost, seen = counters
    return step.add_(1), cursor.add_(rows), cost.add_(value, alpha=rows), seen.add_(rows)


def bodies_for(backend: Backend) -> Mapping[Provider, Provider]:
    """What runs on its device: nothing on Apple's GPUs; what steers torch.compile in steps that it fuses."""
    if _torch.is_captured(backend.device) or (backend.device.type == "cpu" and not backend.compiled):
        return PROVIDERS
    return STEERED if backend.compiled else {}


def _is_followed(backend: Backend, x: Any) -> bool:
    """Whether torch notes what is done with it, to differentiate or to map it, which no ``out=`` allows."""
    return x.requires_grad or backend.library.follows(x)


PROVIDERS: Mapping[Provider, Provider] = MappingProxyType(
    {
        _layout.split: split,
        batch.advance: advance,
        batch.gather: gather,
        layers.activate: activate,
        layers.activation_gradient: activation_gradient,
        layers.affine: affine,
        layers.input_gradient: input_gradient,
        losses.cost: cost,
        network.flat_gradient: flat_gradient,
        optimizers.adam: adam,
        optimizers.update: update,
    }
)
