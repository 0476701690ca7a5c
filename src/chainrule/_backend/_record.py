"""Recording what a step does with NumPy arrays: the first half of NumPy's ``compile``; ``_program`` is the second.

A step is run once on ``Traced`` arrays. Each computes at once, on a copy, and leaves a ``Node`` on a ``Tape``: which
call made which arrays from which. What does not depend on a traced array is computed once and is a constant of the
program. A traced array has no way out: it has no value on the host, no ``__array__``, and NumPy's own functions refuse
it, so nothing that changes from step to step can be frozen unseen. What is not in ``FUNCTIONS`` cannot be recorded.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NoReturn

import array_api_compat.numpy
import numpy as np

from .._typing import Namespace


class RecordingError(TypeError):
    """The step reads a value on the host, or uses a function that cannot be recorded."""


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
    """

    body: Callable[..., Any]
    make: Callable[..., tuple[Any, ...]]
    writes: tuple[int, ...] = ()
    elementwise: bool = False
    bind: Callable[[Sequence[Any], Sequence[np.ndarray]], Callable[[], Any]] | None = None

    def call(self, inputs: Sequence[Any], outputs: Sequence[np.ndarray]) -> Callable[[], Any]:
        """The call on these arrays."""
        return partial(self.body, *inputs, *outputs) if self.bind is None else self.bind(inputs, outputs)

    def __call__(self, *inputs: Any) -> Any:
        """The output, or a tuple of them."""
        tape = _tape_of(inputs)
        outputs = self.make(*map(_array, inputs))
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
        arguments = _numbers_as_arrays(inputs)
        if function in (np.maximum, np.minimum):  # they want to be told by name; by position is faster
            return partial(function, *arguments, out=outputs[0])
        return partial(function, *arguments, outputs[0])

    return Kernel(function, lambda *inputs: (function(*inputs),), elementwise=function.signature is None, bind=bind)


def _numbers_as_arrays(inputs: Sequence[Any]) -> Sequence[Any]:
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
class Place:
    """Where an array of the program will lie, without its numbers.

    ``base`` and ``view`` say of which other place it is a view, and how to take it; ``whole``: it has all of the root's
    numbers, in their order and without gaps.
    """

    shape: tuple[int, ...]
    dtype: Any
    base: Place | None = None
    view: Callable[[np.ndarray], np.ndarray] | None = None
    whole: bool = True

    @property
    def root(self) -> Place:
        """The place that owns the memory."""
        return self if self.base is None else self.base.root

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        return self.size * int(self.dtype.itemsize)


@dataclass(eq=False)
class Node:
    """One recorded call; an input that has no place is a constant."""

    kernel: Kernel
    inputs: tuple[Any, ...]
    outputs: tuple[Place, ...]


@dataclass(eq=False)
class Tape:
    """The calls of one step, in their order."""

    nodes: list[Node] = field(default_factory=list)

    def record(self, kernel: Kernel, inputs: tuple[Any, ...], outputs: tuple[np.ndarray, ...]) -> tuple[Traced, ...]:
        """The outputs as traced arrays."""
        made = tuple(Traced(self, output) for output in outputs)
        self.nodes.append(Node(kernel, tuple(map(place_of, inputs)), tuple(one.place for one in made)))
        return made


class Traced:
    """An array of the recorded step: its numbers, which live no longer than they would in the step, and its place."""

    __array_ufunc__ = None  # NumPy's operators give way to the ones below, its functions refuse

    def __init__(self, tape: Tape, array: np.ndarray, place: Place | None = None) -> None:
        self.tape, self.array = tape, array
        self.place = Place(array.shape, array.dtype) if place is None else place

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
        return self._view(lambda array: array.mT)

    def __getitem__(self, key: Any) -> Traced:
        for part in key if isinstance(key, tuple) else (key,):
            if not (part is None or part is Ellipsis or isinstance(part, slice | int)):
                raise RecordingError("an array is indexed by an array: use take")
        if all(isinstance(part, int) for part in (key if isinstance(key, tuple) else (key,))):
            key = (*(key if isinstance(key, tuple) else (key,)), Ellipsis)  # a 0-d array, not a scalar
        return self._view(lambda array: array[key])

    def _view(self, view: Callable[[np.ndarray], np.ndarray]) -> Traced:
        seen, base = view(self.array), self.place
        whole = base.whole and seen.size == self.size and seen.flags.c_contiguous
        return Traced(self.tape, seen, Place(seen.shape, seen.dtype, base, view, whole))

    def __setitem__(self, key: Any, value: Any) -> NoReturn:
        raise RecordingError("an item of an array is assigned")

    def _no_value(self, *_: Any, **__: Any) -> NoReturn:
        raise RecordingError("the value of an array is read on the host")

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
        x, other = _numbers_as_arrays(inputs)
        if x.size == 1:
            return partial(_in_place_by_two, function, x, other, np.empty_like(x))
        return partial(function, x, other, x)

    change = Kernel(make, make, writes=(0,), bind=bind)

    def operator(self: Traced, other: Any) -> Traced:
        if not self.array.flags.writeable:
            raise RecordingError("an argument of the step is written to")
        change(self, other)
        return self

    return operator


def _array(x: Any) -> Any:
    return x.array if isinstance(x, Traced) else x


def place_of(x: Any) -> Any:
    """The place of a traced array; anything else is a constant."""
    return x.place if isinstance(x, Traced) else x


def _traced(values: Any) -> Iterator[Traced]:
    for value in values:
        if isinstance(value, Traced):
            yield value
        elif isinstance(value, tuple | list):
            yield from _traced(value)


def _tape_of(values: Any) -> Tape | None:
    first = next(_traced(values), None)
    return None if first is None else first.tape


# ----------------------------------------------------------------------------------------------------- the namespace


def _reduction(reduce: Callable[..., Any]) -> Callable[..., Any]:
    """``reduce(x, axis, dtype, out, keepdims)``."""

    def function(x: Traced, /, *, axis: Any = None, keepdims: bool = False) -> Any:
        def make(x: np.ndarray) -> tuple[Any]:
            return (reduce(x, axis, None, None, keepdims),)

        def bind(inputs: Sequence[Any], outputs: Sequence[np.ndarray]) -> Callable[[], Any]:
            return partial(reduce, inputs[0], axis, None, outputs[0], keepdims)

        return Kernel(make, make, bind=bind)(x)

    return function


_sum = _reduction(np.add.reduce)


def _mean(x: Traced, /, *, axis: Any = None, keepdims: bool = False) -> Any:
    total = _sum(x, axis=axis, keepdims=keepdims)
    total /= x.size / max(1, total.size)
    return total


def _astype(x: Traced, dtype: Any, /, *, copy: bool = True, device: Any = None) -> Any:
    def body(x: np.ndarray, out: np.ndarray) -> None:
        np.copyto(out, x, casting="unsafe")

    return kernel(body, lambda x: ((x.shape, np.dtype(dtype)),))(x)


def _reshape(x: Traced, shape: Any, /) -> Any:
    view = x._view(lambda array: np.reshape(array, shape))
    return view if np.shares_memory(view.array, x.array) or not x.size else opaque(lambda a: np.reshape(a, shape))(x)


def _clip(x: Traced, /, min: Any = None, max: Any = None) -> Any:
    raised = x if min is None else ufunc(np.maximum)(x, min)
    return raised if max is None else ufunc(np.minimum)(raised, max)


def _where(condition: Any, yes: Any, no: Any, /) -> Any:
    """Selected bit by bit: NumPy's ``where`` takes ten times as long on a condition that is true here and there."""
    return Kernel(_where_into_new, _where_into_new, bind=_bind_where)(condition, yes, no)[0]


def _where_into_new(*inputs: Any) -> tuple[np.ndarray, np.ndarray]:
    out = np.where(*inputs)
    return out, np.empty(out.shape, f"i{out.dtype.itemsize}")


def _bind_where(inputs: Sequence[Any], outputs: Sequence[np.ndarray]) -> Callable[[], Any]:
    (condition, yes, no), (out, ones) = inputs, outputs
    chosen, other = (np.asarray(x, out.dtype).view(ones.dtype) for x in (yes, no))
    bits, holds = out.view(ones.dtype), condition.view(np.int8)

    def call() -> None:
        np.copyto(ones, holds)
        np.negative(ones, ones)  # all bits 1 where the condition holds, else 0
        np.bitwise_xor(chosen, other, bits)
        np.bitwise_and(bits, ones, bits)
        np.bitwise_xor(bits, other, bits)

    return call


def _join(*arguments: np.ndarray) -> None:
    np.concatenate(arguments[:-1], -1, arguments[-1])


# By itself, since a program writes the pieces where they are joined.
JOIN = Kernel(_join, lambda *pieces: (np.concatenate(pieces, -1),))


def _concat(arrays: Sequence[Any], /, *, axis: int = 0) -> Any:
    if axis != -1:
        raise RecordingError("arrays are joined along another axis than the last")
    return JOIN(*arrays)


def _take(x: Any, indices: Any, /, *, axis: int = 0) -> Any:
    return opaque(lambda x, indices: np.take(x, indices, axis=axis))(x, indices)


def _argmax(x: Traced, /, *, axis: int) -> Any:
    def make(x: np.ndarray) -> tuple[Any]:
        return (np.argmax(x, axis),)

    def bind(inputs: Sequence[Any], outputs: Sequence[np.ndarray]) -> Callable[[], Any]:
        return partial(np.argmax, inputs[0], axis, outputs[0])

    return Kernel(make, make, bind=bind)(x)


def _asarray(x: Traced, /, *, copy: bool | None = None) -> Any:
    return _astype(x, x.dtype) if copy else x


def _constant(make: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
    def function(x: Traced, /, *arguments: Any, dtype: Any = None, device: Any = None) -> np.ndarray:
        return make(x.shape, *arguments, dtype=x.dtype if dtype is None else dtype)

    return function


_UFUNCS = """
    abs add cos cosh divide equal exp expm1 floor greater greater_equal isfinite less less_equal log log1p logical_and
    logical_not logical_or matmul maximum minimum multiply negative not_equal sign sin sinh sqrt square subtract tan
    tanh
"""
FUNCTIONS: dict[str, Callable[..., Any]] = {name: ufunc(getattr(np, name)) for name in _UFUNCS.split()} | {
    "sum": _sum,
    "mean": _mean,
    "max": _reduction(np.maximum.reduce),
    "min": _reduction(np.minimum.reduce),
    "astype": _astype,
    "reshape": _reshape,
    "clip": _clip,
    "where": _where,
    "concat": _concat,
    "take": _take,
    "argmax": _argmax,
    "asarray": _asarray,
    "zeros_like": _constant(np.zeros),
    "ones_like": _constant(np.ones),
    "full_like": _constant(np.full),
}


class Recorder:
    """The array API namespace of a step that is recorded: NumPy's, unless an argument is a traced array."""

    def __getattr__(self, name: str) -> Any:
        plain = getattr(array_api_compat.numpy, name)
        if not callable(plain) or isinstance(plain, type):
            return plain
        recorded = FUNCTIONS.get(name)

        def function(*arguments: Any, **options: Any) -> Any:
            if _tape_of((arguments, tuple(options.values()))) is None:
                return plain(*arguments, **options)
            if recorded is None:
                raise RecordingError(f"{name} cannot be recorded")
            return recorded(*arguments, **options)

        return function


RECORDER: Namespace = Recorder()

_give_operators()
