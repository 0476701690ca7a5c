"""Each loss against its formula, weighted or not, and its gradient against the slope."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
from completeness import kinds, named
from conftest import Platform, about, central_differences
from scipy import special

from chainrule import losses
from chainrule._backend import reference_backend as backend

HOST = backend("numpy", dtype="float64")


class LossCase(NamedTuple):
    """A loss, the targets it is for, and L(z, y) of each row again."""

    loss: losses.LossFunction
    y: str
    formula: Callable[[np.ndarray, np.ndarray], np.ndarray]


def each(terms: np.ndarray) -> np.ndarray:
    return terms.sum(-1)


def sigmoid_ce(z: np.ndarray, y: np.ndarray) -> np.ndarray:
    return each(-y * special.log_expit(z) - (1 - y) * special.log_expit(-z))


def softmax_ce(z: np.ndarray, y: np.ndarray) -> np.ndarray:
    return each(-y * special.log_softmax(z, -1))


LOSSES = {
    "squared_error": LossCase(losses.SquaredError(), "numbers", lambda z, y: 0.5 * each((z - y) ** 2)),
    "absolute_error": LossCase(losses.AbsoluteError(), "numbers", lambda z, y: each(np.abs(z - y))),
    "huber": LossCase(losses.Huber(), "numbers", lambda z, y: each(special.huber(1.0, z - y))),
    "huber(0.5)": LossCase(losses.Huber(0.5), "numbers", lambda z, y: each(special.huber(0.5, z - y))),
    "quantile": LossCase(losses.Quantile(), "numbers", lambda z, y: each(0.5 * np.abs(y - z))),
    "quantile(0.9)": LossCase(
        losses.Quantile(0.9), "numbers", lambda z, y: each(np.maximum(0.9 * (y - z), -0.1 * (y - z)))
    ),
    "poisson": LossCase(losses.Poisson(), "counts", lambda z, y: each(np.exp(z) - y * z)),
    "sigmoid_cross_entropy": LossCase(losses.SigmoidCrossEntropy(), "fractions", sigmoid_ce),
    "sigmoid_cross_entropy, smooth": LossCase(
        losses.SigmoidCrossEntropy(0.2), "fractions", lambda z, y: sigmoid_ce(z, 0.8 * y + 0.1)
    ),
    "softmax_cross_entropy": LossCase(losses.SoftmaxCrossEntropy(), "classes", softmax_ce),
    "softmax_cross_entropy, smooth": LossCase(
        losses.SoftmaxCrossEntropy(0.2), "classes", lambda z, y: softmax_ce(z, 0.8 * y + 0.2 / z.shape[-1])
    ),
    "softmax_cross_entropy, rows of any sum": LossCase(losses.SoftmaxCrossEntropy(), "fractions", softmax_ce),
    "your own": LossCase(
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


def cost_of(platform: Platform, name: str, z: np.ndarray, y: np.ndarray, weight: np.ndarray | None = None) -> Any:
    weight = None if weight is None else platform.array(weight)
    return losses.cost(platform.backend, LOSSES[name].loss, platform.array(z), platform.array(y), weight)


@functools.cache
def all_costs(platform: Platform) -> dict[str, dict[str, tuple[Any, Any]]]:
    """(cost, gradient) of each loss: plain, weighted, with weights of 0, and where logits are extreme."""

    def every(zs: dict[str, Any], ys: dict[str, Any], weight: Any) -> Any:
        return {
            name: [losses.cost(platform.backend, loss, zs[name], ys[kind], w) for w in (None, weight)]
            for name, (loss, kind, _) in LOSSES.items()
        }

    program = platform.compile(every)
    ys = {kind: platform.array(y) for kind, y in TARGETS.items()}
    z, extreme = platform.array(LOGITS), platform.array(EXTREME)
    plain = program(dict.fromkeys(LOSSES, z), ys, platform.array(WEIGHTS))
    # exp(1000) is beyond every dtype, so the Poisson loss has no such logits
    far = program({name: extreme if name in CROSS_ENTROPIES else z for name in LOSSES}, ys, platform.array(0 * WEIGHTS))
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
def test_a_cost_is_the_mean_of_its_formula_and_its_gradient_the_slope(platform: Platform, what: str) -> None:
    weights = WEIGHTS[:, 0] if what == "weighted" else None
    for name, answers in all_costs(platform).items():
        with about(name):
            _, kind, formula = LOSSES[name]

            def mean(z: np.ndarray, formula: Any = formula, y: np.ndarray = TARGETS[kind]) -> Any:
                return np.average(formula(z, y), weights=weights)

            value, gradient = answers[what]
            platform.check(value, mean(LOGITS), rtol=8 * platform.eps)
            slope = central_differences(mean, LOGITS)  # good to 1e-8
            platform.check(gradient, slope, rtol=max(16 * platform.eps, 1e-8), atol=max(8 * platform.eps, 1e-8))


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("platform", ["numpy-readonly"], indirect=True)
def test_a_weight_is_a_number_of_copies(platform: Platform, name: str) -> None:
    y, copies = TARGETS[LOSSES[name].y], WEIGHTS[:, 0].astype(int)
    value, gradient = cost_of(platform, name, LOGITS, y, WEIGHTS)
    repeated, each_gradient = cost_of(platform, name, LOGITS.repeat(copies, 0), y.repeat(copies, 0))
    platform.check(value, repeated, rtol=1e-14)
    row_of = np.arange(M).repeat(copies)
    platform.check(gradient, np.stack([each_gradient[row_of == i].sum(0) for i in range(M)]), rtol=1e-13, atol=1e-16)


def test_weights_that_sum_to_zero_cost_nothing(platform: Platform) -> None:
    for name, answers in all_costs(platform).items():
        with about(name):
            value, gradient = answers["weightless"]
            platform.check(value, 0.0)
            platform.check(gradient, np.zeros((M, N)))


def test_class_indices_are_rows_with_one_1(platform: Platform) -> None:
    def cost(z: Any, y: Any) -> Any:
        return losses.cost(platform.backend, losses.SoftmaxCrossEntropy(0.1), z, y, None)

    by_index = platform.run(cost, platform.array(LOGITS), platform.array(INDEX))
    by_row = losses.cost(HOST, losses.SoftmaxCrossEntropy(0.1), LOGITS, np.eye(N)[INDEX[:, 0]], None)
    for got, want in zip(by_index, by_row, strict=True):
        platform.check(got, want, rtol=8 * platform.eps, atol=2 * platform.eps)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("platform", ["numpy-readonly", "strictest-float64", "torch"], indirect=True)
def test_a_stack_of_logits_has_a_stack_of_costs(platform: Platform, name: str) -> None:
    k = rows = 3
    rng = np.random.default_rng(7)
    z, y, weight = rng.normal(size=(k, rows, N)), TARGETS[LOSSES[name].y][:rows], WEIGHTS[:rows]
    for w in (None, weight):
        value, gradient = cost_of(platform, name, z, y, w)
        alone = [cost_of(platform, name, z[i], y, w) for i in range(k)]
        platform.check(value, np.stack([platform.host(v) for v, _ in alone]), rtol=4 * platform.eps)
        platform.check(gradient, np.stack([platform.host(g) for _, g in alone]), rtol=4 * platform.eps)


def test_a_cross_entropy_is_finite_for_every_logit(platform: Platform) -> None:
    for name in CROSS_ENTROPIES:
        with about(name):
            _, kind, formula = LOSSES[name]
            value, gradient = all_costs(platform)[name]["far"]
            platform.check(value, formula(EXTREME, TARGETS[kind]).mean(), rtol=8 * platform.eps)
            assert np.isfinite(platform.host(gradient)).all()


@pytest.mark.parametrize("loss", [losses.AbsoluteError(), losses.Quantile(0.9), losses.Huber()], ids=repr)
def test_a_residual_of_zero_has_no_slope(loss: losses.LossFunction) -> None:
    value, gradient = losses.cost(HOST, loss, LOGITS, LOGITS, None)
    assert value == 0.0
    assert not gradient.any()
