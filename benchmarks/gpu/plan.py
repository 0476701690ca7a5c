"""What a budget of time has room for, decided before the run and again after every rung, by a simulation of it.

Everybody gets ready at the same time, so a rung takes as long as the slowest of them, and then its timings. How long
somebody takes is what it took before, in a run whose results lie where this one's will; else it is stated here. Rungs
come in the order of importance, each with all contenders, else without those that compile long, else not at all;
what time is left goes into more rounds.

Contenders keep what they hold while others are timed. Where all of it is more than the device has, ours on torch's and
JAX's arrays are left out; where that is not enough, all are run one after the other, each with all its timings at once;
who is too large even alone is left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from .ladder import COMPARED, COMPILE_LONG, COMPILED_TORCH, ON_COMPILED_TORCH, ON_LIBRARIES, REFERENCE, Rung, take_part

ROUNDS, LEAST_ROUNDS = 9, 3
LEAST = 0.2  # seconds of a timing
START = 20.0  # seconds for new processes with their imports and first kernels, all at the same time
STATED = 150e9  # bytes of a device that cannot be asked: an H200

# Seconds to get ready in, in a process that has done so before, with what compilers keep on disk; an assumption until
# a run has measured it.
PREPARATION = {
    REFERENCE: 0.5,
    "ours: default": 0.5,
    "ours: compile=True": 1.5,
    "trial: steps in one graph": 3.0,
    "trial: one kernel": 5.0,
    "trial: epilogues": 3.0,
    "on torch: default": 0.5,
    ON_COMPILED_TORCH: 12.0,
    "on jax: jit": 4.0,
    "torch: eager": 0.5,
    "torch: in a graph": 1.0,
    COMPILED_TORCH: 12.0,
    "jax: scan": 4.0,
    "floor: torch.mm": 0.5,
    "fit: on the device": 1.0,
    "fit: on NumPy": 1.0,
}
UNWARMED = {COMPILED_TORCH: 75.0, ON_COMPILED_TORCH: 30.0, "jax: scan": 8.0}  # where nothing of it is on disk yet
# Operations a second that large products reach on an H200, and the least that a step takes there.
SPEED = {"float32": 4e13, "tf32": 2.5e14, "bf16": 5e14}
LEAST_STEP = 2e-4
# Arrays as large as theta that each keeps in training: parameters, two moments, gradient, and copies. A graph of ours
# has a state of its own, which it was warmed up on a copy of.
THETAS = {
    REFERENCE: 16,
    "ours: default": 6,
    "ours: compile=True": 12,
    "jax: scan": 8,
    "on jax: jit": 10,
    ON_COMPILED_TORCH: 12,
    "floor: torch.mm": 3,
}
CONTEXT = 1e9  # bytes of a process on the device: CUDA's context, kernels and workspaces
ROOM = 0.85  # the share of the device's memory that is planned with

Known = Mapping[tuple[str, str], float]  # seconds to get ready in, by contender and rung


@dataclass(frozen=True)
class Entry:
    """A rung of the plan. ``alone`` is one contender after the other; ``seconds`` as simulated."""

    rung: Rung
    contenders: Sequence[str]
    rounds: int
    alone: bool
    seconds: float

    @property
    def left_out(self) -> list[str]:
        return [name for name in take_part(self.rung) if name not in self.contenders]

    @property
    def groups(self) -> list[Sequence[str]]:
        """Who is there at the same time; if there are several groups, each one's processes end after it."""
        if self.alone:
            return [[name] for name in self.contenders]
        return [self.contenders[:1], self.contenders[1:]] if is_large(self.rung) else [self.contenders]


def plan(rungs: Iterable[Rung], seconds: float, known: Known, memory: float, *, started: bool = False) -> list[Entry]:
    """What of ``rungs`` there is time for. ``started``: the processes are there already."""
    entries: list[Entry] = []
    used = 0.0 if started else START
    for rung in rungs:
        fitting = [name for name in take_part(rung) if holds(rung, name) <= ROOM * memory]
        fewer = [name for name in fitting if name not in ON_LIBRARIES]
        alone = _are_too_many(rung, fitting, memory)
        if alone and not _are_too_many(rung, fewer, memory):
            alone, fitting = False, fewer
        quick = [name for name in fitting if name not in COMPILE_LONG]
        for names in (fitting, quick) if len(quick) > 1 else ():
            found = Entry(rung, names, LEAST_ROUNDS, alone, _seconds(rung, names, LEAST_ROUNDS, alone, known))
            if used + found.seconds <= seconds:
                used += found.seconds
                entries.append(found)
                break
    for rounds in range(LEAST_ROUNDS + 1, ROUNDS + 1):
        more = [_timings(entry.rung, entry.contenders) for entry in entries]
        if used + sum(more) > seconds:
            break
        used += sum(more)
        entries = [
            replace(entry, rounds=rounds, seconds=entry.seconds + extra)
            for entry, extra in zip(entries, more, strict=True)
        ]
    return entries


def holds(rung: Rung, name: str) -> float:
    """About how many bytes of the device a contender holds."""
    rows, sizes = rung.network.batch, rung.network.sizes
    size = sum((n_in + 1) * n_out for n_in, n_out in pairwise(sizes))
    number = 8 if name == REFERENCE else 4
    if name == "fit: on NumPy":
        return 0.0
    if rung.kind == "inference":
        return CONTEXT + number * (rows * (sizes[0] + 2 * max(sizes)) + size)
    thetas = THETAS.get(name, THETAS["ours: compile=True"] if name.startswith("trial") else 7)
    return CONTEXT + number * (2 * rows * sum(sizes)) + 4 * (rung.batches * rows * sizes[0] + thetas * size)


def _are_too_many(rung: Rung, names: Sequence[str], memory: float) -> bool:
    """Whether they do not fit at once, without the reference where its process is at its end by then."""
    return sum(holds(rung, name) for name in names[is_large(rung) :]) > ROOM * memory


def is_large(rung: Rung) -> bool:
    """Whether processes end after it, and the reference's before it: their pools would keep as much from the others."""
    return max(holds(rung, name) for name in take_part(rung)) > 4 * CONTEXT


def measured(rows: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str], float]:
    """What contenders took to get ready, from results or from warming up; the last counts."""
    return {(name, row["rung"]): seconds for row in rows for name, seconds in row["preparation_s"].items()}


def describe(entries: Sequence[Entry], rungs: Sequence[Rung], minutes: float) -> str:
    """The plan as a table, and what it has no room for."""
    lines = [f"The plan for {minutes:.3g} minutes: seconds, rounds, rung and who is left out of it."]
    for entry in entries:
        how = ", one contender after the other" * entry.alone
        without = f", without {', '.join(entry.left_out)}" * bool(entry.left_out)
        lines.append(f"{entry.seconds:5.0f} {entry.rounds:2d}  {entry.rung}{how}{without}")
    lines.append(f"{sum(entry.seconds for entry in entries):5.0f}     in all, for {len(entries)} of {len(rungs)} rungs")
    planned = {entry.rung for entry in entries}
    rest: dict[str, list[str]] = {}
    for rung in (rung for rung in rungs if rung not in planned):
        rest.setdefault(f"{rung.kind} in {rung.precision}", []).append(f"{rung.network.name} at {rung.network.batch}")
    return "\n".join([*lines, *(f"no room: {kind}: {', '.join(left_out)}" for kind, left_out in rest.items())])


def preparation(rung: Rung, name: str, known: Known) -> float:
    """Seconds until somebody is ready: as known of this rung, else the longest of its kind, else as stated.

    What a compiler has on disk of one rung does not help with another. A prediction is about a third of a step.
    """
    if (name, str(rung)) in known:
        return known[name, str(rung)]
    alike = [seconds for (who, what), seconds in known.items() if who == name and what.startswith(rung.kind)]
    if alike and name not in UNWARMED:
        return max(alike)
    compiling = UNWARMED.get(name, PREPARATION[name]) / (3 if rung.kind == "inference" else 1)
    steps = (COMPARED + 5) * _step(rung, "float32" if name == REFERENCE else rung.precision)
    return max([compiling + steps, *alike])


def _seconds(rung: Rung, names: Sequence[str], rounds: int, alone: bool, known: Known) -> float:
    ready = [preparation(rung, name, known) for name in names]
    if alone:
        return sum(ready) + START / 3 * len(names) + rounds * _timings(rung, names)
    large = START + ready[0] if is_large(rung) else 0.0
    return large + max(ready) + rounds * _timings(rung, names)


def _timings(rung: Rung, names: Sequence[str]) -> float:
    """Of one round: each warms up, finds out how many steps it takes, and takes them."""
    each = 1.2 * LEAST + 3 * rung.steps * _step(rung, rung.precision)
    return each * sum(name != REFERENCE for name in names)


def _step(rung: Rung, precision: str) -> float:
    return max(LEAST_STEP, 2 * rung.flop / SPEED[precision])
