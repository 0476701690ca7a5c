"""A step of torch's in one CUDA graph, on a stand-in for torch.cuda's graphs; and that no step reads on the host."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from conftest import about, find_library

torch = find_library("torch")

import torch_cuda_on_cpu as stand_in  # noqa: E402

import chainrule as cr  # noqa: E402
from chainrule._backend._torch_graph import TorchGraph  # noqa: E402
from chainrule._backend._trees import leaves  # noqa: E402
from chainrule.activations import ACTIVATIONS  # noqa: E402
from chainrule.batch import Batch  # noqa: E402
from chainrule.losses import LOSSES  # noqa: E402
from chainrule.optimizers import OPTIMIZERS  # noqa: E402
from chainrule.training._step import Problem, initial_state, make_step  # noqa: E402

RNG = np.random.default_rng(5)
X = RNG.normal(size=(70, 6))
Y = (X[:, 0] > X[:, 1]).astype(int)
NETWORK = cr.mlp([6, 8, 2], dropout=0.2, normalization="batch")


@pytest.fixture(autouse=True)
def cuda() -> Iterator[None]:
    torch.set_num_threads(1)
    with stand_in.torch_cuda_on_cpu():
        yield


def fit(compile: bool, network: cr.Sequential = NETWORK, **changed: Any) -> cr.Model:
    usual: dict[str, Any] = {"loss": "softmax_cross_entropy", "epochs": 4, "batch_size": 16}
    return cr.fit(network, X, Y, backend=cr.backend("torch:cpu", compile=compile), **usual | changed)


def same(got: cr.Model, want: cr.Model) -> None:
    assert torch.equal(got.theta, want.theta)
    assert torch.equal(got.buffers, want.buffers)
    assert got.history["loss"] == want.history["loss"]


def test_launches_are_steps_to_the_bit_with_a_short_last_batch() -> None:
    same(fit(True), fit(False))


def test_weights_and_clips_and_penalties_are_launched_too() -> None:
    options: dict[str, Any] = {
        "sample_weight": np.where(np.arange(70) % 5, 1.5, 0.0),
        "clip": cr.ClipNorm(0.1),
        "penalty": cr.Penalty(l1=1e-3, l2=1e-3),
        "optimizer": cr.AdamW(cr.CosineDecay(1e-2), decay=0.1),
    }
    same(fit(True, **options), fit(False, **options))


@pytest.fixture
def captures(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    taken: list[str] = []
    for original in (TorchGraph._warm_up, TorchGraph._capture):

        def noted(self: TorchGraph, original: Any = original) -> None:
            taken.append(original.__name__)
            original(self)

        monkeypatch.setattr(TorchGraph, original.__name__, noted)
    return taken


def test_a_step_is_captured_once_for_a_batch_size_and_once_more_when_its_order_is_another_array(
    captures: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stand_in.Graph, "replays", 0)
    assert fit(True).backend.compiled
    assert captures.count("_warm_up") == 2
    assert captures.count("_capture") == 4
    assert stand_in.Graph.replays == 4 * 5


def test_all_of_the_state_stays_where_it_is() -> None:
    found = set()

    class Watch(cr.Callback):
        def on_step_end(self, run: Any) -> None:
            found.add(tuple(x.data_ptr() for x in leaves(run.state)))

    fit(True, epochs=5, callbacks=[Watch()])
    assert len(found) == 1


def test_batches_that_come_in_new_memory_are_read_from_one_place(captures: list[str]) -> None:
    on, plain = (cr.backend("torch:cpu", compile=compiled) for compiled in (True, False))
    problem = Problem(NETWORK, cr.SoftmaxCrossEntropy(), cr.Adam(0.01))
    got, want = (initial_state(on, problem, seed=0) for _ in range(2))
    program, step = on.compile(make_step, problem), make_step(plain, problem)
    costs: list[Any] = []
    for start in range(0, 60, 10):
        rows = slice(start, start + 10)
        got, ours = program(got, Batch(on.asarray(X[rows]), on.asarray(Y[rows, None], torch.int32)))
        want, theirs = step(want, Batch(on.asarray(X[rows]), on.asarray(Y[rows, None], torch.int32)))
        costs.append(ours)
        assert ours == theirs
    assert torch.equal(got.theta, want.theta)
    assert len(set(map(float, costs))) == len(costs)  # none was overwritten by the next
    assert captures.count("_capture") == 2


@dataclass(frozen=True)
class Reads(cr.Layer):
    """A layer that reads on the host."""

    def apply(self, backend: Any, params: Any, buffers: Any, x: Any) -> Any:
        return x * (2.0 if float(x[0, 0]) > 1e9 else 1.0)

    def pullback(self, backend: Any, params: Any, residual: Any, dy: Any, grads: Any) -> Any:
        return dy


def test_a_step_that_cannot_be_captured_runs_as_it_is_and_a_warning_says_why_once() -> None:
    network = cr.Sequential(cr.Dense(6, 4), Reads(), cr.Dense(4, 2))
    with pytest.warns(RuntimeWarning) as seen:
        got = fit(True, network)
    assert [str(w.message) for w in seen] == [
        "the step cannot be captured, it runs uncompiled: operation not permitted when stream is capturing: "
        "aten::_local_scalar_dense"
    ]
    same(got, fit(False, network))


def test_an_error_of_the_users_own_is_raised_as_it_is() -> None:
    def fails(xp: Any, z: Any) -> Any:
        raise ValueError("of my own")

    with pytest.raises(ValueError, match="of my own"):
        fit(True, cr.Sequential(cr.Dense(6, 4), cr.Activation(fails, fails), cr.Dense(4, 2)))


LAYERS = {
    **{
        name: cr.Sequential(cr.Dense(6, 4), each, cr.Dense(4, 2))
        for name, each in ACTIVATIONS.items()
        if name != "step"
    },
    "softmax": cr.Sequential(cr.Dense(6, 4), cr.Softmax(), cr.Dense(4, 2)),
    "randomized": cr.Sequential(cr.Dense(6, 4), cr.RandomizedLeakyReLU(), cr.Dense(4, 2, bias=False)),
    "layer norm": cr.mlp([6, 4, 2], normalization="layer"),
    "batch norm and dropout": NETWORK,
}
RULES = [
    *(rule() for rule in OPTIMIZERS.values()),
    *(cr.Adam(epsilon_hat=True), cr.Lion(decay=0.1), cr.Momentum(nesterov=True), cr.VelocityMomentum(nesterov=True)),
    *(cr.Adam(cr.CosineDecay(1e-3, steps=9, warmup=2)), cr.SGD(cr.StepDecay(0.1, every=2))),
]
SQUARED = cr.SquaredError()
CLIPPED = [
    (penalty, clip)
    for clip in (None, cr.ClipNorm(0.1), cr.ClipValue(0.01))
    for penalty in (None, cr.Penalty(l1=0.1, l2=0.1))
]
PROBLEMS = {
    **{name: Problem(network, cr.SoftmaxCrossEntropy(), cr.Adam()) for name, network in LAYERS.items()},
    **{name: Problem(NETWORK, each() if isinstance(each, type) else each, cr.SGD()) for name, each in LOSSES.items()},
    **{repr(rule): Problem(NETWORK, SQUARED, rule) for rule in RULES},
    **{repr(bounds): Problem(NETWORK, SQUARED, cr.Adam(), *bounds) for bounds in CLIPPED},
}


@pytest.mark.parametrize(
    ("dtype", "members", "weighted"),
    [("float32", None, False), ("float32", None, True), ("float64", None, False), ("float32", range(3), True)],
    ids=["one", "weighted", "float64", "stack"],
)
def test_no_step_reads_on_the_host_and_each_gives_what_its_references_give(
    dtype: str, members: Any, weighted: bool
) -> None:
    on = cr.backend("torch:cpu", dtype=dtype)
    plain = cr.backend(on, kernels=False)
    for name, problem in PROBLEMS.items():
        with about(name):
            classes = problem.loss.target == "classes"
            y = on.asarray(Y[:, None] if classes else np.abs(X[:, :2]) % 1.0, torch.int32 if classes else None)
            batch = Batch(on.asarray(X), y, on.asarray(0.5 + np.abs(X[:, :1])) if weighted else None)
            got, want = (initial_state(each, problem, seed=3, members=members) for each in (on, plain))
            step, reference = make_step(on, problem), make_step(plain, problem)
            for _ in range(2):
                with stand_in.Capture():
                    got, _ = step(got, batch)
                want, _ = reference(want, batch)
            bound = 1e-9 if dtype == "float64" else 2e-4
            for ours, theirs in zip(leaves(got), leaves(want), strict=True):
                torch.testing.assert_close(ours, theirs, rtol=bound, atol=bound)
