"""The numbers of a model: its own, so that nobody else changes them, and in the range of their dtype."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._backend import Backend
from .._base.errors import DataError
from .._base.options import check_range
from .._base.typing import Array
from ..network import Sequential


@dataclass(frozen=True)
class Own:
    """A field of a model whose array does not leave it: what is written into what it gives changes no prediction."""

    name: str

    def __get__(self, model: Any, owner: type) -> Array:
        return model.backend.library.hand_out(vars(model)[self.name])

    def __set__(self, model: Any, array: Array) -> None:  # by dataclass, once, when the model is made
        vars(model)[self.name] = array


def owned(backend: Backend, array: Array) -> Array:
    """``array`` on the backend; copied, or somebody who writes to it would change some predictions and not others."""
    moved = backend.asarray(array)
    base = getattr(moved, "base", None)
    root = moved if base is None else base
    sealed = isinstance(root, np.ndarray) and root.flags.owndata and not root.flags.writeable
    return moved if sealed else backend.copy(moved)


def check_in_range(network: Sequential, numbers: Mapping[str, np.ndarray], dtype: str) -> None:
    """What is finite must be so in the dtype too."""
    check_range(network.parts(), dtype)
    if np.finfo(dtype).max >= np.finfo(numbers["theta"].dtype).max:
        return
    for name in ("theta", "buffers"):
        before = numbers[name]
        with np.errstate(over="ignore"):
            lost = np.isfinite(before) & ~np.isfinite(before.astype(dtype))
        if lost.any():
            raise DataError(
                f"{dtype} cannot hold {np.sum(lost):,} of the model's numbers, up to {np.abs(before[lost]).max():.3g}: "
                "keep dtype='float64'."
            )
