"""dC/dtheta of whole networks against three oracles that know nothing of backpropagation as written here: central
differences, and torch's and JAX's automatic differentiation of the same forward pass.

Everything is in float64 on 40 numbers or so, where the oracles are good to 1e-9 and 1e-15.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from conftest import Platform, about, central_differences, find_library

from chainrule import activations as act
from chainrule import layers, losses
from chainrule._backend import reference_backend as backend
from chainrule._random import Key, member_key, step_key
from chainrule.backpropagation import penalized, value_and_gradient
from chainrule.batch import Batch
from chainrule.network import Sequential
from chainrule.penalties import Penalty

HOST = backend("numpy", dtype="float64")
RNG = np.random.default_rng(31)
B, N_IN, WIDTH, N_OUT = 5, 3, 4, 2

# The layer between the first Dense and the activation; None is none.
LAYERS: dict[str, layers.Layer | None] = {
    "nothing": None,
    "dense": layers.Dense(WIDTH, WIDTH),
    "dense, no bias": layers.Dense(WIDTH, WIDTH, bias=False),
    "batch norm": layers.BatchNorm(WIDTH),
    "layer norm": layers.LayerNorm(WIDTH),
    "dropout": layers.Dropout(0.25),
    "randomized leaky relu": layers.RandomizedLeakyReLU(),
    "activate": layers.Activate(act.Tanh()),
    "softmax": layers.Softmax(),
}
# All but the step, which has no derivative, and one of the user's own.
ACTIVATIONS: dict[str, act.Elementwise] = {
    **{name: activation for name, activation in act.ACTIVATIONS.items() if name != "step"},
    "your own": act.Activation(lambda xp, z: xp.exp(-z * z), lambda xp, z: -2.0 * z * xp.exp(-z * z)),
}
LOSSES: dict[str, losses.LossFunction] = {
    **losses.LOSSES,
    "sigmoid_cross_entropy, smooth": losses.SigmoidCrossEntropy(0.1),
    "softmax_cross_entropy, smooth": losses.SoftmaxCrossEntropy(0.1),
    "your own": losses.Loss(lambda xp, z, y: (xp.sum((z - y) ** 4, axis=-1, keepdims=True), 4.0 * (z - y) ** 3)),
}
X = RNG.normal(size=(B, N_IN))
WEIGHT = np.asarray([[1.0], [2.0], [0.0], [0.5], [1.0]])
TARGETS = {
    "numbers": RNG.normal(size=(B, N_OUT)),
    "counts": RNG.poisson(2.0, (B, N_OUT)).astype(float),
    "fractions": RNG.random((B, N_OUT)),
    "classes": RNG.dirichlet(np.ones(N_OUT), B),
}


def network_of(layer: str, activation: str) -> Sequential:
    middle = LAYERS[layer]
    first = layers.Dense(N_IN, WIDTH)
    return Sequential(
        first, *([middle] if middle else []), layers.Activate(ACTIVATIONS[activation]), layers.Dense(WIDTH, N_OUT)
    )


@functools.cache
def theta_of(network: Sequential) -> np.ndarray:
    """Away from the start, where biases are 0 and scales 1."""
    theta = network.initial_theta(3)
    return theta + 0.3 * np.random.default_rng(17).normal(size=theta.shape)


def key_of(b: Any, first_row: int = 0) -> Key:
    words = b.asarray(np.asarray(member_key(9, 0), dtype=np.int32), b.xp.int32)
    return step_key(words, b.zeros((1,), b.xp.int32) + 4)._replace(first_row=first_row)


def batch_of(b: Any, loss: losses.LossFunction, weighted: bool = True) -> Batch:
    return Batch(b.asarray(X), b.asarray(TARGETS[loss.target]), b.asarray(WEIGHT) if weighted else None)


def buffers_of(b: Any, network: Sequential) -> Any:
    return b.asarray(network.initial_buffers())


def backpropagated(network: Sequential, loss: losses.LossFunction, weighted: bool = True) -> np.ndarray:
    arrays = theta_of(network), buffers_of(HOST, network), batch_of(HOST, loss, weighted), key_of(HOST)
    return value_and_gradient(HOST, network, loss, *arrays)[1]


def output(b: Any, network: Sequential) -> Callable[[Any], Any]:
    """theta -> z: the forward pass alone, on this backend."""
    x, buffers, key = b.asarray(X), buffers_of(b, network), key_of(b)
    return lambda theta: network.forward(b, network.layout.split(b, theta), buffers, x, key)[0]


def costs(b: Any) -> Callable[[Any], Any]:
    """z -> the cost by each loss, stacked."""
    batches = [(loss, batch_of(b, loss)) for loss in LOSSES.values()]
    return lambda z: b.xp.stack([losses.cost(b, loss, z, batch.y, batch.weight)[0] for loss, batch in batches])


def slopes(network: Sequential) -> np.ndarray:
    """dC/dtheta by each loss, (losses, p), by central differences."""
    z, cost, theta, h = output(HOST, network), costs(HOST), theta_of(network), 1e-6
    return np.stack([cost(z(theta + e)) - cost(z(theta - e)) for e in h * np.eye(theta.size)], axis=-1) / (2 * h)


def torchs(platform: Platform, network: Sequential) -> np.ndarray:
    """The same by torch.autograd."""
    torch = find_library("torch")
    theta = torch.tensor(theta_of(network), requires_grad=True)
    values = costs(platform.backend)(output(platform.backend, network)(theta))
    return np.stack([torch.autograd.grad(value, theta, retain_graph=True)[0].numpy() for value in values])


def jaxs(platform: Platform, network: Sequential) -> np.ndarray:
    """The same by JAX's reverse mode."""
    jax = find_library("jax")
    z, cost = output(platform.backend, network), compiled_costs(platform)
    return np.asarray(jax.jacrev(lambda theta: cost(z(theta)))(jax.numpy.asarray(theta_of(network))))


@functools.cache
def compiled_costs(platform: Platform) -> Callable[[Any], Any]:
    """Compiled once, for all networks have the same outputs."""
    return platform.compile(costs(platform.backend))


ORACLES = {"torch": torchs, "jax-jit-float64": jaxs}


def test_the_tables_name_every_layer_activation_and_loss() -> None:
    classes = {
        kind for kind in vars(layers).values() if isinstance(kind, type) and callable(getattr(kind, "pullback", 0))
    }
    assert {type(layer) for layer in LAYERS.values() if layer} == classes - {layers.Layer}
    assert {type(a) for a in ACTIVATIONS.values()} == {type(a) for a in act.ACTIVATIONS.values()} - {act.Step} | {
        act.Activation
    }
    assert set(losses.LOSSES) <= set(LOSSES)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("oracle", ORACLES)
def test_backpropagation_is_automatic_differentiation_of_the_forward_pass(
    oracle: str, layer: str, activation: str, open_platform: Callable[..., Platform]
) -> None:
    network = network_of(layer, activation)
    wants = ORACLES[oracle](open_platform(oracle, dtype="float64"), network)
    for (name, loss), want in zip(LOSSES.items(), wants, strict=True):
        with about(name):
            # Relative to the largest slope: where terms cancel, what is left of each is rounding.
            np.testing.assert_allclose(backpropagated(network, loss), want, rtol=1e-6, atol=1e-9 * np.abs(want).max())


@pytest.mark.parametrize("layer", LAYERS)
def test_backpropagation_is_the_slope_of_the_cost(layer: str) -> None:
    network = network_of(layer, "gelu")
    for (name, loss), slope in zip(LOSSES.items(), slopes(network), strict=True):
        with about(name):
            # A cost is rounded at 1e-16 of its size, and the difference divided by 2e-6.
            atol = 1e-8 * max(np.abs(slope).max(), 0.1)
            np.testing.assert_allclose(backpropagated(network, loss), slope, rtol=1e-6, atol=atol)


@pytest.mark.parametrize("weighted", [False, True], ids=["", "weighted"])
@pytest.mark.parametrize(
    "penalty",
    [Penalty(l1, l2, over) for l1, l2 in ((0.3, 0.0), (0.0, 0.7), (0.3, 0.7)) for over in ("cost", "examples")],
    ids=str,
)
@pytest.mark.parametrize("normalization", ["batch norm", "layer norm"])
def test_a_penalty_adds_its_slope_on_the_weights_alone(normalization: str, penalty: Penalty, weighted: bool) -> None:
    network = network_of(normalization, "tanh")
    loss, theta = losses.SoftmaxCrossEntropy(0.1), theta_of(network)
    batch = batch_of(HOST, loss, weighted)

    def plain(theta: np.ndarray) -> Any:
        return value_and_gradient(HOST, network, loss, theta, buffers_of(HOST, network), batch, key_of(HOST))[:2]

    def both(theta: np.ndarray) -> Any:
        return penalized(HOST, penalty, network.decays(), theta, batch, *plain(theta))

    value, gradient = both(theta)
    slopes = central_differences(lambda theta: both(theta)[0], theta)
    np.testing.assert_allclose(gradient, slopes, rtol=1e-6, atol=1e-8)

    m = 1.0 if penalty.over == "cost" else WEIGHT.sum() if weighted else B
    w = theta * network.decays()
    added = (penalty.l1 * np.abs(w).sum() + penalty.l2 / 2 * (w**2).sum()) / m
    np.testing.assert_allclose(value - plain(theta)[0], added, rtol=1e-12)
    slope = (penalty.l1 * np.sign(w) + penalty.l2 * w) / m
    np.testing.assert_allclose(gradient - plain(theta)[1], slope, atol=1e-14)


def test_decays_are_the_matrices() -> None:
    """Dense(3, 4), batch norm, Dense(4, 2): 12 weights, 4 biases, 4 scales and 4 shifts, 8 weights, 2 biases."""
    expected = [1.0] * 12 + [0.0] * 12 + [1.0] * 8 + [0.0] * 2
    assert network_of("batch norm", "tanh").decays().tolist() == expected


# Batch norm's rows see each other; all other rows are alone.
@pytest.mark.parametrize("layer", [name for name in LAYERS if name != "batch norm"])
def test_the_gradient_is_the_mean_of_the_examples_gradients(layer: str) -> None:
    network, loss = network_of(layer, "silu"), losses.SoftmaxCrossEntropy(0.1)
    theta, buffers, batch = theta_of(network), buffers_of(HOST, network), batch_of(HOST, loss, weighted=False)
    alone = [
        value_and_gradient(HOST, network, loss, theta, buffers, Batch(batch.x[i:j], batch.y[i:j]), key)[1]
        for i in range(B)
        for j, key in [(i + 1, key_of(HOST, first_row=i))]
    ]
    np.testing.assert_allclose(backpropagated(network, loss, weighted=False), np.mean(alone, axis=0), atol=1e-15)
    weighted = np.average(alone, axis=0, weights=WEIGHT[:, 0])
    np.testing.assert_allclose(backpropagated(network, loss), weighted, atol=1e-15)


def test_a_deep_network_with_everything_in_it(open_platform: Callable[..., Platform]) -> None:
    """Two normalisations, dropout before and after, a softmax inside, shared by all three oracles."""
    network = Sequential(
        layers.Dropout(0.1),
        layers.Dense(N_IN, 6, bias=False),
        layers.BatchNorm(6),
        act.GELU(),
        layers.Dropout(0.3),
        layers.Dense(6, WIDTH),
        layers.LayerNorm(WIDTH),
        layers.RandomizedLeakyReLU(),
        layers.Softmax(),
        layers.Dense(WIDTH, N_OUT),
    )
    ours = np.stack([backpropagated(network, loss) for loss in LOSSES.values()])
    np.testing.assert_allclose(ours, slopes(network), rtol=1e-6, atol=1e-8)
    for oracle, differentiate in ORACLES.items():
        want = differentiate(open_platform(oracle, dtype="float64"), network)
        np.testing.assert_allclose(ours, want, rtol=1e-6, atol=1e-13)


def test_the_cost_and_the_buffers_come_with_the_gradient() -> None:
    network, loss = network_of("batch norm", "tanh"), losses.SquaredError()
    fixed = theta_of(network), buffers_of(HOST, network), batch_of(HOST, loss), key_of(HOST)
    value, gradient, buffers = value_and_gradient(HOST, network, loss, *fixed)
    assert value == costs(HOST)(output(HOST, network)(fixed[0]))[list(LOSSES).index("squared_error")]
    z = X @ fixed[0][: N_IN * WIDTH].reshape(N_IN, WIDTH) + fixed[0][N_IN * WIDTH :][:WIDTH]
    np.testing.assert_allclose(buffers, np.concatenate([0.1 * z.mean(0), 0.9 + 0.1 * z.var(0, ddof=1)]), rtol=1e-13)
    assert gradient.shape == fixed[0].shape
    assert math.isfinite(value)
