"""A step whose theta, gradient and moments are the pieces of the layers, for a compiler that copies what it cuts.

XLA copies every W out of a flat vector before its product, and every gradient into one: half as much again as the step
of a large network. In a small one that costs less than the calls for its many pieces. torch's compiler copies the
gradients only; its pieces are views of the flat vector, in which it writes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from .. import _layout, backpropagation, optimizers
from .._backend import Backend, Provider
from .._backend._trees import leaves, rebuild
from .._layout import Layout
from ..batch import Batch
from ..optimizers import OPTIMIZERS, Clip, ClipValue, Optimizer
from ..penalties import Penalty


def takes_pieces(backend: Backend, size: int, rule: Optimizer) -> bool:
    """Whether a step on so many parameters is faster so: by a rule of ours, which takes each for itself."""
    ours = type(rule) in OPTIMIZERS.values()
    return ours and backend.compiled and size >= backend.library.pieces_from(backend.device)


def on_pieces(backend: Backend) -> Backend:
    """``backend`` for such a step."""
    return replace(backend, kernels=True, providers={**backend.providers, **_ON_PIECES})


def in_pieces(backend: Backend, layout: Layout, state: Any) -> Any:
    """The state of one network with theta and moments as pieces; that of a stack as it is."""
    if state.theta.ndim > 1:
        return state
    theta, *moments = (layout.split(backend, flat) for flat in (state.theta, *state.moments))
    return state._replace(theta=theta, moments=tuple(moments))


def joined(backend: Backend, state: Any) -> Any:
    """Its inverse."""
    if not isinstance(state.theta, tuple):
        return state
    theta, *moments = (_layout.join(backend, pieces) for pieces in (state.theta, *state.moments))
    return state._replace(theta=theta, moments=tuple(moments))


def _split(backend: Backend, groups: Any, flat: Any) -> Any:
    return flat if isinstance(flat, tuple) else NotImplemented


def _join(backend: Backend, groups: Iterable[Any]) -> Any:
    groups = tuple(groups)
    return groups if next(leaves(groups)).ndim == 2 else NotImplemented


def _update(backend: Backend, rule: Optimizer, theta: Any, g: Any, moments: Any, t: Any, eta: Any) -> Any:
    if not isinstance(theta, tuple):
        return NotImplemented
    parts = zip(leaves(theta), leaves(g), *map(leaves, moments), strict=True)
    updated = [rule.update(backend, piece, slope, tuple(own), t, eta) for piece, slope, *own in parts]
    after = tuple(rebuild(theta, (own[i] for _, own in updated)) for i in range(len(moments)))
    return rebuild(theta, (piece for piece, _ in updated)), after


def _penalized(
    backend: Backend, penalty: Penalty, decays: Any, theta: Any, batch: Batch, value: Any, gradient: Any
) -> Any:
    """The sum of the pieces' penalties, and the derivative of each."""
    if not isinstance(theta, tuple):
        return NotImplemented
    gradients = []
    for arrays in zip(leaves(_cut(backend, decays, theta)), leaves(theta), leaves(gradient), strict=True):
        some, piece, slope = (backend.xp.reshape(x, (-1,)) for x in arrays)
        value, found = backpropagation.penalized(backend, penalty, some, piece, batch, value, slope)
        gradients.append(backend.xp.reshape(found, arrays[0].shape))
    return value, rebuild(gradient, iter(gradients))


def _clipped(backend: Backend, clip: Clip, g: Any) -> Any:
    """Piece by piece where each coordinate is for itself; what looks at all of them has them joined."""
    if not isinstance(g, tuple):
        return NotImplemented
    if type(clip) is ClipValue:
        return rebuild(g, (clip(backend, piece) for piece in leaves(g)))
    return _cut(backend, clip(backend, _layout.join(backend, g)), g)


def _cut(backend: Backend, flat: Any, like: Any) -> Any:
    """The numbers of ``flat`` as pieces like these."""
    pieces, start = [], 0
    for piece in leaves(like):
        stop = start + math.prod(piece.shape)
        pieces.append(backend.xp.reshape(flat[start:stop], piece.shape))
        start = stop
    return rebuild(like, iter(pieces))


_ON_PIECES: Mapping[Provider, Provider] = MappingProxyType(
    {
        _layout.split: _split,
        _layout.join: _join,
        backpropagation.penalized: _penalized,
        optimizers.clipped: _clipped,
        optimizers.update: _update,
    }
)
