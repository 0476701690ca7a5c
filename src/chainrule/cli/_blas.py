"""The library behind NumPy's matrix products, and whether it passes over what the processor can do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .._backend._blas import Blas, numpys_blas
from .._backend._mkl import is_taken, mkl, mkl_would_help
from .._backend._processor import processor_flags

_AVX2_ONLY = {"Haswell", "Zen", "Excavator"}


def describe_blas() -> list[str]:
    """A line on NumPy's BLAS, and one more where another choice of kernels may be faster."""
    return [*lines(numpys_blas() or _as_built(), processor_flags()), *of_compiled_steps()]


def of_compiled_steps() -> list[str]:
    """A line on the BLAS of steps that are one compiled call, where that is not NumPy's, or need not be."""
    if is_taken():
        return [f"products of compiled steps: mkl {mkl().version}, on the threads of the step"]
    if mkl_would_help():
        return ["on this processor MKL's products are up to 1.3 times as fast: pip install 'chainrule[intel]'"]
    return []


def _as_built() -> Blas:
    """What NumPy was built with, which may say no more than that: Accelerate."""
    config: Any = np.show_config(mode="dicts")
    built = config.get("Build Dependencies", {}).get("blas", {})
    return Blas(built.get("name", "its own loops"), built.get("version", "unknown"))


def lines(blas: Blas, flags: Sequence[str]) -> list[str]:
    """The lines for a BLAS and the processor's flags.

    OpenBLAS looks the processor up in a table, and takes old kernels for one that is newer than the table.
    """
    version, kernels = blas.version.replace("unknown", ""), f"{blas.kernels} kernels" if blas.kernels else ""
    known = [f"{blas.name} {version}".strip(), kernels, "" if blas.threads is None else _threads(blas.threads())]
    text = [f"numpy's products: {', '.join(filter(None, known))}"]
    if blas.name == "openblas" and blas.kernels in _AVX2_ONLY and "avx512f" in flags:
        text.append(
            f"this processor has AVX-512 and OpenBLAS chose its {blas.kernels} kernels: OPENBLAS_CORETYPE=SKYLAKEX, "
            "set before Python starts, may be faster; 'chainrule bench' with and without it tells."
        )
    return text


def _threads(number: int) -> str:
    return "1 thread" if number == 1 else f"{number} threads (1 while all products are small)"
