"""Gradient descent, and with momentum: one rate for all parameters."""

from __future__ import annotations

from dataclasses import dataclass

from .._backend import Backend
from .._base.errors import require
from .._base.options import check_numbers
from .._base.typing import Array
from ..schedules import Schedule, as_schedule
from ._contract import Moments, Optimizer, check_coefficient


@dataclass(frozen=True)
class SGD(Optimizer):
    """theta <- theta - eta g: gradient descent on a mini-batch (Robbins & Monro, 1951).

    The plainest rule, and the one to compare with; with a well chosen rate and ``Momentum`` often as good as any.

    Faster bodies take its place on CuPy, torch: ``chainrule where SGD``.

    Args:
        learning_rate: eta, a finite number >= 0, or a schedule; default 0.01.

    Raises:
        ConfigurationError: a rate that is negative, not finite, or no schedule.

    Example:
        >>> import chainrule as cr
        >>> network = cr.Sequential(cr.Dense(1, 1, bias=False, weight_init=cr.Constant(1.0)))
        >>> for steps in (1, 2, 3):  # C = w^2/2 from w = 1, so g = w
        ...     model = cr.fit(network, [[1.0]], [0.0], loss="squared_error", optimizer=cr.SGD(0.1), epochs=steps)
        ...     print(round(float(model.theta[0]), 3))
        0.9
        0.81
        0.729
    """

    learning_rate: float | Schedule = 0.01

    def __post_init__(self) -> None:
        check_numbers(self)
        as_schedule(self.learning_rate)

    def init(self, backend: Backend, theta: Array, decays: Array) -> Moments:
        return ()

    def update(
        self, backend: Backend, theta: Array, g: Array, moments: Moments, t: Array, eta: Array
    ) -> tuple[Array, Moments]:
        theta -= eta * g
        return theta, ()


@dataclass(frozen=True)
class Momentum(Optimizer):
    """v <- mu v + g; theta <- theta - eta v: the classical heavy ball (Polyak, 1964).

    Steps that agree add up, to as much as 1/(1 - mu) times the rate; steps to and fro cancel.

    ``nesterov=True``: theta <- theta - eta (g + mu v), the gradient looked up ahead (Sutskever et al., 2013).
    torch.optim.SGD's convention. The averaging convention, v <- beta v + (1 - beta) g, is ``AveragedMomentum``: the
    same path at a rate 1/(1 - beta) times as large.

    Faster bodies take its place on CuPy, torch: ``chainrule where Momentum``.

    Args:
        learning_rate: eta, a finite number >= 0, or a schedule; default 0.01.
        mu: how much of the velocity v a step keeps, in [0, 1); default 0.9.
        nesterov: whether the gradient is looked up ahead; default False.

    Raises:
        ConfigurationError: a number outside of these ranges.

    Example:
        >>> import chainrule as cr
        >>> network = cr.Sequential(cr.Dense(1, 1, bias=False, weight_init=cr.Constant(1.0)))
        >>> for steps in (1, 2, 3):  # C = w^2/2 from w = 1; SGD is at 0.729 then
        ...     model = cr.fit(network, [[1.0]], [0.0], loss="squared_error", optimizer=cr.Momentum(0.1), epochs=steps)
        ...     print(round(float(model.theta[0]), 3))
        0.9
        0.72
        0.486
    """

    learning_rate: float | Schedule = 0.01
    mu: float = 0.9
    nesterov: bool = False

    def __post_init__(self) -> None:
        check_numbers(self)
        as_schedule(self.learning_rate)
        check_coefficient("mu", self.mu)

    def update(
        self, backend: Backend, theta: Array, g: Array, moments: Moments, t: Array, eta: Array
    ) -> tuple[Array, Moments]:
        (v,) = moments
        v *= self.mu
        v += g
        theta -= eta * (g + self.mu * v if self.nesterov else v)
        return theta, (v,)


@dataclass(frozen=True)
class VelocityMomentum(Optimizer):
    """v <- mu v - eta g; theta <- theta + v: the rate inside of the velocity (Sutskever et al., 2013, equations 1-2).

    ``nesterov=True``: theta <- theta + mu v - eta g, their equations 3-4 in terms of the point ahead, theta + mu v.
    The same as ``Momentum`` at a constant rate; where the rate changes, v holds each gradient at the rate of its step.
    scikit-learn's ``solver="sgd"``.

    Faster bodies take its place on CuPy, torch: ``chainrule where VelocityMomentum``.

    Args:
        learning_rate: eta, a finite number >= 0, or a schedule; default 0.01.
        mu: how much of the velocity v a step keeps, in [0, 1]; default 0.9.
        nesterov: whether the gradient is looked up ahead; default False.

    Raises:
        ConfigurationError: a number outside of these ranges.

    Example:
        >>> import chainrule as cr
        >>> network = cr.Sequential(cr.Dense(1, 1, bias=False, weight_init=cr.Constant(1.0)))
        >>> falling = cr.StepDecay(0.1, every=1)  # 0.1, then 0.01: Momentum slows down at once, the velocity does not
        >>> for rule in (cr.Momentum(falling), cr.VelocityMomentum(falling)):  # C = w^2/2 from w = 1
        ...     model = cr.fit(network, [[1.0]], [0.0], loss="squared_error", optimizer=rule, epochs=2)
        ...     print(round(float(model.theta[0]), 3))
        0.882
        0.801
    """

    learning_rate: float | Schedule = 0.01
    mu: float = 0.9
    nesterov: bool = False

    def __post_init__(self) -> None:
        check_numbers(self)
        as_schedule(self.learning_rate)
        require(0 <= self.mu <= 1, f"mu must be in [0, 1], got {self.mu}.")

    def update(
        self, backend: Backend, theta: Array, g: Array, moments: Moments, t: Array, eta: Array
    ) -> tuple[Array, Moments]:
        (v,) = moments
        step = eta * g
        v *= self.mu
        v -= step
        theta += self.mu * v - step if self.nesterov else v
        return theta, (v,)


@dataclass(frozen=True)
class AveragedMomentum(Optimizer):
    """v <- beta v + (1 - beta) g; theta <- theta - eta v: a running mean of the gradients.

    One of the lectures' two forms: v is of the size of a gradient, so the rate is of the size that ``SGD`` wants.

    Faster bodies take its place on CuPy, torch: ``chainrule where AveragedMomentum``.

    Args:
        learning_rate: eta, a finite number >= 0, or a schedule; default 0.01.
        beta: how much of v a step keeps, in [0, 1); default 0.9, a mean over about 1/(1 - beta) = 10 gradients.

    Raises:
        ConfigurationError: a number outside of these ranges.

    Example:
        >>> import chainrule as cr
        >>> network = cr.Sequential(cr.Dense(1, 1, bias=False, weight_init=cr.Constant(1.0)))
        >>> for rule in (cr.AveragedMomentum(1.0, beta=0.9), cr.Momentum(0.1, mu=0.9)):  # the rate times 1 - beta
        ...     model = cr.fit(network, [[1.0]], [0.0], loss="squared_error", optimizer=rule, epochs=3)
        ...     print(round(float(model.theta[0]), 3))
        0.486
        0.486
    """

    learning_rate: float | Schedule = 0.01
    beta: float = 0.9

    def __post_init__(self) -> None:
        check_numbers(self)
        as_schedule(self.learning_rate)
        check_coefficient("beta", self.beta)

    def update(
        self, backend: Backend, theta: Array, g: Array, moments: Moments, t: Array, eta: Array
    ) -> tuple[Array, Moments]:
        (v,) = moments
        v *= self.beta
        v += (1.0 - self.beta) * g
        theta -= eta * v
        return theta, (v,)
