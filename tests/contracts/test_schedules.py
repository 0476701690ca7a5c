"""Each schedule against its formula, at every step and beyond its end."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from completeness import kinds, named
from conftest import Platform, about, find_library

from chainrule import schedules
from chainrule._backend import reference_backend as backend
from chainrule._base.errors import ConfigurationError

HOST = backend("numpy", dtype="float64")


def cosine(eta: float, warmup: int, steps: int, final: float) -> Callable[[int], float]:
    def rate(t: int) -> float:
        if t <= warmup:
            return eta * t / warmup
        s = min((t - warmup) / (steps - warmup), 1.0)
        return final + (eta - final) / 2 * (1 + math.cos(math.pi * s))

    return rate


def one_cycle(eta: float, steps: int, rise: float, start: float, end: float) -> Callable[[int], float]:
    def rate(t: int) -> float:
        u = min(t / steps, 1.0)
        if u <= rise:
            return eta / start + (eta - eta / start) / 2 * (1 - math.cos(math.pi * u / rise))
        return eta / end + (eta - eta / end) / 2 * (1 + math.cos(math.pi * (u - rise) / (1 - rise)))

    return rate


SCHEDULES = {
    "constant": (schedules.ConstantRate(0.3), lambda t: 0.3),
    "step decay": (schedules.StepDecay(0.3, 7), lambda t: 0.3 * 0.1 ** ((t - 1) // 7)),
    "step decay by half": (schedules.StepDecay(0.3, 10, 0.5), lambda t: 0.3 * 0.5 ** ((t - 1) // 10)),
    "exponential decay": (schedules.ExponentialDecay(0.3, 20), lambda t: 0.3 * 0.1 ** ((t - 1) / 20)),
    "inverse scaling": (schedules.InverseScaling(0.3), lambda t: 0.3 / math.sqrt(t)),
    "inverse scaling, cubic": (schedules.InverseScaling(0.3, 3.0), lambda t: 0.3 / t**3),
    "cosine": (schedules.CosineDecay(0.3, steps=50), cosine(0.3, 0, 50, 0.0)),
    "cosine, warm": (schedules.CosineDecay(0.3, 10, 50, 0.02), cosine(0.3, 10, 50, 0.02)),
    "one cycle": (schedules.OneCycle(0.3, 50), one_cycle(0.3, 50, 0.3, 25.0, 1e4)),
    "one cycle, late": (schedules.OneCycle(0.3, 50, 0.61, 10.0, 100.0), one_cycle(0.3, 50, 0.61, 10.0, 100.0)),
}
T = np.arange(1, 61)  # ten steps past the end of those that have one


def test_the_table_of_schedules_is_complete() -> None:
    assert named(*(schedule for schedule, _ in SCHEDULES.values())) == kinds(schedules, "rate", "planned")


def test_a_schedule_is_its_formula_at_every_step(platform: Platform) -> None:
    xp = platform.backend.xp

    def every(t: Any) -> Any:
        return {name: schedule.rate(xp, t) for name, (schedule, _) in SCHEDULES.items()}

    for name, rates in platform.run(every, platform.array(T.astype(float))).items():
        with about(name):
            _, formula = SCHEDULES[name]
            # exp(power ln t) rounds its argument, up to 3 ln 60 = 12; a cosine ends where 1 + cos s cancels.
            platform.check(rates, [formula(int(t)) for t in T], rtol=16 * platform.eps, atol=0.3 * platform.eps)


def test_cosine_is_torchs_cosine_annealing() -> None:
    torch = find_library("torch")
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.3)
    annealing, rates = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=50, eta_min=0.02), []
    for _ in range(50):
        optimizer.step()
        annealing.step()
        rates.append(annealing.get_last_lr()[0])
    ours = schedules.CosineDecay(0.3, steps=50, final=0.02).rate(HOST.xp, np.arange(1.0, 51.0))
    np.testing.assert_allclose(ours, rates, rtol=1e-12)


@pytest.mark.parametrize("schedule", [schedules.CosineDecay(0.3, 5), schedules.OneCycle(0.3)], ids=repr)
def test_a_schedule_without_a_length_is_planned_or_refused(schedule: Any) -> None:
    with pytest.raises(ConfigurationError, match="no length"):
        schedule.rate(HOST.xp, np.ones(1))
    planned = schedule.planned(40)
    assert planned.steps == 40
    assert planned.planned(7) is planned
