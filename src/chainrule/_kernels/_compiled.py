"""Loops that Numba compiles, each one pass over its arrays, which are matrices. Importing this module imports Numba.

A loop is compiled once for a dtype, then read from a cache on disk. Each runs on one thread: they are a few hundredths
of a step where a second thread would pay, and threads of ours would fight the BLAS for the cores.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from typing import Any, NamedTuple

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .._backend._loops import Address
from .._backend._record import NotCovered
from .._base.errors import warn

# The error model is C's, because a check for a division by zero would keep a loop from being vectorised. The fast
# mathematics changes last bits (fused multiply-adds, sums in another order); NaN and infinity stay what they are.
_OPTIONS: dict[str, Any] = {"error_model": "numpy", "fastmath": {"contract", "reassoc", "nsz", "arcp"}}
_NOWHERE = "there is no folder for it"


def compiled(loop: Callable[..., Any]) -> Any:
    options = {**_OPTIONS, "nogil": True}
    try:
        made: Any = numba.njit(cache=True, **options)(loop)
        made._cache = _Cache(made._cache)
    except (RuntimeError, OSError):
        _warn_once(_NOWHERE)
        made = numba.njit(**options)(loop)
    return made


class _Cache:
    """Numba's cache of a loop, which only ever saves time: what cannot be read or written there ends no training."""

    def __init__(self, cache: Any) -> None:
        self._cache = cache

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cache, name)

    def load_overload(self, *key: Any) -> Any:
        try:
            made = self._cache.load_overload(*key)
            if made is not None and tuple(made.signature.args) != tuple(key[0]):
                raise ValueError("two processes that wrote at the same time gave one name to two files")
            return made
        except Exception:  # of a file that was cut short pickle raises whatever it comes upon
            with suppress(OSError):
                self._cache.flush()  # an empty index, so that it is written anew
            return None

    def save_overload(self, *entry: Any) -> None:
        try:
            self._cache.save_overload(*entry)
        except Exception as error:  # a full disk, or as above
            _warn_once(getattr(error, "strerror", None) or type(error).__name__)


class Kept(NamedTuple):
    """How many loops there are, one for each kind of arguments, how many of them this process compiled, and where
    they are kept: None where they are not.
    """

    loops: int
    compiled: int
    folder: str | None


def kept() -> Kept:
    """The loops of this process so far."""
    loops: list[Any] = [thing for thing in globals().values() if hasattr(thing, "py_func")]
    compiled = sum(sum(loop.stats.cache_misses.values()) for loop in loops)
    folder = None if _warn_once.cache_info().currsize else loops[0].stats.cache_path
    count = sum(len(loop.overloads) for loop in loops) + len(_addressed)
    return Kept(count, compiled + sum(not loop.cache_hits for loop in _addressed), folder)


@cache
def _warn_once(why: str) -> None:
    warn(
        f"Numba's cache cannot be written to ({why}), so each process compiles its loops again, which takes seconds: "
        "let NUMBA_CACHE_DIR name a folder that can be written to.",
        RuntimeWarning,
    )


@compiled
def rows(x: Any, order: Any, cursor: Any, window: Any, out: Any) -> None:
    """The rows ``order[cursor + window]`` of a matrix."""
    if cursor[0] + window[0] < 0 or cursor[0] + window[-1] >= order.size:
        raise IndexError("the batch reaches beyond the epoch's order")  # Numba would read on
    for i in range(window.size):
        row = order[cursor[0] + window[i]]
        for j in range(x.shape[1]):
            out[i, j] = x[row, j]


@compiled
def add_row(z: Any, b: Any) -> None:
    for i in range(z.shape[0]):
        for j in range(z.shape[1]):
            z[i, j] += b[0, j]


# Where an output lies in its input's memory the loop is over that one array: over two that overlap it would not be
# vectorised.


@compiled
def relu(z: Any, out: Any) -> None:
    zero = z.dtype.type(0)
    if z.ctypes.data == out.ctypes.data:
        for i in range(z.shape[0]):
            for j in range(z.shape[1]):
                z[i, j] = zero if z[i, j] < zero else z[i, j]
    else:
        for i in range(z.shape[0]):
            for j in range(z.shape[1]):
                out[i, j] = zero if z[i, j] < zero else z[i, j]


@compiled
def relu_gradient(da: Any, a: Any, out: Any) -> None:
    zero = da.dtype.type(0)
    if da.ctypes.data == out.ctypes.data:
        for i in range(da.shape[0]):
            for j in range(da.shape[1]):
                da[i, j] = da[i, j] if a[i, j] > zero else zero
    else:
        for i in range(da.shape[0]):
            for j in range(da.shape[1]):
                out[i, j] = da[i, j] if a[i, j] > zero else zero


@compiled
def column_sums(dy: Any, out: Any) -> None:
    for j in range(dy.shape[1]):
        out[0, j] = 0
    for i in range(dy.shape[0]):
        for j in range(dy.shape[1]):
            out[0, j] += dy[i, j]


@compiled
def largest(z: Any, out: Any) -> None:
    """The index of the first largest entry of each row; -1 where that is infinite, or one is not a number."""
    for i in range(z.shape[0]):
        best, top, numbers = 0, z[i, 0], True
        for j in range(z.shape[1]):  # without branches, which random entries would take the wrong way
            larger = z[i, j] > top
            best = j if larger else best
            top = z[i, j] if larger else top
            numbers &= z[i, j] == z[i, j]
        out[i] = best if numbers and math.isfinite(top) else -1


@compiled
def positive(z: Any, out: Any) -> None:
    """1 where z > 0, else 0; -1 where it is infinite or not a number."""
    for i in range(z.shape[0]):
        for j in range(z.shape[1]):
            out[i, j] = (1 if z[i, j] > 0 else 0) if math.isfinite(z[i, j]) else -1


@compiled
def are_finite(x: Any) -> bool:
    zero = x.dtype.type(0)
    total = zero
    for i in range(x.size):
        total += x[i] * zero  # 0, but NaN for what is not finite
    return bool(total == zero)


@compiled
def shift(z: Any, y: Any, shifted: Any, own: Any) -> None:
    """Of each row z - max z, and the entry of that at the row's own class."""
    for i in range(z.shape[0]):
        top = z[i, 0]
        for j in range(1, z.shape[1]):
            top = max(top, z[i, j])
        for j in range(z.shape[1]):
            shifted[i, j] = z[i, j] - top
        if y[i, 0] < 0 or y[i, 0] >= z.shape[1]:
            raise IndexError("a class index has no output")  # Numba would read on
        own[i, 0] = shifted[i, y[i, 0]]


@compiled
def cross_entropy(e: Any, y: Any, own: Any, share: Any, losses: Any, dz: Any) -> None:
    """Of each row ln(sum of e) - own, and share (e / sum of e - one-hot y); e is exp(shifted)."""
    for i in range(e.shape[0]):
        s = e.dtype.type(0)
        for j in range(e.shape[1]):
            s += e[i, j]
        losses[i, 0] = math.log(s) - own[i, 0]
        for j in range(e.shape[1]):
            dz[i, j] = e[i, j] * (share[0] / s)
        dz[i, y[i, 0]] -= share[0]


@compiled
def mean(losses: Any, value: Any) -> None:
    total = 0.0
    for i in range(losses.shape[0]):
        total += losses[i, 0]
    value[0, 0] = total / losses.shape[0]


@compiled
def advance(rows: int, step: Any, cursor: Any, cost: Any, seen: Any, value: Any) -> None:
    number = cost.dtype.type(rows)
    step[0] += 1
    cursor[0] += rows
    cost[0] += value[0] * number
    seen[0] += number


@compiled
def adam(
    b1: float, b2: float, epsilon: float, epsilon_hat: float, theta: Any, g: Any, m: Any, v: Any, t: Any, eta: Any
) -> None:
    """Numerator and denominator of eta m' / (sqrt(v') + epsilon) are multiplied by the root of v's bias correction.

    ``epsilon`` is beside sqrt(v'), ``epsilon_hat`` beside sqrt(v), which is sqrt(v') so multiplied; one of them is 0.
    """
    number = theta.dtype.type
    root = math.sqrt(-math.expm1(t[0] * math.log(b2)) if b2 > 0.0 else 1.0)
    step = number(eta[0] * root / (-math.expm1(t[0] * math.log(b1)) if b1 > 0.0 else 1.0))
    e = number(epsilon * root + epsilon_hat)
    b1_, c1, b2_, c2 = number(b1), number(1.0 - b1), number(b2), number(1.0 - b2)
    for i in range(theta.size):
        m[i] = b1_ * m[i] + c1 * g[i]
        v[i] = b2_ * v[i] + c2 * (g[i] * g[i])
        theta[i] -= step * m[i] / (np.sqrt(v[i]) + e)


@compiled
def clip_factor(bound: float, g: Any, factor: Any) -> None:
    """Bound / max(norm of g, bound); of numbers whose squares overflow the norm is taken in units of the largest."""
    square, top = 0.0, 1.0
    for i in range(g.size):
        square += np.float64(g[i]) * np.float64(g[i])
    if math.isinf(square):
        square, top = 0.0, 0.0
        for i in range(g.size):
            top = max(top, abs(np.float64(g[i])))
        for i in range(g.size):
            square += (g[i] / top) * (g[i] / top)
    factor[0] = bound / max(math.sqrt(square) * top, bound)


# The same in the form of NumPy's inner loops, for steps that are one compiled call: ``loop(arguments, dimensions,
# steps, data)``, with the addresses of the arrays, then how many rows, how long a row of each array is, and how many
# rows the first has. One that comes upon an index out of range writes 1 to ``data``, because nothing can be raised
# there. They stand here because Numba's cache tells by the file whether a loop is still the one that it has compiled.

_WORDS = types.CPointer(types.intp)
_FORM = types.void(_WORDS, _WORDS, _WORDS, types.intp)


@intrinsic  # type: ignore[untyped-decorator]
def _at(context: Any, address: Any, dtype: Any) -> Any:
    """The address as a pointer to numbers."""
    pointer = types.CPointer(dtype.dtype)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], context.get_value_type(pointer))

    return pointer(types.intp, dtype), generate


@intrinsic  # type: ignore[untyped-decorator]
def _cblas(
    context: Any, function: Any, x_order: Any, y_order: Any, rows: Any, columns: Any, inner: Any, one: Any, zero: Any,
    x: Any, x_step: Any, y: Any, y_step: Any, out: Any, out_step: Any,
) -> Any:  # fmt: skip
    """``cblas_?gemm_64``: out = op(x) op(y), matrices row by row."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        function, x_order, y_order, rows, columns, inner, one, zero, x, x_step, y, y_step, out, out_step = arguments
        word, size, address = ir.IntType(32), ir.IntType(64), ir.IntType(8).as_pointer()
        kinds = word, word, word, size, size, size, one.type, address, size, address, size, one.type, address, size
        form = ir.FunctionType(ir.VoidType(), kinds)
        x, y, out = (builder.inttoptr(side, address) for side in (x, y, out))
        orders = ir.Constant(word, 101), builder.trunc(x_order, word), builder.trunc(y_order, word)
        sides = one, x, x_step, y, y_step, zero, out, out_step
        builder.call(builder.inttoptr(function, form.as_pointer()), [*orders, rows, columns, inner, *sides])
        return context.get_dummy_value()

    return types.void(*[types.intp] * 6, one, zero, *[types.intp] * 6), generate


@numba.njit(inline="always")  # type: ignore[untyped-decorator]
def _matrix(address: Any, rows: Any, columns: Any, dtype: Any) -> Any:
    return numba.carray(_at(address, dtype), (rows, columns))


@numba.njit(inline="always")  # type: ignore[untyped-decorator]
def _vector(address: Any, size: Any, dtype: Any) -> Any:
    return numba.carray(_at(address, dtype), size)


def _inlined(loop: Any) -> Any:
    """The loop as a part of who calls it. A call of it would be inlined or not, which changes last bits, by whether it
    was compiled in this process or read from the cache.
    """
    return numba.njit(inline="always")(loop.py_func)


_in_add_row = _inlined(add_row)
_in_adam = _inlined(adam)
_in_advance = _inlined(advance)
_in_are_finite = _inlined(are_finite)
_in_clip_factor = _inlined(clip_factor)
_in_column_sums = _inlined(column_sums)
_in_cross_entropy = _inlined(cross_entropy)
_in_largest = _inlined(largest)
_in_mean = _inlined(mean)
_in_positive = _inlined(positive)
_in_relu = _inlined(relu)
_in_relu_gradient = _inlined(relu_gradient)
_in_shift = _inlined(shift)


def _add_row(real: Any, _: Any) -> Any:
    def loop(p: Any, d: Any, s: Any, data: int) -> None:
        _in_add_row(_matrix(p[0], d[0], d[1], real), _matrix(p[1], 1, d[1], real))

    return loop


def _relu(real: Any, _: Any) -> Any:
    def loop(p: Any, d: Any, s: Any, data: int) -> None:
        _in_relu(_matrix(p[0], d[0], d[1], real), _matrix(p[1], d[0], d[1], real))

    return loop


def _relu_gradient(real: Any, _: Any) -> Any:
    def loop(p: Any, d: Any, s: Any, data: int) -> None:
        n, c = d[0], d[1]
        _in_relu_gradient(_matrix(p[0], n, c, real), _matrix(p[1], n, c, real), _matrix(p[2], n, c, real))

    return loop


def _column_sums(real: Any, _: Any) -> Any:
    def loop(p: Any, d: Any, s: Any, data: int) -> None:
        _in_column_sums(_matrix(p[0], d[0], d[1], real), _matrix(p[1], 1, d[1], real))

    return loop


def _largest(real: Any, _: Any) -> Any:
    def loop(p: Any, d: Any, s: Any, data: int) -> None:
        _in_largest(_matrix(p[0], d[0], d[1], real), _vector(p[1], d[0], np.intp))

    return loop


def _positive(real: Any, _: Any) -> Any:
    def loop(p: Any, d: Any, s: Any, data: int) -> None:
        _in_positive(_matrix(p[0], d[0], d[1], real), _matrix(p[1], d[0], d[1], np.int32))

    return loop


def _note_infinite(real: Any, _: Any) -> Any:
    def loop(p: Any, d: Any, s: Any, data: int) -> None:
        all_finite = _in_are_finite(_vector(p[1], d[0] * d[2], real))
        if s[1] == size and s[0] == size * d[1]:
            all_finite &= _in_are_finite(_vector(p[0], d[0] * d[1], real))
        else:
            for i in range(d[0]):
                for j in range(d[1]):
                    all_finite &= _in_are_finite(_vector(p[0] + i * s[0] + j * s[1], 1, real))
        if not all_finite:
            _vector(p[2], 1, np.int64)[0] = 1

    size = np.dtype(real).itemsize
    return loop


def _shift(real: Any, index: Any) -> Any:
    def loop(p: Any, d: Any, s: Any, data: int) -> None:
        n, c, y = d[0], d[1], _matrix(p[1], d[0], 1, index)
        for i in range(n):
            if y[i, 0] < 0 or y[i, 0] >= c:
                _vector(data, 1, np.int64)[0] = 1
                return
        _in_shift(_matrix(p[0], n, c, real), y, _matrix(p[2], n, c, real), _matrix(p[3], n, 1, real))

    return loop


def _cross_entropy(real: Any, index: Any) -> Any:
    def loop(p: Any, d: Any, s: Any, data: int) -> None:
        n, c, y, own = d[0], d[1], _matrix(p[1], d[0], 1, index), _matrix(p[2], d[0], 1, real)
        losses, dz = _matrix(p[4], n, 1, np.float64), _matrix(p[5], n, c, real)
        _in_cross_entropy(_matrix(p[0], n, c, real), y, own, _vector(p[3], 1, real), losses, dz)

    return loop


def _mean(real: Any, _: Any) -> Any:
    def loop(p: Any, d: Any, s: Any, data: int) -> None:
        _in_mean(_matrix(p[0], d[0], 1, np.float64), _matrix(p[1], 1, 1, real))

    return loop


def _gather(kind: Any, _: Any) -> Any:
    def loop(p: Any, d: Any, s: Any, data: int) -> None:
        order, start, window = _vector(p[1], d[2], np.int32), _vector(p[2], 1, np.int32), _vector(p[3], d[0], np.int32)
        if start[0] + window[0] < 0 or start[0] + window[d[0] - 1] >= d[2]:
            _vector(data, 1, np.int64)[0] = 1
            return
        for i in range(d[0]):  # as far as the order says, whose entries are rows of the data
            row, taken = p[0] + order[start[0] + window[i]] * s[0], _vector(p[4] + i * d[5] * size, d[5], kind)
            if s[1] == size:
                given = _vector(row, d[5], kind)
                for j in range(d[5]):
                    taken[j] = given[j]
            else:
                for j in range(d[5]):
                    taken[j] = _vector(row + j * s[1], 1, kind)[0]

    size = np.dtype(kind).itemsize
    return loop


def _clip_factor(real: Any, _: Any) -> Any:
    def loop(p: Any, d: Any, s: Any, data: int) -> None:
        _in_clip_factor(_vector(p[2], 1, np.float64)[0], _vector(p[0], d[0], real), _vector(p[1], 1, real))

    return loop


def _advance(real: Any, _: Any) -> Any:
    def loop(p: Any, d: Any, s: Any, data: int) -> None:
        rows, cost, seen = int(_vector(p[5], 1, np.float64)[0]), _vector(p[2], 1, real), _vector(p[3], 1, real)
        step, cursor = _vector(p[0], 1, np.int32), _vector(p[1], 1, np.int32)
        _in_advance(rows, step, cursor, cost, seen, _vector(p[4], 1, real))

    return loop


def _adam(real: Any, _: Any) -> Any:
    def loop(p: Any, d: Any, s: Any, data: int) -> None:
        n, k = d[0], _vector(p[6], 4, np.float64)
        theta, g, m, v = _vector(p[0], n, real), _vector(p[1], n, real), _vector(p[2], n, real), _vector(p[3], n, real)
        _in_adam(k[0], k[1], k[2], k[3], theta, g, m, v, _vector(p[4], 1, real), _vector(p[5], 1, real))

    return loop


def _product(real: Any, given: Any) -> Any:
    """NumPy's loop of a product, by the function of a CBLAS whose address is in place of the data."""

    def loop(p: Any, d: Any, s: Any, data: int) -> None:
        rows, inner, columns = d[1], d[2], d[3]
        x_order, x_step, y_order, y_step = 112, max(s[4] // size, rows), 112, max(s[6] // size, inner)
        if s[4] == size:
            x_order, x_step = 111, max(s[3] // size, inner)
        if s[6] == size:
            y_order, y_step = 111, max(s[5] // size, columns)
        sides = p[0], x_step, p[1], y_step, p[2], max(s[7] // out_size, columns)
        _cblas(data, x_order, y_order, rows, columns, inner, real(1), real(0), *sides)

    size, out_size = np.dtype(given).itemsize, np.dtype(real).itemsize
    return loop


def _convert(to: Any, given: Any) -> Any:
    def loop(p: Any, d: Any, s: Any, data: int) -> None:
        n = d[0]
        if s[0] == given_size and s[1] == to_size:
            x, out = _vector(p[0], n, given), _vector(p[1], n, to)
            for i in range(n):
                out[i] = to(x[i])
        else:
            for i in range(n):
                _vector(p[1] + i * s[1], 1, to)[0] = to(_vector(p[0] + i * s[0], 1, given)[0])

    given_size, to_size = np.dtype(given).itemsize, np.dtype(to).itemsize
    return loop


def _bf16(real: Any, _: Any) -> Any:
    """The upper half of each float32, rounded to the nearest, ties to even."""
    if real is not np.float32:
        raise NotCovered("bf16 of another dtype than float32")

    def loop(p: Any, d: Any, s: Any, data: int) -> None:
        n = d[0]
        if s[0] == 4 and s[1] == 2:
            x, out = _vector(p[0], n, np.uint32), _vector(p[1], n, np.uint16)
            for i in range(n):
                out[i] = _upper_half(x[i])
        else:
            for i in range(n):
                _vector(p[1] + i * s[1], 1, np.uint16)[0] = _upper_half(_vector(p[0] + i * s[0], 1, np.uint32)[0])

    return loop


@numba.njit(inline="always")  # type: ignore[untyped-decorator]
def _upper_half(word: Any) -> Any:
    rounded = np.uint32(word + np.uint32(0x7FFF) + ((word >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
    is_number = (word & np.uint32(0x7FFFFFFF)) <= np.uint32(0x7F800000)
    return np.uint16(rounded) if is_number else np.uint16(0x7FC0)


def _where(real: Any, _: Any) -> Any:
    def loop(p: Any, d: Any, s: Any, data: int) -> None:
        n = d[0]
        if s[0] == 1 and s[1] == size and s[2] == size and s[3] == size:
            holds, yes, no = _vector(p[0], n, np.int8), _vector(p[1], n, real), _vector(p[2], n, real)
            out = _vector(p[3], n, real)
            for i in range(n):
                out[i] = yes[i] if holds[i] else no[i]
        else:
            for i in range(n):
                holds, yes = _vector(p[0] + i * s[0], 1, np.int8), _vector(p[1] + i * s[1], 1, real)
                no = _vector(p[2] + i * s[2], 1, real)
                _vector(p[3] + i * s[3], 1, real)[0] = yes[0] if holds[0] else no[0]

    size = np.dtype(real).itemsize
    return loop


_MADE: dict[str, Callable[[Any, Any], Any]] = {
    "add_row": _add_row, "adam": _adam, "advance": _advance, "bf16": _bf16, "clip_factor": _clip_factor,
    "column_sums": _column_sums, "convert": _convert,
    "cross_entropy": _cross_entropy, "gather": _gather, "largest": _largest, "mean": _mean,
    "note_infinite": _note_infinite, "positive": _positive, "product": _product, "relu": _relu,
    "relu_gradient": _relu_gradient, "shift": _shift, "where": _where,
}  # fmt: skip
_KINDS = {np.dtype(kind): kind for kind in (np.float32, np.float64, np.int32, np.int64, np.uint16, np.bool_)}


@cache
def _made(name: str, real: Any, other: Any) -> Any:
    if name not in _MADE or real not in _KINDS or (other is not None and other not in _KINDS):
        raise NotCovered(f"{name} of {real}")
    loop = _MADE[name](_KINDS[real], None if other is None else _KINDS[other])
    # A name of its own in the cache, where two processes that write at the same time may swap what has one name.
    loop.__name__ = loop.__qualname__ = f"{name}_{real}_{other}"
    try:
        found = numba.cfunc(_FORM, cache=True, **_OPTIONS)(loop)
    except Exception as error:  # as of the cache above
        _warn_once(getattr(error, "strerror", None) or _NOWHERE)
        found = numba.cfunc(_FORM, **_OPTIONS)(loop)
    _addressed.append(found)
    return found


_addressed: list[Any] = []  # what has an address so far


def own_loop(fault: int, name: str, real: Any, other: Any = None) -> Address:
    """The loop of ours of this name, compiled for numbers of this dtype, and of ``other`` where it takes two.

    ``fault`` is the address of the word that it writes to.
    """
    return Address(_made(name, real, other).address, fault)


def product_loop(operands: Any, real: Any, function: int) -> Address:
    """The loop of a matrix product by a function of a CBLAS."""
    return Address(_made("product", real, operands).address, function)
