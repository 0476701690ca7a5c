"""One part under test: its name, its methods, and the sentences that say what is wrong with it."""

from __future__ import annotations

import copy
import pickle
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._backend import Backend, dtype_name
from .._backend._record import HostReadError, RecordingError, Traced
from .._base.errors import ConfigurationError, ContractError
from .._base.options import check_instance

_OF_THE_STANDARD = ("T", "device", "to_device", "__array_namespace__")  # what an array has and a traced one lacks


@dataclass(frozen=True)
class Part:
    """A part on a backend, whose methods are called in the words ``where``."""

    thing: Any
    name: str
    backend: Any = None
    where: str = ""

    def broken(self, what: str, method: str = "") -> ContractError:
        """The error that says what is wrong, and which method to look at."""
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
        return f"{method} fails on {self.where} with {type(error).__name__}: {reason}", method

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


def part_of(thing: Any, protocol: type, kind: str, write: str) -> Part:
    """The part. Raises for what lacks a method, or is no frozen dataclass that equals its copy."""
    if isinstance(thing, type):
        check_instance(thing, protocol, expected=kind, write=write)
    part = Part(thing, name_of(thing))
    if not isinstance(thing, protocol):
        lacking = [name for name in vars(protocol) if not name.startswith("_") and not hasattr(thing, name)]
        raise part.broken(f"{kind} needs {', '.join(lacking)}; name the base, {write}, and write what it asks for")
    _check_value(part)
    return part


def name_of(thing: Any) -> str:
    """The part in a few words; a function by its name."""
    text = re.sub(r"<function (?:\S*\.)?(\S+) at \w+>", r"\1", str(getattr(thing, "name", None) or thing))
    return text if len(text) <= 80 else type(thing).__name__


def _check_value(part: Part) -> None:
    """Two of the same fields are one and the same part: a network is compared, saved and resumed by that."""
    frozen = getattr(type(part.thing), "__dataclass_params__", None)
    if frozen is None or not frozen.frozen or not frozen.eq:
        raise part.broken("expected a frozen dataclass; write @dataclass(frozen=True) above the class")
    try:
        hash(part.thing)
        unlike = copy.copy(part.thing) != part.thing
    except (TypeError, ValueError) as error:
        raise part.broken(
            f"its fields must be numbers, strings or tuples of these, which do not change ({error})"
        ) from error
    if unlike:
        raise part.broken("a copy of it is not equal to it; its fields must be numbers, strings or tuples of these")


def pickled(part: Part) -> tuple[str, ...]:
    """A note where it cannot be pickled. Raises where it comes back as another."""
    try:
        back = pickle.loads(pickle.dumps(part.thing))
    except Exception:  # whatever __reduce__ or __setstate__ raise
        return ("cannot be pickled, for other processes: write its class and functions at the top of a module",)
    if back != part.thing:
        raise part.broken("it comes back from pickle as another; its fields must be all that it has")
    return ()


def unchanged(part: Part) -> Callable[[str], None]:
    """``check(method)`` raises if an attribute of the part or of its class has changed since."""
    before = _attributes(part.thing)

    def check(method: str) -> None:
        after = _attributes(part.thing)
        for name in after:
            if name not in before or before[name] != after[name]:
                raise part.broken(
                    f"{method} changes its attribute {name}; what changes must be an array that it returns"
                )

    return check


def _attributes(thing: Any) -> dict[str, str]:
    found = {name: value for kind in reversed(type(thing).__mro__) for name, value in vars(kind).items()}
    found |= getattr(thing, "__dict__", {})
    return {
        name: repr(value)
        for name, value in found.items()
        if not (name.startswith(("__", "_abc")) or callable(value) or hasattr(value, "__get__"))
    }
