"""How far a step, an epoch and a prediction are above the floor: ratios of times taken in turn in one process.

Machines drift, so a ratio is that of the minima of its blocks, beside the median of the ratios of each round.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from grid import GRID, Network, forward_products, interleaved, optimizer_pass, products
from operations import backend_of, inference, step

import chainrule as cr

WAYS = {"plain": "numpy", "fast": "numpy+numba"}
BATCHES = {"tiny": 1000, "small": 300, "tabular": 60, "mnist": 30, "deep": 6, "wide": 4}  # in an epoch


def ratio(over: list[float], under: list[float]) -> dict[str, float]:
    """Of the minima, and the median of those of each round."""
    rounds = np.asarray(over) / np.asarray(under)
    return {"min": min(over) / min(under), "median": float(np.median(rounds)), "us": 1e6 * min(over)}


def steps(network: Network, ways: dict[str, str], rounds: int, dtype: str = "float32") -> dict[str, dict[str, float]]:
    """A step over the floor: its products, and a pass of the optimizer over memory."""
    multiply, _ = products(network, dtype)
    runs: dict[str, Callable[[], Any]] = {"products": multiply, "pass": optimizer_pass(network, dtype)}
    runs |= {way: step(network, backend_of(name, dtype), dtype) for way, name in ways.items()}
    times = interleaved(runs, rounds)
    floor = [a + b for a, b in zip(times["products"], times["pass"], strict=True)]
    lowest = min(times["products"]) + min(times["pass"])
    found = {way: ratio(times[way], floor) | {"min": min(times[way]) / lowest} for way in ways}
    return found | {"floor": {"us": 1e6 * lowest, "products_us": 1e6 * min(times["products"])}}


def epochs(network: Network, ways: dict[str, str], rounds: int) -> dict[str, dict[str, float]]:
    """An epoch of ``fit`` over the same number of steps alone; epochs without their first, which records the step."""
    batches, found = BATCHES[network.name], {}
    X, y = network.data(batches)
    for way, name in ways.items():
        on = backend_of(name)
        alone, whole = step(network, on, "float32"), []
        times = []
        for _ in range(rounds):
            times += interleaved({"step": alone}, rounds=2)["step"]
            model = cr.fit(
                network.net, X, y, loss="softmax_cross_entropy", batch_size=network.batch, epochs=4, backend=on
            )
            whole += [seconds / batches for seconds in model.history["seconds"][1:]]
        found[way] = {"min": min(whole) / min(times), "median": float(np.median(whole) / np.median(times))}
    return found


def predictions(network: Network, rows: int, ways: dict[str, str], rounds: int) -> dict[str, dict[str, float]]:
    """``predict`` over the forward products alone."""
    runs: dict[str, Callable[[], Any]] = {"products": forward_products(network, rows)}
    runs |= {way: inference(network, backend_of(name), "float32", rows) for way, name in ways.items()}
    times = interleaved(runs, rounds)
    return {way: ratio(times[way], times["products"]) for way in ways}


def measure(names: list[str], ways: dict[str, str], rounds: int, *, everything: bool) -> dict[str, Any]:
    """Steps for all of these networks; epochs, predictions and float64 as well if everything is asked for.

    Then steps are measured again at the end, minutes later, and the time with the lower floor counts: a virtual machine
    has slow spells, in which its cores wait for each other.
    """
    networks = [GRID[name] for name in names]
    found: dict[str, Any] = {"steps": {n.name: steps(n, ways, _rounds(n, rounds)) for n in networks}}
    if everything:
        found["steps in float64"] = {n.name: steps(n, ways, _rounds(n, rounds), "float64") for n in networks}
        found["epochs"] = {n.name: epochs(n, ways, 3) for n in networks}
        found["predictions"] = {
            f"{n.name}, {rows}": predictions(n, rows, ways, 6 if rows > 10_000 else rounds)
            for n in networks
            if n.name not in ("deep",)
            for rows in (1, 1024, 65_536)
            if n.name != "wide" or rows < 10_000
        }
        for n in networks:
            again = steps(n, ways, _rounds(n, rounds))
            if again["floor"]["us"] < found["steps"][n.name]["floor"]["us"]:
                found["steps"][n.name] = again
    return found


def _rounds(network: Network, rounds: int) -> int:
    return max(3, rounds // 3) if network.name in ("deep", "wide") else rounds
