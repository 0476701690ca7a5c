"""The backends that a part is tried on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from .._backend import Backend, available_backends, dtype_name, reference_backend
from .._base.errors import DTypeError
from .._base.options import as_list
from .._kernels import backend as make_backend

HOST = reference_backend("numpy", dtype="float64", compile=False)


def opened(names: Sequence[str] | None) -> Iterator[Backend]:
    """Each backend of these names, or every one that runs here, in both dtypes where it has them, on two devices."""
    found = {str(row["name"]): row for row in available_backends()} if names is None else {}
    usable = [name for name, row in found.items() if row["problem"] is None]
    for name in usable if names is None else as_list(names, name="backends", example='"numpy"'):
        devices: Any = found.get(name, {}).get("devices") or [None]
        for device in devices[:2]:
            for dtype in ("float32", "float64"):
                try:
                    backend = make_backend(name, device=device, dtype=dtype)
                except DTypeError:
                    continue
                yield replace(backend, compiled=False) if backend.library.RECORDS else backend


def words(backend: Backend) -> str:
    """``jax compiled in float32``."""
    return f"{place(backend)} in {dtype_name(backend.dtype)}"


def place(backend: Backend) -> str:
    """``jax compiled``, ``torch on cuda:0``."""
    device = "" if backend.device_name.lower().startswith("cpu") else f" on {backend.device_name}"
    return f"{backend.name}{device}{' compiled' if backend.compiled else ''}"


def placed(backend: Backend, x: np.ndarray) -> Any:
    """A copy of ``x`` on the backend; integers stay such."""
    return backend.asarray(np.array(x), backend.xp.int32 if x.dtype.kind == "i" else None)
