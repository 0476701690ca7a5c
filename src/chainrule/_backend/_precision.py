"""Whether products can be taken in less than the dtype's precision."""

from __future__ import annotations

from .._base.errors import require
from .._base.typing import Device
from ._mkl import why_not_mkl
from ._processor import processor_flags

PRECISIONS = ("float32", "tf32", "bf16")
_OF_BF16 = {"numpy": ("amx_bf16",), "torch": ("amx_bf16", "avx512_bf16")}  # flags of processors that multiply it fast


def find_precision(library: str, device: Device, dtype: str, compiled: bool, precision: str | None) -> str:
    """The precision of products. Raises ConfigurationError, in one sentence, where it cannot be had."""
    if precision in (None, "float32"):
        return "float32"
    or_else = "give what is missing, or precision='float32'."
    if precision == "bf16" and library in _OF_BF16:
        missing = _missing_for_bf16(library, device, dtype)
        require(not missing, f"precision='bf16' on {library} needs {missing}: {or_else}")
        return precision
    require(
        (library, compiled, dtype) == ("cupy", True, "float32"),
        f"precision={precision!r} needs backend='cupy', compile=True and dtype='float32', got "
        f"backend={library!r}, compile={compiled} and dtype={dtype!r}: {or_else}",
    )
    return str(precision)


def _missing_for_bf16(library: str, device: Device, dtype: str) -> str:
    if dtype != "float32":
        return f"dtype='float32', got {dtype!r}"
    if getattr(device, "type", "cpu") != "cpu":
        return f"the CPU, got device={str(device)!r}"
    flags = _OF_BF16[library]
    if not set(flags) & set(processor_flags()):
        return f"a processor with {' or '.join(flags)} (a flag in /proc/cpuinfo), which this one has not"
    return f"MKL's products, and {why}" if library == "numpy" and (why := why_not_mkl()) else ""
