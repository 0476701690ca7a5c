"""From an estimator's parameters to a network, a loss, an optimizer, and scikit-learn's initial weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np

from .._base.errors import require
from .._base.options import whole_number
from .._base.typing import Array, Namespace
from ..activations import ACTIVATIONS, Elementwise, Sigmoid
from ..layers import Activate, Dense, Layer
from ..losses import AbsoluteError, Huber, LinkName, LossFunction, Quantile, SquaredError, TargetKind
from ..network import Sequential, mlp
from ..optimizers import OPTIMIZERS, Adam, Optimizer, VelocityMomentum, find_optimizer
from ..schedules import Schedule

# scikit-learn's names for two of the library's activations
SYNONYMS = {"logistic": "sigmoid", "identity": "linear"}
ACTIVATION_NAMES = frozenset({*SYNONYMS, *ACTIVATIONS, "softmax", "randomized_leaky_relu"} - {"step"})
SOLVER_NAMES = frozenset({"lbfgs", *OPTIMIZERS})
OUT_ACTIVATIONS: dict[LinkName, str] = {
    "linear": "identity",
    "softmax": "softmax",
    "sigmoid": "logistic",
    "exponential": "exp",
}


def hidden_sizes(given: Any) -> list[int]:
    """``hidden_layer_sizes`` as a list; a number is one layer. Raises ValueError for a size that is not > 0."""
    sizes = list(given) if hasattr(given, "__iter__") else [given]
    if any(isinstance(size, Real) and size <= 0 for size in sizes):
        raise ValueError(f"hidden_layer_sizes must be > 0, got {sizes}.")
    return [whole_number("hidden_layer_sizes: each", size, least=1) for size in sizes]


def make_network(estimator: Any, n_in: int, n_out: int, output: Any = None) -> Sequential:
    """The network that the estimator's parameters describe."""
    several = isinstance(estimator.activation, list | tuple | np.ndarray)
    activation, dropout = estimator.activation, estimator.dropout
    return mlp(
        [n_in, *hidden_sizes(estimator.hidden_layer_sizes), n_out],
        activation=[_named(a) for a in activation] if several else _named(activation),
        output=None if output is None else _named(output),
        dropout=list(dropout) if isinstance(dropout, list | tuple | np.ndarray) else dropout,
        normalization=estimator.normalization,
        weight_init="glorot_uniform" if estimator.weight_init is None else estimator.weight_init,
    )


def initial_theta(network: Sequential, random_state: np.random.RandomState, weight_init: Any) -> np.ndarray:
    """Theta ``(p,)`` at the start, float64.

    Without ``weight_init`` these are the numbers that scikit-learn draws from the same ``random_state``: weights and
    biases of a layer uniform within sqrt(6 / (n_in + n_out)), or sqrt(2 / (n_in + n_out)) for the sigmoid.
    """
    if weight_init is not None:
        return network.initial_theta(int(random_state.randint(2**31 - 1)))
    pieces, factor = [], 6.0
    for i, layer in enumerate(network.layers):
        if not isinstance(layer, Dense):
            pieces += [p.initializer.draw(np.random.default_rng(0), p.shape) for p in layer.parameters()]
            continue
        factor = _factor(network.layers[i + 1 :], factor)
        bound = math.sqrt(factor / (layer.n_in + layer.n_out))
        pieces += [random_state.uniform(-bound, bound, p.shape) for p in layer.parameters()]
    return np.concatenate([piece.reshape(-1) for piece in pieces])


def _factor(above: Sequence[Layer], before: float) -> float:
    """By the activation of this layer; the output layer, which has none, goes by the last hidden one."""
    activation = next((layer.activation for layer in above if isinstance(layer, Activate)), None)
    return before if activation is None else 2.0 if isinstance(activation, Sigmoid) else 6.0


def make_optimizer(estimator: Any) -> Optimizer:
    """The optimizer that ``solver``, ``learning_rate`` and their settings name."""
    solver, rate = estimator.solver, estimator.learning_rate
    if not isinstance(solver, str):
        require(
            not isinstance(rate, Schedule),
            f"learning_rate is a schedule and solver is an object with a rate of its own: write solver="
            f"cr.{type(solver).__name__}({type(rate).__name__}(...)).",
        )
        return find_optimizer(solver)
    rate = rate if isinstance(rate, Schedule) else estimator.learning_rate_init
    if solver == "sgd":
        return VelocityMomentum(rate, mu=estimator.momentum, nesterov=estimator.nesterovs_momentum)
    if solver == "adam":
        return Adam(rate, estimator.beta_1, estimator.beta_2, estimator.epsilon, epsilon_hat=True)
    named: Optimizer = OPTIMIZERS[solver](rate)
    return named


@dataclass(frozen=True)
class MeanOverOutputs:
    """A loss reported as the mean over its n outputs, with the gradient of their sum.

    scikit-learn's squared error: what its users watch and stop by is the mean, what it trains on is the sum.
    """

    loss: LossFunction

    @property
    def link(self) -> LinkName:
        return self.loss.link

    @property
    def target(self) -> TargetKind:
        return self.loss.target

    def per_example(self, xp: Namespace, z: Array, y: Array) -> tuple[Array, Array]:
        values, gradient = self.loss.per_example(xp, z, y)
        return values * (1.0 / z.shape[-1]), gradient


def as_reported(loss: LossFunction, outputs: int) -> LossFunction:
    """``loss`` as its value is shown: the mean over several outputs where it is a regression's."""
    averaged = isinstance(loss, SquaredError | AbsoluteError | Huber | Quantile)
    return MeanOverOutputs(loss) if averaged and outputs > 1 else loss


def _named(activation: Any) -> str | Elementwise | Layer:
    known: str | Elementwise | Layer = (
        SYNONYMS.get(activation, activation) if isinstance(activation, str) else activation
    )
    return known
