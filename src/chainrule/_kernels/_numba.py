"""Bodies compiled by Numba (``chainrule[fast]``) for NumPy's recorded steps: each is one call and one pass over memory.

What is not compiled, and what these do not cover, goes to ``_numpy``. Numba is imported by ``load``.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Callable, Mapping
from functools import cache, partial
from types import MappingProxyType
from typing import Any

import numpy as np

from .. import batch, layers, links, losses, optimizers
from .._backend import Backend, Provider, _program
from .._backend._functions import UNRECORDED
from .._backend._mkl import mkl
from .._backend._record import Traced, Work, kernel
from .._base.errors import warn
from ..activations import Elementwise, ReLU
from ..batch import Batch
from ..losses import LossFunction, SoftmaxCrossEntropy
from ..optimizers import Adam, AdamW
from . import _numpy


def is_installed() -> bool:
    """Whether Numba is there; does not import it."""
    return importlib.util.find_spec("numba") is not None


@cache
def load() -> Any:
    """The compiled loops. None where Numba is not there, and with a warning where it follows NumPy's versions late."""
    if not is_installed():
        return None
    try:
        return importlib.import_module("._compiled", __package__)
    except ImportError as error:
        text = f"Numba is installed but cannot be imported ({error}): steps run without it."
        warn(text, RuntimeWarning)
        return None


def loops_are_loaded() -> bool:
    """Whether the loops can be had for nothing."""
    return f"{__package__}._compiled" in sys.modules


def _loops_for(backend: Backend, x: Any) -> Any:
    """The compiled loops for a step that is recorded, or could be, else None."""
    return load() if isinstance(x, Traced) or backend.xp is UNRECORDED else None


def gather(backend: Backend, source: Batch, order: Any, cursor: Any, window: Any) -> Any:
    """Examples, targets and weights in one pass each."""
    loops = _loops_for(backend, cursor)
    if loops is None:
        return _numpy.gather(backend, source, order, cursor, window)
    count = window.shape[0]
    taken = kernel(
        loops.rows,
        lambda x, *_: [((count, x.shape[1]), x.dtype)],
        work=Work("rows", "gather", cut=(3, 4)),
    )
    x, y, weight = source
    weighted = None if weight is None else taken(weight, order, cursor, window)
    return Batch(taken(x, order, cursor, window), taken(y, order, cursor, window), weighted)


def affine(backend: Backend, x: Any, W: Any, b: Any = None) -> Any:
    """The bias, in one pass over the product, which is NumPy's."""
    if b is None or _loops_for(backend, W) is None:
        return NotImplemented
    return with_bias(backend, backend.xp.matmul(x, W), b)


def with_bias(backend: Backend, y: Any, b: Any) -> Any:
    """Y + b, in the memory of y where a step is recorded, or could be."""
    loops = _loops_for(backend, y)
    if loops is None:
        return y + b
    kernel(_over_members(loops.add_row, y.ndim), lambda *_: [], writes=(0,), work=Work("rows", "add_row", cut=(0,)))(
        y, b
    )
    return y


def activate(backend: Backend, activation: Elementwise, z: Any) -> Any:
    """ReLU, in one pass."""
    loops = _loops_for(backend, z)
    if loops is None or type(activation) is not ReLU:
        return _numpy.activate(backend, activation, z)
    return _elementwise(loops.relu, Work("rows", "relu", cut=(0, 1)), z)


def activation_gradient(backend: Backend, activation: Elementwise, z: Any, a: Any, da: Any) -> Any:
    """ReLU, in one pass."""
    loops = _loops_for(backend, a)
    if loops is None or type(activation) is not ReLU:
        return _numpy.activation_gradient(backend, activation, z, a, da)
    return _elementwise(loops.relu_gradient, Work("rows", "relu_gradient", cut=(0, 1, 2)), da, a)


def largest(backend: Backend, z: Any) -> Any:
    """The rows of one network: NumPy takes longer over the start of each row than over its entries."""
    loops = _loops_for(backend, z)
    if loops is None or z.ndim != 2:
        return _numpy.largest(backend, z)
    return kernel(loops.largest, lambda z: [(z.shape[:1], np.intp)], work=Work("rows", "largest", cut=(0, 1)))(z)


def positive(backend: Backend, z: Any) -> Any:
    """The rows of one network, in one pass."""
    loops = _loops_for(backend, z)
    if loops is None or z.ndim != 2:
        return _numpy.positive(backend, z)
    return kernel(loops.positive, lambda z: [(z.shape, np.int32)], work=Work("rows", "positive", cut=(0, 1)))(z)


def bias_gradient(backend: Backend, dy: Any) -> Any:
    """The sums of the columns, in one pass."""
    loops = _loops_for(backend, dy)
    if loops is None:
        return _numpy.bias_gradient(backend, dy)
    shape = (*dy.shape[:-2], 1, dy.shape[-1])
    sums = _over_members(loops.column_sums, dy.ndim)
    return kernel(sums, lambda dy: [(shape, dy.dtype)], work=Work("once", "column_sums"))(dy)


def cost(backend: Backend, loss: LossFunction, z: Any, y: Any, weight: Any) -> Any:
    """SoftmaxCrossEntropy of class indices, without smoothing and weights, around NumPy's exponential."""
    loops = _loops_for(backend, z)
    if loops is None or loss != SoftmaxCrossEntropy() or weight is not None or y.dtype.kind != "i":
        return _numpy.cost(backend, loss, z, y, weight)
    lead, rows = z.shape[:-2], z.shape[-2]
    own = (*lead, rows, 1), z.dtype
    shifted, picked = kernel(
        _over_members(loops.shift, z.ndim),
        lambda *_: [(z.shape, z.dtype), own],
        work=Work("rows", "shift", cut=(0, 1, 2, 3), dtypes=(0, 1)),
    )(z, y)
    share = np.asarray([1.0 / rows], z.dtype)
    losses, dz = kernel(
        _over_members(loops.cross_entropy, z.ndim),
        lambda *_: [((*lead, rows, 1), np.float64), (z.shape, z.dtype)],
        work=Work("rows", "cross_entropy", cut=(0, 1, 2, 4, 5), dtypes=(0, 1)),
    )(backend.xp.exp(shifted), y, picked, share)
    value = kernel(
        _over_members(loops.mean, z.ndim), lambda *_: [((*lead, 1, 1), z.dtype)], work=Work("once", "mean", dtypes=(1,))
    )(losses)
    return backend.xp.reshape(value, lead), dz


def advance(backend: Backend, counters: Any, value: Any, rows: int, weight: Any) -> Any:
    """One network whose examples weigh 1, in one call."""
    loops = _loops_for(backend, value)
    if loops is None or weight is not None or value.ndim:
        return _numpy.advance(backend, counters, value, rows, weight)
    value = backend.xp.reshape(value if isinstance(value, Traced) else np.asarray(value), (1,))
    work = Work("once", "advance", dtypes=(2,), numbers=(float(rows),))
    kernel(partial(loops.advance, rows), lambda *_: [], writes=(0, 1, 2, 3), work=work)(*counters, value)
    return counters


def adam(backend: Backend, rule: Adam | AdamW, theta: Any, g: Any, moments: Any, t: Any, eta: Any) -> Any:
    """One pass over theta, the gradient and both moments."""
    loops = _loops_for(backend, theta)
    if loops is None or theta.ndim > 2:
        return _numpy.adam(backend, rule, theta, g, moments, t, eta)
    epsilons = (0.0, rule.epsilon) if rule.epsilon_hat else (rule.epsilon, 0.0)  # Numba takes floats faster than a flag
    update = partial(loops.adam, rule.b1, rule.b2, *epsilons)
    work = Work("flat", "adam", cut=(0, 1, 2, 3), numbers=(rule.b1, rule.b2, *epsilons))
    kernel(_over_rows(update) if theta.ndim > 1 else update, lambda *_: [], writes=(0, 2, 3), work=work)(
        theta, g, *moments, t, eta
    )
    return theta, moments


def clip_norm(backend: Backend, bound: float, g: Any) -> Any:
    """One network's gradient, in two passes."""
    loops = _loops_for(backend, g)
    if loops is None or g.ndim > 1:
        return _numpy.clip_norm(backend, bound, g)
    work = Work("once", "clip_factor", numbers=(bound,))
    factor = kernel(partial(loops.clip_factor, bound), lambda g: [((1,), g.dtype)], work=work)(g)
    return backend.xp.multiply(g, factor)


def _elementwise(loop: Callable[..., None], work: Work, z: Any, *others: Any) -> Any:
    over = _over_members(loop, z.ndim)
    return kernel(over, lambda z, *_: [(z.shape, z.dtype)], elementwise=True, work=work)(z, *others)


def _over_members(loop: Callable[..., None], ndim: int) -> Callable[..., None]:
    """``loop`` on matrices; on a stack of them, ``ndim`` > 2, for each member in turn. Matrices are shared by all."""
    if ndim == 2:
        return loop

    def body(*arrays: Any) -> None:
        stacks = [a.reshape(-1, *a.shape[-2:]) if a.ndim == ndim else None for a in arrays]
        for i in range(next(len(stack) for stack in stacks if stack is not None)):
            loop(*(a if stack is None else stack[i] for a, stack in zip(arrays, stacks, strict=True)))

    return body


def _over_rows(update: Callable[..., None]) -> Callable[..., None]:
    """``update`` of one flat vector, for each member of a stack; t, and a rate for all, are vectors."""

    def body(*arrays: Any) -> None:
        for i in range(len(arrays[0])):
            update(*(a[i] if a.ndim > 1 else a for a in arrays))

    return body


def engine(backend: Backend) -> Any:
    """All but what docs/backends.md names."""
    return _engine(backend, cuts=True)


def engine_of_whole_steps(backend: Backend) -> Any:
    """The same, but for steps that are large enough to be cut."""
    return _engine(backend, cuts=False) if backend.providers.get(optimizers.adam) is adam else None


def _engine(backend: Backend, *, cuts: bool) -> Any:
    if load() is None or os.name != "posix":
        return None
    return importlib.import_module("._queue", __package__).Threads(cuts, mkl() if backend.products == "mkl" else None)


PROVIDERS: Mapping[Provider, Provider] = MappingProxyType(
    {
        _program.engine: engine,
        batch.advance: advance,
        batch.gather: gather,
        layers.affine: affine,
        layers.activate: activate,
        layers.activation_gradient: activation_gradient,
        layers.bias_gradient: bias_gradient,
        links.largest: largest,
        links.positive: positive,
        losses.cost: cost,
        optimizers.adam: adam,
        optimizers.clip_norm: clip_norm,
    }
)
