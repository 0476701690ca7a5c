"""The library behind NumPy's matrix products, and whether it passes over what the processor can do."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_info

_AVX2_ONLY = {"Haswell", "Zen", "Excavator"}


def describe_blas() -> list[str]:
    """A line on NumPy's BLAS, and one more where another choice of kernels may be faster."""
    import numpy  # noqa: F401  # loads its BLAS first of all

    found = [info for info in threadpool_info() if info["user_api"] == "blas"]
    return lines(found[0], processor_flags()) if found else []


def lines(info: dict[str, Any], flags: Sequence[str]) -> list[str]:
    """The lines for an entry of threadpoolctl and the processor's flags.

    OpenBLAS looks the processor up in a table, and takes old kernels for one that is newer than the table.
    """
    kernels = info.get("architecture")
    text = [f"numpy's products: {info['internal_api']} {info['version']}{f', {kernels} kernels' if kernels else ''}"]
    if info["internal_api"] == "openblas" and kernels in _AVX2_ONLY and "avx512f" in flags:
        text.append(
            f"this processor has AVX-512 and OpenBLAS chose its {kernels} kernels: OPENBLAS_CORETYPE=SKYLAKEX, set "
            "before Python starts, may be faster; 'chainrule bench' with and without it tells."
        )
    return text


def processor_flags() -> list[str]:
    """What the processor can do, as Linux lists it; nothing elsewhere."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return []
    line = next((line for line in text.splitlines() if line.startswith("flags")), "")
    return line.partition(":")[2].split()
