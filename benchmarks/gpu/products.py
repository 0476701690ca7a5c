"""The floor: a step's matrix products into memory that is there, and the bytes of one pass of Adam."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from .ladder import Rung
from .runners import DeviceName, Runner, timed
from .torch_forms import captured, set_products

Product = tuple[Any, Any, Any]  # a, b, out
_CHUNK = 1 << 26  # numbers copied at a time: 256 MB, more than a cache holds


def torch_mm(rung: Rung, device: DeviceName) -> Runner:
    """By torch.mm; on a GPU in a graph, without the launches, which at small sizes are longer than the products."""
    import torch

    set_products(rung)
    dtype = torch.bfloat16 if rung.precision == "bf16" else torch.float32
    products, copies = work(rung, lambda x: torch.from_numpy(x).to(device), lambda x: x.to(dtype))

    def run() -> None:
        for a, b, out in products:
            torch.mm(a, b, out=out)
        for target, source in copies:
            target.copy_(source)

    def dispatch() -> None:
        for _ in range(rung.steps):
            run()

    if device != "cuda":
        return Runner(lambda: None, timed(dispatch, lambda: None, rung.steps))
    replay, wait = captured(run, rung.steps), torch.cuda.synchronize
    if rung.kind == "inference":
        return Runner(lambda: None, timed(lambda: (replay(), wait()), wait, rung.steps))
    return Runner(lambda: None, timed(replay, wait, rung.steps))


def work(
    rung: Rung, put: Callable[[np.ndarray], Any], cast: Callable[[Any], Any] = lambda x: x
) -> tuple[Sequence[Product], Sequence[tuple[Any, Any]]]:
    """The products of a step or a prediction, and what is copied besides: 14 bytes a parameter, read and written."""
    rng, rows, sizes = np.random.default_rng(0), rung.network.batch, rung.network.sizes
    x = [cast(put(rng.standard_normal((rows, n), dtype=np.float32))) for n in sizes]
    shapes = list(pairwise(sizes))
    W = [cast(put(rng.standard_normal(s, dtype=np.float32) / np.float32(s[0] ** 0.5))) for s in shapes]
    if rung.kind == "inference":
        return [(x[i], W[i], x[i + 1]) for i in range(len(W))], []
    y, dx, dW = ([cast(put(np.empty(a.shape, np.float32))) for a in like] for like in (x, x, W))
    forward: list[Product] = [(x[i], W[i], y[i + 1]) for i in range(len(W))]
    backward: list[Product] = []
    for i in reversed(range(len(W))):
        backward.append((x[i].T, x[i + 1], dW[i]))
        backward += [(x[i + 1], W[i].T, dx[i])] if i else []
    whole, rest = divmod(7 * rung.network.net.size // 2, _CHUNK)
    source, target = (put(np.ones(_CHUNK if whole else rest, np.float32)) for _ in range(2))
    return forward + backward, [(target, source)] * whole + [(target[:rest], source[:rest])]
