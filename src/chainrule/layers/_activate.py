"""Activations as layers: any function of one number, and softmax over a layer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .._backend import Backend
from .._base.short_name import short_name
from .._base.typing import Array
from .._layout import Pieces
from .._random import Key
from ..activations import Elementwise, find_activation, usual_weight_init
from ._contract import Layer


@dataclass(frozen=True)
class Activate(Layer):
    """a = g(z), delta = dC/da * g'(z). ``Sequential`` wraps an activation in this layer by itself.

    Faster bodies take its place on NumPy, Numba, CuPy, torch: ``chainrule where Activate``.

    Args:
        activation: by name, as ``mlp`` takes it, or an object like ``cr.LeakyReLU(0.1)``.

    Raises:
        ConfigurationError: an unknown name, or an object without ``value`` and ``derivative``.

    Example:
        >>> import chainrule as cr
        >>> network = cr.Sequential(cr.Dense(1, 3), cr.Activate("leaky_relu"))
        >>> network == cr.Sequential(cr.Dense(1, 3), cr.LeakyReLU())
        True
        >>> theta = [1.0, 2.0, -4.0, 0.0, 0.0, 0.0]  # W, then b
        >>> cr.trace(network, [[0.5]], theta=theta)["a1"].astype(float).round(2).tolist()
        [[0.5, 1.0, -0.02]]
    """

    activation: Elementwise

    def __post_init__(self) -> None:
        object.__setattr__(self, "activation", find_activation(self.activation))

    def __str__(self) -> str:
        return str(getattr(self.activation, "name", None) or short_name(self.activation))

    def forward(
        self, backend: Backend, params: Pieces, buffers: Pieces, x: Array, key: Key
    ) -> tuple[Array, tuple[Array, Array], Pieces]:
        a = backend.run(activate, self.activation, x)
        return a, (x, a), buffers

    def apply(self, backend: Backend, params: Pieces, buffers: Pieces, x: Array) -> Array:
        return backend.run(activate, self.activation, x)

    def pullback(
        self, backend: Backend, params: Pieces, residual: tuple[Array, Array], dy: Array, grads: Pieces
    ) -> Array:
        return backend.run(activation_gradient, self.activation, *residual, dy)

    def slopes(self, backend: Backend, residual: tuple[Array, Array]) -> Array:
        return self.activation.derivative(backend.xp, *residual)

    def parts(self) -> Iterator[object]:
        yield self.activation

    def usual_weight_init(self) -> str:
        return usual_weight_init(self.activation)


def activate(backend: Backend, activation: Elementwise, z: Array) -> Array:
    """A = g(z).

    Faster bodies take its place on NumPy, Numba, CuPy, torch: ``chainrule where activate``.
    """
    return activation.value(backend.xp, z)


def activation_gradient(backend: Backend, activation: Elementwise, z: Array, a: Array, da: Array) -> Array:
    """dC/dz = dC/da * g'(z).

    Faster bodies take its place on NumPy, Numba, CuPy, torch: ``chainrule where activation_gradient``.
    """
    return da * activation.derivative(backend.xp, z, a)


@dataclass(frozen=True)
class Softmax(Layer):
    """a_j = exp(z_j) / sum_k exp(z_k) over a layer: rows sum to 1, and a shift of z changes nothing.

    dC/dz = a * (dC/da - sum_k a_k dC/da_k). At the end of a network with a softmax loss it is fused into the loss.

    Take it last, for classes that exclude each other (Bridle, 1990).

    Example:
        >>> import numpy as np, chainrule as cr
        >>> z = np.log([[1.0, 2.0, 1.0]])
        >>> [cr.Softmax().apply(cr.backend("numpy"), (), (), z + shift).round(3).tolist() for shift in (0.0, 700.0)]
        [[[0.25, 0.5, 0.25]], [[0.25, 0.5, 0.25]]]
    """

    def forward(
        self, backend: Backend, params: Pieces, buffers: Pieces, x: Array, key: Key
    ) -> tuple[Array, Array, Pieces]:
        a = self.apply(backend, params, buffers, x)
        return a, a, buffers

    def apply(self, backend: Backend, params: Pieces, buffers: Pieces, x: Array) -> Array:
        xp = backend.xp
        e = xp.exp(x - xp.max(x, axis=-1, keepdims=True))
        return e / xp.sum(e, axis=-1, keepdims=True)

    def pullback(self, backend: Backend, params: Pieces, residual: Array, dy: Array, grads: Pieces) -> Array:
        a = residual
        return a * (dy - backend.xp.sum(a * dy, axis=-1, keepdims=True))
