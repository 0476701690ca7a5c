"""The benchmark's trial of products that apply ReLU and sum the bias gradient, on the stand-in for cuBLASLt.

On the stand-in for CuPy, and in ci/fake-cuda on CuPy itself (``-k cupy``).
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import cublaslt_stand_in, cupy_stand_in, find_library
from cublaslt_memory import whole
from cuda_on_cpu import is_available
from test_graph import nodes_of

import chainrule as cr
from chainrule import layers
from chainrule._backend import Backend
from chainrule._backend._graph import Graph
from chainrule._kernels import _cupy_products

with pytest.MonkeyPatch.context() as patch:
    patch.syspath_prepend(str(Path(__file__).parent.parent / "benchmarks"))
    from gpu import epilogues
    from gpu.epilogues import Epilogue, with_epilogues

pytestmark = pytest.mark.skipif(not is_available(), reason="kernels run on the CPU where there is g++ on Linux")

RNG = np.random.default_rng(9)
X = RNG.normal(size=(70, 6)).astype(np.float32)
Y = (X[:, 0] > X[:, 1]).astype(int)
FOUR = cr.mlp([6, 8, 8, 8, 2])
# What theta may differ by after the steps of ``fit``: sums in another order, and in bf16 dC/db of a dy that is rounded.
TOLERANCE = {"float32": 1e-6, "tf32": 1e-4, "bf16": 5e-3}


@pytest.fixture
def backend() -> Iterator[Callable[[str], Backend]]:
    """The backend of a precision, on the second device, which is the current one."""
    with cupy_stand_in() as cupy, cupy.cuda.Device(1):
        yield lambda precision: cr.backend("cupy", device=1, compile=True, precision=precision)


@pytest.fixture
def lacking() -> Iterator[Callable[[int], None]]:
    """Have the stand-in lack an epilogue."""
    tells = ctypes.CDLL(cublaslt_stand_in())
    yield tells.stand_in_lacks
    tells.stand_in_lacks(0)


def product(on: Backend, x: Any, y: Any, transposed: tuple[bool, bool], b: Any, epilogue: int) -> Any:
    return _cupy_products._product(on, x, y, transposed, b, epilogue)


@pytest.mark.parametrize("precision", TOLERANCE)
def test_a_product_applies_relu_after_the_bias_on_cupy(precision: str, backend: Callable[[str], Backend]) -> None:
    on, arrays = backend(precision), (whole(5, 3), whole(3, 7), whole(1, 7))
    got = on.to_numpy(
        product(on, *map(on.asarray, arrays[:2]), (False, False), on.asarray(arrays[2]), Epilogue.RELU_BIAS)
    )
    want = layers.affine(cr.backend("numpy", compile=False), *arrays)
    np.testing.assert_array_equal(got, np.maximum(want, 0))
    assert np.any(want < 0)


@pytest.mark.parametrize("shape", [(5, 3, 7), (9, 7, 3), (1, 1, 1)])
@pytest.mark.parametrize("precision", TOLERANCE)
def test_a_weight_gradient_brings_the_bias_gradient_along_on_cupy(
    precision: str, shape: tuple[int, int, int], backend: Callable[[str], Backend]
) -> None:
    on, (rows, n_in, n_out) = backend(precision), shape
    x, dy, db = whole(rows, n_in), whole(rows, n_out), on.asarray(np.full((1, n_out), np.nan))
    dW = product(on, on.asarray(x), on.asarray(dy), (True, False), db, Epilogue.BGRADA)
    np.testing.assert_array_equal(on.to_numpy(dW), x.T @ dy)
    np.testing.assert_array_equal(on.to_numpy(db), dy.sum(axis=0, keepdims=True))


def test_a_stack_has_no_bias_gradient_by_a_product_on_cupy(backend: Callable[[str], Backend]) -> None:
    on = backend("float32")
    x, dy, db = (on.asarray(whole(*shape)) for shape in ((2, 5, 3), (2, 5, 7), (2, 1, 7)))
    assert product(on, x, dy, (True, False), db, Epilogue.BGRADA) is NotImplemented


def fit(network: cr.Sequential, on: Backend) -> cr.Model:
    settings: dict[str, Any] = {"batch_size": 35, "epochs": 5, "optimizer": cr.SGD(0.5), "backend": on}
    return cr.fit(network, X, Y, loss="softmax_cross_entropy", **settings)


@pytest.mark.parametrize("precision", TOLERANCE)
@pytest.mark.parametrize("sizes", [[6, 8, 8, 8, 2], [6, 2]], ids=str)
def test_theta_is_that_of_the_plain_step_on_cupy(
    precision: str, sizes: list[int], backend: Callable[[str], Backend]
) -> None:
    network, on = cr.mlp(sizes), backend(precision)
    np.testing.assert_array_equal(with_epilogues(network).initial_theta(3), network.initial_theta(3))
    got, want = fit(with_epilogues(network), on), fit(network, on)
    np.testing.assert_allclose(got.theta.get(), want.theta.get(), rtol=0, atol=TOLERANCE[precision])
    assert np.abs(want.theta.get() - network.initial_theta(0)).max() > 0.4
    np.testing.assert_allclose(got.predict_proba(X), want.predict_proba(X), atol=10 * TOLERANCE[precision])


@pytest.mark.parametrize(("precision", "plain", "fewer"), [("float32", 30, 23), ("bf16", 42, 35)])
def test_a_graph_has_a_node_less_for_each_relu_and_each_bias_on_cupy(
    precision: str, plain: int, fewer: int, backend: Callable[[str], Backend], monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes, capture = [], Graph._capture

    def counted(self: Graph) -> None:
        capture(self)
        nodes.append(nodes_of(self))

    monkeypatch.setattr(Graph, "_capture", counted)
    for network in (FOUR, with_epilogues(FOUR)):
        fit(network, backend(precision))
    assert nodes == [plain, plain, fewer, fewer]


@pytest.mark.parametrize("epilogue", Epilogue)
def test_what_cublaslt_has_not_is_said(
    epilogue: Epilogue, backend: Callable[[str], Backend], lacking: Callable[[int], None]
) -> None:
    lacking(int(epilogue))
    with pytest.raises(cr.BackendError, match=f"cuBLASLt has no product of .* with the epilogue {epilogue.name}"):
        fit(with_epilogues(cr.mlp([6, 5 + int(epilogue), 2])), backend("float32"))


def test_the_numbers_are_nvidias() -> None:
    theirs = find_library("nvmath", "nvmath.bindings.cublasLt").Epilogue
    assert {one.name: one.value for one in Epilogue}.items() <= {one.name: int(one) for one in theirs}.items()


def test_each_layer_is_there_and_all_of_it() -> None:
    made = with_epilogues(FOUR)
    assert [type(layer) for layer in made.layers] == 3 * [epilogues.EpilogueDense, epilogues.Slope] + [
        epilogues.EpilogueDense
    ]
    assert [layer.relu for layer in made.layers[::2]] == [True, True, True, False]
