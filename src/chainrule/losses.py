"""Losses: the cost of a prediction and its gradient, computed together.

A loss is stated for one example, from the pre-activations z of the last layer: its value, and its derivative with
respect to z. ``cost`` averages over the batch: C = sum_i w_i L_i / sum_i w_i, where all weights are 1 unless given. For
several outputs L_i sums over them. So squared error is 1/(2m) sum ||z - y||^2.

``link`` names the activation that turns z into the prediction: softmax, sigmoid, exponential or linear. The
cross-entropies are computed from z, where softmax and sigmoid have cancelled and the gradient is (a - y) exactly, so
nothing is lost when an output saturates.

Shapes: z ``(..., B, n)``; y ``(B, n)``, or integer class indices ``(B, 1)``, which ``cost`` turns into rows with one 1;
weight ``(B, 1)`` or None. Nothing reduces over a leading axis: the cost has the stack's shape.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar, Literal, Protocol, get_args, runtime_checkable

from ._backend import Backend
from ._base.errors import require, unknown_name
from ._base.options import check_numbers, find
from ._base.typing import Array, Namespace

LinkName = Literal["linear", "softmax", "sigmoid", "exponential"]
# What y must be: class indices or rows of probabilities; numbers in [0, 1]; numbers; numbers >= 0.
TargetKind = Literal["classes", "fractions", "numbers", "counts"]


@runtime_checkable
class LossFunction(Protocol):
    """The cost of one example. It may say ``traceable = True``, as a ``Layer`` may."""

    @property
    def link(self) -> LinkName: ...
    @property
    def target(self) -> TargetKind: ...

    def per_example(self, xp: Namespace, z: Array, y: Array) -> tuple[Array, Array]:
        """(L_i as ``(..., B, 1)``, dL_i/dz as ``(..., B, n)``)."""


def cost(backend: Backend, loss: LossFunction, z: Array, y: Array, weight: Array | None) -> tuple[Array, Array]:
    """(C, dC/dz): the weighted mean over the batch. Weights that sum to 0 give a cost and a gradient of 0.

    Faster bodies take its place on NumPy, Numba, CuPy: ``chainrule where cost``.
    """
    xp = backend.xp
    if xp.isdtype(y.dtype, "integral"):
        y = one_hot(backend, y, z.shape[-1])
    values, gradient = loss.per_example(xp, z, y)
    if weight is None:
        share = 1.0 / z.shape[-2]
        return xp.sum(values, axis=(-2, -1)) * share, gradient * share
    total = xp.sum(weight, axis=-2, keepdims=True)
    shares = weight / xp.where(total > 0.0, total, xp.ones_like(total))
    return xp.sum(values * shares, axis=(-2, -1)), gradient * shares


def _sum_outputs(xp: Namespace, terms: Array) -> Array:
    return xp.sum(terms, axis=-1, keepdims=True)


def _check_smoothing(smoothing: float) -> None:
    require(0 <= smoothing < 1 and math.isfinite(smoothing), f"label_smoothing must be in [0, 1), got {smoothing}.")


@dataclass(frozen=True)
class SquaredError(LossFunction):
    """L = 1/2 ||z - y||^2; dL/dz = z - y."""

    link: ClassVar[LinkName] = "linear"
    target: ClassVar[TargetKind] = "numbers"

    def per_example(self, xp: Namespace, z: Array, y: Array) -> tuple[Array, Array]:
        e = z - y
        return 0.5 * _sum_outputs(xp, e * e), e


@dataclass(frozen=True)
class AbsoluteError(LossFunction):
    """L = sum_j |z_j - y_j|; dL/dz = sign(z - y). Its minimum is the median."""

    link: ClassVar[LinkName] = "linear"
    target: ClassVar[TargetKind] = "numbers"

    def per_example(self, xp: Namespace, z: Array, y: Array) -> tuple[Array, Array]:
        e = z - y
        return _sum_outputs(xp, xp.abs(e)), xp.sign(e)


@dataclass(frozen=True)
class Huber(LossFunction):
    """L = sum_j e^2/2 where |e| <= delta, else delta (|e| - delta/2), e = z - y; dL/dz = clip(e, -delta, delta).

    Squared error near 0, absolute error far out (Huber, 1964). ``delta`` is in the units of y.
    """

    delta: float = 1.0
    link: ClassVar[LinkName] = "linear"
    target: ClassVar[TargetKind] = "numbers"

    def __post_init__(self) -> None:
        check_numbers(self)
        require(self.delta > 0, f"delta must be > 0, got {self.delta}.")

    def per_example(self, xp: Namespace, z: Array, y: Array) -> tuple[Array, Array]:
        e = z - y
        c = xp.clip(e, min=-self.delta, max=self.delta)
        return _sum_outputs(xp, c * (e - 0.5 * c)), c


@dataclass(frozen=True)
class Quantile(LossFunction):
    """L = sum_j max(q e, (q - 1) e), e = y - z; dL/dz = -q where e > 0, 1 - q where e < 0, 0 at e = 0.

    Its minimum is the q-quantile of y given x (Koenker & Bassett, 1978).
    """

    q: float = 0.5
    link: ClassVar[LinkName] = "linear"
    target: ClassVar[TargetKind] = "numbers"

    def __post_init__(self) -> None:
        check_numbers(self)
        require(0 < self.q < 1, f"q must lie between 0 and 1, got {self.q}.")

    def per_example(self, xp: Namespace, z: Array, y: Array) -> tuple[Array, Array]:
        e = z - y
        # sign(e)/2 + (1/2 - q), without the constant where e = 0
        slope = xp.sign(e) * 0.5 + (0.5 - self.q) * xp.abs(xp.sign(e))
        return _sum_outputs(xp, slope * e), slope


@dataclass(frozen=True)
class Poisson(LossFunction):
    """L = sum_j exp(z_j) - y_j z_j; dL/dz = exp(z) - y: counts y >= 0 with mean exp(z)."""

    link: ClassVar[LinkName] = "exponential"
    target: ClassVar[TargetKind] = "counts"

    def per_example(self, xp: Namespace, z: Array, y: Array) -> tuple[Array, Array]:
        mean = xp.exp(z)
        return _sum_outputs(xp, mean - y * z), mean - y


@dataclass(frozen=True)
class SigmoidCrossEntropy(LossFunction):
    """L = -sum_j [y ln a + (1 - y) ln(1 - a)], a = sigmoid(z); dL/dz = a - y.

    Binary cross-entropy, summed over the outputs when there are several (classes that do not exclude each other).
    From z: L = sum_j max(z, 0) - z y + ln(1 + exp(-|z|)), finite for every z. With smoothing s, y becomes
    (1 - s) y + s/2.
    """

    label_smoothing: float = 0.0
    link: ClassVar[LinkName] = "sigmoid"
    target: ClassVar[TargetKind] = "fractions"

    def __post_init__(self) -> None:
        check_numbers(self)
        _check_smoothing(self.label_smoothing)

    def per_example(self, xp: Namespace, z: Array, y: Array) -> tuple[Array, Array]:
        if self.label_smoothing:
            y = (1.0 - self.label_smoothing) * y + 0.5 * self.label_smoothing
        e = xp.exp(-xp.abs(z))
        r = 1.0 / (1.0 + e)
        a = xp.where(z >= 0.0, r, e * r)
        return _sum_outputs(xp, xp.clip(z, min=0.0) - z * y + xp.log1p(e)), a - y


@dataclass(frozen=True)
class SoftmaxCrossEntropy(LossFunction):
    """L = -sum_j y_j ln a_j, a = softmax(z); dL/dz = a - y.

    Categorical cross-entropy for classes that exclude each other; y is rows of probabilities. With smoothing s, y
    becomes (1 - s) y + s/n (Szegedy et al., 2016).

    Faster bodies take its place on NumPy, Numba, CuPy: ``chainrule where SoftmaxCrossEntropy``.
    """

    label_smoothing: float = 0.0
    link: ClassVar[LinkName] = "softmax"
    target: ClassVar[TargetKind] = "classes"

    def __post_init__(self) -> None:
        check_numbers(self)
        _check_smoothing(self.label_smoothing)

    def per_example(self, xp: Namespace, z: Array, y: Array) -> tuple[Array, Array]:
        if self.label_smoothing:
            y = (1.0 - self.label_smoothing) * y + self.label_smoothing / z.shape[-1]
        shifted = z - xp.max(z, axis=-1, keepdims=True)
        e = xp.exp(shifted)
        s = xp.sum(e, axis=-1, keepdims=True)
        total = xp.sum(y, axis=-1, keepdims=True)
        return _sum_outputs(xp, y * (xp.log(s) - shifted)), e / s * total - y


@dataclass(frozen=True)
class Loss(LossFunction):
    """A loss of your own: ``f(xp, z, y) -> (values (..., B, 1), dL/dz (..., B, n))``, and the link it assumes.

    Example:
        >>> import chainrule as cr
        >>> def log_cosh(xp, z, y):
        ...     e = z - y
        ...     return xp.sum(xp.log(xp.cosh(e)), axis=-1, keepdims=True), xp.tanh(e)
        >>> cr.Loss(log_cosh).link
        'linear'
    """

    f: Callable[[Namespace, Array, Array], tuple[Array, Array]]
    link: LinkName = "linear"
    target: TargetKind = "numbers"

    def __post_init__(self) -> None:
        require(callable(self.f), f"Loss: expected a function f(xp, z, y), got {self.f!r}.")
        for name, known in (("link", get_args(LinkName)), ("target", get_args(TargetKind))):
            if getattr(self, name) not in known:
                raise unknown_name(f"{name} of a loss", getattr(self, name), known)

    def per_example(self, xp: Namespace, z: Array, y: Array) -> tuple[Array, Array]:
        found = self.f(xp, z, y)
        wanted = [(*z.shape[:-1], 1), tuple(z.shape)]
        got = (
            [tuple(getattr(part, "shape", ())) for part in found]
            if isinstance(found, tuple)
            else [type(found).__name__]
        )
        require(got == wanted, f"your loss must return (values, dL/dz) of shapes {wanted}, got {got}.")
        return found


LOSSES: Mapping[str, LossFunction] = MappingProxyType(
    {
        "squared_error": SquaredError(),
        "absolute_error": AbsoluteError(),
        "huber": Huber(),
        "quantile": Quantile(),
        "poisson": Poisson(),
        "sigmoid_cross_entropy": SigmoidCrossEntropy(),
        "softmax_cross_entropy": SoftmaxCrossEntropy(),
    }
)


def find_loss(loss: str | LossFunction) -> LossFunction:
    """The loss of this name, or the object itself."""
    return find(
        "loss",
        loss,
        LOSSES,
        LossFunction,
        expected="a loss, with link, target and per_example(xp, z, y)",
        write="a name like 'squared_error', or wrap your function as cr.Loss(f)",
    )


def one_hot(backend: Backend, y: Array, n: int) -> Array:
    """Class indices ``(B, 1)`` as rows ``(B, n)`` of zeros and a one."""
    xp = backend.xp
    classes = xp.reshape(xp.arange(n, dtype=y.dtype, device=backend.device), (1, -1))
    return xp.astype(y == classes, backend.dtype)
