"""NVIDIA's own binding of cuBLASLt as an oracle for ours: its constants without a device, its products on one.

Ours stays as long as theirs is called experimental and takes a second or two to import.
"""

from __future__ import annotations

import ctypes
from enum import IntEnum
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from conftest import cublaslt_stand_in, find_library
from cublaslt_memory import each_precision

import chainrule as cr
from chainrule._kernels import _cublaslt
from chainrule._kernels._cublaslt import CublasLt, Owned
from chainrule._kernels._products import PRECISIONS, Matrix, Product, Products

# By our name: theirs, in which module, and what they put before the names of its members.
THEIRS = {
    "Status": ("bindings.cublas", "Status", ""),
    "DataType": ("", "CudaDataType", "CUDA_"),
    "ComputeType": ("bindings.cublas", "ComputeType", ""),
    "Epilogue": ("bindings.cublasLt", "Epilogue", ""),
    "Desc": ("bindings.cublasLt", "MatmulDescAttribute", ""),
    "MatrixLayout": ("bindings.cublasLt", "MatrixLayoutAttribute", ""),
    "Preference": ("bindings.cublasLt", "MatmulPreferenceAttribute", ""),
}
ATTRIBUTES = {"MatmulDesc": "Desc", "MatrixLayout": "MatrixLayout", "MatmulPreference": "Preference"}


def theirs(name: str = "") -> ModuleType:
    return find_library("nvmath", f"nvmath.{name}".removesuffix("."))


def ours() -> dict[str, type[IntEnum]]:
    found = vars(_cublaslt).items()
    return {name: made for name, made in found if isinstance(made, type) and made.__base__ is IntEnum}


def test_every_constant_is_theirs() -> None:
    assert set(ours()) == set(THEIRS)
    for ours_name, made in ours().items():
        module, name, prefix = THEIRS[ours_name]
        enumeration = getattr(theirs(module), name)
        for member in made:
            assert int(enumeration[prefix + member.name]) == member, f"{ours_name}.{member.name}"


def test_every_structure_is_laid_out_as_theirs() -> None:
    library = theirs("bindings.cublasLt")
    for structure, dtype in (
        (_cublaslt.Algorithm, library.matmul_algo_dtype),
        (_cublaslt.HeuristicResult, library.matmul_heuristic_result_dtype),
    ):
        assert ctypes.sizeof(structure) == dtype.itemsize
        offsets = [getattr(structure, name).offset for name, *_ in structure._fields_]
        assert offsets == [dtype.fields[name][1] for name in dtype.names]


@each_precision
def test_every_attribute_is_set_in_a_type_of_their_size(precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    library = theirs("bindings.cublasLt")
    size_of: dict[str, Any] = {
        "MatmulDesc": library.get_matmul_desc_attribute_dtype,
        "MatrixLayout": library.get_matrix_layout_attribute_dtype,
        "MatmulPreference": library.get_matmul_preference_attribute_dtype,
    }
    were_set: set[str] = set()
    right = Owned.set

    def noted(self: Any, attribute: int, value: Any) -> None:
        named = ours()[ATTRIBUTES[self._kind]](attribute)
        were_set.add(f"{self._kind}.{named.name}")
        assert np.dtype(size_of[self._kind](attribute)).itemsize == ctypes.sizeof(value), were_set
        right(self, attribute, value)

    monkeypatch.setattr(Owned, "set", noted)
    products = Products(CublasLt(cublaslt_stand_in()))
    x, y, out = Matrix(3, 4, 4, 16, 12), Matrix(4, 5, 5, 16, 20), Matrix(3, 5, 5, 16, 15)
    products.plan(Product(x, y, out, (False, False), precision, bias=16, bias_step=5, stack=2))
    assert {"MatmulDesc.EPILOGUE", "MatrixLayout.BATCH_COUNT", "MatmulPreference.MIN_ALIGNMENT_D_BYTES"} <= were_set


@pytest.mark.gpu
@pytest.mark.parametrize("precision", sorted(set(PRECISIONS) - {"bf16"}))  # which no CuPy array has
def test_products_on_a_device_are_theirs(precision: str) -> None:
    cupy = find_library("cupy")
    matmul = theirs("linalg.advanced").matmul
    dtype = "float64" if precision == "float64" else "float32"
    chosen = None if precision == "float64" else precision
    on = cr.backend("cupy", dtype=dtype, compile=True, precision=chosen)
    compute = int(PRECISIONS[precision].compute)
    rng = np.random.default_rng(0)
    x, W, dy = (on.asarray(rng.standard_normal(shape)) for shape in ((96, 64), (64, 32), (96, 32)))
    within = {"float64": 1e-13, "float32": 1e-5, "tf32": 2e-3}[precision]
    reference = {"x W": x.astype("f8") @ W.astype("f8"), "dy W^T": dy.astype("f8") @ W.T.astype("f8")}
    reference["x^T dy"] = x.T.astype("f8") @ dy.astype("f8")
    for name, mine, operands in (
        ("x W", on.run(cr.layers.affine, x, W), (x, W)),
        ("dy W^T", on.run(cr.layers.input_gradient, dy, W), (dy, W.T)),
        ("x^T dy", on.run(cr.layers.weight_gradient, x, dy), (x.T, dy)),
    ):
        other = matmul(*operands, options={"compute_type": compute})
        size = float(cupy.abs(reference[name]).max())
        for found in (mine, other):
            assert float(cupy.abs(found - reference[name]).max()) < within * size, name
        assert float(cupy.abs(mine - other).max()) < within * size, name
