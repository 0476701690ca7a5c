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

from .._base.errors import warn


def _compiled(loop: Callable[..., None]) -> Callable[..., None]:
    # The error model is C's, because a check for a division by zero would keep a loop from being vectorised. The fast
    # mathematics changes last bits (fused multiply-adds, sums in another order); NaN and infinity stay what they are.
    options: dict[str, Any] = {
        "error_model": "numpy",
        "nogil": True,
        "fastmath": {"contract", "reassoc", "nsz", "arcp"},
    }
    try:
        made: Any = numba.njit(cache=True, **options)(loop)
        made._cache = _Cache(made._cache)
    except (RuntimeError, OSError):
        _warn_once("there is no folder for it")
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
    return Kept(sum(len(loop.overloads) for loop in loops), compiled, folder)


@cache
def _warn_once(why: str) -> None:
    warn(
        f"Numba's cache cannot be written to ({why}), so each process compiles its loops again, which takes seconds: "
        "let NUMBA_CACHE_DIR name a folder that can be written to.",
        RuntimeWarning,
    )


@_compiled
def rows(x: Any, y: Any, order: Any, cursor: Any, window: Any, x_out: Any, y_out: Any) -> None:
    """The rows ``order[cursor + window]`` of two matrices."""
    if cursor[0] < 0 or cursor[0] + window.size > order.size:
        raise IndexError("the batch reaches beyond the epoch's order")  # Numba would read on
    for i in range(window.size):
        row = order[cursor[0] + i]
        for j in range(x.shape[1]):
            x_out[i, j] = x[row, j]
        for j in range(y.shape[1]):
            y_out[i, j] = y[row, j]


@_compiled
def add_row(z: Any, b: Any) -> None:
    for i in range(z.shape[0]):
        for j in range(z.shape[1]):
            z[i, j] += b[0, j]


# Where an output lies in its input's memory the loop is over that one array: over two that overlap it would not be
# vectorised.


@_compiled
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


@_compiled
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


@_compiled
def column_sums(dy: Any, out: Any) -> None:
    for j in range(dy.shape[1]):
        out[0, j] = 0
    for i in range(dy.shape[0]):
        for j in range(dy.shape[1]):
            out[0, j] += dy[i, j]


@_compiled
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


@_compiled
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


@_compiled
def cross_entropy(e: Any, y: Any, own: Any, value: Any, dz: Any) -> None:
    """The mean of ln(sum of e) - own over the rows, and (e / sum of e - one-hot y) / rows; e is exp(shifted)."""
    share, total = e.dtype.type(1.0 / e.shape[0]), 0.0
    for i in range(e.shape[0]):
        s = e.dtype.type(0)
        for j in range(e.shape[1]):
            s += e[i, j]
        total += math.log(s) - own[i, 0]
        for j in range(e.shape[1]):
            dz[i, j] = e[i, j] * (share / s)
        dz[i, y[i, 0]] -= share
    value[0, 0] = total / e.shape[0]


@_compiled
def advance(rows: int, step: Any, cursor: Any, cost: Any, seen: Any, value: Any) -> None:
    number = cost.dtype.type(rows)
    step[0] += 1
    cursor[0] += rows
    cost[0] += value[()] * number
    seen[0] += number


@_compiled
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
