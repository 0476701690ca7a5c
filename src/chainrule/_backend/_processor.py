"""What the processor is, as Linux lists it; nothing elsewhere."""

from __future__ import annotations

from functools import cache
from pathlib import Path


def is_intels() -> bool:
    """Whether Intel made it."""
    return _listed("vendor_id") == "GenuineIntel"


def processor_flags() -> list[str]:
    """What it can do: ``avx512f``, ``amx_bf16``."""
    return _listed("flags").split()


@cache
def _listed(name: str) -> str:
    """The first processor's line of this name."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return ""
    line = next((line for line in text.splitlines() if line.partition(":")[0].strip() == name), "")
    return line.partition(":")[2].strip()
