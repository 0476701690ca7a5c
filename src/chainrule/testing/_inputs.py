"""What parts are tried on: numbers that float32 has exactly, so that every backend computes the same."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

ROWS = 5
MEMBERS = 3  # of a stack; with as many rows, a sum over the wrong one of the two has the right shape
STEP = 1e-6  # of a central difference, whose error is STEP^2 + 1e-16 / STEP


def grid(x: Any) -> np.ndarray:
    """The nearest odd multiple of 1/256: never 0, a quarter or a half, where a derivative may have a kink."""
    return (2.0 * np.floor(np.asarray(x) * 128.0) + 1.0) / 256.0


class Slope(NamedTuple):
    """One derivative: where, as it was computed, as the central difference has it, and how large the function is."""

    place: tuple[int, ...]
    got: float
    wanted: float
    size: float

    @property
    def agrees(self) -> bool:
        """Whether the two are equal to a part in 1e5; false for NaN. A central difference is good to some 1e-9."""
        return abs(self.got - self.wanted) <= 1e-5 * max(abs(self.got), abs(self.wanted)) + 1e-7 * max(1.0, self.size)


def slopes(f: Any, x: np.ndarray, gradient: np.ndarray, rng: np.random.Generator, most: int = 40) -> list[Slope]:
    """The derivatives of the function f of an array beside (f(x + h e) - f(x - h e)) / 2h, at up to ``most`` places."""
    places = list(np.ndindex(x.shape))
    if len(places) > most:
        places = [places[i] for i in sorted(rng.choice(len(places), most, replace=False))]
    size = abs(f(x))
    differences = ((f(_moved(x, i, STEP)) - f(_moved(x, i, -STEP))) / (2.0 * STEP) for i in places)
    return [Slope(i, float(gradient[i]), difference, size) for i, difference in zip(places, differences, strict=True)]


def _moved(x: np.ndarray, i: tuple[int, ...], step: float) -> np.ndarray:
    moved = x.copy()
    moved[i] += step
    return moved
