"""NumPy's faster bodies. Where a step is recorded, each of their calls writes into memory that is already there."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np

from .. import batch, layers, links, losses, optimizers
from .._backend import Backend, Provider
from .._backend._record import Work, kernel, opaque
from ..activations import Activation, Elementwise, ReLU
from ..batch import Batch
from ..losses import Loss, LossFunction, SoftmaxCrossEntropy
from ..optimizers import Adam, AdamW

_CHUNK = 65_536  # parameters: theta, the gradient, two moments and the scratch of a chunk stay in a core's cache


def activate(backend: Backend, activation: Elementwise, z: Any) -> Any:
    """ReLU, by ``maximum``: the portable ``clip`` is slower. With zeros, which are faster than the number 0."""
    if type(activation) is ReLU:
        zeros = z.shape if math.prod(z.shape) <= _CHUNK else (1, z.shape[-1])  # as many of them cost memory
        return backend.xp.maximum(z, np.zeros(zeros, z.dtype))
    if type(activation) is Activation:
        return opaque(partial(activation.value, backend.xp))(z)
    return NotImplemented


def activation_gradient(backend: Backend, activation: Elementwise, z: Any, a: Any, da: Any) -> Any:
    """ReLU, from a alone, so that z need not be kept."""
    if type(activation) is ReLU:
        return backend.xp.multiply(da, backend.xp.greater(a, 0.0))
    if type(activation) is Activation:
        return backend.xp.multiply(da, opaque(partial(activation.derivative, backend.xp))(z, a))
    return NotImplemented


def bias_gradient(backend: Backend, dy: Any) -> Any:
    """The sum over rows as a vector-matrix product, which the BLAS does faster than ``sum``."""
    return backend.xp.matmul(np.ones((1, dy.shape[-2]), dtype=dy.dtype), dy)


def largest(backend: Backend, z: Any) -> Any:
    """By the sum of squares, which tells whether there is anything to look for: one that is finite has finite terms."""
    return kernel(_largest, lambda z: [(z.shape[:-1], np.intp)])(z)


def _largest(z: Any, out: Any) -> None:
    np.argmax(z, -1, out)
    if not math.isfinite(np.vdot(z, z)):
        out[~np.isfinite(np.max(z, axis=-1))] = -1


def note_infinite(backend: Backend, x: Any, z: Any, found: Any) -> Any:
    """By the sums of squares."""
    kernel(_note_infinite, lambda *_: [], writes=(2,), work=Work("rows", "note_infinite", cut=(0, 1)))(x, z, found)
    return found


def _note_infinite(x: Any, z: Any, found: Any) -> None:
    if not math.isfinite(np.vdot(x, x) + np.vdot(z, z)):
        found[0] = 1


def positive(backend: Backend, z: Any) -> Any:
    """By the sum of squares, as ``largest``."""
    return kernel(_positive, lambda z: [(z.shape, np.int32)])(z)


def _positive(z: Any, out: Any) -> None:
    np.greater(z, 0.0, out)
    if not math.isfinite(np.vdot(z, z)):
        out[~np.isfinite(z)] = -1


def cost(backend: Backend, loss: LossFunction, z: Any, y: Any, weight: Any) -> Any:
    """SoftmaxCrossEntropy of class indices, without smoothing and weights: no rows of zeros and a one are made."""
    if type(loss) is Loss:  # a function of the user's own runs as it is in every step
        return losses.cost(
            backend, replace(loss, f=lambda xp, *arrays: opaque(partial(loss.f, xp))(*arrays)), z, y, weight
        )
    if loss != SoftmaxCrossEntropy() or weight is not None or y.dtype.kind != "i":
        return NotImplemented
    rows, n = z.shape[-2:]
    # NumPy is slow along a short axis: where the classes are few, the rows of the scratch matrix lie side by side.
    transposed = 4 * n <= rows
    counter = y.dtype if rows * n < 2**31 else np.dtype(np.intp)
    first = np.arange(0, rows if transposed else rows * n, 1 if transposed else n, dtype=counter).reshape(-1, 1)
    column, index = ((rows, 1), z.dtype), ((rows, 1), counter)
    outputs = [(z.shape[:-2], z.dtype), (z.shape, z.dtype), ((rows * n,), z.dtype), column, column, column, index]
    bind = partial(_bind_cross_entropy, transposed, first)
    value, dz, *_ = kernel(lambda *arrays: bind(arrays[:2], arrays[2:])(), lambda *_: outputs, bind=bind)(z, y)
    return value, dz


def _bind_cross_entropy(
    transposed: bool, first: Any, inputs: Sequence[Any], outputs: Sequence[np.ndarray]
) -> Callable[[], None]:
    """All that is the same in every call: views, and numbers as arrays."""
    (z, y), (value, dz, flat, *scratch) = inputs, outputs
    rows, n = z.shape[-2:]
    own_class = np.asarray(rows if transposed else 1, first.dtype)
    share = np.asarray(1.0 / rows, z.dtype)
    matrix = flat.reshape(n, rows).T if transposed else flat.reshape(rows, n)
    members = [(z[i], value[(*i, ...)], dz[i]) for i in np.ndindex(z.shape[:-2])]
    return partial(_cross_entropy, y, own_class, first, share, members, flat, matrix, *scratch)


def _cross_entropy(
    y: Any, own_class: Any, first: Any, share: Any, members: Any,
    flat: Any, matrix: Any, s: Any, log_s: Any, picked: Any, index: Any,
) -> None:  # fmt: skip
    """``index`` says where each row's own class lies in ``flat``, the scratch matrix."""
    np.multiply(y, own_class, index)
    np.add(index, first, index)
    for z, value, dz in members:
        np.copyto(matrix, z)
        np.maximum.reduce(matrix, 1, out=s, keepdims=True)
        np.subtract(matrix, s, matrix)
        flat.take(index, None, picked, "clip")
        np.exp(flat, flat)
        np.add.reduce(matrix, 1, out=s, keepdims=True)
        np.log(s, log_s)
        np.subtract(log_s, picked, picked)
        np.multiply(np.add.reduce(picked, None), share, value)
        np.divide(share, s, s)
        np.multiply(matrix, s, matrix)
        flat.take(index, None, picked, "clip")
        np.subtract(picked, share, picked)
        flat.put(index, picked)
        np.copyto(dz, matrix)


def advance(backend: Backend, counters: Any, value: Any, rows: int, weight: Any) -> Any:
    """One network whose examples weigh 1, without arrays for the numbers."""
    if weight is not None or value.ndim:
        return NotImplemented
    kernel(partial(_advance, rows), lambda *_: [], writes=(0, 1, 2, 3))(*counters, value)
    return counters


def _advance(rows: int, step: Any, cursor: Any, cost: Any, seen: Any, value: Any) -> None:
    step[0] += 1
    cursor[0] += rows
    cost[0] += value * cost.dtype.type(rows)
    seen[0] += rows


def adam(backend: Backend, rule: Adam | AdamW, theta: Any, g: Any, moments: Any, t: Any, eta: Any) -> Any:
    """A chunk at a time, so that the twelve passes over it find it in the cache."""
    m, v = moments
    numbers = [np.asarray(x, theta.dtype) for x in (rule.b1, 1.0 - rule.b1, rule.b2, 1.0 - rule.b2)]
    scratch = (min(_CHUNK, theta.shape[-1]),), theta.dtype
    update = partial(_adam, rule, numbers, np.empty((), theta.dtype), np.empty((), theta.dtype))
    kernel(update, lambda *_: [scratch], writes=(0, 2, 3))(theta, g, m, v, t, eta)
    return theta, (m, v)


def _adam(
    rule: Adam | AdamW, numbers: Any, epsilon: Any, step: Any,
    theta: Any, g: Any, m: Any, v: Any, t: Any, eta: Any, scratch: Any,
) -> None:  # fmt: skip
    if theta.ndim > 1:
        for member in range(len(theta)):
            rate = eta if eta.ndim == 1 else eta[member]
            _adam(rule, numbers, epsilon, step, theta[member], g[member], m[member], v[member], t, rate, scratch)
        return
    # eta m' / (sqrt(v') + epsilon), numerator and denominator multiplied by the root of v's bias correction; epsilon
    # hat is epsilon so multiplied
    root = math.sqrt(_bias_correction(rule.b2, t.item()))
    b1, c1, b2, c2 = numbers
    epsilon[()] = rule.epsilon if rule.epsilon_hat else rule.epsilon * root
    step[()] = -eta.item() * root / _bias_correction(rule.b1, t.item())
    if theta.size <= _CHUNK:
        _adam_chunk(b1, c1, b2, c2, epsilon, step, theta, g, m, v, scratch)
        return
    for start in range(0, theta.size, _CHUNK):
        part = slice(start, start + _CHUNK)
        rest = scratch[: theta.size - start]
        _adam_chunk(b1, c1, b2, c2, epsilon, step, theta[part], g[part], m[part], v[part], rest)


def _adam_chunk(
    b1: Any, c1: Any, b2: Any, c2: Any, epsilon: Any, step: Any, theta: Any, g: Any, m: Any, v: Any, scratch: Any
) -> None:
    """c1 and c2 are 1 - b1 and 1 - b2; scratch is of theta's size."""
    np.multiply(m, b1, m)
    np.multiply(g, c1, scratch)
    np.add(m, scratch, m)
    np.multiply(v, b2, v)
    np.multiply(g, g, scratch)
    np.multiply(scratch, c2, scratch)
    np.add(v, scratch, v)
    np.sqrt(v, scratch)
    np.add(scratch, epsilon, scratch)
    np.divide(m, scratch, scratch)
    np.multiply(scratch, step, scratch)
    np.add(theta, scratch, theta)


def _bias_correction(beta: float, t: float) -> float:
    return -math.expm1(t * math.log(beta)) if beta else 1.0


def clip_norm(backend: Backend, bound: float, g: Any) -> Any:
    """By the BLAS's dot product, in one pass, unless that overflows."""
    return kernel(partial(_clip_norm, backend, bound), lambda g: [(g.shape, g.dtype)])(g)


def _clip_norm(backend: Backend, bound: float, g: Any, out: Any) -> None:
    for member in np.ndindex(g.shape[:-1]) if g.ndim > 1 else ((),):
        square = float(np.vdot(g[member], g[member]))
        if math.isfinite(square):
            np.multiply(g[member], g.dtype.type(bound / max(math.sqrt(square), bound)), out[member])
        else:
            out[member] = optimizers.clip_norm(replace(backend, xp=np), bound, g[member])


def gather(backend: Backend, source: Batch, order: Any, cursor: Any, window: Any) -> Any:
    """The rows by a slice of the order, straight into the batch's memory."""
    x, y, weight = source
    picked = None if weight is None else _rows(weight, order, cursor, window)
    return Batch(_rows(x, order, cursor, window), _rows(y, order, cursor, window), picked)


def _rows_body(data: Any, order: Any, cursor: Any, window: Any, out: Any) -> None:
    start = int(cursor[0])
    data.take(order[start : start + window.size], 0, out, "clip")


_rows = kernel(_rows_body, lambda data, order, cursor, window: (((window.size, *data.shape[1:]), data.dtype),))


PROVIDERS: Mapping[Provider, Provider] = MappingProxyType(
    {
        batch.advance: advance,
        batch.gather: gather,
        layers.activate: activate,
        layers.activation_gradient: activation_gradient,
        layers.bias_gradient: bias_gradient,
        links.largest: largest,
        links.note_infinite: note_infinite,
        links.positive: positive,
        losses.cost: cost,
        optimizers.adam: adam,
        optimizers.clip_norm: clip_norm,
    }
)
