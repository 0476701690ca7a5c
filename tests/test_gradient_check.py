"""The check passes right networks and names the wrong layer of wrong ones."""

from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import _kernels, layers, losses
from chainrule._base.errors import DataError
from chainrule._kernels import _numba, _numpy
from chainrule.gradient_check import TOLERANCE, check_gradients
from chainrule.layers import Dense

generator = np.random.default_rng(0)
X = generator.normal(size=(6, 3))
CLASSES = np.asarray([0, 1, 2, 1, 0, 2])
NUMBERS = generator.normal(size=(6, 3))

CUBE = cr.Activation(lambda xp, z: z * z * z, lambda xp, z: 3.0 * z * z, name="cube")
WRONG = cr.Activation(lambda xp, z: z * z * z, lambda xp, z: 2.0 * z * z, name="wrong cube")

NETWORKS = {
    "dense": cr.mlp([3, 5, 4, 3], activation="tanh"),
    "relu": cr.mlp([3, 8, 8, 3]),
    "batch norm": cr.mlp([3, 5, 4, 3], activation="sigmoid", normalization="batch"),
    "layer norm": cr.mlp([3, 5, 4, 3], activation="gelu", normalization="layer"),
    "dropout": cr.mlp([3, 8, 8, 3], dropout=0.4),
    "random slope": cr.mlp([3, 8, 3], activation="randomized_leaky_relu"),
    "softmax mid-network": cr.Sequential(cr.Dense(3, 5), cr.Softmax(), cr.Dense(5, 3)),
    "the user's own": cr.Sequential(cr.Dense(3, 5), CUBE, cr.Dense(5, 3)),
    "ends in the link": cr.mlp([3, 5, 3], activation="tanh", output="softmax"),
}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("seed", [0, 1])
def test_right_networks_pass(name, seed):
    check = check_gradients(NETWORKS[name], X, CLASSES, loss="softmax_cross_entropy", seed=seed)
    assert check.passed, str(check)
    assert check.max_relative_error < TOLERANCE
    assert sum(row.checked for row in check.rows) == NETWORKS[name].size
    assert check.suspects == ()


@pytest.mark.parametrize("loss", ["squared_error", "absolute_error", "huber", "quantile"])
def test_losses_of_numbers_weights_and_penalties(loss):
    penalty = cr.Penalty(l1=0.01, l2=0.1, over="examples")
    network = cr.mlp([3, 4, 3], activation="tanh")
    weight = [1.0, 2.0, 0.0, 1.0, 0.5, 3.0]
    check = check_gradients(network, X, NUMBERS, loss=loss, sample_weight=weight, penalty=penalty)
    assert check.passed, str(check)


def test_a_wrong_derivative_fails_and_is_named():
    network = cr.Sequential(
        cr.Dense(3, 4), cr.Tanh(), cr.Dense(4, 4), WRONG, cr.Dense(4, 4), cr.Sigmoid(), cr.Dense(4, 3)
    )
    check = check_gradients(network, X, CLASSES, loss="softmax_cross_entropy")
    assert not check.passed
    assert check.suspects == ("layer 4 (wrong cube)",)
    wrong = {row.number for row in check.rows if row.relative_error > TOLERANCE}
    assert wrong == {1, 3}  # all that lies below the wrong derivative, nothing above
    assert "FAILED" in str(check)
    assert "layer 4 (wrong cube)" in str(check)


def test_the_relative_error_is_the_one_that_is_stated():
    # C = 1/2 (w x - y)^2 with w = 1, x = 2, y = 0 through an identity whose slope is said to be 1/2:
    # dC/dw = 4, backpropagation says 2, so the error is |2 - 4| / (2 + 4).
    half = cr.Activation(lambda xp, z: z + 0.0, lambda xp, z: xp.full_like(z, 0.5))
    network = cr.Sequential(cr.Dense(1, 1, bias=False), half)
    (row,) = check_gradients(network, [[2.0]], [0.0], loss="squared_error", theta=[1.0]).rows
    assert row.backpropagation == pytest.approx(2.0)
    assert row.numeric == pytest.approx(4.0)
    assert row.relative_error == pytest.approx(1 / 3)
    assert (row.number, row.parameter, row.checked) == (1, "W", 1)


class Forgetful(Dense):
    """Its dC/dW is half of what it should be."""

    def gradients(self, backend, residual, dy):
        dW, db = super().gradients(backend, residual, dy)
        return 0.5 * dW, db


def test_a_wrong_parameter_gradient_is_named():
    network = cr.Sequential(cr.Dense(3, 4), cr.Tanh(), Forgetful(4, 4), cr.Tanh(), cr.Dense(4, 3))
    check = check_gradients(network, X, CLASSES, loss="softmax_cross_entropy")
    assert [(row.number, row.parameter) for row in check.rows if row.relative_error > TOLERANCE] == [(3, "W")]
    assert check.suspects == ("layer 3 (Dense(4, 4))",)


def test_a_wrong_loss_is_named():
    def doubled(xp, z, y):
        return xp.sum((z - y) ** 2, axis=-1, keepdims=True), z - y

    check = check_gradients(NETWORKS["dense"], X, NUMBERS, loss=cr.Loss(doubled))
    assert check.suspects == ("the loss (Loss)",)


def test_a_kink_is_told_from_a_mistake():
    # All of theta 0: every ReLU stands at z = 0, where moving its bias one way raises the cost and the other does not.
    network = cr.Sequential(cr.Dense(1, 1), cr.ReLU(), cr.Linear(2.0, 1.0), cr.Dense(1, 1))
    theta = [0.0, 0.0, 1.0, 0.0]
    check = check_gradients(network, [[1.0]], [0.0], loss="squared_error", theta=theta)
    assert not check.passed
    assert "ReLU" in check.suspects[0]
    assert check_gradients(network, [[1.0]], [0.0], loss="squared_error").passed


def test_nan_fails():
    nan = cr.Activation(lambda xp, z: z, lambda xp, z: z * float("nan"))
    assert not check_gradients(cr.Sequential(cr.Dense(3, 3), nan), X, NUMBERS, loss="squared_error").passed


def test_a_random_subset_of_a_large_network():
    network = cr.mlp([3, 200, 200, 3])
    check = check_gradients(network, X, CLASSES, loss="softmax_cross_entropy", max_parameters=24)
    assert check.passed, str(check)
    assert [row.checked for row in check.rows] == [4, 4, 4, 4, 4, 3]


def test_what_does_not_fit_is_refused():
    network = NETWORKS["dense"]
    with pytest.raises(DataError, match=r"theta must have shape \(59,\)"):
        check_gradients(network, X, CLASSES, loss="softmax_cross_entropy", theta=[0.0])
    with pytest.raises(DataError, match="3 features"):
        check_gradients(network, X[:, :2], CLASSES, loss="softmax_cross_entropy")
    with pytest.raises(cr.ConfigurationError, match="epsilon"):
        check_gradients(network, X, CLASSES, loss="softmax_cross_entropy", epsilon=0.0)
    with pytest.raises(cr.ConfigurationError, match="max_parameters"):
        check_gradients(network, X, CLASSES, loss="softmax_cross_entropy", max_parameters=0)
    with pytest.raises(cr.ConfigurationError, match="step function"):
        check_gradients(cr.Sequential(cr.Dense(3, 3), cr.Step()), X, NUMBERS, loss="squared_error")


def test_the_table_has_a_line_for_every_parameter():
    lines = str(check_gradients(NETWORKS["batch norm"], X, CLASSES, loss="softmax_cross_entropy")).splitlines()
    assert [line.split()[0] for line in lines[1:-2]] == ["1", "2", "2", "4", "5", "5", "7", "7"]
    assert "gamma" in lines[2]
    assert lines[-2].startswith("Passed")


# ------------------------------------------------------------------------------ the faster bodies beside the equations


def replace_body(monkeypatch: pytest.MonkeyPatch, operation: Any, wrong: Any) -> None:
    """Put a wrong body into the tables of NumPy and of Numba, which runs where it is installed."""
    monkeypatch.setattr(_kernels, "_PROVIDERS", {"numpy": {**_numpy.PROVIDERS, operation: wrong}})
    monkeypatch.setattr(_numba, "PROVIDERS", {**_numba.PROVIDERS, operation: wrong})


def test_the_equations_and_the_faster_bodies_that_run_are_both_checked():
    check = check_gradients(NETWORKS["relu"], X, CLASSES, loss="softmax_cross_entropy")
    assert check.passed
    assert set(check.faster) - {"affine"} == {"activate", "activation_gradient", "bias_gradient", "cost"}
    assert ("affine" in check.faster) == _numba.is_installed()
    assert check.faster_error < 1e-12
    line = str(check).splitlines()[-1]
    assert line.startswith("The faster bodies that training on NumPy runs in their place (activate, ")
    assert "the same cost and gradient, to " in line


def test_where_nothing_is_replaced_it_is_said():
    network = cr.Sequential(cr.Dense(3, 4, bias=False), cr.Tanh(), cr.Dense(4, 3, bias=False))
    check = check_gradients(network, X, NUMBERS, loss="squared_error")
    assert (check.faster, check.faster_error) == ((), 0.0)
    assert str(check).endswith("Training on NumPy runs these equations as they are written.")


def test_an_equation_that_is_edited_fails_though_its_faster_body_is_right(monkeypatch):
    monkeypatch.setattr(cr.ReLU, "derivative", lambda self, xp, z, a: xp.zeros_like(z))
    check = check_gradients(cr.mlp([3, 8, 3]), X, CLASSES, loss="softmax_cross_entropy")
    assert not check.passed
    assert check.suspects == ("layer 2 (ReLU)",)
    verdict, about_faster = str(check).splitlines()[-2:]
    assert verdict.startswith("FAILED")
    assert "Look at layer 2 (ReLU): its derivative is not that of its value." in verdict
    assert "give another cost or gradient" in about_faster
    assert "kernels=False" in about_faster


@pytest.mark.parametrize(
    ("operation", "wrong", "named"),
    [
        (layers.activation_gradient, lambda on, g, z, a, da: 1.01 * da * (a > 0), "layer 2 (ReLU)"),
        (layers.activate, lambda on, g, z: np.maximum(z, 0.01), "layer 2 (ReLU)"),
        (layers.bias_gradient, lambda on, dy: np.zeros((1, dy.shape[-1])), "layer 1 (Dense(3, 8))"),
        (losses.cost, lambda on, loss, z, y, weight: (np.float64(1.0), 0.0 * z), "the loss (SoftmaxCrossEntropy)"),
    ],
    ids=["activation_gradient", "activate", "bias_gradient", "cost"],
)
def test_a_wrong_faster_body_fails_and_is_named(operation, wrong, named, monkeypatch):
    replace_body(monkeypatch, operation, wrong)
    check = check_gradients(cr.mlp([3, 8, 3]), X, CLASSES, loss="softmax_cross_entropy")
    assert check.max_relative_error <= TOLERANCE
    assert not check.passed
    assert check.suspects[0] == f"the faster body of {named}"
    verdict = str(check).splitlines()[-2]
    assert verdict.startswith("FAILED: the equations are right")
    assert f"look at the faster body of {named}" in verdict


def test_a_training_whose_layers_are_of_ones_own_is_checked_as_it_runs():
    network = cr.Sequential(Forgetful(3, 4), cr.ReLU(), cr.Dense(4, 3))
    check = check_gradients(network, X, CLASSES, loss="softmax_cross_entropy")
    assert "affine" not in check.faster  # Numba's is for compiled steps
    assert check.suspects == ("layer 1 (Dense(3, 4))",)
