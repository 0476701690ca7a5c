"""Recording what a step does with NumPy arrays: the first half of NumPy's ``compile``; ``_program`` is the second.

A step is run once on ``Traced`` arrays. Each computes at once, on a copy, and leaves a ``Node`` on a ``Tape``: which
call made which arrays from which. What does not depend on a traced array is computed once and is a constant of the
program. A traced array has no way out: it has no value on the host, no ``__array__``, and NumPy's own functions refuse
it, so nothing that changes from step to step can be frozen unseen. ``_functions`` says what can be recorded.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, NoReturn

import numpy as np


class RecordingError(TypeError):
    """The step reads a value on the host, or uses a function that cannot be recorded."""


class HostReadError(RecordingError):
    """The step reads a value on the host, which no library can compile."""


class NotCovered(Exception):  # noqa: N818 - no error: what is not covered runs as it did
    """What cannot be called by its address; the text says what."""


@dataclass(frozen=True)
class Work:
    """What a kernel does, for who calls its loops by their addresses.

    Attributes:
        kind: ``elements``, each number from those at its place; ``product``, of matrices; ``reduction`` along ``axis``;
            ``rows`` and ``flat``, a loop of ours that can be cut by rows, or by places of flat vectors; ``once``, one
            that cannot; ``join``, of pieces.
        function: NumPy's, or the name of ours; None of a product that NumPy has not.
        in_place: its first input is its output too.
        axis: what a reduction is along.
        cut: the numbers of the arrays, inputs and then outputs, that a loop of ours has a part of for each item.
        dtypes: the numbers of those whose dtypes it is compiled for.
        numbers: constants that it takes after its arrays, in float64.
    """

    kind: Literal["elements", "product", "reduction", "rows", "flat", "once", "join"]
    function: Any = None
    in_place: bool = False
    axis: Any = None
    cut: tuple[int, ...] = ()
    dtypes: tuple[int, ...] = (0,)
    numbers: tuple[float, ...] = ()


@dataclass(frozen=True)
class Kernel:
    """A call that writes its results into arrays that it is handed: ``body(*inputs, *outputs)``.

    Calling the kernel on arrays makes its outputs; calling it on traced arrays records it as well.

    Attributes:
        body: what runs. NumPy's ufuncs have this form.
        make: the same into new arrays, as a tuple.
        writes: the numbers of those inputs that the body overwrites.
        elementwise: whether an output may lie in the memory of an input of its shape that nothing reads afterwards.
        bind: the call for given arrays, where it is not ``body`` with all of them.
        work: the same as calls by address, where there are some.
    """

    body: Callable[..., Any]
    make: Callable[..., tuple[Any, ...]]
    writes: tuple[int, ...] = ()
    elementwise: bool = False
    bind: Callable[[Sequence[Any], Sequence[np.ndarray]], Callable[[], Any]] | None = None
    work: Work | None = None

    def call(self, inputs: Sequence[Any], outputs: Sequence[np.ndarray]) -> Callable[[], Any]:
        """The call on these arrays."""
        return partial(self.body, *inputs, *outputs) if self.bind is None else self.bind(inputs, outputs)

    def __call__(self, *inputs: Any) -> Any:
        """The output, or a tuple of them."""
        tape = tape_of(inputs)
        outputs = self.make(*map(array_of, inputs))
        if tape is not None:
            outputs = tape.record(self, inputs, tuple(map(np.asarray, outputs)))
        return outputs[0] if len(outputs) == 1 else outputs


def kernel(
    body: Callable[..., Any], outputs: Callable[..., Sequence[tuple[tuple[int, ...], Any]]], **options: Any
) -> Kernel:
    """A kernel whose outputs' (shape, dtype) are known from its inputs."""

    def make(*inputs: Any) -> tuple[np.ndarray, ...]:
        made = tuple(np.empty(shape, dtype) for shape, dtype in outputs(*inputs))
        body(*inputs, *made)
        return made

    return Kernel(body, make, **options)


def _in_place_by_two(function: np.ufunc, x: np.ndarray, other: np.ndarray, scratch: np.ndarray) -> None:
    """On one number this is faster than in place, where NumPy looks long at how the arrays overlap."""
    function(x, other, scratch)
    np.copyto(x, scratch)


def ufunc(function: np.ufunc) -> Kernel:
    """A NumPy function of arrays."""

    def bind(inputs: Sequence[Any], outputs: Sequence[np.ndarray]) -> Callable[[], Any]:
        arguments = numbers_as_arrays(inputs)
        if function in (np.maximum, np.minimum):  # they want to be told by name; by position is faster
            return partial(function, *arguments, out=outputs[0])
        return partial(function, *arguments, outputs[0])

    elementwise = function.signature is None
    work = Work("elements" if elementwise else "product", function)
    return Kernel(function, lambda *inputs: (function(*inputs),), elementwise=elementwise, bind=bind, work=work)


def numbers_as_arrays(inputs: Sequence[Any]) -> Sequence[Any]:
    """Python's numbers as arrays of the other operand's dtype, which they would become in every call."""
    dtype = next(x.dtype for x in inputs if isinstance(x, np.ndarray))
    fits = {"f": (int, float), "i": (int,)}.get(dtype.kind, ())
    return [np.asarray(x, dtype) if type(x) in fits else x for x in inputs]


def opaque(function: Callable[..., Any]) -> Kernel:
    """Any function of arrays, run as it is in every step; what it returns is copied into the program's memory."""

    def make(*inputs: Any) -> tuple[Any, ...]:
        made = function(*inputs)
        return made if isinstance(made, tuple) else (made,)

    def bind(inputs: Sequence[Any], outputs: Sequence[np.ndarray]) -> Callable[[], Any]:
        def call() -> None:
            for output, made in zip(outputs, make(*inputs), strict=True):
                np.copyto(output, made)

        return call

    return Kernel(make, make, bind=bind)


@dataclass(eq=False)
class Register:
    """Where an array of the program will lie, without its numbers.

    ``base`` and ``view`` say of which other register it is a view, and how to take it; ``whole``: it has all of the
    root's numbers, in their order and without gaps.
    """

    shape: tuple[int, ...]
    dtype: Any
    base: Register | None = None
    view: Callable[[np.ndarray], np.ndarray] | None = None
    whole: bool = True

    @property
    def root(self) -> Register:
        """The register that owns the memory."""
        return self if self.base is None else self.base.root

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        return self.size * int(self.dtype.itemsize)


@dataclass(eq=False)
class Node:
    """One recorded call; an input that has no register is a constant."""

    kernel: Kernel
    inputs: tuple[Any, ...]
    outputs: tuple[Register, ...]


def work_of(node: Node) -> Work:
    """What the call does; raises NotCovered where only Python can make it."""
    if node.kernel.work is None:
        raise NotCovered("a call that only Python can make")
    return node.kernel.work


@dataclass(eq=False)
class Tape:
    """The calls of one step, in their order."""

    nodes: list[Node] = field(default_factory=list)

    def record(self, kernel: Kernel, inputs: tuple[Any, ...], outputs: tuple[np.ndarray, ...]) -> tuple[Traced, ...]:
        """The outputs as traced arrays."""
        made = tuple(Traced(self, output) for output in outputs)
        self.nodes.append(Node(kernel, tuple(map(register_of, inputs)), tuple(one.register for one in made)))
        return made


class Traced:
    """An array of the recorded step: its numbers, which live no longer than in the step, and its register."""

    __array_ufunc__ = None  # NumPy's operators give way to the ones below, its functions refuse

    def __init__(self, tape: Tape, array: np.ndarray, register: Register | None = None) -> None:
        self.tape, self.array = tape, array
        self.register = Register(array.shape, array.dtype) if register is None else register

    @property
    def shape(self) -> tuple[int, ...]:
        return self.array.shape

    @property
    def ndim(self) -> int:
        return self.array.ndim

    @property
    def size(self) -> int:
        return self.array.size

    @property
    def dtype(self) -> Any:
        return self.array.dtype

    @property
    def mT(self) -> Traced:
        return self.viewed(lambda array: array.mT)

    def __getitem__(self, key: Any) -> Traced:
        for part in key if isinstance(key, tuple) else (key,):
            if not (part is None or part is Ellipsis or isinstance(part, slice | int)):
                raise RecordingError("an array is indexed by an array: use take")
        if all(isinstance(part, int) for part in (key if isinstance(key, tuple) else (key,))):
            key = (*(key if isinstance(key, tuple) else (key,)), Ellipsis)  # a 0-d array, not a scalar
        return self.viewed(lambda array: array[key])

    def viewed(self, view: Callable[[np.ndarray], np.ndarray]) -> Traced:
        """The view of this array that ``view`` takes of any."""
        seen, base = view(self.array), self.register
        whole = base.whole and seen.size == self.size and seen.flags.c_contiguous
        return Traced(self.tape, seen, Register(seen.shape, seen.dtype, base, view, whole))

    def __setitem__(self, key: Any, value: Any) -> NoReturn:
        raise RecordingError("an item of an array is assigned")

    def _no_value(self, *_: Any, **__: Any) -> NoReturn:
        raise HostReadError("the value of an array is read on the host")

    __bool__ = __int__ = __float__ = __complex__ = __index__ = __array__ = __len__ = __iter__ = __dlpack__ = _no_value
    __hash__ = object.__hash__


_BINARY = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "truediv": np.true_divide, "pow": np.power,
    "floordiv": np.floor_divide, "mod": np.remainder, "matmul": np.matmul,
    "and": np.bitwise_and, "or": np.bitwise_or, "xor": np.bitwise_xor,
    "lshift": np.left_shift, "rshift": np.right_shift,
}  # fmt: skip
_COMPARED = {
    "lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal, "eq": np.equal, "ne": np.not_equal,
}  # fmt: skip
_UNARY = {"neg": np.negative, "abs": np.abs, "invert": np.invert}


def _give_operators() -> None:
    """Make ``x + y`` on traced arrays a recorded call, and ``x += y`` one in place."""
    for name, function in (_BINARY | _COMPARED).items():
        setattr(Traced, f"__{name}__", _operator(ufunc(function)))
    for name, function in _BINARY.items():
        setattr(Traced, f"__r{name}__", _operator(ufunc(function), reflected=True))
        setattr(Traced, f"__i{name}__", _in_place(function))
    for name, function in _UNARY.items():
        setattr(Traced, f"__{name}__", _operator(ufunc(function)))


def _operator(call: Kernel, *, reflected: bool = False) -> Callable[..., Any]:
    def operator(*operands: Any) -> Any:
        return call(*(operands[::-1] if reflected else operands))

    return operator


def _in_place(function: np.ufunc) -> Callable[[Traced, Any], Traced]:
    def make(x: np.ndarray, other: Any) -> tuple[()]:
        function(x, other, x)
        return ()

    def bind(inputs: Sequence[Any], _: Sequence[np.ndarray]) -> Callable[[], Any]:
        x, other = numbers_as_arrays(inputs)
        if x.size == 1:
            return partial(_in_place_by_two, function, x, other, np.empty_like(x))
        return partial(function, x, other, x)

    change = Kernel(make, make, writes=(0,), bind=bind, work=Work("elements", function, in_place=True))

    def operator(self: Traced, other: Any) -> Traced:
        if not self.array.flags.writeable:
            raise RecordingError("an argument of the step is written to")
        change(self, other)
        return self

    return operator


def array_of(x: Any) -> Any:
    """The array of a traced one; anything else as it is."""
    return x.array if isinstance(x, Traced) else x


def register_of(x: Any) -> Any:
    """The register of a traced array; anything else is a constant."""
    return x.register if isinstance(x, Traced) else x


def _traced(values: Any) -> Iterator[Traced]:
    for value in values:
        if isinstance(value, Traced):
            yield value
        elif isinstance(value, tuple | list):
            yield from _traced(value)


def tape_of(values: Any) -> Tape | None:
    first = next(_traced(values), None)
    return None if first is None else first.tape


_give_operators()
