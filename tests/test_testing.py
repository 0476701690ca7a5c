"""chainrule.testing: right parts pass on every backend; each broken one is caught by a sentence that names its method.

A broken part is a right one with one method written wrong. They are tried on NumPy alone, where all must be caught.
"""

from __future__ import annotations

import math
import pickle
import random
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import cached_property
from operator import attrgetter
from typing import Any, ClassVar

import numpy as np
import pytest
from conftest import REQUIRED, cupy_stand_in, fake_cuda

import chainrule as cr
from chainrule import losses, optimizers, schedules, testing
from chainrule._base.short_name import short_name
from chainrule._random import uniform
from chainrule.layers import Buffer, Layer, Parameter

# ---------------------------------------------------------------------------------------------------------- right parts


@dataclass(frozen=True)
class Center(Layer):
    """y = x - the mean of its row."""

    def apply(self, backend, params, buffers, x):
        return x - backend.xp.mean(x, axis=-1, keepdims=True)

    def forward(self, backend, params, buffers, x, key):
        return self.apply(backend, params, buffers, x), None, buffers

    def pullback(self, backend, params, residual, dy, grads):
        return dy - backend.xp.mean(dy, axis=-1, keepdims=True)


@dataclass(frozen=True)
class Scale(Layer):
    """y = s x."""

    n_in: int

    def parameters(self):
        return (Parameter("s", (1, self.n_in), cr.Constant(1.0), decays=False),)

    def apply(self, backend, params, buffers, x):
        return params[0] * x

    def forward(self, backend, params, buffers, x, key):
        return self.apply(backend, params, buffers, x), x, buffers

    def gradients(self, backend, residual, dy):
        return (backend.xp.sum(dy * residual, axis=-2, keepdims=True),)

    def pullback(self, backend, params, residual, dy, grads):
        return params[0] * dy


@dataclass(frozen=True)
class Noise(Layer):
    """y = x u, u ~ U[0, 1); prediction: y = x / 2."""

    def apply(self, backend, params, buffers, x):
        return 0.5 * x

    def forward(self, backend, params, buffers, x, key):
        u = uniform(backend, key, x.shape[-2], x.shape[-1])
        return x * u, u, buffers

    def pullback(self, backend, params, residual, dy, grads):
        return dy * residual


@dataclass(frozen=True)
class Shift(Layer):
    """y = x - the mean of its column over the batch, and in prediction a running one."""

    n_in: int

    def buffers(self):
        return (Buffer("mean", (1, self.n_in), 0.0),)

    def apply(self, backend, params, buffers, x):
        return x - buffers[0]

    def forward(self, backend, params, buffers, x, key):
        mean = backend.xp.mean(x, axis=-2, keepdims=True)
        return x - mean, None, (0.9 * buffers[0] + 0.1 * mean,)

    def pullback(self, backend, params, residual, dy, grads):
        return dy - backend.xp.mean(dy, axis=-2, keepdims=True)


@dataclass(frozen=True)
class Cube(cr.activations.Elementwise):
    """g(z) = z^3."""

    def value(self, xp, z):
        return z * z * z

    def derivative(self, xp, z, a):
        return 3.0 * z * z


@dataclass(frozen=True)
class Hinge(losses.LossFunction):
    """L = sum max(0, 1 - y z)^2."""

    link: ClassVar[str] = "linear"
    target: ClassVar[str] = "numbers"

    def per_example(self, xp, z, y):
        m = xp.clip(1.0 - y * z, min=0.0)
        return xp.sum(m * m, axis=-1, keepdims=True), -2.0 * y * m


@dataclass(frozen=True)
class Signs(optimizers.Optimizer):
    """v <- v/2 + g; theta <- theta - eta sign(v)."""

    learning_rate: Any = 0.01

    def update(self, backend, theta, g, moments, t, eta):
        (v,) = moments
        v *= 0.5
        v += g
        theta -= eta * backend.xp.sign(v)
        return theta, (v,)


@dataclass(frozen=True)
class Harmonic(schedules.Schedule):
    """eta(t) = first / t."""

    first: float = 0.1

    def rate(self, xp, t):
        return self.first / t


@dataclass(frozen=True)
class Sorted(Layer):
    """y = x sorted; what it remembers is integers, and as few axes as x has."""

    def forward(self, backend, params, buffers, x, key):
        order = backend.xp.argsort(x, axis=-1)
        return backend.xp.take_along_axis(x, order, axis=-1), {"back": backend.xp.argsort(order, axis=-1)}, buffers

    def apply(self, backend, params, buffers, x):
        return backend.xp.sort(x, axis=-1)

    def pullback(self, backend, params, residual, dy, grads):
        return backend.xp.take_along_axis(dy, residual["back"], axis=-1)


@dataclass(frozen=True)
class Step(Layer):
    """y = x + tanh(x W / sqrt n): a number that is computed once, and an array made on x's device."""

    n_in: int

    @cached_property
    def scale(self):
        return 1.0 / math.sqrt(self.n_in)

    def parameters(self):
        return (Parameter("W", (self.n_in, self.n_in)),)

    def forward(self, backend, params, buffers, x, key):
        a = backend.xp.tanh(self.scale * backend.xp.matmul(x, params[0]))
        return x + a + backend.xp.zeros((1, 1), dtype=x.dtype, device=backend.device), (x, a), buffers

    def apply(self, backend, params, buffers, x):
        return self.forward(backend, params, buffers, x, None)[0]

    def gradients(self, backend, residual, dy):
        x, a = residual
        return [self.scale * backend.xp.matmul(x.mT, dy * (1.0 - a * a))]

    def pullback(self, backend, params, residual, dy, grads):
        _, a = residual
        return dy + self.scale * backend.xp.matmul(dy * (1.0 - a * a), params[0].mT)


@dataclass(frozen=True)
class Lookahead(optimizers.Optimizer):
    """theta goes back half of the way every third step, which it counts itself; its moments are a list."""

    learning_rate: Any = 0.01

    def init(self, backend, theta, decays):
        return [backend.copy(theta), backend.zeros((1,))]

    def update(self, backend, theta, g, moments, t, eta):
        slow, n = moments
        theta -= eta * g
        n = n + 1.0
        now = n >= 3.0
        slow = backend.xp.where(now, 0.5 * (slow + theta), slow)
        return backend.xp.where(now, slow, theta), [slow + 0.0, backend.xp.where(now, 0.0 * n, n)]


CHECKS = {
    Layer: testing.check_layer,
    cr.activations.Elementwise: testing.check_activation,
    losses.LossFunction: testing.check_loss,
    optimizers.Optimizer: testing.check_optimizer,
    schedules.Schedule: testing.check_schedule,
}
RIGHT = [*(Center(), Scale(8), Noise(), Shift(3), Sorted(), Step(3)), Cube(), Hinge(), Signs(), Lookahead(), Harmonic()]


def check(part: Any, **options: Any) -> testing.ContractReport:
    return next(function for protocol, function in CHECKS.items() if isinstance(part, protocol))(part, **options)


@pytest.mark.parametrize("part", RIGHT, ids=lambda part: type(part).__name__)
def test_a_right_part_passes_on_every_backend_that_is_there(part: Any) -> None:
    report = check(part)
    assert str(report).startswith(f"{short_name(part)} does what ")
    assert {on.split()[0] for on in report.backends} >= {"numpy", *REQUIRED - {"g++"}}
    assert ("random" in str(report)) == isinstance(part, Noise)


# --------------------------------------------------------------------------------------------------------- broken parts


def wrong(right: Any, **methods: Any) -> Any:
    """``right`` with these attributes of its class in the place of its own."""
    kind = type(right)
    made = dataclass(frozen=True)(type(kind.__name__, (kind,), methods))
    return made(*(getattr(right, name) for name in map(attrgetter("name"), fields(right))))


def forward(change: Callable[..., Any]) -> Any:
    """A forward that gives ``change(backend, params, x, key)``."""
    return lambda self, backend, params, buffers, x, key: (change(backend, params, x, key), x, buffers)


def updated(change: Callable[..., Any]) -> Any:
    return lambda self, backend, theta, g, moments, t, eta: change(backend.xp, theta, g, moments[0], t, eta)


def remembers_y(self: Any, backend: Any, params: Any, buffers: Any, x: Any, key: Any) -> Any:
    y = x - backend.xp.mean(x, axis=-1, keepdims=True)
    return y, y, buffers


class Calls:
    """How often it was asked."""

    count = 0

    def __call__(self) -> int:
        Calls.count += 1
        return Calls.count


CALLS = Calls()
by_two = np.float64(2.0)

LAYERS = {
    "pullback's sign": (
        wrong(Scale(8), pullback=lambda s, b, p, r, dy, g: -p[0] * dy),
        r"Scale\(8\): dC/dx differs from the central difference at row 0, column 0: .+ against .+; .* pullback",
    ),
    "gradient without a factor": (
        wrong(Scale(8), gradients=lambda s, b, r, dy: (b.xp.sum(dy, axis=-2, keepdims=True),)),
        r"dC/ds differs from the central difference at row 0, column \d.*; look at gradients",
    ),
    "gradient's mean over the rows": (
        wrong(Scale(8), gradients=lambda s, b, r, dy: (b.xp.mean(dy * r, axis=-2, keepdims=True),)),
        "dC/ds differs from the central difference .*; look at gradients",
    ),
    "gradient without keepdims": (
        wrong(Scale(8), gradients=lambda s, b, r, dy: (b.xp.sum(dy * r, axis=-2),)),
        r"gradients gives dC/ds of shape \(8,\), expected \(1, 8\) .*; look at gradients",
    ),
    "no gradients": (
        wrong(Scale(8), gradients=Layer.gradients),
        r"gradients must give a tuple of 1, one for each of parameters\(\), got 0; look at gradients",
    ),
    "a gradient alone": (
        wrong(Scale(8), gradients=lambda s, b, r, dy: b.xp.sum(dy * r, axis=-2, keepdims=True)),
        r"gradients must give a tuple of 1, one for each of parameters\(\), got a ndarray",
    ),
    "pullback of another shape": (
        wrong(Center(), pullback=lambda s, b, p, r, dy, g: b.xp.mean(dy, axis=-1, keepdims=True)),
        r"pullback gives dC/dx of shape \(5, 1\), expected \(5, 4\).*look at pullback",
    ),
    "writes into x": (
        wrong(Center(), apply=lambda s, b, p, q, x: x.__isub__(b.xp.mean(x, axis=-1, keepdims=True))),
        "(forward|apply) writes into an array that it was only given to read",
    ),
    "pullback writes into dy": (
        wrong(Scale(8), pullback=lambda s, b, p, r, dy, g: dy.__imul__(p[0])),
        "pullback writes into an array",
    ),
    "pullback writes into y": (
        wrong(Center(), forward=remembers_y, pullback=lambda s, b, p, r, dy, g: dy + r.__imul__(0.0)),
        "pullback writes into an array",
    ),
    "pullback writes into its gradients": (
        wrong(Scale(8), pullback=lambda s, b, p, r, dy, g: p[0] * dy + 0.0 * g[0].__imul__(0.0)),
        "pullback writes into an array",
    ),
    "float64's constants": (
        wrong(Center(), apply=lambda s, b, p, q, x: by_two * (x - b.xp.mean(x, axis=-1, keepdims=True)) / by_two),
        r"forward gives y in float64 on numpy in float32, .* use Python's numbers \(2.0\)",
    ),
    "always float32": (
        wrong(Center(), pullback=lambda s, b, p, r, dy, g: b.xp.astype(dy, b.xp.float32)),
        "pullback gives dC/dx in float32 on numpy in float64, expected",
    ),
    "a read on the host": (
        wrong(Scale(8), apply=lambda s, b, p, q, x: p[0] * x if float(b.xp.sum(x)) < 1e9 else x),
        "(forward|apply) reads a number on the host",
    ),
    "an if": (
        wrong(Scale(8), pullback=lambda s, b, p, r, dy, g: p[0] * dy if b.xp.all(dy < 1e9) else dy),
        "pullback reads a number on the host",
    ),
    "NumPy's function": (
        wrong(Center(), pullback=lambda s, b, p, r, dy, g: dy - np.mean(dy, axis=-1, keepdims=True)),
        "pullback (reads a number on the host, or hands an array to NumPy|uses .mean of an array)",
    ),
    "NumPy's ufunc": (
        wrong(Scale(8), pullback=lambda s, b, p, r, dy, g: np.multiply(p[0], dy)),
        "pullback calls a function of NumPy on its arrays",
    ),
    "an array's method": (
        wrong(Scale(8), gradients=lambda s, b, r, dy: ((dy * r).sum(-2, keepdims=True),)),
        r"gradients uses \.sum of an array, which the array API has not",
    ),
    "an item assigned": (
        wrong(Scale(8), pullback=lambda s, b, p, r, dy, g: assigned(b.copy(p[0] * dy))),
        "pullback assigns to an item of an array",
    ),
    "a Python list": (
        wrong(Center(), apply=lambda s, b, p, q, x: [1.0]),
        "forward gives y as a list on numpy .*",
    ),
    "a sum over the leading axis": (
        wrong(Scale(8), gradients=lambda s, b, r, dy: (over_all(b.xp, dy * r),)),
        r"dC/ds of network 0 in a stack of 3 differs from that of the network alone at row 0, .*; look at gradients",
    ),
    "a batch of its own alone": (
        wrong(
            Scale(8), gradients=lambda s, b, r, dy: (b.xp.sum(b.xp.reshape(dy, r.shape) * r, axis=-2, keepdims=True),)
        ),
        "gradients fails on numpy in float64 for a stack, .* with ValueError: cannot reshape",
    ),
    "the first network's batch": (
        wrong(
            Scale(8),
            gradients=lambda s, b, r, dy: (b.xp.sum(dy * r[:1] if r.ndim > 2 else dy * r, axis=-2, keepdims=True),),
        ),
        "dC/ds of network 1 in a stack of 3 differs .*; look at gradients",
    ),
    "the batch on axis 0": (
        wrong(Scale(8), gradients=lambda s, b, r, dy: (b.xp.sum(dy * r, axis=0, keepdims=True),)),
        r"shape \(1, 3, 8\), expected \(3, 1, 8\) on .* a stack, where nothing may reduce over an axis before -2",
    ),
    "Python's random": (
        wrong(Noise(), forward=forward(lambda b, p, x, key: x * random.random())),
        "y is another at a second call with the same key .*; look at forward",
    ),
    "its key ignored": (
        wrong(Noise(), forward=lambda s, b, p, q, x, key: (x, 1.0, q)),
        "the prediction differs from that in training, .*; look at apply",
    ),
    "noise of its own shape": (
        wrong(Noise(), forward=lambda s, b, p, q, x, k: noise_of_rows_and_networks(b, q, x, k)),
        "of network 1 in a stack of 3 differs .*look at forward",
    ),
    "a width that lies": (
        wrong(Scale(8), width=lambda s, n: 2 * n),
        "forward gives 8 outputs for 8 inputs, and width says 16; look at forward or width",
    ),
    "no width": (wrong(Scale(8), width=lambda s, n: None), r"width\(8\) must be a whole number >= 1, got None"),
    "equal names": (
        wrong(Scale(8), parameters=lambda s: Scale.parameters(s) * 2),
        "parameters has 's' 2 times, expected names that differ",
    ),
    "a parameter without a batch axis": (
        wrong(Scale(8), parameters=lambda s: (Parameter("s", (8,), cr.Constant(1.0), False),)),
        r"s must be a matrix, or a row \(1, n\), got shape \(8,\); look at parameters",
    ),
    "a buffer of another shape": (
        wrong(Shift(3), forward=lambda s, b, p, q, x, key: (x, None, (x,))),
        r"forward gives buffer mean of shape \(5, 3\), expected \(1, 3\)",
    ),
    "no buffers back": (
        wrong(Shift(3), forward=lambda s, b, p, q, x, key: (x, None, ())),
        r"forward must give a tuple of 1, a buffer for each of buffers\(\), got 0",
    ),
    "two of three": (
        wrong(Scale(8), forward=lambda s, b, p, q, x, key: (x, q)),
        r"forward must give a tuple of 3, \(y, residual, buffers\), got 2; look at forward",
    ),
    "another prediction": (
        wrong(Scale(8), apply=lambda s, b, p, q, x: x, forward=forward(lambda b, p, x, key: p[0] * x)),
        "the prediction differs from that in training, .*look at apply",
    ),
    "a fixed batch": (
        wrong(Center(), apply=lambda s, b, p, q, x: Center.apply(s, b, p, q, x if x.shape[-2] > 1 else x[1])),
        "forward fails on numpy in float64 for a batch of 1 row with IndexError",
    ),
    "not a number": (
        wrong(Center(), apply=lambda s, b, p, q, x: b.xp.log(x)),
        "y is not finite .*; look at forward",
    ),
    "slopes of another function": (
        wrong(Scale(8), slopes=lambda s, b, r: b.xp.ones_like(r)),
        "dC/dx differs from that which slopes says, .*; look at slopes",
    ),
    "least rows in words": (wrong(Scale(8), least_rows=lambda s: "one"), "least_rows must be a whole number >= 1"),
    "an error": (
        wrong(Center(), pullback=lambda s, b, p, r, dy, g: dy @ r[0]),
        "pullback fails on numpy in float64 with TypeError: .*; look at pullback",
    ),
    "remembers x in itself": (
        wrong(Center(), apply=lambda s, b, p, q, x: object.__setattr__(s, "seen", x) or Center.apply(s, b, p, q, x)),
        "seen is another after it was called; what changes must be in arrays that it is given .*; look at apply",
    ),
}


def assigned(x: Any) -> Any:
    x[0] = x[0]
    return x


def over_all(xp: Any, terms: Any) -> Any:
    """The sum over rows and networks, in the shape of the parameters."""
    total = xp.sum(terms, axis=-2, keepdims=True)
    return total + 0.0 * terms[..., :1, :] if total.ndim == 2 else xp.sum(total, axis=0, keepdims=True) + 0.0 * total


def noise_of_rows_and_networks(backend: Any, q: Any, x: Any, key: Any) -> Any:
    """One mask for all networks: the first one's."""
    k = key if key.k0.ndim == 2 else key._replace(k0=key.k0[0], k1=key.k1[0])
    u = uniform(backend, k, x.shape[-2], x.shape[-1])
    return x * u, u, q


ACTIVATIONS = {
    "slope's factor": (wrong(Cube(), derivative=lambda s, xp, z, a: 2.0 * z * z), "at z = .*; look at derivative"),
    "slope's sign": (wrong(Cube(), derivative=lambda s, xp, z, a: -3.0 * z * z), "at z = .*; look at derivative"),
    "slope of a": (wrong(Cube(), derivative=lambda s, xp, z, a: 3.0 * a * a), "at z = .*; look at derivative"),
    "writes into z": (wrong(Cube(), value=lambda s, xp, z: z.__imul__(z)), "value writes into an array"),
    "writes into a": (
        wrong(Cube(), derivative=lambda s, xp, z, a: 3.0 * a.__itruediv__(z)),
        "derivative writes into an array",
    ),
    "float64's constants": (
        wrong(Cube(), value=lambda s, xp, z: z * z * z * np.float64(1)),
        "value gives .* in float64",
    ),
    "a number": (wrong(Cube(), derivative=lambda s, xp, z, a: 3.0), r"derivative gives g'\(z\) as a float"),
    "one number for all": (
        wrong(Cube(), derivative=lambda s, xp, z, a: xp.mean(z)),
        "derivative gives .* (of shape|as a float64)",
    ),
    "a sum over the leading axis": (
        wrong(
            Cube(),
            value=lambda s, xp, z: z - xp.sum(z, axis=0, keepdims=True),
            derivative=lambda s, xp, z, a: xp.ones_like(z),
        ),
        "look at derivative|depends on the other numbers .*look at value",
    ),
    "softmax": (
        wrong(Cube(), value=lambda s, xp, z: z / xp.max(z), derivative=lambda s, xp, z, a: xp.ones_like(z) / xp.max(z)),
        r"depends on the other numbers of its array, .*; look at value",
    ),
    "an if": (
        wrong(Cube(), value=lambda s, xp, z: z * z * z if xp.any(z > 0.0) else z**3),
        "value reads a number on the host",
    ),
    "an if behind a tuple": (
        wrong(Cube(), value=lambda s, xp, z: z * z * z if xp.unstack(xp.reshape(z, (-1,)))[0] < 1e9 else z),
        "value reads a number on the host",
    ),
    "NumPy's": (wrong(Cube(), value=lambda s, xp, z: np.power(z, 3.0)), "value calls a function of NumPy"),
    "an exponential that overflows": (
        wrong(
            Cube(),
            value=lambda s, xp, z: xp.exp(z) / (1.0 + xp.exp(z)),
            derivative=lambda s, xp, z, a: a * (1.0 - a),
        ),
        r"g\(z\) is NaN at z = 1000, .*; look at value",
    ),
    "random": (
        wrong(Cube(), value=lambda s, xp, z: z * random.random()),
        "another at a second call|central difference",
    ),
}

LOSSES = {
    "sign": (
        wrong(Hinge(), per_example=lambda s, xp, z, y: minus(Hinge(), xp, z, y)),
        "row's own L .*look at per_example",
    ),
    "mean over the rows": (
        wrong(Hinge(), per_example=lambda s, xp, z, y: over_rows(Hinge(), xp, z, y)),
        r"dL/dz differs from the central difference of the row's own L at row 0, column \d: .*; look at per_example",
    ),
    "rows mixed": (
        wrong(Hinge(), per_example=lambda s, xp, z, y: mixed(Hinge(), xp, z, y)),
        "dL/dz differs from the central difference of the row's own L",
    ),
    "one number for the batch": (
        wrong(Hinge(), per_example=lambda s, xp, z, y: (xp.sum((z - y) ** 2, axis=(-2, -1)), 2.0 * (z - y))),
        r"per_example gives L (of shape \(\), expected \(5, 1\)|as a float64)",
    ),
    "no keepdims": (
        wrong(Hinge(), per_example=lambda s, xp, z, y: (xp.sum((z - y) ** 2, axis=-1), 2.0 * (z - y))),
        r"per_example gives L of shape \(5,\), expected \(5, 1\)",
    ),
    "the value alone": (
        wrong(Hinge(), per_example=lambda s, xp, z, y: xp.sum((z - y) ** 2, axis=-1, keepdims=True)),
        r"per_example must give a tuple of 2, \(L, dL/dz\), got a ndarray",
    ),
    "writes into z": (
        wrong(Hinge(), per_example=lambda s, xp, z, y: Hinge().per_example(xp, z.__imul__(1.0), y)),
        "per_example writes into an array",
    ),
    "float64's constants": (
        wrong(Hinge(), per_example=lambda s, xp, z, y: Hinge().per_example(xp, z * np.float64(1.0), y)),
        "per_example gives L in float64",
    ),
    "a read on the host": (
        wrong(Hinge(), per_example=lambda s, xp, z, y: Hinge().per_example(xp, z, y) if float(xp.max(y)) else None),
        "per_example reads a number on the host",
    ),
    "a sum over the leading axis": (
        wrong(Hinge(), per_example=lambda s, xp, z, y: stacked_sum(Hinge(), xp, z, y)),
        "L of network 0 in a stack of 3 differs .*; look at per_example",
    ),
    "an unknown link": (
        wrong(Hinge(), link="logit"),
        "link must be one of linear, softmax, .*, got 'logit'; look at link",
    ),
    "an unknown target": (wrong(Hinge(), target="labels"), "target must be one of classes, .*, got 'labels'"),
}


def minus(loss: Any, xp: Any, z: Any, y: Any) -> Any:
    value, gradient = loss.per_example(xp, z, y)
    return value, -gradient


def over_rows(loss: Any, xp: Any, z: Any, y: Any) -> Any:
    value, gradient = loss.per_example(xp, z, y)
    return value, gradient / z.shape[-2]


def mixed(loss: Any, xp: Any, z: Any, y: Any) -> Any:
    value, gradient = loss.per_example(xp, z, y)
    return xp.mean(value, axis=-2, keepdims=True) + 0.0 * value, gradient


def stacked_sum(loss: Any, xp: Any, z: Any, y: Any) -> Any:
    value, gradient = loss.per_example(xp, z, y)
    return (value if z.ndim == 2 else xp.sum(value, axis=0, keepdims=True) + 0.0 * value), gradient


OPTIMIZERS = {
    "uphill": (
        wrong(Signs(), update=updated(lambda xp, theta, g, v, t, eta: (theta + eta * xp.sign(g), (v,)))),
        r"does not lower it: \|theta\|\^2 is .* after a step, .* before; look at update",
    ),
    "its own rate": (
        wrong(Signs(), update=updated(lambda xp, theta, g, v, t, eta: (theta - 0.01 * g, (v,)))),
        r"theta moves at a rate of 0 \(eta, not learning_rate.* at number 0: .*; look at update",
    ),
    "writes to g": (
        wrong(Signs(), update=updated(lambda xp, theta, g, v, t, eta: (theta - g.__imul__(eta), (v,)))),
        "update writes into an array that it was only given to read",
    ),
    "writes to t": (
        wrong(Signs(), update=updated(lambda xp, theta, g, v, t, eta: (theta - eta * g * t.__iadd__(1.0), (v,)))),
        "update writes into an array",
    ),
    "too few moments": (
        wrong(Signs(), update=updated(lambda xp, theta, g, v, t, eta: (theta - eta * g, ()))),
        "update must give back as many moments as init gives, 1, got 0; look at update",
    ),
    "a moment of another shape": (
        wrong(Signs(), update=updated(lambda xp, theta, g, v, t, eta: (theta - eta * g, (v[..., :1],)))),
        r"update gives moment 0 of shape \(1,\), expected \(7,\)",
    ),
    "theta alone": (
        wrong(Signs(), update=updated(lambda xp, theta, g, v, t, eta: theta - eta * g)),
        r"update must give a tuple of 2, \(theta, moments\), got a ndarray",
    ),
    "theta of another shape": (
        wrong(Signs(), update=updated(lambda xp, theta, g, v, t, eta: (xp.reshape(theta - eta * g, (1, -1)), (v,)))),
        r"update gives theta of shape \(1, 7\), expected \(7,\)",
    ),
    "g as a moment": (
        wrong(Signs(), update=updated(lambda xp, theta, g, v, t, eta: (theta - eta * g, (g,)))),
        "moment 0 after a step is g itself, which the next step overwrites; copy it; look at update",
    ),
    "theta as a moment": (
        wrong(Signs(), init=lambda s, b, theta, decays: (theta,)),
        "moment 0 of init is theta itself, which every step overwrites; copy it; look at init",
    ),
    "theta as a moment after a step": (
        wrong(Signs(), update=updated(lambda xp, theta, g, v, t, eta: (theta.__isub__(eta * g), (theta,)))),
        "theta and moment 0 after a step are one array, which the next overwrites; copy it; look at update",
    ),
    "init writes to theta": (
        wrong(Signs(), init=lambda s, b, theta, decays: (0.0 * theta.__imul__(1.0),)),
        "init writes into an array",
    ),
    "NumPy's zeros as a moment": (
        wrong(Signs(), init=lambda s, b, theta, decays: (np.zeros(theta.shape),)),
        "init gives moment 0 in float64 on numpy in float32",
    ),
    "one moment for the stack": (
        wrong(Signs(), init=lambda s, b, theta, decays: (b.zeros(theta.shape[-1:]),)),
        r"update gives moment 0 of shape \(3, 7\), expected \(7,\)|update fails on numpy .* for a stack",
    ),
    "a number as a moment": (
        wrong(Signs(), init=lambda s, b, theta, decays: (0.0,)),
        "init gives moment 0 as a float on numpy",
    ),
    "float64's constants": (
        wrong(Signs(), update=updated(lambda xp, theta, g, v, t, eta: (theta - np.float64(1.0) * eta * g, (v,)))),
        "update gives theta in float64 on numpy in float32",
    ),
    "a branch on t": (
        wrong(Signs(), update=updated(lambda xp, theta, g, v, t, eta: (theta - (eta * g if t > 0 else g), (v,)))),
        "update reads a number on the host",
    ),
    "a power of Python's": (
        wrong(Signs(), update=updated(lambda xp, theta, g, v, t, eta: (theta - eta * g * 0.9 ** int(t[0]), (v,)))),
        "update reads a number on the host",
    ),
    "a norm over the stack": (
        wrong(
            Signs(), update=updated(lambda xp, theta, g, v, t, eta: (theta - eta * g / xp.sqrt(xp.sum(g * g)), (v,)))
        ),
        r"theta after step 1 of network 0 in a stack of 3 differs .* at number 0: .*; look at update",
    ),
    "counts": (
        wrong(Signs(), update=updated(lambda xp, theta, g, v, t, eta: (theta - eta * g / CALLS(), (v,)))),
        "theta after step 1 is another at a second call at number 0",
    ),
    "a rate that is a word": (Signs("fast"), "learning_rate must be a number or a schedule"),
}

SCHEDULES = {
    "a branch on t": (
        wrong(Harmonic(), rate=lambda s, xp, t: 0.1 / t if t < 10 else 0.01 / t),
        "rate reads a number on the host",
    ),
    "Python's math": (
        wrong(Harmonic(), rate=lambda s, xp, t: 0.1 * t / float(t[0])),
        "rate reads a number on the host",
    ),
    "a number": (wrong(Harmonic(), rate=lambda s, xp, t: 0.1), "rate gives the rate as a float on numpy"),
    "negative": (
        wrong(Harmonic(), rate=lambda s, xp, t: 0.1 - t * 1e-3),
        r"the rate at step 1000 must be a finite number >= 0, got -0\.9; look at rate",
    ),
    "infinite": (
        wrong(Harmonic(), rate=lambda s, xp, t: 0.1 / (t - 1.0)),
        "at step 1 must be a finite number >= 0, got inf",
    ),
    "NaN": (
        wrong(Harmonic(), rate=lambda s, xp, t: xp.sqrt(50.0 - t)),
        "at step 60 must be a finite number >= 0, got nan",
    ),
    "of another shape": (
        wrong(Harmonic(), rate=lambda s, xp, t: xp.sum(0.1 / t, keepdims=True) * xp.ones((2,))),
        r"rate gives the rate of shape \(2,\), expected \(1,\)",
    ),
    "in float64": (wrong(Harmonic(), rate=lambda s, xp, t: np.float64(0.1) / t), "rate gives the rate in float64"),
    "writes to t": (wrong(Harmonic(), rate=lambda s, xp, t: t.__imul__(0.1)), "rate writes into an array"),
    "no plan": (
        wrong(Harmonic(), planned=lambda s, steps: None),
        r"planned\(40\) must give a schedule, got a NoneType",
    ),
    "planned again": (
        wrong(Harmonic(), planned=lambda s, steps: type(s)(1.0 / steps)),
        "planned changes a length that is there; return self where there is one; look at planned",
    ),
    "of all steps": (
        wrong(Harmonic(), rate=lambda s, xp, t: t / xp.max(t)),
        "depends on the other steps that it is asked for",
    ),
    "random": (
        wrong(Harmonic(), rate=lambda s, xp, t: random.random() / t),
        "the rate at step 1 is another at a second call: ",
    ),
}
BROKEN = {
    f"{kind}: {what}": case
    for kind, table in {
        "layer": LAYERS,
        "activation": ACTIVATIONS,
        "loss": LOSSES,
        "optimizer": OPTIMIZERS,
        "schedule": SCHEDULES,
    }.items()
    for what, case in table.items()
}


def sentence(part: Any, **options: Any) -> str:
    with pytest.raises(AssertionError) as caught:
        check(part, **{"backends": ["numpy"]} | options)
    assert type(caught.value) is cr.ContractError
    return str(caught.value)


@pytest.mark.parametrize("what", BROKEN)
def test_what_is_broken_is_one_sentence_that_names_the_method(what: str) -> None:
    part, says = BROKEN[what]
    said = sentence(part)
    print(said)
    assert re.search(says, said), said
    assert said.startswith(f"{type(part).__name__}")
    assert "\n" not in said
    assert said.endswith(".")
    assert ". " not in said.replace("array API", "")


# ------------------------------------------------------------------------------------------------ a value, and pickling


class NoDataclass(Center):
    """Its equality is that of an object."""

    __eq__, __hash__ = object.__eq__, object.__hash__
    __dataclass_params__ = None


@dataclass
class Melting(Layer):
    """Not frozen."""

    forward, apply, pullback = Center.forward, Center.apply, Center.pullback


@dataclass(frozen=True)
class Listed(Center):
    """A field that can change."""

    widths: Any = (1, 2)


@dataclass(frozen=True)
class Forgetful(Center):
    """It comes back from pickle as another."""

    n: int = 3

    def __copy__(self):
        return self

    def __reduce__(self):
        return Forgetful, ()


@dataclass(frozen=True)
class Unique(Center):
    """It equals itself alone."""

    def __eq__(self, other):
        return self is other

    __hash__ = object.__hash__


@pytest.mark.parametrize(
    ("part", "says"),
    [
        (NoDataclass(), r"expected a frozen dataclass; write @dataclass\(frozen=True\) above the class"),
        (Melting(), "expected a frozen dataclass"),
        (Listed([1, 2]), r"its fields must be .*, which do not change \(unhashable type: 'list'\)"),
        (Listed(np.ones(2)), "its fields must be numbers, strings or tuples of these"),
        (Listed(float("nan")), "it comes back from pickle as another"),
        (Unique(), "a copy of it is not equal to it"),
        (Forgetful(5), "it comes back from pickle as another"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_part_is_a_value_that_equals_its_copy(part: Any, says: str) -> None:
    with pytest.raises(cr.ContractError, match=says):
        testing.check_layer(part, backends=["numpy"])


def test_what_cannot_be_pickled_is_said_and_is_no_mistake() -> None:
    bump = cr.Activation(lambda xp, z: xp.exp(-z * z), lambda xp, z: -2.0 * z * xp.exp(-z * z), name="bump")
    assert "cannot be pickled, for other processes" in str(check(bump, backends=["numpy"]))
    assert "pickled" not in str(check(Scale(8), backends=["numpy"]))
    assert pickle.loads(pickle.dumps(Scale(8))) == Scale(8)


# ------------------------------------------------------------------------------------------------------------ traceable


class Memory:
    """Something that changes outside of the arrays."""

    factor = 1.0

    def __call__(self) -> float:
        Memory.factor *= 1.25
        return Memory.factor


MEMORY = Memory()
TRACEABLE = {
    "counts its calls": wrong(Scale(8), traceable=True, forward=forward(lambda b, p, x, key: p[0] * x * CALLS())),
    "Python's random": wrong(
        Scale(8), traceable=True, forward=forward(lambda b, p, x, key: p[0] * x * random.random())
    ),
    "what changes elsewhere": wrong(Scale(8), traceable=True, pullback=lambda s, b, p, r, dy, g: p[0] * dy * MEMORY()),
    "what changes behind a second call": wrong(
        Signs(), traceable=True, update=updated(lambda xp, th, g, v, t, eta: (th - eta * g * alternating(xp), (v,)))
    ),
}


def alternating(xp: Any) -> float:
    """1 on NumPy's own namespace, 2 where the step is recorded: seen by nothing but the recorded step."""
    return 2.0 if type(xp).__name__ == "Recorder" else 1.0


COUNT = 0


@dataclass(frozen=True)
class Counts(Scale):
    """It counts its calls, which no array shows."""

    calls: ClassVar[list[int]] = []
    traceable = True

    def gradients(self, backend, residual, dy):
        self.calls.append(1)
        return super().gradients(backend, residual, dy)


@dataclass(frozen=True)
class CountsOutside(Scale):
    """It counts them outside of its class."""

    traceable = True

    def gradients(self, backend, residual, dy):
        global COUNT
        COUNT += 1
        return super().gradients(backend, residual, dy)


@pytest.mark.parametrize("part", [Counts(8), CountsOutside(8)], ids=lambda part: type(part).__name__)
def test_a_count_that_no_array_shows_is_caught(part: Any) -> None:
    assert re.search(r"(calls|COUNT) is another after it was called; .*; look at gradients\.", sentence(part))


@pytest.mark.parametrize("what", TRACEABLE)
def test_what_says_traceable_and_is_not_is_caught(what: str) -> None:
    said = sentence(TRACEABLE[what])
    print(said)
    assert re.search("at a second call|recorded step .* say traceable = True only of what depends on its arrays", said)


def test_what_says_traceable_and_cannot_be_recorded_is_caught() -> None:
    def gradients(self: Any, backend: Any, residual: Any, dy: Any) -> Any:
        return (backend.xp.sum(backend.xp.flip(backend.xp.flip(dy * residual)), axis=-2, keepdims=True),)

    assert check(wrong(Scale(8), gradients=gradients), backends=["numpy"])
    said = sentence(wrong(Scale(8), gradients=gradients, traceable=True))
    assert "says traceable and the step cannot be recorded, it runs uncompiled: flip cannot be recorded" in said


@pytest.mark.parametrize("part", [p for p in RIGHT if p != Sorted()], ids=lambda part: type(part).__name__)
def test_a_right_part_may_say_traceable(part: Any) -> None:
    plain, traceable = (check(one, backends=["numpy"]) for one in (part, wrong(part, traceable=True)))
    assert "recorded steps" in traceable.checked
    assert "recorded steps" not in plain.checked


# -------------------------------------------------------------------------------------------------- backends, arguments


def test_what_one_library_has_alone_is_caught_on_the_others() -> None:
    def mean(backend: Any, params: Any, x: Any, key: Any) -> Any:
        return x - backend.xp.nanmean(x, axis=-1, keepdims=True)

    part = wrong(Center(), forward=forward(mean), apply=lambda s, b, p, q, x: mean(b, p, x, None))
    assert check(part, backends=["numpy"])
    if "array-api-strict" in REQUIRED:
        assert "forward fails on array-api-strict in float32 with AttributeError" in sentence(part, backends=None)


@pytest.mark.skipif("jax" not in REQUIRED, reason="JAX is not required here")
def test_what_cannot_be_compiled_is_caught_by_jax() -> None:
    part = wrong(Cube(), value=lambda s, xp, z: z * z * z + 0.0 * xp.sum(z[z > 1e9]))
    assert check(part, backends=["numpy"])
    assert re.search(
        "value fails on jax compiled in float32 with .*Error: .*; look at value", sentence(part, backends=["jax"])
    )


@pytest.mark.skipif("array-api-strict" not in REQUIRED, reason="array-api-strict is not required here")
def test_an_array_left_on_the_default_device_is_caught() -> None:
    def gradients(self: Any, backend: Any, residual: Any, dy: Any) -> Any:
        return (backend.xp.sum(dy * residual, axis=-2, keepdims=True) + backend.xp.zeros((1, 8), dtype=dy.dtype),)

    said = sentence(wrong(Scale(8), gradients=gradients), backends=None)
    assert "gradients fails on array-api-strict on device1 in float32" in said


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: testing.check_layer(Scale), r"expected an object of a class Scale\(cr.Layer\) .*, got <class"),
        (lambda: testing.check_layer(cr.ReLU()), r"with apply and pullback, got ReLU\(\); activations have check_act"),
        (lambda: testing.check_optimizer(Signs), r"expected an optimizer, .* got the class Signs: write an object"),
        (lambda: testing.check_optimizer(Signs(None)), "Signs has none: write a field, learning_rate"),
        (lambda: testing.check_schedule(len), "learning_rate must be a number"),
        (lambda: testing.check_loss(len), r"expected a loss, .*wrap your function as cr.Loss\(f\)"),
        (lambda: testing.check_activation(len), "expected an activation"),
        (lambda: testing.check_layer(cr.BatchNorm(7)), r"check_layer: give n_in, .*needs 7 inputs, got 4"),
        (lambda: testing.check_layer(cr.Dense(3, 2), n_in=4), "needs 3 inputs, got 4"),
        (lambda: testing.check_layer(Center(), n_in=0), "n_in must be a whole number >= 1, got 0"),
        (lambda: testing.check_loss(Hinge(), n_out=0), "n_out must be a whole number >= 1, got 0"),
        (lambda: testing.check_optimizer(Signs(), seed=-1), "seed must be a whole number >= 0, got -1"),
        (lambda: testing.check_schedule(Harmonic(), backends="numpy"), "backends must be a list"),
        (
            lambda: testing.check_schedule(Harmonic(), backends=["numpi"]),
            "unknown backend 'numpi': did you mean 'numpy'",
        ),
        (lambda: testing.check_loss("hubber"), "unknown loss 'hubber': did you mean 'huber'"),
        (lambda: testing.check_activation("rellu"), "unknown activation 'rellu'"),
    ],
)
def test_an_argument_that_cannot_be_is_refused(call: Callable[[], Any], says: str) -> None:
    with pytest.raises(cr.ConfigurationError, match=says):
        call()


def test_a_kind_is_found_by_its_name() -> None:
    assert testing.check_loss("huber", backends=["numpy"]).part == "Huber"
    assert testing.check_activation("tanh", backends=["numpy"]).part == "Tanh"
    assert testing.check_optimizer("adam", backends=["numpy"]).part == "Adam"


def test_another_seed_finds_it_too() -> None:
    part = LAYERS["pullback's sign"][0]
    assert len({sentence(part, seed=seed) for seed in range(3)}) == 3


def test_it_needs_no_pytest_and_is_imported_when_it_is_asked_for() -> None:
    script = (
        "import sys, chainrule as cr\n"
        "assert 'chainrule.testing' not in sys.modules\n"
        "print(cr.testing.check_schedule(cr.InverseScaling(0.1), backends=['numpy']).kind)\n"
        "assert not {'pytest', 'torch', 'jax', 'array_api_strict'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout == "a schedule\n"


@pytest.mark.parametrize("part", RIGHT, ids=lambda part: type(part).__name__)
def test_a_right_part_passes_on_cupy(part: Any) -> None:
    with cupy_stand_in():
        if fake_cuda() is not None and type(part).__name__ == "Sorted":
            pytest.skip("CuPy sorts by Thrust, which is compiled for a GPU")
        assert check(part, backends=["cupy"]).backends[0].startswith("cupy on cuda:0 (float32, float64)")


def test_numpys_function_is_caught_on_cupy() -> None:
    part = wrong(Scale(8), pullback=lambda s, b, p, r, dy, g: np.multiply(p[0], dy) if b.name == "cupy" else p[0] * dy)
    with cupy_stand_in() as cupy:
        if not hasattr(cupy, "counts"):
            pytest.skip("CuPy itself takes NumPy's functions as its own; its stand-in refuses them")
        assert "pullback" in sentence(part, backends=["cupy"])


@pytest.mark.parametrize("rate", [0.001, 0.01, 0.5, 0.9, 0.99])
def test_a_layer_is_random_also_where_it_seldom_shows(rate: float) -> None:
    assert "random: another key gives another y" in str(testing.check_layer(cr.Dropout(rate), backends=["numpy"]))


@dataclass(frozen=True)
class Plain(Layer):
    def apply(self, backend: Any, params: Any, buffers: Any, x: Any) -> Any:
        return x * x

    def pullback(self, backend: Any, params: Any, residual: Any, dy: Any, grads: Any) -> Any:
        return 2.0 * residual * dy


@pytest.mark.parametrize(
    ("method", "answer"),
    [("multiplications", 0.5), ("normalizes", "both"), ("usual_weight_init", "xavier"), ("parts", 3)],
)
def test_what_the_house_asks_a_layer_is_asked(method: str, answer: Any) -> None:
    odd = dataclass(frozen=True)(type("Odd", (Plain,), {method: lambda self: answer}))
    with pytest.raises(cr.ContractError, match=rf"Odd: {method} must .*; look at {method}"):
        testing.check_layer(odd(), backends=["numpy"])
