"""The array API namespace of a step that is recorded: which functions can be, and as which calls of NumPy.

Without a traced array among its arguments a function is NumPy's own, and its result a constant of the program. What is
not in ``FUNCTIONS`` cannot be recorded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from types import SimpleNamespace
from typing import Any

import array_api_compat.numpy
import numpy as np

from .._base.typing import Namespace
from ._record import Kernel, RecordingError, Traced, Work, kernel, opaque, tape_of, ufunc


def _reduction(reduce: Callable[..., Any]) -> Callable[..., Any]:
    """``reduce(x, axis, dtype, out, keepdims)``."""

    def function(x: Traced, /, *, axis: Any = None, keepdims: bool = False) -> Any:
        def make(x: np.ndarray) -> tuple[Any]:
            return (reduce(x, axis, None, None, keepdims),)

        def bind(inputs: Sequence[Any], outputs: Sequence[np.ndarray]) -> Callable[[], Any]:
            return partial(reduce, inputs[0], axis, None, outputs[0], keepdims)

        return Kernel(make, make, bind=bind, work=Work("reduction", getattr(reduce, "__self__", None), axis=axis))(x)

    return function


_sum = _reduction(np.add.reduce)


def _mean(x: Traced, /, *, axis: Any = None, keepdims: bool = False) -> Any:
    total = _sum(x, axis=axis, keepdims=keepdims)
    total /= x.size / max(1, total.size)
    return total


def _astype(x: Traced, dtype: Any, /, *, copy: bool = True, device: Any = None) -> Any:
    def body(x: np.ndarray, out: np.ndarray) -> None:
        np.copyto(out, x, casting="unsafe")

    return kernel(body, lambda x: ((x.shape, np.dtype(dtype)),), work=Work("elements", "convert"))(x)


def _reshape(x: Traced, shape: Any, /) -> Any:
    view = x.viewed(lambda array: np.reshape(array, shape))
    return view if np.shares_memory(view.array, x.array) or not x.size else opaque(lambda a: np.reshape(a, shape))(x)


def _clip(x: Traced, /, min: Any = None, max: Any = None) -> Any:
    raised = x if min is None else ufunc(np.maximum)(x, min)
    return raised if max is None else ufunc(np.minimum)(raised, max)


def _where(condition: Any, yes: Any, no: Any, /) -> Any:
    """Selected bit by bit: NumPy's ``where`` takes ten times as long on a condition that is true here and there."""
    work = Work("elements", "where")
    return Kernel(_where_into_new, _where_into_new, bind=_bind_where, work=work)(condition, yes, no)[0]


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
JOIN = Kernel(_join, lambda *pieces: (np.concatenate(pieces, -1),), work=Work("join"))


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
            if tape_of((arguments, tuple(options.values()))) is None:
                return plain(*arguments, **options)
            if recorded is None:
                raise RecordingError(f"{name} cannot be recorded")
            return recorded(*arguments, **options)

        return function


RECORDER: Namespace = Recorder()
# NumPy's own, for a step that could be recorded and is not: Numba's loops know it by this, and give the same bits.
UNRECORDED: Namespace = SimpleNamespace(**vars(array_api_compat.numpy))
