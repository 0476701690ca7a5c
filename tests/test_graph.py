"""A step in a CUDA graph, on the stand-in for CuPy: kernels and products on the CPU, a capture that does nothing.

ci/fake-cuda runs it on CuPy itself, whose pools hand memory out again and whose refusals are its own.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pytest
from conftest import cupy_stand_in
from cuda_on_cpu import is_available

import chainrule as cr
from chainrule import _kernels
from chainrule._backend._gpu_memory import GPUMemory
from chainrule._backend._graph import Captured, Graph, Inputs
from chainrule.losses import LOSSES
from chainrule.optimizers import OPTIMIZERS

pytestmark = pytest.mark.skipif(not is_available(), reason="kernels run on the CPU where there is g++ on Linux")

RNG = np.random.default_rng(5)
X = RNG.normal(size=(70, 6))
Y = (X[:, 0] > X[:, 1]).astype(int)
WEIGHT = np.where(np.arange(70) % 5, 1.5, 0.0)


@pytest.fixture
def cupy() -> Iterator[Any]:
    with cupy_stand_in() as module:
        yield module


def fit(
    compile: bool,
    network: cr.Sequential | None = None,
    x: Any = X,
    y: Any = Y,
    *,
    dtype: str = "float64",
    **changed: Any,
) -> cr.Model:
    usual: dict[str, Any] = {"loss": "softmax_cross_entropy", "epochs": 4, "batch_size": 16}
    on = cr.backend("cupy:1", dtype=dtype, compile=compile)
    return cr.fit(network or cr.mlp([6, 8, 2], dropout=0.2), x, y, backend=on, **usual | changed)


def same(got: cr.Model, want: cr.Model) -> None:
    np.testing.assert_allclose(got.theta.get(), want.theta.get(), rtol=0, atol=1e-12)
    np.testing.assert_allclose(got.history["loss"], want.history["loss"], rtol=1e-12)


def test_a_hundred_launches_are_a_hundred_steps(cupy: Any) -> None:
    same(fit(True, epochs=20), fit(False, epochs=20))


def test_a_step_is_captured_once_for_a_batch_size_and_launched_from_then_on(cupy: Any, count: list[str]) -> None:
    model = fit(True)
    assert model.backend.compiled
    # 16 and 6 rows, each once to warm up and once captured; once more when the second epoch's order is another array.
    assert len(count) == 2 * 3


@pytest.fixture
def count(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The name of each step that was taken outside of a launch."""
    taken: list[str] = []
    original = Captured.__init__

    def counted(self: Captured, step: Callable[..., Any]) -> None:
        def noted(*arguments: Any) -> Any:
            taken.append(step.__name__)
            return step(*arguments)

        original(self, noted)

    monkeypatch.setattr(Captured, "__init__", counted)
    return taken


def test_the_users_arrays_are_read_where_they_lie_and_never_written_to(cupy: Any) -> None:
    with cupy.cuda.Device(1):
        x, y = cupy.asarray(X), cupy.asarray(Y.astype(np.int32).reshape(-1, 1))
        gc.collect()
        before = cupy.get_default_memory_pool().used_bytes()
        same(fit(True, x=x, y=y[:, 0], batch_size=70, shuffle=False), fit(False, batch_size=70, shuffle=False))
        np.testing.assert_array_equal(x.get(), X)
        gc.collect()
        assert cupy.get_default_memory_pool().used_bytes() <= before + 4096, "nothing is left of the graph"


def test_a_state_from_elsewhere_is_brought_to_the_graph(cupy: Any) -> None:
    """Best weights put back, a rate that a plateau scales, a model that is trained further, predictions meanwhile."""

    class Asks:
        def on_epoch_end(self, run: Any, record: Any) -> None:
            asked.append(run.model().predict_proba(X))

    settings: dict[str, Any] = {"validation": (X[:20], Y[:20]), "epochs": 8, "optimizer": cr.Adam(0.05)}
    found = []
    for compile in (True, False):
        asked: list[np.ndarray] = []
        callbacks = [cr.EarlyStopping("val_loss", patience=2), cr.ReduceOnPlateau("val_loss", patience=1), Asks()]
        model = fit(compile, callbacks=callbacks, **settings)
        found.append((model, cr.fit(model, X, Y, epochs=2, batch_size=16), np.stack(asked)))
    for got, want in zip(*(models[:2] for models in found), strict=True):
        same(got, want)
    np.testing.assert_allclose(found[0][2], found[1][2], rtol=0, atol=1e-12)


def test_batches_that_come_one_by_one_are_brought_to_the_graph(cupy: Any, count: list[str]) -> None:
    parts = [(X[i : i + 16], Y[i : i + 16]) for i in range(0, 64, 16)]
    same(fit(True, x=parts, y=None, batch_size=None), fit(False, x=parts, y=None, batch_size=None))
    assert len(count) == 3, "once to warm up, once captured, once more when x and y became the graph's own"


SPECIAL: dict[str, dict[str, Any]] = {
    "weights": {"sample_weight": WEIGHT},
    "clipped": {"clip": cr.ClipNorm(0.1)},
    "clipped values": {"clip": cr.ClipValue(0.01)},
    "penalized": {"penalty": cr.Penalty(l1=1e-3, l2=1e-3)},
    "batch normalisation": {"network": cr.mlp([6, 8, 2], normalization="batch", dropout=0.2)},
    "layer normalisation": {"network": cr.mlp([6, 8, 2], normalization="layer")},
    "random slopes": {"network": cr.Sequential(cr.Dense(6, 8), cr.RandomizedLeakyReLU(), cr.Dense(8, 2))},
    "own activation": {
        "network": cr.mlp([6, 8, 2], activation=cr.Activation(lambda xp, z: z * z, lambda xp, z: 2 * z))
    },
    "no hidden layer": {"network": cr.mlp([6, 2])},
    "float32": {"dtype": "float32", "epochs": 1},
    **{
        f"{type(rate).__name__}": {"optimizer": cr.Adam(rate)}
        for rate in (cr.CosineDecay(0.01, warmup=3), cr.ExponentialDecay(0.01, every=3), cr.OneCycle(0.01))
    },
    **{f"optimizer {name}": {"optimizer": name} for name in OPTIMIZERS},
}


@pytest.mark.parametrize("name", SPECIAL)
def test_nothing_in_a_step_is_refused_in_a_capture(name: str, cupy: Any, count: list[str]) -> None:
    got, want = fit(True, **SPECIAL[name]), fit(False, **SPECIAL[name])
    atol = 2e-5 if SPECIAL[name].get("dtype") == "float32" else 1e-12
    np.testing.assert_allclose(got.theta.get(), want.theta.get(), rtol=0, atol=atol)
    assert len(count) <= 2 * 3


@pytest.mark.parametrize("loss", LOSSES)
def test_no_loss_is_refused_in_a_capture(loss: str, cupy: Any, count: list[str]) -> None:
    classes = "softmax" in loss
    y = Y if classes else Y.astype(float)
    network = cr.mlp([6, 8, 2 if classes else 1])
    same(fit(True, network, y=y, loss=loss), fit(False, network, y=y, loss=loss))
    assert len(count) <= 2 * 3


def test_what_cannot_be_captured_runs_as_it_is_and_a_warning_says_why(cupy: Any) -> None:
    def waits(xp: Any, z: Any) -> Any:
        cupy.cuda.get_current_stream().synchronize()  # which spoils a capture for good
        return z

    def refuses(xp: Any, z: Any) -> Any:
        if cupy.cuda.get_current_stream().is_capturing():
            raise NotImplementedError
        return z

    for value, why in (
        (lambda xp, z: z * float(xp.ones(1)[0]), "a copy to the host|the current stream is capturing, so D2H"),
        (waits, "cudaErrorStreamCaptureUnsupported"),
        (refuses, "NotImplementedError"),
    ):
        network = cr.mlp([6, 8, 2], activation=cr.Activation(value, lambda xp, z: xp.ones_like(z)))
        with pytest.warns(RuntimeWarning, match=f"the step cannot be captured, it runs uncompiled: ({why})"):
            got = fit(True, network)
        same(got, fit(False, network))


def test_a_kernel_that_does_not_compile_is_an_error_that_says_so(cupy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for cached in (_kernels._cupy._kernel, _kernels._cupy._module):
        monkeypatch.setattr(_kernels._cupy, cached.__name__, cached.__wrapped__)
    monkeypatch.setattr(_kernels._cupy, "source", lambda: "int here(")
    with pytest.raises(cr.BackendError, match=r"kernel \w+ should compile on cuda:1, but NVRTC says .*compile=False"):
        fit(True)


def test_a_capture_leaves_the_collector_the_stream_and_the_device_as_they_were(cupy: Any) -> None:
    fit(True, epochs=1)
    assert gc.isenabled()
    assert cupy.cuda.Device().id == 0
    assert cupy.cuda.get_current_stream().ptr == 0
    assert not cupy.cuda.get_current_stream().is_capturing()


class Total(NamedTuple):
    """A state of one array."""

    total: Any


class Pair(NamedTuple):
    """A state of two arrays."""

    a: Any
    b: Any


def test_a_state_may_hold_the_graphs_arrays_in_other_places(cupy: Any) -> None:
    def step(state: Pair) -> Pair:
        return Pair(state.a + 1.0, state.b + 10.0)

    def exchange(state: Pair) -> Pair:
        return Pair(state.b, state.a)

    numbers = [cupy.asarray(np.asarray([float(i)])) for i in (1, 2)]
    run = Captured(step)
    state = run(Pair(*run(Pair(*run(Pair(*numbers)))[::-1])))  # exchanged, as it is
    assert (state.a.item(), state.b.item()) == (14.0, 22.0)
    run = Captured(exchange)
    assert [array.item() for array in run(Pair(*numbers))] == [2.0, 1.0]


def test_a_state_that_a_step_makes_anew_goes_on_and_its_results_are_kept(cupy: Any) -> None:
    def step(state: Total, x: Any) -> tuple[Total, Any]:
        return Total(state.total + x), state.total * 2.0

    x, run = cupy.asarray(np.asarray([3.0])), Captured(step)
    state, first = run(Total(cupy.asarray(np.asarray([1.0]))), x)
    state, second = run(state, x)
    assert (state.total.item(), first.item(), second.item()) == (7.0, 2.0, 8.0)


def test_many_rows_are_predicted_by_one_pass_and_asked_again_by_one_graph(
    cupy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    graphs: list[Any] = []
    launch = Graph.launch
    monkeypatch.setattr(Graph, "launch", lambda self, inputs: (graphs.append(self), launch(self, inputs))[1])
    model = fit(True, cr.mlp([6, 8, 8, 8, 2]), epochs=1)
    many = RNG.normal(size=(65_536, 6))
    graphs.clear()
    first = model.predict_proba(many)
    assert not graphs  # what is asked for once is not captured
    again = model.predict_proba(many)
    assert len(graphs) == 1
    assert 5 < nodes_of(graphs[0]) <= 20
    np.testing.assert_array_equal(first, again)
    np.testing.assert_allclose(first, model.to("numpy").predict_proba(many), rtol=1e-6)


def test_where_there_is_little_room_many_rows_are_predicted_in_parts(
    cupy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = fit(False, epochs=1)
    many = RNG.normal(size=(10_000, 6))
    whole = model.predict_proba(many)
    monkeypatch.setattr(GPUMemory, "free", lambda self: 4 * 16 * 8 * 5000)
    np.testing.assert_allclose(model.predict_proba(many), whole, rtol=1e-12)


class Counter(NamedTuple):
    count: Any


def test_what_comes_back_as_it_was_given_is_launched_without_a_look_at_it(
    cupy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what is another object, or in another order, is looked at."""
    looked: list[int] = []
    take = Inputs.take
    monkeypatch.setattr(Inputs, "take", lambda self, inputs: (looked.append(1), take(self, inputs))[1])
    program = Captured(lambda state, x, y: Counter(state.count + 2.0 * x + y))
    one, ten = cupy.ones(3), cupy.full(3, 10.0)
    state = program(Counter(cupy.zeros(3)), one, ten)
    for _ in range(5):
        state = program(state, one, ten)
    assert len(looked) == 1
    np.testing.assert_array_equal(state.count.get(), 72.0)
    state = program(state, ten, one)
    np.testing.assert_array_equal(state.count.get(), 93.0)
    state = program(Counter(cupy.zeros(3)), ten, one)
    np.testing.assert_array_equal(state.count.get(), 21.0)
    state = program(state, ten, one)
    np.testing.assert_array_equal(state.count.get(), 42.0)
    assert len(looked) == 3


def nodes_of(graph: Graph) -> int:
    captured = graph._captured[0]
    return len(captured._work) if hasattr(captured, "_work") else captured.debug_dot_str().count("label=")


@pytest.mark.parametrize("layers", [4, 5])
def test_a_step_is_a_graph_of_few_nodes(cupy: Any, monkeypatch: pytest.MonkeyPatch, layers: int) -> None:
    """Seven a layer at most, and a few for what is taken once: a layer that draws nothing pays for no key."""
    graphs: list[Any] = []
    launch = Graph.launch
    monkeypatch.setattr(Graph, "launch", lambda self, inputs: (graphs.append(self), launch(self, inputs))[1])
    fit(True, cr.mlp([6, *[8] * (layers - 1), 2]), epochs=1, batch_size=35)
    assert nodes_of(graphs[0]) <= 2 + 7 * layers
