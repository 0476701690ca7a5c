"""One part under test: its name, its methods, and the sentences that say what is wrong with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._backend import Backend, dtype_name
from .._backend._record import HostReadError, RecordingError, Traced
from .._base.errors import ConfigurationError, ContractError
from ..layers import Layer
from ..losses import Loss

_OF_THE_STANDARD = ("T", "device", "to_device", "__array_namespace__")  # what an array has and a traced one lacks


@dataclass(frozen=True)
class Part:
    """A part on a backend, whose methods are called in the words ``where``."""

    thing: Any
    name: str
    backend: Any = None
    where: str = ""

    def broken(self, what: str, method: str = "") -> ContractError:
        """The error that says what is wrong, and which method to look at, of those that are written."""
        if getattr(type(self.thing), "forward", None) is Layer.forward:
            method = method.replace("forward", "apply")
        if isinstance(self.thing, Loss):
            method = method.replace("per_example", "its function")
        return ContractError(f"{self.name}: {what}{f'; look at {method}' if method else ''}.")

    def call(self, method: str, *arguments: Any) -> Any:
        """What the method returns; what it raises, but for a refusal of its own, becomes the sentence."""
        try:
            with np.errstate(all="ignore"):
                return getattr(self.thing, method)(*arguments)
        except (ContractError, ConfigurationError):
            raise
        except Exception as error:
            raise self.broken(*self._why(error, method)) from error

    def _why(self, error: Exception, method: str) -> tuple[str, str]:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        if isinstance(error, HostReadError):
            return (
                f"{method} reads a number on the host, or hands an array to NumPy or to Python's math, which a "
                "compiled step cannot follow; use the functions of xp, and xp.where in the place of if"
            ), ""
        if isinstance(error, RecordingError) and "is assigned" in reason:
            return f"{method} assigns to an item of an array, which not every library can; use xp.where", ""
        if isinstance(error, RecordingError):
            raise error
        if "__array_ufunc__" in reason:
            return f"{method} calls a function of NumPy on its arrays; use those of xp, or of backend.xp", ""
        if isinstance(error, AttributeError) and isinstance(error.obj, Traced):
            if error.name in _OF_THE_STANDARD:
                raise error
            return f"{method} uses .{error.name} of an array, which the array API has not; use a function of xp", ""
        if isinstance(error, ValueError) and "read-only" in reason:
            return f"{method} writes into an array that it was only given to read; write x * 2, not x *= 2", ""
        return (
            f"{method} fails{f' on {self.where}' if self.where else ''} with {type(error).__name__}: {reason}",
            method,
        )

    def array(self, x: Any, shape: Sequence[Any], what: str, method: str) -> Any:
        """``x``, if it is an array of the backend of this shape; several shapes may be right."""
        backend: Backend = self.backend
        allowed = shape if shape and isinstance(shape[0], tuple) else [tuple(shape)]
        if not (isinstance(x, Traced) or backend.library.owns(x)):
            raise self.broken(
                f"{method} gives {what} as a {type(x).__name__} on {self.where}, expected an array of the library; "
                "use the functions of backend.xp",
            )
        if tuple(x.shape) not in allowed:
            raise self.broken(
                f"{method} gives {what} of shape {tuple(x.shape)}, expected {allowed[0]} on {self.where}", method
            )
        if dtype_name(x.dtype) != dtype_name(backend.dtype):
            raise self.broken(
                f"{method} gives {what} in {dtype_name(x.dtype)} on {self.where}, expected the dtype of what it was "
                "given; use Python's numbers (2.0), not NumPy's, and dtype=backend.dtype for new arrays",
            )
        return x

    def several(self, found: Any, count: int, method: str, expected: str) -> tuple[Any, ...]:
        """``found``, if it is a tuple of so many."""
        if not isinstance(found, tuple | list) or len(found) != count:
            got = f"{len(found)}" if isinstance(found, tuple | list) else f"a {type(found).__name__}"
            raise self.broken(f"{method} must give a tuple of {count}, {expected}, got {got}", method)
        return tuple(found)

    def same(self, got: Any, wanted: Any, what: str, method: str, against: str, tolerance: float) -> None:
        """Raises unless the two arrays are equal to ``tolerance`` of their size."""
        got, wanted = np.asarray(got, dtype=np.float64), np.asarray(wanted, dtype=np.float64)
        size = max(1.0, float(np.max(np.abs(wanted), initial=0.0))) if tolerance else 0.0
        with np.errstate(all="ignore"):
            near = np.abs(got - wanted) <= tolerance * size
        wrong = ~(near | (got == wanted) | (np.isnan(got) & np.isnan(wanted)))
        if wrong.any():
            i = tuple(int(n) for n in np.argwhere(wrong)[0])
            a, b = _apart(float(got[i]), float(wanted[i]))
            at = f" at {position(i)}" if got.size > 1 else ""
            raise self.broken(f"{what} {against}{at}: {a} against {b}", method)


def locked(x: Any) -> Any:
    """The same, which NumPy does not let anybody write to from now on."""
    if isinstance(x, np.ndarray):
        x.flags.writeable = False
    return x


def position(index: Sequence[int]) -> str:
    """Where in an array: ``row 0, column 2``."""
    words = ("network", "row", "column")[-len(index) :] if len(index) <= 3 else ()
    if len(index) == 1:
        return f"number {index[0]}"
    return ", ".join(f"{word} {n}" for word, n in zip(words, index, strict=True)) or str(tuple(index))


def _apart(a: float, b: float) -> tuple[str, str]:
    """Two numbers in as few digits as show that they differ."""
    short = next((n for n in (3, 6, 9) if f"{a:.{n}g}" != f"{b:.{n}g}"), 17)
    return f"{a:.{short}g}", f"{b:.{short}g}"
