"""What an optimizer is: what to do with a gradient."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Protocol, runtime_checkable

from .._backend import Backend
from .._base.errors import require
from .._base.typing import Array
from ..schedules import Schedule

Moments = tuple[Array, ...]


@runtime_checkable
class Optimizer(Protocol):
    """Hyper-parameters, and the update they define.

    One of your own is a frozen dataclass that names this class, with a field ``learning_rate``, a number or a schedule,
    and with ``update``. ``init`` by default makes one vector of zeros. It may say ``traceable = True``, as a ``Layer``.

    Example:
        >>> from dataclasses import dataclass
        >>> import chainrule as cr
        >>> @dataclass(frozen=True)
        ... class SignMomentum(cr.Optimizer):
        ...     learning_rate: float = 0.001
        ...     beta: float = 0.9
        ...     def update(self, backend, theta, g, moments, t, eta):
        ...         (m,) = moments
        ...         m *= self.beta
        ...         m += (1.0 - self.beta) * g
        ...         theta -= eta * backend.xp.sign(m)
        ...         return theta, (m,)
        >>> X, y = [[0.0], [1.0], [2.0]], [1.0, 3.0, 5.0]
        >>> model = cr.fit(cr.mlp([1, 1]), X, y, loss="squared_error", optimizer=SignMomentum(0.01), epochs=500)
        >>> model.predict([[3.0]]).round().tolist()
        [7.0]
    """

    @property
    def learning_rate(self) -> float | Schedule:
        """eta: a number, or a schedule of it."""

    def init(self, backend: Backend, theta: Array, decays: Array) -> Moments:
        """The first moments, one of zeros where a rule does not say otherwise.

        ``decays`` is 1 where theta is a weight and 0 on biases and normalisation, ``(p,)``.
        """
        return (backend.zeros(theta.shape),)

    @abstractmethod
    def update(
        self, backend: Backend, theta: Array, g: Array, moments: Moments, t: Array, eta: Array
    ) -> tuple[Array, Moments]:
        """(theta', moments'). Donates theta and moments."""


def update(
    backend: Backend, rule: Optimizer, theta: Array, g: Array, moments: Moments, t: Array, eta: Array
) -> tuple[Array, Moments]:
    """(theta', moments') by the rule's own arithmetic. Donates theta and moments.

    Faster bodies take its place on CuPy, torch: ``chainrule where update``.
    """
    return rule.update(backend, theta, g, moments, t, eta)


def once(backend: Backend, x: Array) -> Array:
    """x, a number that all of theta shares: computed once, where a compiler would do it for every parameter."""
    return x


def check_coefficient(name: str, value: float) -> None:
    require(0 <= value < 1, f"{name} must be in [0, 1), got {value}.")


def check_epsilon(epsilon: float) -> None:
    require(0 < epsilon < math.inf, f"epsilon must be a finite number > 0, got {epsilon}.")


def check_weight_decay(decay: float) -> None:
    require(0 <= decay < math.inf, f"decay must be a finite number >= 0, got {decay}.")
