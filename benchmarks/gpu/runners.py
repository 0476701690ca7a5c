"""A contender that is ready: its weights and data lie on its device, and it takes steps or predicts again and again."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from contenders import B1, B2, EPSILON, Pieces, pieces

from .equality import Found, Training, classes_compared, sampled
from .ladder import COMPARED, Rung

__all__ = ["B1", "B2", "EPSILON", "DeviceName", "NotMeasuredError", "Pieces", "Runner", "Trainee", "pieces",
           "predicting", "timed", "training"]  # fmt: skip

DeviceName = Literal["cuda", "cpu"]


class NotMeasuredError(Exception):
    """Why a contender takes no part in a rung, in one sentence."""


@dataclass(frozen=True)
class Runner:
    """``first()`` are the results that are compared, ``seconds(least)`` of a step or call, None of nobody."""

    first: Callable[[], Found]
    seconds: Callable[[float], float] | None


@dataclass(frozen=True)
class Trainee:
    """A training in a contender's own words. ``dispatch`` takes ``rung.steps`` steps, as they are timed."""

    restart: Callable[[], object]  # the first weights, no moments, the first batch
    step: Callable[[], object]
    dispatch: Callable[[], object]
    weights: Callable[[], Pieces]
    first_moments: Callable[[], Pieces]  # Adam's m: after the first step (1 - B1) times its gradient
    wait: Callable[[], object]  # until all steps are done


def training(rung: Rung, it: Trainee) -> Runner:
    def first() -> Training:
        it.restart()
        it.step()
        gradient = [m / (1 - B1) for m in sampled(it.first_moments())]
        it.restart()
        for _ in range(COMPARED // rung.steps):
            it.dispatch()
        start, end = sampled(pieces(rung.network)), sampled(it.weights())
        return Training(gradient, [after - before for after, before in zip(end, start, strict=True)])

    return Runner(first, timed(it.dispatch, it.wait, rung.steps))


def predicting(call: Callable[[], Any], wait: Callable[[], Any]) -> Runner:
    """Prediction: ``call()`` returns class indices, on the device. Each call is waited for, as its user does."""
    return Runner(
        lambda: classes_compared(np.array(call().tolist())),
        timed(lambda: (call(), wait()), lambda: None, 1),
    )


def timed(dispatch: Callable[[], object], wait: Callable[[], object], steps: int) -> Callable[[float], float]:
    """Seconds a step over at least so many, the device at rest at both ends, after a dispatch that warms up."""

    def run(count: int) -> float:
        started = time.perf_counter()
        for _ in range(count):
            dispatch()
        wait()
        return time.perf_counter() - started

    def seconds(least: float) -> float:
        run(1)
        count, taken = 1, run(1)
        while taken < least:
            count = max(count + 1, math.ceil(1.1 * count * least / max(taken, 1e-7)))
            taken = run(count)
        return taken / (count * steps)

    return seconds
