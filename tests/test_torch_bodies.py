"""torch's faster bodies against torch's own autograd and optimizers, and on what a body written in haste breaks on."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest
from conftest import find_library

torch = find_library("torch")

import chainrule as cr  # noqa: E402
from chainrule import _kernels  # noqa: E402
from chainrule.batch import Batch, advance  # noqa: E402
from chainrule.losses import cost  # noqa: E402
from chainrule.optimizers import OPTIMIZERS, adam, update  # noqa: E402
from chainrule.training._step import Problem, initial_state, make_step  # noqa: E402

RNG = np.random.default_rng(7)
X, Y = RNG.normal(size=(40, 6)), RNG.integers(0, 3, 40)
NETWORK = cr.mlp([6, 8, 8, 3])
THEIRS = {
    cr.Adam(0.01): lambda W, b: torch.optim.Adam([*W, *b], lr=0.01),
    cr.Adam(0.01, b1=0.0, b2=0.5, epsilon=0.1): lambda W, b: torch.optim.Adam([*W, *b], 0.01, (0.0, 0.5), 0.1),
    cr.AdamW(0.01, decay=0.3): lambda W, b: torch.optim.AdamW(
        [{"params": W, "weight_decay": 0.3}, {"params": b, "weight_decay": 0.0}], lr=0.01
    ),
    cr.SGD(0.1): lambda W, b: torch.optim.SGD([*W, *b], lr=0.1),
    cr.Momentum(0.1, nesterov=True): lambda W, b: torch.optim.SGD([*W, *b], lr=0.1, momentum=0.9, nesterov=True),
    cr.Adagrad(0.1): lambda W, b: torch.optim.Adagrad([*W, *b], lr=0.1),
    cr.RMSProp(0.01): lambda W, b: torch.optim.RMSprop([*W, *b], lr=0.01),
}


def places(theta: Any) -> tuple[list[Any], list[Any]]:
    """W and b of each layer, as torch trains them."""
    parts = [
        theta[slot.start : slot.stop].reshape(slot.shape).clone().requires_grad_()
        for group in NETWORK.layout.groups
        for slot in group
    ]
    return parts[0::2], parts[1::2]


@pytest.mark.parametrize("rule", THEIRS, ids=repr)
def test_twenty_steps_are_those_of_torchs_autograd_and_optimizer(rule: Any) -> None:
    torch.set_num_threads(1)
    on = cr.backend("torch:cpu", dtype="float64")
    problem = Problem(NETWORK, cr.SoftmaxCrossEntropy(), rule)
    state, step = initial_state(on, problem, seed=0), make_step(on, problem)
    W, b = places(state.theta)
    theirs = THEIRS[rule](W, b)
    x = torch.tensor(X).mT.contiguous().mT  # its rows do not lie one after the other
    for _ in range(20):
        state, value = step(state, Batch(x, torch.tensor(Y[:, None], dtype=torch.int32)))
        a = x
        for i in range(len(W)):
            a = (torch.relu(a) if i else a) @ W[i] + b[i]
        loss = torch.nn.functional.cross_entropy(a, torch.tensor(Y))
        theirs.zero_grad()
        loss.backward()
        theirs.step()
        torch.testing.assert_close(value, loss.detach(), rtol=1e-12, atol=0.0)
    want = torch.cat([piece.detach().reshape(-1) for pair in zip(W, b, strict=True) for piece in pair])
    torch.testing.assert_close(state.theta, want, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_update_in_pieces_has_the_bits_of_a_whole_one(name: str) -> None:
    """Adam's own loop aside, whose pieces may end elsewhere."""
    torch.set_num_threads(1)
    on, rule, size = cr.backend("torch:cpu"), OPTIMIZERS[name](), 2 * _kernels._torch._CHUNK + 5
    theta, g = torch.randn(size), torch.randn(size)
    g[:3] = torch.tensor([float("nan"), float("inf"), -float("inf")])
    made = tuple(torch.rand(size) for _ in rule.init(on, theta, torch.ones(size)))
    t, eta = torch.tensor([3.0]), torch.tensor([0.1])
    places = [theta.data_ptr(), *(m.data_ptr() for m in made)]
    want = rule.update(on, theta.clone(), g.clone(), tuple(m.clone() for m in made), t, eta)
    kept = g.clone()
    got = on.run(update, rule, theta, g, made, t, eta)
    assert [got[0].data_ptr(), *(m.data_ptr() for m in got[1])] == places  # in place
    assert torch.equal(g.nan_to_num(), kept.nan_to_num())
    for ours, theirs in zip((got[0], *got[1]), (want[0], *want[1]), strict=True):
        assert torch.equal(ours.nan_to_num(7.0), theirs.nan_to_num(7.0))


def declined(operation: Any, *arguments: Any) -> bool:
    on = cr.backend("torch:cpu")
    return on.providers[operation](on, *arguments) is NotImplemented


def test_what_is_not_covered_is_declined() -> None:
    z, y = torch.randn(2, 4, 3), torch.zeros((4, 1), dtype=torch.int32)
    softmax = cr.SoftmaxCrossEntropy()
    one, vectors = torch.ones(1), [torch.rand(2, 5) for _ in range(4)]
    assert declined(cost, softmax, z, y, None)  # a stack
    assert declined(cost, softmax, z[0], y, torch.ones(4, 1))
    assert declined(cost, softmax, z[0], torch.rand(4, 3), None)  # shares of classes
    assert declined(cost, cr.SoftmaxCrossEntropy(0.1), z[0], y, None)
    assert declined(cost, softmax, z[0].clone().requires_grad_(), y, None)
    assert declined(adam, cr.Adam(), *vectors[:2], vectors[2:], one, torch.rand(2, 1))  # a rate for each member
    assert declined(adam, cr.Adam(), *[v[0] for v in vectors[:1]], one.expand(5), [v[0] for v in vectors[2:]], one, one)
    assert declined(advance, (one, one, one, one), torch.rand(2), 4, None)

    class Mine(cr.SGD):
        pass

    assert declined(update, Mine(), torch.zeros(300_000), torch.zeros(300_000), (), one, one)


def test_a_gradient_of_the_users_own_layer_is_looked_at_as_on_every_library() -> None:
    class Wrong(cr.Dense):
        def gradients(self, backend: Any, residual: Any, dy: Any) -> Any:
            dW, db = super().gradients(backend, residual, dy)
            return dW.mT, db

    with pytest.raises(cr.ConfigurationError, match="gradients must give dC/dW as an array of shape"):
        cr.fit(cr.Sequential(Wrong(6, 4), cr.Dense(4, 3)), X, Y, loss="softmax_cross_entropy", backend="torch:cpu")


@pytest.mark.parametrize("batch_size", [1, 13, 40])
def test_two_trainings_are_equal_to_the_bit_and_close_to_the_references(batch_size: int) -> None:
    torch.set_num_threads(1)
    x, y = torch.tensor(X), torch.tensor(Y)
    before = x.clone()
    options: dict[str, Any] = {"loss": "softmax_cross_entropy", "epochs": 3, "batch_size": batch_size}
    on = cr.backend("torch:cpu", dtype="float64")
    first, second = (cr.fit(cr.Sequential(cr.ReLU(), *NETWORK.layers), x, y, backend=on, **options) for _ in range(2))
    assert torch.equal(first.theta, second.theta)
    first.predict(x)
    assert torch.equal(x, before)  # a first activation writes nothing into the user's X
    plain = cr.fit(first.network, x, y, backend=cr.backend(on, kernels=False), **options)
    torch.testing.assert_close(first.theta, plain.theta, rtol=1e-9, atol=1e-12)


def test_a_divergence_is_found_where_the_references_find_it() -> None:
    def said(kernels: bool, x: Any) -> str:
        options: dict[str, Any] = {"loss": "softmax_cross_entropy", "epochs": 3, "batch_size": 8}
        with pytest.raises(cr.DivergenceError) as caught:
            cr.fit(NETWORK, x, Y, optimizer=cr.SGD(1e4), backend=cr.backend("torch:cpu", kernels=kernels), **options)
        return str(caught.value)

    for x in (1e10 * X, 1e30 * X):
        assert said(True, x) == said(False, x)


def test_which_bodies_run_is_told_by_device_and_compiling() -> None:
    ours = {operation.__name__ for operation in _kernels._torch.PROVIDERS}
    assert cr.backend("torch:cpu").info["kernels"] == dict.fromkeys(ours, "torch")
    assert cr.backend("torch:cpu", compile=True).info["kernels"] == {"once": "torch_compiled"}  # for the compiler
    assert cr.backend("torch:cpu", kernels=False).info["kernels"] == {}


def test_torchs_function_of_a_fused_step_is_as_it_was_when_this_was_written() -> None:
    """It counts the step before it takes it, and reads counter and rate where they lie."""
    from torch.optim.adam import adam as torchs

    names = inspect.signature(torchs).parameters
    assert {"params", "grads", "exp_avgs", "exp_avg_sqs", "max_exp_avg_sqs", "state_steps", "fused"} <= set(names)
    theta, g, m, v, count = (torch.ones(3, dtype=torch.float64) for _ in range(4)), None, None, None, torch.zeros(())
    theta, g, m, v = theta
    torchs(
        [theta], [g], [m * 0], [v * 0], [], [count], fused=True, amsgrad=False, maximize=False,
        lr=0.1, beta1=0.9, beta2=0.999, weight_decay=0.0, eps=0.0,
    )  # fmt: skip
    assert count == 1
    torch.testing.assert_close(theta, torch.full((3,), 0.9, dtype=torch.float64))
