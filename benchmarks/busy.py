"""A step beside another training run on the same cores: the BLAS's threads wait for each other.

Matrix products of a small network are split between two threads and joined again within microseconds. If the other
thread does not run just then, a step waits for the scheduler, thousands of times as long as it computes. One BLAS
thread does not wait, and at these sizes gives away little.
"""

from __future__ import annotations

import multiprocessing
from typing import Any

import numpy as np
from grid import GRID, block
from operations import backend_of, step
from threadpoolctl import threadpool_limits

NAMES = ("tiny", "small", "tabular", "mnist")


def measure(rounds: int = 5) -> dict[str, Any]:
    """Microseconds a step, median: with all BLAS threads and with one, alone and beside another training run."""
    found: dict[str, Any] = {name: {} for name in NAMES}
    runs = {name: step(GRID[name], backend_of("numpy"), "float32") for name in NAMES}
    for condition in ("alone", "beside another training run"):
        other = multiprocessing.get_context("spawn").Process(target=_train, daemon=True)
        if condition != "alone":
            other.start()
        for name, run in runs.items():
            times: dict[str, list[float]] = {"all": [], "one": []}
            for _ in range(rounds):
                times["all"].append(block(run))
                with threadpool_limits(1, user_api="blas"):
                    times["one"].append(block(run))
            found[name][condition] = {threads: 1e6 * float(np.median(t)) for threads, t in times.items()}
        if condition != "alone":
            other.terminate()
            other.join()
    return found


def _train() -> None:
    run = step(GRID["small"], backend_of("numpy"), "float32")
    while True:
        run()
