"""The step: the same numbers on every platform, for one network or a stack, and no work or host read beyond need."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from conftest import Platform, about, find_library

from chainrule import layers
from chainrule._backend import Backend
from chainrule._backend import reference_backend as backend
from chainrule.activations import GELU, Activation, ReLU, Tanh
from chainrule.batch import Batch, gather, make_window
from chainrule.losses import AbsoluteError, SoftmaxCrossEntropy, SquaredError
from chainrule.network import Sequential, mlp
from chainrule.optimizers import SGD, Adam, AdamW, ClipNorm, Lion
from chainrule.penalties import Penalty
from chainrule.schedules import CosineDecay, StepDecay
from chainrule.training._step import (
    Problem,
    State,
    StepFunction,
    copy_state,
    fresh_state,
    initial_buffers,
    initial_state,
    make_epoch_step,
    make_step,
)

N_IN, N_OUT, STEPS, SEED = 6, 3, 20, 5
LOSS = SoftmaxCrossEntropy(0.1)
PROBLEMS = {
    "plain": Problem(mlp([N_IN, 8, 8, N_OUT], activation="tanh", dropout=0.25), LOSS, Adam(0.01)),
    "with everything": Problem(
        mlp([N_IN, 8, N_OUT], activation="gelu", dropout=0.25, normalization="batch"),
        LOSS,
        Adam(CosineDecay(0.02, warmup=3, steps=STEPS)),
        Penalty(0.001, 0.01, over="examples"),
        ClipNorm(0.5),
    ),
}


def batches(platform: Platform, rows: int = 8, steps: int = STEPS, weighted: bool = False) -> list[Batch]:
    rng = np.random.default_rng(2)
    made = []
    for _ in range(steps):
        x, y, weight = rng.normal(size=(rows, N_IN)), rng.integers(0, N_OUT, (rows, 1)), rng.random((rows, 1))
        made.append(Batch(platform.array(x), platform.array(y), platform.array(weight) if weighted else None))
    return made


def compiled(platform: Platform, problem: Problem) -> StepFunction:
    return platform.compile_step(make_step, problem)


def trained(platform: Platform, step: StepFunction, state: State, data: list[Batch]) -> tuple[State, np.ndarray]:
    """The state after the batches, and each step's cost."""
    costs = []
    for batch in data:
        state, cost = step(state, batch)
        costs.append(cost)
    return state, np.stack([platform.host(cost) for cost in costs])


@functools.cache
def twenty_steps(platform: Platform, name: str) -> tuple[np.ndarray, np.ndarray]:
    """(theta, costs)."""
    problem = PROBLEMS[name]
    state = initial_state(platform.backend, problem, seed=SEED)
    data = batches(platform, weighted=name == "with everything")
    after, costs = trained(platform, compiled(platform, problem), state, data)
    return platform.host(after.theta), costs


def host_state(platform: Platform, state: State) -> dict[str, np.ndarray]:
    arrays = {**state._asdict(), **{f"moment {i}": moment for i, moment in enumerate(state.moments)}}
    del arrays["moments"]
    return {name: platform.host(array) for name, array in arrays.items()}


# ------------------------------------------------------------------------------------------------ the same everywhere

OTHERS = [
    *("numpy-readonly", "providers-off", "strictest-float64", "torch", "jax-jit", "dynamo"),
    pytest.param("cupy", marks=pytest.mark.gpu),
]


@pytest.mark.parametrize("name", PROBLEMS)
@pytest.mark.parametrize("other", OTHERS)
def test_twenty_steps_agree_in_float64(other: str, name: str, open_platform: Callable[..., Platform]) -> None:
    theta, costs = twenty_steps(open_platform("numpy", dtype="float64"), name)
    other_theta, other_costs = twenty_steps(open_platform(other, dtype="float64"), name)
    assert other_theta.dtype == np.float64
    np.testing.assert_allclose(other_theta, theta, rtol=0, atol=1e-8)
    np.testing.assert_allclose(other_costs, costs, rtol=1e-8)


@pytest.mark.parametrize("name", PROBLEMS)
@pytest.mark.parametrize("other", [*OTHERS, "no-float64"])
def test_twenty_steps_agree_in_float32(other: str, name: str, open_platform: Callable[..., Platform]) -> None:
    theta, costs = twenty_steps(open_platform("numpy"), name)
    other_theta, other_costs = twenty_steps(open_platform(other, dtype="float32"), name)
    assert other_theta.dtype == np.float32
    np.testing.assert_allclose(other_costs, costs, rtol=1e-5)
    if name == "plain":  # a normalisation divides by a deviation, and takes its rounding along
        assert np.linalg.norm(other_theta - theta) <= 1e-6 * np.linalg.norm(theta)


def test_twenty_steps_are_torchs() -> None:
    """The same training written with torch.nn and torch.optim: all but the random layers, which torch draws its way."""
    torch = find_library("torch")
    nn, on = torch.nn, backend("numpy", dtype="float64")
    net = Sequential(
        layers.Dense(N_IN, 8, bias=False),
        layers.BatchNorm(8),
        GELU(),
        layers.Dense(8, 5),
        layers.LayerNorm(5),
        Tanh(),
        layers.Dense(5, N_OUT),
    )
    eta = CosineDecay(0.02, warmup=3, steps=STEPS)
    problem = Problem(net, LOSS, AdamW(eta, decay=0.1), Penalty(l2=0.02), ClipNorm(0.5))
    twin = nn.Sequential(
        nn.Linear(N_IN, 8, bias=False),
        nn.BatchNorm1d(8),
        nn.GELU(),
        nn.Linear(8, 5),
        nn.LayerNorm(5),
        nn.Tanh(),
        nn.Linear(5, N_OUT),
    ).double()
    state, step = initial_state(on, problem, seed=SEED), make_step(on, problem)
    ours = [piece for group in net.layout.split(on, state.theta) for piece in group]
    theirs = list(twin.parameters())  # in our order, a weight transposed
    with torch.no_grad():
        for a, b in zip(ours, theirs, strict=True):
            b.copy_(torch.tensor(a.T if b.ndim == 2 else a[0]))
    weights, rest = [b for b in theirs if b.ndim == 2], [b for b in theirs if b.ndim == 1]
    adam = torch.optim.AdamW([{"params": weights, "weight_decay": 0.1}, {"params": rest, "weight_decay": 0.0}])

    rng = np.random.default_rng(2)
    for t in range(1, STEPS + 1):
        x, y = rng.normal(size=(8, N_IN)), rng.integers(0, N_OUT, (8, 1))
        state, cost = step(state, Batch(x, y))

        adam.zero_grad()
        value = nn.functional.cross_entropy(twin(torch.tensor(x)), torch.tensor(y[:, 0]), label_smoothing=0.1)
        value = value + 0.01 * sum((w * w).sum() for w in weights)
        np.testing.assert_allclose(cost, value.detach(), rtol=1e-9)
        value.backward()
        norm = torch.sqrt(sum((b.grad**2).sum() for b in theirs))
        for b in theirs:
            b.grad *= min(1.0, 0.5 / float(norm))
        for group in adam.param_groups:
            group["lr"] = float(eta.rate(np, np.full(1, float(t)))[0])
        adam.step()

    theta = np.concatenate([b.detach().numpy().T.ravel() for b in theirs])
    np.testing.assert_allclose(state.theta, theta, rtol=0, atol=1e-9)
    running = np.concatenate([twin[1].running_mean.numpy(), twin[1].running_var.numpy()])
    np.testing.assert_allclose(state.buffers, running, rtol=1e-9)


def test_twenty_steps_learn(open_platform: Callable[..., Platform]) -> None:
    """The agreement is not of networks that stand still."""
    for name, problem in PROBLEMS.items():
        with about(name):
            theta, _ = twenty_steps(open_platform("numpy"), name)
            start = problem.network.initial_theta(SEED)
            assert np.linalg.norm(theta - start) > 0.1 * np.linalg.norm(start)


@pytest.mark.parametrize("platform", ["jax-jit"], indirect=True)
def test_one_program_serves_every_step(platform: Platform) -> None:
    """What compiling froze, the step counter or the key, would need a program of its own or give the same mask."""
    traces: list[int] = []

    def traced(xp: Any, z: Any) -> Any:
        traces.append(1)
        return z

    network = Sequential(
        layers.Dense(N_IN, 2), Activation(traced, lambda xp, z: xp.ones_like(z)), layers.Dense(2, N_OUT)
    )
    problem = Problem(network, LOSS, Adam(0.01))
    trained(
        platform,
        compiled(platform, problem),
        initial_state(platform.backend, problem, seed=0),
        batches(platform, steps=4),
    )
    assert len(traces) == 1


@pytest.mark.parametrize("platform", ["jax-jit", "dynamo"], indirect=True)
def test_a_network_that_never_ran_is_compiled(platform: Platform) -> None:
    """Its layout is worked out while the step is traced; a failure to compile is a warning, here an error."""
    problem = Problem(Sequential(layers.Dense(N_IN, N_OUT)), LOSS, SGD(0.1))
    state = initial_state(platform.backend, problem, seed=0)
    trained(platform, compiled(platform, problem), state, batches(platform, steps=1))


# ------------------------------------------------------------------------------------------------------------- stacks

K = 3
STACKED = Problem(
    mlp([N_IN, 5, N_OUT], dropout=0.25, normalization="batch"), LOSS, Adam(0.05), Penalty(l2=0.01), ClipNorm(0.3)
)


def member_state(b: Backend, problem: Problem, member: int) -> State:
    """One network that starts as that member of a stack."""
    theta = b.asarray(problem.network.initial_theta(SEED, member))
    return fresh_state(b, problem, theta, initial_buffers(b, problem.network), SEED, members=(member,))


@pytest.mark.parametrize(
    ("platform", "weighted"),
    [
        *[
            (name, weighted)
            for name in ("numpy", "numpy-readonly", "strictest-float64", "torch")
            for weighted in (0, 1)
        ],
        ("jax-jit", 1),  # a program takes seconds to compile
    ],
    indirect=["platform"],
)
def test_a_stack_of_three_is_three_runs(platform: Platform, weighted: int) -> None:
    """Dropout, batch norm, clipping, and as many rows as networks: an axis mistaken for another has the right size."""
    b, data = platform.backend, batches(platform, rows=K, steps=5, weighted=bool(weighted))
    step = compiled(platform, STACKED)
    state = initial_state(b, STACKED, seed=SEED, members=range(K))
    stacked, costs = trained(platform, step, state, data)
    assert costs.shape == (5, K)
    for member in range(K):
        alone, alone_costs = trained(platform, step, member_state(b, STACKED, member), data)
        pairs = {
            name: (array[member] if array.shape[:1] == (K,) else array, host_state(platform, alone)[name])
            for name, array in host_state(platform, stacked).items()
        } | {"costs": (costs[:, member], alone_costs)}
        for name, (got, want) in pairs.items():
            with about(name):
                if platform.spec.library in ("numpy", "array-api-strict"):
                    np.testing.assert_array_equal(got, want)
                else:  # a batched product adds in an order of its own; five Adam steps at 0.05 amplify it
                    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


def test_the_members_of_a_stack_differ() -> None:
    b = backend("numpy")
    state = initial_state(b, STACKED, seed=SEED, members=range(K))
    assert len(np.unique(state.key, axis=0)) == K
    assert len({row.tobytes() for row in state.theta}) == K


def test_one_network_is_member_0() -> None:
    b = backend("numpy")
    one, stack = initial_state(b, STACKED, seed=SEED), initial_state(b, STACKED, seed=SEED, members=(0, 4))
    assert one.theta.shape == (STACKED.network.size,)
    for name in ("theta", "buffers", "key", "cost"):
        np.testing.assert_array_equal(getattr(one, name), getattr(stack, name)[0])


@pytest.mark.parametrize("optimizer", [SGD(0.1), Adam(0.05), AdamW(0.05), Lion(0.01, decay=0.1)], ids=repr)
def test_members_at_their_own_rates_are_separate_runs(optimizer: Any, open_platform: Callable[..., Platform]) -> None:
    platform = open_platform("numpy-readonly")
    problem, scales = Problem(STACKED.network, LOSS, optimizer), np.asarray([[1.0], [0.1], [3.0]])
    data, b = batches(platform, rows=K, steps=5), platform.backend
    state = initial_state(b, problem, seed=SEED, members=range(K))._replace(scale=platform.owned(scales))
    stacked, _ = trained(platform, compiled(platform, problem), state, data)
    for member in range(K):
        state = member_state(b, problem, member)._replace(scale=platform.owned(scales[member]))
        alone, _ = trained(platform, compiled(platform, problem), state, data)
        np.testing.assert_array_equal(stacked.theta[member], alone.theta)
        unscaled, _ = trained(platform, compiled(platform, problem), member_state(b, problem, member), data)
        assert np.array_equal(unscaled.theta, alone.theta) == (member == 0)


# ------------------------------------------------------------------------------------------------------ what it changes


def test_a_batch_without_weight_changes_only_the_counters(platform: Platform) -> None:
    problem = Problem(STACKED.network, LOSS, AdamW(0.05, decay=0.1), Penalty(l2=0.1), ClipNorm(0.3))
    (first, second), b = batches(platform, steps=2, weighted=True), platform.backend
    step = platform.compile_step(make_step, problem)
    state, _ = step(initial_state(b, problem, seed=SEED), first)
    before = host_state(platform, state)
    after = host_state(platform, step(state, second._replace(weight=platform.array(np.zeros((8, 1)))))[0])
    moved = {name for name in before if not np.array_equal(before[name], after[name])}
    assert moved == {"step", "cursor"}
    assert (after["step"], after["cursor"]) == (2, 16)


@pytest.mark.parametrize("platform", ["numpy-readonly", "jax-jit"], indirect=True)
def test_masks_differ_from_step_to_step_and_from_member_to_member(platform: Platform) -> None:
    """Networks with the same weights that stand still (a rate of 0) see one batch again and again."""
    b, (batch,) = platform.backend, batches(platform, steps=1)
    for rate, different in ((0.5, 4 * K), (0.0, 1)):
        problem = Problem(Sequential(layers.Dense(N_IN, N_OUT), layers.Dropout(rate)), LOSS, SGD(0.0))
        theta, buffers = b.asarray(np.stack([problem.network.initial_theta(SEED)] * K)), b.zeros((K, 0))
        state = fresh_state(b, problem, theta, buffers, SEED, members=range(K))
        _, costs = trained(platform, compiled(platform, problem), state, [batch] * 4)
        assert len(np.unique(costs)) == different


@pytest.mark.parametrize("weighted", [False, True], ids=["", "weighted"])
@pytest.mark.parametrize("platform", ["numpy-readonly", "strictest-float64"], indirect=True)
def test_the_state_sums_costs_and_weights(platform: Platform, weighted: bool) -> None:
    data = batches(platform, steps=3, weighted=weighted)
    state = initial_state(platform.backend, STACKED, seed=SEED)
    state, costs = trained(platform, compiled(platform, STACKED), state, data)
    weights = [8.0 if batch.weight is None else platform.host(batch.weight).sum() for batch in data]
    platform.check(state.weight, [sum(weights)], rtol=1e-14)
    platform.check(state.cost, [costs @ weights], rtol=1e-14)


@pytest.mark.parametrize("platform", ["numpy"], indirect=True)
def test_a_step_works_in_the_buffers_it_is_given(platform: Platform) -> None:
    problem = PROBLEMS["plain"]
    state = initial_state(platform.backend, problem, seed=SEED)
    kept = copy_state(platform.backend, state)
    before = host_state(platform, kept)
    step = compiled(platform, problem)
    first, _ = trained(platform, step, state, batches(platform, steps=1))
    after, _ = trained(platform, step, first, batches(platform, steps=2))
    assert after.theta is first.theta
    assert all(new is old for new, old in zip(after.moments, first.moments, strict=True))
    for name, array in host_state(platform, kept).items():
        with about(name):  # a copied state is beyond the reach of any step
            np.testing.assert_array_equal(array, before[name])


ORDER = np.random.default_rng(1).permutation(12)


@pytest.mark.parametrize("weighted", [False, True], ids=["", "weighted"])
def test_gather_takes_the_next_rows_of_the_order(platform: Platform, weighted: bool) -> None:
    b, (data,) = platform.backend, batches(platform, rows=12, steps=1, weighted=weighted)
    window = make_window(b, 4)
    program = platform.compile(lambda data, order, cursor: gather(b, data, order, cursor, window))
    for cursor in (0, 4):  # an array, so that one program takes them all
        batch = program(data, platform.array(ORDER), platform.array([cursor]))
        for got, whole in zip(batch, data, strict=True):
            assert (got is None) == (whole is None)
            if got is not None:
                want = platform.host(whole)[ORDER[cursor : cursor + 4]]
                platform.check(got, want, dtype=None if want.dtype.kind == "f" else "int32")


@pytest.mark.parametrize("platform", ["numpy-readonly", "strictest-float32", "torch"], indirect=True)
def test_an_epochs_steps_are_steps_on_the_rows_it_gathers(platform: Platform) -> None:
    b, (data,) = platform.backend, batches(platform, rows=12, steps=1, weighted=True)
    epoch_step = platform.compile_step(make_epoch_step, STACKED)
    state = initial_state(b, STACKED, seed=SEED)
    for _ in range(3):
        state = epoch_step(state, data, platform.array(ORDER), make_window(b, 4))
    picked = [Batch(*(platform.array(platform.host(a)[ORDER[i : i + 4]]) for a in data)) for i in (0, 4, 8)]
    want, _ = trained(platform, compiled(platform, STACKED), initial_state(b, STACKED, seed=SEED), picked)
    for name, array in host_state(platform, want).items():
        with about(name):
            np.testing.assert_array_equal(host_state(platform, state)[name], array)


# -------------------------------------------------------------------------------------------------------- what it costs


@pytest.mark.parametrize("weighted", [False, True], ids=["", "weighted"])
@pytest.mark.parametrize("platform", ["numpy", "strictest-float32", "strictest-float64", "torch"], indirect=True)
def test_a_step_reads_nothing_on_the_host(platform: Platform, weighted: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The strictest platform forbids float(), int() and bool() of an array; torch, as on CUDA, gets the same here."""

    def forbidden(*arguments: Any) -> Any:
        raise AssertionError("a host read")

    problem = PROBLEMS["with everything"]
    state = initial_state(platform.backend, problem, seed=SEED, members=range(K))
    data = batches(platform, steps=2, weighted=weighted)
    step = make_step(platform.backend, problem)
    monkeypatch.setattr(platform.backend.library, "to_numpy", forbidden)
    if platform.spec.library == "torch":
        monkeypatch.setattr(platform.backend.library, "is_captured", lambda device: True)
        for name in ("__float__", "__int__", "__bool__", "__index__", "item", "tolist", "numpy"):
            monkeypatch.setattr(type(state.theta), name, forbidden)
    for batch in data:
        state, _ = step(state, batch)


def test_no_gradient_is_carried_to_or_below_the_lowest_trained_layer(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    if platform.spec.mode in ("jit", "dynamo"):
        pytest.skip("a compiled program does not call Python again")
    called: list[Any] = []
    for kind in (layers.Dense, layers.Dropout, layers.Activate, layers.LayerNorm):

        def counted(self: Any, *arguments: Any, original: Any = kind.pullback) -> Any:
            called.append(self)
            return original(self, *arguments)

        monkeypatch.setattr(kind, "pullback", counted)
    lowest, middle, last = layers.Dense(N_IN, 5), layers.LayerNorm(5), layers.Dense(5, N_OUT)
    network = Sequential(layers.Dropout(0.1), Tanh(), lowest, middle, ReLU(), last)
    problem = Problem(network, LOSS, SGD(0.1))
    trained(
        platform,
        compiled(platform, problem),
        initial_state(platform.backend, problem, seed=0),
        batches(platform, steps=1),
    )
    assert called == [last, layers.Activate(ReLU()), middle]
    assert network.lowest_trained == 2


# ------------------------------------------------------------------------------------------------------------- by hand

BY_HAND: dict[str, tuple[dict[str, Any], float, list[float]]] = {
    "plain": ({}, 4.5, [1.6, 0.3]),
    # + 2/2 W^2 on the cost and 2 W on its slope: (-4, -3), of norm 5
    "penalized": ({"penalty": Penalty(l2=2.0)}, 5.5, [1.4, 0.3]),
    # and halved: (-2, -1.5)
    "penalized, then clipped": ({"penalty": Penalty(l2=2.0), "clip": ClipNorm(2.5)}, 5.5, [1.2, 0.15]),
    # the first step of a decay is at the full rate, the scale doubles it
    "scaled": ({"optimizer": SGD(StepDecay(0.1, every=1)), "scale": 2.0}, 4.5, [2.2, 0.6]),
}


@pytest.mark.parametrize("name", BY_HAND)
def test_a_step_by_hand(name: str) -> None:
    """W = 1, b = 0, x = 2, y = 5: z = 2, e = -3, C = 4.5, dC/dW = -6, dC/db = -3; the rate is 0.1."""
    options, cost, theta = BY_HAND[name]
    b, scale = backend("numpy", dtype="float64"), options.get("scale", 1.0)
    settings = {"optimizer": SGD(0.1), **{key: value for key, value in options.items() if key != "scale"}}
    problem = Problem(Sequential(layers.Dense(1, 1)), SquaredError(), **settings)
    state = fresh_state(b, problem, np.asarray([1.0, 0.0]), np.zeros(0), seed=0)._replace(scale=np.full(1, scale))
    state, value = make_step(b, problem)(state, Batch(np.asarray([[2.0]]), np.asarray([[5.0]])))
    assert value == cost
    np.testing.assert_allclose(state.theta, theta, rtol=1e-15)


def test_a_schedule_is_read_at_the_number_of_the_step() -> None:
    """|b - 5| has the slope -1 far below 5: b moves by 0.1, then by half as much each time."""
    b = backend("numpy", dtype="float64")
    problem = Problem(Sequential(layers.Dense(1, 1)), AbsoluteError(), SGD(StepDecay(0.1, every=1, factor=0.5)))
    state = fresh_state(b, problem, np.zeros(2), np.zeros(0), seed=0)
    for moved in (0.1, 0.15, 0.175):
        state, _ = make_step(b, problem)(state, Batch(np.zeros((1, 1)), np.full((1, 1), 5.0)))
        np.testing.assert_allclose(state.theta, [0.0, moved], rtol=1e-14)
