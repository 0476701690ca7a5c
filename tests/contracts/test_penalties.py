"""Each penalty against its formula, and its gradient against the slope."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from completeness import kinds, named
from conftest import Platform, about, central_differences

from chainrule import penalties

WEIGHTS = np.where(np.arange(33) % 4 > 0, np.random.default_rng(7).normal(0.0, 2.0, 33), 0.0)
PENALTIES = {
    "none": penalties.Penalty(),
    "l1": penalties.Penalty(l1=0.3),
    "l2": penalties.Penalty(l2=0.7),
    "both": penalties.Penalty(0.3, 0.7),
    "both over examples": penalties.Penalty(0.3, 0.7, "examples"),
}


def test_the_table_of_penalties_is_complete() -> None:
    assert named(*PENALTIES.values()) == kinds(penalties, "value", "gradient")


def test_a_penalty_is_its_formula_and_its_gradient_the_slope(platform: Platform) -> None:
    xp, share = platform.backend.xp, 1 / 5

    def every(w: Any) -> Any:
        return {
            name: (xp.sum(0.0 * w) + penalty.value(xp, w, share), penalty.gradient(xp, w, share))
            for name, penalty in PENALTIES.items()
        }

    for name, (value, gradient) in platform.run(every, platform.array(WEIGHTS)).items():
        with about(name):
            l1, l2, over = vars(PENALTIES[name]).values()

            def formula(w: np.ndarray, l1: float = l1, l2: float = l2, over: str = over) -> Any:
                total = l1 * np.abs(w).sum() + l2 / 2 * (w**2).sum()
                return total / 5 if over == "examples" else total

            platform.check(value, formula(WEIGHTS), rtol=8 * platform.eps)
            slope = central_differences(formula, WEIGHTS)  # good to 1e-8
            platform.check(gradient, slope, rtol=max(4 * platform.eps, 1e-8), atol=1e-8)


@pytest.mark.parametrize("name", ["both", "both over examples"])
@pytest.mark.parametrize("platform", ["numpy-readonly", "strictest-float32", "torch"], indirect=True)
def test_a_stack_is_penalized_one_by_one(platform: Platform, name: str) -> None:
    penalty, stack = PENALTIES[name], np.random.default_rng(7).normal(size=(3, 9))
    value = penalty.value(platform.backend.xp, platform.array(stack), 0.2)
    alone = [platform.host(penalty.value(platform.backend.xp, platform.array(w), 0.2)) for w in stack]
    platform.check(value, np.stack(alone), rtol=4 * platform.eps)
