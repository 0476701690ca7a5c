"""Matrices in host memory, and their products by the stand-in for cuBLASLt."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from chainrule._kernels._products import (
    PRECISIONS,
)

FORWARD, INPUT_GRADIENT, WEIGHT_GRADIENT = (False, False), (False, True), (True, False)
each_precision = pytest.mark.parametrize("precision", PRECISIONS)


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


def whole(*shape: int) -> np.ndarray:
    """Whole numbers, whose products and sums are exact in every precision."""
    return np.random.default_rng(shape).integers(-3, 4, shape).astype(np.float64)
