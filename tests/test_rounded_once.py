"""Products in bf16 round each operand once in a pass forward and back, to the bits of a rounding for each product.

On the stand-in for CuPy, and in ci/fake-cuda on CuPy itself (``-k cupy``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from conftest import cupy_stand_in
from cuda_on_cpu import is_available

import chainrule as cr
from chainrule import layers
from chainrule._backend import Backend
from chainrule._backend._graph import Graph
from chainrule._kernels import _cupy
from chainrule.batch import Batch, make_window
from chainrule.losses import SoftmaxCrossEntropy
from chainrule.training._step import Problem, initial_state, make_epoch_step, make_step

pytestmark = pytest.mark.skipif(not is_available(), reason="kernels run on the CPU where there is g++ on Linux")

RNG = np.random.default_rng(7)
X = RNG.normal(size=(48, 6)).astype(np.float32)
Y = (X[:, 0] > X[:, 1]).astype(np.int32).reshape(-1, 1)


@dataclass(frozen=True)
class Thrice(cr.Layer):
    """y = x W W W."""

    n_in: int

    def parameters(self) -> tuple[cr.Parameter, ...]:
        return (cr.Parameter("W", (self.n_in, self.n_in), "glorot_uniform"),)

    def forward(self, backend: Backend, params: Any, buffers: Any, x: Any, key: Any) -> Any:
        once = backend.run(layers.affine, x, *params)
        twice = backend.run(layers.affine, once, *params)
        return backend.run(layers.affine, twice, *params), (x, once, twice, *params), buffers

    def apply(self, backend: Backend, params: Any, buffers: Any, x: Any) -> Any:
        return self.forward(backend, params, buffers, x, None)[0]

    def gradients(self, backend: Backend, residual: Any, dy: Any) -> Any:
        *inputs, W = residual
        total = 0.0
        for x in reversed(inputs):
            total = total + backend.run(layers.weight_gradient, x, dy)
            dy = backend.run(layers.input_gradient, dy, W)
        return (total,)

    def pullback(self, backend: Backend, params: Any, residual: Any, dy: Any, grads: Any) -> Any:
        for _ in range(3):
            dy = backend.run(layers.input_gradient, dy, *params)
        return dy


FOUR = cr.mlp([6, 8, 8, 8, 2])
NETWORKS: dict[str, tuple[cr.Sequential, int]] = {
    "four layers": (FOUR, 4 + 4 + 4),
    "one layer": (cr.mlp([6, 2]), 1 + 1 + 1),
    "a lowest Dense that passes its gradient on": (cr.Sequential(cr.LayerNorm(6), *FOUR.layers), 4 + 4 + 4),
    "batch normalisation and dropout": (cr.mlp([6, 8, 8, 2], normalization="batch", dropout=0.2), 3 + 3 + 3),
    # Three x; W at every second of its nine products; three dy in gradients, three in pullback.
    "an own layer": (cr.Sequential(cr.Dense(6, 8), Thrice(8), cr.Dense(8, 2)), 3 + (3 + 5 + 6) + 3),
}


@pytest.fixture
def bf16() -> Iterator[Backend]:
    with cupy_stand_in() as cupy, cupy.cuda.Device(1):
        yield cr.backend("cupy", device=1, compile=True, precision="bf16")


@pytest.fixture
def rounded(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The shape of what each kernel that was launched, or captured, rounds."""
    shapes, kernel = [], _cupy.bf16

    def noted(backend: Backend, x: Any) -> Any:
        shapes.append(x.shape)
        return kernel(backend, x)

    monkeypatch.setattr(_cupy, "bf16", noted)
    return shapes


@pytest.fixture
def captured(monkeypatch: pytest.MonkeyPatch, rounded: list[tuple[int, ...]]) -> list[int]:
    """How many kernels that round each graph has."""
    counts, capture = [], Graph._capture

    def counted(self: Graph) -> None:
        before = len(rounded)
        capture(self)
        counts.append(len(rounded) - before)
        graph = self._captured[0]
        if hasattr(graph, "debug_dot_str"):
            assert graph.debug_dot_str().count('label="bf16"') == counts[-1]

    monkeypatch.setattr(Graph, "_capture", counted)
    return counts


def anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is kept: each product rounds its own operands."""
    monkeypatch.setattr(Backend, "for_a_pass", lambda self: self)


def trained(on: Backend, network: cr.Sequential, steps: int = 5, members: range | None = None) -> np.ndarray:
    """Theta, which every step overwrites."""
    problem = Problem(network, SoftmaxCrossEntropy(), cr.Adam(0.05))
    state = initial_state(on, problem, seed=0, members=members)
    data, order = Batch(on.asarray(X), on.asarray(Y, on.xp.int32)), on.asarray(np.arange(48), on.xp.int32)
    step, window = on.compile(make_epoch_step, problem), make_window(on, 16)
    for i in range(steps):
        state = step(state._replace(cursor=on.zeros((1,), on.xp.int32)) if i % 3 == 0 else state, data, order, window)
    return on.to_numpy(state.theta)


@pytest.mark.parametrize("name", NETWORKS)
def test_theta_is_bit_for_bit_that_of_operands_rounded_anew_on_cupy(
    name: str, bf16: Backend, captured: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    network, expected = NETWORKS[name]
    once = trained(bf16, network)
    (count,) = captured
    assert count == expected
    anew(monkeypatch)
    np.testing.assert_array_equal(once, trained(bf16, network))
    assert captured[1] > count
    assert np.any(once != network.initial_theta(0).astype(np.float32))


def test_a_step_of_four_layers_rounds_twelve_times_in_place_of_twenty_two_on_cupy(
    bf16: Backend, captured: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    trained(bf16, FOUR, 1)
    anew(monkeypatch)
    trained(bf16, FOUR, 1)
    assert captured == [12, 22]


def test_a_stack_is_rounded_once_on_cupy(bf16: Backend, captured: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    once = trained(bf16, FOUR, members=range(3))
    anew(monkeypatch)
    np.testing.assert_array_equal(once, trained(bf16, FOUR, members=range(3)))
    assert captured == [12, 22]
    assert once.shape == (3, FOUR.size)


def test_each_of_several_steps_in_one_graph_rounds_its_own_weights_on_cupy(bf16: Backend, captured: list[int]) -> None:
    def make(backend: Backend, problem: Problem) -> Callable[..., Any]:
        step = make_epoch_step(backend, problem)
        return lambda state, *inputs: step(step(step(state, *inputs), *inputs), *inputs)

    problem = Problem(FOUR, SoftmaxCrossEntropy(), cr.Adam(0.05))
    data, order = Batch(bf16.asarray(X), bf16.asarray(Y, bf16.xp.int32)), bf16.asarray(np.arange(48), bf16.xp.int32)
    three = bf16.compile(make, problem)(initial_state(bf16, problem, seed=0), data, order, make_window(bf16, 16))
    assert captured == [3 * 12]
    np.testing.assert_array_equal(bf16.to_numpy(three.theta), trained(bf16, FOUR, 3))


@pytest.mark.parametrize("compiled", [True, False])
def test_rows_that_change_in_place_between_two_steps_are_rounded_anew_on_cupy(compiled: bool, bf16: Backend) -> None:
    problem, on = Problem(FOUR, SoftmaxCrossEntropy(), cr.Adam(0.05)), replace(bf16, compiled=compiled)

    def stepped(rows: Callable[[Any, np.ndarray], Any]) -> np.ndarray:
        state, step, x = initial_state(on, problem, seed=0), on.compile(make_step, problem), on.asarray(X[:16])
        for i in range(3):
            x = rows(x, X[16 * i : 16 * i + 16])
            state, _ = step(state, Batch(x, on.asarray(Y[:16], on.xp.int32)))
        return on.to_numpy(state.theta)

    def overwritten(x: Any, new: np.ndarray) -> Any:
        x[...] = on.asarray(new)
        return x

    np.testing.assert_array_equal(stepped(overwritten), stepped(lambda _, new: on.asarray(new)))


def test_what_a_layer_rounds_is_kept_for_its_second_product_alone_on_cupy(
    bf16: Backend, rounded: list[tuple[int, ...]]
) -> None:
    on = bf16.for_a_pass()
    x, W, dy = (on.asarray(RNG.normal(size=shape)) for shape in ((16, 6), (6, 8), (16, 8)))
    on.run(layers.affine, x, W)
    kept = on.kept or {}
    assert set(kept) == {id(x), id(W)}
    assert all(kept[id(operand)][0] is operand for operand in (x, W)), "or another array would get its id"
    on.run(layers.weight_gradient, x, dy)
    on.run(layers.input_gradient, dy, W)
    assert on.kept == {}
    assert rounded == [(16, 6), (6, 8), (16, 8)]
    assert bf16.for_a_pass().kept is not bf16.for_a_pass().kept


def test_outside_of_a_pass_nothing_is_kept_on_cupy(bf16: Backend, rounded: list[tuple[int, ...]]) -> None:
    x, W = bf16.asarray(X), bf16.asarray(RNG.normal(size=(6, 8)))
    before = bf16.to_numpy(bf16.run(layers.affine, x, W))
    x[...] = -x
    np.testing.assert_array_equal(bf16.to_numpy(bf16.run(layers.affine, x, W)), -before)
    assert len(rounded) == 4
    assert bf16.kept is None


def test_an_operand_with_gaps_is_kept_by_what_was_given_on_cupy(bf16: Backend, rounded: list[tuple[int, ...]]) -> None:
    on = bf16.for_a_pass()
    x, W = on.asarray(RNG.normal(size=(16, 12)))[:, ::2], on.asarray(RNG.normal(size=(6, 8)))
    y, again = (on.to_numpy(on.run(layers.affine, x, W)) for _ in range(2))
    np.testing.assert_array_equal(y, again)
    assert rounded == [(16, 6), (6, 8)]


def test_two_models_train_in_two_threads_on_cupy(bf16: Backend) -> None:
    settings: dict[str, Any] = {"loss": "softmax_cross_entropy", "epochs": 6, "batch_size": 16, "backend": bf16}
    networks = cr.mlp([6, 8, 8, 2]), cr.mlp([6, 16, 2], activation="tanh")

    def fitted(network: cr.Sequential) -> np.ndarray:
        return bf16.to_numpy(cr.fit(network, X, Y[:, 0], **settings).theta)

    alone = [fitted(network) for network in networks]
    with ThreadPoolExecutor(2) as threads:
        for got, want in zip(threads.map(fitted, networks), alone, strict=True):
            np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("precision", ["float32", "tf32"])
def test_where_nothing_is_rounded_nothing_is_kept_on_cupy(precision: str, bf16: Backend) -> None:
    on = cr.backend(bf16, precision=precision)
    assert on.for_a_pass() is on
