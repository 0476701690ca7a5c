"""What a step of ``fit`` costs with Numba's loops, alone and beside a second training run on the same cores.

python benchmarks/fit_steps.py [tiny small tabular mnist]

Microseconds a step: the median and the least of epochs of 64 steps, whole, with all that ``fit`` does between them.
"""

from __future__ import annotations

import multiprocessing
import sys
import time
from typing import Any

import numpy as np
from grid import GRID

import chainrule as cr
from chainrule._kernels import with_providers

_SECONDS, _STEPS = 4.0, 64


def _train(name: str, barrier: Any, answers: Any) -> None:
    network = GRID[name]
    rng, rows = np.random.default_rng(0), _STEPS * network.batch
    X = rng.standard_normal((rows, network.net.n_in)).astype(np.float32)
    options: dict[str, Any] = {"loss": "softmax_cross_entropy", "batch_size": network.batch, "verbose": False}
    options |= {"y": rng.integers(0, network.net.n_out, rows)}
    options |= {"backend": with_providers(cr.backend("numpy"), fast=True)}
    cr.fit(network.net, X, epochs=2, **options)
    barrier.wait()
    started, seconds = time.perf_counter(), []
    while time.perf_counter() < started + _SECONDS:
        seconds += cr.fit(network.net, X, epochs=3, **options).history["seconds"]
    answers.put([1e6 * function(seconds) / _STEPS for function in (np.median, np.min)])


def measure(name: str, at_once: int) -> tuple[float, float]:
    """The median and the least, the means over those that train at once."""
    context = multiprocessing.get_context("spawn")
    barrier, answers = context.Barrier(at_once), context.Queue()
    runs = [context.Process(target=_train, args=(name, barrier, answers)) for _ in range(at_once)]
    for run in runs:
        run.start()
    found = np.mean([answers.get(timeout=300) for _ in runs], axis=0)
    for run in runs:
        run.join()
    return float(found[0]), float(found[1])


if __name__ == "__main__":
    for name in sys.argv[1:] or ("tiny", "small", "tabular", "mnist"):
        (alone, least), (two, _) = measure(name, 1), measure(name, 2)
        print(f"{name:8} alone {alone:8,.0f} ({least:,.0f}), two at once {two:8,.0f}: {two / alone:.2f}", flush=True)
