"""Normalisation: of each feature over the batch, or of each row over its features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .._backend import Backend
from .._base.errors import require
from .._base.options import check_numbers, whole_number
from .._base.typing import Array
from .._layout import Pieces
from .._random import Key
from ..initializers import Constant
from ._contract import Buffer, Layer, Parameter


@dataclass(frozen=True)
class BatchNorm(Layer):
    """y = gamma x' + beta, x' = (x - mu) / sqrt(v + epsilon), mu and v over the batch (Ioffe & Szegedy, 2015).

    Prediction uses running statistics, r <- (1 - momentum) r + momentum * (the batch's), v unbiased as in the paper.
    dC/dgamma = sum dy x', dC/dbeta = sum dy, dC/dx = gamma / sqrt(v + epsilon) (dy - (dC/dbeta + x' dC/dgamma) / B).
    A training batch needs two rows. Sample weights do not enter mu and v.

    Take it in deep networks: it allows larger learning rates and makes the initial weights matter less.
    ``mlp(..., normalization="batch")`` puts it in front of each activation; the ``Dense`` before it has ``bias=False``,
    since beta does what b would.

    Args:
        n: the width, a whole number >= 1.
        momentum: the batch's share in the running statistics, in (0, 1]; default 0.1, as in torch. Keras
            names the other share, 0.99.
        epsilon: what keeps the root from 0, > 0, in the units of the variance; default 1e-5.

    Raises:
        ConfigurationError: a number outside of these ranges; from ``forward``, a batch of one row.

    Example:
        >>> import numpy as np, chainrule as cr
        >>> X = np.random.default_rng(0).normal(loc=50.0, scale=9.0, size=(64, 3))
        >>> a = cr.trace(cr.Sequential(cr.Dense(3, 2, bias=False), cr.BatchNorm(2)), X)["a1"]  # a training pass
        >>> abs(a.mean(axis=0)).round(2).tolist(), a.var(axis=0).round(2).tolist()  # of each column
        ([0.0, 0.0], [1.0, 1.0])
    """

    n: int
    momentum: float = 0.1
    epsilon: float = 1e-5

    def __post_init__(self) -> None:
        check_numbers(self)
        whole_number("BatchNorm: n", self.n, least=1)
        require(0 < self.momentum <= 1, f"BatchNorm: momentum must be in (0, 1], got {self.momentum}.")
        require(self.epsilon > 0, f"BatchNorm: epsilon must be > 0, got {self.epsilon}.")

    def width(self, n_in: int) -> int:
        require(n_in == self.n, f"BatchNorm({self.n}) needs {self.n} inputs, got {n_in}.")
        return self.n

    def parameters(self) -> tuple[Parameter, ...]:
        return _scale_and_shift(self.n)

    def least_rows(self) -> int:
        return 2

    def normalizes(self) -> Literal["columns"]:
        return "columns"

    def buffers(self) -> tuple[Buffer, ...]:
        return Buffer("mean", (1, self.n), 0.0), Buffer("variance", (1, self.n), 1.0)

    def forward(
        self, backend: Backend, params: Pieces, buffers: Pieces, x: Array, key: Key
    ) -> tuple[Array, tuple[Array, Array], Pieces]:
        xp, rows = backend.xp, x.shape[-2]
        require(
            rows >= 2,
            "batch normalisation cannot train on a batch of one row (its variance is 0): use a larger batch_size.",
        )
        (gamma, beta), (mean, variance), m = params, buffers, self.momentum
        mu = xp.mean(x, axis=-2, keepdims=True)
        centred = x - mu
        v = xp.mean(centred * centred, axis=-2, keepdims=True)
        inverse = 1.0 / xp.sqrt(v + self.epsilon)
        normal = centred * inverse
        running = (1.0 - m) * mean + m * mu, (1.0 - m) * variance + (m * rows / (rows - 1)) * v
        return gamma * normal + beta, (normal, inverse), running

    def apply(self, backend: Backend, params: Pieces, buffers: Pieces, x: Array) -> Array:
        (gamma, beta), (mean, variance) = params, buffers
        return gamma * ((x - mean) / backend.xp.sqrt(variance + self.epsilon)) + beta

    def gradients(self, backend: Backend, residual: tuple[Array, Array], dy: Array) -> Pieces:
        return _scale_and_shift_gradients(backend, residual[0], dy)

    def pullback(
        self, backend: Backend, params: Pieces, residual: tuple[Array, Array], dy: Array, grads: Pieces
    ) -> Array:
        (normal, inverse), (dgamma, dbeta) = residual, grads
        return (params[0] * inverse) * (dy - (dbeta + normal * dgamma) * (1.0 / dy.shape[-2]))


@dataclass(frozen=True)
class LayerNorm(Layer):
    """y = gamma x' + beta, x' = (x - mu) / sqrt(v + epsilon), mu and v over each row's features (Ba et al., 2016).

    With g = gamma dy: dC/dx = (g - mean(g) - x' mean(g x')) / sqrt(v + epsilon), means over the features.

    It has no running statistics, so training and prediction are alike, and a batch may be one row.

    Args:
        n: the width, a whole number >= 1.
        epsilon: what keeps the root from 0, > 0, in the units of the variance; default 1e-5.

    Raises:
        ConfigurationError: a number outside of these ranges.

    Example:
        >>> import chainrule as cr
        >>> network = cr.Sequential(cr.Dense(2, 2, bias=False), cr.LayerNorm(2))
        >>> theta = [1.0, 0.0, 0.0, 1.0, 1.0, 1.0, 0.0, 0.0]  # W the identity, gamma 1, beta 0
        >>> cr.trace(network, [[1.0, 3.0], [10.0, 30.0]], theta=theta)["a1"].round(2).tolist()  # of each row
        [[-1.0, 1.0], [-1.0, 1.0]]
    """

    n: int
    epsilon: float = 1e-5

    def __post_init__(self) -> None:
        check_numbers(self)
        whole_number("LayerNorm: n", self.n, least=1)
        require(self.epsilon > 0, f"LayerNorm: epsilon must be > 0, got {self.epsilon}.")

    def width(self, n_in: int) -> int:
        require(n_in == self.n, f"LayerNorm({self.n}) needs {self.n} inputs, got {n_in}.")
        return self.n

    def parameters(self) -> tuple[Parameter, ...]:
        return _scale_and_shift(self.n)

    def normalizes(self) -> Literal["rows"]:
        return "rows"

    def forward(
        self, backend: Backend, params: Pieces, buffers: Pieces, x: Array, key: Key
    ) -> tuple[Array, tuple[Array, Array], Pieces]:
        xp = backend.xp
        gamma, beta = params
        centred = x - xp.mean(x, axis=-1, keepdims=True)
        inverse = 1.0 / xp.sqrt(xp.mean(centred * centred, axis=-1, keepdims=True) + self.epsilon)
        normal = centred * inverse
        return gamma * normal + beta, (normal, inverse), buffers

    def apply(self, backend: Backend, params: Pieces, buffers: Pieces, x: Array) -> Array:
        xp = backend.xp
        gamma, beta = params
        centred = x - xp.mean(x, axis=-1, keepdims=True)
        deviation = xp.sqrt(xp.mean(centred * centred, axis=-1, keepdims=True) + self.epsilon)
        return gamma * (centred / deviation) + beta

    def gradients(self, backend: Backend, residual: tuple[Array, Array], dy: Array) -> Pieces:
        return _scale_and_shift_gradients(backend, residual[0], dy)

    def pullback(
        self, backend: Backend, params: Pieces, residual: tuple[Array, Array], dy: Array, grads: Pieces
    ) -> Array:
        xp = backend.xp
        normal, inverse = residual
        g = params[0] * dy
        mean, along = xp.mean(g, axis=-1, keepdims=True), xp.mean(g * normal, axis=-1, keepdims=True)
        return (g - mean - normal * along) * inverse


def _scale_and_shift(n: int) -> tuple[Parameter, ...]:
    return (
        Parameter("gamma", (1, n), Constant(1.0), decays=False),
        Parameter("beta", (1, n), Constant(0.0), decays=False),
    )


def _scale_and_shift_gradients(backend: Backend, normal: Array, dy: Array) -> Pieces:
    xp = backend.xp
    return xp.sum(dy * normal, axis=-2, keepdims=True), xp.sum(dy, axis=-2, keepdims=True)
