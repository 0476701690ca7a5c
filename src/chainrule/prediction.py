"""From inputs to answers: the forward pass for any number of rows, the link, and the decision."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from ._backend import Backend
from ._layout import Pieces
from ._typing import Array
from .layers import largest
from .losses import LossFunction
from .network import LINKS, Sequential

Finish = Callable[[Backend, Array], Array]

_CHUNK = 2048  # rows at a time: their activations stay in the cache, and memory stays bounded


class Weights(NamedTuple):
    """What a trained network is made of, as the state of a compiled pass; the pass does not change it."""

    theta: Array
    buffers: Array


class ForwardPass:
    """A network's last pre-activations z, or ``finish(backend, z)``, a bounded number of rows at a time.

    It keeps what it has split and compiled for the next call, and belongs to one thread.
    """

    def __init__(self, backend: Backend, network: Sequential, finish: Finish | None = None) -> None:
        self._backend, self._network, self._finish = backend, network, finish
        self._weights: Weights | None = None
        self._pieces: tuple[tuple[Pieces, ...], tuple[Pieces, ...]] = ((), ())
        self._program: Callable[..., Any] | None = None

    def __call__(self, theta: Array, buffers: Array, x: Array) -> Array:
        """z, or what it was finished to, with a row for each row of x ``(rows, n_in)``."""
        rows, whole = x.shape[0], x.shape[0] // _CHUNK * _CHUNK
        if rows <= _CHUNK:
            return self._few(theta, buffers, x)
        chunks = self._many(theta, buffers, [x[i : i + _CHUNK, :] for i in range(0, whole, _CHUNK)])
        rest = [self._few(theta, buffers, x[whole:, :])] if whole < rows else []
        return self._backend.xp.concat([*chunks, *rest], axis=0)

    def _few(self, theta: Array, buffers: Array, x: Array) -> Array:
        if self._weights is None or theta is not self._weights.theta or buffers is not self._weights.buffers:
            layouts = (self._network.layout, theta), (self._network.buffer_layout, buffers)
            first, second = (layout.split(self._backend, flat) for layout, flat in layouts)
            self._weights, self._pieces = Weights(theta, buffers), (first, second)
        z = self._network.apply_split(self._backend, *self._pieces, x)
        return z if self._finish is None else self._finish(self._backend, z)

    def _many(self, theta: Array, buffers: Array, chunks: list[Array]) -> list[Array]:
        """Chunks of one shape, compiled where steps are."""
        on = self._backend
        if not (on.compiled and on.library.COMPILES):  # a compilation that was asked for, for the steps, takes long
            return [self._few(theta, buffers, chunk) for chunk in chunks]
        if self._program is None:
            self._program = on.compile(make_pass, self._network, self._finish)
        weights, made = Weights(on.copy(theta), on.copy(buffers)), []
        for chunk in chunks:
            weights, z = self._program(weights, chunk)
            made.append(z)
        return made


def make_pass(
    backend: Backend, network: Sequential, finish: Finish | None = None
) -> Callable[[Weights, Array], tuple[Weights, Array]]:
    """The prediction pass in the form of a step."""

    def forward(weights: Weights, x: Array) -> tuple[Weights, Array]:
        z = network.apply(backend, weights.theta, weights.buffers, x)
        return weights, z if finish is None else finish(backend, z)

    return forward


def apply_link(loss: LossFunction, backend: Backend, z: Array) -> Array:
    """Predictions from pre-activations: probabilities, or numbers."""
    return LINKS[loss.link].apply(backend, (), (), z)


def decide(loss: LossFunction, backend: Backend, z: Array) -> Array:
    """Answers from pre-activations: class indices, 0 or 1 for each output, or numbers."""
    xp = backend.xp
    if loss.link == "softmax":
        return backend.run(largest, z)
    if loss.link == "sigmoid":
        return xp.astype(z > 0.0, xp.int32)
    return apply_link(loss, backend, z)
