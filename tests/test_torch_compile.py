"""Steps that ``torch.compile`` makes: in place, by pieces of theta, with few guards, and with the numbers of others.

Most are compiled by "aot_eager", which takes a second: it makes the step functional and puts its writes at the end, as
"inductor" does, which takes ten, and then runs torch's own operations.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, NamedTuple

import numpy as np
import pytest
from conftest import find_library

import chainrule as cr
from chainrule._backend import _torch, _torch_compile
from chainrule._backend._loop import Loop
from chainrule._backend._torch_compile import Compiled

RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((40, 5)), RNG.standard_normal((40, 3))
LABELS = RNG.integers(0, 3, 40)
SCHEDULED = cr.Adam(cr.CosineDecay(1e-2, warmup=3))


@dataclass(frozen=True)
class Swapping(cr.Optimizer):
    """Each moment becomes another array of the state, or the gradient."""

    learning_rate: float = 0.01
    traceable: ClassVar[bool] = True

    def init(self, backend: Any, theta: Any, decays: Any) -> Any:
        return backend.zeros(theta.shape), backend.zeros(theta.shape)

    def update(self, backend: Any, theta: Any, g: Any, moments: Any, t: Any, eta: Any) -> Any:
        last, older = moments
        return theta - eta * (g + 0.5 * last + 0.25 * older), (g, last)


PROBLEMS: dict[str, dict[str, Any]] = {
    **{f"optimizer {name}": {"optimizer": name} for name in ("sgd", "adamw", "lion")},
    "scheduled": {"optimizer": SCHEDULED},
    "epsilon hat": {"optimizer": cr.Adam(epsilon_hat=True)},
    "optimizer of one's own": {"optimizer": Swapping()},
    "penalty": {"penalty": cr.Penalty(l1=1e-3, l2=1e-2)},
    "clip": {"clip": cr.ClipNorm(0.1)},
    "weights": {"sample_weight": RNG.uniform(0.5, 1.0, 40)},
    "weights of 0": {"sample_weight": np.repeat([0.0, 1.0], [24, 16]), "shuffle": False},
    "classes": {"y": LABELS, "loss": "softmax_cross_entropy"},
    "dropout": {"network": cr.mlp([5, 8, 8, 3], dropout=0.3)},
    "batch norm": {"network": cr.mlp([5, 8, 3], normalization="batch")},
}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    find_library("torch")
    if "by inductor" not in request.node.name:
        monkeypatch.setattr(_torch, "compile", partial(_torch.compile, compiler="aot_eager"))


def fit(on: str | cr.Backend, **options: Any) -> cr.Model:
    given = {"network": cr.mlp([5, 8, 3]), "y": Y, "loss": "squared_error", "epochs": 3, "batch_size": 20, **options}
    return cr.fit(given.pop("network"), X, given.pop("y"), backend=on, verbose=False, **given)


def compiled(dtype: str = "float64") -> cr.Backend:
    return cr.backend("torch", dtype=dtype, compile=True)


@pytest.mark.parametrize("options", PROBLEMS.values(), ids=PROBLEMS)
def test_it_learns_what_the_uncompiled_step_does(options: dict[str, Any]) -> None:
    got, want = fit(compiled(), **options), fit(cr.backend("torch", dtype="float64"), **options)
    np.testing.assert_allclose(got.theta, want.theta, rtol=0, atol=1e-12)
    np.testing.assert_allclose(got.history["loss"], want.history["loss"], rtol=1e-12)


def test_it_learns_what_the_uncompiled_step_does_by_inductor() -> None:
    """Compiled as users have it: called from C++, Adam's scalars put into memory."""
    got, want = (fit(cr.backend("torch", compile=c), optimizer=SCHEDULED) for c in (True, False))
    np.testing.assert_allclose(got.theta, want.theta, rtol=0, atol=2e-5)


class Pair(NamedTuple):
    a: Any
    b: Any


def in_place(step: Callable[..., Any]) -> Compiled:
    return Compiled(step, {"backend": "aot_eager"})


def test_it_writes_into_the_state_it_is_given_and_returns_that() -> None:
    torch = find_library("torch")
    flat, b, asked = torch.zeros(5), torch.ones(1), []

    def cut(state: Pair) -> Pair:
        asked.append(state)
        return Pair((state.a[:2], state.a[2:]), state.b)

    def step(state: Pair, x: Any) -> tuple[Pair, Any]:
        first, second = state.a
        return Pair((first + x, second - state.b), state.b * 2), x * 3

    state, x = Pair(flat, b), torch.ones(2)
    program = in_place(Loop(step, before=cut))
    for _ in range(3):
        made, value = program(state, x)
        assert made is state
    assert (flat.tolist(), b.tolist(), value.tolist()) == ([3, 3, -7, -7, -7], [8], [3, 3])
    assert len(asked) == 1  # while state and arguments are the same
    other = Pair(torch.zeros(5), torch.ones(1))
    assert program(other, x)[0] is other
    assert other.a.tolist() == [1, 1, -1, -1, -1]


def test_arrays_that_become_each_other_are_read_before_one_is_overwritten() -> None:
    torch = find_library("torch")
    state = Pair(torch.zeros(2), torch.ones(2))
    in_place(lambda state: Pair(state.b, state.a))(state)
    assert (state.a.tolist(), state.b.tolist()) == ([1, 1], [0, 0])


def test_several_steps_at_once_have_the_bits_of_one_after_the_other() -> None:
    torch = find_library("torch")
    once, many = Pair(torch.zeros(3), torch.ones(1)), Pair(torch.zeros(3), torch.ones(1))
    program = in_place(lambda state, x: Pair(state.a * 0.9 + x.sin(), state.b * 1.1))
    x = torch.arange(3.0)
    for _ in range(7):
        program(once, x)
    assert program.repeat(7, many, x) is many
    assert torch.equal(once.a, many.a)
    assert torch.equal(once.b, many.b)


SCALE = 1.0


def scaled(xp: Any, z: Any) -> Any:
    return z * SCALE


def test_a_number_of_the_users_own_that_changes_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    class Change:
        def on_epoch_end(self, run: Any, record: Any) -> None:
            monkeypatch.setattr(f"{__name__}.SCALE", float(run.epoch + 1))

    activation = cr.Activation(scaled, lambda xp, z: xp.full_like(z, SCALE))
    thetas = []
    for on in (compiled(), cr.backend("torch", dtype="float64")):
        monkeypatch.setattr(f"{__name__}.SCALE", 1.0)
        network = cr.Sequential(cr.Dense(5, 4), activation, cr.Dense(4, 3))
        thetas.append(fit(on, network=network, batch_size=40, callbacks=[Change()], optimizer="sgd").theta)
    np.testing.assert_allclose(*thetas, rtol=0, atol=1e-12)


def test_of_a_step_of_ours_a_call_asks_for_its_arguments_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """And the function of torch that says which these are is there: without it a call asks ten times as many."""
    assert hasattr(find_library("torch").compiler, _torch_compile._FILTER)
    asked, which = [], _torch_compile._may_fail

    def may_fail(guards: Any) -> list[bool]:
        kept = which(guards)
        asked.append([guard.name for guard, keep in zip(guards, kept, strict=True) if keep])
        return kept

    monkeypatch.setattr(_torch_compile, "_may_fail", may_fail)
    fit(compiled(), batch_size=40)
    (names,) = asked
    assert not [name for name in names if name.startswith(("step", "G["))]
    assert {"state.theta", "inputs[0]"} <= set(names)
