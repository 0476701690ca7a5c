"""What a training is told by: its parts and its data, in JSON that another process makes alike.

A function of the user's own is told by what it does: its code, its constants and defaults, what it closes over, and the
functions and values of its module that it names. Addresses, file names and line numbers say nothing and are left out.
"""

from __future__ import annotations

import dis
import enum
import functools
import hashlib
import re
import sys
import types
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from pathlib import PurePath
from typing import Any

import numpy as np

from .. import serialization
from .._backend import Backend, library_of, to_host
from .._errors import ConfigurationError
from ..data import Batch

_HASHED = ("data", "validation", "start")
_MOST = 10_000  # parts of one value
_KNOWN = {"chainrule", "numpy", *sys.stdlib_module_names}  # whose code is not the user's
_PLAIN = (bool, int, float, complex, str, bytes, PurePath, enum.Enum, range, slice, np.generic, np.dtype)


def fingerprint(backend: Backend, data: Batch | None) -> str | None:
    """What a training's examples are told by: their shapes, and a hash of them all, or of 64 MB spread over them."""
    if data is None:
        return None
    digest = hashlib.sha256()
    for array in data:
        if array is None:
            continue
        if hasattr(array, "fingerprint"):
            digest.update(array.fingerprint())
            continue
        rows = array.shape[0]
        step = max(1, rows * int(np.prod(array.shape[1:])) // 2**24)
        part = array[::step, ...]
        part = backend.to_numpy(part) if backend.library.owns(part) else np.asarray(part)
        digest.update(f"{array.shape} {part.dtype}".encode())
        digest.update(np.ascontiguousarray(part).data)
    return digest.hexdigest()


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """In what two trainings differ, a few words each."""
    found = []
    for name, value in now.items():
        if before.get(name) != value:
            short = max(len(repr(value)), len(repr(before.get(name)))) <= 60 and name not in _HASHED
            found.append(f"{name} was {before.get(name)!r}, now {value!r}" if short else f"{name} is not the same")
    return found


def identify(value: Any) -> Any:
    """A part of a training in JSON, equal for equal parts, also in another process.

    What cannot be told from another of its kind, such as an open file that a function closes over, is said.
    """
    try:
        return serialization.encode(value)
    except ConfigurationError:
        pass
    look, name = _Look(), getattr(value, "__name__", type(value).__name__)
    look.at(value)
    if look.unknown:
        warnings.warn(
            f"a checkpoint cannot tell the {' and the '.join(sorted(look.unknown))} in {name} from another: see to it "
            "that a training which is resumed has the same.",
            stacklevel=5,
        )
    return f"{name} {look.digest.hexdigest()}"


class _Look:
    """A hash of all that a value is made of, from the top down."""

    def __init__(self) -> None:
        self.digest = hashlib.sha256()
        self.unknown: set[str] = set()
        self._seen: dict[int, tuple[int, Any]] = {}  # the value too, or another could take its address

    def at(self, value: Any) -> None:
        """Take in a value and what it holds."""
        if value is None or isinstance(value, _PLAIN):
            self._say(type(value).__name__, str(value) if isinstance(value, PurePath) else repr(value))
        elif id(value) in self._seen and not isinstance(value, tuple | frozenset):  # equal ones may be one, or not
            self._say("seen", self._seen[id(value)][0])
        elif len(self._seen) >= _MOST:
            self.unknown.add(f"rest of more than {_MOST:,} parts")
        else:
            self._seen[id(value)] = len(self._seen), value
            self._inside(value)

    def _say(self, *words: object) -> None:
        self.digest.update(repr(words).encode())

    def _all(self, kind: str, values: Iterable[Any]) -> None:
        held = list(values)
        self._say(kind, len(held))
        for value in held:
            self.at(value)

    def _inside(self, value: Any) -> None:
        match value:
            case types.FunctionType():
                self._function(value)
            case types.CodeType():
                self._code(value)
            case types.ModuleType():
                self._say("module", value.__name__)
            case type():
                self._class(value)
            case types.MethodType():
                self._all("method", (value.__func__, value.__self__))
            case functools.partial():
                self._all("partial", (value.func, value.args, value.keywords))
            case tuple() | list():
                self._all(type(value).__name__, value)
            case dict() | types.MappingProxyType():
                self._all("dict", sorted(value.items(), key=lambda item: repr(item[0])))
            case set() | frozenset():
                self._say("set", sorted(digest_of(item, self.unknown) for item in value))
            case property():
                self._all("property", (value.fget,))
            case staticmethod() | classmethod():
                self._all(type(value).__name__, (value.__func__,))
            case re.Pattern():
                self._say("pattern", value.pattern, value.flags)
            case _ if library_of(value) is not None:
                array = to_host(value)
                self._say("array", array.dtype.str, array.shape)
                self.at(array.tolist()) if array.dtype.hasobject else self.digest.update(array.tobytes())
            case _ if hasattr(value, "__wrapped__"):  # what compiles or caches a function
                self._all(type(value).__qualname__, (value.__wrapped__,))
            case (
                types.BuiltinFunctionType() | types.MethodDescriptorType() | types.WrapperDescriptorType() | np.ufunc()
            ):
                owner = getattr(value, "__self__", None)
                self._all(value.__name__, (owner, getattr(value, "__module__", None)))
            case _:
                self._object(value)

    def _function(self, function: types.FunctionType) -> None:
        cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
        changed = _names(function.__code__, "STORE_GLOBAL", "STORE_DEREF")  # a counter of its own is no setting
        self._code(function.__code__)
        self._all("defaults", (function.__defaults__, function.__kwdefaults__))
        self._all("closure", ((name, _content(cell)) for name, cell in cells if name not in changed))
        for name in sorted(_names(function.__code__, "LOAD_GLOBAL", "LOAD_NAME") - changed):
            if name in function.__globals__:
                self._say("global", name)
                self._named(function.__globals__[name], function.__module__)

    def _named(self, value: Any, module: str) -> None:
        """What a function finds by a name: of its own module's functions and classes the code, else their names."""
        if isinstance(value, types.FunctionType | type) and value.__module__ != module:
            self._say(value.__module__, value.__qualname__)
        else:
            self.at(value)

    def _code(self, code: types.CodeType) -> None:
        counts = code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags
        self._say("code", code.co_code, *counts, code.co_names, code.co_varnames, code.co_freevars)
        self._all("constants", code.co_consts)

    def _class(self, made: type) -> None:
        self._say("class", made.__qualname__)
        for base in made.__mro__:
            if base.__module__.partition(".")[0] in _KNOWN:
                self._say(base.__module__, base.__qualname__)
                continue
            for name, member in sorted(vars(base).items()):
                if not name.startswith(("__", "_abc_")) or name == "__call__":
                    self._say(base.__qualname__, name)
                    self._member(member, base.__module__)

    def _member(self, member: Any, module: str) -> None:
        if not isinstance(member, types.MemberDescriptorType | types.GetSetDescriptorType):
            self._named(member, module)

    def _object(self, value: Any) -> None:
        self._class(type(value))
        slots = [name for base in type(value).__mro__ for name in _as_names(vars(base).get("__slots__", ()))]
        if is_dataclass(value):
            held = {field.name: getattr(value, field.name) for field in fields(value) if field.compare}
        else:
            held = {name: getattr(value, name) for name in slots if hasattr(value, name)}
            held |= getattr(value, "__dict__", {})
            if not slots and not hasattr(value, "__dict__"):
                self.unknown.add(type(value).__qualname__)
        self.at(held)


def digest_of(value: Any, unknown: set[str]) -> str:
    """A hash of one value by itself; what cannot be told is added to ``unknown``."""
    look = _Look()
    look.at(value)
    unknown |= look.unknown
    return look.digest.hexdigest()


def _names(code: types.CodeType, *operations: str) -> set[str]:
    """The names that these operations have, in a function and those that are written in it."""
    inner = [constant for constant in code.co_consts if isinstance(constant, types.CodeType)]
    found = {step.argval for step in dis.get_instructions(code) if step.opname in operations}
    return found.union(*(_names(each, *operations) for each in inner))


def _content(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # nothing yet
        return "empty"


def _as_names(slots: str | Iterable[str]) -> tuple[str, ...]:
    return (slots,) if isinstance(slots, str) else tuple(slots)
