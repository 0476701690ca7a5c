"""Matrix products by cuBLASLt, each planned once. CuPy's own are refused while a CUDA graph is captured.

cuBLASLt's matrices lie column by column, ours row by row, and a row-major matrix read by columns is its transpose. So

    out = op(x) op(y)    is asked for as    out^T = op(y)^T op(x)^T,

where op(x) is x or x^T: the operands change places, each keeps its op, and nothing is copied. The three products of a
fully connected layer are ``x W`` (no op), ``dy W^T`` (op on y) and ``x^T dy`` (op on x). An address is a plain integer.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from ctypes import byref, c_double, c_float, c_int, c_int32, c_int64, c_uint32, c_uint64, c_void_p
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple

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
    """What the operands are, what ``out``, bias and its gradient are, and what sums are taken in."""

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
    """The addresses of a product's matrices, and of its epilogue's bias and mask."""

    x: int
    y: int
    out: int
    bias: int = 0
    mask: int = 0


class Product(NamedTuple):
    """out = op(x) op(y), for each matrix of a stack; op is the transpose where ``transposed`` says so.

    ``bias`` and ``mask`` are the alignments of what the epilogue reads or writes, 0 without: a bias has a number for
    each column of ``out``, ``bias_step`` numbers from one network of a stack to the next; a mask has ``mask_bytes``.
    """

    x: Matrix
    y: Matrix
    out: Matrix
    transposed: tuple[bool, bool] = (False, False)
    precision: str = "float32"
    epilogue: Epilogue = Epilogue.DEFAULT
    bias: int = 0
    bias_step: int = 0
    mask: int = 0
    stack: int = 1

    @property
    def alignments(self) -> Operands:
        """Of what each address has to be a multiple; 0 where none is given."""
        return Operands(self.x.alignment, self.y.alignment, self.out.alignment, self.bias, self.mask)


class ProductPlan(NamedTuple):
    """A product's descriptors, and the algorithms that the library proposes for it, its favourite first."""

    product: Product
    desc: Owned
    x: Owned
    y: Owned
    out: Owned
    candidates: list[Algorithm]


class Workspace(NamedTuple):
    """Scratch memory for one stream. ``owner`` keeps it."""

    address: int
    size: int
    owner: Any


def alignment(address: int) -> int:
    """The largest power of 2 that divides an address, as far as the library asks."""
    return min(address & -address, MOST_ALIGNED)


def mask_bytes(rows: int, columns: int, stack: int = 1) -> int:
    """The memory of RELU_AUX_BIAS's mask: a bit for each entry, each row's filled up to 128."""
    return stack * rows * _mask_ld(columns) // 8


class Products:
    """The matrix products of one device and one stream, each planned once.

    Threads may share it. Streams may not: its workspace belongs to one, for as long as a graph captured there lives.
    """

    def __init__(self, library: CublasLt, workspace: Workspace) -> None:
        self._library, self._workspace = library, workspace
        self._handle = Owned(library, "")
        self._plans: dict[Product, ProductPlan | None] = {}
        self._lock = threading.Lock()

    def plan(self, product: Product) -> ProductPlan | None:
        """The plan of products of this shape and alignment; None where the device has no algorithm for it."""
        with self._lock:
            if product not in self._plans:
                self._plans[product] = self._made(product)
            return self._plans[product]

    def run(self, plan: ProductPlan, operands: Operands, stream: int = 0) -> None:
        """Compute ``out`` on ``stream``, by the first of the plan's candidates."""
        self._launch(plan, plan.candidates[0], operands, stream)

    def choose(
        self, plan: ProductPlan, time: Callable[[Callable[[], None]], float], operands: Operands, stream: int = 0
    ) -> None:
        """Put the candidate first that takes the least ``time(launch)``. Another one rounds differently."""
        times = [time(partial(self._launch, plan, one, operands, stream)) for one in plan.candidates]
        best = times.index(min(times))
        plan.candidates[0], plan.candidates[best] = plan.candidates[best], plan.candidates[0]

    def _made(self, product: Product) -> ProductPlan | None:
        _check_shapes(product)
        types = PRECISIONS[product.precision]
        x, y, out = (
            _layout(self._library, matrix, kind, product.stack)
            for matrix, kind in ((product.x, types.operands), (product.y, types.operands), (product.out, types.out))
        )
        desc = _desc(self._library, product)
        candidates = self._candidates(product, desc, x, y, out)
        return ProductPlan(product, desc, x, y, out, candidates) if candidates else None

    def _candidates(self, product: Product, desc: Owned, x: Owned, y: Owned, out: Owned) -> list[Algorithm]:
        preference = Owned(self._library, "MatmulPreference")
        preference.set(Preference.MAX_WORKSPACE_BYTES, c_uint64(self._workspace.size))
        preference.set(Preference.MIN_ALIGNMENT_A_BYTES, c_uint32(product.y.alignment))
        preference.set(Preference.MIN_ALIGNMENT_B_BYTES, c_uint32(product.x.alignment))
        preference.set(Preference.MIN_ALIGNMENT_C_BYTES, c_uint32(product.out.alignment))
        preference.set(Preference.MIN_ALIGNMENT_D_BYTES, c_uint32(product.out.alignment))
        results, count, name = (HeuristicResult * CANDIDATES)(), c_int(), "cublasLtMatmulAlgoGetHeuristic"
        operation = self._handle, desc, y, x, out, out, preference
        code = self._library.status(name, *operation, CANDIDATES, results, byref(count))
        if code == Status.NOT_SUPPORTED:
            return []
        self._library.check(name, code)
        return [result.algo for result in results[: count.value] if result.state == Status.SUCCESS]

    def _launch(self, plan: ProductPlan, algorithm: Algorithm, operands: Operands, stream: int) -> None:
        number = PRECISIONS[plan.product.precision].number
        _check_addresses(plan.product.alignments, operands)
        x, y, out, bias, mask = operands
        with self._lock:  # the plan's descriptor holds the addresses of one call
            if bias:
                plan.desc.set(Desc.BIAS_POINTER, c_void_p(bias))
            if mask:
                plan.desc.set(Desc.EPILOGUE_AUX_POINTER, c_void_p(mask))
            self._library.call(
                "cublasLtMatmul", self._handle, plan.desc, byref(number(1.0)), y, plan.y, x, plan.x, byref(number(0.0)),
                out, plan.out, out, plan.out, byref(algorithm), self._workspace.address, self._workspace.size, stream,
            )  # fmt: skip


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
    desc.set(Desc.EPILOGUE, c_uint32(product.epilogue))
    # The search for algorithms reads the alignments of these addresses and never the memory there.
    if product.bias:
        desc.set(Desc.BIAS_POINTER, c_void_p(product.bias))
        desc.set(Desc.BIAS_BATCH_STRIDE, c_int64(product.bias_step))
    if product.mask:
        ld = _mask_ld(product.out.columns)
        desc.set(Desc.EPILOGUE_AUX_POINTER, c_void_p(product.mask))
        desc.set(Desc.EPILOGUE_AUX_LD, c_int64(ld))
        desc.set(Desc.EPILOGUE_AUX_BATCH_STRIDE, c_int64(product.out.rows * ld))
    return desc


def _mask_ld(columns: int) -> int:
    return -(-columns // 128) * 128


def _check_shapes(product: Product) -> None:
    """On the device a wrong shape would be read or written beyond its memory."""
    (rows, inner), (inner_y, columns) = (
        (m.columns, m.rows) if flipped else (m.rows, m.columns)
        for m, flipped in zip((product.x, product.y), product.transposed, strict=True)
    )
    fits = (rows, inner, columns) == (product.out.rows, inner_y, product.out.columns)
    if not fits or any(m.ld < m.columns for m in (product.x, product.y, product.out)):
        raise BackendError(f"a product's shapes should fit, and no row reach into the next, got {product}.")
    if (product.epilogue.has_bias, product.epilogue.has_mask) != (bool(product.bias), bool(product.mask)):
        raise BackendError(
            f"{product.epilogue.name} takes {'a' if product.epilogue.has_bias else 'no'} bias and "
            f"{'a' if product.epilogue.has_mask else 'no'} mask, got the alignments {product.bias} and {product.mask} "
            "(0: none): give what it takes."
        )


def _check_addresses(alignments: Operands, operands: Operands) -> None:
    """A misaligned address would end the process's use of the device."""
    for name, least, address in zip(Operands._fields, alignments, operands, strict=True):
        if (not address or address % least) if least else address:
            raise BackendError(
                f"the address of {name} should be {f'a multiple of {least}' if least else '0'} in this plan, "
                f"got {address:#x}: make a plan for it."
            )
