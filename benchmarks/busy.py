"""Two trainings at once on the same cores: with all threads of the BLAS, and with those that ``fit`` gives it.

Matrix products are split between two threads and joined again within microseconds. If the other thread does not run
just then, a step waits for the scheduler, thousands of times as long as it computes. One thread does not wait, and at
small sizes gives away little. ``python benchmarks/busy.py`` prints what two at once cost.
"""

from __future__ import annotations

import multiprocessing
from contextlib import nullcontext
from multiprocessing.connection import Connection
from time import perf_counter
from typing import Any

import numpy as np
from grid import GRID
from operations import backend_of, step

NAMES = ("tiny", "small", "tabular", "mnist")
THREADS = ("all", "fit's")
CONDITIONS = {"alone": 1, "two at once": 2}  # and how many train


def measure(rounds: int = 5, seconds: float = 0.5, names: tuple[str, ...] = NAMES) -> dict[str, Any]:
    """Microseconds a step, the median over the rounds of means over ``seconds``; turned by round."""
    context = multiprocessing.get_context("spawn")
    pipes = [context.Pipe() for _ in range(2)]
    trainings = [context.Process(target=_train, args=(theirs, seconds), daemon=True) for _, theirs in pipes]
    for training in trainings:
        training.start()
    cases = [(name, condition, threads) for name in names for condition in CONDITIONS for threads in THREADS]
    times: dict[tuple[str, str, str], list[float]] = {case: [] for case in cases}
    for i in range(rounds):
        for name, condition, threads in cases if i % 2 else reversed(cases):
            ours = [pipe for pipe, _ in pipes[: CONDITIONS[condition]]]
            for pipe in ours:
                pipe.send((name, threads))
            times[name, condition, threads].append(float(np.mean([pipe.recv() for pipe in ours])))
    for training in trainings:
        training.terminate()
        training.join()
    return {
        name: {
            condition: {threads: float(np.median(times[name, condition, threads])) for threads in THREADS}
            for condition in CONDITIONS
        }
        for name in names
    }


def _train(pipe: Connection, seconds: float) -> None:
    """Answer each (network, threads) with the microseconds that a step takes."""
    on = backend_of("numpy")
    runs = {name: step(GRID[name], on, "float32") for name in NAMES}
    while True:
        name, threads = pipe.recv()
        run, network = runs[name], GRID[name]
        largest = network.net.multiplications(network.batch)
        with on.training(largest) if threads == "fit's" else nullcontext():
            run()
            started, steps = perf_counter(), 0
            while perf_counter() < started + seconds:
                run()
                steps += 1
        pipe.send(1e6 * (perf_counter() - started) / steps)


if __name__ == "__main__":
    for name, found in measure().items():
        for threads in THREADS:
            alone, both = (found[condition][threads] for condition in CONDITIONS)
            print(f"{name:8} {threads:6} threads: alone {alone:9,.0f} us, two at once {both:9,.0f}: {both / alone:.2f}")
