"""What was measured on: the device, its driver, clocks and temperature, and the versions of everything."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from typing import Any

_FIELDS = {
    "device": "name",
    "driver": "driver_version",
    "sm_mhz": "clocks.sm",
    "memory_mhz": "clocks.mem",
    "sm_mhz_max": "clocks.max.sm",
    "memory_mhz_max": "clocks.max.mem",
    "power_limit_w": "power.limit",
    "temperature_c": "temperature.gpu",
}
_PACKAGES = ("numpy", "cupy-cuda13x", "cupy-cuda12x", "torch", "triton", "jax", "jaxlib", "jax-cuda13-plugin",
             "jax-cuda12-plugin", "array-api-compat")  # fmt: skip


def card() -> dict[str, str]:
    """nvidia-smi's answers for the first visible device; or why there are none."""
    device = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0] or "0"
    command = ["nvidia-smi", f"--id={device}", f"--query-gpu={','.join(_FIELDS.values())}", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20)
    except (OSError, subprocess.SubprocessError) as error:
        return {"device": "unknown", "problem": f"nvidia-smi: {error}"}
    return dict(zip(_FIELDS, (word.strip() for word in done.stdout.strip().split(",")), strict=True))


def versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def commit() -> str:
    """The library's, with a plus where files differ from it."""
    command = ["git", "describe", "--always", "--dirty=+", "--abbrev=12"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "unknown"  # a copy without its history


def described(device: str) -> dict[str, Any]:
    """The start of the record; ``device`` names the file."""
    found = card() if device == "cuda" else {"device": f"{platform.machine()} CPU"}
    return {
        "device": found.pop("device"),
        "driver": found.pop("driver", None),
        "commit": commit(),
        "versions": versions(),
        "clocks": {"before": found},
    }
