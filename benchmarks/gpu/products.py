"""The floor: a step's matrix products into memory that is there, and the bytes of one pass of Adam."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from .ladder import Rung
from .runners import DeviceName, NotMeasuredError, Runner, clocked
from .torch_forms import captured, set_products

Product = tuple[Any, Any, Any]  # a, b, out
_CROWDED = 8e9  # bytes of a contender
_CHUNK = 1 << 26  # numbers copied at a time: 256 MB, more than a cache holds


def cupy_matmul(rung: Rung, device: DeviceName) -> Runner:
    if rung.precision != "float32":
        raise NotMeasuredError("cupy.matmul has no public way to tf32, and bf16 is slower there than float32.")
    _leave_room(rung)
    if device == "cuda":
        import cupy as xp
    else:
        import numpy as xp

    def run() -> None:
        for a, b, out in products:
            xp.matmul(a, b, out=out)
        for target, source in copies:
            xp.copyto(target, source)

    products, copies = _work(rung, xp.asarray)
    return _runner(rung, run, xp.cuda.get_current_stream().synchronize if device == "cuda" else lambda: None)


def torch_mm(rung: Rung, device: DeviceName) -> Runner:
    run, wait = _torch(rung, device)
    return _runner(rung, run, wait)


def torch_graph(rung: Rung, device: DeviceName) -> Runner:
    """Without the launches, which at small sizes are longer than the products."""
    if device != "cuda":
        raise NotMeasuredError("a CUDA graph needs a CUDA device.")
    _leave_room(rung)
    run, wait = _torch(rung, device)
    return _runner(rung, captured(run, lambda: None), wait)


def _leave_room(rung: Rung) -> None:
    if rung.bytes > _CROWDED:
        raise NotMeasuredError("the others need the memory; at this size torch.mm alone is as good a floor.")


def _torch(rung: Rung, device: DeviceName) -> tuple[Callable[[], None], Callable[[], Any]]:
    import torch

    set_products(rung)
    dtype = torch.bfloat16 if rung.precision == "bf16" else torch.float32
    products, copies = _work(rung, lambda x: torch.from_numpy(x).to(device), lambda x: x.to(dtype))

    def run() -> None:
        for a, b, out in products:
            torch.mm(a, b, out=out)
        for target, source in copies:
            target.copy_(source)

    return run, torch.cuda.synchronize if device == "cuda" else lambda: None


def _work(
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


def _runner(rung: Rung, run: Callable[[], Any], wait: Callable[[], Any]) -> Runner:
    """As a step is timed: it has no losses."""

    def many() -> None:
        for _ in range(rung.steps):
            run()
            if rung.kind == "inference":
                wait()
        wait()

    return Runner(lambda: np.zeros(0), lambda: clocked(many) / rung.steps)
