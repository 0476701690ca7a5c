"""chainrule.testing finds nothing wrong with any of the library's own parts.

Said here alone: an activation's derivative is its slope; a schedule keeps its length and the shape of t.
"""

from __future__ import annotations

from typing import Any

import pytest
from test_activations import ACTIVATIONS
from test_layers import LAYERS
from test_losses import LOSSES
from test_optimizers import OPTIMIZERS
from test_schedules import SCHEDULES

from chainrule import schedules, testing

PARTS: dict[str, Any] = {
    **{name: lambda case=case, **on: testing.check_layer(case.layer, case.n_in, **on) for name, case in LAYERS.items()},
    **{name: lambda case=case, **on: testing.check_activation(case[0], **on) for name, case in ACTIVATIONS.items()},
    **{name: lambda case=case, **on: testing.check_loss(case.loss, **on) for name, case in LOSSES.items()},
    **{
        name: lambda case=case, **on: testing.check_optimizer(case.optimizer, **on) for name, case in OPTIMIZERS.items()
    },
    **{name: lambda case=case, **on: testing.check_schedule(case[0], **on) for name, case in SCHEDULES.items()},
    "cosine without a length": lambda **on: testing.check_schedule(schedules.CosineDecay(0.3, 5), **on),
    "one cycle without a length": lambda **on: testing.check_schedule(schedules.OneCycle(0.3), **on),
}


@pytest.mark.parametrize("name", PARTS)
def test_the_librarys_own_parts_pass(name: str) -> None:
    """On NumPy; the other files of this folder run each of them on every platform."""
    assert PARTS[name](backends=["numpy"]).backends == ("numpy (float32, float64)",)
