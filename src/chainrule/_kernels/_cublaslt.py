"""NVIDIA's cuBLASLt through ctypes: its functions with their types, and every return code checked.

The names of the constants are those of cublasLt.h, and their numbers are the same in CUDA 12 and 13.
"""

from __future__ import annotations

import ctypes
import importlib
import weakref
from collections.abc import Mapping
from ctypes import POINTER, byref, c_float, c_int, c_int64, c_size_t, c_uint64, c_void_p
from enum import IntEnum
from functools import cache
from types import MappingProxyType
from typing import Any

from .._base.errors import BackendError

# ------------------------------------------------------------------------------------------------------- cublasLt.h


class Status(IntEnum):  # CUBLAS_STATUS_
    SUCCESS = 0
    NOT_INITIALIZED = 1
    ALLOC_FAILED = 3
    NOT_SUPPORTED = 15


class DataType(IntEnum):  # CUDA_
    R_32F = 0
    R_64F = 1
    R_16BF = 14


class ComputeType(IntEnum):  # CUBLAS_
    COMPUTE_32F = 68
    COMPUTE_64F = 70
    COMPUTE_32F_FAST_TF32 = 77


class Epilogue(IntEnum):  # CUBLASLT_EPILOGUE_
    """What a product does to ``out`` before it is written."""

    DEFAULT = 1
    BIAS = 4  # out + b


class Desc(IntEnum):  # CUBLASLT_MATMUL_DESC_
    TRANSA = 3
    TRANSB = 4
    EPILOGUE = 7
    BIAS_POINTER = 8
    BIAS_BATCH_STRIDE = 10


class MatrixLayout(IntEnum):  # CUBLASLT_MATRIX_LAYOUT_
    BATCH_COUNT = 5
    STRIDED_BATCH_OFFSET = 6


class Preference(IntEnum):  # CUBLASLT_MATMUL_PREF_
    MAX_WORKSPACE_BYTES = 1
    MIN_ALIGNMENT_A_BYTES = 5
    MIN_ALIGNMENT_B_BYTES = 6
    MIN_ALIGNMENT_C_BYTES = 7
    MIN_ALIGNMENT_D_BYTES = 8


class Algorithm(ctypes.Structure):
    """cublasLtMatmulAlgo_t."""

    _fields_ = (("data", c_uint64 * 8),)


class HeuristicResult(ctypes.Structure):
    """cublasLtMatmulHeuristicResult_t."""

    _fields_ = (
        ("algo", Algorithm),
        ("workspaceSize", c_size_t),
        ("state", c_int),
        ("wavesCount", c_float),
        ("reserved", c_int * 4),
    )


_CREATE, _SET = POINTER(c_void_p), (c_void_p, c_int, c_void_p, c_size_t)
_FUNCTIONS: Mapping[str, tuple[Any, ...]] = MappingProxyType(
    {
        "cublasLtCreate": (_CREATE,),
        "cublasLtDestroy": (c_void_p,),
        "cublasLtMatmulDescCreate": (_CREATE, c_int, c_int),
        "cublasLtMatmulDescSetAttribute": _SET,
        "cublasLtMatmulDescDestroy": (c_void_p,),
        "cublasLtMatrixLayoutCreate": (_CREATE, c_int, c_uint64, c_uint64, c_int64),
        "cublasLtMatrixLayoutSetAttribute": _SET,
        "cublasLtMatrixLayoutDestroy": (c_void_p,),
        "cublasLtMatmulPreferenceCreate": (_CREATE,),
        "cublasLtMatmulPreferenceSetAttribute": _SET,
        "cublasLtMatmulPreferenceDestroy": (c_void_p,),
        "cublasLtMatmulAlgoGetHeuristic": (*[c_void_p] * 7, c_int, POINTER(HeuristicResult), POINTER(c_int)),
        "cublasLtMatmul": (*[c_void_p] * 12, POINTER(Algorithm), c_void_p, c_size_t, c_void_p),
    }
)

# ------------------------------------------------------------------------------------------------------- the library


class CublasLt:
    """A libcublasLt: its functions with their types, every return code checked."""

    def __init__(self, path: str) -> None:
        loaded = ctypes.CDLL(path)
        self._name = loaded.cublasLtGetStatusName
        self._name.argtypes, self._name.restype = (c_int,), ctypes.c_char_p
        self._functions = {name: getattr(loaded, name) for name in _FUNCTIONS}
        for name, function in self._functions.items():
            function.argtypes, function.restype = _FUNCTIONS[name], c_int

    def status(self, name: str, *arguments: Any) -> int:
        """Call a function; its return code."""
        code: int = self._functions[name](*arguments)
        return code

    def call(self, name: str, *arguments: Any) -> None:
        """Call a function that has to succeed."""
        self.check(name, self.status(name, *arguments))

    def check(self, name: str, code: int) -> None:
        """Raise BackendError unless the code that function ``name`` returned is a success."""
        if code != Status.SUCCESS:
            full = code in (Status.NOT_INITIALIZED, Status.ALLOC_FAILED)
            advice = (
                "free memory of the GPU, which has none left for it" if full else "set CUBLASLT_LOG_LEVEL=5 to see why"
            )
            said = self._name(code).decode()
            raise BackendError(f"{name} should have succeeded but returned {said} ({code}): {advice}.")


class Owned:
    """A handle or a descriptor that the library made, and destroys when this object goes."""

    def __init__(self, library: CublasLt, kind: str, *arguments: Any) -> None:
        self._library, self._kind = library, kind
        self._as_parameter_ = c_void_p()  # ctypes passes this on
        library.call(f"cublasLt{kind}Create", byref(self._as_parameter_), *arguments)
        end = weakref.finalize(self, library.call, f"cublasLt{kind}Destroy", self._as_parameter_)
        end.atexit = False  # by then the driver may be gone

    def set(self, attribute: int, value: Any) -> None:
        """Set an attribute; ``value`` is of the ctypes type that the header names."""
        name = f"cublasLt{self._kind}SetAttribute"
        self._library.call(name, self, attribute, byref(value), ctypes.sizeof(value))


@cache
def load() -> CublasLt:
    """NVIDIA's library, from the packages of ``chainrule[cuda13-full]`` or a CUDA toolkit."""
    try:
        pathfinder = importlib.import_module("cuda.pathfinder")
        return CublasLt(pathfinder.load_nvidia_dynamic_lib("cublasLt").abs_path)
    except (ImportError, RuntimeError, OSError) as error:
        raise BackendError(
            f"matrix products on CuPy need cuBLASLt, which was not found ({error}): "
            "pip install 'chainrule[cuda13-full]' (or cuda12-full) brings it."
        ) from error
