"""The six networks that everything here is measured on, and the floor that a training step stands on.

The floor is what no library can leave out: the step's matrix products, into memory that is already there, and one pass
of the optimizer over theta, the gradient and two moments: 28 bytes a parameter, at the speed at which this machine
copies memory with all its cores. It has no bias, activation, loss or call of Python but the products' own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from os import sched_getaffinity
from time import perf_counter, sleep
from typing import Any

import numpy as np

import chainrule as cr
from chainrule._backend._blas_threads import leave_threads_to_items

_REST = 0.05  # seconds, after which the BLAS's threads no longer turn round for another product


@dataclass(frozen=True)
class Network:
    """A multilayer perceptron with ReLU and softmax cross-entropy, trained by Adam on batches of this size."""

    name: str
    batch: int
    sizes: tuple[int, ...]

    @property
    def net(self) -> cr.Sequential:
        return cr.mlp(self.sizes)

    @property
    def flop(self) -> float:
        """Floating-point operations of a step's products: two a multiplication, no product for dC/dX of the data."""
        products = [a * b for a, b in pairwise(self.sizes)]
        return 2.0 * self.batch * (3 * sum(products) - products[0])

    def data(self, batches: int, dtype: str = "float32") -> tuple[np.ndarray, np.ndarray]:
        """Random examples and classes."""
        rng = np.random.default_rng(0)
        rows = batches * self.batch
        return rng.standard_normal((rows, self.sizes[0])).astype(dtype), rng.integers(0, self.sizes[-1], rows)


GRID = {
    network.name: network
    for network in (
        Network("tiny", 32, (64, 64, 10)),
        Network("small", 128, (64, 128, 128, 10)),
        Network("tabular", 256, (54, 256, 256, 256, 7)),
        Network("mnist", 128, (784, 512, 512, 10)),
        Network("deep", 256, (512,) * 11 + (10,)),
        Network("wide", 512, (1024, 2048, 2048, 1000)),
    )
}


Bind = Callable[[np.ndarray, np.ndarray, np.ndarray], Callable[[], Any]]  # a, b and out: a call that multiplies


def products(
    network: Network, dtype: str = "float32", bind: Bind | None = None
) -> tuple[Callable[[], None], list[tuple[np.ndarray, ...]]]:
    """All matrix products of one step, as one call, and their operands and results; ``bind`` is for ``np.matmul``."""
    rng, rows = np.random.default_rng(0), network.batch
    shapes = list(pairwise(network.sizes))
    x = [rng.standard_normal((rows, n)).astype(dtype) for n in network.sizes]
    W = [(rng.standard_normal(shape) / shape[0] ** 0.5).astype(dtype) for shape in shapes]
    dW = [np.empty_like(w) for w in W]
    y, dx = [np.empty_like(a) for a in x], [np.empty_like(a) for a in x]
    operands = [(x[i], W[i], y[i + 1]) for i in range(len(W))]
    for i in reversed(range(len(W))):
        operands.append((x[i].T, x[i + 1], dW[i]))
        if i:
            operands.append((x[i + 1], W[i].T, dx[i]))
    bind = bind or partial(partial, np.matmul)
    calls = [bind(*three) for three in operands]

    def run() -> None:
        for call in calls:
            call()

    return run, operands


def forward_products(network: Network, rows: int, dtype: str = "float32", chunk: int = 4096) -> Callable[[], None]:
    """The products of a prediction, ``chunk`` rows at a time into the same memory."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((rows, network.sizes[0])).astype(dtype)
    W = [(rng.standard_normal(shape) / shape[0] ** 0.5).astype(dtype) for shape in pairwise(network.sizes)]
    parts = []
    for start in range(0, rows, chunk):
        part = x[start : start + chunk]
        parts.append((part, [np.empty((len(part), n), dtype) for n in network.sizes[1:]] if not parts else parts[0][1]))

    def run() -> None:
        for part, outs in parts:
            a = part
            for w, out in zip(W, outs, strict=True):
                a = np.matmul(a, w, out[: len(part)])

    return run


def optimizer_pass(network: Network, dtype: str = "float32") -> Callable[[], None]:
    """Moves the bytes of one pass of Adam, 7 numbers a parameter, with one thread a core above 100,000 parameters."""
    size = network.net.size
    source = np.ones(7 * size // 2, dtype)
    target = np.empty_like(source)
    cores = len(sched_getaffinity(0)) if size > 100_000 else 1
    parts = list(zip(np.array_split(target, cores), np.array_split(source, cores), strict=True))
    pool = ThreadPoolExecutor(max(1, cores - 1))

    def run() -> None:
        others = [pool.submit(np.copyto, *part) for part in parts[1:]]
        np.copyto(*parts[0])
        for other in others:
            other.result()

    return run


@contextmanager
def threads_of_fit(network: Network, on: cr.Backend, program: Any) -> Iterator[None]:
    """While it lasts, the BLAS has the threads that ``fit`` leaves it for these steps, ``program`` taking them."""
    with on.training(network.net.multiplications(network.batch)):
        if getattr(getattr(program, "_program", None), "is_cut", False):
            leave_threads_to_items()
        yield


def block(run: Callable[[], Any], seconds: float = 0.03) -> float:
    """Seconds a call, over as many calls as fill the block; inside of what ``run.inside`` gives, where there is one."""
    sleep(_REST)
    with getattr(run, "inside", nullcontext)():
        run()
        started = perf_counter()
        run()
        calls = max(1, int(seconds / max(perf_counter() - started, 1e-7)))
        started = perf_counter()
        for _ in range(calls):
            run()
        return (perf_counter() - started) / calls


def interleaved(runs: dict[str, Callable[[], Any]], rounds: int = 10, seconds: float = 0.03) -> dict[str, list[float]]:
    """Seconds a call of each, a block at a time in turn; the order turns with every round."""
    names, times = list(runs), {name: [] for name in runs}
    for i in range(rounds):
        for name in names[i % len(names) :] + names[: i % len(names)]:
            times[name].append(block(runs[name], seconds))
    return times
