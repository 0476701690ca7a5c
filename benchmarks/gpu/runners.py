"""A contender that is ready: its weights and data lie on its device, and it takes steps or predicts again and again."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from contenders import B1, B2, EPSILON, Pieces, pieces

from .ladder import Rung

__all__ = [
    "B1",
    "B2",
    "EPSILON",
    "RATE",
    "DeviceName",
    "NotMeasuredError",
    "Pieces",
    "Runner",
    "pieces",
    "predicting",
    "stepping",
]  # fmt: skip

DeviceName = Literal["cuda", "cpu"]

# A hundredth of Adam's usual. Roundings grow while a network learns: after a hundred steps the losses of grid.py's deep
# network on NumPy and on torch differ by 4e-2 at a rate of 1e-4, and by 1e-4 at this one.
RATE = 1e-5


class NotMeasuredError(Exception):
    """Why a contender takes no part in a rung, in one sentence."""


@dataclass(frozen=True)
class Runner:
    """``first()`` are the results that must be everybody's, ``seconds()`` the time of a step or a call."""

    first: Callable[[], np.ndarray]
    seconds: Callable[[], float]


def stepping(rung: Rung, step: Callable[[], Any], wait: Callable[[], Any]) -> Runner:
    """Training: ``step()`` returns the loss of its batch, on the device; ``wait()`` returns when all steps are done."""

    def run() -> None:
        for _ in range(rung.steps):
            step()
        wait()

    return Runner(lambda: np.array([float(step()) for _ in range(rung.compared)]), lambda: clocked(run) / rung.steps)


def predicting(rung: Rung, call: Callable[[], Any], wait: Callable[[], Any]) -> Runner:
    """Prediction: ``call()`` returns class indices, on the device. Each call is waited for, as its user does."""

    def run() -> None:
        for _ in range(rung.steps):
            call()
            wait()

    return Runner(lambda: np.array(call()[:1024].tolist()), lambda: clocked(run) / rung.steps)


def clocked(run: Callable[[], Any]) -> float:
    """Seconds; the device is at rest before and after."""
    started = time.perf_counter()
    run()
    return time.perf_counter() - started
