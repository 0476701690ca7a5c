"""Learning rates that change: pure functions of the step counter, which is an array, so a compiled step stays compiled.

``rate(xp, t)`` is eta at step t = 1, 2, ..., given as a float array of shape ``(1,)``. All lengths count steps: a step
takes one batch, so an epoch of N rows has N / batch_size of them, rounded up. An optimizer takes a schedule where it
takes a number, ``cr.Adam(cr.CosineDecay(1e-3))``; ``ReduceOnPlateau`` is the rate that waits for the loss. Where
``steps`` is None, ``fit`` fills in how many steps it will take (``planned``); where nobody can know that, as in
``partial_fit``, such a schedule is refused.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass, replace
from numbers import Real
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
    """eta(t) = learning_rate: what a number stands for. ``cr.SGD(0.1)`` and ``cr.SGD(cr.ConstantRate(0.1))`` are alike.

    Args:
        learning_rate: a finite number >= 0.

    Raises:
        ConfigurationError: a rate that is negative or not finite.

    Example:
        >>> import numpy as np, chainrule as cr
        >>> cr.ConstantRate(0.1).rate(np, np.asarray([1.0, 1000.0])).tolist()
        [0.1, 0.1]
    """

    learning_rate: float

    def __post_init__(self) -> None:
        check_numbers(self)
        _check_rate(self.learning_rate)

    def rate(self, xp: Namespace, t: Array) -> Array:
        return xp.full_like(t, self.learning_rate)


@dataclass(frozen=True)
class StepDecay(Schedule):
    """eta(t) = learning_rate factor^floor((t - 1) / every): a staircase, torch's StepLR.

    Args:
        learning_rate: of the first ``every`` steps, a finite number >= 0.
        every: the length of a stair in steps, >= 1.
        factor: what each stair multiplies the rate by, a finite number > 0; default 0.1.

    Raises:
        ConfigurationError: a number outside of these ranges.

    Example:
        >>> import numpy as np, chainrule as cr
        >>> cr.StepDecay(0.8, every=10, factor=0.5).rate(np, np.asarray([1.0, 10.0, 11.0, 21.0])).round(3).tolist()
        [0.8, 0.8, 0.4, 0.2]
    """

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
    """eta(t) = learning_rate factor^((t - 1) / every): ``StepDecay`` without the stairs.

    Args:
        learning_rate: of the first step, a finite number >= 0.
        every: the number of steps, >= 1, in which the rate is multiplied by ``factor``.
        factor: a finite number > 0; default 0.1.

    Raises:
        ConfigurationError: a number outside of these ranges.

    Example:
        >>> import numpy as np, chainrule as cr
        >>> schedule = cr.ExponentialDecay(0.8, every=10, factor=0.5)
        >>> schedule.rate(np, np.asarray([1.0, 6.0, 11.0, 21.0])).round(3).tolist()
        [0.8, 0.566, 0.4, 0.2]
    """

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
    """eta(t) = learning_rate / t^power: scikit-learn's "invscaling".

    Plain gradient descent on noisy gradients converges for 1/2 < power <= 1 (Robbins & Monro, 1951).

    Args:
        learning_rate: of the first step, a finite number >= 0.
        power: >= 0; default 0.5. With 0 the rate stays.

    Raises:
        ConfigurationError: a number outside of these ranges.

    Example:
        >>> import numpy as np, chainrule as cr
        >>> cr.InverseScaling(0.8, power=0.5).rate(np, np.asarray([1.0, 4.0, 16.0, 64.0])).round(3).tolist()
        [0.8, 0.4, 0.2, 0.1]
    """

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

    The usual choice where the number of epochs is known, ``cr.Adam(cr.CosineDecay(1e-3))``: it ends with small steps
    and has nothing to tune.

    Args:
        learning_rate: the highest rate, a finite number >= 0.
        warmup: steps of linear rise, >= 0; default 0.
        steps: the length, warm-up included, > warmup; default None, the whole training run.
        final: the rate at the end and after it, a finite number >= 0; default 0.

    Raises:
        ConfigurationError: a number outside of these ranges; from ``rate``, steps that are None still.

    Example:
        >>> import numpy as np, chainrule as cr
        >>> schedule = cr.CosineDecay(0.1, warmup=10, steps=110)
        >>> schedule.rate(np, np.asarray([1.0, 5.0, 10.0, 60.0, 110.0])).round(3).tolist()
        [0.01, 0.05, 0.1, 0.05, 0.0]
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

    For short training runs at a rate several times larger than a constant one can be.

    Args:
        learning_rate: the highest rate, a finite number >= 0.
        steps: the length, >= 1; default None, the whole training run. After it the rate stays at the last.
        rise: the share of the steps on the way up, between 0 and 1; default 0.3.
        start: how many times smaller the rate is at the beginning, >= 1; default 25.
        end: how many times smaller it is at the end, >= 1; default 10,000.

    Raises:
        ConfigurationError: a number outside of these ranges; from ``rate``, steps that are None still.

    Example:
        >>> import numpy as np, chainrule as cr
        >>> schedule = cr.OneCycle(1.0, steps=100)
        >>> schedule.rate(np, np.asarray([15.0, 30.0, 65.0, 100.0])).round(4).tolist()  # halfway up, top, halfway down
        [0.52, 1.0, 0.5, 0.0001]
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
    if not isinstance(rate, Real):
        raise ConfigurationError(
            f"learning_rate must be a number or a schedule, got {rate!r:.60}: write 0.001, or cr.CosineDecay(0.001)."
        )
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
