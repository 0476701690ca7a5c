"""What measurements say: which backend is fastest, and where along a ladder of networks that changes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ._measurement import Measurement, Widths

# What two backends may differ by and still count as equally fast: a machine's own drift.
TIE = 1.05


@dataclass(frozen=True)
class Crossover:
    """Where along a ladder of networks one backend overtakes another.

    Attributes:
        before: the backend that is ahead on smaller networks.
        after: the one that is ahead from here on.
        low: the parameters of the last network on which ``before`` is ahead.
        high: those of the next network.
        parameters: where straight lines between the two, on logarithmic axes, cross.
        rows_per_second: how fast both are there.
    """

    before: str
    after: str
    low: int
    high: int
    parameters: float
    rows_per_second: float

    def __str__(self) -> str:
        return f"{self.after} overtakes {self.before} between {self.low:,} and {self.high:,} parameters"


def answer(measurements: Sequence[Measurement]) -> str:
    """One sentence: which backend is fastest for the user's own network, and by how much.

    Args:
        measurements: what ``measure`` returns.

    Example:
        >>> from chainrule.benchmark import Measurement, answer
        >>> seconds = {"numpy": 0.5, "torch": 1.1}
        >>> print(answer([Measurement((4, 8, 2), 1.0, 32, 640, name, seconds=s) for name, s in seconds.items()]))
        for 4-8-2 at batch 32: numpy, 2.2 times as fast as torch
    """
    own = [one for one in measurements if one.factor == 1.0]
    if not own:
        return "the network asked about was not measured"
    network = f"for {own[0].name} at batch {own[0].batch_size}: "
    ranked = sorted((one for one in own if one.problem is None), key=lambda one: one.seconds)
    if not ranked:
        return f"{network}no backend could train it"
    if len(ranked) == 1:
        return f"{network}{ranked[0].backend}, the only one measured"
    first, second = ranked[:2]
    ratio = second.seconds / first.seconds
    if ratio < TIE:
        return f"{network}{first.backend} and {second.backend}, equally fast within {TIE - 1:.0%}"
    return f"{network}{first.backend}, {ratio:.{1 if ratio < 9.95 else 0}f} times as fast as {second.backend}"


def crossovers(measurements: Iterable[Measurement]) -> list[Crossover]:
    """Where, from the smallest network to the largest, the fastest backend changes.

    A backend is overtaken when another one is ahead by more than a tie, and was behind on a smaller network: one that
    failed is not overtaken.

    Args:
        measurements: what ``measure`` returns.

    Example:
        >>> from chainrule.benchmark import Measurement, crossovers
        >>> small, large = (4, 8, 2), (4, 800, 2)
        >>> seconds = {("numpy", small): 1.0, ("cupy", small): 2.0, ("numpy", large): 9.0, ("cupy", large): 3.0}
        >>> found = [Measurement(net, 1.0, 32, 640, name, seconds=s) for (name, net), s in seconds.items()]
        >>> print(crossovers(found)[0])
        cupy overtakes numpy between 58 and 5,602 parameters
    """
    found, seen, holder = list[Crossover](), list[dict[str, Measurement]](), ""
    for rung in by_network(measurements):
        ran = {one.backend: one for one in rung if one.problem is None}
        if not ran:
            continue
        seen.append(ran)
        best = min(ran.values(), key=lambda one: one.seconds)
        if holder not in ran:
            holder = best.backend
        elif ran[holder].seconds > TIE * best.seconds:
            found += _crossing(holder, best.backend, seen)
            holder = best.backend
    return found


def unrest(measurements: Iterable[Measurement]) -> float:
    """How busy the machine was: the largest median of a training's epochs, in units of its best; 1 is a quiet one.

    Args:
        measurements: what ``measure`` returns.
    """
    return max((one.median_seconds / one.seconds for one in measurements if one.problem is None), default=1.0)


def by_network(measurements: Iterable[Measurement]) -> list[list[Measurement]]:
    """The measurements of each network, the smallest network first.

    Args:
        measurements: what ``measure`` returns.
    """
    rungs: dict[Widths, list[Measurement]] = {}
    for one in sorted(measurements, key=lambda one: one.parameters):
        rungs.setdefault(one.widths, []).append(one)
    return list(rungs.values())


def _crossing(before: str, after: str, rungs: Sequence[Mapping[str, Measurement]]) -> list[Crossover]:
    """The last rung of these where ``after`` comes from behind; none if it was never measured behind."""
    both = [(rung[before], rung[after]) for rung in rungs if before in rung and after in rung]
    behind = [i for i, (old, new) in enumerate(both) if new.seconds >= old.seconds]
    if not behind:
        return []
    (old, new), (old_next, new_next) = both[behind[-1]], both[behind[-1] + 1]
    lead, lead_next = math.log(new.seconds / old.seconds), math.log(old_next.seconds / new_next.seconds)
    share = lead / (lead + lead_next)
    return [
        Crossover(
            before, after, old.parameters, old_next.parameters,
            parameters=_between(old.parameters, old_next.parameters, share),
            rows_per_second=_between(new.rows_per_second, new_next.rows_per_second, share),
        )
    ]  # fmt: skip


def _between(low: float, high: float, share: float) -> float:
    """The number at this share of the way from ``low`` to ``high`` on a logarithmic scale."""
    return low * (high / low) ** share
