"""From an estimator's parameters to a network, what trains it where, and scikit-learn's initial weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np

from .._backend import Backend
from .._base.errors import ConfigurationError, DTypeError, require, warn
from .._base.options import whole_number
from .._base.typing import Array, Namespace
from .._kernels import backend as make_backend
from .._kernels import for_training, training_pays, with_whole_steps
from ..activations import Elementwise, Sigmoid
from ..initializers import find_initializer
from ..layers import Layer
from ..losses import AbsoluteError, Huber, LinkName, LossFunction, Quantile, SquaredError, TargetKind
from ..model import Model
from ..network import Sequential, mlp, without_link
from ..optimizers import OPTIMIZERS, SGD, Adam, Optimizer, VelocityMomentum, find_optimizer
from ..penalties import Penalty
from ..schedules import Schedule
from ..training import Problem
from ._lbfgs import BLOCK
from ._parameters import SYNONYMS, Parameters
from ._records import Settings
from ._weights import matrices

_GLOROT = find_initializer("glorot_uniform")  # of which scikit-learn has a draw of its own
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


def make_network(parameters: Parameters, n_in: int, n_out: int, output: Any = None) -> Sequential:
    """The network that the parameters describe."""
    several = isinstance(parameters.activation, list | tuple | np.ndarray)
    activation, dropout = parameters.activation, parameters.dropout
    return mlp(
        [n_in, *hidden_sizes(parameters.hidden_layer_sizes), n_out],
        activation=[_named(a) for a in activation] if several else _named(activation),
        output=None if output is None else _named(output),
        dropout=list(dropout) if isinstance(dropout, list | tuple | np.ndarray) else dropout,
        normalization=parameters.normalization,
        weight_init=_GLOROT if parameters.weight_init is None else parameters.weight_init,
    )


def output_name(output: Any, loss: LossFunction) -> str:
    """What scikit-learn calls the activation of the outputs."""
    if output is None:
        return OUT_ACTIVATIONS[loss.link]
    return output if isinstance(output, str) else type(output).__name__


def initial_theta(network: Sequential, random_state: np.random.RandomState, weight_init: Any) -> np.ndarray:
    """Theta ``(p,)`` at the start, float64.

    Without ``weight_init`` these are the numbers that scikit-learn draws from the same ``random_state``: weights and
    biases of a layer uniform within sqrt(6 / (n_in + n_out)), or sqrt(2 / (n_in + n_out)) for the sigmoid.
    """
    if weight_init is not None:
        return network.initial_theta(int(random_state.randint(2**31 - 1)))
    pieces, factor, known = [], 6.0, matrices(network)
    for i, layer in enumerate(network.layers):
        parameters = layer.parameters()
        if i not in known or find_initializer(parameters[0].initializer) != _GLOROT:
            weighted = any(p.decays for p in parameters)  # a layer of the user's own
            drawn_by = np.random.default_rng(random_state.randint(2**31 - 1) if weighted else 0)
            pieces += [find_initializer(p.initializer).draw(drawn_by, p.shape) for p in parameters]
            continue
        factor = _factor(network.layers[i + 1 :], factor)
        bound = math.sqrt(factor / sum(parameters[0].shape))
        pieces += [random_state.uniform(-bound, bound, p.shape) for p in parameters]
    return np.concatenate([piece.reshape(-1) for piece in pieces])


def _factor(above: Sequence[Layer], before: float) -> float:
    """By the activation of this layer; the output layer, which has none, goes by the last hidden one."""
    activation = next((part for layer in above for part in layer.parts()), None)
    return before if activation is None else 2.0 if isinstance(activation, Sigmoid) else 6.0


def make_optimizer(parameters: Parameters) -> Optimizer:
    """The optimizer that ``solver``, ``learning_rate`` and their settings name."""
    solver, rate = parameters.solver, parameters.learning_rate
    if not isinstance(solver, str):
        require(
            not isinstance(rate, Schedule),
            f"learning_rate is a schedule and solver is an object with a rate of its own: write solver="
            f"cr.{type(solver).__name__}({type(rate).__name__}(...)).",
        )
        return find_optimizer(solver)
    rate = rate if isinstance(rate, Schedule) else parameters.learning_rate_init
    if solver == "sgd":
        return VelocityMomentum(rate, mu=parameters.momentum, nesterov=parameters.nesterovs_momentum)
    if solver == "adam":
        return Adam(rate, parameters.beta_1, parameters.beta_2, parameters.epsilon, epsilon_hat=True)
    named: Optimizer = OPTIMIZERS[solver](rate)
    return named


def make_problem(parameters: Parameters, network: Sequential, loss: LossFunction) -> Problem:
    """What a step does on the network."""
    return Problem(
        without_link(network, loss),
        as_reported(loss, network.n_out),
        SGD() if parameters.solver == "lbfgs" else make_optimizer(parameters),  # SciPy's is no update of a step
        Penalty(l2=parameters.alpha, over="examples") if parameters.alpha else None,
        parameters.clip,
        epoch_mean="rows",
    )


def choose_backend(parameters: Parameters, dtype_of_x: str, like: Any) -> Backend:
    """The backend of the parameters, else of X; X's dtype where it is float32, else float64."""
    given = parameters.backend or "auto"
    if isinstance(given, Backend):
        return make_backend(given, dtype=parameters.dtype)
    dtype = parameters.dtype or ("float32" if dtype_of_x == "float32" else "float64")
    try:
        return make_backend(given, dtype=dtype, like=like)
    except DTypeError as error:
        if parameters.dtype is not None:
            raise
        warn(f"float32 is used: {error}")
        return make_backend(given, dtype="float32", like=like)


def with_bodies(backend: Backend, problem: Problem, settings: Settings, rows: int, seen: int) -> Backend:
    """``backend`` with the bodies that pay for so many rows; of ``partial_fit`` all calls count, by ``seen``."""
    size = min(rows, settings.batch_size or 200) if settings.has_epochs else min(rows, BLOCK)
    examples = seen + rows if settings.incremental else rows * settings.max_iter
    pays = training_pays(problem.network, size, examples // size)
    bodies = with_whole_steps(backend) if settings.incremental else backend
    return for_training(bodies, pays=pays and backend.compiling(problem.parts()).compiled)


def first_weights(
    parameters: Parameters,
    backend: Backend,
    network: Sequential,
    generator: np.random.RandomState,
    before: Model | None,
) -> tuple[Array, Array]:
    """Theta and buffers that training starts from: scikit-learn's, or those of the model before."""
    if before is None:
        theta = initial_theta(network, generator, parameters.weight_init)
        return backend.asarray(theta), backend.asarray(network.initial_buffers())
    if before.network != network:
        raise ConfigurationError(
            f"this estimator goes on from {before.network!r}, and its parameters now ask for {network!r}: "
            "set warm_start=False and call fit to start again."
        )
    return backend.asarray(before.theta), backend.asarray(before.buffers)


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
