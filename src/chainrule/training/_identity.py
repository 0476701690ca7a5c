"""What identifies a training run: its parts and its data, in JSON that another process makes alike.

A function of the user's own is identified by what it does: its code, its constants and defaults, what it closes over,
and the functions, classes and values that it names, in whatever module of the user's they are. What an installed
library has is identified by its name. Addresses, file names and line numbers say nothing and are left out.
"""

from __future__ import annotations

import dis
import enum
import functools
import hashlib
import logging
import os
import re
import sys
import types
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from importlib.util import find_spec
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from .._backend import Backend, library_of, to_host
from .._base.errors import ConfigurationError, warn
from .._model import serialization
from ..batch import Batch

_HASHED = ("data", "validation", "start")
LENGTH = "length of the schedule"
_MOST = 10_000  # parts of one value
_INSTALLED = {"site-packages", "dist-packages"}
_STDLIB = Path(os.__file__).parent
_PLAIN = (bool, int, float, complex, str, bytes, PurePath, enum.Enum, range, slice, np.generic, np.dtype)


def fingerprint(backend: Backend, data: Batch | None) -> str | None:
    """What identifies a training's examples: their shapes, and a hash of them all, or of 64 MB spread over them."""
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
        digest.update(f"{tuple(array.shape)} {part.dtype}".encode())
        digest.update(np.ascontiguousarray(part).data)
    return digest.hexdigest()


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """In what two training runs differ, a few words each; what follows from another difference is left out."""
    names = [*now, *(name for name in before if name not in now)]
    differ = {name for name in names if before.get(name) != now.get(name)}
    if {"backend", "dtype"} & differ:
        differ -= set(_HASHED)  # the numbers as that backend had them
    if LENGTH in differ:  # without one it is another schedule
        differ.discard("optimizer" if before.get(LENGTH) and now.get(LENGTH) else LENGTH)
    found = []
    for name in names:
        value = now.get(name)
        if name == LENGTH and name in differ:
            was = before.get(name)
            found.append(
                f"the schedule's length was {was} steps, now {value}: one without steps= is planned for all epochs, "
                f"so give as many as before, or steps={was}"
            )
        elif name in differ:
            short = max(len(repr(value)), len(repr(before.get(name)))) <= 60 and name not in _HASHED
            found.append(f"{name} was {before.get(name)!r}, now {value!r}" if short else f"{name} is not the same")
    return found


def identify(value: Any) -> Any:
    """A part of a training run in JSON, equal for equal parts, also in another process.

    What cannot be told from another of its kind, such as an open file that a function closes over, is said.
    """
    try:
        return serialization.encode(value)
    except ConfigurationError:
        pass
    look, name = _Look(), getattr(value, "__name__", type(value).__name__)
    told = look.told(value)
    if look.unknown:
        warn(
            f"a checkpoint cannot tell the {' and the '.join(sorted(look.unknown))} in {name} from another: see to it "
            "that a training run which is resumed has the same."
        )
    return f"{name} {told}"


class _Look:
    """A hash of all that a value is made of: first the value, then what it holds, then what that holds, and so on."""

    def __init__(self, seen: Mapping[int, tuple[int, Any]] | None = None) -> None:
        self.unknown: set[str] = set()
        self._digest = hashlib.sha256()
        self._seen = dict(seen or {})  # the value too, or another could take its address
        self._parts = 0
        self._waiting: deque[Any] = deque()
        self._modules: dict[str, types.ModuleType] = {}  # the user's own
        self._attributes: set[str] = set()  # that any code asks something for: of a module no others count
        self._done: set[tuple[str, str]] = set()

    def told(self, value: Any) -> str:
        """The hash of a value."""
        self._at(value)
        while self._waiting:
            self._inside(self._waiting.popleft())
            if not self._waiting:
                self._add_modules()
        return self._digest.hexdigest()

    def _at(self, value: Any) -> None:
        if value is None or isinstance(value, _PLAIN):
            self._say(type(value).__name__, str(value) if isinstance(value, PurePath) else repr(value))
        elif id(value) in self._seen and not isinstance(value, tuple | frozenset):  # equal ones may be one, or not
            self._say("seen", self._seen[id(value)][0])
        elif self._parts >= _MOST:
            self.unknown.add(f"rest of more than {_MOST:,} parts")
        else:
            self._parts += 1
            self._seen[id(value)] = len(self._seen), value
            self._waiting.append(value)

    def _add_modules(self) -> None:
        """What the code that was seen finds in the modules that it names."""
        found = {(module, name) for module in self._modules for name in self._attributes} - self._done
        for module, name in sorted(found):
            self._done.add((module, name))
            if name in vars(self._modules[module]):
                self._say("of", module, name)
                self._at(vars(self._modules[module])[name])

    def _say(self, *words: object) -> None:
        self._digest.update(repr(words).encode())

    def _all(self, kind: str, values: Iterable[Any]) -> None:
        contents = list(values)
        self._say(kind, len(contents))
        for value in contents:
            self._at(value)

    def _inside(self, value: Any) -> None:
        match value:
            case types.FunctionType() if _is_installed(value.__module__) and "<" not in value.__qualname__:
                self._say(value.__module__, value.__qualname__)
            case types.FunctionType():
                self._function(value)
            case types.CodeType():
                self._code(value)
            case types.ModuleType():
                self._say("module", value.__name__)
                if not _is_installed(value.__name__):
                    self._modules[value.__name__] = value
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
                self._say("set", sorted(map(self._apart, value)))
            case property():
                self._all("property", (value.fget,))
            case staticmethod() | classmethod():
                self._all(type(value).__name__, (value.__func__,))
            case logging.Logger():
                self._say("logger", value.name)
            case re.Pattern():
                self._say("pattern", value.pattern, value.flags)
            case _ if library_of(value) is not None:
                array = to_host(value)
                self._say("array", array.dtype.str, array.shape)
                self._at(array.tolist()) if array.dtype.hasobject else self._digest.update(array.tobytes())
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
        steps = list(_steps(function.__code__))
        cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
        changed = _names(steps, "STORE_GLOBAL", "STORE_DEREF")  # a counter of its own is no setting
        self._attributes |= _names(steps, "LOAD_ATTR", "LOAD_METHOD", "IMPORT_FROM")
        self._code(function.__code__)
        self._all("defaults", (function.__defaults__, function.__kwdefaults__))
        self._all("closure", ((name, _content(cell)) for name, cell in cells if name not in changed))
        self._all("imports", _imported(function, steps))
        for name in sorted(_names(steps, "LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS") - changed):
            if name in function.__globals__:
                self._say("global", name)
                self._at(function.__globals__[name])

    def _code(self, code: types.CodeType) -> None:
        counts = code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags
        self._say("code", code.co_code, *counts, code.co_names, code.co_varnames, code.co_freevars)
        self._all("constants", code.co_consts)

    def _class(self, made: type) -> None:
        self._say("class", made.__qualname__)
        for base in made.__mro__:
            if _is_installed(base.__module__):
                self._say(base.__module__, base.__qualname__)
                continue
            for name, member in sorted(vars(base).items()):
                if not isinstance(member, types.MemberDescriptorType | types.GetSetDescriptorType) and _counts(
                    name, member
                ):
                    self._say(base.__qualname__, name)
                    self._at(member)

    def _object(self, value: Any) -> None:
        self._class(type(value))
        slots = [name for base in type(value).__mro__ for name in _as_names(vars(base).get("__slots__", ()))]
        if is_dataclass(value):
            contents = {field.name: getattr(value, field.name) for field in fields(value) if field.compare}
        else:
            contents = {name: getattr(value, name) for name in slots if hasattr(value, name)}
            contents |= getattr(value, "__dict__", {})
            if not slots and not hasattr(value, "__dict__"):
                self.unknown.add(type(value).__qualname__)
        self._at(contents)

    def _apart(self, value: Any) -> str:
        """A hash of one value by itself."""
        look = _Look(self._seen)
        told = look.told(value)
        self.unknown |= look.unknown
        return told


@functools.cache
def _is_installed(module: str | None) -> bool:
    """Whether the module comes with Python, with this library, or with one that was installed: it is not the user's."""
    top = (module or "__main__").partition(".")[0]
    if top in ("__main__", "chainrule", "numpy") or top in sys.builtin_module_names:
        return top != "__main__"
    found = sys.modules.get(module or top) or sys.modules.get(top)
    try:
        file = getattr(found, "__file__", None) if found else getattr(find_spec(top), "origin", None)
    except (ImportError, ValueError):
        file = None
    if file is None or file == "frozen":
        return top in sys.stdlib_module_names
    path = Path(file)
    return not _INSTALLED.isdisjoint(path.parts) or path.is_relative_to(_STDLIB)


def _steps(code: types.CodeType) -> Iterator[dis.Instruction]:
    """The instructions of a function and of those that are written in it."""
    yield from (step for step in dis.get_instructions(code) if step.opname != "EXTENDED_ARG")
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _steps(constant)


def _names(steps: Iterable[dis.Instruction], *operations: str) -> set[str]:
    """The names that these operations have."""
    return {step.argval for step in steps if step.opname in operations}


def _imported(function: types.FunctionType, steps: list[dis.Instruction]) -> Iterator[types.ModuleType]:
    """The user's own modules that a function imports when it is called, which it would do in its first step."""
    for level, names, step in zip(steps, steps[1:], steps[2:], strict=False):
        if step.opname == "IMPORT_NAME" and (level.argval or not _is_installed(step.argval)):
            try:
                yield __import__(step.argval, function.__globals__, None, names.argval, level.argval)
            except Exception:  # it may never come there, and says so itself where it does
                continue


def _counts(name: str, member: Any) -> bool:
    """Whether a class's member says what its objects do: not its text, and not what Python keeps with it."""
    if not name.startswith("__"):
        return not name.startswith("_abc_")
    return isinstance(member, types.FunctionType) and name != "__repr__"


def _content(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # nothing yet
        return "empty"


def _as_names(slots: str | Iterable[str]) -> tuple[str, ...]:
    return (slots,) if isinstance(slots, str) else tuple(slots)
