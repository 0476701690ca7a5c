"""Intel's MKL (``chainrule[intel]``) beside NumPy's own BLAS: its products, by their addresses, on one thread each.

Of MKL's layers it is the one without threads, and so without an OpenMP that could meet another. It is loaded apart:
libmkl_rt, the library that MKL is made to be linked with, would show its functions to the whole process, and torch,
which has an older MKL in it, takes thousands of them for its own if it is imported later, and has one thread then.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from functools import cache
from importlib import metadata
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from ._apart import load_apart
from ._processor import is_intels

_PARTS = ("libmkl_intel_ilp64", "libmkl_sequential", "libmkl_core")
_OF = MappingProxyType(
    {"float32": "cblas_sgemm_64", "float64": "cblas_dgemm_64", "uint16": "cblas_gemm_bf16bf16f32_64"}
)
_ROW_MAJOR, AS_IT_IS, _TRANSPOSED = 101, 111, 112
_NOT_INSTALLED = "mkl is not installed (pip install 'chainrule[intel]')"


class Mkl(NamedTuple):
    """MKL as it is loaded: of operands of each dtype its product; bf16 lies in uint16, and its sums are float32."""

    version: str
    products: Mapping[str, Any]

    def address(self, operands: np.dtype) -> int:
        """Of the product of two matrices of this dtype; 0 where it has none."""
        product = self.products.get(operands.name)
        return 0 if product is None else ctypes.cast(product, ctypes.c_void_p).value or 0

    def multiply(self, x: np.ndarray, y: np.ndarray, out: np.ndarray) -> None:
        """Out = x y, for matrices that ``layout`` knows."""
        (rows, inner), columns, real = x.shape, y.shape[1], ctypes.c_float if out.itemsize == 4 else ctypes.c_double
        (x_order, x_step), (y_order, y_step), (_, step) = map(layout, (x, y, out))
        sizes = map(ctypes.c_int64, (rows, columns, inner))
        sides = [ctypes.c_void_p(a.ctypes.data) for a in (x, y, out)]
        steps = [ctypes.c_int64(number) for number in (x_step, y_step, step)]
        self.products[x.dtype.name](
            _ROW_MAJOR, x_order, y_order, *sizes, real(1.0), sides[0], steps[0], sides[1], steps[1], real(0.0),
            sides[2], steps[2],
        )  # fmt: skip


def layout(matrix: np.ndarray) -> tuple[int, int]:
    """CBLAS's word for how a matrix lies, and the numbers from one row, or column, to the next; 0 for neither."""
    (rows, columns), (down, across), size = matrix.shape, matrix.strides, matrix.itemsize
    if across == size and (down >= columns * size or rows == 1) and down % size == 0:
        return AS_IT_IS, max(down // size, columns, 1)
    if down == size and (across >= rows * size or columns == 1) and across % size == 0:
        return _TRANSPOSED, max(across // size, rows, 1)
    return 0, 0


def why_not_mkl() -> str:
    """Why its products are not taken; nothing where they are."""
    return "" if is_taken() else str(_found())


def mkl_would_help() -> bool:
    """Whether only its installation is missing."""
    return _found() == _NOT_INSTALLED


def is_taken() -> bool:
    return isinstance(_found(), Mkl)


def mkl() -> Mkl:
    """MKL, where ``is_taken`` says so."""
    found = _found()
    assert isinstance(found, Mkl), found
    return found


@cache
def _found() -> Mkl | str:
    """MKL, or what is against it."""
    if not is_intels():
        return "the processor is not Intel's, or this is not Linux"
    try:
        installed = metadata.distribution("mkl")
    except metadata.PackageNotFoundError:
        return _NOT_INSTALLED
    files = {file.name.partition(".so")[0]: Path(str(file.locate())).resolve() for file in installed.files or ()}
    if not set(_PARTS) <= files.keys():
        return f"mkl {installed.version} has no {', '.join(_PARTS)}"
    if hasattr(ctypes.CDLL(None), "mkl_blas_sgemm"):
        return "another part of this process shows an MKL of its own to all of it"
    try:
        library = load_apart([str(files[part]) for part in _PARTS])
        return Mkl(installed.version, {dtype: _product(library, name) for dtype, name in _OF.items()})
    except (OSError, AttributeError) as error:
        return f"mkl {installed.version} cannot be loaded ({error})"


def _product(library: ctypes.CDLL, name: str) -> Any:
    product = getattr(library, name)
    product.restype = None
    return product
