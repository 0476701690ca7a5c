"""Products through cuBLASLt: on a stand-in that computes on the host, and what the real one takes without a device."""

from __future__ import annotations

import ctypes
import gc
import importlib
import itertools
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from enum import IntEnum
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from conftest import cublaslt_stand_in

from chainrule import layers
from chainrule._backend import reference_backend as backend
from chainrule._base.errors import BackendError
from chainrule._kernels import _cublaslt, _cupy_products, _products
from chainrule._kernels._cublaslt import CublasLt, Epilogue, Owned
from chainrule._kernels._products import PRECISIONS, Matrix, Operands, Product, Products, Workspace, alignment

FORWARD, INPUT_GRADIENT, WEIGHT_GRADIENT = (False, False), (False, True), (True, False)
each_product = pytest.mark.parametrize(
    "transposed", [FORWARD, INPUT_GRADIENT, WEIGHT_GRADIENT], ids=["x W", "dy W^T", "x^T dy"]
)
each_precision = pytest.mark.parametrize("precision", PRECISIONS)


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
    memory = np.zeros(size + 16, np.uint8)
    return Products(library, Workspace(-(-memory.ctypes.data // 16) * 16, size, memory))


@pytest.fixture
def products(library: CublasLt) -> Products:
    return made(library)


# ------------------------------------------------------------------------------------------------------ in host memory


def placed(values: Any, dtype: Any, gap: int = 0, start: int = 0) -> np.ndarray:
    """``values`` in memory of their own, ``start`` elements from a 256-byte boundary, all around them NaN."""
    values = np.asarray(values)
    *lead, columns = values.shape
    count = int(np.prod(lead)) * (columns + gap)
    nothing = np.nan if np.dtype(dtype).kind == "f" else np.iinfo(dtype).max  # in uint16 bf16's NaN
    memory = np.full(count + start + 256, nothing, dtype)
    start += -memory.ctypes.data % 256 // memory.itemsize
    view = memory[start : start + count].reshape(*lead, columns + gap)[..., :columns]
    view[...] = values
    return view


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


def whole(*shape: int) -> np.ndarray:
    """Whole numbers, whose products and sums are exact in every precision."""
    return np.random.default_rng(shape).integers(-3, 4, shape).astype(np.float64)


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
    products.run(plan, operands, stream)


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


# --------------------------------------------------------------------------------------------------------------- plans


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
        products.run(plan, operands._replace(x=address(elsewhere[0]), y=address(elsewhere[1])))
        np.testing.assert_array_equal(arrays[2], arrays[0] @ arrays[1] + (bias if operands.bias else 0.0))
    assert tells.stand_in_heuristics() - before == len(many)


def test_only_what_is_aligned_is_given_to_an_algorithm_that_asks_for_it(tells: ctypes.CDLL, products: Products) -> None:
    product, operands, arrays = aligned_product()
    plan = products.plan(product)
    assert plan is not None
    products.run(plan, operands)
    assert tells.stand_in_last_algo() == 0
    with pytest.raises(BackendError, match=r"the address of x should be a multiple of 256 in this plan"):
        products.run(plan, operands._replace(x=operands.x + 4))
    odd, operands, arrays = aligned_product(start=1)
    assert odd.x.alignment == 4
    plan = products.plan(odd)
    assert plan is not None
    products.run(plan, operands)
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
    poor.run(plan, operands)
    assert tells.stand_in_last_algo() == 2


def test_a_product_runs_on_the_stream_it_is_given(tells: ctypes.CDLL, products: Products) -> None:
    product, operands, _arrays = aligned_product()
    plan = products.plan(product)
    assert plan is not None
    products.run(plan, operands, 0x7FFF_1234_5678)
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
        products.run(plan, operands)
    assert tells.stand_in_live() - before == 1 + 2 * 4  # the handle; each plan's description and three layouts
    del products, plan
    gc.collect()
    assert tells.stand_in_live() == before


# -------------------------------------------------------------------------------------------------------------- errors


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
            products.run(plan, operands._replace(bias=given))


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


# ----------------------------------------------------------------------------------------------------- CuPy's providers


class Stream:
    ptr = 0x5555_0000_1000


class OnDevice:
    """What the providers read of a CuPy array."""

    def __init__(self, host: np.ndarray, device: int = 0) -> None:
        self.host, self.device, self.data = host, SimpleNamespace(id=device), SimpleNamespace(ptr=host.ctypes.data)

    def __getattr__(self, name: str) -> Any:
        assert name in ("shape", "strides", "dtype", "itemsize", "ndim", "size"), name
        return getattr(self.host, name)


@pytest.fixture
def cupy(library: CublasLt, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    def alloc(size: int) -> Any:
        memory = np.zeros(size, np.uint8)
        return SimpleNamespace(ptr=memory.ctypes.data, memory=memory)

    streams = [Stream()]
    cuda = SimpleNamespace(Device=lambda: SimpleNamespace(id=0), get_current_stream=lambda: streams[-1], alloc=alloc)
    namespace = SimpleNamespace(
        cuda=cuda,
        streams=streams,
        ndarray=OnDevice,
        empty=lambda shape, dtype: OnDevice(np.full(shape, np.nan, dtype)),
    )
    monkeypatch.setitem(sys.modules, "cupy", namespace)
    monkeypatch.setattr(_cupy_products, "load", lambda: library)
    _cupy_products._by_stream.cache_clear()
    return namespace


CASES: dict[Callable[..., Any], list[tuple[tuple[int, ...], ...]]] = {
    layers.affine: [
        ((5, 3), (3, 7), (1, 7)),
        ((5, 3), (3, 7)),
        ((1, 4), (4, 8), (1, 8)),
        ((5, 1), (1, 1), (1, 1)),
        ((2, 5, 3), (2, 3, 7), (2, 1, 7)),
        ((5, 3), (2, 3, 7), (2, 1, 7)),
        ((5, 3), (1, 3, 7), (1, 1, 7)),
    ],
    layers.weight_gradient: [((5, 3), (5, 7)), ((1, 3), (1, 7)), ((5, 3), (2, 5, 7)), ((2, 5, 3), (2, 5, 7))],
    layers.input_gradient: [((5, 7), (3, 7)), ((5, 7), (1, 7)), ((2, 5, 7), (2, 3, 7)), ((5, 7), (2, 3, 7))],
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("operation", CASES, ids=lambda operation: operation.__name__)
def test_a_provider_gives_what_its_reference_gives(
    tells: ctypes.CDLL, cupy: SimpleNamespace, operation: Callable[..., Any], dtype: str
) -> None:
    numpy = backend("numpy", dtype=dtype)
    for shapes in CASES[operation]:
        arrays = [placed(whole(*shape), dtype, gap=2 * i, start=i) for i, shape in enumerate(shapes)]
        got = _cupy_products.PROVIDERS[operation](numpy, *map(OnDevice, arrays))
        want = operation(numpy, *arrays)
        assert got.host.dtype == want.dtype
        np.testing.assert_array_equal(got.host, want)
        assert tells.stand_in_last_stream() == Stream.ptr


def test_all_three_products_are_provided() -> None:
    assert set(_cupy_products.PROVIDERS) == set(CASES)


def test_networks_of_a_stack_are_read_where_they_lie_in_theta(cupy: SimpleNamespace) -> None:
    theta = placed(whole(3, 4 + 3 * 7 + 7), np.float32)
    W, b = theta[:, 4:25].reshape(3, 3, 7), theta[:, 25:].reshape(3, 1, 7)
    assert np.shares_memory(W, theta)
    assert np.shares_memory(b, theta)
    x = whole(5, 3).astype(np.float32)
    got = _cupy_products.affine(backend("numpy"), *map(OnDevice, (x, W, b)))
    np.testing.assert_array_equal(got.host, x @ W + b)


def test_a_provider_declines_what_it_does_not_cover(tells: ctypes.CDLL, cupy: SimpleNamespace) -> None:
    on, x, W = backend("numpy"), whole(6, 4).astype(np.float32), whole(4, 4).astype(np.float32)
    for given in [
        (np.asfortranarray(x), W),
        (x[:, ::-1], W),
        (np.broadcast_to(x[:1], (6, 4)), W),
        (x.astype(np.float64), W),
        (x.astype(np.int32), W.astype(np.int32)),
        (x[:0], W),
        (x.reshape(1, 1, 6, 4), W),
        (np.stack([x, x]), np.stack([W, W, W])),
        (x, W, np.ones((1, 1), np.float32)),
    ]:
        assert _cupy_products.affine(on, *map(OnDevice, given)) is NotImplemented
    assert _cupy_products.affine(on, OnDevice(x, device=1), OnDevice(W)) is NotImplemented
    assert _cupy_products.affine(on, OnDevice(x), OnDevice(W)) is not NotImplemented
    cupy.streams.append(SimpleNamespace(ptr=2))
    assert _cupy_products.affine(on, OnDevice(x), OnDevice(W)) is NotImplemented
    cupy.streams.pop()
    tells.stand_in_lacks(int(Epilogue.DEFAULT))
    try:
        assert _cupy_products.affine(on, OnDevice(x[:3]), OnDevice(W)) is NotImplemented
    finally:
        tells.stand_in_lacks(0)


def test_every_stream_has_a_workspace_of_its_own_as_long_as_it_lives(tells: ctypes.CDLL, cupy: SimpleNamespace) -> None:
    first = _cupy_products._products(cupy.streams[0])
    assert _cupy_products._products(cupy.streams[0]) is first
    gc.collect()
    before = tells.stand_in_live()
    second = Stream()
    assert _cupy_products._products(second) is not first
    assert tells.stand_in_live() == before + 1
    del second
    gc.collect()
    assert tells.stand_in_live() == before


# -------------------------------------------------------------------------------------------------- the real cuBLASLt


def real_path() -> Path:
    try:
        pathfinder = importlib.import_module("cuda.pathfinder")
        return Path(pathfinder.load_nvidia_dynamic_lib("cublasLt").abs_path)
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"cuBLASLt is not installed: {error}")


@each_precision
@pytest.mark.parametrize("bias", [0, 16])
def test_the_real_library_takes_the_descriptors(bias: int, precision: str) -> None:
    """It makes them without a driver."""
    real = CublasLt(str(real_path()))
    sides_of = Matrix(5, 4, 6, 16, 30), Matrix(4, 7, 8, 4, 32), Matrix(5, 7, 7, 8, 35)
    product = Product(*sides_of, WEIGHT_GRADIENT, precision, bias, bias_step=7, stack=3)
    _products._desc(real, product)
    for side in sides_of:
        _products._layout(real, side, PRECISIONS[precision].operands, product.stack)
    preference = Owned(real, "MatmulPreference")
    preference.set(_cublaslt.Preference.MAX_WORKSPACE_BYTES, ctypes.c_uint64(2**25))
    for attribute in list(_cublaslt.Preference)[1:]:
        preference.set(attribute, ctypes.c_uint32(16))
    with pytest.raises(BackendError, match=r"cublasLtMatmulPreferenceSetAttribute .* CUBLAS_STATUS_INVALID_VALUE"):
        preference.set(_cublaslt.Preference.MAX_WORKSPACE_BYTES, ctypes.c_uint32(2**25))


def test_the_numbers_are_the_headers(tmp_path: Path) -> None:
    """A compiler that reads cublasLt.h agrees with every constant and with the layout of every structure."""
    include = real_path().parents[1] / "include"
    compiler = shutil.which("g++")
    if compiler is None or not (include / "cublasLt.h").is_file() or not (include / "cuda_bf16.h").is_file():
        pytest.skip("g++, or the headers beside cuBLASLt, are not installed")
    prefixes: dict[type[IntEnum], str] = {
        _cublaslt.Status: "CUBLAS_STATUS_",
        _cublaslt.DataType: "CUDA_",
        _cublaslt.ComputeType: "CUBLAS_",
        _cublaslt.Epilogue: "CUBLASLT_EPILOGUE_",
        _cublaslt.Desc: "CUBLASLT_MATMUL_DESC_",
        _cublaslt.MatrixLayout: "CUBLASLT_MATRIX_LAYOUT_",
        _cublaslt.Preference: "CUBLASLT_MATMUL_PREF_",
    }
    claims = [f"{prefix}{one.name} == {one.value}" for kind, prefix in prefixes.items() for one in kind]
    for made_here, there in (
        (_cublaslt.Algorithm, "cublasLtMatmulAlgo_t"),
        (_cublaslt.HeuristicResult, "cublasLtMatmulHeuristicResult_t"),
    ):
        claims.append(f"sizeof({there}) == {ctypes.sizeof(made_here)}")
        for name, *_type in made_here._fields_:
            claims.append(f"offsetof({there}, {name}) == {getattr(made_here, name).offset}")
    claims += ["sizeof(cublasLtHandle_t) == 8", "sizeof(cublasStatus_t) == 4"]
    source = tmp_path / "claims.cpp"
    source.write_text("#include <cublasLt.h>\n" + "".join(f'static_assert({c}, "{c}");\n' for c in claims))
    done = subprocess.run(
        [compiler, "-fsyntax-only", f"-I{include}", str(source)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
