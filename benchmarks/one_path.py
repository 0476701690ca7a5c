"""What one code path costs: an epoch of ``fit`` on a library's arrays over one of the library's own hand-written step.

    python benchmarks/one_path.py tiny mnist

**The same work.** Both hold the same random data in memory, as the library's arrays, start from the same weights, and
gather the rows of their batches in the order in which ``fit`` shuffles them. The losses of the first 20 steps are
compared before a figure counts.

**Ours is timed inside of ``fit``**, by the seconds that it notes of each epoch, in a process that does nothing else: a
loop around the step alone would leave out what surrounds it, and its memory would be pages that are there already. The
first epoch is not counted. Its losses are read in a second training, after the first one's times.

**Theirs** is what somebody writes who has no ``fit``: the steps of ``contenders``, which gather their rows where they
are compiled, the losses summed on the device and read once an epoch; at the fastest of several settings, found before.
``fit`` on torch has as many threads as torch's own is fastest with.

Each is a process of its own, and one works at a time, an epoch in turn.
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import count
from typing import Any

import numpy as np
import report
from contenders import (
    B1,
    B2,
    COMPARED,
    COMPILED,
    EAGER,
    EPSILON,
    RATE,
    Candidates,
    Make,
    Runner,
    Steps,
    Task,
    jax_start,
    jax_step,
    on_one_and_all,
    rest,
    sentence,
    training_data,
    work,
)
from grid import GRID, Network
from peers import Failed, FailedError, contenders, difference, in_turn, installed, ratios, summary

import chainrule as cr
from chainrule._random import host_generator

STEPS = {"tiny": 512, "small": 256, "tabular": 128, "mnist": 64, "deep": 32, "wide": 16}  # of an epoch
ROUNDS = {"deep": 10, "wide": 5}  # of the others 20
LIBRARIES: Mapping[str, tuple[str, bool | None]] = {"torch": ("torch", None), "torch_compile": ("torch", True),
                                                    "jax": ("jax", None)}  # fmt: skip
FIT = "fit on "

Epoch = Callable[[np.ndarray, int, bool], Sequence[float]]  # so many steps in an order: the sum of losses, or of each


def losses_of(sums: Sequence[Sequence[float]]) -> np.ndarray:
    """The first losses, from their sums after each step of each epoch."""
    return np.concatenate([np.diff(epoch, prepend=0.0) for epoch in sums])[:COMPARED]


# ours


class OnDemand:
    """Answers with the seconds of a step after each epoch, and ends the training where no other epoch is asked for."""

    def __init__(self, connection: Any) -> None:
        self._connection, self.question = connection, "prepare"

    def on_epoch_end(self, run: Any, record: Mapping[str, float]) -> None:
        rest()
        seconds = record["seconds"] / run.steps_per_epoch
        self._connection.send((("fit", None) if self.question == "prepare" else seconds, None))
        self.question = (self._connection.recv() or [""])[0]
        if self.question != "block":
            run.stop("its losses are asked for, or nothing any more")


class Sums:
    """The sum of the losses after each step, by epoch."""

    def __init__(self) -> None:
        self.sums: list[list[float]] = []

    def on_epoch_begin(self, run: Any) -> None:
        self.sums.append([])

    def on_step_end(self, run: Any) -> None:
        self.sums[-1].append(float(run.state.cost[0]) / run.state.weight[0] * run.step)


def fit(connection: Any, name: str) -> None:
    """Answer as ``contenders.work`` does, from inside of ``fit``; the losses are asked for last."""
    _, task, _ = connection.recv()
    network, steps = GRID[task.network], STEPS[task.network]
    library, compiled = LIBRARIES[name.removeprefix(FIT)]
    try:
        on = cr.backend(library, compile=compiled)
        if task.threads is not None:
            import torch

            torch.set_num_threads(task.threads)
        X, y = training_data(network, steps)
        x, classes = on.asarray(X), on.asarray(y, on.xp.int32)

        def train(callback: Any, epochs: int) -> None:
            adam = cr.Adam(RATE, B1, B2, EPSILON)
            options: dict[str, Any] = {"loss": "softmax_cross_entropy", "optimizer": adam, "backend": on}
            options |= {"batch_size": network.batch, "epochs": epochs, "callbacks": [callback], "verbose": False}
            cr.fit(network.net, x, classes, **options)

        train(asked := OnDemand(connection), 10**6)
        if asked.question == "first":
            train(noted := Sums(), -(-COMPARED // steps))
            connection.send((losses_of(noted.sums), None))
    except Exception as error:
        connection.send((None, sentence(error)))


# theirs


class Epochs(Runner):
    """Epochs, each in an order of its own, which is that of ``fit``; those that try a setting end soon."""

    def __init__(self, network: Network, epoch: Epoch) -> None:
        self._steps, self._batch = STEPS[network.name], network.batch
        self._epoch, self._numbers = epoch, count(1)

    def _take(self, steps: int, *, each: bool = False) -> Sequence[float]:
        order = host_generator(0, "order", next(self._numbers)).permutation(self._steps * self._batch)
        return self._epoch(order, steps, each)

    def first(self) -> np.ndarray:
        sizes = divmod(COMPARED, self._steps)
        return losses_of([self._take(steps, each=True) for steps in [self._steps] * sizes[0] + [sizes[1]]])

    def time(self, count: int) -> float:
        started = time.perf_counter()
        self._take(count)
        return (time.perf_counter() - started) / count

    def trial(self, least: int) -> float:
        return min(self.time(min(COMPARED, self._steps)) for _ in range(5))

    def block(self, least: int) -> float:
        return self.time(self._steps)


def rows_of(X: Any, y: Any, rows: Any) -> tuple[Any, Any]:
    return X.index_select(0, rows), y.index_select(0, rows)


def torch_epochs(network: Network, make: Callable[..., Steps]) -> Runner:
    import torch

    X, y = map(torch.from_numpy, training_data(network, STEPS[network.name]))
    y, step = y.long(), make(network, batch=rows_of).step

    def epoch(order: np.ndarray, steps: int, each: bool) -> Sequence[float]:
        batches = torch.from_numpy(order).split(network.batch)[:steps]
        losses = torch.stack([step(X, y, rows) for rows in batches])
        return losses.cumsum(0).tolist() if each else [float(losses.sum())]

    return Epochs(network, epoch)


def jax_epochs(network: Network) -> Runner:
    """The gather, the sum of the losses and the cursor in the program, which is given them to keep."""
    import jax
    import jax.numpy as jnp

    X, y = jax.device_put(training_data(network, STEPS[network.name]))
    state = jax_start(network)

    def summing(carry: Any, X: Any, y: Any, order: Any) -> Any:
        state, total, cursor = carry
        rows = jax.lax.dynamic_slice(order, (cursor,), (network.batch,))
        state, loss = jax_step(state, X[rows], y[rows])
        return state, total + loss, cursor + network.batch

    program = jax.jit(summing, donate_argnums=0)

    def epoch(order: np.ndarray, steps: int, each: bool) -> Sequence[float]:
        nonlocal state
        carry, sums = (state, jnp.zeros(()), jnp.zeros((), jnp.int32)), []
        placed = jax.device_put(order.astype(np.int32))
        for _ in range(steps):
            carry = program(carry, X, y, placed)
            if each:
                sums.append(float(carry[1]))
        state = carry[0]
        return sums or [float(carry[1])]

    return Epochs(network, epoch)


def on_torch(makes: Mapping[str, Callable[..., Steps]], network: Network, _: int | None) -> Candidates:
    return on_one_and_all({name: partial(torch_epochs, network, make) for name, make in makes.items()})


OWN: dict[str, Make] = {
    "torch": partial(on_torch, EAGER),
    "torch_compile": partial(on_torch, COMPILED),
    "jax": lambda network, _: {"jit": partial(jax_epochs, network)},
}


def own(connection: Any, name: str) -> None:
    work(connection, name, OWN)


# both


def measure(names: Sequence[str] = tuple(GRID)) -> dict[str, Any]:
    """``{network: {library: {"fit", "own": {"min", "median", "setting"}, "ratio": {"min", "paired"}}}}`` in
    microseconds, or ``{"problem": sentence}`` for a library."""
    libraries = [name for name in LIBRARIES if name in installed()[0]]
    return {name: race(Task(name), libraries) for name in names}


def race(task: Task, libraries: Sequence[str]) -> dict[str, Any]:
    first: dict[str, np.ndarray] = {}
    failed: Failed = {}

    def keep(asked: Callable[[Task], np.ndarray], name: str, threads: str | None = None) -> None:
        try:
            first[name] = asked(task._replace(threads=threads and int(threads)))
        except FailedError as error:
            failed[name] = str(error)

    with contenders([FIT + name for name in libraries], fit) as ours, contenders(libraries, own) as theirs:
        for mine, other in zip(ours, theirs, strict=True):
            keep(other.prepare, other.name)
            keep(mine.prepare, mine.name, "".join(re.findall(r"(\d+) threads?$", other.setting)) or None)
        in_pairs = [one for pair in zip(ours, theirs, strict=True) for one in pair if one.name not in failed]
        times = in_turn(task, in_pairs, ROUNDS.get(task.network, 20), failed)
        for one in ours:
            if one in times:
                keep(one.first, one.name)
    us, short = {one.name: taken for one, taken in times.items()}, summary(times)
    found: dict[str, Any] = {}
    for name in libraries:
        both = FIT + name, name
        problems = [f"{one}: {failed[one]}" for one in both if one in failed]
        problem = problems[0] if problems else difference(task, *(first[one] for one in both))
        of_both = {"fit": short.get(both[0]), "own": short.get(name)}
        found[name] = {"problem": problem} if problem else of_both | {"ratio": ratios(*(us[one] for one in both))}
    print(task, json.dumps(found), flush=True)
    return found


if __name__ == "__main__":
    print(report.one_path(measure(sys.argv[1:] or tuple(GRID))))
