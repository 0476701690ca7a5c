"""What a class of one's own costs: a layer, an activation and an optimizer, each against the library's own.

The same equations behind a user's class, with and without ``traceable = True``, in CPU time of ``fit`` on NumPy. The
three are timed in turn; printed are the minima and the median of the ratios of each turn. ``python own_parts.py``.
"""

import statistics
import time
from dataclasses import dataclass

import numpy as np

import chainrule as cr
from chainrule.activations import Elementwise

TURNS = 9


@dataclass(frozen=True)
class Own(cr.Layer):
    """cr.Dense, as a user writes it."""

    n_in: int
    n_out: int

    def width(self, n_in):
        return self.n_out

    def parameters(self):
        W = cr.Parameter("W", (self.n_in, self.n_out), "he_normal")
        return W, cr.Parameter("b", (1, self.n_out), "zeros", decays=False)

    def apply(self, backend, params, buffers, x):
        return backend.xp.matmul(x, params[0]) + params[1]

    def gradients(self, backend, residual, dy):
        return backend.xp.matmul(residual.mT, dy), backend.xp.sum(dy, axis=-2, keepdims=True)

    def pullback(self, backend, params, residual, dy, grads):
        return backend.xp.matmul(dy, params[0].mT)


@dataclass(frozen=True)
class OwnReLU(Elementwise):
    """cr.ReLU, as a user writes it."""

    def value(self, xp, z):
        return xp.maximum(z, xp.zeros_like(z))

    def derivative(self, xp, z, a):
        return xp.astype(z > 0.0, z.dtype)


@dataclass(frozen=True)
class OwnMomentum(cr.Optimizer):
    """cr.Momentum, as a user writes it."""

    learning_rate: float = 0.01
    mu: float = 0.9

    def update(self, backend, theta, g, moments, t, eta):
        (v,) = moments
        v *= self.mu
        v += g
        theta -= eta * v
        return theta, (v,)


def recorded(kind):
    """The same class, which says that it may be recorded."""
    return type(kind.__name__, (kind,), {"traceable": True})


def ours(n):
    return cr.mlp([n, n, n, 10])


def theirs(layer, activation):
    def net(n):
        return cr.Sequential(layer(n, n), activation(), layer(n, n), activation(), layer(n, 10))

    return net


def main():
    for name, layer, activation, optimizer in (
        ("layer", Own, cr.ReLU, cr.Momentum),
        ("activation", cr.Dense, OwnReLU, cr.Momentum),
        ("optimizer", cr.Dense, cr.ReLU, OwnMomentum),
    ):
        own = {kind: recorded(kind) for kind in (Own, OwnReLU, OwnMomentum)}
        made = [own.get(part, part) for part in (layer, activation, optimizer)]
        for n, batch in ((64, 64), (256, 128)):
            runs = {
                "ours": (ours(n), cr.Momentum()),
                "own, recorded": (theirs(*made[:2])(n), made[2]()),
                "own": (theirs(layer, activation)(n), optimizer()),
            }
            report(f"{name}, width {n}, batch {batch}", runs, n, batch)


def report(title, runs, n, batch):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(40 * batch, n)).astype("f4"), rng.integers(0, 10, 40 * batch)
    times = {name: [] for name in runs}
    for _ in range(TURNS):
        for name, (net, optimizer) in runs.items():
            start = time.process_time()
            cr.fit(net, X, y, loss="softmax_cross_entropy", optimizer=optimizer, epochs=5, batch_size=batch)
            times[name].append(time.process_time() - start)
    base = times["ours"]
    for name, found in times.items():
        ratio = statistics.median(a / b for a, b in zip(found, base, strict=True))
        print(f"{title:<34} {name:<14} {min(found) * 1e3:7.1f} ms  {ratio:5.2f} times ours")


if __name__ == "__main__":
    main()
