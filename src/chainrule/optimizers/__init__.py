"""Optimizers: what to do with a gradient. Each is a few lines of arithmetic on one flat vector.

``update(backend, theta, g, moments, t, eta)`` **owns** theta and the moments: it may overwrite them in place and
returns them; the caller rebinds the names and never looks at the old ones. ``m *= b`` is in place on NumPy, CuPy and
torch, and makes a new array on JAX. It never writes to g. t is the step counter as a float array ``(1,)``, from 1; eta
is the rate, ``(1,)``, or ``(k, 1)`` for a stack of k networks.

``fit(..., optimizer=cr.Adam(1e-3))`` takes an object; a name, ``optimizer="adam"``, has the defaults. g is the gradient
of the batch's mean cost, with the penalty, after clipping; a step is one batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, TypeVar

from .._base.errors import require
from .._base.options import find
from ..schedules import Schedule
from ._adaptive import Adagrad as Adagrad
from ._adaptive import Adam as Adam
from ._adaptive import AdamW as AdamW
from ._adaptive import Lion as Lion
from ._adaptive import RMSProp as RMSProp
from ._adaptive import adam as adam
from ._clip import Clip as Clip
from ._clip import ClipNorm as ClipNorm
from ._clip import ClipValue as ClipValue
from ._clip import clip_norm as clip_norm
from ._clip import clipped as clipped
from ._contract import Moments as Moments
from ._contract import Optimizer as Optimizer
from ._contract import once as once
from ._contract import update as update
from ._descent import SGD as SGD
from ._descent import AveragedMomentum as AveragedMomentum
from ._descent import Momentum as Momentum
from ._descent import VelocityMomentum as VelocityMomentum

OPTIMIZERS: Mapping[str, type[Any]] = MappingProxyType(
    {
        "sgd": SGD,
        "momentum": Momentum,
        "velocity_momentum": VelocityMomentum,
        "averaged_momentum": AveragedMomentum,
        "adagrad": Adagrad,
        "rmsprop": RMSProp,
        "adam": Adam,
        "adamw": AdamW,
        "lion": Lion,
    }
)


AnyOptimizer = TypeVar("AnyOptimizer", bound=Any)


def find_optimizer(optimizer: str | Optimizer) -> Optimizer:
    """The optimizer of this name with its defaults, or the object itself."""
    found = find(
        "optimizer",
        optimizer,
        OPTIMIZERS,
        Optimizer,
        expected="an optimizer, with learning_rate, init and update",
        write="a name like 'adam', an object like cr.Adam(1e-3), or your own, of a class Mine(cr.Optimizer)",
    )
    made = found() if isinstance(optimizer, str) else found
    require(
        made.learning_rate is not None,
        f"an optimizer has a learning_rate, {type(made).__name__} has none: write a field, learning_rate: float = 0.1.",
    )
    return made


def planned(optimizer: AnyOptimizer, steps: int) -> AnyOptimizer:
    """The optimizer with its schedule filled in for a training run of this many steps."""
    rate = optimizer.learning_rate
    if not isinstance(rate, Schedule) or rate.planned(steps) == rate:
        return optimizer
    return replace(optimizer, learning_rate=rate.planned(steps))
