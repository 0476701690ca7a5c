"""Does a schedule do what a schedule must?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..schedules import Schedule, as_schedule
from ._backends import HOST
from ._part import Part
from ._report import ContractReport
from ._trial import Answer, Owned, Trial
from ._value import part_of, pickled, unchanged

LENGTH = 40  # of the run that a schedule without a length is planned for
STEPS = (1, 2, 3, 5, 10, 20, 39, 40, 41, 60, 1000, 100_000)


def check_schedule(schedule: Schedule, backends: Sequence[str] | None = None) -> ContractReport:
    """Whether ``schedule`` does what a schedule must, on every backend that runs here.

    ``rate`` is finite and >= 0 at steps 1 to 100,000, also beyond its end, of t's shape and dtype, and each step's is
    its own; ``planned`` gives a schedule and, asked again, that schedule; nothing is written to, no number read on the
    host; float32 and float64; each library against NumPy; and where it says ``traceable = True``, a recorded step
    against the step as it is, bit for bit.

    Args:
        schedule: the schedule; one without a length is checked as planned for 40 steps.
        backends: the names of those to try, ``["numpy", "torch"]``; None (the default) is every one that runs
            here.

    Returns:
        What was checked and where, to print.

    Raises:
        ContractError: what is broken, in one sentence. ConfigurationError: it is no schedule.

    Example:
        >>> import chainrule as cr
        >>> from chainrule.testing import check_schedule
        >>> print(check_schedule(cr.CosineDecay(0.1), backends=["numpy"]))
        CosineDecay(0.1) does what a schedule must.
          checked  a value, planned, rates >= 0, each step by itself, no reads on the host, recorded steps
          on       numpy (float32, float64)
    """
    part = part_of(as_schedule(schedule))
    notes, changed = pickled(part), unchanged(part)
    part = _planned(part)
    batches = [(np.asarray([float(t)]),) for t in STEPS]
    tried = Trial(part, _passes, (), batches, [Answer("the rate", "rate")], [f" at step {t}" for t in STEPS])
    expected = tried.run(HOST)
    tried.agree(tried.run(HOST), expected, "is another at a second call", 0.0)
    changed()
    for t, (rate,) in zip(STEPS, expected, strict=True):
        if not (np.isfinite(rate[0]) and rate[0] >= 0.0):
            raise part.broken(f"the rate at step {t} must be a finite number >= 0, got {rate[0]:.3g}", "rate")
    tried.watched()
    together = replace(tried, when=("",), batches=[(np.asarray(STEPS, dtype=np.float64),)])
    at_once, one_by_one = together.run(HOST, " for many steps at once"), [np.concatenate([e[0] for e in expected])]
    together.agree(at_once, [one_by_one], "depends on the other steps that it is asked for", 1e-12)
    on = tried.everywhere(backends, expected)
    checked = "a value", "planned", "rates >= 0", "each step by itself", "no reads on the host"
    return ContractReport(part.name, "a schedule", (*checked, *tried.replayed()), on, notes)


def _planned(part: Part) -> Part:
    """The part with a length. Raises unless that is a schedule, and keeps its length."""
    planned = part.call("planned", LENGTH)
    if not isinstance(planned, Schedule):
        raise part.broken(f"planned({LENGTH}) must give a schedule, got a {type(planned).__name__}", "planned")
    if planned.planned(LENGTH + 1) != planned:
        raise part.broken("planned changes a length that is there; return self where there is one", "planned")
    return replace(part, thing=planned)


def _passes(part: Part) -> Any:
    def step(owned: Owned, t: Any) -> Any:
        return owned, part.array(part.call("rate", part.backend.xp, t), tuple(t.shape), "the rate", "rate")

    return step
