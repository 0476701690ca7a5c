"""Each activation and its derivative against their formulas; far out, at NaN and at 0.

The formulas of this folder are written from the literature for float64 NumPy; nothing here calls the library to know
what is right. A table is one program on a platform that compiles; a failure names its line.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
from completeness import kinds, named
from conftest import Platform, about
from scipy import special

from chainrule import activations as act
from chainrule import layers
from chainrule._backend import reference_backend as backend
from chainrule._base.errors import ConfigurationError

HOST = backend("numpy", dtype="float64")


class ActivationCase(NamedTuple):
    """An activation, its g and its g' again (None: it has none)."""

    activation: act.Elementwise
    g: Callable[[np.ndarray], Any]
    dg: Callable[[np.ndarray], Any] | None


SELU_SCALE, SELU_ALPHA = 1.0507009873554805, 1.6732632423543773  # Klambauer et al., 2017, equation 14
ROOT = math.sqrt(2.0 / math.pi)


def expm1(z: np.ndarray) -> Any:
    return np.expm1(np.minimum(z, 0.0))  # its use is for z <= 0


def gelu_tanh_slope(z: np.ndarray) -> np.ndarray:
    u = ROOT * (z + 0.044715 * z**3)
    return 0.5 * (1.0 + np.tanh(u)) + 0.5 * z * ROOT * (1.0 + 0.134145 * z * z) / np.cosh(u) ** 2


def mish_slope(z: np.ndarray) -> np.ndarray:
    """Misra, 2020, equation 2.4: exp(z) omega / delta^2."""
    e = np.exp(z)
    omega = 4.0 * (z + 1.0) + 4.0 * e**2 + e**3 + e * (4.0 * z + 6.0)
    return e * omega / (2.0 * e + e**2 + 2.0) ** 2


ACTIVATIONS = {
    "linear": ActivationCase(act.Linear(), lambda z: z, np.ones_like),
    "linear(2, -1)": ActivationCase(act.Linear(2.0, -1.0), lambda z: 2 * z - 1, lambda z: np.full_like(z, 2.0)),
    "step": ActivationCase(act.Step(), lambda z: np.heaviside(z, 0.0), None),
    "sigmoid": ActivationCase(act.Sigmoid(), special.expit, lambda z: special.expit(z) * special.expit(-z)),
    "tanh": ActivationCase(act.Tanh(), np.tanh, lambda z: 1 / np.cosh(z) ** 2),
    "relu": ActivationCase(act.ReLU(), lambda z: np.maximum(z, 0), lambda z: np.heaviside(z, 0.0)),
    "leaky_relu": ActivationCase(
        act.LeakyReLU(), lambda z: np.maximum(z, 0.01 * z), lambda z: np.where(z > 0, 1, 0.01)
    ),
    "leaky_relu(0.2)": ActivationCase(
        act.LeakyReLU(0.2), lambda z: np.maximum(z, 0.2 * z), lambda z: np.where(z > 0, 1, 0.2)
    ),
    "elu": ActivationCase(act.ELU(), lambda z: np.where(z > 0, z, expm1(z)), lambda z: np.where(z > 0, 1, np.exp(z))),
    "elu(0.5)": ActivationCase(
        act.ELU(0.5),
        lambda z: np.where(z > 0, z, expm1(z) / 2),
        lambda z: np.where(z > 0, 1, np.exp(z) / 2),
    ),
    "selu": ActivationCase(
        act.SELU(),
        lambda z: SELU_SCALE * np.where(z > 0, z, SELU_ALPHA * expm1(z)),
        lambda z: SELU_SCALE * np.where(z > 0, 1, SELU_ALPHA * np.exp(z)),
    ),
    "gelu": ActivationCase(
        act.GELU(),
        lambda z: z * special.ndtr(z),
        lambda z: special.ndtr(z) + z * np.exp(-z * z / 2) / math.sqrt(2 * math.pi),
    ),
    "gelu_tanh": ActivationCase(
        act.GELUTanh(), lambda z: z * special.expit(2 * ROOT * (z + 0.044715 * z**3)), gelu_tanh_slope
    ),
    "silu": ActivationCase(
        act.SiLU(), lambda z: z * special.expit(z), lambda z: special.expit(z) * (1 + z * special.expit(-z))
    ),
    "mish": ActivationCase(act.Mish(), lambda z: z * np.tanh(np.logaddexp(0, z)), mish_slope),
    "softplus": ActivationCase(act.Softplus(), lambda z: np.logaddexp(0, z), special.expit),
    "hard_sigmoid": ActivationCase(
        act.HardSigmoid(), lambda z: np.clip((z + 3) / 6, 0, 1), lambda z: np.where(np.abs(z) < 3, 1 / 6, 0)
    ),
    "hard_tanh": ActivationCase(
        act.HardTanh(), lambda z: np.clip(z, -1, 1), lambda z: np.where(np.abs(z) < 1, 1.0, 0.0)
    ),
    "hard_swish": ActivationCase(
        act.HardSwish(),
        lambda z: z * np.clip(z + 3, 0, 6) / 6,
        lambda z: np.where(z < -3, 0, np.where(z > 3, 1, (2 * z + 3) / 6)),
    ),
    "exponential": ActivationCase(act.Exponential(), np.exp, np.exp),
    "sine": ActivationCase(act.Sine(), np.sin, np.cos),
    "cosine": ActivationCase(act.Cosine(), np.cos, lambda z: -np.sin(z)),
    "polynomial": ActivationCase(act.Polynomial(), np.square, lambda z: 2 * z),
    "polynomial(1, -2, 0.5, 3)": ActivationCase(
        act.Polynomial((1.0, -2.0, 0.5, 3.0)),
        lambda z: 1 - 2 * z + z**2 / 2 + 3 * z**3,
        lambda z: -2 + z + 9 * z**2,
    ),
    "polynomial(3)": ActivationCase(act.Polynomial((3.0,)), lambda z: np.full_like(z, 3.0), np.zeros_like),
    "your own": ActivationCase(
        act.Activation(lambda xp, z: xp.exp(-z * z), lambda xp, z: -2.0 * z * xp.exp(-z * z)),
        lambda z: np.exp(-np.square(z)),
        lambda z: -2 * z * np.exp(-np.square(z)),
    ),
}
# Multiples of 1/64 are exact in both dtypes; no corner (0, +-1, +-3) is among them.
Z = np.arange(-6 * 64 + 6, 6 * 64, 11) / 64
FAR = np.asarray([-1000.0, -100.0, 100.0, 1000.0])
# An exponential and a polynomial are meant to be large at 1000.
UNBOUNDED = {"exponential", "polynomial", "polynomial(1, -2, 0.5, 3)"}
# A step has two values, and NaN > 0 is false; a constant does not look at z.
NAN_IGNORED = {"step", "polynomial(3)"}


@functools.cache
def all_activations(platform: Platform) -> dict[str, tuple[Any, Any]]:
    """(g(z), g'(z) cos z) of each activation, at Z, FAR and NaN."""
    b = platform.backend

    def every(all_z: Any, da: Any) -> Any:
        answers = {}
        for name, (activation, _, dg) in ACTIVATIONS.items():
            z = b.xp.clip(all_z, min=-6.0, max=6.0) if name in UNBOUNDED else all_z
            a = b.run(layers.activate, activation, z)
            answers[name] = a, b.run(layers.activation_gradient, activation, z, a, da) if dg else a
        return answers

    z = np.concatenate([Z, FAR, [math.nan]])
    return platform.run(every, platform.array(z), platform.array(np.cos(z)))


def test_the_table_of_activations_is_complete() -> None:
    assert named(*(case.activation for case in ACTIVATIONS.values())) == kinds(act, "value", "derivative")
    assert named(*act.ACTIVATIONS.values()) == kinds(act, "value", "derivative") - {"Activation"}
    for name, activation in act.ACTIVATIONS.items():
        assert activation == type(activation)() == act.find_activation(name)
        assert ACTIVATIONS[name].activation == activation


def test_an_activation_and_its_derivative_are_their_formulas(platform: Platform) -> None:
    for name, (value, gradient) in all_activations(platform).items():
        with about(name):
            _, g, dg = ACTIVATIONS[name]
            # 24: exp(-z^2/2), its argument rounded once, at z = 6. 8 and 32: GELUTanh's 1 + tanh and 1 - tanh^2 cancel
            # and are scaled by z and du/dz, up to 6 and 5.
            platform.check(value[: Z.size], g(Z), rtol=24 * platform.eps, atol=8 * platform.eps)
            if dg:
                platform.check(gradient[: Z.size], np.cos(Z) * dg(Z), rtol=24 * platform.eps, atol=32 * platform.eps)


def test_an_activation_stays_finite_far_out(platform: Platform) -> None:
    """A softplus or a sigmoid that takes exp(1000) overflows, in either dtype."""
    for name, (value, gradient) in all_activations(platform).items():
        if name not in UNBOUNDED:
            with about(name):
                # sin 1000: the argument is reduced with an error of eps, whatever its size; 1e-37 is float32's floor
                platform.check(value[Z.size : -1], ACTIVATIONS[name].g(FAR), rtol=64 * platform.eps, atol=1e-37)
                assert np.isfinite(platform.host(gradient)[Z.size : -1]).all()


LINES = sorted(ACTIVATIONS.keys() - UNBOUNDED - {"sine", "cosine", "your own"})


@np.errstate(over="ignore")
def test_an_activation_is_right_up_to_the_end_of_the_dtype(platform: Platform) -> None:
    """Far out each is a line or a constant; a z^2 on the way is infinite beyond 1.8e19, and 0 times infinity is NaN."""
    b, largest = platform.backend, float(np.finfo(platform.spec.dtype).max)
    sizes = np.asarray([1e7, largest**0.4, 1.1 * largest**0.5, largest**0.7, largest / 4])
    z = np.concatenate([sizes, -sizes])
    ends = 100.0 * np.sign(z)

    def every(z: Any) -> Any:
        ones, answers = b.xp.ones_like(z), {}
        for name in LINES:
            activation, _, dg = ACTIVATIONS[name]
            a = b.run(layers.activate, activation, z)
            answers[name] = a, b.run(layers.activation_gradient, activation, z, a, ones) if dg else 0.0 * ones
        return answers

    for name, (value, gradient) in platform.run(every, platform.array(z)).items():
        with about(name):
            _, g, dg = ACTIVATIONS[name]
            slope = 0.0 * z if dg is None else dg(ends) * np.ones_like(z)
            line = np.where(np.abs(slope) > 1e-30, slope * z, g(ends))
            platform.check(value, line, rtol=1e-6, atol=1e-37)
            platform.check(gradient, slope, rtol=4 * platform.eps, atol=platform.eps)


def test_an_activation_passes_nan_on(platform: Platform) -> None:
    for name, (value, _) in all_activations(platform).items():
        if name not in NAN_IGNORED:
            with about(name):
                assert np.isnan(platform.host(value)[-1])


@pytest.mark.parametrize("name", ["relu", "leaky_relu", "step"])
def test_at_zero_the_left_side_is_taken(name: str) -> None:
    zero = np.zeros(1)
    activation, g, dg = ACTIVATIONS[name]
    assert activation.value(HOST.xp, zero) == g(zero)
    if dg:
        assert activation.derivative(HOST.xp, zero, zero) == dg(zero)


def test_no_gradient_passes_a_step() -> None:
    with pytest.raises(ConfigurationError, match="sigmoid"):
        act.Step().derivative(HOST.xp, Z, Z)
