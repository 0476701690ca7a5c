"""The suite: each operation on each network, backend and dtype, by pytest-benchmark.

``extra_info`` has GFLOP/s, and the share of what this machine reaches in a large product of that backend and dtype.
``CHAINRULE_BENCH`` selects: ``quick`` (every operation once, the smallest network), ``some`` (the default) or ``full``.
"""

from __future__ import annotations

import functools
import os
from contextlib import nullcontext
from time import perf_counter
from typing import Any

import numpy as np
import pytest
from grid import GRID, Network
from operations import OPERATIONS, backend_of, flop_of, wait

# One backend a process, as ``run.py`` has it: thread pools of two libraries in one process fight for the cores.
BACKENDS = os.environ.get("CHAINRULE_BENCH_BACKENDS", "numpy").split(",")
SELECTIONS: dict[str, tuple[list[str], list[str], float]] = {  # networks, dtypes, seconds a measurement
    "quick": (["tiny"], ["float32"], 0.05),
    "some": (["tiny", "small", "tabular", "mnist"], ["float32"], 0.5),
    "full": (list(GRID), ["float32", "float64"], 1.0),
}
NETWORKS, DTYPES, SECONDS = SELECTIONS[os.environ.get("CHAINRULE_BENCH", "some")]


@functools.cache
def best_rate(backend: str, dtype: str) -> float:
    """Operations a second of a product of 2048 x 2048 matrices: what the machine can do."""
    on, n = backend_of(backend, dtype), 2048
    a = on.asarray(np.random.default_rng(0).standard_normal((n, n)).astype(dtype))
    times = []
    for _ in range(4):
        started = perf_counter()
        wait(on, on.xp.matmul(a, a))
        times.append(perf_counter() - started)
    return 2.0 * n**3 / min(times)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_operation(benchmark: Any, operation: str, network: str, backend: str, dtype: str) -> None:
    if backend == "jax" and dtype == "float64":
        pytest.skip("JAX has float64 only where it is enabled before any array is made")
    chosen: Network = GRID[network]
    run = OPERATIONS[operation](chosen, backend_of(backend, dtype), dtype)
    with getattr(run, "inside", nullcontext)():  # the first call, which records the step, too
        run()
        started = perf_counter()
        run()
        once = perf_counter() - started
        rounds = int(np.clip(SECONDS / max(once, 1e-7), 3, 20))
        iterations = max(1, int(SECONDS / rounds / max(once, 1e-7)))
        benchmark.group = f"{operation} {network} {dtype}"
        benchmark.extra_info |= {"operation": operation, "network": network, "backend": backend, "dtype": dtype}
        benchmark.pedantic(run, rounds=rounds, iterations=iterations, warmup_rounds=1)
    rate = flop_of(operation, chosen) / benchmark.stats.stats.min
    benchmark.extra_info |= {"gflops": rate / 1e9, "share": rate / best_rate(backend, dtype)}
