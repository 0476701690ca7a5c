"""A rung: everybody gets ready, is compared with the reference, and is timed in turn; and the rungs of a plan."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Protocol

from .clocks import Clocks, Sample, summary
from .equality import Found, allowed, differences, is_equal
from .ladder import COLUMNS, REFERENCE, Rung
from .plan import LEAST, Entry, Known, measured, plan
from .runners import NotMeasuredError

RESERVE = 5.0  # seconds; with less left no rung is begun

Row = dict[str, Any]


class Contender(Protocol):
    """``lanes.Lane``. Whoever cannot raises NotMeasuredError."""

    name: str
    preparation: float

    def begin(self, rung: Rung) -> None: ...

    def first(self, patience: float) -> Found: ...

    def seconds(self, least: float, patience: float) -> float: ...

    def close(self) -> None: ...


@dataclass
class Budget:
    """Seconds, from now on."""

    seconds: float
    started: float = field(default_factory=time.monotonic)

    def left(self) -> float:
        return self.seconds - (time.monotonic() - self.started)


@dataclass
class Course:
    """What every rung is run with: who takes part, how long a timing is at least, and what samples the card."""

    contenders: Mapping[str, Contender]
    budget: Budget
    clocks: Clocks
    memory: float  # bytes of the device
    known: Known = field(default_factory=dict)
    least: float = LEAST


def measure(rungs: Sequence[Rung], course: Course, save: Callable[[list[Row], list[Row]], None]) -> None:
    """Rung after rung, planned anew after each; ``save(rows, not_measured)`` then, so that nothing is lost."""
    rows: list[Row] = []
    rest = list(rungs)
    save(rows, [_named(rung) | {"why": "the run has not come to it."} for rung in rest])
    while course.budget.left() > RESERVE:
        known = {**course.known, **measured(rows)}
        entries = plan(rest, course.budget.left(), known, course.memory, started=bool(rows))
        if not entries:
            break
        rest.remove(entries[0].rung)
        rows.append(race(entries[0], course))
        save(rows, [_named(rung) | {"why": "the run has not come to it."} for rung in rest])
    why = f"it does not fit into the {course.budget.seconds:.0f} s, or into the device's memory."
    save(rows, [_named(rung) | {"why": why} for rung in rest])


def race(entry: Entry, course: Course) -> Row:
    """A row. Who does other work than the reference is timed all the same, and counts for nothing."""
    rung, by_name = entry.rung, course.contenders
    problems: dict[str, str] = dict.fromkeys(entry.left_out, "left out by the plan.")
    results: dict[str, Found] = {}
    times: dict[str, list[float]] = {}
    samples: dict[str, list[Sample]] = {}
    ready: dict[str, float] = {}
    for names in entry.groups:
        together = [by_name[name] for name in names]
        _prepare(entry, together, course, results, ready, problems)
        _time(entry, [c for c in together if c.name in results], course, times, samples, problems)
        if len(entry.groups) > 1:
            for contender in together:
                contender.close()
    limits = allowed(rung)
    reference = results.get(entry.contenders[0])
    timed = {name for name in times if name not in problems}
    found = {name: differences(result, reference) for name, result in results.items() if name in timed}
    equal = {name for name in found if is_equal(found[name], limits)}
    compared = reference is not None
    return {
        **_named(rung),
        "steps_a_dispatch": rung.steps,
        "rounds": max(map(len, times.values()), default=0),
        "in_turn": not entry.alone,
        "reference": entry.contenders[0],
        "comparable": compared and equal == set(found),
        "allowed": limits,
        **{column: _best(names, times, equal) if compared else None for column, names in COLUMNS.items()},
        "forms": {
            name: {
                **_summary(times[name]),
                "differences": {kind: size if math.isfinite(size) else None for kind, size in found[name].items()},
                "equal": compared and name in equal,
                "clocks": summary(samples[name]),
            }
            for name in found
        },
        "preparation_s": {name: seconds for name, seconds in ready.items() if seconds},
        "not_measured": problems,
    }


def _prepare(
    entry: Entry,
    contenders: Sequence[Contender],
    course: Course,
    results: dict[str, Found],
    ready: dict[str, float],
    problems: dict[str, str],
) -> None:
    """The results of all who are ready, and why others are not. All get ready at the same time."""
    for contender in contenders:
        with _noting(contender, problems):
            contender.begin(entry.rung)
    deadline = time.monotonic() + max(45.0, 1.5 * entry.seconds)
    for contender in contenders:
        if contender.name not in problems:
            patience = min(deadline - time.monotonic(), course.budget.left() - RESERVE)
            with _noting(contender, problems):
                results[contender.name] = contender.first(patience)
            ready[contender.name] = contender.preparation


def _time(
    entry: Entry,
    contenders: Sequence[Contender],
    course: Course,
    times: dict[str, list[float]],
    samples: dict[str, list[Sample]],
    problems: dict[str, str],
) -> None:
    """Seconds of each, a timing at a time in turn; every round begins with another one."""
    contenders = [contender for contender in contenders if contender.name != REFERENCE]
    for i in range(entry.rounds):
        if i and course.budget.left() <= 0:
            return
        first = i % max(1, len(contenders))
        for contender in [*contenders[first:], *contenders[:first]]:
            name = contender.name
            if name not in problems:
                started = time.monotonic()
                with _noting(contender, problems):
                    taken = contender.seconds(course.least, 60.0)
                    times.setdefault(name, []).append(taken)
                    samples.setdefault(name, []).extend(course.clocks.since(started))


@contextmanager
def _noting(contender: Contender, problems: dict[str, str]) -> Iterator[None]:
    """Notes why a contender could not, and goes on."""
    try:
        yield
    except NotMeasuredError as reason:
        problems[contender.name] = str(reason)


def _named(rung: Rung) -> Row:
    network = rung.network
    return {
        "rung": str(rung),
        "kind": rung.kind,
        "network": network.name,
        "layers": list(network.sizes),
        "batch": network.batch,
        "precision": rung.precision,
    }


def _best(names: Sequence[str], times: Mapping[str, list[float]], equal: set[str]) -> Row | None:
    """Of one column the form with the lowest median."""
    winner = min((name for name in names if name in equal), key=lambda name: median(times[name]), default=None)
    return None if winner is None else {"form": winner.partition(": ")[2], **_summary(times[winner])}


def _summary(times: Sequence[float]) -> dict[str, float]:
    """Microseconds; ``spread`` is that of all rounds over the median."""
    least, middle, most = 1e6 * min(times), 1e6 * median(times), 1e6 * max(times)
    return {"min_us": least, "median_us": middle, "spread": (most - least) / middle}
