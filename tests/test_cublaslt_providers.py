"""CuPy's providers through cuBLASLt, on a stand-in; and what the real one takes without a device."""

from __future__ import annotations

import ctypes
import gc
import importlib
import shutil
import subprocess
import sys
import weakref
from collections.abc import Callable
from enum import IntEnum
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from conftest import cublaslt_stand_in
from cublaslt_memory import WEIGHT_GRADIENT, each_precision, placed, whole

from chainrule import layers
from chainrule._backend import reference_backend as backend
from chainrule._base.errors import BackendError
from chainrule._kernels import _cublaslt, _cupy_products, _products
from chainrule._kernels._cublaslt import CublasLt, Epilogue, Owned
from chainrule._kernels._products import (
    PRECISIONS,
    Matrix,
    Product,
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
        memory = np.zeros(size + 16, np.uint8)
        return SimpleNamespace(ptr=-(-memory.ctypes.data // 16) * 16, memory=memory)

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
    _cupy_products._products.cache_clear()
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


def test_a_call_takes_the_scratch_memory_that_its_algorithm_needs_and_keeps_none(
    cupy: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    alloc, taken = cupy.cuda.alloc, []

    def noted(size: int) -> Any:
        memory = alloc(size)
        taken.append((size, weakref.ref(memory.memory)))
        return memory

    monkeypatch.setattr(cupy.cuda, "alloc", noted)
    x, W = placed(whole(5, 3), np.float32), placed(whole(3, 7), np.float32)  # 12 and 28 bytes a row: not on 16
    _cupy_products.affine(backend("numpy"), OnDevice(x), OnDevice(W))
    assert [size for size, _ in taken] == [1024]
    gc.collect()
    assert taken[0][1]() is None


# ---------------------------------------------------------------------------------------------------- the real cuBLASLt


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
