"""The products of a fully connected layer on CuPy, by cuBLASLt: they can be captured in a CUDA graph.

float64 is computed in float64, and float32 in the backend's precision: float32 itself; tf32, to which cuBLASLt rounds;
or bf16, to which the operands are rounded here: in a pass forward and back x, W and dy of a layer once, though each is
in two products; elsewhere anew for each product. Sums, biases and results are float32 in all three. Scratch memory
comes from the current allocator, anew for each call, so a captured graph has to keep the pool it was captured with.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import Any

from .. import layers
from .._backend import Backend, Provider, dtype_name
from .._base.errors import BackendError
from . import _cupy
from ._cublaslt import Epilogue, load
from ._products import Matrix, Operands, Product, Products, alignment
from ._rounded import rounded_once

_PER_THREAD = 2  # cudaStreamPerThread: many streams by one name, which would share scratch memory


def affine(backend: Backend, x: Any, W: Any, b: Any = None) -> Any:
    """The product by cuBLASLt, which adds the bias before it writes."""
    return _product(backend, x, W, (False, False), b)


def weight_gradient(backend: Backend, x: Any, dy: Any) -> Any:
    """The product by cuBLASLt."""
    return _product(backend, x, dy, (True, False))


def input_gradient(backend: Backend, dy: Any, W: Any) -> Any:
    """The product by cuBLASLt."""
    return _product(backend, dy, W, (False, True))


def _product(
    backend: Backend, x: Any, y: Any, transposed: tuple[bool, bool], b: Any = None, epilogue: int = Epilogue.BIAS
) -> Any:
    """op(x) op(y) + b. NotImplemented leaves it to the reference, which knows no precision but the dtype's."""
    out = _computed(backend, x, y, transposed, b, epilogue)
    if out is NotImplemented and backend.precision != "float32" and x.size and y.size:
        given = " and ".join(f"{a.dtype.name} {a.shape}" for a in (x, y))
        raise BackendError(
            f"a product of {given} should be taken in {backend.precision}, and cuBLASLt has none on this device and "
            "stream: use precision='float32'."
        )
    return out


def _computed(backend: Backend, x: Any, y: Any, transposed: tuple[bool, bool], b: Any, epilogue: int) -> Any:
    """It in new memory, of matrices or stacks of them; NotImplemented where it cannot be, or is a copy in the dtype."""
    import cupy

    precision = dtype_name(backend.dtype) if backend.precision == "float32" else backend.precision
    given = x, y
    if backend.precision != "float32":
        x, y = cupy.ascontiguousarray(x), cupy.ascontiguousarray(y)
    rows, columns = x.shape[-1 if transposed[0] else -2], y.shape[-2 if transposed[1] else -1]
    arrays = (x, y) if b is None else (x, y, b)
    lead = max((a.shape[:-2] for a in arrays), key=len)
    stream = cupy.cuda.get_current_stream()
    if stream.ptr == _PER_THREAD or not _covered(backend, arrays, lead, cupy.cuda.Device().id):
        return NotImplemented
    if b is not None and b.shape[-2:] != (1, columns):
        return NotImplemented
    out = cupy.empty((*lead, rows, columns), dtype=x.dtype)
    if precision == "bf16":
        x, y = (_rounded(backend, *pair) for pair in zip(given, (x, y), strict=True))
    bias = Matrix(0, 0, 0, alignment=0) if b is None else _matrix(b)
    stack = lead[0] if lead else 1
    sides = _matrix(x), _matrix(y), _matrix(out)
    product = Product(*sides, transposed, precision, bias.alignment, bias.step, stack, epilogue)
    products = _products(cupy.cuda.Device().id)
    plan = products.plan(product)
    if plan is None:
        return NotImplemented
    # It goes back to the pool at once: the pool gives it to nobody but this stream, whose next turn is later.
    scratch = cupy.cuda.alloc(plan.workspace)
    products.run(plan, Operands(*(a.data.ptr for a in (x, y, out, *arrays[2:]))), stream.ptr, scratch.ptr)
    return out


def _rounded(backend: Backend, given: Any, x: Any) -> Any:
    """x, which is ``given`` without gaps, in bf16."""
    return rounded_once(backend, given, lambda: _cupy.bf16(backend, x))


def _covered(backend: Backend, arrays: tuple[Any, ...], lead: tuple[int, ...], device: int) -> bool:
    """Whether all lie on the device row by row, of its dtype, not empty, and in the stack or shared by all of it."""
    return len(lead) <= 1 and all(
        a.dtype == backend.dtype
        and a.device.id == device
        and a.size > 0
        and a.shape[:-2] in ((), lead)
        and (a.shape[-1] == 1 or a.strides[-1] == a.itemsize)
        and (a.shape[-2] == 1 or a.strides[-2] >= a.shape[-1] * a.itemsize)
        for a in arrays
    )


def _matrix(a: Any) -> Matrix:
    rows, columns = a.shape[-2:]
    ld = a.strides[-2] // a.itemsize if rows > 1 else columns
    return Matrix(rows, columns, ld, alignment(a.data.ptr), a.strides[0] // a.itemsize if a.ndim > 2 else 0)


@cache
def _products(device: int) -> Products:
    """Those of the current device; made before a step is captured, when it warms up."""
    return Products(load())


PROVIDERS: Mapping[Provider, Provider] = MappingProxyType(
    {layers.affine: affine, layers.weight_gradient: weight_gradient, layers.input_gradient: input_gradient}
)
