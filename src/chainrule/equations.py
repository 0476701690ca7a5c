"""Where an equation stands in the source, and what runs in its place: ``chainrule where Adam``.

An equation is written once, in array-API functions. Some have faster bodies too, by library (``_kernels``); a backend
with ``kernels=False`` runs what is written.
"""

from __future__ import annotations

import difflib
import inspect
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import FunctionType
from typing import Any

from . import (
    activations,
    backpropagation,
    batch,
    initializers,
    layers,
    losses,
    network,
    optimizers,
    penalties,
    schedules,
)
from ._base.errors import ConfigurationError
from ._kernels import FASTER_BODIES, WHEN_THEY_RUN

_ROOMS = (
    *(activations, backpropagation, batch, initializers, layers),
    *(losses, network, optimizers, penalties, schedules),
)
_TABLES = (activations.ACTIVATIONS, losses.LOSSES, optimizers.OPTIMIZERS)  # names that an option takes


@dataclass(frozen=True)
class Body:
    """Lines of the source, and the faster bodies that run in their place.

    Attributes:
        name: of the class or function; of a faster body, of its library.
        path: of the file.
        first: the first line, counted from 1.
        last: the last line.
        summary: what it says of itself.
        faster: the faster bodies, a ``Body`` each.
    """

    name: str
    path: Path
    first: int
    last: int
    summary: str
    faster: tuple[Body, ...] = ()


@dataclass(frozen=True)
class Equation:
    """What ``where`` found; ``print`` it for a table.

    Attributes:
        bodies: what was asked for, and then the operations that it calls and a library replaces, a ``Body`` each.
    """

    bodies: tuple[Body, ...]

    @property
    def libraries(self) -> tuple[str, ...]:
        """The libraries that have a faster body of any of it."""
        have = {faster.name for body in self.bodies for faster in body.faster}
        return tuple(library for library in FASTER_BODIES if library in have)

    def __str__(self) -> str:
        rows = [row for body in self.bodies for row in (("", body), *(("  ", faster) for faster in body.faster))]
        names = [indent + body.name for indent, body in rows]
        places = [f"{_shown(body.path)}:{body.first}" for _, body in rows]
        wide, far = max(map(len, names)), max(map(len, places))
        lines = [
            f"{name:<{wide}}  {place:<{far}}  to line {body.last:<4}  {body.summary if indent else ''}".rstrip()
            for name, place, (indent, body) in zip(names, places, rows, strict=True)
        ]
        return "\n".join([*lines, self._summary()])

    def _summary(self) -> str:
        if not self.libraries:
            return "What is written is what runs, on every library."
        when = "; ".join(f"{library}'s {WHEN_THEY_RUN[library]}" for library in self.libraries)
        return f"A body of a library runs in place of the one above it: {when}. With kernels=False none does."


def where(name: str) -> Equation:
    """Where the equation of this name stands in the source, and what runs in its place on which library.

    Args:
        name: a class (``"Adam"``, ``"Dense"``, ``"ReLU"``), a function (``"affine"``, ``"clip_norm"``), or the name of
            an activation, a loss or an optimizer (``"relu"``).

    Raises:
        ConfigurationError: nothing is called so; the message says what nearly is.

    Example:
        >>> from chainrule.equations import where
        >>> [body.name for body in where("AdamW").bodies], where("AdamW").libraries
        (['AdamW', 'adam', 'update'], ('NumPy', 'Numba', 'CuPy', 'torch'))
        >>> where("CosineDecay").libraries
        ()
    """
    known = _named()
    if name not in known:
        spelt = {other.lower(): other for other in known}
        near = [repr(spelt[word]) for word in difflib.get_close_matches(str(name).lower(), spelt, cutoff=0.5)]
        hint = (
            f"did you mean {' or '.join(near)}?" if near else "write a class or a function, like Adam, relu or affine."
        )
        raise ConfigurationError(f"no equation is called {name!r:.60}: {hint}")
    thing = known[name]
    return Equation((_body(thing), *(_body(operation, thing) for operation in _operations(thing))))


@cache
def _named() -> dict[str, Any]:
    """Every function and class of the rooms that teach, and each operation with a faster body, by its name."""
    named = {operation.__name__: operation for operation in _replaced()}
    for room in _ROOMS:
        for name, thing in vars(room).items():
            own = isinstance(thing, type | FunctionType) and thing.__module__.startswith(room.__name__)
            if own and not name.startswith("_") and not getattr(thing, "_is_protocol", False):
                named[name] = thing
    for table in _TABLES:
        for name, part in table.items():
            named.setdefault(name, part if isinstance(part, type) else type(part))
    return named


def _replaced() -> Iterator[Any]:
    """The operations that have a faster body somewhere."""
    yield from dict.fromkeys(operation for table in FASTER_BODIES.values() for operation in table)


def _operations(thing: Any) -> Iterator[Any]:
    """The replaced operations that a function or a class's methods run, and those that take an object of the class."""
    methods = [part for part in (*vars(thing).values(), thing) if isinstance(part, FunctionType)]
    names = {name for part in methods if "run" in part.__code__.co_names for name in part.__code__.co_names}
    kinds = {kind.__name__ for kind in getattr(thing, "__mro__", ())}
    scope = vars(sys.modules[thing.__module__])
    for operation in _replaced():
        taken = {word for note in operation.__annotations__.values() for word in re.findall(r"\w+", str(note))}
        runs = operation.__name__ in names and scope.get(operation.__name__) is operation
        if operation is not thing and (kinds & taken or runs):
            yield operation


def _body(thing: Any, taken: Any = None) -> Body:
    """The lines of a class or an operation, with the faster bodies of it that cover the class that is ``taken``."""
    faster = (_place(table[thing], library) for library, table in FASTER_BODIES.items() if thing in table)
    return _place(thing, faster=tuple(body for body in faster if _covers(body, taken)))


def _covers(body: Body, kind: Any) -> bool:
    """A faster body is for the classes that its summary names; one that names none of a kind is for all of it."""
    if not isinstance(kind, type):
        return True
    alike = {n for n, other in _named().items() if isinstance(other, type) and other.__mro__[1:] == kind.__mro__[1:]}
    named = alike & set(re.findall(r"\w+", body.summary))
    return not named or kind.__name__ in named


def _place(thing: Any, name: str | None = None, faster: tuple[Body, ...] = ()) -> Body:
    thing = inspect.unwrap(thing)
    lines, first = inspect.getsourcelines(thing)
    path = Path(inspect.getsourcefile(thing) or "")
    summary = (inspect.getdoc(thing) or "").partition("\n")[0].replace("``", "")
    return Body(name or thing.__name__, path, first, first + len(lines) - 1, summary, faster)


def _shown(path: Path) -> Path:
    """From here, where it lies below."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
