"""Runs the items of a step, each taken from a queue by whichever thread comes first. Importing this imports Numba.

The queue is three counters: how many items may be taken, how many were, and how many are done. Who ends the last item
of a level lets the next level's be taken. Nobody waits for a thread that does not come: one that went to sleep is woken
where a level has items for it, and until it is there the others take them.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .._backend._blas_threads import threads_given
from .._backend._items import Item
from .._backend._loops import ELEMENTS, MATRIX, REDUCE, SPAN, Address
from .._backend._mkl import AS_IT_IS, Mkl, layout
from . import _compiled as _loops

_LINE = 64
LIMIT, TAKEN, DONE, GOAL, LEVEL, ENDED, ASLEEP = (i * _LINE for i in range(7))
_SPINS = 200_000  # looks at the queue before a thread goes to sleep
_PATIENCE = 2_000  # and before one that has nothing to do lets others have the core
_MOST = 8  # threads
_I = types.int64


def _pointer(builder: Any, address: Any, bits: int = 64) -> Any:
    return builder.inttoptr(address, ir.IntType(bits).as_pointer())


@intrinsic  # type: ignore[untyped-decorator]
def _word(context: Any, address: Any) -> Any:
    return _I(_I), lambda context, builder, signature, a: builder.load(_pointer(builder, a[0]))


@intrinsic  # type: ignore[untyped-decorator]
def _put(context: Any, address: Any, value: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, a: Any) -> Any:
        builder.store(a[1], _pointer(builder, a[0]))
        return context.get_dummy_value()

    return types.void(_I, _I), generate


@intrinsic  # type: ignore[untyped-decorator]
def _look(context: Any, address: Any) -> Any:
    return _I(_I), lambda context, builder, signature, a: builder.load_atomic(_pointer(builder, a[0]), "seq_cst", 8)


@intrinsic  # type: ignore[untyped-decorator]
def _publish(context: Any, address: Any, value: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, a: Any) -> Any:
        builder.store_atomic(a[1], _pointer(builder, a[0]), "seq_cst", 8)
        return context.get_dummy_value()

    return types.void(_I, _I), generate


@intrinsic  # type: ignore[untyped-decorator]
def _add(context: Any, address: Any, more: Any) -> Any:
    """The number before."""

    def generate(context: Any, builder: Any, signature: Any, a: Any) -> Any:
        return builder.atomic_rmw("add", _pointer(builder, a[0]), a[1], "seq_cst")

    return _I(_I, _I), generate


@intrinsic  # type: ignore[untyped-decorator]
def _swap(context: Any, address: Any, old: Any, new: Any) -> Any:
    """1 where the word was ``old``, and is ``new`` now."""

    def generate(context: Any, builder: Any, signature: Any, a: Any) -> Any:
        done = builder.cmpxchg(_pointer(builder, a[0]), a[1], a[2], "seq_cst", "seq_cst")
        return builder.zext(builder.extract_value(done, 1), ir.IntType(64))

    return _I(_I, _I, _I), generate


@intrinsic  # type: ignore[untyped-decorator]
def _copy_number(context: Any, to: Any, of: Any, size: Any) -> Any:
    """A number of 4 or 8 bytes; 0 where ``of`` is."""

    def generate(context: Any, builder: Any, signature: Any, a: Any) -> Any:
        to, of, size = a
        for bits in (32, 64):
            kind = ir.IntType(bits)
            with builder.if_then(builder.icmp_signed("==", size, ir.Constant(ir.IntType(64), bits // 8))):
                absent = builder.icmp_signed("==", of, ir.Constant(ir.IntType(64), 0))
                with builder.if_else(absent) as (then, other):
                    with then:
                        builder.store(ir.Constant(kind, 0), _pointer(builder, to, bits))
                    with other:
                        builder.store(builder.load(_pointer(builder, of, bits)), _pointer(builder, to, bits))
        return context.get_dummy_value()

    return types.void(_I, _I, _I), generate


def _caller(arguments: int, returned: Any) -> Any:
    """Calls a C function by its address, with so many pointers."""

    def generate(context: Any, builder: Any, signature: Any, a: Any) -> Any:
        pointer = ir.IntType(8).as_pointer()
        form = ir.FunctionType(returned, [pointer] * arguments)
        builder.call(_as(builder, a[0], form), [builder.inttoptr(x, pointer) for x in a[1:]])
        return context.get_dummy_value()

    return generate


def _as(builder: Any, address: Any, form: Any) -> Any:
    return builder.inttoptr(address, form.as_pointer())


@intrinsic  # type: ignore[untyped-decorator]
def _loop(context: Any, loop: Any, arguments: Any, dimensions: Any, steps: Any, data: Any) -> Any:
    return types.void(_I, _I, _I, _I, _I), _caller(4, ir.VoidType())


@intrinsic  # type: ignore[untyped-decorator]
def _system(context: Any, function: Any, argument: Any) -> Any:
    return types.void(_I, _I), _caller(1, ir.IntType(32))


@_loops.compiled
def _run(words: int, start: int, stop: int, own: int) -> None:
    """One call on a part; ``own`` is memory of this thread's: 16 addresses, then 48 dimensions."""
    loop, data, form, n, lengths = (
        _word(words), _word(words + 8), _word(words + 16), _word(words + 24), _word(words + 32),
    )  # fmt: skip
    dimensions = words + 40
    bases = dimensions + 8 * lengths
    cut = bases + 8 * n
    steps, mine = cut + 8 * n, own + 128
    if form in (ELEMENTS, REDUCE):
        for row in range(start, stop):
            for k in range(n):
                _put(own + 8 * k, _word(bases + 8 * k) + row * _word(cut + 8 * k))
            _put(mine, _word(dimensions))
            if form == REDUCE:
                size, starts = _word(dimensions + 8), _word(dimensions + 16)
                _copy_number(_word(own), _word(own + 8) if starts == 1 else 0, size)
                _put(own + 8, _word(own + 8) + starts * _word(steps + 8))
                _put(mine, _word(mine) - starts)
            _loop(loop, own, mine, steps, data)
        return
    for k in range(n):
        _put(own + 8 * k, _word(bases + 8 * k) + start * _word(cut + 8 * k))
    for k in range(lengths):
        _put(mine + 8 * k, _word(dimensions + 8 * k))
    if form == SPAN:
        _put(mine, _word(dimensions) * (stop - start))
    elif form == MATRIX:
        _put(mine + 8, stop - start)
    else:
        _put(mine, stop - start)
    _loop(loop, own, mine, steps, data)


@_loops.compiled
def _take(queue: Any) -> Any:
    """The number of an item that is this thread's now; -1 where there is none to be had."""
    while True:
        number = _look(queue + TAKEN)
        if number >= _look(queue + LIMIT):
            return -1
        if _swap(queue + TAKEN, number, number + 1) == 1:
            return number


@_loops.compiled
def _open(queue: Any, more: int, wake: int, bed: int) -> None:
    """Let so many more items be taken, and call those who sleep, if there is more than one."""
    _add(queue + LIMIT, more)
    while more > 1:
        asleep = _look(queue + ASLEEP)
        if asleep == 0:
            return
        if _swap(queue + ASLEEP, asleep, 0):
            for _ in range(asleep):
                _system(wake, bed)


@_loops.compiled
def _begin(queue: Any, more: int, first: int, wake: int, bed: int) -> None:
    """A new goal, so many items further, of which the first may be taken."""
    _add(queue + GOAL, more)
    _publish(queue + LEVEL, 0)
    _open(queue, first, wake, bed)


@_loops.compiled
def _work(queue: int, table: int, helps: bool, own: int, let_others: int, wake: int, sleep: int, bed: int) -> None:
    """Take items until the goal is reached; one who helps goes on until the queue has ended."""
    count, levels, items, tasks, ends = (
        _word(table), _word(table + 8), _word(table + 16), _word(table + 24), _word(table + 32),
    )  # fmt: skip
    idle = 0
    while True:
        number = _take(queue)
        if number >= 0:
            idle = 0
            item = items + 16 * (number % count)
            for task in range(_word(item), _word(item + 8)):
                part = tasks + 24 * task
                _run(_word(part), _word(part + 8), _word(part + 16), own)
            limit, goal = _look(queue + LIMIT), _look(queue + GOAL)  # which nobody moves before this item is done
            if _add(queue + DONE, 1) + 1 == limit and limit < goal:
                level = (_look(queue + LEVEL) + 1) % levels
                _publish(queue + LEVEL, level)
                _open(queue, _word(ends + 8 * level), wake, bed)
            continue
        idle += 1
        if not helps:
            if _look(queue + DONE) >= _look(queue + GOAL):
                return
        elif _look(queue + ENDED) != 0:
            return
        elif idle >= _SPINS:
            idle = 0
            _add(queue + ASLEEP, 1)
            asleep = _look(queue + ASLEEP)
            if _look(queue + TAKEN) < _look(queue + LIMIT) and asleep > 0 and _swap(queue + ASLEEP, asleep, asleep - 1):
                continue
            _system(sleep, bed)  # returns at once where somebody has called already
        if idle % _PATIENCE == 0:
            _system(let_others, 0)


class _Queue:
    """The queue of one step, and the threads that help."""

    def __init__(self, levels: Sequence[Sequence[Item]], helpers: int, fault: np.ndarray) -> None:
        tasks: list[tuple[int, int, int]] = []
        items: list[tuple[int, int]] = []
        self._kept = []
        for item in (item for level in levels for item in level):
            first = len(tasks)
            tasks += [(call.words.ctypes.data, start, stop) for call, start, stop in item]
            items.append((first, len(tasks)))
            self._kept += [call for call, _, _ in item]
        self._tables = [np.asarray(rows, np.int64) for rows in (items, tasks, [len(level) for level in levels])]
        addresses = [table.ctypes.data for table in self._tables]
        self._table = np.asarray([len(items), len(levels), *addresses], np.int64)
        self._memory = np.zeros(8 * _LINE, np.uint8)
        self.address = self._memory.ctypes.data + -self._memory.ctypes.data % _LINE
        self.words = (ctypes.c_int64 * 56).from_address(self.address)
        self.items, self.first = len(items), len(levels[0])
        self._bed, self._helpers, self._process = np.zeros(64, np.uint8), helpers, 0
        self._own = [np.zeros(128, np.int64) for _ in range(1 + helpers)]
        self._fault = fault
        self._calls = _SYSTEM[1], self._bed.ctypes.data  # now: an array's address takes a microsecond to be had
        self._mine = self._arguments(0)

    def __call__(self, steps: int = 1) -> None:
        if self._helpers and self._process != os.getpid():
            self._start()
        _begin(self.address, self.items * steps, self.first, *self._calls)
        _work(*self._mine)
        if self._fault[0]:
            self._fault[0] = 0
            raise IndexError("a batch reaches beyond the epoch's order, or a class index has no output")

    def _arguments(self, number: int) -> tuple[Any, ...]:
        own = self._own[number].ctypes.data
        return self.address, self._table.ctypes.data, number > 0, own, *_SYSTEM, self._bed.ctypes.data

    def _start(self) -> None:
        self._process = os.getpid()
        self.words[ASLEEP // 8] = 0
        _LIBC.sem_init(ctypes.c_void_p(self._bed.ctypes.data), 0, 0)
        for number in range(1, 1 + self._helpers):
            kept = (self._memory, self._table, self._tables, self._kept, self._own, self._bed, self._fault)
            thread = threading.Thread(target=_help, args=(self._arguments(number), kept), daemon=True)
            thread.start()
        weakref.finalize(self, _end, self.words, self._bed, self._memory, self._helpers).atexit = False


def _help(arguments: tuple[Any, ...], kept: Any) -> None:
    _work(*arguments)


def _end(words: Any, bed: np.ndarray, memory: np.ndarray, helpers: int) -> None:
    words[ENDED // 8] = 1
    for _ in range(helpers):
        _LIBC.sem_post(ctypes.c_void_p(bed.ctypes.data))


_LIBC = ctypes.CDLL(None)
_SYSTEM = tuple(
    ctypes.cast(getattr(_LIBC, name), ctypes.c_void_p).value for name in ("sched_yield", "sem_post", "sem_wait")
)


class Threads:
    """The engine of NumPy's recorded steps; ``cuts`` says whether it takes those that are cut.

    Products are MKL's where one is given. NumPy's BLAS is slow on rows of a product of many weights: it packs them anew
    for each.
    """

    def __init__(self, cuts: bool = True, mkl: Mkl | None = None) -> None:
        self.cuts, self.takes_wide, self._mkl = cuts, mkl is not None, mkl
        self._fault = np.zeros(1, np.int64)

    def loop(self, name: str, real: Any, other: Any = None) -> Address:
        return _loops.own_loop(self._fault.ctypes.data, name, real, other)

    def product(self, x: np.ndarray, y: np.ndarray, out: np.ndarray) -> Address | None:
        if self._mkl is None or not x.ndim == y.ndim == out.ndim == 2 or x.dtype != y.dtype:
            return None
        function, lie_so = self._mkl.address(x.dtype), layout(x)[0] and layout(y)[0] and layout(out)[0] == AS_IT_IS
        return _loops.product_loop(x.dtype, out.dtype, function) if function and lie_so else None

    def bind(self, levels: Sequence[Sequence[Item]]) -> Callable[[int], None]:
        most = max(sum(map(_is_part, level)) for level in levels)
        return _Queue(levels, max(0, min(_cores(), most, _MOST) - 1), self._fault)


def _is_part(item: Item) -> bool:
    """Whether there are others that take the rest of its calls."""
    return any(stop - start < call.extent for call, start, stop in item)


def _cores() -> int:
    """How many threads may run at once: no more than NumPy's BLAS may have, which is how a user says that.

    One where a thread could not be put to sleep and woken by its address.
    """
    if sys.platform != "linux":
        return 1
    return min(len(os.sched_getaffinity(0)), threads_given() or _MOST)
