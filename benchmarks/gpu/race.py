"""A rung: everybody gets ready, is compared with ours, and is timed in turn; and all rungs, within a budget of time."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Protocol

import numpy as np

from .ladder import TOLERANCE, Rung, Stage
from .runners import NotMeasuredError

ROUNDS, LEAST_ROUNDS = 9, 3
PATIENCE = 60.0  # seconds to get ready in: half of what is left at most, the rung's share at the least
RESERVE = 5.0  # seconds; with less left no rung is begun
LARGE = 2e9  # bytes; afterwards everybody's process ends, since their pools would keep as much from the others

Row = dict[str, Any]


class Contender(Protocol):
    """``lanes.Lane``. Whoever cannot raises NotMeasuredError."""

    name: str
    preparation: float

    def begin(self, rung: Rung) -> None: ...

    def first(self, patience: float) -> np.ndarray: ...

    def seconds(self, patience: float) -> float: ...

    def close(self) -> None: ...


@dataclass
class Budget:
    """Seconds, from now on."""

    seconds: float
    started: float = field(default_factory=time.monotonic)

    def left(self) -> float:
        return self.seconds - (time.monotonic() - self.started)


def measure(
    stage: Stage,
    contenders: Mapping[str, Contender],
    budget: Budget,
    save: Callable[[list[Row], list[Row]], None],
) -> None:
    """Rung after rung; ``save(rows, not_measured)`` after each, so that what ends the run loses nothing."""
    rows: list[Row] = []
    left_out = [_named(rung) | {"why": "the run has not come to it."} for rung in stage.rungs]
    save(rows, left_out)
    for done, rung in enumerate(stage.rungs, 1):
        if budget.left() < RESERVE:
            break
        if rung.kind != stage.rungs[done - 2].kind:
            for contender in contenders.values():
                contender.preparation = 0.0  # says nothing of the next kind
        share = budget.left() * rung.weight / sum(other.weight for other in stage.rungs[done - 1 :])
        taking_part = [contenders[name] for name in stage.take_part(rung)]
        rows.append(race(rung, taking_part, share, budget))
        save(rows, left_out[done:])
        if rung.bytes > LARGE:
            for contender in taking_part:
                contender.close()
    why = f"the time, {budget.seconds:.0f} s, was up."
    save(rows, [rung | {"why": why} for rung in left_out[len(rows) :]])


def race(rung: Rung, contenders: Sequence[Contender], share: float, budget: Budget) -> Row:
    """A row. ``share`` are the seconds that this rung should take; some of it may be measured with fewer rounds."""
    end = time.monotonic() + share
    results, problems = _prepared(rung, contenders, share, budget)
    differences = _differences(rung, results)
    allowed = TOLERANCE[rung.precision]
    for name in [name for name, difference in differences.items() if difference > allowed]:
        what = "of the rows get other classes" if rung.kind == "inference" else "its losses differ, relatively"
        problems[name] = f"not comparable: {what}, by {differences[name]:.2g}; {allowed:g} is allowed."
        del results[name]
    times = _timed([c for c in contenders if c.name in results], end, budget, problems)
    row = _named(rung) | _best(rung, times)
    row |= {"steps_compared": rung.compared if rung.kind == "training" else None}
    largest = max(differences.values(), default=math.inf)
    row |= {"largest_loss_difference": largest if math.isfinite(largest) else None}  # JSON has no infinity
    row |= {"comparable": all(difference <= allowed for difference in differences.values())}
    row |= {"steps_a_timing": rung.steps, "rounds": max(map(len, times.values()), default=0)}
    return row | {"forms": {name: _summary(found) for name, found in times.items()}, "not_measured": problems}


def _prepared(
    rung: Rung, contenders: Sequence[Contender], share: float, budget: Budget
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The first results of all who are ready, and why others are not. All get ready at the same time."""
    results: dict[str, np.ndarray] = {}
    problems: dict[str, str] = {}
    for contender in contenders:
        if contender.preparation > share:
            problems[contender.name] = (
                f"its last preparation took {contender.preparation:.0f} s, and this rung has {share:.0f} s."
            )
            contender.preparation /= 2  # a smaller network may be quicker
            continue
        with _noting(contender, problems):
            contender.begin(rung)
    deadline = time.monotonic() + max(share, min(PATIENCE, budget.left() / 2))
    for contender in contenders:
        if contender.name not in problems:
            with _noting(contender, problems):
                results[contender.name] = contender.first(deadline - time.monotonic())
    return results, problems


def _timed(
    contenders: Sequence[Contender], end: float, budget: Budget, problems: dict[str, str]
) -> dict[str, list[float]]:
    """Seconds of each, a timing at a time in turn; every round begins with another one."""
    times: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    for i in range(ROUNDS):
        if (i >= LEAST_ROUNDS and time.monotonic() > end) or (i and budget.left() <= 0):
            break
        first = i % max(1, len(contenders))
        for contender in [*contenders[first:], *contenders[:first]]:
            if contender.name not in problems:
                with _noting(contender, problems):
                    times[contender.name].append(contender.seconds(PATIENCE))
    return {name: found for name, found in times.items() if name not in problems}


@contextmanager
def _noting(contender: Contender, problems: dict[str, str]) -> Iterator[None]:
    """Notes why a contender could not, and goes on."""
    try:
        yield
    except NotMeasuredError as reason:
        problems[contender.name] = str(reason)


def _differences(rung: Rung, results: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Of everybody's results from the first one's: the largest relative one of a loss, or the share of other classes.

    The floor has no results, and differs from nobody.
    """
    compared = {name: found for name, found in results.items() if len(found)}
    if not compared:
        return {}
    reference, *_ = compared.values()
    if rung.kind == "inference":
        return {name: float(np.mean(found != reference)) for name, found in compared.items()}
    relative = {name: np.max(np.abs(found - reference) / np.abs(reference)) for name, found in compared.items()}
    return {name: float(largest) if np.isfinite(largest) else math.inf for name, largest in relative.items()}


def _named(rung: Rung) -> Row:
    network = rung.network
    return {
        "kind": rung.kind,
        "network": network.name,
        "layers": list(network.sizes),
        "batch": network.batch,
        "precision": rung.precision,
    }


def _best(rung: Rung, times: Mapping[str, list[float]]) -> Row:
    """``ours_us`` and ``ours_form``, and so on: of each library the form with the lowest median."""
    best: Row = {}
    for library in ("ours", "numpy") if rung.kind == "crossover" else ("ours", "torch", "jax", "floor"):
        forms = {name: found for name, found in times.items() if name.startswith(f"{library}: ")}
        winner = min(forms, key=lambda name: median(forms[name]), default=None)
        best[f"{library}_us"] = None if winner is None else _summary(forms[winner])
        best[f"{library}_form"] = None if winner is None else winner.removeprefix(f"{library}: ")
    return best


def _summary(times: Sequence[float]) -> dict[str, float]:
    return {"min": 1e6 * min(times), "median": 1e6 * median(times)}
