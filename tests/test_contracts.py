"""One suite for everything that comes in kinds: a new kind is one line in a table, and runs on every target.

Each line gives the law a second time, written from the literature for float64 NumPy; nothing here calls the library
to know what is right. A table is one program on a target that compiles; a failure names its line.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import math
from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import pytest
from conftest import Target, about, central_differences, find_library
from scipy import special

from chainrule import activations as act
from chainrule import initializers as init
from chainrule import layers, losses, optimizers, penalties, schedules
from chainrule._backend import reference_backend as backend
from chainrule._errors import ConfigurationError
from chainrule._random import Key, keep_mask, uniform

HOST = backend("numpy", dtype="float64")


def kinds(module: ModuleType, *methods: str) -> set[str]:
    """The public concrete classes of a module that have these methods: what a table must name."""
    return {
        name
        for name, kind in vars(module).items()
        if inspect.isclass(kind) and not name.startswith("_") and not getattr(kind, "_is_protocol", False)
        if kind.__module__.startswith(module.__name__) and all(callable(getattr(kind, m, None)) for m in methods)
    }


def named(*objects: Any) -> set[str]:
    return {type(o).__name__ for o in objects}


# ------------------------------------------------------------------------------------------------------- activations


class Function(NamedTuple):
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


FUNCTIONS = {
    "linear": Function(act.Linear(), lambda z: z, np.ones_like),
    "linear(2, -1)": Function(act.Linear(2.0, -1.0), lambda z: 2 * z - 1, lambda z: np.full_like(z, 2.0)),
    "step": Function(act.Step(), lambda z: np.heaviside(z, 0.0), None),
    "sigmoid": Function(act.Sigmoid(), special.expit, lambda z: special.expit(z) * special.expit(-z)),
    "tanh": Function(act.Tanh(), np.tanh, lambda z: 1 / np.cosh(z) ** 2),
    "relu": Function(act.ReLU(), lambda z: np.maximum(z, 0), lambda z: np.heaviside(z, 0.0)),
    "leaky_relu": Function(act.LeakyReLU(), lambda z: np.maximum(z, 0.01 * z), lambda z: np.where(z > 0, 1, 0.01)),
    "leaky_relu(0.2)": Function(
        act.LeakyReLU(0.2), lambda z: np.maximum(z, 0.2 * z), lambda z: np.where(z > 0, 1, 0.2)
    ),
    "elu": Function(act.ELU(), lambda z: np.where(z > 0, z, expm1(z)), lambda z: np.where(z > 0, 1, np.exp(z))),
    "elu(0.5)": Function(
        act.ELU(0.5),
        lambda z: np.where(z > 0, z, expm1(z) / 2),
        lambda z: np.where(z > 0, 1, np.exp(z) / 2),
    ),
    "selu": Function(
        act.SELU(),
        lambda z: SELU_SCALE * np.where(z > 0, z, SELU_ALPHA * expm1(z)),
        lambda z: SELU_SCALE * np.where(z > 0, 1, SELU_ALPHA * np.exp(z)),
    ),
    "gelu": Function(
        act.GELU(),
        lambda z: z * special.ndtr(z),
        lambda z: special.ndtr(z) + z * np.exp(-z * z / 2) / math.sqrt(2 * math.pi),
    ),
    "gelu_tanh": Function(
        act.GELUTanh(), lambda z: z * special.expit(2 * ROOT * (z + 0.044715 * z**3)), gelu_tanh_slope
    ),
    "silu": Function(
        act.SiLU(), lambda z: z * special.expit(z), lambda z: special.expit(z) * (1 + z * special.expit(-z))
    ),
    "mish": Function(act.Mish(), lambda z: z * np.tanh(np.logaddexp(0, z)), mish_slope),
    "softplus": Function(act.Softplus(), lambda z: np.logaddexp(0, z), special.expit),
    "hard_sigmoid": Function(
        act.HardSigmoid(), lambda z: np.clip((z + 3) / 6, 0, 1), lambda z: np.where(np.abs(z) < 3, 1 / 6, 0)
    ),
    "hard_tanh": Function(act.HardTanh(), lambda z: np.clip(z, -1, 1), lambda z: np.where(np.abs(z) < 1, 1.0, 0.0)),
    "hard_swish": Function(
        act.HardSwish(),
        lambda z: z * np.clip(z + 3, 0, 6) / 6,
        lambda z: np.where(z < -3, 0, np.where(z > 3, 1, (2 * z + 3) / 6)),
    ),
    "exponential": Function(act.Exponential(), np.exp, np.exp),
    "sine": Function(act.Sine(), np.sin, np.cos),
    "cosine": Function(act.Cosine(), np.cos, lambda z: -np.sin(z)),
    "polynomial": Function(act.Polynomial(), np.square, lambda z: 2 * z),
    "polynomial(1, -2, 0.5, 3)": Function(
        act.Polynomial((1.0, -2.0, 0.5, 3.0)),
        lambda z: 1 - 2 * z + z**2 / 2 + 3 * z**3,
        lambda z: -2 + z + 9 * z**2,
    ),
    "polynomial(3)": Function(act.Polynomial((3.0,)), lambda z: np.full_like(z, 3.0), np.zeros_like),
    "your own": Function(
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
DEAF = {"step", "polynomial(3)"}


@functools.cache
def activated(target: Target) -> dict[str, tuple[Any, Any]]:
    """(g(z), g'(z) cos z) of each activation, at Z, FAR and NaN."""
    b = target.backend

    def every(all_z: Any, da: Any) -> Any:
        answers = {}
        for name, (activation, _, dg) in FUNCTIONS.items():
            z = b.xp.clip(all_z, min=-6.0, max=6.0) if name in UNBOUNDED else all_z
            a = b.run(layers.activate, activation, z)
            answers[name] = a, b.run(layers.activation_gradient, activation, z, a, da) if dg else a
        return answers

    z = np.concatenate([Z, FAR, [math.nan]])
    return target.run(every, target.array(z), target.array(np.cos(z)))


def test_the_table_of_activations_is_complete() -> None:
    assert named(*(f.activation for f in FUNCTIONS.values())) == kinds(act, "value", "derivative")
    assert named(*act.ACTIVATIONS.values()) == kinds(act, "value", "derivative") - {"Activation"}
    for name, activation in act.ACTIVATIONS.items():
        assert activation == type(activation)() == act.find_activation(name)
        assert FUNCTIONS[name].activation == activation


def test_an_activation_and_its_derivative_are_their_formulas(target: Target) -> None:
    for name, (value, gradient) in activated(target).items():
        with about(name):
            _, g, dg = FUNCTIONS[name]
            # 24: exp(-z^2/2), its argument rounded once, at z = 6. 8 and 32: GELUTanh's 1 + tanh and 1 - tanh^2 cancel
            # and are scaled by z and du/dz, up to 6 and 5.
            target.check(value[: Z.size], g(Z), rtol=24 * target.eps, atol=8 * target.eps)
            if dg:
                target.check(gradient[: Z.size], np.cos(Z) * dg(Z), rtol=24 * target.eps, atol=32 * target.eps)


def test_an_activation_stays_finite_far_out(target: Target) -> None:
    """A softplus or a sigmoid that takes exp(1000) overflows, in either dtype."""
    for name, (value, gradient) in activated(target).items():
        if name not in UNBOUNDED:
            with about(name):
                # sin 1000: the argument is reduced with an error of eps, whatever its size; 1e-37 is float32's floor
                target.check(value[Z.size : -1], FUNCTIONS[name].g(FAR), rtol=64 * target.eps, atol=1e-37)
                assert np.isfinite(target.host(gradient)[Z.size : -1]).all()


LINES = sorted(FUNCTIONS.keys() - UNBOUNDED - {"sine", "cosine", "your own"})


@np.errstate(over="ignore")
def test_an_activation_is_right_up_to_the_end_of_the_dtype(target: Target) -> None:
    """Far out each is a line or a constant; a z^2 on the way is infinite beyond 1.8e19, and 0 times infinity is NaN."""
    b, largest = target.backend, float(np.finfo(target.spec.dtype).max)
    sizes = np.asarray([1e7, largest**0.4, 1.1 * largest**0.5, largest**0.7, largest / 4])
    z = np.concatenate([sizes, -sizes])
    ends = 100.0 * np.sign(z)

    def every(z: Any) -> Any:
        ones, answers = b.xp.ones_like(z), {}
        for name in LINES:
            activation, _, dg = FUNCTIONS[name]
            a = b.run(layers.activate, activation, z)
            answers[name] = a, b.run(layers.activation_gradient, activation, z, a, ones) if dg else 0.0 * ones
        return answers

    for name, (value, gradient) in target.run(every, target.array(z)).items():
        with about(name):
            _, g, dg = FUNCTIONS[name]
            slope = 0.0 * z if dg is None else dg(ends) * np.ones_like(z)
            line = np.where(np.abs(slope) > 1e-30, slope * z, g(ends))
            target.check(value, line, rtol=1e-6, atol=1e-37)
            target.check(gradient, slope, rtol=4 * target.eps, atol=target.eps)


def test_an_activation_passes_nan_on(target: Target) -> None:
    for name, (value, _) in activated(target).items():
        if name not in DEAF:
            with about(name):
                assert np.isnan(target.host(value)[-1])


@pytest.mark.parametrize("name", [name for name, f in FUNCTIONS.items() if f.dg])
def test_the_derivative_is_the_slope(name: str) -> None:
    (activation, *_), h, xp = FUNCTIONS[name], 1e-6, HOST.xp
    slope = (activation.value(xp, Z + h) - activation.value(xp, Z - h)) / (2 * h)
    derivative = activation.derivative(xp, Z, activation.value(xp, Z))
    np.testing.assert_allclose(derivative, slope, rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("name", ["relu", "leaky_relu", "step"])
def test_at_zero_the_left_side_is_taken(name: str) -> None:
    zero = np.zeros(1)
    activation, g, dg = FUNCTIONS[name]
    assert activation.value(HOST.xp, zero) == g(zero)
    if dg:
        assert activation.derivative(HOST.xp, zero, zero) == dg(zero)


def test_no_gradient_passes_a_step() -> None:
    with pytest.raises(ConfigurationError, match="sigmoid"):
        act.Step().derivative(HOST.xp, Z, Z)


# ------------------------------------------------------------------------------------------------------------ layers


class Law(NamedTuple):
    """A layer of ``n_in`` inputs and what it does in training, in prediction, and to its buffers, again.

    p and q are its parameters and buffers; r is the random array of ``noise``.
    """

    layer: layers.Layer
    n_in: int
    train: Callable[[Any, np.ndarray, Any], np.ndarray]
    predict: Callable[[Any, Any, np.ndarray], np.ndarray]
    running: Callable[[Any, np.ndarray], Any] = lambda q, x: q
    noise: Callable[[Key, int, int], Any] = lambda key, rows, columns: None


def standard(x: np.ndarray, axis: int) -> np.ndarray:
    return (x - x.mean(axis, keepdims=True)) / np.sqrt(x.var(axis, keepdims=True) + 1e-5)


LAYERS = {
    "dense": Law(layers.Dense(4, 2), 4, lambda p, x, r: x @ p[0] + p[1], lambda p, q, x: x @ p[0] + p[1]),
    "dense, no bias": Law(layers.Dense(4, 5, bias=False), 4, lambda p, x, r: x @ p[0], lambda p, q, x: x @ p[0]),
    "batch norm": Law(
        layers.BatchNorm(4),
        4,
        lambda p, x, r: p[0] * standard(x, -2) + p[1],
        lambda p, q, x: p[0] * (x - q[0]) / np.sqrt(q[1] + 1e-5) + p[1],
        running=lambda q, x: (
            0.9 * q[0] + 0.1 * x.mean(-2, keepdims=True),
            0.9 * q[1] + 0.1 * x.var(-2, ddof=1, keepdims=True),
        ),
    ),
    "layer norm": Law(
        layers.LayerNorm(4),
        4,
        lambda p, x, r: p[0] * standard(x, -1) + p[1],
        lambda p, q, x: p[0] * standard(x, -1) + p[1],
    ),
    "dropout": Law(
        layers.Dropout(0.25),
        6,
        lambda p, x, r: np.where(r, x / 0.75, 0.0),
        lambda p, q, x: x,
        noise=lambda key, rows, columns: keep_mask(HOST, key, rows, columns, 0.25),
    ),
    "dropout of nothing": Law(layers.Dropout(0.0), 6, lambda p, x, r: x, lambda p, q, x: x),
    "randomized leaky relu": Law(
        layers.RandomizedLeakyReLU(0.125, 0.5),
        6,
        lambda p, x, r: np.where(x > 0, x, x * (0.125 + 0.375 * r)),
        lambda p, q, x: np.where(x > 0, x, x * 0.3125),
        noise=lambda key, rows, columns: uniform(HOST, key, rows, columns),
    ),
    "activate": Law(layers.Activate(act.Tanh()), 4, lambda p, x, r: np.tanh(x), lambda p, q, x: np.tanh(x)),
    "softmax": Law(layers.Softmax(), 4, lambda p, x, r: special.softmax(x, -1), lambda p, q, x: special.softmax(x, -1)),
}
ROWS = 5


class Case(NamedTuple):
    """What a layer is tried on, in NumPy."""

    p: tuple[np.ndarray, ...]
    q: tuple[np.ndarray, ...]
    x: np.ndarray
    dy: np.ndarray
    k0: np.ndarray
    k1: np.ndarray


def case_of(law: Law, rows: int, lead: tuple[int, ...] = ()) -> Case:
    rng = np.random.default_rng(7)
    p = tuple(rng.normal(1.0, 0.5, (*lead, *parameter.shape)) for parameter in law.layer.parameters())
    q = tuple(rng.uniform(0.5, 2.0, (*lead, *buffer.shape)) for buffer in law.layer.buffers())
    x = rng.normal(0.3, 1.0, (*lead, rows, law.n_in))
    dy = rng.normal(size=(*lead, rows, law.layer.width(law.n_in)))
    k0, k1 = rng.integers(-(2**31), 2**31, (2, *lead, 1, 1))
    return Case(p, q, x, dy, k0, k1)


def placed(target: Target, case: Case) -> tuple[Any, ...]:
    p, q, *rest = case
    return (*([target.array(a) for a in group] for group in (p, q)), *map(target.array, rest))


def passes(target: Target, layer: layers.Layer) -> Callable[..., Any]:
    """(y, buffers after, gradients, dx, prediction)."""

    def run(p: Any, q: Any, x: Any, dy: Any, k0: Any, k1: Any) -> Any:
        b = target.backend
        y, residual, after = layer.forward(b, tuple(p), tuple(q), x, Key(k0, k1))
        gradients = layer.gradients(b, residual, dy)
        return y, after, gradients, layer.pullback(b, tuple(p), residual, dy, gradients), layer.apply(b, p, q, x)

    return run


def key_of(case: Case) -> Key:
    return Key(case.k0.astype(np.int32), case.k1.astype(np.int32))


@functools.cache
def passed(target: Target) -> dict[str, Any]:
    """The passes of each layer over one batch."""

    def every(cases: dict[str, Any]) -> Any:
        return {name: passes(target, LAYERS[name].layer)(*case) for name, case in cases.items()}

    return target.run(every, {name: placed(target, case_of(law, ROWS)) for name, law in LAYERS.items()})


def noise_of(law: Law, case: Case) -> Any:
    return law.noise(key_of(case), ROWS, law.n_in)


def test_the_table_of_layers_is_complete() -> None:
    assert named(*(law.layer for law in LAYERS.values())) == kinds(layers, "forward", "apply", "gradients", "pullback")
    assert all(isinstance(law.layer, layers.Layer) for law in LAYERS.values())


def test_training_and_prediction_are_the_layers_formulas(target: Target) -> None:
    exact = {"rtol": 20 * target.eps, "atol": 20 * target.eps}
    for name, (y, after, _, _, prediction) in passed(target).items():
        with about(name):
            law = LAYERS[name]
            case = case_of(law, ROWS)
            target.check(y, law.train(case.p, case.x, noise_of(law, case)), **exact)
            target.check(prediction, law.predict(case.p, case.q, case.x), **exact)
            for got, want in zip(after, law.running(case.q, case.x), strict=True):
                target.check(got, want, **exact)


def test_gradients_and_pullback_are_the_slopes_of_the_layers_formulas(target: Target) -> None:
    # Central differences are good to 1e-9; 100 eps is what the sums and the divisions of a normalisation round to.
    near = {"rtol": max(100 * target.eps, 1e-8), "atol": max(100 * target.eps, 1e-8)}
    for name, (_, _, gradients, dx, _) in passed(target).items():
        with about(name):
            law = LAYERS[name]
            case = case_of(law, ROWS)

            def cost(x: np.ndarray, *p: np.ndarray, law: Law = law, case: Case = case) -> Any:
                return np.sum(case.dy * law.train(p, x, noise_of(law, case)))

            slopes = [
                central_differences(lambda a, i=i, pieces=pieces: cost(*pieces[:i], a, *pieces[i + 1 :]), pieces[i])
                for pieces in [(case.x, *case.p)]
                for i in range(len(pieces))
            ]
            for got, want in zip((dx, *gradients), slopes, strict=True):
                target.check(got, want, **near)


@pytest.mark.parametrize("shared", [True, False], ids=["shared x", "own x"])
@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("target", ["numpy-readonly", "strictest-float64", "torch"], indirect=True)
def test_a_stack_is_its_networks_one_by_one(target: Target, name: str, shared: bool) -> None:
    k = rows = 3  # equal, so that a sum over the wrong one of the two has the right shape
    law = LAYERS[name]
    case = case_of(law, rows, (k,))
    if shared:  # as for a network's first layer: one batch, k networks
        case = case._replace(x=case.x[0])
    runs = passes(target, law.layer)
    y, after, gradients, dx, prediction = runs(*placed(target, case))
    for i in range(k):
        p, q, x, *rest = (a if isinstance(a, np.ndarray) else tuple(piece[i] for piece in a) for a in case)
        one = Case(p, q, x if shared else x[i], *(a[i] for a in rest))
        alone = runs(*placed(target, one))
        for got, want in zip((dx, *gradients), (alone[3], *alone[2]), strict=True):
            np.testing.assert_allclose(target.host(got)[i], target.host(want), rtol=8 * target.eps, atol=8 * target.eps)
        for got, want in zip((y, prediction, *after), (alone[0], alone[4], *alone[1]), strict=True):
            stacked = target.host(got)
            member = (
                stacked[i] if stacked.ndim == 3 else stacked
            )  # shared x, no parameters, no mask: one answer for all
            np.testing.assert_allclose(member, target.host(want), rtol=8 * target.eps, atol=8 * target.eps)


@pytest.mark.parametrize("name", [name for name, law in LAYERS.items() if isinstance(law.layer, layers.Dense)])
def test_layers_name_their_parameters_in_the_order_they_take_them(name: str) -> None:
    layer = LAYERS[name].layer
    assert [p.name for p in layer.parameters()] == ["W", "b"][: 1 + layer.bias]
    assert [p.decays for p in layer.parameters()] == [True, False][: 1 + layer.bias]


@pytest.mark.parametrize("layer", [layers.BatchNorm(4), layers.LayerNorm(4)], ids=lambda layer: type(layer).__name__)
def test_scales_and_shifts_start_as_the_identity_and_do_not_decay(layer: Any) -> None:
    gamma, beta = layer.parameters()
    assert (gamma.name, gamma.initializer, gamma.decays) == ("gamma", init.Constant(1.0), False)
    assert (beta.name, beta.initializer, beta.decays) == ("beta", init.Constant(0.0), False)


def test_batch_norm_refuses_a_batch_of_one_row() -> None:
    law = LAYERS["batch norm"]
    case = case_of(law, 1)
    with pytest.raises(ConfigurationError, match="one row"):
        law.layer.forward(HOST, case.p, case.q, case.x, key_of(case))


@pytest.mark.parametrize("name", ["dense", "batch norm", "layer norm"])
def test_a_layer_refuses_inputs_that_do_not_fit(name: str) -> None:
    with pytest.raises(ConfigurationError, match="needs 4 inputs, got 3"):
        LAYERS[name].layer.width(3)


def test_dropout_keeps_the_mean_of_the_rounded_rate() -> None:
    """A rate that is no multiple of 1/65536 is rounded, and what is kept is scaled by the rounded rate."""
    case = case_of(LAYERS["dropout"], ROWS)
    y = layers.Dropout(0.3).forward(HOST, (), (), np.ones((ROWS, 6)), key_of(case))[0]
    assert set(np.unique(y)) == {0.0, 65536 / (65536 - 19661)}


# ------------------------------------------------------------------------------------------------------------ losses


class Charge(NamedTuple):
    """A loss, the targets it is for, and L(z, y) of each row again."""

    loss: losses.LossFunction
    y: str
    law: Callable[[np.ndarray, np.ndarray], np.ndarray]


def each(terms: np.ndarray) -> np.ndarray:
    return terms.sum(-1)


def sigmoid_ce(z: np.ndarray, y: np.ndarray) -> np.ndarray:
    return each(-y * special.log_expit(z) - (1 - y) * special.log_expit(-z))


def softmax_ce(z: np.ndarray, y: np.ndarray) -> np.ndarray:
    return each(-y * special.log_softmax(z, -1))


LOSSES = {
    "squared_error": Charge(losses.SquaredError(), "numbers", lambda z, y: 0.5 * each((z - y) ** 2)),
    "absolute_error": Charge(losses.AbsoluteError(), "numbers", lambda z, y: each(np.abs(z - y))),
    "huber": Charge(losses.Huber(), "numbers", lambda z, y: each(special.huber(1.0, z - y))),
    "huber(0.5)": Charge(losses.Huber(0.5), "numbers", lambda z, y: each(special.huber(0.5, z - y))),
    "quantile": Charge(losses.Quantile(), "numbers", lambda z, y: each(0.5 * np.abs(y - z))),
    "quantile(0.9)": Charge(
        losses.Quantile(0.9), "numbers", lambda z, y: each(np.maximum(0.9 * (y - z), -0.1 * (y - z)))
    ),
    "poisson": Charge(losses.Poisson(), "counts", lambda z, y: each(np.exp(z) - y * z)),
    "sigmoid_cross_entropy": Charge(losses.SigmoidCrossEntropy(), "fractions", sigmoid_ce),
    "sigmoid_cross_entropy, smooth": Charge(
        losses.SigmoidCrossEntropy(0.2), "fractions", lambda z, y: sigmoid_ce(z, 0.8 * y + 0.1)
    ),
    "softmax_cross_entropy": Charge(losses.SoftmaxCrossEntropy(), "classes", softmax_ce),
    "softmax_cross_entropy, smooth": Charge(
        losses.SoftmaxCrossEntropy(0.2), "classes", lambda z, y: softmax_ce(z, 0.8 * y + 0.2 / z.shape[-1])
    ),
    "softmax_cross_entropy, rows of any sum": Charge(losses.SoftmaxCrossEntropy(), "fractions", softmax_ce),
    "your own": Charge(
        losses.Loss(lambda xp, z, y: (xp.sum(xp.log(xp.cosh(z - y)), axis=-1, keepdims=True), xp.tanh(z - y))),
        "numbers",
        lambda z, y: each(np.logaddexp(z - y, y - z) - math.log(2.0)),
    ),
}
RNG = np.random.default_rng(1729)
M, N = 6, 4
LOGITS = RNG.normal(0.0, 2.0, (M, N))
WEIGHTS = np.asarray([[2.0], [0.0], [1.0], [3.0], [1.0], [1.0]])
TARGETS = {
    "numbers": RNG.normal(0.0, 2.0, (M, N)),
    "counts": RNG.poisson(3.0, (M, N)).astype(float),
    "fractions": np.concatenate([RNG.random((M - 2, N)), np.zeros((1, N)), np.ones((1, N))]),
    "classes": np.concatenate([RNG.dirichlet(np.ones(N), M - 3), np.eye(N)[:3]]),
}


INDEX = np.asarray([[0], [3], [1], [1], [2], [0]])
EXTREME = np.where(np.arange(M * N).reshape(M, N) % 3, -1000.0, 1000.0)
CROSS_ENTROPIES = [name for name in LOSSES if "cross_entropy" in name]


def charge(target: Target, name: str, z: np.ndarray, y: np.ndarray, weight: np.ndarray | None = None) -> Any:
    weight = None if weight is None else target.array(weight)
    return losses.cost(target.backend, LOSSES[name].loss, target.array(z), target.array(y), weight)


@functools.cache
def charged(target: Target) -> dict[str, dict[str, tuple[Any, Any]]]:
    """(cost, gradient) of each loss: plain, weighted, with weights of 0, and where logits are extreme."""

    def every(zs: dict[str, Any], ys: dict[str, Any], weight: Any) -> Any:
        return {
            name: [losses.cost(target.backend, loss, zs[name], ys[kind], w) for w in (None, weight)]
            for name, (loss, kind, _) in LOSSES.items()
        }

    program = target.compile(every)
    ys = {kind: target.array(y) for kind, y in TARGETS.items()}
    z, extreme = target.array(LOGITS), target.array(EXTREME)
    plain = program(dict.fromkeys(LOSSES, z), ys, target.array(WEIGHTS))
    # exp(1000) is beyond every dtype, so the Poisson loss has no such logits
    far = program({name: extreme if name in CROSS_ENTROPIES else z for name in LOSSES}, ys, target.array(0 * WEIGHTS))
    return {
        name: {"plain": plain[name][0], "weighted": plain[name][1], "far": far[name][0], "weightless": far[name][1]}
        for name in LOSSES
    }


def test_the_table_of_losses_is_complete() -> None:
    assert named(*(c.loss for c in LOSSES.values())) == kinds(losses, "per_example")
    assert named(*losses.LOSSES.values()) == kinds(losses, "per_example") - {"Loss"}
    for name, loss in losses.LOSSES.items():
        assert loss == type(loss)() == losses.find_loss(name) == LOSSES[name].loss
        assert isinstance(loss, losses.LossFunction)
        assert loss.target == LOSSES[name].y


@pytest.mark.parametrize("what", ["plain", "weighted"])
def test_a_cost_is_the_mean_of_its_formula_and_its_gradient_the_slope(target: Target, what: str) -> None:
    weights = WEIGHTS[:, 0] if what == "weighted" else None
    for name, answers in charged(target).items():
        with about(name):
            _, kind, law = LOSSES[name]

            def mean(z: np.ndarray, law: Any = law, y: np.ndarray = TARGETS[kind]) -> Any:
                return np.average(law(z, y), weights=weights)

            value, gradient = answers[what]
            target.check(value, mean(LOGITS), rtol=8 * target.eps)
            slope = central_differences(mean, LOGITS)  # good to 1e-8
            target.check(gradient, slope, rtol=max(16 * target.eps, 1e-8), atol=max(8 * target.eps, 1e-8))


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("target", ["numpy-readonly"], indirect=True)
def test_a_weight_is_a_number_of_copies(target: Target, name: str) -> None:
    y, copies = TARGETS[LOSSES[name].y], WEIGHTS[:, 0].astype(int)
    value, gradient = charge(target, name, LOGITS, y, WEIGHTS)
    repeated, each_gradient = charge(target, name, LOGITS.repeat(copies, 0), y.repeat(copies, 0))
    target.check(value, repeated, rtol=1e-14)
    row_of = np.arange(M).repeat(copies)
    target.check(gradient, np.stack([each_gradient[row_of == i].sum(0) for i in range(M)]), rtol=1e-13, atol=1e-16)


def test_weights_that_sum_to_zero_cost_nothing(target: Target) -> None:
    for name, answers in charged(target).items():
        with about(name):
            value, gradient = answers["weightless"]
            target.check(value, 0.0)
            target.check(gradient, np.zeros((M, N)))


def test_class_indices_are_rows_with_one_1(target: Target) -> None:
    def cost(z: Any, y: Any) -> Any:
        return losses.cost(target.backend, losses.SoftmaxCrossEntropy(0.1), z, y, None)

    by_index = target.run(cost, target.array(LOGITS), target.array(INDEX))
    by_row = losses.cost(HOST, losses.SoftmaxCrossEntropy(0.1), LOGITS, np.eye(N)[INDEX[:, 0]], None)
    for got, want in zip(by_index, by_row, strict=True):
        target.check(got, want, rtol=8 * target.eps, atol=2 * target.eps)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("target", ["numpy-readonly", "strictest-float64", "torch"], indirect=True)
def test_a_stack_of_logits_has_a_stack_of_costs(target: Target, name: str) -> None:
    k = rows = 3
    rng = np.random.default_rng(7)
    z, y, weight = rng.normal(size=(k, rows, N)), TARGETS[LOSSES[name].y][:rows], WEIGHTS[:rows]
    for w in (None, weight):
        value, gradient = charge(target, name, z, y, w)
        alone = [charge(target, name, z[i], y, w) for i in range(k)]
        target.check(value, np.stack([target.host(v) for v, _ in alone]), rtol=4 * target.eps)
        target.check(gradient, np.stack([target.host(g) for _, g in alone]), rtol=4 * target.eps)


def test_a_cross_entropy_is_finite_for_every_logit(target: Target) -> None:
    for name in CROSS_ENTROPIES:
        with about(name):
            _, kind, law = LOSSES[name]
            value, gradient = charged(target)[name]["far"]
            target.check(value, law(EXTREME, TARGETS[kind]).mean(), rtol=8 * target.eps)
            assert np.isfinite(target.host(gradient)).all()


@pytest.mark.parametrize("loss", [losses.AbsoluteError(), losses.Quantile(0.9), losses.Huber()], ids=repr)
def test_a_residual_of_zero_has_no_slope(loss: losses.LossFunction) -> None:
    value, gradient = losses.cost(HOST, loss, LOGITS, LOGITS, None)
    assert value == 0.0
    assert not gradient.any()


# -------------------------------------------------------------------------------------------------------- optimizers


class Rule(NamedTuple):
    """An optimizer, and the same in torch, a function of (weights, biases); what torch lacks as the paper has it."""

    optimizer: Any
    torch: Callable[[Any, Any, Any], Any] | None = None
    paper: Callable[[Any], np.ndarray] | None = None


def lion(o: Any) -> np.ndarray:
    """Chen et al., 2023, Algorithm 2, with b1 = 0.9 and b2 = 0.99."""
    theta, m, path = THETA, np.zeros_like(THETA), []
    for g in GRADIENTS:
        theta = theta - o.learning_rate * (np.sign(0.9 * m + 0.1 * g) + o.decay * DECAYS * theta)
        m = 0.99 * m + 0.01 * g
        path.append(theta)
    return np.stack(path)


def velocity(rates: Callable[[int], float], o: Any) -> np.ndarray:
    """Sutskever et al., 2013, equations 1 and 2; with Nesterov's gradient 3 and 4, of theta + mu v."""
    theta, v, path = THETA, np.zeros_like(THETA), []
    for i, g in enumerate(GRADIENTS):
        v = o.mu * v - rates(i) * g
        theta = theta + (o.mu * v - rates(i) * g if o.nesterov else v)
        path.append(theta)
    return np.stack(path)


def adam_with_epsilon_hat(o: Any) -> np.ndarray:
    """Kingma & Ba, 2015, Algorithm 1 with the last lines that the end of section 2 puts in place of its own."""
    theta, m, v, path = THETA, np.zeros_like(THETA), np.zeros_like(THETA), []
    for t, g in enumerate(GRADIENTS, 1):
        m = o.b1 * m + (1 - o.b1) * g
        v = o.b2 * v + (1 - o.b2) * g**2
        rate = o.learning_rate * math.sqrt(1 - o.b2**t) / (1 - o.b1**t)
        theta = theta - rate * m / (np.sqrt(v) + o.epsilon)
        path.append(theta)
    return np.stack(path)


OPTIMIZERS = {
    "sgd": Rule(optimizers.SGD(0.1), lambda t, w, b: t.SGD([w, b], 0.1)),
    "momentum": Rule(optimizers.Momentum(0.1), lambda t, w, b: t.SGD([w, b], 0.1, momentum=0.9)),
    "momentum, nesterov": Rule(
        optimizers.Momentum(0.1, 0.8, nesterov=True), lambda t, w, b: t.SGD([w, b], 0.1, momentum=0.8, nesterov=True)
    ),
    "velocity_momentum": Rule(optimizers.VelocityMomentum(0.1), lambda t, w, b: t.SGD([w, b], 0.1, momentum=0.9)),
    "velocity_momentum, nesterov": Rule(
        optimizers.VelocityMomentum(0.1, 0.8, nesterov=True),
        lambda t, w, b: t.SGD([w, b], 0.1, momentum=0.8, nesterov=True),
    ),
    **{
        f"velocity_momentum, a rate that changes, nesterov={nesterov}": Rule(
            optimizers.VelocityMomentum(schedules.StepDecay(0.1, every=20, factor=0.25), nesterov=nesterov),
            paper=functools.partial(velocity, lambda i: 0.1 * 0.25 ** (i // 20)),
        )
        for nesterov in (False, True)
    },
    # torch's dampening leaves the first gradient whole; the same path is its momentum at a tenth of the rate.
    "averaged_momentum": Rule(optimizers.AveragedMomentum(0.1), lambda t, w, b: t.SGD([w, b], 0.01, momentum=0.9)),
    "adagrad": Rule(optimizers.Adagrad(0.1), lambda t, w, b: t.Adagrad([w, b], 0.1)),
    "rmsprop": Rule(optimizers.RMSProp(), lambda t, w, b: t.RMSprop([w, b], 0.001)),
    "rmsprop(0.05, 0.8, 1e-3)": Rule(
        optimizers.RMSProp(0.05, 0.8, 1e-3), lambda t, w, b: t.RMSprop([w, b], 0.05, alpha=0.8, eps=1e-3)
    ),
    "adam": Rule(optimizers.Adam(), lambda t, w, b: t.Adam([w, b])),
    "adam(0.05, 0.8, 0.95, 1e-3)": Rule(
        optimizers.Adam(0.05, 0.8, 0.95, 1e-3), lambda t, w, b: t.Adam([w, b], 0.05, (0.8, 0.95), 1e-3)
    ),
    "adam(b1=0)": Rule(optimizers.Adam(0.05, 0.0), lambda t, w, b: t.Adam([w, b], 0.05, (0.0, 0.999))),
    "adam(epsilon_hat)": Rule(optimizers.Adam(0.05, epsilon_hat=True), paper=adam_with_epsilon_hat),
    "adam(0.05, 0.8, 0.95, 1e-1, epsilon_hat)": Rule(
        optimizers.Adam(0.05, 0.8, 0.95, 1e-1, epsilon_hat=True), paper=adam_with_epsilon_hat
    ),
    "adam(b2=0, epsilon_hat)": Rule(optimizers.Adam(0.05, 0.0, 0.0, 1e-1, True), paper=adam_with_epsilon_hat),
    "adamw": Rule(optimizers.AdamW(), lambda t, w, b: t.AdamW([{"params": [w]}, {"params": [b], "weight_decay": 0}])),
    "adamw(0.05, decay=0.3)": Rule(
        optimizers.AdamW(0.05, decay=0.3),
        lambda t, w, b: t.AdamW([{"params": [w]}, {"params": [b], "weight_decay": 0}], 0.05, weight_decay=0.3),
    ),
    "lion": Rule(optimizers.Lion(), paper=lion),
    "lion(0.05, decay=0.3)": Rule(optimizers.Lion(0.05, decay=0.3), paper=lion),
}
STEPS, P, DECAYING = 50, 7, 4
RNG = np.random.default_rng(1729)
THETA = RNG.normal(size=P)
GRADIENTS = RNG.normal(size=(STEPS, P)) * np.exp(RNG.normal(size=(STEPS, 1))) * 10.0 ** np.arange(-3, 4)
DECAYS = np.asarray([1.0] * DECAYING + [0.0] * (P - DECAYING))


def true_path(name: str) -> np.ndarray:
    """Theta after each step, (STEPS, P)."""
    rule = OPTIMIZERS[name]
    if rule.torch is None:
        assert rule.paper is not None, f"nothing to compare {name} with"
        return rule.paper(rule.optimizer)
    torch = find_library("torch")
    w, b = (torch.tensor(piece, requires_grad=True) for piece in np.split(THETA, [DECAYING]))
    optimizer, path = rule.torch(torch.optim, w, b), []
    for g in GRADIENTS:
        w.grad, b.grad = map(torch.tensor, np.split(g, [DECAYING]))
        optimizer.step()
        path.append(np.concatenate([w.detach().numpy(), b.detach().numpy()]))
    return np.stack(path)


def test_the_table_of_optimizers_is_complete() -> None:
    assert named(*(rule.optimizer for rule in OPTIMIZERS.values())) == kinds(optimizers, "init", "update")
    assert {kind.__name__ for kind in optimizers.OPTIMIZERS.values()} == kinds(optimizers, "init", "update")
    for name, kind in optimizers.OPTIMIZERS.items():
        assert type(OPTIMIZERS[name].optimizer) is kind
        assert optimizers.find_optimizer(name) == kind()
        assert isinstance(kind(), optimizers.Optimizer)


def test_fifty_steps_follow_torch_or_the_paper(target: Target) -> None:
    b, paths = target.backend, {name: true_path(name) for name in OPTIMIZERS}

    def every(states: dict[str, Any], g: Any, t: Any) -> Any:
        return {
            name: o.update(b, theta, g, moments, t, schedules.as_schedule(o.learning_rate).rate(b.xp, t))
            for name, (theta, moments) in states.items()
            for o in [OPTIMIZERS[name].optimizer]
        }

    states = {}
    for name, (optimizer, *_) in OPTIMIZERS.items():
        theta = target.owned(THETA)
        states[name] = theta, optimizer.init(b, theta, target.owned(DECAYS))
    step = target.compile(every)
    for i in range(STEPS):
        states = step(states, target.array(GRADIENTS[i]), target.array([i + 1.0]))
        for name, (theta, moments) in states.items():
            with about(f"{name}, step {i + 1}"):
                # Each step rounds: an eps of where theta came from and of how far it went. torch's own 1 - b2^t is
                # good to 1e-13.
                path = np.stack([THETA, *paths[name][: i + 1]])
                far = np.abs(THETA) + np.abs(np.diff(path, axis=0)).sum(axis=0)
                target.check(theta / target.array(far), path[-1] / far, atol=max((8 + i) * target.eps, 1e-12))
                for moment in moments:
                    target.check(moment, target.host(moment))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_step_donates_theta_and_the_moments_and_leaves_the_gradient(name: str) -> None:
    optimizer, theta, g = OPTIMIZERS[name].optimizer, THETA.copy(), GRADIENTS[0].copy()
    decays = DECAYS.copy()
    moments = optimizer.init(HOST, theta, decays)
    t, eta = np.ones(1), np.full(1, 0.1)
    after, moments_after = optimizer.update(HOST, theta, g, moments, t, eta)
    assert after is theta
    assert all(new is old for new, old in zip(moments_after, moments, strict=True))
    np.testing.assert_array_equal(g, GRADIENTS[0])
    np.testing.assert_array_equal(decays, DECAYS)
    assert (t, eta) == (1.0, 0.1)


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("target", ["numpy-readonly", "strictest-float32", "torch"], indirect=True)
def test_a_stack_moves_each_network_at_its_own_rate(target: Target, name: str) -> None:
    optimizer, b, rates = OPTIMIZERS[name].optimizer, target.backend, np.asarray([[0.1], [0.01], [0.3]])
    thetas = np.stack([THETA, THETA[::-1], -THETA])

    def two_steps(theta: np.ndarray, g: np.ndarray, eta: np.ndarray) -> np.ndarray:
        placed = target.owned(theta)
        moments = optimizer.init(b, placed, target.owned(DECAYS))
        for t in (1.0, 2.0):
            g_t = target.array(g / t)
            placed, moments = optimizer.update(b, placed, g_t, moments, target.array([t]), target.array(eta))
        return target.host(placed)

    stacked = two_steps(thetas, GRADIENTS[:3], rates)
    alone = [two_steps(thetas[i], GRADIENTS[i], rates[i]) for i in range(3)]
    np.testing.assert_allclose(stacked, np.stack(alone), rtol=4 * target.eps, atol=4 * target.eps)


def walked(optimizer: Any, rates: np.ndarray) -> np.ndarray:
    """Theta after each step at these rates, float64."""
    theta, path = THETA.copy(), []
    moments = optimizer.init(HOST, theta, DECAYS)
    for i, eta in enumerate(rates):
        t = np.full(1, i + 1.0)
        theta, moments = optimizer.update(HOST, theta, GRADIENTS[i], moments, t, np.full(1, eta))
        path.append(theta.copy())
    return np.stack(path)


def test_averaged_momentum_is_momentum_at_a_rescaled_rate() -> None:
    averaging = walked(optimizers.AveragedMomentum(beta=0.9), np.full(STEPS, 1.0))
    classical = walked(optimizers.Momentum(mu=0.9), np.full(STEPS, 0.1))
    np.testing.assert_allclose(averaging, classical, rtol=1e-12, atol=1e-12)


CONSTANT, CHANGED = np.full(20, 0.1), np.repeat([0.1, 0.02], 10)


@pytest.mark.parametrize("nesterov", [False, True])
def test_the_velocity_holds_the_rates_that_it_was_made_at(nesterov: bool) -> None:
    ours, torchs = optimizers.VelocityMomentum(nesterov=nesterov), optimizers.Momentum(nesterov=nesterov)
    np.testing.assert_allclose(walked(ours, CONSTANT), walked(torchs, CONSTANT), rtol=1e-12)
    assert np.abs(walked(ours, CHANGED) / walked(torchs, CHANGED) - 1.0)[10:].max() > 0.01
    for rates in (CONSTANT, CHANGED):
        still = optimizers.VelocityMomentum(mu=0.0, nesterov=nesterov)
        np.testing.assert_array_equal(walked(still, rates), walked(optimizers.SGD(), rates))


SCIKIT_LEARNS: dict[str, tuple[Any, Callable[[Any, Any], Any]]] = {
    "plain": (
        optimizers.VelocityMomentum(mu=0.0),
        lambda s, w: s.SGDOptimizer(w, 0.1, momentum=0.0, nesterov=False),
    ),
    "momentum": (
        optimizers.VelocityMomentum(mu=0.8),
        lambda s, w: s.SGDOptimizer(w, 0.1, momentum=0.8, nesterov=False),
    ),
    "nesterov": (optimizers.VelocityMomentum(nesterov=True), lambda s, w: s.SGDOptimizer(w, 0.1)),
    "adam": (optimizers.Adam(epsilon_hat=True), lambda s, w: s.AdamOptimizer(w, 0.1)),
    "adam(0.8, 0.95, 1e-1)": (
        optimizers.Adam(b1=0.8, b2=0.95, epsilon=1e-1, epsilon_hat=True),
        lambda s, w: s.AdamOptimizer(w, 0.1, 0.8, 0.95, 1e-1),
    ),
}


@pytest.mark.parametrize("rates", [CONSTANT, CHANGED], ids=["one rate", "a rate that changes"])
@pytest.mark.parametrize("name", SCIKIT_LEARNS)
def test_scikit_learns_solvers_take_the_same_steps(name: str, rates: np.ndarray) -> None:
    theirs = find_library("scikit-learn", "sklearn.neural_network._stochastic_optimizers")
    optimizer, make = SCIKIT_LEARNS[name]
    weights = np.split(THETA.copy(), [DECAYING])
    solver, path = make(theirs, weights), []
    for eta, g in zip(rates, GRADIENTS, strict=False):
        solver.learning_rate = solver.learning_rate_init = eta
        solver.update_params(weights, np.split(g, [DECAYING]))
        path.append(np.concatenate(weights))
    np.testing.assert_allclose(walked(optimizer, rates), path, rtol=1e-12)


def test_adams_first_step_is_the_rate_in_every_coordinate(target: Target) -> None:
    """m'/sqrt(v') = g/|g|, to float32's precision: 1 - b2^t taken as written would be wrong by 1e-5."""
    optimizer, b = optimizers.Adam(0.001), target.backend
    theta, g = target.owned(np.zeros(P)), target.array(GRADIENTS[0] + np.sign(GRADIENTS[0]))
    moments = optimizer.init(b, theta, target.owned(DECAYS))
    one, eta = target.array([1.0]), target.array([0.001])
    theta, _ = target.run(lambda *arguments: optimizer.update(b, *arguments), theta, g, moments, one, eta)
    target.check(theta, -0.001 * np.sign(GRADIENTS[0]), rtol=8 * target.eps + 2e-8)  # epsilon is 1e-8 of |g| >= 1


def test_lion_keeps_no_decays_that_it_does_not_use() -> None:
    assert len(optimizers.Lion().init(HOST, THETA, DECAYS)) == 1
    assert len(optimizers.Lion(decay=0.1).init(HOST, THETA, DECAYS)) == 2


def test_planned_fills_in_the_length_of_a_schedule() -> None:
    assert optimizers.planned(optimizers.Adam(schedules.CosineDecay(0.1)), 30).learning_rate.steps == 30
    assert optimizers.planned(optimizers.Adam(0.1), 30) == optimizers.Adam(0.1)


# ------------------------------------------------------------------------------------------------------------- clips


def test_the_table_of_clips_is_complete() -> None:
    assert {kind for kind in kinds(optimizers, "__call__") if kind.startswith("Clip")} == {"ClipValue", "ClipNorm"}
    assert isinstance(optimizers.ClipNorm(1.0), optimizers.Clip)


def test_clip_value_bounds_each_coordinate(target: Target) -> None:
    g = target.array([[-3.0, 0.5, 2.0], [0.0, -0.5, 7.0]])
    clipped = target.run(lambda g: optimizers.ClipValue(1.5)(target.backend, g), g)
    target.check(clipped, [[-1.5, 0.5, 1.5], [0.0, -0.5, 1.5]])


def test_clip_norm_bounds_each_network_of_a_stack_by_itself(target: Target) -> None:
    """Norms 5, 0.5 and 0 under a bound of 1: scaled, left alone bit for bit, and no 0/0."""
    g = target.array([[3.0, -4.0], [0.3, 0.4], [0.0, 0.0]])
    clipped = target.run(lambda g: optimizers.ClipNorm(1.0)(target.backend, g), g)
    target.check(clipped, [[0.6, -0.8], [0.3, 0.4], [0.0, 0.0]], rtol=2 * target.eps)
    np.testing.assert_array_equal(target.host(clipped)[1], target.host(g)[1])


def test_clip_norm_of_a_gradient_whose_square_overflows(target: Target) -> None:
    """It was clipped to 0, so that the training stood still and said nothing."""
    largest = float(np.finfo(target.spec.dtype).max)
    g = np.asarray([[0.6, -0.8], [1e-3, 0.0], [0.0, 0.0]]) * [[largest], [1.0], [1.0]]
    clipped = target.run(lambda g: optimizers.ClipNorm(5.0)(target.backend, g), target.array(g))
    target.check(clipped, [[3.0, -4.0], [1e-3, 0.0], [0.0, 0.0]], rtol=4 * target.eps)


def test_clip_norm_takes_the_norm_over_a_whole_network() -> None:
    np.testing.assert_allclose(
        optimizers.ClipNorm(1.0)(HOST, np.asarray([3.0, -4.0, 12.0])), [3 / 13, -4 / 13, 12 / 13]
    )


# --------------------------------------------------------------------------------------------------------- schedules


def cosine(eta: float, warmup: int, steps: int, final: float) -> Callable[[int], float]:
    def rate(t: int) -> float:
        if t <= warmup:
            return eta * t / warmup
        s = min((t - warmup) / (steps - warmup), 1.0)
        return final + (eta - final) / 2 * (1 + math.cos(math.pi * s))

    return rate


def one_cycle(eta: float, steps: int, rise: float, start: float, end: float) -> Callable[[int], float]:
    def rate(t: int) -> float:
        u = min(t / steps, 1.0)
        if u <= rise:
            return eta / start + (eta - eta / start) / 2 * (1 - math.cos(math.pi * u / rise))
        return eta / end + (eta - eta / end) / 2 * (1 + math.cos(math.pi * (u - rise) / (1 - rise)))

    return rate


SCHEDULES = {
    "constant": (schedules.ConstantRate(0.3), lambda t: 0.3),
    "step decay": (schedules.StepDecay(0.3, 7), lambda t: 0.3 * 0.1 ** ((t - 1) // 7)),
    "step decay by half": (schedules.StepDecay(0.3, 10, 0.5), lambda t: 0.3 * 0.5 ** ((t - 1) // 10)),
    "exponential decay": (schedules.ExponentialDecay(0.3, 20), lambda t: 0.3 * 0.1 ** ((t - 1) / 20)),
    "inverse scaling": (schedules.InverseScaling(0.3), lambda t: 0.3 / math.sqrt(t)),
    "inverse scaling, cubic": (schedules.InverseScaling(0.3, 3.0), lambda t: 0.3 / t**3),
    "cosine": (schedules.CosineDecay(0.3, steps=50), cosine(0.3, 0, 50, 0.0)),
    "cosine, warm": (schedules.CosineDecay(0.3, 10, 50, 0.02), cosine(0.3, 10, 50, 0.02)),
    "one cycle": (schedules.OneCycle(0.3, 50), one_cycle(0.3, 50, 0.3, 25.0, 1e4)),
    "one cycle, late": (schedules.OneCycle(0.3, 50, 0.61, 10.0, 100.0), one_cycle(0.3, 50, 0.61, 10.0, 100.0)),
}
T = np.arange(1, 61)  # ten steps past the end of those that have one


def test_the_table_of_schedules_is_complete() -> None:
    assert named(*(schedule for schedule, _ in SCHEDULES.values())) == kinds(schedules, "rate", "planned")


def test_a_schedule_is_its_formula_at_every_step(target: Target) -> None:
    xp = target.backend.xp

    def every(t: Any) -> Any:
        return {name: schedule.rate(xp, t) for name, (schedule, _) in SCHEDULES.items()}

    for name, rates in target.run(every, target.array(T.astype(float))).items():
        with about(name):
            _, law = SCHEDULES[name]
            # exp(power ln t) rounds its argument, up to 3 ln 60 = 12; a cosine ends where 1 + cos s cancels.
            target.check(rates, [law(int(t)) for t in T], rtol=16 * target.eps, atol=0.3 * target.eps)


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("target", ["numpy-readonly", "strictest-float32"], indirect=True)
def test_a_rate_has_the_shape_of_the_counter(target: Target, name: str) -> None:
    schedule, law = SCHEDULES[name]
    rate = schedule.rate(target.backend.xp, target.array([13.0]))
    target.check(rate, [law(13)], rtol=16 * target.eps)


def test_cosine_is_torchs_cosine_annealing() -> None:
    torch = find_library("torch")
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.3)
    annealing, rates = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=50, eta_min=0.02), []
    for _ in range(50):
        optimizer.step()
        annealing.step()
        rates.append(annealing.get_last_lr()[0])
    ours = schedules.CosineDecay(0.3, steps=50, final=0.02).rate(HOST.xp, np.arange(1.0, 51.0))
    np.testing.assert_allclose(ours, rates, rtol=1e-12)


@pytest.mark.parametrize("schedule", [schedules.CosineDecay(0.3, 5), schedules.OneCycle(0.3)], ids=repr)
def test_a_schedule_without_a_length_is_planned_or_refused(schedule: Any) -> None:
    with pytest.raises(ConfigurationError, match="no length"):
        schedule.rate(HOST.xp, np.ones(1))
    planned = schedule.planned(40)
    assert planned.steps == 40
    assert planned.planned(7) is planned


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_schedule_with_a_length_keeps_it(name: str) -> None:
    schedule, _ = SCHEDULES[name]
    assert schedule.planned(7) is schedule


# ------------------------------------------------------------------------------------------------------ initializers


class Spread(NamedTuple):
    """An initializer for 400 x 500, with the mean, variance and bounds of its law."""

    initializer: init.Initializer
    mean: float
    variance: float
    bounds: tuple[float, float] | None = None


def bounded(initializer: init.Initializer, bound: float) -> Spread:
    return Spread(initializer, 0.0, bound**2 / 3, (-bound, bound))


N_IN, N_OUT = 400, 500
INITIALIZERS = {
    "zeros": Spread(init.Constant(), 0.0, 0.0, (0.0, 0.0)),
    "constant(0.01)": Spread(init.Constant(0.01), 0.01, 0.0, (0.01, 0.01)),
    "normal": Spread(init.Normal(), 0.0, 1e-4),
    "normal(1, 2)": Spread(init.Normal(1.0, 2.0), 2.0, 1.0),
    "uniform": bounded(init.Uniform(), 0.05),
    "uniform(0, 1)": Spread(init.Uniform(0.0, 1.0), 0.5, 1 / 12, (0.0, 1.0)),
    "glorot_normal": Spread(init.glorot_normal(), 0.0, 2 / 900),
    "glorot_uniform": bounded(init.glorot_uniform(), math.sqrt(6 / 900)),
    "he_normal": Spread(init.he_normal(), 0.0, 2 / 400),
    "he_uniform": bounded(init.he_uniform(), math.sqrt(6 / 400)),
    "lecun_normal": Spread(init.lecun_normal(), 0.0, 1 / 400),
    "lecun_uniform": bounded(init.lecun_uniform(), math.sqrt(3 / 400)),
    "sigmoid_glorot_normal": Spread(init.sigmoid_glorot_normal(), 0.0, 16 * 2 / 900),
    "sigmoid_glorot_uniform": bounded(init.sigmoid_glorot_uniform(), 4 * math.sqrt(6 / 900)),
    "relu_glorot_normal": Spread(init.relu_glorot_normal(), 0.0, 12 / 900),
    "relu_glorot_uniform": bounded(init.relu_glorot_uniform(), math.sqrt(12 / 900)),
}


def draw(name: str) -> np.ndarray:
    return INITIALIZERS[name].initializer.draw(np.random.Generator(np.random.Philox(5)), (N_IN, N_OUT))


def test_the_table_of_initializers_is_complete() -> None:
    assert named(*(s.initializer for s in INITIALIZERS.values())) == kinds(init, "draw")
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
def test_weights_are_rounded_once_and_the_same_on_every_target(target: Target, name: str) -> None:
    w = INITIALIZERS[name].initializer.draw(np.random.Generator(np.random.Philox(5)), (40, 30))
    target.check(target.backend.asarray(w), w.astype(target.spec.dtype))


# --------------------------------------------------------------------------------------------------------- penalties

WEIGHTS_OF_TWO = [np.random.default_rng(7).normal(0.0, 2.0, shape) for shape in ((6, 4), (2, 4))]
PENALTIES = {
    "none": penalties.Penalty(),
    "l1": penalties.Penalty(l1=0.3),
    "l2": penalties.Penalty(l2=0.7),
    "both": penalties.Penalty(0.3, 0.7),
    "both over examples": penalties.Penalty(0.3, 0.7, "examples"),
}


def test_the_table_of_penalties_is_complete() -> None:
    assert named(*PENALTIES.values()) == kinds(penalties, "value", "gradient")


def test_a_penalty_is_its_formula_and_its_gradient_the_slope(target: Target) -> None:
    xp, share = target.backend.xp, 1 / 5

    def every(w0: Any, w1: Any) -> Any:
        return {
            name: (xp.sum(0.0 * w1) + penalty.value(xp, [w0, w1], share), penalty.gradient(xp, w0, share))
            for name, penalty in PENALTIES.items()
        }

    for name, (value, gradient) in target.run(every, *map(target.array, WEIGHTS_OF_TWO)).items():
        with about(name):
            l1, l2, over = vars(PENALTIES[name]).values()

            def law(w0: np.ndarray, l1: float = l1, l2: float = l2, over: str = over) -> Any:
                sums = sum(l1 * np.abs(w).sum() + l2 / 2 * (w**2).sum() for w in (w0, WEIGHTS_OF_TWO[1]))
                return sums / 5 if over == "examples" else sums

            target.check(value, law(WEIGHTS_OF_TWO[0]), rtol=8 * target.eps)
            slope = central_differences(law, WEIGHTS_OF_TWO[0])  # good to 1e-8
            target.check(gradient, slope, rtol=max(4 * target.eps, 1e-8), atol=1e-8)


@pytest.mark.parametrize("name", ["both", "both over examples"])
@pytest.mark.parametrize("target", ["numpy-readonly", "strictest-float32", "torch"], indirect=True)
def test_a_stack_is_penalized_one_by_one(target: Target, name: str) -> None:
    penalty, stack = PENALTIES[name], np.random.default_rng(7).normal(size=(3, 3, 3))
    value = penalty.value(target.backend.xp, [target.array(stack)], 0.2)
    alone = [target.host(penalty.value(target.backend.xp, [target.array(w)], 0.2)) for w in stack]
    target.check(value, np.stack(alone), rtol=4 * target.eps)


# --------------------------------------------------------------------------------------------------- wrong options

WRONG: dict[str, Callable[[], object]] = {
    "an unknown activation": lambda: act.find_activation("rellu"),
    "no activation": lambda: act.find_activation(3),  # type: ignore[arg-type]
    "an empty polynomial": lambda: act.Polynomial(()),
    "an unknown initializer": lambda: init.find_initializer("he"),
    "no initializer": lambda: init.find_initializer(0.1),  # type: ignore[arg-type]
    "a negative std": lambda: init.Normal(-1.0),
    "low above high": lambda: init.Uniform(1.0, 0.0),
    "no variance": lambda: init.VarianceScaling(0.0),
    "an unknown fan": lambda: init.VarianceScaling(fan="out"),  # type: ignore[arg-type]
    "an unknown distribution": lambda: init.VarianceScaling(distribution="cauchy"),  # type: ignore[arg-type]
    "an unknown loss": lambda: losses.find_loss("mse"),
    "no loss": lambda: losses.find_loss(len),  # type: ignore[arg-type]
    "delta 0": lambda: losses.Huber(0.0),
    "q 1": lambda: losses.Quantile(1.0),
    "smoothing 1": lambda: losses.SoftmaxCrossEntropy(1.0),
    "smoothing below 0": lambda: losses.SigmoidCrossEntropy(-0.1),
    "an unknown optimizer": lambda: optimizers.find_optimizer("adan"),
    "no optimizer": lambda: optimizers.find_optimizer(0.1),  # type: ignore[arg-type]
    "a negative rate": lambda: optimizers.SGD(-0.1),
    "an infinite rate": lambda: optimizers.Adam(math.inf),
    "a rate that is no number": lambda: optimizers.Adam("0.1"),  # type: ignore[arg-type]
    "a rate that is a flag": lambda: optimizers.Adam(True),
    "b1 1": lambda: optimizers.Adam(b1=1.0),
    "mu below 0": lambda: optimizers.Momentum(mu=-0.1),
    "mu 2": lambda: optimizers.VelocityMomentum(mu=2.0),
    "beta 1": lambda: optimizers.AveragedMomentum(beta=1.0),
    "rho 1": lambda: optimizers.RMSProp(rho=1.0),
    "epsilon 0": lambda: optimizers.Adagrad(epsilon=0.0),
    "b2 1": lambda: optimizers.AdamW(b2=1.0),
    "a negative decay": lambda: optimizers.AdamW(decay=-0.1),
    "an infinite decay": lambda: optimizers.Lion(decay=math.inf),
    "a bound of 0": lambda: optimizers.ClipNorm(0.0),
    "an infinite bound": lambda: optimizers.ClipValue(math.inf),
    "every 0": lambda: schedules.StepDecay(0.1, 0),
    "factor 0": lambda: schedules.ExponentialDecay(0.1, 1, 0.0),
    "a negative power": lambda: schedules.InverseScaling(0.1, -1.0),
    "all warm-up": lambda: schedules.CosineDecay(0.1, 10, 10),
    "a rise of 1": lambda: schedules.OneCycle(0.1, 10, 1.0),
    "a start below 1": lambda: schedules.OneCycle(0.1, 10, start=0.5),
    "no steps": lambda: schedules.OneCycle(0.1, 0),
    "a negative penalty": lambda: penalties.Penalty(-0.1),
    "a penalty over nothing": lambda: penalties.Penalty(over="batch"),  # type: ignore[arg-type]
    "no inputs": lambda: layers.Dense(0, 2),
    "half an output": lambda: layers.Dense(2, 2.5),  # type: ignore[arg-type]
    "unknown weights": lambda: layers.Dense(2, 2, weight_init="he"),
    "no features": lambda: layers.BatchNorm(0),
    "momentum 0": lambda: layers.BatchNorm(2, momentum=0.0),
    "epsilon below 0": lambda: layers.LayerNorm(2, epsilon=-1.0),
    "dropping all": lambda: layers.Dropout(1.0),
    "dropping all but nothing": lambda: layers.Dropout(1.0 - 2.0**-20),
    "slopes in the wrong order": lambda: layers.RandomizedLeakyReLU(0.5, 0.1),
}


@pytest.mark.parametrize("what", WRONG)
def test_an_option_that_cannot_be_is_refused(what: str) -> None:
    with pytest.raises(ConfigurationError):
        WRONG[what]()


EVERYTHING = [
    *(f.activation for f in FUNCTIONS.values()),
    *(law.layer for law in LAYERS.values()),
    *(c.loss for c in LOSSES.values()),
    *(rule.optimizer for rule in OPTIMIZERS.values()),
    *(schedule for schedule, _ in SCHEDULES.values()),
    *(s.initializer for s in INITIALIZERS.values()),
    *PENALTIES.values(),
    optimizers.ClipValue(1.0),
    optimizers.ClipNorm(1.0),
]


@pytest.mark.parametrize("thing", EVERYTHING, ids=lambda thing: type(thing).__name__)
def test_an_option_given_as_numpys_number_becomes_pythons(thing: Any) -> None:
    """A float32 array times np.float64(2) is float64, so that one option would double every array after it."""
    # A learning rate is made a schedule, of Python's numbers, when the step is made.
    numpys = {"float": np.float64, "int": np.int64}
    given = {f.name: numpys[f.type](getattr(thing, f.name)) for f in dataclasses.fields(thing) if f.type in numpys}
    if isinstance(thing, act.Polynomial):
        given = {"coefficients": tuple(map(np.float64, thing.coefficients))}
    made = dataclasses.replace(thing, **given)
    assert made == thing
    assert repr(made) == repr(thing)  # where np.float64(2.0) would show


def test_a_misspelt_name_gets_the_nearest() -> None:
    with pytest.raises(ConfigurationError, match=r"unknown activation 'rellu': did you mean '\w*relu'\? Known: cosine"):
        act.find_activation("rellu")
