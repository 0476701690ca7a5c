"""Optimizers with a step of its own for each parameter."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from .._backend import Backend
from .._base.options import check_numbers
from .._base.typing import Array
from ..schedules import Schedule, as_schedule
from ._contract import Moments, Optimizer, check_coefficient, check_epsilon, check_weight_decay, once


@dataclass(frozen=True)
class Adagrad(Optimizer):
    """s <- s + g^2; theta <- theta - eta g / (sqrt s + epsilon) (Duchi, Hazan & Singer, 2011).

    For inputs that are mostly 0: a weight that rarely gets a gradient keeps its large steps. All steps become smaller
    as time goes by, so it needs no schedule, and is slow in a long training run.

    Faster bodies take its place on CuPy, torch: ``chainrule where Adagrad``.

    Args:
        learning_rate: eta, a finite number >= 0, or a schedule; default 0.01.
        epsilon: what keeps the division from 0, a finite number > 0, in the units of the gradient g; default 1e-10.

    Raises:
        ConfigurationError: a number outside of these ranges.

    Example:
        >>> import chainrule as cr
        >>> network = cr.Sequential(cr.Dense(2, 1, bias=False, weight_init="zeros"))
        >>> for rule in (cr.SGD(0.1), cr.Adagrad(0.1)):  # g = (-1, -0.01): a first step of 0.1 in either
        ...     model = cr.fit(network, [[1.0, 0.01]], [1.0], loss="squared_error", optimizer=rule, epochs=1)
        ...     print(model.theta.astype(float).round(3).tolist())
        [0.1, 0.001]
        [0.1, 0.1]
    """

    learning_rate: float | Schedule = 0.01
    epsilon: float = 1e-10

    def __post_init__(self) -> None:
        check_numbers(self)
        as_schedule(self.learning_rate)
        check_epsilon(self.epsilon)

    def update(
        self, backend: Backend, theta: Array, g: Array, moments: Moments, t: Array, eta: Array
    ) -> tuple[Array, Moments]:
        (s,) = moments
        s += g * g
        theta -= eta * g / (backend.xp.sqrt(s) + self.epsilon)
        return theta, (s,)


@dataclass(frozen=True)
class RMSProp(Optimizer):
    """s <- rho s + (1 - rho) g^2; theta <- theta - eta g / (sqrt s + epsilon) (Tieleman & Hinton, 2012).

    Adagrad that forgets, so its steps do not die out. s starts at 0 and is not corrected, so the first steps are as
    large as eta / sqrt(1 - rho), ten times eta; ``Adam`` corrects that.

    Faster bodies take its place on CuPy, torch: ``chainrule where RMSProp``.

    Args:
        learning_rate: eta, a finite number >= 0, or a schedule; default 0.001.
        rho: how much of s a step keeps, in [0, 1); default 0.99, a mean over about 1/(1 - rho) = 100 gradients.
        epsilon: what keeps the division from 0, a finite number > 0, in the units of the gradient g; default 1e-8.

    Raises:
        ConfigurationError: a number outside of these ranges.

    Example:
        >>> import chainrule as cr
        >>> network = cr.Sequential(cr.Dense(2, 1, bias=False, weight_init="zeros"))
        >>> for rule in (cr.RMSProp(0.01), cr.Adam(0.01)):  # one step along g = (-1, -0.01)
        ...     model = cr.fit(network, [[1.0, 0.01]], [1.0], loss="squared_error", optimizer=rule, epochs=1)
        ...     print(model.theta.astype(float).round(3).tolist())
        [0.1, 0.1]
        [0.01, 0.01]
    """

    learning_rate: float | Schedule = 0.001
    rho: float = 0.99
    epsilon: float = 1e-8

    def __post_init__(self) -> None:
        check_numbers(self)
        as_schedule(self.learning_rate)
        check_coefficient("rho", self.rho)
        check_epsilon(self.epsilon)

    def update(
        self, backend: Backend, theta: Array, g: Array, moments: Moments, t: Array, eta: Array
    ) -> tuple[Array, Moments]:
        (s,) = moments
        s *= self.rho
        s += (1.0 - self.rho) * (g * g)
        theta -= eta * g / (backend.xp.sqrt(s) + self.epsilon)
        return theta, (s,)


@dataclass(frozen=True)
class Adam(Optimizer):
    """m <- b1 m + (1 - b1) g; v <- b2 v + (1 - b2) g^2; theta <- theta - eta m' / (sqrt v' + epsilon).

    m' = m / (1 - b1^t) and v' = v / (1 - b2^t) undo the zero start (Kingma & Ba, 2015, Algorithm 1).

    The usual first choice: a step of about eta in every coordinate, whatever the size of its gradients.

    ``epsilon_hat=True``: theta <- theta - eta sqrt(1 - b2^t) / (1 - b1^t) m / (sqrt v + epsilon), epsilon beside the
    root of the uncorrected v (section 2, which calls it epsilon hat). It is the default with epsilon / sqrt(1 - b2^t)
    in place of epsilon, and what scikit-learn and TensorFlow do.

    Faster bodies take its place on NumPy, Numba, CuPy, torch: ``chainrule where Adam``.

    Args:
        learning_rate: eta, a finite number >= 0, or a schedule; default 0.001.
            With one: ``cr.Adam(cr.CosineDecay(1e-3, warmup=100))``.
        b1: how much of m, the mean of the gradients, a step keeps, in [0, 1); default 0.9.
        b2: how much of v, the mean of their squares, in [0, 1); default 0.999.
        epsilon: what keeps the division from 0, a finite number > 0, in the units of the gradient g; default 1e-8.
        epsilon_hat: where epsilon stands, as above; default False.

    Raises:
        ConfigurationError: a number outside of these ranges.

    Example:
        >>> import chainrule as cr
        >>> network = cr.Sequential(cr.Dense(2, 1, bias=False, weight_init="zeros"))
        >>> for rule in (cr.SGD(0.1), cr.Adam(0.1)):  # one step along g = (-1, -0.01)
        ...     model = cr.fit(network, [[1.0, 0.01]], [1.0], loss="squared_error", optimizer=rule, epochs=1)
        ...     print(model.theta.astype(float).round(3).tolist())
        [0.1, 0.001]
        [0.1, 0.1]
    """

    learning_rate: float | Schedule = 0.001
    b1: float = 0.9
    b2: float = 0.999
    epsilon: float = 1e-8
    epsilon_hat: bool = False

    def __post_init__(self) -> None:
        check_numbers(self)
        as_schedule(self.learning_rate)
        check_coefficient("b1", self.b1)
        check_coefficient("b2", self.b2)
        check_epsilon(self.epsilon)

    def init(self, backend: Backend, theta: Array, decays: Array) -> Moments:
        return backend.zeros(theta.shape), backend.zeros(theta.shape)

    def update(
        self, backend: Backend, theta: Array, g: Array, moments: Moments, t: Array, eta: Array
    ) -> tuple[Array, Moments]:
        return backend.run(adam, self, theta, g, moments, t, eta)


def adam(
    backend: Backend, rule: Adam | AdamW, theta: Array, g: Array, moments: Moments, t: Array, eta: Array
) -> tuple[Array, Moments]:
    """Adam's update, as its docstring states it.

    Faster bodies take its place on NumPy, Numba, torch: ``chainrule where adam``.
    """
    xp = backend.xp
    m, v = moments
    m *= rule.b1
    m += (1.0 - rule.b1) * g
    v *= rule.b2
    v += (1.0 - rule.b2) * (g * g)
    step = backend.run(once, eta / _bias_correction(backend, rule.b1, t))
    correction = backend.run(once, _bias_correction(backend, rule.b2, t))
    epsilon = backend.run(once, rule.epsilon / xp.sqrt(correction)) if rule.epsilon_hat else rule.epsilon
    theta -= step * m / (xp.sqrt(v / correction) + epsilon)
    return theta, (m, v)


@dataclass(frozen=True)
class AdamW(Optimizer):
    """w <- (1 - eta decay) w on the weights, then Adam: decay apart from the gradient (Loshchilov & Hutter, 2019).

    Biases and the scales and shifts of normalisation do not decay.

    Take it where you would take Adam with an l2 ``Penalty``: Adam divides that by sqrt v, so that weights with large
    gradients hardly decay. Here all decay alike.

    Faster bodies take its place on NumPy, Numba, CuPy, torch: ``chainrule where AdamW``.

    Args:
        learning_rate: eta, a finite number >= 0, or a schedule; default 0.001.
        b1, b2: how much of m and v a step keeps, in [0, 1), as Adam's; defaults 0.9 and 0.999.
        epsilon: what keeps the division from 0, a finite number > 0, in the units of the gradient g; default 1e-8.
        decay: a step takes eta decay of each weight away; a finite number >= 0, default 0.01.

    Raises:
        ConfigurationError: a number outside of these ranges.

    Example:
        >>> import chainrule as cr
        >>> one = cr.Constant(1.0)
        >>> network = cr.Sequential(cr.Dense(1, 1, weight_init=one, bias_init=one))
        >>> rule = cr.AdamW(0.1, decay=0.5)  # at x = 0, y = 1 both gradients are 0: only the decay moves w
        >>> model = cr.fit(network, [[0.0]], [1.0], loss="squared_error", optimizer=rule, epochs=1)
        >>> model.theta.astype(float).round(3).tolist()  # w and b
        [0.95, 1.0]
    """

    learning_rate: float | Schedule = 0.001
    b1: float = 0.9
    b2: float = 0.999
    epsilon: float = 1e-8
    decay: float = 0.01
    epsilon_hat: ClassVar[bool] = False  # no field: the paper's Algorithm 2 has epsilon beside the corrected root

    def __post_init__(self) -> None:
        check_numbers(self)
        Adam(self.learning_rate, self.b1, self.b2, self.epsilon)
        check_weight_decay(self.decay)

    def init(self, backend: Backend, theta: Array, decays: Array) -> Moments:
        return backend.zeros(theta.shape), backend.zeros(theta.shape), decays

    def update(
        self, backend: Backend, theta: Array, g: Array, moments: Moments, t: Array, eta: Array
    ) -> tuple[Array, Moments]:
        m, v, decays = moments
        theta *= 1.0 - (eta * self.decay) * decays
        theta, (m, v) = backend.run(adam, self, theta, g, (m, v), t, eta)
        return theta, (m, v, decays)


@dataclass(frozen=True)
class Lion(Optimizer):
    """u = sign(b1 m + (1 - b1) g); w <- w - eta (u + decay w); m <- b2 m + (1 - b2) g (Chen et al., 2023).

    Every coordinate moves by eta: use a rate 3 to 10 times smaller than Adam's. Only weights decay.

    It keeps one vector where Adam keeps two.

    Faster bodies take its place on CuPy, torch: ``chainrule where Lion``.

    Args:
        learning_rate: eta, a finite number >= 0, or a schedule; default 0.0001.
        b1: the share of m in the step, in [0, 1); default 0.9.
        b2: how much of m, a mean of the gradients, a step keeps, in [0, 1); default 0.99.
        decay: as AdamW's, a finite number >= 0; default 0. The paper takes 3 to 10 times AdamW's.

    Raises:
        ConfigurationError: a number outside of these ranges.

    Example:
        >>> import chainrule as cr
        >>> network = cr.Sequential(cr.Dense(1, 1, bias=False, weight_init=cr.Constant(1.0)))
        >>> for steps in (1, 2, 3):  # C = w^2/2 from w = 1: every step is eta, however small g
        ...     model = cr.fit(network, [[1.0]], [0.0], loss="squared_error", optimizer=cr.Lion(0.1), epochs=steps)
        ...     print(round(float(model.theta[0]), 3))
        0.9
        0.8
        0.7
    """

    learning_rate: float | Schedule = 1e-4
    b1: float = 0.9
    b2: float = 0.99
    decay: float = 0.0

    def __post_init__(self) -> None:
        check_numbers(self)
        as_schedule(self.learning_rate)
        check_coefficient("b1", self.b1)
        check_coefficient("b2", self.b2)
        check_weight_decay(self.decay)

    def init(self, backend: Backend, theta: Array, decays: Array) -> Moments:
        return (backend.zeros(theta.shape), decays) if self.decay else (backend.zeros(theta.shape),)

    def update(
        self, backend: Backend, theta: Array, g: Array, moments: Moments, t: Array, eta: Array
    ) -> tuple[Array, Moments]:
        m, *rest = moments
        u = backend.xp.sign(self.b1 * m + (1.0 - self.b1) * g)
        if rest:
            theta *= 1.0 - (eta * self.decay) * rest[0]
        theta -= eta * u
        m *= self.b2
        m += (1.0 - self.b2) * g
        return theta, (m, *rest)


def _bias_correction(backend: Backend, beta: float, t: Array) -> Array:
    """1 - beta^t, as -expm1(t ln beta): the plain form loses 2e-5 of it in float32."""
    return -backend.xp.expm1(t * math.log(beta)) if beta else backend.xp.ones_like(t)
