"""What everybody is compared with: backpropagation and Adam as the textbook writes them, in float64."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .equality import Training, classes_compared, sampled
from .ladder import COMPARED, Rung
from .runners import B1, B2, EPSILON, DeviceName, Pieces, Runner, pieces


def float64(rung: Rung, device: DeviceName) -> Runner:
    """On the device by CuPy, in none of our code. It is not timed."""
    if device == "cuda":
        import cupy as xp
    else:
        import numpy as xp
    weights = [(xp.asarray(W, xp.float64), xp.asarray(b, xp.float64)) for W, b in pieces(rung.network)]
    if rung.kind == "inference":
        rows = classes_compared(rung.rows_to_predict())
        return Runner(lambda: _on_host(xp.argmax(predicted(weights, xp.asarray(rows, xp.float64), xp)[-1], -1)), None)
    return Runner(lambda: trained(rung, weights, xp), None)


def trained(rung: Rung, weights: Sequence[tuple[Any, Any]], xp: Any) -> Training:
    """The first step's gradient, and how far theta has gone after the steps that are compared."""
    X, y, order = rung.training_data()
    theta = [part for layer in weights for part in layer]
    m, v = ([xp.zeros_like(part) for part in theta] for _ in range(2))
    for t in range(1, COMPARED + 1):
        first = (t - 1) * rung.network.batch % len(order)
        rows = order[first : first + rung.network.batch]
        layers = list(zip(theta[::2], theta[1::2], strict=True))
        g = gradient(layers, xp.asarray(X[rows], xp.float64), xp.asarray(y[rows]), xp)
        m = [B1 * m_ + (1 - B1) * g_ for m_, g_ in zip(m, g, strict=True)]
        v = [B2 * v_ + (1 - B2) * g_ * g_ for v_, g_ in zip(v, g, strict=True)]
        if t == 1:
            first_gradient = sampled(_layers(g))
        theta = [
            w - rung.rate * m_ / (1 - B1**t) / (xp.sqrt(v_ / (1 - B2**t)) + EPSILON)
            for w, m_, v_ in zip(theta, m, v, strict=True)
        ]
    start, end = sampled(pieces(rung.network)), sampled(_layers(theta))
    return Training(first_gradient, [after - before for after, before in zip(end, start, strict=True)])


def gradient(weights: Sequence[tuple[Any, Any]], x: Any, y: Any, xp: Any) -> list[Any]:
    """Of the mean softmax cross-entropy, by W and b of each layer in turn."""
    *inputs, z = predicted(weights, x, xp)
    e = xp.exp(z - xp.max(z, axis=-1, keepdims=True))
    is_class = xp.arange(z.shape[-1]) == y[:, None]
    delta = (e / xp.sum(e, axis=-1, keepdims=True) - is_class) / len(y)
    found: list[Any] = []
    for (W, _), a in zip(reversed(weights), reversed(inputs), strict=True):
        found = [a.T @ delta, xp.sum(delta, axis=0, keepdims=True), *found]
        delta = (delta @ W.T) * (a > 0)
    return found


def predicted(weights: Sequence[tuple[Any, Any]], x: Any, xp: Any) -> list[Any]:
    """Every layer's input, and the last pre-activations."""
    found = [x]
    for i, (W, b) in enumerate(weights, 1):
        z = found[-1] @ W + b
        found.append(z if i == len(weights) else xp.maximum(z, 0))
    return found


def _on_host(x: Any) -> np.ndarray:
    host: np.ndarray = x if isinstance(x, np.ndarray) else x.get()
    return host


def _layers(parts: Sequence[Any]) -> Pieces:
    host = [_on_host(part) for part in parts]
    return list(zip(host[::2], host[1::2], strict=True))
