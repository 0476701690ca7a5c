"""Each optimizer against torch, or against its paper where torch has none; and against scikit-learn."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
from completeness import kinds, named
from conftest import Platform, about, find_library

from chainrule import optimizers, schedules
from chainrule._backend import reference_backend as backend

HOST = backend("numpy", dtype="float64")


class OptimizerCase(NamedTuple):
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
    "sgd": OptimizerCase(optimizers.SGD(0.1), lambda t, w, b: t.SGD([w, b], 0.1)),
    "momentum": OptimizerCase(optimizers.Momentum(0.1), lambda t, w, b: t.SGD([w, b], 0.1, momentum=0.9)),
    "momentum, nesterov": OptimizerCase(
        optimizers.Momentum(0.1, 0.8, nesterov=True), lambda t, w, b: t.SGD([w, b], 0.1, momentum=0.8, nesterov=True)
    ),
    "velocity_momentum": OptimizerCase(
        optimizers.VelocityMomentum(0.1), lambda t, w, b: t.SGD([w, b], 0.1, momentum=0.9)
    ),
    "velocity_momentum, nesterov": OptimizerCase(
        optimizers.VelocityMomentum(0.1, 0.8, nesterov=True),
        lambda t, w, b: t.SGD([w, b], 0.1, momentum=0.8, nesterov=True),
    ),
    **{
        f"velocity_momentum, a rate that changes, nesterov={nesterov}": OptimizerCase(
            optimizers.VelocityMomentum(schedules.StepDecay(0.1, every=20, factor=0.25), nesterov=nesterov),
            paper=functools.partial(velocity, lambda i: 0.1 * 0.25 ** (i // 20)),
        )
        for nesterov in (False, True)
    },
    # torch's dampening leaves the first gradient whole; the same path is its momentum at a tenth of the rate.
    "averaged_momentum": OptimizerCase(
        optimizers.AveragedMomentum(0.1), lambda t, w, b: t.SGD([w, b], 0.01, momentum=0.9)
    ),
    "adagrad": OptimizerCase(optimizers.Adagrad(0.1), lambda t, w, b: t.Adagrad([w, b], 0.1)),
    "rmsprop": OptimizerCase(optimizers.RMSProp(), lambda t, w, b: t.RMSprop([w, b], 0.001)),
    "rmsprop(0.05, 0.8, 1e-3)": OptimizerCase(
        optimizers.RMSProp(0.05, 0.8, 1e-3), lambda t, w, b: t.RMSprop([w, b], 0.05, alpha=0.8, eps=1e-3)
    ),
    "adam": OptimizerCase(optimizers.Adam(), lambda t, w, b: t.Adam([w, b])),
    "adam(0.05, 0.8, 0.95, 1e-3)": OptimizerCase(
        optimizers.Adam(0.05, 0.8, 0.95, 1e-3), lambda t, w, b: t.Adam([w, b], 0.05, (0.8, 0.95), 1e-3)
    ),
    "adam(b1=0)": OptimizerCase(optimizers.Adam(0.05, 0.0), lambda t, w, b: t.Adam([w, b], 0.05, (0.0, 0.999))),
    "adam(epsilon_hat)": OptimizerCase(optimizers.Adam(0.05, epsilon_hat=True), paper=adam_with_epsilon_hat),
    "adam(0.05, 0.8, 0.95, 1e-1, epsilon_hat)": OptimizerCase(
        optimizers.Adam(0.05, 0.8, 0.95, 1e-1, epsilon_hat=True), paper=adam_with_epsilon_hat
    ),
    "adam(b2=0, epsilon_hat)": OptimizerCase(optimizers.Adam(0.05, 0.0, 0.0, 1e-1, True), paper=adam_with_epsilon_hat),
    "adamw": OptimizerCase(
        optimizers.AdamW(), lambda t, w, b: t.AdamW([{"params": [w]}, {"params": [b], "weight_decay": 0}])
    ),
    "adamw(0.05, decay=0.3)": OptimizerCase(
        optimizers.AdamW(0.05, decay=0.3),
        lambda t, w, b: t.AdamW([{"params": [w]}, {"params": [b], "weight_decay": 0}], 0.05, weight_decay=0.3),
    ),
    "lion": OptimizerCase(optimizers.Lion(), paper=lion),
    "lion(0.05, decay=0.3)": OptimizerCase(optimizers.Lion(0.05, decay=0.3), paper=lion),
}
STEPS, P, DECAYING = 50, 7, 4
RNG = np.random.default_rng(1729)
THETA = RNG.normal(size=P)
GRADIENTS = RNG.normal(size=(STEPS, P)) * np.exp(RNG.normal(size=(STEPS, 1))) * 10.0 ** np.arange(-3, 4)
DECAYS = np.asarray([1.0] * DECAYING + [0.0] * (P - DECAYING))


def true_path(name: str) -> np.ndarray:
    """Theta after each step, (STEPS, P)."""
    case = OPTIMIZERS[name]
    if case.torch is None:
        assert case.paper is not None, f"nothing to compare {name} with"
        return case.paper(case.optimizer)
    torch = find_library("torch")
    w, b = (torch.tensor(piece, requires_grad=True) for piece in np.split(THETA, [DECAYING]))
    optimizer, path = case.torch(torch.optim, w, b), []
    for g in GRADIENTS:
        w.grad, b.grad = map(torch.tensor, np.split(g, [DECAYING]))
        optimizer.step()
        path.append(np.concatenate([w.detach().numpy(), b.detach().numpy()]))
    return np.stack(path)


def test_the_table_of_optimizers_is_complete() -> None:
    assert named(*(case.optimizer for case in OPTIMIZERS.values())) == kinds(optimizers, "init", "update")
    assert {kind.__name__ for kind in optimizers.OPTIMIZERS.values()} == kinds(optimizers, "init", "update")
    for name, kind in optimizers.OPTIMIZERS.items():
        assert type(OPTIMIZERS[name].optimizer) is kind
        assert optimizers.find_optimizer(name) == kind()
        assert isinstance(kind(), optimizers.Optimizer)


def test_fifty_steps_follow_torch_or_the_paper(platform: Platform) -> None:
    b, paths = platform.backend, {name: true_path(name) for name in OPTIMIZERS}

    def every(states: dict[str, Any], g: Any, t: Any) -> Any:
        return {
            name: o.update(b, theta, g, moments, t, schedules.as_schedule(o.learning_rate).rate(b.xp, t))
            for name, (theta, moments) in states.items()
            for o in [OPTIMIZERS[name].optimizer]
        }

    states = {}
    for name, (optimizer, *_) in OPTIMIZERS.items():
        theta = platform.owned(THETA)
        states[name] = theta, optimizer.init(b, theta, platform.owned(DECAYS))
    step = platform.compile(every)
    for i in range(STEPS):
        states = step(states, platform.array(GRADIENTS[i]), platform.array([i + 1.0]))
        for name, (theta, moments) in states.items():
            with about(f"{name}, step {i + 1}"):
                # Each step rounds: an eps of where theta came from and of how far it went. torch's own 1 - b2^t is
                # good to 1e-13.
                path = np.stack([THETA, *paths[name][: i + 1]])
                far = np.abs(THETA) + np.abs(np.diff(path, axis=0)).sum(axis=0)
                platform.check(theta / platform.array(far), path[-1] / far, atol=max((8 + i) * platform.eps, 1e-12))
                for moment in moments:
                    platform.check(moment, platform.host(moment))


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
@pytest.mark.parametrize("platform", ["numpy-readonly", "strictest-float32", "torch"], indirect=True)
def test_a_stack_moves_each_network_at_its_own_rate(platform: Platform, name: str) -> None:
    optimizer, b, rates = OPTIMIZERS[name].optimizer, platform.backend, np.asarray([[0.1], [0.01], [0.3]])
    thetas = np.stack([THETA, THETA[::-1], -THETA])

    def two_steps(theta: np.ndarray, g: np.ndarray, eta: np.ndarray) -> np.ndarray:
        placed = platform.owned(theta)
        moments = optimizer.init(b, placed, platform.owned(DECAYS))
        for t in (1.0, 2.0):
            g_t = platform.array(g / t)
            placed, moments = optimizer.update(b, placed, g_t, moments, platform.array([t]), platform.array(eta))
        return platform.host(placed)

    stacked = two_steps(thetas, GRADIENTS[:3], rates)
    alone = [two_steps(thetas[i], GRADIENTS[i], rates[i]) for i in range(3)]
    np.testing.assert_allclose(stacked, np.stack(alone), rtol=4 * platform.eps, atol=4 * platform.eps)


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


def test_adams_first_step_is_the_rate_in_every_coordinate(platform: Platform) -> None:
    """m'/sqrt(v') = g/|g|, to float32's precision: 1 - b2^t taken as written would be wrong by 1e-5."""
    optimizer, b = optimizers.Adam(0.001), platform.backend
    theta, g = platform.owned(np.zeros(P)), platform.array(GRADIENTS[0] + np.sign(GRADIENTS[0]))
    moments = optimizer.init(b, theta, platform.owned(DECAYS))
    one, eta = platform.array([1.0]), platform.array([0.001])
    theta, _ = platform.run(lambda *arguments: optimizer.update(b, *arguments), theta, g, moments, one, eta)
    platform.check(theta, -0.001 * np.sign(GRADIENTS[0]), rtol=8 * platform.eps + 2e-8)  # epsilon is 1e-8 of |g| >= 1


def test_lion_keeps_no_decays_that_it_does_not_use() -> None:
    assert len(optimizers.Lion().init(HOST, THETA, DECAYS)) == 1
    assert len(optimizers.Lion(decay=0.1).init(HOST, THETA, DECAYS)) == 2


def test_planned_fills_in_the_length_of_a_schedule() -> None:
    assert optimizers.planned(optimizers.Adam(schedules.CosineDecay(0.1)), 30).learning_rate.steps == 30
    assert optimizers.planned(optimizers.Adam(0.1), 30) == optimizers.Adam(0.1)
