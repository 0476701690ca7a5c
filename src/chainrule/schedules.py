"""Learning rates that change: pure functions of the step counter, which is an array, so a compiled step stays compiled.

``rate(xp, t)`` is eta at step t = 1, 2, ..., given as a float array of shape ``(1,)``. All lengths count steps. Where
``steps`` is None, ``fit`` fills in how many steps it will take (``planned``); where nobody can know that, as in
``partial_fit``, such a schedule is refused.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

from ._base.errors import ConfigurationError, require
from ._base.options import check_instance, check_numbers, real_number
from ._base.typing import Array, Namespace


@runtime_checkable
class Schedule(Protocol):
    """A learning rate as a function of the step; one of your own names this class and has ``rate``.

    It may say ``traceable = True``, as a ``Layer`` may.

    Example:
        >>> from dataclasses import dataclass
        >>> import numpy as np, chainrule as cr
        >>> @dataclass(frozen=True)
        ... class Halved(cr.Schedule):
        ...     learning_rate: float
        ...     every: int
        ...     def rate(self, xp, t):
        ...         return self.learning_rate * 0.5 ** xp.floor((t - 1.0) / self.every)
        >>> Halved(0.1, every=10).rate(np, np.asarray([1.0, 11.0, 21.0])).tolist()
        [0.1, 0.05, 0.025]
    """

    @abstractmethod
    def rate(self, xp: Namespace, t: Array) -> Array:
        """eta(t), of t's shape and dtype."""

    def planned(self, steps: int) -> Schedule:
        """The same schedule over this many steps, where it has no length of its own."""
        return self


@dataclass(frozen=True)
class ConstantRate(Schedule):
    """eta(t) = learning_rate."""

    learning_rate: float

    def __post_init__(self) -> None:
        check_numbers(self)
        _check_rate(self.learning_rate)

    def rate(self, xp: Namespace, t: Array) -> Array:
        return xp.full_like(t, self.learning_rate)


@dataclass(frozen=True)
class StepDecay(Schedule):
    """eta(t) = learning_rate factor^floor((t - 1) / every)."""

    learning_rate: float
    every: int
    factor: float = 0.1

    def __post_init__(self) -> None:
        check_numbers(self)
        _check_rate(self.learning_rate)
        require(self.every >= 1, f"every must be at least 1 step, got {self.every}.")
        _check_factor(self.factor)

    def rate(self, xp: Namespace, t: Array) -> Array:
        return self.learning_rate * xp.exp(math.log(self.factor) * xp.floor((t - 1.0) / self.every))


@dataclass(frozen=True)
class ExponentialDecay(Schedule):
    """eta(t) = learning_rate factor^((t - 1) / every): smooth, a ``factor`` smaller each ``every`` steps."""

    learning_rate: float
    every: int
    factor: float = 0.1

    def __post_init__(self) -> None:
        check_numbers(self)
        _check_rate(self.learning_rate)
        require(self.every >= 1, f"every must be at least 1 step, got {self.every}.")
        _check_factor(self.factor)

    def rate(self, xp: Namespace, t: Array) -> Array:
        return self.learning_rate * xp.exp((math.log(self.factor) / self.every) * (t - 1.0))


@dataclass(frozen=True)
class InverseScaling(Schedule):
    """eta(t) = learning_rate / t^power."""

    learning_rate: float
    power: float = 0.5

    def __post_init__(self) -> None:
        check_numbers(self)
        _check_rate(self.learning_rate)
        require(self.power >= 0, f"power must be >= 0, got {self.power}.")

    def rate(self, xp: Namespace, t: Array) -> Array:
        return self.learning_rate * xp.exp(-self.power * xp.log(t))


@dataclass(frozen=True)
class CosineDecay(Schedule):
    """Linear warm-up to ``learning_rate`` in ``warmup`` steps, then half a cosine down to ``final``: SGDR's one cycle.

    eta(t) = learning_rate t / warmup for t <= warmup, else final + (learning_rate - final)/2 (1 + cos(pi s)),
    s = (t - warmup) / (steps - warmup), held at 1 (Loshchilov & Hutter, 2017).
    """

    learning_rate: float
    warmup: int = 0
    steps: int | None = None
    final: float = 0.0

    def __post_init__(self) -> None:
        check_numbers(self)
        _check_rate(self.learning_rate)
        _check_rate(self.final)
        require(self.warmup >= 0, f"warmup must be >= 0 steps, got {self.warmup}.")
        _check_length(self.steps, self.warmup)

    def rate(self, xp: Namespace, t: Array) -> Array:
        s = _progress(xp, t, self.warmup, self.steps)
        down = self.final + 0.5 * (self.learning_rate - self.final) * (1.0 + xp.cos(math.pi * s))
        return xp.where(t <= self.warmup, t * (self.learning_rate / max(self.warmup, 1)), down)

    def planned(self, steps: int) -> CosineDecay:
        return self if self.steps is not None else replace(self, steps=max(steps, self.warmup + 1))


@dataclass(frozen=True)
class OneCycle(Schedule):
    """Half a cosine up from eta/start to eta, the ``learning_rate``, over the first ``rise`` of the steps, then down.

    For u = t / steps: up while u <= rise, eta/start + (eta - eta/start)/2 (1 - cos(pi u / rise)); then
    eta/end + (eta - eta/end)/2 (1 + cos(pi (u - rise)/(1 - rise))) (Smith & Topin, 2019).
    """

    learning_rate: float
    steps: int | None = None
    rise: float = 0.3
    start: float = 25.0
    end: float = 1e4

    def __post_init__(self) -> None:
        check_numbers(self)
        _check_rate(self.learning_rate)
        require(0 < self.rise < 1, f"rise must lie between 0 and 1, got {self.rise}.")
        require(self.start >= 1 and self.end >= 1, f"start and end must be >= 1, got {self.start} and {self.end}.")
        _check_length(self.steps, 0)

    def rate(self, xp: Namespace, t: Array) -> Array:
        u = _progress(xp, t, 0, self.steps)
        low, last = self.learning_rate / self.start, self.learning_rate / self.end
        up = low + 0.5 * (self.learning_rate - low) * (1.0 - xp.cos((math.pi / self.rise) * u))
        down = last + 0.5 * (self.learning_rate - last) * (
            1.0 + xp.cos((math.pi / (1.0 - self.rise)) * (u - self.rise))
        )
        return xp.where(u <= self.rise, up, down)

    def planned(self, steps: int) -> OneCycle:
        return self if self.steps is not None else replace(self, steps=max(steps, 1))


def as_schedule(rate: float | Schedule) -> Schedule:
    """A number as a constant schedule; a schedule as it is."""
    if isinstance(rate, Schedule) and not isinstance(rate, type):
        return rate
    if isinstance(rate, type) or hasattr(rate, "rate"):
        write = f"class {type(rate).__name__}(cr.Schedule)"
        check_instance(rate, Schedule, expected="a number or a schedule as learning_rate", write=write)
    return ConstantRate(real_number("learning_rate", rate))


def _progress(xp: Namespace, t: Array, warmup: int, steps: int | None) -> Array:
    if steps is None:
        raise ConfigurationError("this schedule has no length: give steps=..., or call its planned(steps).")
    return xp.clip((t - float(warmup)) / float(steps - warmup), min=0.0, max=1.0)


def _check_rate(learning_rate: float) -> None:
    require(0 <= learning_rate < math.inf, f"a learning rate must be a finite number >= 0, got {learning_rate}.")


def _check_factor(factor: float) -> None:
    require(0 < factor < math.inf, f"factor must be > 0, got {factor}.")


def _check_length(steps: int | None, warmup: int) -> None:
    require(steps is None or steps > warmup, f"steps must exceed the warm-up ({warmup}), got {steps}.")
