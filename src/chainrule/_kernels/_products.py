"""Matrix products by cuBLASLt, each planned once. CuPy's own are refused while a CUDA graph is captured.

cuBLASLt's matrices lie column by column, ours row by row, and a row-major matrix read by columns is its transpose. So

    out = op(x) op(y)    is asked for as    out^T = op(y)^T op(x)^T,

where op(x) is x or x^T: the operands change places, each keeps its op, and nothing is copied. The three products of a
fully connected layer are ``x W`` (no op), ``dy W^T`` (op on y) and ``x^T dy`` (op on x). An address is a plain integer.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from ctypes import byref, c_double, c_float, c_int, c_int32, c_int64, c_uint32, c_uint64, c_void_p
from types import MappingProxyType
from typing import NamedTuple

from .._base.errors import BackendError
from ._cublaslt import (
    Algorithm,
    ComputeType,
    CublasLt,
    DataType,
    Desc,
    Epilogue,
    HeuristicResult,
    MatrixLayout,
    Owned,
    Preference,
    Status,
)

WORKSPACE = 32 * 2**20  # bytes; what NVIDIA recommends on Hopper
MOST_ALIGNED = 256  # bytes; the library asks for no more
CANDIDATES = 8


class Precision(NamedTuple):
    """What the operands are, what ``out`` and bias are, and what sums are taken in."""

    operands: DataType
    out: DataType
    compute: ComputeType
    scale: DataType
    number: type[c_float] | type[c_double]


PRECISIONS: Mapping[str, Precision] = MappingProxyType(
    {
        "float32": Precision(DataType.R_32F, DataType.R_32F, ComputeType.COMPUTE_32F, DataType.R_32F, c_float),
        "tf32": Precision(DataType.R_32F, DataType.R_32F, ComputeType.COMPUTE_32F_FAST_TF32, DataType.R_32F, c_float),
        "bf16": Precision(DataType.R_16BF, DataType.R_32F, ComputeType.COMPUTE_32F, DataType.R_32F, c_float),
        "float64": Precision(DataType.R_64F, DataType.R_64F, ComputeType.COMPUTE_64F, DataType.R_64F, c_double),
    }
)


class Matrix(NamedTuple):
    """A matrix row by row: ``ld`` elements from one row to the next, ``step`` to the next matrix of a stack."""

    rows: int
    columns: int
    ld: int
    alignment: int
    step: int = 0


class Operands(NamedTuple):
    """The addresses of a product's matrices, and of its bias."""

    x: int
    y: int
    out: int
    bias: int = 0


class Product(NamedTuple):
    """out = op(x) op(y) + bias, for each matrix of a stack; op is the transpose where ``transposed`` says so.

    ``bias`` is the alignment of a number for each column of ``out``, 0 without; ``bias_step`` numbers lie from one
    network of a stack to the next. Where there is one, ``epilogue`` is what is done with it.
    """

    x: Matrix
    y: Matrix
    out: Matrix
    transposed: tuple[bool, bool] = (False, False)
    precision: str = "float32"
    bias: int = 0
    bias_step: int = 0
    stack: int = 1
    epilogue: int = Epilogue.BIAS

    @property
    def alignments(self) -> Operands:
        """Of what each address has to be a multiple; 0 where none is given."""
        return Operands(self.x.alignment, self.y.alignment, self.out.alignment, self.bias)


class ProductPlan(NamedTuple):
    """A product's descriptors, and the library's favourite of the algorithms that can take it.

    ``workspace`` is how many bytes of scratch memory, on 16 bytes, each call needs until its turn is over.
    """

    product: Product
    desc: Owned
    x: Owned
    y: Owned
    out: Owned
    algorithm: Algorithm
    workspace: int


def alignment(address: int) -> int:
    """The largest power of 2 that divides an address, as far as the library asks."""
    return min(address & -address, MOST_ALIGNED)


class Products:
    """The matrix products of one device, each planned once. Threads and streams may share it.

    ``workspace`` is how many bytes of scratch memory an algorithm may ask for.
    """

    def __init__(self, library: CublasLt, workspace: int = WORKSPACE) -> None:
        self._library, self._most = library, workspace
        self._handle = Owned(library, "")
        self._plans: dict[Product, ProductPlan | None] = {}
        self._lock = threading.Lock()

    def plan(self, product: Product) -> ProductPlan | None:
        """The plan of products of this shape and alignment; None where the device has no algorithm for it."""
        with self._lock:
            if product not in self._plans:
                self._plans[product] = self._made(product)
            return self._plans[product]

    def run(self, plan: ProductPlan, operands: Operands, stream: int = 0, workspace: int = 0) -> None:
        """Compute ``out`` on ``stream``, with scratch memory at ``workspace``."""
        number = PRECISIONS[plan.product.precision].number
        _check_addresses(plan.product.alignments, operands)
        x, y, out, bias = operands
        with self._lock:  # the plan's descriptor holds the address of one call's bias
            if bias:
                plan.desc.set(Desc.BIAS_POINTER, c_void_p(bias))
            self._library.call(
                "cublasLtMatmul", self._handle, plan.desc, byref(number(1.0)), y, plan.y, x, plan.x, byref(number(0.0)),
                out, plan.out, out, plan.out, byref(plan.algorithm), workspace, plan.workspace, stream,
            )  # fmt: skip

    def _made(self, product: Product) -> ProductPlan | None:
        _check_shapes(product)
        types = PRECISIONS[product.precision]
        x, y, out = (
            _layout(self._library, matrix, kind, product.stack)
            for matrix, kind in ((product.x, types.operands), (product.y, types.operands), (product.out, types.out))
        )
        desc = _desc(self._library, product)
        found = self._search(product, desc, x, y, out)
        return None if found is None else ProductPlan(product, desc, x, y, out, found.algo, found.workspaceSize)

    def _search(self, product: Product, desc: Owned, x: Owned, y: Owned, out: Owned) -> HeuristicResult | None:
        preference = Owned(self._library, "MatmulPreference")
        preference.set(Preference.MAX_WORKSPACE_BYTES, c_uint64(self._most))
        preference.set(Preference.MIN_ALIGNMENT_A_BYTES, c_uint32(product.y.alignment))
        preference.set(Preference.MIN_ALIGNMENT_B_BYTES, c_uint32(product.x.alignment))
        preference.set(Preference.MIN_ALIGNMENT_C_BYTES, c_uint32(product.out.alignment))
        preference.set(Preference.MIN_ALIGNMENT_D_BYTES, c_uint32(product.out.alignment))
        results, count, name = (HeuristicResult * CANDIDATES)(), c_int(), "cublasLtMatmulAlgoGetHeuristic"
        operation = self._handle, desc, y, x, out, out, preference
        code = self._library.status(name, *operation, CANDIDATES, results, byref(count))
        if code == Status.NOT_SUPPORTED:
            return None
        self._library.check(name, code)
        return next((result for result in results[: count.value] if result.state == Status.SUCCESS), None)


def _layout(library: CublasLt, matrix: Matrix, kind: DataType, stack: int) -> Owned:
    """``matrix`` read by columns: its rows are the library's columns."""
    layout = Owned(library, "MatrixLayout", kind, matrix.columns, matrix.rows, matrix.ld)
    layout.set(MatrixLayout.BATCH_COUNT, c_int32(stack))
    layout.set(MatrixLayout.STRIDED_BATCH_OFFSET, c_int64(matrix.step))
    return layout


def _desc(library: CublasLt, product: Product) -> Owned:
    types = PRECISIONS[product.precision]
    desc = Owned(library, "MatmulDesc", types.compute, types.scale)
    desc.set(Desc.TRANSA, c_int32(product.transposed[1]))
    desc.set(Desc.TRANSB, c_int32(product.transposed[0]))
    desc.set(Desc.EPILOGUE, c_uint32(product.epilogue if product.bias else Epilogue.DEFAULT))
    if product.bias:
        # The search for algorithms reads the alignment of this address and never the memory there.
        desc.set(Desc.BIAS_POINTER, c_void_p(product.bias))
        desc.set(Desc.BIAS_BATCH_STRIDE, c_int64(product.bias_step))
    return desc


def _check_shapes(product: Product) -> None:
    """On the device a wrong shape would be read or written beyond its memory."""
    (rows, inner), (inner_y, columns) = (
        (m.columns, m.rows) if flipped else (m.rows, m.columns)
        for m, flipped in zip((product.x, product.y), product.transposed, strict=True)
    )
    fits = (rows, inner, columns) == (product.out.rows, inner_y, product.out.columns)
    if not fits or any(m.ld < m.columns for m in (product.x, product.y, product.out)):
        raise BackendError(f"a product's shapes should fit, and no row reach into the next, got {product}.")


def _check_addresses(alignments: Operands, operands: Operands) -> None:
    """A misaligned address would end the process's use of the device."""
    for name, least, address in zip(Operands._fields, alignments, operands, strict=True):
        if (not address or address % least) if least else address:
            raise BackendError(
                f"the address of {name} should be {f'a multiple of {least}' if least else '0'} in this plan, "
                f"got {address:#x}: make a plan for it."
            )
