"""Two networks worked by hand in the lectures, to the printed digits, through the library on every array library.

The lectures stack examples in columns and write W as units x inputs; here examples are rows and W is the transpose.
"""

import numpy as np
import pytest

from chainrule._backend import reference_backend as backend
from chainrule._random import Key
from chainrule.activations import Sigmoid
from chainrule.backpropagation import value_and_gradient
from chainrule.batch import Batch
from chainrule.layers import Dense
from chainrule.losses import SquaredError
from chainrule.network import Sequential
from chainrule.optimizers import SGD

PRINTED = 5.1e-9  # half of the eighth digit after the point


@pytest.fixture(params=["numpy", "torch", "jax", "array-api-strict"])
def float64(request):
    if request.param == "jax":
        jax = pytest.importorskip("jax")
        before = jax.config.jax_enable_x64
        jax.config.update("jax_enable_x64", True)
        yield backend("jax", dtype="float64")
        jax.config.update("jax_enable_x64", before)
    else:
        pytest.importorskip(request.param.replace("-", "_"))
        yield backend(request.param, dtype="float64")


def theta_of(network, *pieces):
    """W as the lectures print it (units x inputs) and b, one after the other, in the library's order."""
    theta = np.concatenate([np.asarray(piece).T.ravel() for piece in pieces])
    assert theta.shape == (network.size,)
    return theta


def gradient_at(backend, network, theta, x, y):
    word = backend.asarray([[0]], backend.xp.int32)
    batch = Batch(backend.asarray(x), backend.asarray(y))
    empty = backend.zeros((0,))
    value, gradient, _ = value_and_gradient(backend, network, SquaredError(), theta, empty, batch, Key(word, word))
    return float(backend.to_numpy(value)), gradient


def outputs(backend, network, theta, x):
    """What every layer answers, by cutting the network after it."""
    found = []
    for count in range(1, len(network.layers) + 1):
        part = Sequential(*network.layers[:count])
        found.append(backend.to_numpy(part.apply(backend, theta[: part.size], backend.zeros((0,)), backend.asarray(x))))
    return found


def split(backend, network, flat):
    return [backend.to_numpy(piece) for layer in network.layout.split(backend, flat) for piece in layer]


def printed(numbers, *expected):
    for number, value in zip(numbers, expected, strict=True):
        np.testing.assert_allclose(number, value, rtol=0, atol=PRINTED)


def test_example_a(float64):
    network = Sequential(Dense(2, 2), Sigmoid(), Dense(2, 2), Sigmoid())
    theta = float64.asarray(
        theta_of(
            network,
            [[0.15, 0.20], [0.25, 0.30]],
            [0.35, 0.35],
            [[0.40, 0.45], [0.50, 0.55]],
            [0.60, 0.60],
        )
    )
    x, y = [[0.05, 0.10]], [[0.01, 0.99]]
    printed(
        outputs(float64, network, theta, x),
        [[0.3775, 0.3925]],
        [[0.59326999, 0.59688438]],
        [[1.10590597, 1.2249214]],
        [[0.75136507, 0.77292847]],
    )
    value, gradient = gradient_at(float64, network, theta, x, y)
    assert value == pytest.approx(0.2983711087600027, rel=0, abs=2e-16)
    dW1, db1, dW2, db2 = split(float64, network, gradient)
    printed(
        [dW1.T, db1, dW2.T, db2],
        [[0.00043857, 0.00087714], [0.00049771, 0.00099543]],
        [[0.00877135, 0.00995425]],  # delta1: dC/db is delta
        [[0.08216704, 0.08266763], [-0.02260254, -0.02274024]],
        [[0.13849856, -0.03809824]],  # delta2
    )


def test_example_b_two_passes(float64):
    network = Sequential(Dense(2, 2, bias=False), Sigmoid(), Dense(2, 1, bias=False))
    theta = float64.asarray(theta_of(network, [[0.11, 0.12], [0.21, 0.08]], [[0.14, 0.15]]))
    x, y = [[2.0, 3.0]], [[1.0]]
    z, a, out = outputs(float64, network, theta, x)
    printed([z, a], [[0.58, 0.66]], [[0.64106741, 0.65926039]])
    assert out.item() == pytest.approx(0.1886384951545822, rel=0, abs=2e-16)

    value, gradient = gradient_at(float64, network, theta, x, y)
    assert value == pytest.approx(0.32915374577251044, rel=0, abs=2e-16)
    dW1, dW2 = split(float64, network, gradient)
    printed(
        [dW1.T, dW2.T],
        [[-0.0522744, -0.07841159], [-0.05467833, -0.0820175]],
        [[-0.52013742, -0.5348985]],
    )
    printed([dW2.T / a, dW1[:1] / 2.0], [[-0.8113615, -0.8113615]], [[-0.0261372, -0.02733917]])  # the deltas

    optimizer = SGD(0.5)
    theta, _ = optimizer.update(float64, theta, gradient, (), float64.asarray([1.0]), float64.asarray([0.5]))
    W1, W2 = split(float64, network, theta)
    printed([W1.T, W2.T], [[0.1361372, 0.1592058], [0.23733917, 0.12100875]], [[0.40006871, 0.41744925]])

    assert outputs(float64, network, theta, x)[-1].item() == pytest.approx(0.5630805875593119, rel=0, abs=2e-16)
    assert gradient_at(float64, network, theta, x, y)[0] == pytest.approx(0.09544928648375806, rel=0, abs=2e-16)
