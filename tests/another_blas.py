"""A BLAS in MKL's place, for tests on processors that are not Intel's: MKL itself, or NumPy's own, by address.

Both take 64-bit sizes. bf16 of NumPy's is NumPy on the operands as float32.
"""

from __future__ import annotations

import ctypes
from functools import cache
from importlib import metadata
from typing import Any

import numpy as np
import pytest

from chainrule._backend import _blas, _mkl, _precision

WITH_AMX = ["amx_bf16", "avx512_bf16"]


def put_in_place(which: str, patch: pytest.MonkeyPatch) -> None:
    """Take ``"mkl"``, which is a skip where it is not installed, or ``"numpys"``; on a processor with AMX."""
    found = _intels() if which == "mkl" else _numpys()
    if isinstance(found, str):
        pytest.skip(found)
    patch.setattr(_mkl, "_found", lambda: found)
    patch.setattr(_precision, "processor_flags", lambda: WITH_AMX)


@cache
def _intels() -> _mkl.Mkl | str:
    try:
        metadata.version("mkl")
    except metadata.PackageNotFoundError:
        return "mkl is not installed"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_mkl, "is_intels", lambda: True)
        found = _mkl._found.__wrapped__()
    assert isinstance(found, _mkl.Mkl), found
    return found


@cache
def _numpys() -> _mkl.Mkl | str:
    for library in map(ctypes.PyDLL, _blas._linked()):
        for name in ("scipy_cblas_%sgemm64_", "cblas_%sgemm64_"):
            if hasattr(library, name % "s"):
                products = {f"float{32 * size}": getattr(library, name % kind) for size, kind in ((1, "s"), (2, "d"))}
                return _mkl.Mkl("0", products | {"uint16": _BF16})
    return "NumPy's BLAS shows no CBLAS of 64-bit sizes"


def as_float32(words: np.ndarray) -> np.ndarray:
    """The numbers that bf16 words stand for."""
    return (words.astype(np.uint32) << 16).view(np.float32)


def _multiply(
    order: int, x_order: int, y_order: int, rows: int, columns: int, inner: int, one: float, x: int, x_step: int,
    y: int, y_step: int, zero: float, out: int, out_step: int,
) -> None:  # fmt: skip
    assert (order, one, zero) == (101, 1.0, 0.0)
    operands = []
    for at, step, transposed, shape in ((x, x_step, x_order, (rows, inner)), (y, y_step, y_order, (inner, columns))):
        lies = shape[::-1] if transposed == 112 else shape
        operand = as_float32(_at(at, lies, step, np.uint16))
        operands.append(operand.T if transposed == 112 else operand)
    _at(out, (rows, columns), out_step, np.float32)[...] = operands[0] @ operands[1]


def _at(address: int, shape: tuple[int, int], step: int, dtype: Any) -> np.ndarray:
    size = np.dtype(dtype).itemsize
    memory = (ctypes.c_char * (size * ((shape[0] - 1) * step + shape[1]))).from_address(address)
    return np.lib.stride_tricks.as_strided(np.frombuffer(memory, dtype), shape, (size * step, size))


_SIZES, _ADDRESS, _NUMBER = [ctypes.c_int64] * 3, [ctypes.c_void_p, ctypes.c_int64], [ctypes.c_float]
_BF16 = ctypes.CFUNCTYPE(
    None, *[ctypes.c_int] * 3, *_SIZES, *_NUMBER, *_ADDRESS, *_ADDRESS, *_NUMBER, *_ADDRESS
)(_multiply)  # fmt: skip
