"""What is wrong in a network is found and said; what is right is left alone."""

from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_iris, load_wine

import chainrule as cr
from chainrule._backend import reference_backend as find_backend
from chainrule._base.errors import DataError
from chainrule.diagnostics import SAMPLE, diagnose

generator = np.random.default_rng(0)


def standardised(x):
    return (x - np.mean(x, axis=0)) / np.maximum(np.std(x, axis=0), 1e-12)


X = generator.normal(size=(300, 100))
Y = generator.integers(0, 10, 300)
LOSS = "softmax_cross_entropy"


def deep(activation, weight_init=None, **options):
    return cr.mlp([100] * 10 + [10], activation=activation, weight_init=weight_init, **options)


def verdicts(diagnosis):
    return [row.verdict for row in diagnosis.rows]


@pytest.mark.parametrize("activation", ["sigmoid", "tanh"])
def test_weights_of_normal_0_1_saturate(activation):
    diagnosis = diagnose(deep(activation, cr.Normal(1.0)), X)
    assert verdicts(diagnosis)[:-1] == ["saturated"] * 9
    assert all(row.flat > 0.4 for row in diagnosis.rows[:-1])
    assert "Layers 1 to 9 (saturated): The pre-activations are too large" in diagnosis.advice
    assert str(diagnosis).endswith(diagnosis.advice)


def test_weights_of_normal_0_001_collapse():
    diagnosis = diagnose(deep("tanh", cr.Normal(0.01)), X)
    rows = diagnosis.rows
    # z = a W has standard deviation 0.01 sqrt(100) = 0.1 times that of a, and tanh z is z when z is small.
    for below, row in pairwise(rows[1:]):
        assert row.std / below.std == pytest.approx(0.1, rel=0.1)
    assert verdicts(diagnosis)[3:-1] == ["collapsed"] * 6
    assert "too small" in diagnosis.advice


@pytest.mark.parametrize(
    "network",
    [
        deep("relu"),
        deep("tanh"),
        deep("selu"),
        deep("gelu"),
        deep("leaky_relu"),
        deep("sigmoid", "sigmoid_glorot_normal"),
        deep("relu", normalization="batch", dropout=0.5),
        cr.mlp([100, 512, 512, 10]),
        cr.mlp([100, 10], activation="relu"),
        cr.mlp([100, 50, 10], output="softmax"),
    ],
    ids=lambda network: repr(network)[:60],
)
def test_the_usual_networks_are_healthy(network):
    diagnosis = diagnose(network, X, Y, loss=LOSS)
    assert diagnosis.healthy, str(diagnosis)
    assert diagnosis.advice == "Every layer is healthy."


def test_biases_of_minus_100_leave_relu_units_dead():
    diagnosis = diagnose(deep("relu", bias_init=cr.Constant(-100.0)), X, Y, loss=LOSS)
    assert [row.dead for row in diagnosis.rows] == [100] * 9 + [None]
    assert "100 of 100 units are dead" in diagnosis.rows[0].verdict
    assert "Dead units learn nothing" in diagnosis.advice


def test_dead_units_are_counted():
    network = cr.Sequential(cr.Dense(2, 3), cr.ReLU(), cr.Dense(3, 1))
    # Columns of W1: the first two units never fire on positive inputs, the third always does.
    theta = [-1, 0, 1, -1, 0, 1, 0, -1, 0, 1, 1, 1, 0]
    row = diagnose(network, [[1.0, 2.0], [3.0, 1.0]], theta=theta).rows[0]
    assert (row.dead, row.units) == (2, 3)
    assert row.flat == pytest.approx(2 / 3)
    assert row.verdict == "2 of 3 units are dead"


def test_deep_sigmoid_networks_have_vanishing_gradients():
    diagnosis = diagnose(deep("sigmoid", "glorot_normal"), X, Y, loss=LOSS)
    assert ["vanishing gradient" in verdict for verdict in verdicts(diagnosis)] == [True] * 5 + [False] * 5
    assert diagnosis.rows[0].delta < 1e-4 * diagnosis.rows[8].delta


def test_big_weights_explode():
    diagnosis = diagnose(deep("relu", cr.Normal(1.0)), X, Y, loss=LOSS)
    assert "exploding gradient" in diagnosis.rows[0].verdict
    assert "exploding activations" in diagnosis.rows[8].verdict
    assert diagnose(deep("relu", cr.Normal(1.0)), X).rows[8].verdict == "exploding activations"  # without targets too
    assert "too large" in diagnosis.advice


def test_overflow_is_found_and_not_raised():
    diagnosis = diagnose(deep("relu", cr.Normal(1e6)), X, Y, loss=LOSS)
    assert diagnosis.rows[8].verdict.startswith("not finite")
    assert "overflowed" in diagnosis.advice


def test_zeros_keep_every_unit_of_a_layer_equal():
    network = cr.mlp([100, 50, 50, 10], activation="tanh", weight_init="zeros")
    diagnosis = diagnose(network, X, Y, loss=LOSS)
    assert [row.std for row in diagnosis.rows] == [0.0, 0.0, 0.0]
    assert verdicts(diagnosis)[:-1] == ["collapsed, vanishing gradient"] * 2
    equal = cr.mlp([4, 3, 1], activation="tanh", weight_init=cr.Constant(0.3))
    model = cr.fit(equal, X[:, :4], X[:, 0], loss="squared_error", epochs=3)
    W = np.asarray(equal.layout.split(model.backend, model.theta)[0][0])
    assert (W[:, :1] == W).all()
    assert not np.allclose(W, 0.3)


def test_the_numbers_by_hand():
    # One example pair through x W + b with tanh, cost the mean of 1/2 (a - y)^2.
    network = cr.Sequential(cr.Dense(1, 1), cr.Tanh())
    x, y = np.asarray([[0.0], [2.0]]), np.asarray([1.0, 0.0])
    (row,) = diagnose(network, x, y, loss="squared_error", theta=[1.0, 0.0], backend="numpy").rows
    a = np.tanh([0.0, 2.0])
    delta = (a - y) * (1 - a * a)
    assert row.mean == pytest.approx(a.mean(), rel=1e-6)
    assert row.std == row.spread == pytest.approx(a.std(), rel=1e-6)
    assert row.delta == pytest.approx(np.sqrt(np.mean(delta**2)), rel=1e-6)
    assert row.gradient_norm == pytest.approx(abs(np.mean(delta * x[:, 0])), rel=1e-6)
    assert row.flat == 0.0
    assert row.activations.tolist() == pytest.approx(a.tolist(), rel=1e-6)


def test_the_gradient_is_that_of_backpropagation():
    network = cr.mlp([100, 20, 10], activation="tanh", normalization="batch")
    diagnosis = diagnose(network, X, Y, loss=LOSS, backend=find_backend("numpy", dtype="float64"))
    assert diagnosis.rows[0].gradients.shape == (2000,)
    assert diagnosis.rows[0].name == "Dense(100, 20), BatchNorm, Tanh"
    assert diagnosis.rows[0].gradient_norm == pytest.approx(np.linalg.norm(diagnosis.rows[0].gradients))


def test_samples_are_bounded_and_repeat():
    network = cr.mlp([100, 200, 10])
    first, again = diagnose(network, X, Y, loss=LOSS), diagnose(network, X, Y, loss=LOSS)
    assert first.rows[0].activations.size == first.rows[0].gradients.size == SAMPLE
    np.testing.assert_array_equal(first.rows[0].activations, again.rows[0].activations)
    assert first == again


def test_a_trained_model_brings_its_own_numbers():
    model = cr.fit(cr.mlp([100, 20, 10], normalization="batch"), X, Y, loss=LOSS, epochs=2)
    of_model = diagnose(model, X, Y)
    by_hand = diagnose(model.network, X, Y, loss=model.loss, theta=model.theta, buffers=model.buffers)
    assert of_model == by_hand
    assert of_model != diagnose(model.network, X, Y, loss=LOSS)
    duck = SimpleNamespace(
        network=model.network, theta=model.theta, buffers=model.buffers, loss=model.loss, backend=model.backend
    )
    assert diagnose(duck, X, Y) == of_model


@pytest.mark.parametrize("library", ["torch", "array-api-strict"])
def test_other_libraries_say_the_same(library):
    pytest.importorskip(library.replace("-", "_"))
    network = deep("tanh", cr.Normal(0.01))
    expected = diagnose(network, X, Y, loss=LOSS)
    found = diagnose(network, X, Y, loss=LOSS, backend=library)
    assert verdicts(found) == verdicts(expected)
    assert found.rows[0].delta == pytest.approx(expected.rows[0].delta, rel=1e-3)


def test_a_step_is_looked_at_without_targets():
    (row,) = diagnose(cr.Sequential(cr.Dense(100, 3), cr.Step()), X).rows
    assert (row.flat, row.dead, row.verdict) == (None, None, "healthy")
    with pytest.raises(cr.ConfigurationError, match="step function"):
        diagnose(cr.Sequential(cr.Dense(100, 3), cr.Step()), X, X[:, :3], loss="squared_error")


def test_what_does_not_fit_is_refused():
    with pytest.raises(cr.ConfigurationError, match="y needs a loss"):
        diagnose(deep("relu"), X, Y)
    with pytest.raises(DataError, match="theta must have shape"):
        diagnose(deep("relu"), X, theta=[1.0])
    with pytest.raises(DataError, match="100 features"):
        diagnose(deep("relu"), X[:, :3])


def test_the_table():
    text = str(diagnose(cr.mlp([100, 20, 10]), X, Y, loss=LOSS))
    lines = text.splitlines()
    assert len(lines) == 4
    assert lines[0].split()[:4] == ["layer", "mean", "std", "spread"]
    assert lines[1].startswith("  1  Dense(100, 20), ReLU")
    assert lines[3] == "300 examples. Every layer is healthy."
    assert "rms delta" not in str(diagnose(cr.mlp([100, 20, 10]), X))


def table_of(*columns):
    return np.stack(columns, axis=1)


def one_hot(*shares):
    """Categories of these shares, the rarest in one of a thousand rows."""
    return np.eye(len(shares))[generator.choice(len(shares), 1000, p=shares)]


NORMAL = generator.normal(size=1000)
SCALED = {
    "standard normal": generator.normal(size=(1000, 5)),
    "fractions": generator.uniform(size=(1000, 5)),
    "one-hot": one_hot(0.5, 0.3, 0.199, 0.001),
    "almost always one": table_of(np.arange(1000) > 0, NORMAL),
    "digits": load_digits().data,
    "iris": load_iris().data,
    "diabetes": load_diabetes().data,
    "pixels to 16": generator.integers(0, 17, (1000, 64)),
    "ages beside categories": np.concatenate([one_hot(0.9, 0.1), generator.integers(18, 90, (1000, 1)) / 10], axis=1),
    "constant columns": table_of(NORMAL, np.zeros(1000), np.full(1000, 7.0)),
    "all constant": np.ones((1000, 3)),
    "all zero": np.zeros((1000, 3)),
    "heavy tails, standardised": table_of(NORMAL, standardised(generator.standard_t(2.1, 1000))),
    "a rare category, standardised": table_of(NORMAL, standardised(np.arange(1000) == 0)),
    "breast cancer, standardised": standardised(load_breast_cancer().data),
}
UNSCALED = {
    "breast cancer": (
        load_breast_cancer().data,
        "are of size 2.4e+02 (root mean square; columns of sizes from 0.0046 to 1e+03)",
    ),
    "wine": (load_wine().data, "are of size 2.3e+02"),
    "bytes": (generator.integers(0, 256, (1000, 64)), "are of size 1.5e+02"),
    "years": (table_of(2000.0 + generator.integers(0, 24, 1000), NORMAL), "are of size 1.4e+03"),
    "tiny": (1e-4 * generator.normal(size=(1000, 5)), "are of size 0.0001"),
    "a price beside others": (table_of(NORMAL, NORMAL, 1e5 * np.exp(NORMAL)), "are of size 1."),
    "a tiny column": (table_of(NORMAL, 1e-3 * NORMAL[::-1]), "have columns of sizes from 0.00"),
    "a tiny column, seldom": (
        table_of(NORMAL, 1e-3 * (np.arange(1000) % 9 == 0)),
        "have columns of sizes from 0.001 to 1",
    ),
    "a pressure": (table_of(NORMAL, 8.0 + 0.01 * NORMAL[::-1]), "have a column whose mean is 8e+02 times its"),
    "a large constant": (table_of(NORMAL, np.full(1000, 1e6)), "are of size 7.1e+05"),
}


@pytest.mark.parametrize("name", SCALED)
def test_inputs_that_learn_as_they_are_are_not_blamed(name):
    diagnosis = diagnose(cr.mlp([SCALED[name].shape[1], 16, 2]), SCALED[name])
    assert diagnosis.inputs == ""
    assert "inputs" not in diagnosis.advice


@pytest.mark.parametrize("name", UNSCALED)
def test_inputs_that_are_not_scaled_are_named_before_any_layer(name):
    x, says = UNSCALED[name]
    y = np.arange(len(x)) % 2
    for targets in ({}, {"y": y, "loss": LOSS}):
        diagnosis = diagnose(cr.mlp([x.shape[1], 16, 2]), x, **targets)
        assert diagnosis.advice.startswith(f"The inputs {says}")
        assert "standardise X" in diagnosis.advice.split("\n")[0]
        assert "nan" not in diagnosis.advice
        assert "healthy" not in diagnosis.advice
        assert not diagnosis.healthy
        assert str(diagnosis).endswith(diagnosis.advice)
    assert diagnose(cr.mlp([x.shape[1], 16, 2]), standardised(x)).inputs == ""


def test_a_normalisation_takes_away_what_it_takes_away():
    """In front, a batch normalisation all of it; behind the first weights, and over a row, the common size alone."""
    x, wide = UNSCALED["bytes"][0], UNSCALED["breast cancer"][0]
    dense = cr.Dense(64, 8), cr.Dense(30, 8)
    for layers, n in (((cr.BatchNorm(30), dense[1]), 30), ((cr.BatchNorm(64), dense[0]), 64)):
        assert diagnose(cr.Sequential(*layers, cr.ReLU(), cr.Dense(8, 2)), wide if n == 30 else x).inputs == ""
    for layers in ((dense[0], cr.BatchNorm(8)), (dense[0], cr.LayerNorm(8)), (cr.LayerNorm(64), dense[0])):
        assert diagnose(cr.Sequential(*layers, cr.ReLU(), cr.Dense(8, 2)), x).inputs == ""
    found = diagnose(cr.Sequential(dense[1], cr.BatchNorm(8), cr.ReLU(), cr.Dense(8, 2)), wide).inputs
    assert found.startswith("have columns of sizes from 0.0046 to 1e+03")


def test_a_watch_says_once_that_the_inputs_are_not_scaled():
    x, y = load_wine().data, load_wine().target
    watch = cr.Watch(x, y, every=1)
    with pytest.warns(UserWarning, match="epoch 1: the inputs are of size 2.3e") as caught:
        cr.fit(cr.mlp([13, 16, 3]), x, y, loss=LOSS, epochs=3, callbacks=[watch])
    assert sum("the inputs" in str(warning.message) for warning in caught) == 1
