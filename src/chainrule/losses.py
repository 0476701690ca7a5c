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

    Faster bodies take its place on NumPy, Numba, CuPy, torch: ``chainrule where cost``.
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
    """L = 1/2 ||z - y||^2; dL/dz = z - y.

    Least squares (Legendre, 1805): for numbers; its minimum is the mean of y given x. One far outlier can rule it.

    Example:
        >>> import numpy as np, chainrule as cr
        >>> value, gradient = cr.SquaredError().per_example(np, np.asarray([[3.0, 1.0]]), np.asarray([[1.0, 2.0]]))
        >>> value.tolist(), gradient.tolist()  # (2^2 + 1^2)/2
        ([[2.5]], [[2.0, -1.0]])
    """

    link: ClassVar[LinkName] = "linear"
    target: ClassVar[TargetKind] = "numbers"

    def per_example(self, xp: Namespace, z: Array, y: Array) -> tuple[Array, Array]:
        e = z - y
        return 0.5 * _sum_outputs(xp, e * e), e


@dataclass(frozen=True)
class AbsoluteError(LossFunction):
    """L = sum_j |z_j - y_j|; dL/dz = sign(z - y). Its minimum is the median.

    For numbers with outliers, whose gradient is no larger than that of the others. It does not shrink near the minimum
    either, so let the rate fall.

    Example:
        >>> import numpy as np, chainrule as cr
        >>> z, y = np.asarray([[3.0], [100.0]]), np.asarray([[1.0], [1.0]])  # two examples, the second far out
        >>> value, gradient = cr.AbsoluteError().per_example(np, z, y)
        >>> value.tolist(), gradient.tolist()
        ([[2.0], [99.0]], [[1.0], [1.0]])
    """

    link: ClassVar[LinkName] = "linear"
    target: ClassVar[TargetKind] = "numbers"

    def per_example(self, xp: Namespace, z: Array, y: Array) -> tuple[Array, Array]:
        e = z - y
        return _sum_outputs(xp, xp.abs(e)), xp.sign(e)


@dataclass(frozen=True)
class Huber(LossFunction):
    """L = sum_j e^2/2 where |e| <= delta, else delta (|e| - delta/2), e = z - y; dL/dz = clip(e, -delta, delta).

    Squared error near 0, absolute error far out (Huber, 1964): for numbers with some outliers.

    Args:
        delta: the error from which on an example counts as an outlier, > 0, in the units of y; default 1.

    Raises:
        ConfigurationError: delta is not > 0.

    Example:
        >>> import numpy as np, chainrule as cr
        >>> z, y = np.asarray([[1.5], [100.0]]), np.asarray([[1.0], [1.0]])
        >>> value, gradient = cr.Huber(delta=1.0).per_example(np, z, y)
        >>> value.tolist(), gradient.tolist()  # 0.5^2/2, and 1 (99 - 1/2)
        ([[0.125], [98.5]], [[0.5], [1.0]])
    """

    delta: float = 1.0
    link: ClassVar[LinkName] = "linear"
    target: ClassVar[TargetKind] = "numbers"

    def __post_init__(self) -> None:
        check_numbers(self, endless=("delta",))
        require(self.delta > 0, f"delta must be > 0, got {self.delta}.")

    def per_example(self, xp: Namespace, z: Array, y: Array) -> tuple[Array, Array]:
        e = z - y
        c = xp.clip(e, min=-self.delta, max=self.delta)
        return _sum_outputs(xp, c * (e - 0.5 * c)), c


@dataclass(frozen=True)
class Quantile(LossFunction):
    """L = sum_j max(q e, (q - 1) e), e = y - z; dL/dz = -q where e > 0, 1 - q where e < 0, 0 at e = 0.

    Its minimum is the q-quantile of y given x (Koenker & Bassett, 1978).

    For bounds: networks trained with q = 0.05 and q = 0.95 hold nine tenths of y between them.

    Args:
        q: the share of y below the prediction, between 0 and 1; default 0.5, the median.

    Raises:
        ConfigurationError: q is not between 0 and 1.

    Example:
        >>> import numpy as np, chainrule as cr
        >>> z, y = np.asarray([[8.0], [12.0]]), np.asarray([[10.0], [10.0]])  # too low by 2, too high by 2
        >>> value, gradient = cr.Quantile(q=0.9).per_example(np, z, y)
        >>> value.round(2).tolist(), gradient.round(2).tolist()  # too low costs nine times as much
        ([[1.8], [0.2]], [[-0.9], [0.1]])
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
    """L = sum_j exp(z_j) - y_j z_j; dL/dz = exp(z) - y: counts y >= 0 with mean exp(z).

    Poisson regression (Nelder & Wedderburn, 1972), -ln p(y) without ln y!, which no z changes: for how often something
    happens. ``predict`` gives the mean exp(z).

    Example:
        >>> import numpy as np, chainrule as cr
        >>> value, gradient = cr.Poisson().per_example(np, np.log([[3.0]]), np.asarray([[2.0]]))  # 3 expected, 2 seen
        >>> value.round(3).tolist(), gradient.round(3).tolist()  # 3 - 2 ln 3
        ([[0.803]], [[1.0]])
    """

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

    Take it for yes or no (Solla, Levin & Fleisher, 1988): where an output saturates on the wrong side its gradient
    stays near 1, and squared error's behind a sigmoid vanishes.

    Args:
        label_smoothing: s, in [0, 1); default 0. It keeps z from growing for ever.

    Raises:
        ConfigurationError: label_smoothing outside of [0, 1).

    Example:
        >>> import numpy as np, chainrule as cr
        >>> z, y = np.asarray([[0.0], [-1000.0]]), np.asarray([[1.0], [1.0]])  # undecided, and sure of what is wrong
        >>> value, gradient = cr.SigmoidCrossEntropy().per_example(np, z, y)
        >>> value.round(3).tolist(), gradient.round(3).tolist()  # ln 2, and 1000
        ([[0.693], [1000.0]], [[-0.5], [-1.0]])
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

    In ``fit`` y may be class indices. With two classes it is ``SigmoidCrossEntropy`` of z_1 - z_0. Softmax with this
    loss is Bridle's (1990).

    Faster bodies take its place on NumPy, Numba, CuPy, torch: ``chainrule where SoftmaxCrossEntropy``.

    Args:
        label_smoothing: s, in [0, 1); default 0. 0.1 is usual: it keeps a network from being too sure.

    Raises:
        ConfigurationError: label_smoothing outside of [0, 1).

    Example:
        >>> import numpy as np, chainrule as cr
        >>> z, y = np.log([[1.0, 2.0, 1.0]]), np.asarray([[0.0, 1.0, 0.0]])  # a is 1/4, 1/2, 1/4
        >>> value, gradient = cr.SoftmaxCrossEntropy().per_example(np, z, y)
        >>> value.round(3).tolist(), gradient.round(3).tolist()  # ln 2, and a - y
        ([[0.693]], [[0.25, -0.5, 0.25]])
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

    Args:
        f: a function of the array namespace, z ``(..., B, n)`` and y ``(B, n)``; with ``xp`` and Python numbers only,
            the same code runs on every backend.
        link: what makes predictions of z: "linear", "softmax", "sigmoid" or "exponential"; default "linear".
        target: what y must be: "numbers", "counts" >= 0, "fractions" in [0, 1], or "classes", which are indices or rows
            of probabilities; default "numbers".

    Raises:
        ConfigurationError: f is no function, link or target an unknown word; in training, what f returns has other
            shapes.

    Example:
        >>> import numpy as np, chainrule as cr
        >>> def log_cosh(xp, z, y):
        ...     e = xp.abs(z - y)  # ln cosh e, without cosh, which is infinite from 89 on in float32
        ...     values = e + xp.log1p(xp.exp(-2.0 * e)) - 0.6931471805599453
        ...     return xp.sum(values, axis=-1, keepdims=True), xp.tanh(z - y)
        >>> value, gradient = cr.Loss(log_cosh).per_example(np, np.asarray([[2.0]]), np.asarray([[1.0]]))
        >>> value.round(3).tolist(), gradient.round(3).tolist()
        ([[0.434]], [[0.762]])
        >>> X, y = [[0.0], [1.0], [2.0]], [1.0, 3.0, 5.0]
        >>> cr.check_gradients(cr.mlp([1, 4, 1], activation="tanh"), X, y, loss=cr.Loss(log_cosh)).passed
        True
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
