"""Initial weights: drawn once on the host in float64 from the seed, the same on every backend, rounded once.

An initializer answers ``draw(generator, shape)`` for a weight of shape ``(n_in, n_out)``. Most are one idea, variance
scaling: the variance that keeps the size of activations and gradients through the layers.
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
    """Draws a parameter's first value."""

    def draw(self, generator: np.random.Generator, shape: Shape) -> np.ndarray:
        """A float64 array of this shape."""


@dataclass(frozen=True)
class Constant(Initializer):
    """Every weight equal to ``value``. Units that start equal stay equal: right for biases, wrong for weights."""

    value: float = 0.0

    def __post_init__(self) -> None:
        check_numbers(self)

    def draw(self, generator: np.random.Generator, shape: Shape) -> np.ndarray:
        return np.full(shape, float(self.value))


@dataclass(frozen=True)
class Normal(Initializer):
    """w ~ N(mean, std^2)."""

    std: float = 0.01
    mean: float = 0.0

    def __post_init__(self) -> None:
        check_numbers(self)
        require(self.std >= 0, f"std must be >= 0, got {self.std}.")

    def draw(self, generator: np.random.Generator, shape: Shape) -> np.ndarray:
        return generator.normal(self.mean, self.std, shape)


@dataclass(frozen=True)
class Uniform(Initializer):
    """w ~ U(low, high], open below: ``Uniform(0, 1)`` never draws 0."""

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
    """Var w = scale / fan, fan = n_in or (n_in + n_out)/2: a normal, or a uniform with bound sqrt(3 Var w)."""

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
    """Std sqrt(2 / (n_in + n_out)), also called Xavier (Glorot & Bengio, 2010)."""
    return VarianceScaling(1.0, "average", "normal")


def glorot_uniform() -> VarianceScaling:
    """Bound sqrt(6 / (n_in + n_out)), also called Xavier (Glorot & Bengio, 2010)."""
    return VarianceScaling(1.0, "average", "uniform")


def he_normal() -> VarianceScaling:
    """Std sqrt(2 / n_in), for ReLU (He et al., 2015)."""
    return VarianceScaling(2.0, "in", "normal")


def he_uniform() -> VarianceScaling:
    """Bound sqrt(6 / n_in), for ReLU (He et al., 2015)."""
    return VarianceScaling(2.0, "in", "uniform")


def lecun_normal() -> VarianceScaling:
    """Std sqrt(1 / n_in), for tanh and SELU (LeCun et al., 1998)."""
    return VarianceScaling(1.0, "in", "normal")


def lecun_uniform() -> VarianceScaling:
    """Bound sqrt(3 / n_in) (LeCun et al., 1998)."""
    return VarianceScaling(1.0, "in", "uniform")


def sigmoid_glorot_normal() -> VarianceScaling:
    """Four times Glorot's std, because the sigmoid's slope at 0 is 1/4."""
    return VarianceScaling(16.0, "average", "normal")


def sigmoid_glorot_uniform() -> VarianceScaling:
    """Four times Glorot's bound, because the sigmoid's slope at 0 is 1/4."""
    return VarianceScaling(16.0, "average", "uniform")


def relu_glorot_normal() -> VarianceScaling:
    """Std sqrt(12 / (n_in + n_out)), as one of the lectures tabulates it for ReLU."""
    return VarianceScaling(6.0, "average", "normal")


def relu_glorot_uniform() -> VarianceScaling:
    """Bound sqrt(12 / (n_in + n_out)), as one of the lectures tabulates it for ReLU."""
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
