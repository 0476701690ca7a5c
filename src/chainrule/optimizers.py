"""Optimizers: what to do with a gradient. Each is a few lines of arithmetic on one flat vector.

``update(backend, theta, g, moments, t, eta)`` **owns** theta and the moments: it may overwrite them in place and
returns them; the caller rebinds the names and never looks at the old ones. ``m *= b`` is in place on NumPy, CuPy and
torch, and makes a new array on JAX. It never writes to g. t is the step counter as a float array ``(1,)``, from 1; eta
is the rate, ``(1,)``, or ``(k, 1)`` for a stack of k networks.

``fit(..., optimizer=cr.Adam(1e-3))`` takes an object; a name, ``optimizer="adam"``, has the defaults. g is the gradient
of the batch's mean cost, with the penalty, after clipping; a step is one batch.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, ClassVar, Protocol, TypeVar, runtime_checkable

from ._backend import Backend
from ._base.errors import require
from ._base.options import check_numbers, find
from ._base.typing import Array
from .schedules import Schedule, as_schedule

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

    Faster bodies take its place on CuPy: ``chainrule where update``.
    """
    return rule.update(backend, theta, g, moments, t, eta)


@dataclass(frozen=True)
class SGD(Optimizer):
    """theta <- theta - eta g: gradient descent on a mini-batch (Robbins & Monro, 1951).

    The plainest rule, and the one to compare with; with a well chosen rate and ``Momentum`` often as good as any.

    Faster bodies take its place on CuPy: ``chainrule where SGD``.

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

    Faster bodies take its place on CuPy: ``chainrule where Momentum``.

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
        _check_coefficient("mu", self.mu)

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

    Faster bodies take its place on CuPy: ``chainrule where VelocityMomentum``.

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

    Faster bodies take its place on CuPy: ``chainrule where AveragedMomentum``.

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
        _check_coefficient("beta", self.beta)

    def update(
        self, backend: Backend, theta: Array, g: Array, moments: Moments, t: Array, eta: Array
    ) -> tuple[Array, Moments]:
        (v,) = moments
        v *= self.beta
        v += (1.0 - self.beta) * g
        theta -= eta * v
        return theta, (v,)


@dataclass(frozen=True)
class Adagrad(Optimizer):
    """s <- s + g^2; theta <- theta - eta g / (sqrt s + epsilon) (Duchi, Hazan & Singer, 2011).

    For inputs that are mostly 0: a weight that rarely gets a gradient keeps its large steps. All steps become smaller
    as time goes by, so it needs no schedule, and is slow in a long training run.

    Faster bodies take its place on CuPy: ``chainrule where Adagrad``.

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
        _check_epsilon(self.epsilon)

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

    Faster bodies take its place on CuPy: ``chainrule where RMSProp``.

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
        _check_coefficient("rho", self.rho)
        _check_epsilon(self.epsilon)

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

    Faster bodies take its place on NumPy, Numba, CuPy: ``chainrule where Adam``.

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
        _check_coefficient("b1", self.b1)
        _check_coefficient("b2", self.b2)
        _check_epsilon(self.epsilon)

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

    Faster bodies take its place on NumPy, Numba: ``chainrule where adam``.
    """
    xp = backend.xp
    m, v = moments
    m *= rule.b1
    m += (1.0 - rule.b1) * g
    v *= rule.b2
    v += (1.0 - rule.b2) * (g * g)
    step = eta / _bias_correction(backend, rule.b1, t)
    correction = _bias_correction(backend, rule.b2, t)
    epsilon = rule.epsilon / xp.sqrt(correction) if rule.epsilon_hat else rule.epsilon
    theta -= step * m / (xp.sqrt(v / correction) + epsilon)
    return theta, (m, v)


@dataclass(frozen=True)
class AdamW(Optimizer):
    """w <- (1 - eta decay) w on the weights, then Adam: decay apart from the gradient (Loshchilov & Hutter, 2019).

    Biases and the scales and shifts of normalisation do not decay.

    Take it where you would take Adam with an l2 ``Penalty``: Adam divides that by sqrt v, so that weights with large
    gradients hardly decay. Here all decay alike.

    Faster bodies take its place on NumPy, Numba, CuPy: ``chainrule where AdamW``.

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
        _check_weight_decay(self.decay)

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

    Faster bodies take its place on CuPy: ``chainrule where Lion``.

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
        _check_coefficient("b1", self.b1)
        _check_coefficient("b2", self.b2)
        _check_weight_decay(self.decay)

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


@runtime_checkable
class Clip(Protocol):
    """A bound on the gradient, applied before the optimizer sees it."""

    @abstractmethod
    def __call__(self, backend: Backend, g: Array) -> Array: ...


@dataclass(frozen=True)
class ClipValue(Clip):
    """g <- clip(g, -bound, bound), each coordinate by itself.

    It bounds a few wild coordinates, and changes the direction of g. ``fit(..., clip=cr.ClipValue(1.0))``.

    Args:
        bound: a finite number > 0, in the units of the gradient g.

    Raises:
        ConfigurationError: a bound that is not finite and > 0.

    Example:
        >>> import numpy as np, chainrule as cr
        >>> cr.ClipValue(1.0)(cr.backend("numpy"), np.asarray([3.0, -4.0, 0.5])).tolist()
        [1.0, -1.0, 0.5]
    """

    bound: float

    def __post_init__(self) -> None:
        check_numbers(self)
        require(0 < self.bound < math.inf, f"bound must be a finite number > 0, got {self.bound}.")

    def __call__(self, backend: Backend, g: Array) -> Array:
        return backend.xp.clip(g, min=-self.bound, max=self.bound)


@dataclass(frozen=True)
class ClipNorm(Clip):
    """g <- g min(1, bound / ||g||), the norm over all parameters of one network (Pascanu et al., 2013).

    The norm is s ||g / s||, s the largest |g|: squares of numbers beyond 1.8e19 are infinite in float32.

    Against exploding gradients: it keeps the direction of g. ``fit(..., clip=cr.ClipNorm(1.0))``.

    Faster bodies take its place on NumPy: ``chainrule where ClipNorm``.

    Args:
        bound: the largest norm of the gradient g that passes as it is, a finite number > 0.

    Raises:
        ConfigurationError: a bound that is not finite and > 0.

    Example:
        >>> import numpy as np, chainrule as cr
        >>> clip, backend = cr.ClipNorm(1.0), cr.backend("numpy")
        >>> clip(backend, np.asarray([3.0, 4.0])).round(3).tolist(), clip(backend, np.asarray([0.3, 0.4])).tolist()
        ([0.6, 0.8], [0.3, 0.4])
    """

    bound: float

    def __post_init__(self) -> None:
        check_numbers(self)
        require(0 < self.bound < math.inf, f"bound must be a finite number > 0, got {self.bound}.")

    def __call__(self, backend: Backend, g: Array) -> Array:
        return backend.run(clip_norm, self.bound, g)


def clip_norm(backend: Backend, bound: float, g: Array) -> Array:
    """g, or where its norm is above the bound g bound / ||g||.

    Faster bodies take its place on NumPy: ``chainrule where clip_norm``.
    """
    xp = backend.xp
    top = xp.maximum(xp.max(g, axis=-1, keepdims=True), -xp.min(g, axis=-1, keepdims=True))
    # Never 0; and a compiler may multiply by 1 / s, which must not be so small that it counts as 0.
    s = xp.clip(top, min=bound, max=max(bound, float(xp.finfo(g.dtype).max) / 8.0))
    h = g / s
    norm = xp.sqrt(xp.sum(h * h, axis=-1, keepdims=True))
    long = norm > bound / s  # and norm is > 1 then
    return g / xp.where(long, s, 1.0) * xp.where(long, bound / xp.clip(norm, min=1.0), 1.0)


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


def _bias_correction(backend: Backend, beta: float, t: Array) -> Array:
    """1 - beta^t, as -expm1(t ln beta): the plain form loses 2e-5 of it in float32."""
    return -backend.xp.expm1(t * math.log(beta)) if beta else backend.xp.ones_like(t)


def _check_coefficient(name: str, value: float) -> None:
    require(0 <= value < 1, f"{name} must be in [0, 1), got {value}.")


def _check_epsilon(epsilon: float) -> None:
    require(0 < epsilon < math.inf, f"epsilon must be a finite number > 0, got {epsilon}.")


def _check_weight_decay(decay: float) -> None:
    require(0 <= decay < math.inf, f"decay must be a finite number >= 0, got {decay}.")
