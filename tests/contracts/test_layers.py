"""Each layer against its formula in training and in prediction, its gradients against the slopes."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
from completeness import kinds, named
from conftest import Platform, about, central_differences
from scipy import special

from chainrule import activations as act
from chainrule import initializers as init
from chainrule import layers
from chainrule._backend import reference_backend as backend
from chainrule._base.errors import ConfigurationError
from chainrule._random import Key, keep_mask, uniform
from chainrule.gradient_check import check_gradients
from chainrule.network import Sequential

HOST = backend("numpy", dtype="float64")


class LayerCase(NamedTuple):
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
    "dense": LayerCase(layers.Dense(4, 2), 4, lambda p, x, r: x @ p[0] + p[1], lambda p, q, x: x @ p[0] + p[1]),
    "dense, no bias": LayerCase(layers.Dense(4, 5, bias=False), 4, lambda p, x, r: x @ p[0], lambda p, q, x: x @ p[0]),
    "batch norm": LayerCase(
        layers.BatchNorm(4),
        4,
        lambda p, x, r: p[0] * standard(x, -2) + p[1],
        lambda p, q, x: p[0] * (x - q[0]) / np.sqrt(q[1] + 1e-5) + p[1],
        running=lambda q, x: (
            0.9 * q[0] + 0.1 * x.mean(-2, keepdims=True),
            0.9 * q[1] + 0.1 * x.var(-2, ddof=1, keepdims=True),
        ),
    ),
    "layer norm": LayerCase(
        layers.LayerNorm(4),
        4,
        lambda p, x, r: p[0] * standard(x, -1) + p[1],
        lambda p, q, x: p[0] * standard(x, -1) + p[1],
    ),
    "dropout": LayerCase(
        layers.Dropout(0.25),
        6,
        lambda p, x, r: np.where(r, x / 0.75, 0.0),
        lambda p, q, x: x,
        noise=lambda key, rows, columns: keep_mask(HOST, key, rows, columns, 0.25),
    ),
    "dropout of nothing": LayerCase(layers.Dropout(0.0), 6, lambda p, x, r: x, lambda p, q, x: x),
    "randomized leaky relu": LayerCase(
        layers.RandomizedLeakyReLU(0.125, 0.5),
        6,
        lambda p, x, r: np.where(x > 0, x, x * (0.125 + 0.375 * r)),
        lambda p, q, x: np.where(x > 0, x, x * 0.3125),
        noise=lambda key, rows, columns: uniform(HOST, key, rows, columns),
    ),
    "activate": LayerCase(layers.Activate(act.Tanh()), 4, lambda p, x, r: np.tanh(x), lambda p, q, x: np.tanh(x)),
    "softmax": LayerCase(
        layers.Softmax(), 4, lambda p, x, r: special.softmax(x, -1), lambda p, q, x: special.softmax(x, -1)
    ),
}
ROWS = 5


class Inputs(NamedTuple):
    """What a layer is tried on, in NumPy."""

    p: tuple[np.ndarray, ...]
    q: tuple[np.ndarray, ...]
    x: np.ndarray
    dy: np.ndarray
    k0: np.ndarray
    k1: np.ndarray


def inputs_of(case: LayerCase, rows: int, lead: tuple[int, ...] = ()) -> Inputs:
    rng = np.random.default_rng(7)
    p = tuple(rng.normal(1.0, 0.5, (*lead, *parameter.shape)) for parameter in case.layer.parameters())
    q = tuple(rng.uniform(0.5, 2.0, (*lead, *buffer.shape)) for buffer in case.layer.buffers())
    x = rng.normal(0.3, 1.0, (*lead, rows, case.n_in))
    dy = rng.normal(size=(*lead, rows, case.layer.width(case.n_in)))
    k0, k1 = rng.integers(-(2**31), 2**31, (2, *lead, 1, 1))
    return Inputs(p, q, x, dy, k0, k1)


def placed(platform: Platform, inputs: Inputs) -> tuple[Any, ...]:
    p, q, *rest = inputs
    return (*([platform.array(a) for a in group] for group in (p, q)), *map(platform.array, rest))


def passes(platform: Platform, layer: layers.Layer) -> Callable[..., Any]:
    """(y, buffers after, gradients, dx, prediction)."""

    def run(p: Any, q: Any, x: Any, dy: Any, k0: Any, k1: Any) -> Any:
        b = platform.backend
        y, residual, after = layer.forward(b, tuple(p), tuple(q), x, Key(k0, k1))
        gradients = layer.gradients(b, residual, dy)
        return y, after, gradients, layer.pullback(b, tuple(p), residual, dy, gradients), layer.apply(b, p, q, x)

    return run


def key_of(inputs: Inputs) -> Key:
    return Key(inputs.k0.astype(np.int32), inputs.k1.astype(np.int32))


@functools.cache
def all_passes(platform: Platform) -> dict[str, Any]:
    """The passes of each layer over one batch."""

    def every(all_inputs: dict[str, Any]) -> Any:
        return {name: passes(platform, LAYERS[name].layer)(*inputs) for name, inputs in all_inputs.items()}

    return platform.run(every, {name: placed(platform, inputs_of(case, ROWS)) for name, case in LAYERS.items()})


def noise_of(case: LayerCase, inputs: Inputs) -> Any:
    return case.noise(key_of(inputs), ROWS, case.n_in)


def test_the_table_of_layers_is_complete() -> None:
    assert named(*(case.layer for case in LAYERS.values())) == kinds(
        layers, "forward", "apply", "gradients", "pullback"
    )
    assert all(isinstance(case.layer, layers.Layer) for case in LAYERS.values())


def test_training_and_prediction_are_the_layers_formulas(platform: Platform) -> None:
    exact = {"rtol": 20 * platform.eps, "atol": 20 * platform.eps}
    for name, (y, after, _, _, prediction) in all_passes(platform).items():
        with about(name):
            case = LAYERS[name]
            inputs = inputs_of(case, ROWS)
            platform.check(y, case.train(inputs.p, inputs.x, noise_of(case, inputs)), **exact)
            platform.check(prediction, case.predict(inputs.p, inputs.q, inputs.x), **exact)
            for got, want in zip(after, case.running(inputs.q, inputs.x), strict=True):
                platform.check(got, want, **exact)


def test_gradients_and_pullback_are_the_slopes_of_the_layers_formulas(platform: Platform) -> None:
    # Central differences are good to 1e-9; 100 eps is what the sums and the divisions of a normalisation round to.
    near = {"rtol": max(100 * platform.eps, 1e-8), "atol": max(100 * platform.eps, 1e-8)}
    for name, (_, _, gradients, dx, _) in all_passes(platform).items():
        with about(name):
            case = LAYERS[name]
            inputs = inputs_of(case, ROWS)

            def cost(x: np.ndarray, *p: np.ndarray, case: LayerCase = case, inputs: Inputs = inputs) -> Any:
                return np.sum(inputs.dy * case.train(p, x, noise_of(case, inputs)))

            slopes = [
                central_differences(lambda a, i=i, pieces=pieces: cost(*pieces[:i], a, *pieces[i + 1 :]), pieces[i])
                for pieces in [(inputs.x, *inputs.p)]
                for i in range(len(pieces))
            ]
            for got, want in zip((dx, *gradients), slopes, strict=True):
                platform.check(got, want, **near)


@pytest.mark.parametrize("shared", [True, False], ids=["shared x", "own x"])
@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("platform", ["numpy-readonly", "strictest-float64", "torch"], indirect=True)
def test_a_stack_is_its_networks_one_by_one(platform: Platform, name: str, shared: bool) -> None:
    k = rows = 3  # equal, so that a sum over the wrong one of the two has the right shape
    case = LAYERS[name]
    inputs = inputs_of(case, rows, (k,))
    if shared:  # as for a network's first layer: one batch, k networks
        inputs = inputs._replace(x=inputs.x[0])
    runs = passes(platform, case.layer)
    y, after, gradients, dx, prediction = runs(*placed(platform, inputs))
    for i in range(k):
        p, q, x, *rest = (a if isinstance(a, np.ndarray) else tuple(piece[i] for piece in a) for a in inputs)
        one = Inputs(p, q, x if shared else x[i], *(a[i] for a in rest))
        alone = runs(*placed(platform, one))
        for got, want in zip((dx, *gradients), (alone[3], *alone[2]), strict=True):
            np.testing.assert_allclose(
                platform.host(got)[i], platform.host(want), rtol=8 * platform.eps, atol=8 * platform.eps
            )
        for got, want in zip((y, prediction, *after), (alone[0], alone[4], *alone[1]), strict=True):
            stacked = platform.host(got)
            member = (
                stacked[i] if stacked.ndim == 3 else stacked
            )  # shared x, no parameters, no mask: one answer for all
            np.testing.assert_allclose(member, platform.host(want), rtol=8 * platform.eps, atol=8 * platform.eps)


@pytest.mark.parametrize("name", [name for name, case in LAYERS.items() if isinstance(case.layer, layers.Dense)])
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
    case = LAYERS["batch norm"]
    inputs = inputs_of(case, 1)
    with pytest.raises(ConfigurationError, match="one row"):
        case.layer.forward(HOST, inputs.p, inputs.q, inputs.x, key_of(inputs))


@pytest.mark.parametrize("name", ["dense", "batch norm", "layer norm"])
def test_a_layer_refuses_inputs_that_do_not_fit(name: str) -> None:
    with pytest.raises(ConfigurationError, match="needs 4 inputs, got 3"):
        LAYERS[name].layer.width(3)


def test_dropout_keeps_the_mean_of_the_rounded_rate() -> None:
    """A rate that is no multiple of 1/65536 is rounded, and what is kept is scaled by the rounded rate."""
    inputs = inputs_of(LAYERS["dropout"], ROWS)
    y = layers.Dropout(0.3).forward(HOST, (), (), np.ones((ROWS, 6)), key_of(inputs))[0]
    assert set(np.unique(y)) == {0.0, 65536 / (65536 - 19661)}


class Shift(layers.Layer):
    """A layer of one's own that names the protocol, and says only what it does."""

    def forward(self, backend: Any, params: Any, buffers: Any, x: Any, key: Key) -> Any:
        return x + 1.0, None, buffers

    def apply(self, backend: Any, params: Any, buffers: Any, x: Any) -> Any:
        return x + 1.0

    def pullback(self, backend: Any, params: Any, residual: Any, dy: Any, grads: Any) -> Any:
        return dy


def test_a_layer_that_names_the_protocol_need_not_say_what_it_does_not_have() -> None:
    layer = Shift()
    assert (layer.width(3), layer.parameters(), layer.buffers()) == (3, (), ())
    assert layer.gradients(HOST, None, np.ones((2, 3))) == ()
    network = Sequential(layers.Dense(3, 4), layer, layers.Dense(4, 2))
    assert check_gradients(network, np.ones((2, 3)), np.ones((2, 2)), loss="squared_error").passed


def test_a_layer_that_names_the_protocol_must_say_what_it_does() -> None:
    class Half(layers.Layer):
        forward, apply = Shift.forward, Shift.apply

    with pytest.raises(TypeError, match=r"abstract method '?pullback"):
        Half()
