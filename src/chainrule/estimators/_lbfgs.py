"""``solver="lbfgs"``: SciPy's L-BFGS-B over the flat vector of parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count
from typing import Any, NamedTuple

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from .._backend import Backend
from .._base.errors import DataError, InterruptedTraining, warn
from .._base.typing import Array
from .._random import step_key
from ..backpropagation import value_and_gradient
from ..batch import Batch
from ..history import History
from ..losses import LossFunction
from ..model import Model
from ..network import Sequential
from ..training import deferred_interrupt
from ._records import NON_FINITE, Fitted, PreparedFit, Settings
from ._sklearn_callbacks import SklearnCallbacks
from ._sparse import move_rows, on_sparse

BLOCK = 4096  # examples whose activations are in memory at a time


def fit_lbfgs(fit: PreparedFit, settings: Settings, fitted: Fitted, told: SklearnCallbacks | None) -> None:
    """Minimise the cost over all examples, starting at the weights of ``fitted``.

    C = sum_i w_i L_i / sum_i w_i + alpha/(2 sum_i w_i) sum w^2, and its gradient, summed a block of examples at a time.
    For several outputs the loss of an example is their sum, and the gradient is this cost's own.
    """
    from scipy.optimize import minimize

    model = fitted.model
    start = np.asarray(fit.backend.to_numpy(model.theta), dtype=np.float64)
    objective = Objective(fit, model)

    def report(intermediate_result: Any) -> None:
        iteration = next(iterations)
        if settings.prints:
            print(f"Iteration {iteration}, loss = {intermediate_result.fun + fit.constant:.8f}")
        if told is not None:
            told.begin_epoch()
            if told.end_epoch(lambda: model_at(intermediate_result.x)):
                raise StopIteration
        if interrupt.asked:
            raise StopIteration

    def model_at(x: np.ndarray) -> Model:
        return replace(model, theta=fit.backend.copy(fit.backend.asarray(x)), history=History())

    iterations = count(1)
    largest = fit.problem.network.multiplications(min(fit.data.x.shape[0], BLOCK))
    with deferred_interrupt() as interrupt, fit.backend.training(largest):
        found = minimize(
            objective,
            start,
            method="L-BFGS-B",
            jac=True,
            callback=report,
            options={"maxfun": settings.max_fun, "maxiter": settings.max_iter, "gtol": settings.tol},
        )
    if interrupt.asked:
        warn(f"interrupted in iteration {found.nit}: the network so far is kept.", InterruptedTraining)
    if not found.success and found.status != 99:  # 99: a callback asked to stop
        warn(
            f"lbfgs failed to converge after {found.nit} iteration(s) (status={found.status}): {found.message}. "
            "Increase max_iter or max_fun, or scale the data.",
            ConvergenceWarning,
        )
    if not np.isfinite(found.x).all():
        raise DataError(f"{NON_FINITE} Scale X to mean 0 and standard deviation 1.")
    fitted.n_iter = min(int(found.nit), settings.max_iter)
    fitted.loss = objective.as_reported(found.x, float(found.fun)) + fit.constant
    fitted.model = model_at(found.x)


class Sums(NamedTuple):
    """Where the cost is computed, and its sums so far over the examples."""

    theta: Array  # (p,)
    value: Array  # (1,)
    gradient: Array  # (p,)


def make_adding(
    backend: Backend, network: Sequential, loss: LossFunction, buffers: Array
) -> Callable[[Sums, Batch, Array], Sums]:
    """The step ``(sums, block, share) -> sums``: the block's mean cost and its gradient, times its share of all."""
    xp = backend.xp

    def add(sums: Sums, block: Batch, share: Array) -> Sums:
        key = step_key(backend.zeros((2,), xp.int32), backend.zeros((1,), xp.int32))  # nothing random asks for it
        value, gradient, _ = value_and_gradient(backend, network, loss, sums.theta, buffers, block, key)
        return Sums(sums.theta, sums.value + value * share, sums.gradient + gradient * share)

    return add


class Objective:
    """The cost and its gradient at theta, float64 on the host, over all examples."""

    def __init__(self, fit: PreparedFit, model: Model) -> None:
        self._sparse = fit.sparse
        self._backend = backend = on_sparse(fit.backend) if self._sparse else fit.backend.compiling(fit.problem.parts())
        self._data = fit.data
        self._add = backend.compile(make_adding, fit.problem.network, model.loss, model.buffers)
        weights = [
            b.x.shape[0] if b.weight is None else float(backend.to_numpy(backend.xp.sum(b.weight)))
            for b in self._blocks()
        ]
        self._total = sum(weights)
        self._shares = [backend.asarray(np.asarray([weight / self._total])) for weight in weights]
        self._decays, penalty = fit.problem.network.decays(), fit.problem.penalty
        self._alpha = 0.0 if penalty is None else penalty.l2
        self._outputs = fit.problem.network.n_out if fit.problem.loss != model.loss else 1  # that the mean is shown of

    def __call__(self, theta: np.ndarray) -> tuple[float, np.ndarray]:
        backend = self._backend
        sums = Sums(backend.copy(backend.asarray(theta)), backend.zeros((1,)), backend.zeros(theta.shape))
        with np.errstate(all="ignore"):
            for block, share in zip(self._blocks(), self._shares, strict=True):
                sums = self._add(sums, block, share)
            both = backend.to_numpy(backend.xp.concat([sums.value, sums.gradient])).astype(np.float64)
        decayed = self._alpha / self._total * self._decays * theta
        return float(both[0] + 0.5 * decayed @ theta), both[1:] + decayed

    def as_reported(self, theta: np.ndarray, value: float) -> float:
        """The cost with the mean over the outputs in place of their sum, where that is what is shown."""
        penalty = 0.5 * self._alpha / self._total * float(self._decays * theta @ theta)
        return (value - penalty) / self._outputs + penalty

    def _blocks(self) -> Iterator[Batch]:
        data, rows = self._data, self._data.x.shape[0]
        if rows <= BLOCK and not self._sparse:
            yield data
            return
        for first in range(0, rows, BLOCK):
            part = slice(first, min(first + BLOCK, rows))
            x = move_rows(self._backend, data.x[part]) if self._sparse else data.x[part, :]
            yield Batch(x, data.y[part, :], None if data.weight is None else data.weight[part, :])
