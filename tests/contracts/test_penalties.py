"""Each penalty against its formula, and its gradient against the slope."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from completeness import kinds, named
from conftest import Platform, about, central_differences

from chainrule import penalties

WEIGHTS_OF_TWO = [np.random.default_rng(7).normal(0.0, 2.0, shape) for shape in ((6, 4), (2, 4))]
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

    def every(w0: Any, w1: Any) -> Any:
        return {
            name: (xp.sum(0.0 * w1) + penalty.value(xp, [w0, w1], share), penalty.gradient(xp, w0, share))
            for name, penalty in PENALTIES.items()
        }

    for name, (value, gradient) in platform.run(every, *map(platform.array, WEIGHTS_OF_TWO)).items():
        with about(name):
            l1, l2, over = vars(PENALTIES[name]).values()

            def formula(w0: np.ndarray, l1: float = l1, l2: float = l2, over: str = over) -> Any:
                sums = sum(l1 * np.abs(w).sum() + l2 / 2 * (w**2).sum() for w in (w0, WEIGHTS_OF_TWO[1]))
                return sums / 5 if over == "examples" else sums

            platform.check(value, formula(WEIGHTS_OF_TWO[0]), rtol=8 * platform.eps)
            slope = central_differences(formula, WEIGHTS_OF_TWO[0])  # good to 1e-8
            platform.check(gradient, slope, rtol=max(4 * platform.eps, 1e-8), atol=1e-8)


@pytest.mark.parametrize("name", ["both", "both over examples"])
@pytest.mark.parametrize("platform", ["numpy-readonly", "strictest-float32", "torch"], indirect=True)
def test_a_stack_is_penalized_one_by_one(platform: Platform, name: str) -> None:
    penalty, stack = PENALTIES[name], np.random.default_rng(7).normal(size=(3, 3, 3))
    value = penalty.value(platform.backend.xp, [platform.array(stack)], 0.2)
    alone = [platform.host(penalty.value(platform.backend.xp, [platform.array(w)], 0.2)) for w in stack]
    platform.check(value, np.stack(alone), rtol=4 * platform.eps)
