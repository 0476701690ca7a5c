"""NumPy's compiled inner loops, by their addresses, and calls of them that need no Python.

A NumPy function of arrays is a table of loops in C, one for each set of dtypes: ``loop(arguments, dimensions, steps,
data)``, with the addresses of the first numbers, how many there are, and the bytes from one to the next. The table is
part of NumPy's C interface (numpy/ufuncobject.h). Called by its address such a loop gives NumPy's own bits, and needs
neither Python nor its lock: what a step as one compiled call is made of (``_items``).
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Protocol

import numpy as np

from ._record import Node, NotCovered, Work, numbers_as_arrays, work_of

ELEMENTS, SPAN, MATRIX, REDUCE, OWN = range(5)
"""How a call is cut: a loop for each row, one loop over all of them, rows of a matrix, a reduction of each row, and a
loop of ours, which takes the rows and what there is in each."""


class _UFunc(ctypes.Structure):
    """The beginning of PyUFuncObject."""

    _fields_ = (
        ("references", ctypes.c_ssize_t),
        ("type", ctypes.c_void_p),
        ("nin", ctypes.c_int),
        ("nout", ctypes.c_int),
        ("nargs", ctypes.c_int),
        ("identity", ctypes.c_int),
        ("functions", ctypes.POINTER(ctypes.c_void_p)),
        ("data", ctypes.POINTER(ctypes.c_void_p)),
        ("ntypes", ctypes.c_int),
        ("reserved", ctypes.c_int),
        ("name", ctypes.c_char_p),
    )


@dataclass(frozen=True)
class Address:
    """A loop, and the data that it is called with."""

    loop: int
    data: int = 0


@cache
def numpy_loop(function: np.ufunc, dtypes: tuple[Any, ...]) -> Address:
    """The loop of a NumPy function for operands of exactly these dtypes; NotCovered where it would convert some."""
    found = _UFunc.from_address(id(function))
    counts = found.nin, found.nout, found.nargs, found.ntypes
    if counts != (function.nin, function.nout, function.nargs, function.ntypes) or not _is_readable():
        raise NotCovered("NumPy's table of loops is not where its header says")
    try:
        wanted = function.resolve_dtypes((*dtypes[: function.nin], *[None] * function.nout))
    except TypeError:
        wanted = ()
    signature = f"{''.join(t.char for t in wanted[: function.nin])}->{''.join(t.char for t in wanted[function.nin :])}"
    if wanted != dtypes or signature not in function.types:
        raise NotCovered(f"{function.__name__} of {', '.join(map(str, dtypes))}")
    i = function.types.index(signature)
    if not found.functions[i]:
        raise NotCovered(f"{function.__name__} has no loop of the old form")
    return Address(found.functions[i], found.data[i] or 0)


@cache
def _is_readable() -> bool:
    """Whether a loop that is called by its address adds."""
    x, y, out = (np.asarray([number], np.float32) for number in (1.5, 2.25, 0.0))
    found = _UFunc.from_address(id(np.add))
    if "ff->f" not in np.add.types or found.name != b"add":
        return False
    form = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 4)
    i = np.add.types.index("ff->f")
    addresses = (ctypes.c_void_p * 3)(*(a.ctypes.data for a in (x, y, out)))
    form(found.functions[i])(addresses, (ctypes.c_ssize_t * 1)(1), (ctypes.c_ssize_t * 3)(4, 4, 4), found.data[i])
    return bool(out[0] == 3.75)


class Loops(Protocol):
    """What finds loops of our own."""

    def loop(self, name: str, real: Any, other: Any = None) -> Address: ...

    def product(self, x: np.ndarray, y: np.ndarray, out: np.ndarray) -> Address | None:
        """Out = x y by another BLAS than NumPy's; None where that is not taken, or knows no matrices that lie so."""


class Call:
    """A call of a loop on given arrays, as the words that an engine reads.

    They are the loop's address, its data, the form, how many arguments and how many dimensions there are; then the
    dimensions, and of each argument its address and the bytes from one piece of a cut to the next; then the steps.
    ``extent`` is how many pieces there are.
    """

    def __init__(
        self,
        address: Address,
        form: int,
        arrays: Sequence[np.ndarray],
        cut: Sequence[int],
        dimensions: Sequence[int],
        steps: Sequence[int],
        extent: int,
    ) -> None:
        head = [address.loop, address.data, form, len(arrays), len(dimensions)]
        bases = [array.ctypes.data for array in arrays]
        self.words = np.asarray([*head, *dimensions, *bases, *cut, *steps], np.int64)
        self.arrays, self.extent = arrays, extent

    def addresses_in(self, array: np.ndarray) -> Iterator[tuple[int, int]]:
        """Which words are addresses in an array's memory, and how far from its first number."""
        first = array.ctypes.data
        for i, mine in enumerate(self.arrays):
            if np.may_share_memory(mine, array):
                yield 5 + int(self.words[4]) + i, mine.ctypes.data - first

    def take(self, other: Call) -> None:
        """Be this call from now on, in the same place."""
        self.words[:] = other.words
        self.arrays = other.arrays


def calls_of(node: Node, find: Callable[[Any], Any], loops: Loops) -> list[Call]:
    """What is recorded as a node, as calls on the arrays that ``find`` gives. Raises NotCovered."""
    work = work_of(node)
    inputs, outputs = [find(x) for x in node.inputs], [find(x) for x in node.outputs]
    match work.kind:
        case "product":
            x, y, out = *inputs, *outputs
            loop = loops.product(x, y, out)
            if loop is None and work.function is None:
                raise NotCovered("a product that only another BLAS has")
            return [_product(work.function, x, y, out, loop)]
        case "reduction":
            return _reduction(work.function, work.axis, *inputs, *outputs)
        case "elements":
            return [_elements(*_element_loop(work, inputs, outputs, loops))]
    return [_own(work, [*inputs, *outputs], loops)]


def _element_loop(work: Work, inputs: list[Any], outputs: list[Any], loops: Loops) -> tuple[Address, list[np.ndarray]]:
    """The loop, and the arrays that it is called with."""
    if work.function == "where":
        out = outputs[0]
        return loops.loop("where", out.dtype), [inputs[0], *(np.asarray(x, out.dtype) for x in inputs[1:]), out]
    if work.function == "bf16":
        return loops.loop("bf16", inputs[0].dtype), [inputs[0], outputs[0]]
    if work.function == "convert":
        if inputs[0].dtype != outputs[0].dtype:
            return loops.loop("convert", outputs[0].dtype, inputs[0].dtype), [inputs[0], outputs[0]]
        work = replace(work, function=np.positive)
    if work.function == "move":
        own, new = inputs
        return numpy_loop(np.positive, (new.dtype, own.dtype)), [new, own]
    given = [np.asarray(x) for x in numbers_as_arrays(inputs)]
    arrays = [*given, given[0]] if work.in_place else [*given, *outputs]
    return numpy_loop(work.function, tuple(array.dtype for array in arrays)), arrays


def _elements(address: Address, arrays: Sequence[np.ndarray]) -> Call:
    """Each number of the last array from those at its place in the others; cut along the first axis."""
    out = arrays[-1]
    if out.ndim > 2:
        raise NotCovered("arrays of more than two axes")
    shaped = [np.broadcast_to(array, out.shape) for array in arrays]
    if out.ndim < 2:
        steps = [array.strides[0] if out.ndim else 0 for array in shaped]
        return Call(address, SPAN, shaped, steps, [1], steps, out.size)
    rows, columns = out.shape
    cut, steps = [array.strides[0] for array in shaped], [array.strides[1] for array in shaped]
    if columns == 1:
        return Call(address, SPAN, shaped, cut, [1], cut, rows)
    without_gaps = all(far == near * columns for far, near in zip(cut, steps, strict=True))
    return Call(address, SPAN if without_gaps else ELEMENTS, shaped, cut, [columns], steps, rows)


def _product(function: Any, x: np.ndarray, y: np.ndarray, out: np.ndarray, loop: Address | None = None) -> Call:
    """The matrix product, by NumPy's loop if no other is given, cut by the rows of ``out``."""
    if not x.ndim == y.ndim == out.ndim == 2:
        raise NotCovered("products of a stack")
    rows, columns = out.shape
    steps = [0, 0, 0, *x.strides, *y.strides, *out.strides]
    loop = loop or numpy_loop(function, (x.dtype, y.dtype, out.dtype))
    return Call(
        loop, MATRIX, (x, y, out), [x.strides[0], 0, out.strides[0]], [1, rows, x.shape[1], columns], steps, rows
    )


def _reduction(function: Any, axis: Any, x: np.ndarray, out: np.ndarray) -> list[Call]:
    """Along the last axis, or all of it, from the first number on, but a sum from 0; along the first row by row."""
    starts = int(function is not np.add)
    loop = numpy_loop(function, (x.dtype, x.dtype, out.dtype))
    if x.ndim == 2 and axis in (-1, 1):
        rows, columns = x.shape
        each = out.reshape(-1)
        cut = [each.strides[0], x.strides[0], each.strides[0]]
        sizes, steps = [columns, x.itemsize, starts], [0, x.strides[1], 0]
        return [Call(loop, REDUCE, (each, x, each), cut, sizes, steps, rows)]
    if x.ndim == 2 and axis in (-2, 0) and x.shape[1] > 1:
        over = out.reshape(1, -1)
        rest = np.broadcast_to(over, (len(x) - 1, x.shape[1]))
        first = _elements(numpy_loop(np.positive, (x.dtype, out.dtype)), (x[:1], over))
        return [first, _elements(loop, (rest, x[1:], rest))] if len(rest) else [first]
    if x.flags.c_contiguous and out.size == 1:
        all_ = out.reshape(-1)
        return [Call(loop, REDUCE, (all_, x, all_), [0] * 3, [x.size, x.itemsize, starts], [0, x.itemsize, 0], 1)]
    raise NotCovered(f"a reduction of {x.ndim} axes along {axis}")


def _own(work: Work, arrays: list[Any], loops: Loops) -> Call:
    """A loop of ours; its dimensions are how many pieces there are, how long a row of each array is, and its height.

    The steps are those of the first array.
    """
    given = [*map(np.asarray, arrays), *([np.asarray(work.numbers, np.float64)] if work.numbers else [])]
    whole = given[1:] if work.function in ("gather", "note_infinite") else given
    if any(array.ndim > 2 for array in given) or not all(array.flags.c_contiguous for array in whole):
        raise NotCovered(f"{work.function} of arrays with gaps, or of a stack")
    if work.kind == "flat" and given[0].ndim != 1:
        raise NotCovered(f"{work.function} of a stack")
    loop = loops.loop(work.function, *(given[i].dtype for i in work.dtypes))
    extent = len(given[work.cut[0]]) if work.cut else len(given[0])
    cut = [array.strides[0] if i in work.cut else 0 for i, array in enumerate(given)]
    lengths = [array.shape[-1] if array.ndim else 1 for array in given]
    return Call(loop, OWN, given, cut, [extent, *lengths, len(given[0])], given[0].strides, extent)
