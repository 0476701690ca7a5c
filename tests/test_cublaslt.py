"""Products through cuBLASLt: on a stand-in that computes on the host, and what the real one takes without a device."""

from __future__ import annotations

import ctypes
import gc
import itertools
import sys
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from conftest import cublaslt_stand_in
from cublaslt_memory import FORWARD, INPUT_GRADIENT, WEIGHT_GRADIENT, each_precision, placed, whole

from chainrule._base.errors import BackendError
from chainrule._kernels import _cublaslt
from chainrule._kernels._cublaslt import CublasLt, Epilogue
from chainrule._kernels._products import PRECISIONS, Matrix, Operands, Product, Products, alignment

each_product = pytest.mark.parametrize(
    "transposed", [FORWARD, INPUT_GRADIENT, WEIGHT_GRADIENT], ids=["x W", "dy W^T", "x^T dy"]
)


@pytest.fixture(scope="session")
def stand_in() -> str:
    return cublaslt_stand_in()


@pytest.fixture(scope="session")
def library(stand_in: str) -> CublasLt:
    return CublasLt(stand_in)


@pytest.fixture(scope="session")
def tells(stand_in: str) -> ctypes.CDLL:
    """What the stand-in tells about itself."""
    loaded = ctypes.CDLL(stand_in)
    for name in ("live", "heuristics", "last_algo"):
        getattr(loaded, f"stand_in_{name}").restype = ctypes.c_int64
    loaded.stand_in_last_stream.restype = ctypes.c_void_p
    return loaded


def made(library: CublasLt, size: int = 4096) -> Products:
    return Products(library, size)


SCRATCH = np.zeros(4096 + 16, np.uint8)
WORKSPACE = -(-SCRATCH.ctypes.data // 16) * 16  # an address on 16 bytes


@pytest.fixture
def products(library: CublasLt) -> Products:
    return made(library)


# ------------------------------------------------------------------------------------------------------- in host memory


def bf16(values: np.ndarray) -> np.ndarray:
    """The upper halves of float32 numbers."""
    return (np.asarray(values, np.float32).view(np.uint32) >> 16).astype(np.uint16)


def stored(values: np.ndarray, precision: str, gap: int = 0, start: int = 0) -> np.ndarray:
    """An operand as the precision has it."""
    if precision == "bf16":
        return placed(bf16(values), np.uint16, gap, start)
    return placed(values, out_dtype(precision), gap, start)


def out_dtype(precision: str) -> type:
    return np.float64 if precision == "float64" else np.float32


def address(a: np.ndarray | None) -> int:
    return 0 if a is None else a.ctypes.data


def matrix(a: np.ndarray) -> Matrix:
    step = a.strides[0] // a.itemsize if a.ndim > 2 else 0
    return Matrix(a.shape[-2], a.shape[-1], a.strides[-2] // a.itemsize, alignment(address(a)), step)


def described(
    x: np.ndarray, y: np.ndarray, out: np.ndarray, bias: np.ndarray | None = None, **more: Any
) -> tuple[Product, Operands]:
    product = Product(
        *(matrix(a) for a in (x, y, out)),
        bias=alignment(address(bias)),
        bias_step=0 if bias is None or bias.ndim < 3 else bias.strides[0] // bias.itemsize,
        stack=len(out) if out.ndim > 2 else 1,
        **more,
    )
    return product, Operands(*(address(a) for a in (x, y, out, bias)))


def multiply(products: Products, *arrays: Any, stream: int = 0, **more: Any) -> None:
    product, operands = described(*arrays, **more)
    plan = products.plan(product)
    assert plan is not None
    products.run(plan, operands, stream, WORKSPACE)


def sides(transposed: tuple[bool, bool], rows: int, inner: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
    x, y = whole(rows, inner), whole(inner, columns)
    return (x.T if transposed[0] else x), (y.T if transposed[1] else y)


def product_of(x: np.ndarray, y: np.ndarray, transposed: tuple[bool, bool]) -> np.ndarray:
    return (x.mT if transposed[0] else x) @ (y.mT if transposed[1] else y)


# --------------------------------------------------------------------------------------------------- the three products


@pytest.mark.parametrize("gap", [0, 3])
@pytest.mark.parametrize("shape", [(4, 8, 12), (5, 3, 7), (1, 6, 1), (7, 1, 2), (1, 1, 1), (2, 129, 130)])
@each_precision
@each_product
def test_a_row_major_product_is_numpys(
    products: Products, transposed: tuple[bool, bool], precision: str, shape: tuple[int, int, int], gap: int
) -> None:
    x, y = sides(transposed, *shape)
    out = placed(np.full((shape[0], shape[2]), np.nan), out_dtype(precision), gap)
    multiply(
        products, stored(x, precision, gap), stored(y, precision, gap), out, transposed=transposed, precision=precision
    )
    np.testing.assert_array_equal(out, product_of(x, y, transposed))
    assert out.base is not None
    assert np.count_nonzero(~np.isnan(out.base)) == out.size  # nothing was written between the rows


@each_product
def test_a_stack_is_a_product_for_each_network(products: Products, transposed: tuple[bool, bool]) -> None:
    for stacks in itertools.product([(3,), ()], repeat=2):
        if not any(stacks):
            continue
        (rows, inner), (inner_y, columns) = (5, 4), (4, 6)
        x = whole(*stacks[0], *((inner, rows) if transposed[0] else (rows, inner)))
        y = whole(*stacks[1], *((columns, inner_y) if transposed[1] else (inner_y, columns)))
        out = placed(np.full((3, rows, columns), np.nan), np.float32)
        multiply(products, stored(x, "float32", 2), stored(y, "float32"), out, transposed=transposed)
        np.testing.assert_array_equal(out, product_of(x, y, transposed))


def test_the_sums_are_as_exact_as_the_precision_says(products: Products) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(9, 40)), rng.normal(size=(40, 11))
    error = {}
    for precision in PRECISIONS:
        out = np.empty((9, 11), out_dtype(precision))
        multiply(products, stored(x, precision), stored(y, precision), out, precision=precision)
        error[precision] = np.max(np.abs(out - x @ y))
    assert error["float64"] < 1e-13 < error["float32"] < 1e-5 < error["tf32"] < 1e-2 < error["bf16"] < 1.0


# ------------------------------------------------------------------------------------------------------------ epilogues


@pytest.mark.parametrize("stack", [1, 3])
@pytest.mark.parametrize("shape", [(4, 8, 12), (5, 3, 7), (3, 2, 129)])
@pytest.mark.parametrize("precision", ["float32", "float64", "bf16"])
def test_the_forward_product_adds_a_bias(
    products: Products, precision: str, shape: tuple[int, int, int], stack: int
) -> None:
    (rows, inner, columns), dtype = shape, out_dtype(precision)
    x, y, b = whole(stack, rows, inner), whole(stack, inner, columns), whole(stack, 1, columns)
    out = np.full((stack, rows, columns), np.nan, dtype)
    multiply(products, stored(x, precision), stored(y, precision), out, placed(b, dtype), precision=precision)
    np.testing.assert_array_equal(out, x @ y + b)


# ---------------------------------------------------------------------------------------------------------------- plans


def aligned_product(rows: int = 4, start: int = 0, **more: Any) -> tuple[Product, Operands, Any]:
    """A product of aligned operands, but for x, and what keeps its memory."""
    arrays = placed(whole(rows, 8), np.float32, start=start), placed(whole(8, 4), np.float32)
    out = placed(np.full((rows, 4), np.nan), np.float32)
    return *described(*arrays, out, **more), (*arrays, out)


def test_a_plan_is_made_once_for_a_shape_and_an_alignment(tells: ctypes.CDLL, products: Products) -> None:
    bias = placed(whole(1, 4), np.float32)
    many = [
        aligned_product(),
        aligned_product(rows=3),
        aligned_product(start=1),
        aligned_product(bias=bias),
        aligned_product(precision="tf32"),
    ]
    before = tells.stand_in_heuristics()
    plans = [products.plan(product) for product, *_ in many]
    assert len({id(plan) for plan in plans}) == tells.stand_in_heuristics() - before == len(many)
    for (product, operands, arrays), plan in zip(many, plans, strict=True):
        elsewhere = tuple(placed(a, np.float32, start=(address(a) % 256) // 4) for a in arrays[:2])
        assert plan is not None
        assert products.plan(Product(*product)) is plan
        products.run(plan, operands._replace(x=address(elsewhere[0]), y=address(elsewhere[1])), 0, WORKSPACE)
        np.testing.assert_array_equal(arrays[2], arrays[0] @ arrays[1] + (bias if operands.bias else 0.0))
    assert tells.stand_in_heuristics() - before == len(many)


def test_only_what_is_aligned_is_given_to_an_algorithm_that_asks_for_it(tells: ctypes.CDLL, products: Products) -> None:
    product, operands, arrays = aligned_product()
    plan = products.plan(product)
    assert plan is not None
    products.run(plan, operands, 0, WORKSPACE)
    assert tells.stand_in_last_algo() == 0
    with pytest.raises(BackendError, match=r"the address of x should be a multiple of 256 in this plan"):
        products.run(plan, operands._replace(x=operands.x + 4), 0, WORKSPACE)
    odd, operands, arrays = aligned_product(start=1)
    assert odd.x.alignment == 4
    plan = products.plan(odd)
    assert plan is not None
    products.run(plan, operands, 0, WORKSPACE)
    assert tells.stand_in_last_algo() == 1
    np.testing.assert_array_equal(arrays[2], arrays[0] @ arrays[1])


def test_the_search_is_told_how_each_matrix_is_aligned(tells: ctypes.CDLL, products: Products) -> None:
    product, *_rest = aligned_product()
    x, y, out = (m._replace(alignment=a) for m, a in zip(product[:3], (4, 8, 16), strict=True))
    products.plan(product._replace(x=x, y=y, out=out))
    assert [tells.stand_in_last_alignment(i) for i in range(4)] == [8, 4, 16, 16]


def test_an_algorithm_gets_no_more_workspace_than_there_is(library: CublasLt, tells: ctypes.CDLL) -> None:
    product, operands, _arrays = aligned_product(start=1)
    poor = made(library, size=512)
    plan = poor.plan(product)
    assert plan is not None
    poor.run(plan, operands, 0, WORKSPACE)
    assert tells.stand_in_last_algo() == 2


def test_a_product_runs_on_the_stream_it_is_given(tells: ctypes.CDLL, products: Products) -> None:
    product, operands, _arrays = aligned_product()
    plan = products.plan(product)
    assert plan is not None
    products.run(plan, operands, 0x7FFF_1234_5678, WORKSPACE)
    assert tells.stand_in_last_stream() == 0x7FFF_1234_5678


def test_threads_share_a_plan(products: Products) -> None:
    x, y = placed(np.zeros((16, 64)), np.float32), placed(np.zeros((64, 64)), np.float32)
    wrong = []

    def add(number: float) -> None:
        bias, out = placed(np.full((1, 64), number), np.float32), placed(np.zeros((16, 64)), np.float32)
        for _ in range(100):
            multiply(products, x, y, out, bias)
            if not np.all(out == number):
                wrong.append(number)

    threads = [threading.Thread(target=add, args=(float(i),)) for i in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_what_was_made_is_destroyed(library: CublasLt, tells: ctypes.CDLL) -> None:
    gc.collect()
    before = tells.stand_in_live()
    products = made(library)
    for start in (0, 1):
        product, operands, _arrays = aligned_product(start=start)
        plan = products.plan(product)
        assert plan is not None
        products.run(plan, operands, 0, WORKSPACE)
    assert tells.stand_in_live() - before == 1 + 2 * 4  # the handle; each plan's description and three layouts
    del products, plan
    gc.collect()
    assert tells.stand_in_live() == before


# --------------------------------------------------------------------------------------------------------------- errors


def test_a_product_that_the_device_lacks_has_no_plan(tells: ctypes.CDLL, products: Products) -> None:
    product, *_rest = aligned_product(bias=placed(whole(1, 4), np.float32))
    tells.stand_in_lacks(int(Epilogue.BIAS))
    try:
        before = tells.stand_in_heuristics()
        assert products.plan(product) is None
        assert products.plan(product) is None
        assert tells.stand_in_heuristics() == before + 1
    finally:
        tells.stand_in_lacks(0)


def test_a_return_code_is_said_by_name(products: Products) -> None:
    product, *_rest = aligned_product()
    with pytest.raises(
        BackendError, match=r"^cublasLtMatmulAlgoGetHeuristic .* returned CUBLAS_STATUS_INVALID_VALUE \(7\)"
    ):
        products.plan(product._replace(stack=2))  # out has no second matrix


@pytest.mark.parametrize(
    "change",
    [
        lambda p: p._replace(transposed=INPUT_GRADIENT),
        lambda p: p._replace(out=p.out._replace(rows=5)),
        lambda p: p._replace(out=p.out._replace(columns=3)),
        lambda p: p._replace(x=p.x._replace(ld=7)),
    ],
)
def test_shapes_that_do_not_fit_are_refused(products: Products, change: Callable[[Product], Product]) -> None:
    product, *_rest = aligned_product()
    with pytest.raises(BackendError, match="shapes should fit"):
        products.plan(change(product))


def test_a_bias_is_given_where_the_plan_has_one_and_nowhere_else(products: Products) -> None:
    product, operands, _arrays = aligned_product()
    for planned, given, says in ((4, 0, "a multiple of 4 in this plan, got 0x0"), (0, 16, "0 in this plan, got 0x10")):
        plan = products.plan(product._replace(bias=planned))
        assert plan is not None
        with pytest.raises(BackendError, match=f"address of bias should be {says}"):
            products.run(plan, operands._replace(bias=given), 0, WORKSPACE)


def test_a_library_that_is_missing_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """RuntimeError is the base of what cuda.pathfinder raises."""

    def absent(name: str) -> Any:
        raise RuntimeError(f"no lib{name}")

    _cublaslt.load.cache_clear()
    for found in ({"cuda.pathfinder": None}, {"cuda.pathfinder": SimpleNamespace(load_nvidia_dynamic_lib=absent)}):
        with monkeypatch.context() as patch:
            for name, module in found.items():
                patch.setitem(sys.modules, name, module)
            with pytest.raises(BackendError, match=r"need cuBLASLt, .*pip install 'chainrule\[cuda13-full\]'"):
                _cublaslt.load()


def test_an_alignment_is_a_power_of_two() -> None:
    assert [alignment(a) for a in (0, 1, 4, 12, 48, 512, 0x7FFF_0000_0100)] == [0, 1, 4, 4, 16, 256, 256]


@pytest.mark.parametrize(
    ("code", "advice"), [(1, "free memory of the GPU"), (3, "free memory of the GPU"), (7, "LOG_LEVEL")]
)
def test_a_full_gpu_is_told_from_a_wrong_call(library: CublasLt, code: int, advice: str) -> None:
    with pytest.raises(BackendError, match=rf"cublasLtCreate should have succeeded but .* \({code}\): .*{advice}"):
        library.check("cublasLtCreate", code)
