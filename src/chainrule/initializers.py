"""Initial weights: drawn once on the host in float64 from the seed, the same on every backend, rounded once.

An initializer answers ``draw(generator, shape)`` for a weight of shape ``(n_in, n_out)``. Most are one idea, variance
scaling: the variance that keeps the size of activations and gradients through the layers.

``mlp(..., weight_init="he_normal")`` takes a name, ``weight_init=cr.Normal(0.1)`` an object. Without one, ``mlp`` takes
what was made for the activation behind: He's for ReLU and its kin, Glorot's for tanh and sigmoid, LeCun's for SELU.

A ``..._normal`` and its ``..._uniform`` have the same variance (``relu_glorot`` apart, which is as a lecture has it),
and train alike; the uniform one has no outliers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, Protocol, runtime_checkable

import numpy as np

from ._base.errors import require
from ._base.options import check_numbers, find
from ._base.typing import Shape


@runtime_checkable
class Initializer(Protocol):
    """Draws a parameter's first value; one of your own has ``draw``.

    Example:
        >>> import numpy as np, chainrule as cr
        >>> class Identity:
        ...     def draw(self, generator, shape):
        ...         return np.eye(*shape)
        >>> network = cr.Sequential(cr.Dense(2, 2, weight_init=Identity()))
        >>> network.initial_theta(seed=0).tolist()  # W row by row, then b
        [1.0, 0.0, 0.0, 1.0, 0.0, 0.0]
    """

    def draw(self, generator: np.random.Generator, shape: Shape) -> np.ndarray:
        """A float64 array of this shape."""


@dataclass(frozen=True)
class Constant(Initializer):
    """Every weight equal to ``value``. Units that start equal stay equal: right for biases, wrong for weights.

    Args:
        value: any number; default 0, which is what "zeros" stands for.

    Raises:
        ConfigurationError: a value that is not a number.

    Example:
        >>> import chainrule as cr
        >>> network = cr.mlp([3, 2, 1], bias_init=cr.Constant(0.01))
        >>> theta = network.initial_theta(seed=0)
        >>> theta[6:8].round(2).tolist()  # after the 3 x 2 weights of the first layer
        [0.01, 0.01]
    """

    value: float = 0.0

    def __post_init__(self) -> None:
        check_numbers(self)

    def draw(self, generator: np.random.Generator, shape: Shape) -> np.ndarray:
        return np.full(shape, float(self.value))


@dataclass(frozen=True)
class Normal(Initializer):
    """w ~ N(mean, std^2): one spread for every layer, whatever its width.

    Take it to see what a bad start does: std 1 saturates a wide sigmoid layer, with 0.01 a deep network collapses to 0.

    Args:
        std: the standard deviation, >= 0; default 0.01.
        mean: any number; default 0.

    Raises:
        ConfigurationError: std below 0.

    Example:
        >>> import numpy as np, chainrule as cr
        >>> w = cr.Normal(std=0.5).draw(np.random.default_rng(0), (200, 300))
        >>> w.shape, float(w.std().round(2)), float(abs(w.mean()).round(1))
        ((200, 300), 0.5, 0.0)
    """

    std: float = 0.01
    mean: float = 0.0

    def __post_init__(self) -> None:
        check_numbers(self)
        require(self.std >= 0, f"std must be >= 0, got {self.std}.")

    def draw(self, generator: np.random.Generator, shape: Shape) -> np.ndarray:
        return generator.normal(self.mean, self.std, shape)


@dataclass(frozen=True)
class Uniform(Initializer):
    """w ~ U(low, high], open below: ``Uniform(0, 1)`` never draws 0.

    Its mean is (low + high)/2 and its standard deviation (high - low) / sqrt 12.

    Args:
        low, high: the bounds, finite, low <= high; defaults -0.05 and 0.05.

    Raises:
        ConfigurationError: low above high, or an infinite bound.

    Example:
        >>> import numpy as np, chainrule as cr
        >>> w = cr.Uniform(-0.3, 0.3).draw(np.random.default_rng(0), (200, 300))
        >>> float(w.std().round(2)), round(0.6 / 12**0.5, 2), bool(abs(w).max() <= 0.3)
        (0.17, 0.17, True)
    """

    low: float = -0.05
    high: float = 0.05

    def __post_init__(self) -> None:
        check_numbers(self)
        finite = math.isfinite(self.low) and math.isfinite(self.high)
        require(finite and self.low <= self.high, f"low must be <= high, both finite, got {self.low} and {self.high}.")

    def draw(self, generator: np.random.Generator, shape: Shape) -> np.ndarray:
        return self.high - (self.high - self.low) * generator.random(shape)


@dataclass(frozen=True)
class VarianceScaling(Initializer):
    """Var w = scale / fan, fan = n_in or (n_in + n_out)/2: a normal, or a uniform with bound sqrt(3 Var w).

    Glorot's, He's and LeCun's initializers are this with a scale and a fan; take it for a scale of your own. By n_in
    what goes forward keeps its size; the average is a compromise with what comes back (Glorot & Bengio, 2010).

    Args:
        scale: what makes up for the activation behind, a finite number > 0: 1 where its slope at 0 is 1, 2 for ReLU,
            which sets half of z to 0; default 1.
        fan: "in", the layer's inputs, or "average", of its inputs and outputs; default "average".
        distribution: "normal" or "uniform"; default "uniform".

    Raises:
        ConfigurationError: a scale that is not finite and > 0, another fan or distribution.

    Example:
        >>> import numpy as np, chainrule as cr
        >>> x = np.random.default_rng(0).normal(size=(200, 300))
        >>> for scale in (1.0, 2.0, 4.0):  # what becomes of x in ten ReLU layers
        ...     a, init = x, cr.VarianceScaling(scale, fan="in")
        ...     for layer in range(10):
        ...         a = np.maximum(a @ init.draw(np.random.default_rng(layer), (300, 300)), 0)
        ...     print(scale, "shrinks" if a.std() < 0.1 else "explodes" if a.std() > 10 else "stays")
        1.0 shrinks
        2.0 stays
        4.0 explodes
    """

    scale: float = 1.0
    fan: Literal["in", "average"] = "average"
    distribution: Literal["normal", "uniform"] = "uniform"

    def __post_init__(self) -> None:
        check_numbers(self)
        require(0 < self.scale < math.inf, f"scale must be a finite number > 0, got {self.scale}.")
        require(self.fan in ("in", "average"), f"fan must be 'in' or 'average', got {self.fan!r}.")
        require(
            self.distribution in ("normal", "uniform"),
            f"distribution must be 'normal' or 'uniform', got {self.distribution!r}.",
        )

    def draw(self, generator: np.random.Generator, shape: Shape) -> np.ndarray:
        n_in, n_out = shape
        variance = self.scale / (n_in if self.fan == "in" else (n_in + n_out) / 2)
        if self.distribution == "normal":
            return generator.normal(0.0, math.sqrt(variance), shape)
        bound = math.sqrt(3.0 * variance)
        return generator.uniform(-bound, bound, shape)


def glorot_normal() -> VarianceScaling:
    """Std sqrt(2 / (n_in + n_out)), also called Xavier (Glorot & Bengio, 2010).

    For tanh and other functions of slope 1 at 0.

    Example:
        >>> import numpy as np, chainrule as cr
        >>> w = cr.glorot_normal().draw(np.random.default_rng(0), (150, 50))
        >>> float(w.std().round(2)), round((2 / (150 + 50)) ** 0.5, 2)
        (0.1, 0.1)
    """
    return VarianceScaling(1.0, "average", "normal")


def glorot_uniform() -> VarianceScaling:
    """Bound sqrt(6 / (n_in + n_out)), also called Xavier (Glorot & Bengio, 2010).

    For tanh and other functions of slope 1 at 0; a ``Dense`` that is told nothing has it.

    Example:
        >>> import numpy as np, chainrule as cr
        >>> w = cr.glorot_uniform().draw(np.random.default_rng(0), (400, 200))
        >>> float(abs(w).max().round(2)), round((6 / (400 + 200)) ** 0.5, 2)
        (0.1, 0.1)
    """
    return VarianceScaling(1.0, "average", "uniform")


def he_normal() -> VarianceScaling:
    """Std sqrt(2 / n_in), for ReLU (He et al., 2015).

    The 2 makes up for the half of the pre-activations that ReLU sets to 0, so deep networks keep their size.

    Example:
        >>> import numpy as np, chainrule as cr
        >>> w = cr.he_normal().draw(np.random.default_rng(0), (200, 300))
        >>> float(w.std().round(2)), round((2 / 200) ** 0.5, 2)
        (0.1, 0.1)
    """
    return VarianceScaling(2.0, "in", "normal")


def he_uniform() -> VarianceScaling:
    """Bound sqrt(6 / n_in), for ReLU (He et al., 2015).

    Example:
        >>> import numpy as np, chainrule as cr
        >>> w = cr.he_uniform().draw(np.random.default_rng(0), (600, 100))
        >>> float(abs(w).max().round(2)), round((6 / 600) ** 0.5, 2)
        (0.1, 0.1)
    """
    return VarianceScaling(2.0, "in", "uniform")


def lecun_normal() -> VarianceScaling:
    """Std sqrt(1 / n_in), for tanh and SELU (LeCun et al., 1998).

    Inputs of variance 1 give pre-activations of variance 1.

    Example:
        >>> import numpy as np, chainrule as cr
        >>> generator = np.random.default_rng(0)
        >>> x, w = generator.normal(size=(500, 400)), cr.lecun_normal().draw(generator, (400, 300))
        >>> float(w.std().round(2)), float((x @ w).var().round(1))
        (0.05, 1.0)
    """
    return VarianceScaling(1.0, "in", "normal")


def lecun_uniform() -> VarianceScaling:
    """Bound sqrt(3 / n_in), for tanh and SELU (LeCun et al., 1998).

    Example:
        >>> import numpy as np, chainrule as cr
        >>> w = cr.lecun_uniform().draw(np.random.default_rng(0), (300, 200))
        >>> float(abs(w).max().round(2)), round((3 / 300) ** 0.5, 2)
        (0.1, 0.1)
    """
    return VarianceScaling(1.0, "in", "uniform")


def sigmoid_glorot_normal() -> VarianceScaling:
    """Std 4 sqrt(2 / (n_in + n_out)): four times Glorot's, because the sigmoid's slope at 0 is 1/4.

    For sigmoid layers (Glorot & Bengio, 2010, had tanh, of slope 1).

    Example:
        >>> import numpy as np, chainrule as cr
        >>> w = cr.sigmoid_glorot_normal().draw(np.random.default_rng(0), (150, 50))
        >>> float(w.std().round(1)), round(4 * (2 / (150 + 50)) ** 0.5, 1)
        (0.4, 0.4)
    """
    return VarianceScaling(16.0, "average", "normal")


def sigmoid_glorot_uniform() -> VarianceScaling:
    """Bound 4 sqrt(6 / (n_in + n_out)): four times Glorot's, because the sigmoid's slope at 0 is 1/4.

    For sigmoid layers (Glorot & Bengio, 2010, had tanh, of slope 1).

    Example:
        >>> import numpy as np, chainrule as cr
        >>> w = cr.sigmoid_glorot_uniform().draw(np.random.default_rng(0), (400, 200))
        >>> float(abs(w).max().round(2)), round(4 * (6 / (400 + 200)) ** 0.5, 2)
        (0.4, 0.4)
    """
    return VarianceScaling(16.0, "average", "uniform")


def relu_glorot_normal() -> VarianceScaling:
    """Std sqrt(12 / (n_in + n_out)), as one of the lectures tabulates it for ReLU.

    It is sqrt 6 times Glorot's, and larger than He's: in a deep network of layers as wide as their inputs the
    activations grow by sqrt 3 a layer. ``he_normal`` keeps their size.

    Example:
        >>> import numpy as np, chainrule as cr
        >>> w = cr.relu_glorot_normal().draw(np.random.default_rng(0), (200, 100))
        >>> float(w.std().round(2)), round((12 / (200 + 100)) ** 0.5, 2)
        (0.2, 0.2)
    """
    return VarianceScaling(6.0, "average", "normal")


def relu_glorot_uniform() -> VarianceScaling:
    """Bound sqrt(12 / (n_in + n_out)), as one of the lectures tabulates it for ReLU.

    Of a layer as wide as its inputs it is He's, sqrt(6 / n_in): the uniform law for ReLU by the average of the widths.

    Example:
        >>> import numpy as np, chainrule as cr
        >>> w = cr.relu_glorot_uniform().draw(np.random.default_rng(0), (200, 100))
        >>> float(abs(w).max().round(2)), round((12 / (200 + 100)) ** 0.5, 2)
        (0.2, 0.2)
    """
    return VarianceScaling(2.0, "average", "uniform")


INITIALIZERS: Mapping[str, Callable[[], Initializer]] = MappingProxyType(
    {
        "zeros": Constant,
        "normal": Normal,
        "uniform": Uniform,
        "glorot_normal": glorot_normal,
        "glorot_uniform": glorot_uniform,
        "he_normal": he_normal,
        "he_uniform": he_uniform,
        "lecun_normal": lecun_normal,
        "lecun_uniform": lecun_uniform,
        "sigmoid_glorot_normal": sigmoid_glorot_normal,
        "sigmoid_glorot_uniform": sigmoid_glorot_uniform,
        "relu_glorot_normal": relu_glorot_normal,
        "relu_glorot_uniform": relu_glorot_uniform,
    }
)


def find_initializer(initializer: str | Initializer) -> Initializer:
    """The initializer of this name, or the object itself."""
    found = find(
        "initializer",
        initializer,
        INITIALIZERS,
        Initializer,
        expected="an initializer, with draw(generator, shape)",
        write="a name like 'he_normal', or an object like he_normal()",
    )
    return found() if isinstance(initializer, str) else found
