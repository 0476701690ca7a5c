"""Each initializer has the mean, the variance and the bounds of its law, and the same numbers on every platform."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import pytest
from completeness import kinds, named
from conftest import Platform

from chainrule import initializers as init


class InitializerCase(NamedTuple):
    """An initializer for 400 x 500, with the mean, variance and bounds of its law."""

    initializer: init.Initializer
    mean: float
    variance: float
    bounds: tuple[float, float] | None = None


def bounded(initializer: init.Initializer, bound: float) -> InitializerCase:
    return InitializerCase(initializer, 0.0, bound**2 / 3, (-bound, bound))


N_IN, N_OUT = 400, 500
INITIALIZERS = {
    "zeros": InitializerCase(init.Constant(), 0.0, 0.0, (0.0, 0.0)),
    "constant(0.01)": InitializerCase(init.Constant(0.01), 0.01, 0.0, (0.01, 0.01)),
    "normal": InitializerCase(init.Normal(), 0.0, 1e-4),
    "normal(1, 2)": InitializerCase(init.Normal(1.0, 2.0), 2.0, 1.0),
    "uniform": bounded(init.Uniform(), 0.05),
    "uniform(0, 1)": InitializerCase(init.Uniform(0.0, 1.0), 0.5, 1 / 12, (0.0, 1.0)),
    "glorot_normal": InitializerCase(init.glorot_normal(), 0.0, 2 / 900),
    "glorot_uniform": bounded(init.glorot_uniform(), math.sqrt(6 / 900)),
    "he_normal": InitializerCase(init.he_normal(), 0.0, 2 / 400),
    "he_uniform": bounded(init.he_uniform(), math.sqrt(6 / 400)),
    "lecun_normal": InitializerCase(init.lecun_normal(), 0.0, 1 / 400),
    "lecun_uniform": bounded(init.lecun_uniform(), math.sqrt(3 / 400)),
    "sigmoid_glorot_normal": InitializerCase(init.sigmoid_glorot_normal(), 0.0, 16 * 2 / 900),
    "sigmoid_glorot_uniform": bounded(init.sigmoid_glorot_uniform(), 4 * math.sqrt(6 / 900)),
    "relu_glorot_normal": InitializerCase(init.relu_glorot_normal(), 0.0, 12 / 900),
    "relu_glorot_uniform": bounded(init.relu_glorot_uniform(), math.sqrt(12 / 900)),
}


def draw(name: str) -> np.ndarray:
    return INITIALIZERS[name].initializer.draw(np.random.Generator(np.random.Philox(5)), (N_IN, N_OUT))


def test_the_table_of_initializers_is_complete() -> None:
    assert named(*(case.initializer for case in INITIALIZERS.values())) == kinds(init, "draw")
    recipes = {f for f in vars(init).values() if getattr(f, "__annotations__", {}).get("return") == "VarianceScaling"}
    assert recipes | {init.Constant, init.Normal, init.Uniform} == set(init.INITIALIZERS.values())
    for name, make in init.INITIALIZERS.items():
        assert make() == init.find_initializer(name) == INITIALIZERS[name].initializer


@pytest.mark.parametrize("name", INITIALIZERS)
def test_weights_have_the_mean_variance_and_bounds_of_their_law(name: str) -> None:
    _, mean, variance, bounds = INITIALIZERS[name]
    w = draw(name)
    assert w.dtype == np.float64
    assert w.shape == (N_IN, N_OUT)
    count = w.size
    assert abs(w.mean() - mean) <= 5 * math.sqrt(variance / count) + 1e-15  # a constant's mean rounds
    # Var s^2 = (kurtosis - 1) sigma^4 / n, at most (3 - 1) sigma^4 / n for these two
    assert abs(w.var() - variance) <= 5 * math.sqrt(2 / count) * variance + 1e-30
    if bounds is None:
        assert np.abs(w - mean).max() > 4 * math.sqrt(variance)  # a normal has tails; a uniform ends at 1.7 sigma
    else:
        low, high = bounds
        assert low <= w.min() <= low + 1e-3 * (high - low)
        assert high - 1e-3 * (high - low) <= w.max() <= high


def test_a_uniform_is_open_below_and_closed_above() -> None:
    class Zero:
        def random(self, shape: Any) -> np.ndarray:
            return np.zeros(shape)

    assert init.Uniform(0.0, 1.0).draw(Zero(), (1, 1)) == 1.0  # type: ignore[arg-type]


@pytest.mark.parametrize("name", INITIALIZERS)
def test_weights_are_rounded_once_and_the_same_on_every_platform(platform: Platform, name: str) -> None:
    w = INITIALIZERS[name].initializer.draw(np.random.Generator(np.random.Philox(5)), (40, 30))
    platform.check(platform.backend.asarray(w), w.astype(platform.spec.dtype))
