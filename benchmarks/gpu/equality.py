"""Whether two do the same work: the first step's gradient, the way that theta went, the classes of a prediction.

Losses say next to nothing. Over 100 steps at a rate so small that roundings do not grow, 1e-5, they differ by 3e-2 from
those of who trains nothing at all, by 1e-2 where two of five layers stay, by 2e-4 where a bias does, and by 2e-7 where
gradients are doubled: less than in tf32 or bf16 from somebody who does the same.

**The gradient's bound.** A rounding of relative size eps turns the sign of about as large a share of a layer's
pre-activations, and each unit that is turned by ReLU is an error as large as itself. So a gradient's relative error,
the root of its squares, grows as sqrt(L eps) over L layers. To eps of the products' operands comes that of sums of n
numbers in float32, whose errors grow as sqrt(n):

    |g - g64| <= 2 sqrt(L (eps + 2^-23 sqrt(n))) |g64|      for W and b of every layer

That is twice the law; without a GPU, operands rounded to tf32 and bf16 reach up to 0.6 of the bound in the networks
that are measured here.

**The movement's bounds** are none of eps: Adam divides by the gradient's size, so what is next to nothing takes part
with its sign, and a deep network goes on to magnify it. They are stated for 5 layers, grow with the square of their
number, and are two to five times what rounded operands have been seen to do in 20 steps. They find what the gradient
cannot see: another rate, no correction of the moments, other rows, or in float32 a step too few.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from contenders import Pieces

from .ladder import Rung

EPS = {"float32": 2.0**-23, "tf32": 2.0**-10, "bf16": 2.0**-7}
DIRECTION = {"float32": 0.02, "tf32": 0.05, "bf16": 0.1}
LENGTH = {"float32": 0.025, "tf32": 0.04, "bf16": 0.1}
SAMPLE = 4096  # entries of each W and b
ROWS = 1024  # of a prediction


class Training(NamedTuple):
    """Sampled entries of every W and b in turn: of the first step's gradient, and of theta_20 - theta_0."""

    gradient: Sequence[np.ndarray]
    movement: Sequence[np.ndarray]


Found = Training | np.ndarray | None  # of a training; of a prediction, classes; of the floor


def sampled(layers: Pieces) -> list[np.ndarray]:
    """The same entries of everybody's, in float64: all, or as many at random. None is left out for being few."""
    found = []
    for seed, part in enumerate(part for layer in layers for part in layer):
        every = part.size <= SAMPLE
        entries = np.arange(part.size) if every else np.random.default_rng(seed).integers(part.size, size=SAMPLE)
        found.append(part[np.unravel_index(entries, part.shape)].astype(np.float64))
    return found


def classes_compared(rows: np.ndarray) -> np.ndarray:
    """Rows, or their classes, from the first to the last."""
    return rows[:: max(1, len(rows) // ROWS)]


def allowed(rung: Rung) -> dict[str, float]:
    """The largest difference of each kind from the reference."""
    layers, widest = len(rung.network.sizes) - 1, max(rung.network.sizes)
    gradient = 2.0 * math.sqrt(layers * (EPS[rung.precision] + 2.0**-23 * math.sqrt(widest)))
    if rung.kind == "inference":
        return {"classes": gradient}
    depth = (layers / 5) ** 2
    return {
        "gradient": gradient,
        "direction": depth * DIRECTION[rung.precision],
        "length": depth * LENGTH[rung.precision],
    }


def differences(found: Found, reference: Found) -> dict[str, float]:
    """From the reference, each the largest over all W and b; none of the floor, which has no results.

    ``gradient`` is relative, ``direction`` is 1 - cos of the angle between the movements, ``length`` the relative one
    of their lengths; ``classes`` the share of the rows that get another class.
    """
    if found is None or reference is None:
        return {}
    if not isinstance(found, Training) or not isinstance(reference, Training):
        return {"classes": float(np.mean(np.asarray(found) != np.asarray(reference)))}
    gradients = [_share(_norm(a - b), _norm(b)) for a, b in zip(found.gradient, reference.gradient, strict=True)]
    moved = list(zip(found.movement, reference.movement, strict=True))
    return {
        "gradient": float(np.max([0.0, *gradients])),
        "direction": float(np.max([_turn(a, b) for a, b in moved])),
        "length": float(np.max([_share(abs(_norm(a) - _norm(b)), _norm(b)) for a, b in moved])),
    }


def is_equal(found: Mapping[str, float], limits: Mapping[str, float]) -> bool:
    """Whether all are within their limits, which NaN never is."""
    return all(found[name] <= limits[name] for name in found)


def _norm(x: np.ndarray) -> float:
    return float(np.linalg.norm(x))


def _share(size: float, whole: float) -> float:
    return size / whole if whole else (0.0 if size == 0 else math.inf)


def _turn(a: np.ndarray, b: np.ndarray) -> float:
    """1 - cos, and 1 where only one of them moves."""
    lengths = _norm(a) * _norm(b)
    return 1.0 - float(a @ b) / lengths if lengths else float(_norm(a) != _norm(b))
