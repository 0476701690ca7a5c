"""The random numbers of fixed seeds, as a training run shows them to its parts: what test_golden.py compares.

Run as a script it prints them in JSON, for NumPy or for the library that is named. It needs NumPy, array-api-compat and
safetensors alone, so it runs in any environment.
"""

from __future__ import annotations

import json
import sys
from contextlib import suppress
from typing import Any

import numpy as np

import chainrule as cr
from chainrule._backend import to_host

SEEDS = (0, 20260, 2**63 + 11)
ROWS = 10
# Written as arithmetic, since a generator is what is tested.
X = ((np.arange(ROWS * 4) * 7 % 13 - 6) / 8.0).reshape(ROWS, 4)
Y = X[:, 0] - X[:, 1] * X[:, 2]
NETWORKS = {
    "mlp": cr.mlp([4, 5, 1], activation="tanh", weight_init="he_normal"),
    "sequential": cr.Sequential(
        cr.Dense(4, 3, weight_init="glorot_uniform", bias_init=cr.Uniform(-1.0, 1.0)),
        cr.Tanh(),
        cr.BatchNorm(3),
        cr.Dense(3, 4, weight_init="lecun_normal", bias_init=cr.Normal(0.5)),
        cr.LayerNorm(4),
        cr.Dense(4, 1, weight_init=cr.VarianceScaling(3.0, "in", "normal"), bias_init=cr.Constant(0.25)),
    ),
}


class StartedError(Exception):
    """Ends a training run before its first step."""


class Start:
    """A callback that takes the weights before the first step, and ends the training there."""

    def on_train_begin(self, run: Any) -> None:
        self.theta = np.array(to_host(run.state.theta))
        raise StartedError


def initial(name: str, seed: int, backend: str, dtype: str = "float32") -> list[str]:
    """The weights that a training run starts from, in float.hex, which has every bit."""
    start = Start()
    with suppress(StartedError):
        on = cr.backend(backend, dtype=dtype)
        cr.fit(NETWORKS[name], X, Y, loss="squared_error", seed=seed, backend=on, callbacks=[start])
    return [float(x).hex() for x in start.theta]


def orders(seed: int, backend: str) -> list[int]:
    """The rows in the order in which two epochs take them: the target of each is its own number."""
    seen: list[int] = []

    def watched(xp: Any, z: Any, y: Any) -> tuple[Any, Any]:
        seen.extend(np.rint(to_host(y)).astype(int).ravel().tolist())
        return 0.5 * (z - y) ** 2, 0.0 * z

    network, targets = cr.Sequential(cr.Dense(4, 1)), np.arange(ROWS)
    on = cr.backend(backend, compile=False)
    cr.fit(network, X, targets, loss=cr.Loss(watched), seed=seed, epochs=2, batch_size=4, backend=on)
    return seen


def masks(seed: int, backend: str) -> str:
    """What dropout keeps in two steps, as hexadecimal: the inputs are ones, and an activation looks at them."""
    bits: list[np.ndarray] = []

    def watched(xp: Any, z: Any) -> Any:
        bits.append(to_host(z).ravel() > 0.0)
        return z

    look = cr.Activation(watched, lambda xp, z: z * 0.0)
    network = cr.Sequential(cr.Dropout(0.375), look, cr.Dense(37, 2), cr.Dropout(0.5), cr.Dense(2, 1))
    ones, zeros = np.ones((ROWS, 37)), np.zeros(ROWS)
    options: dict[str, Any] = {"epochs": 1, "batch_size": 6, "shuffle": False}
    options["backend"] = cr.backend(backend, compile=False)
    cr.fit(network, ones, zeros, loss="squared_error", seed=seed, **options)
    return np.packbits(np.concatenate(bits)).tobytes().hex()


def exact(backend: str) -> dict[str, Any]:
    """What is the same everywhere, bit for bit."""
    return {
        "initial weights": {f"{name}, seed {s}": initial(name, s, backend) for name in NETWORKS for s in SEEDS},
        "orders of two epochs": {f"seed {s}": orders(s, backend) for s in SEEDS},
        "dropout masks of two steps": {f"seed {s}": masks(s, backend) for s in SEEDS},
    }


def stepped(backend: str = "numpy", dtype: str = "float64", steps: int = 1) -> dict[str, list[float]]:
    """The weights after steps on all rows, by SGD and by Adam."""
    found = {}
    for name, network in NETWORKS.items():
        for optimizer in (cr.SGD(0.1), cr.Adam(0.01)):
            on = cr.backend(backend, dtype=dtype)
            options: dict[str, Any] = {"optimizer": optimizer, "epochs": steps, "backend": on}
            model = cr.fit(network, X, Y, loss="squared_error", seed=SEEDS[1], **options)
            found[f"{name}, {type(optimizer).__name__}"] = [float(x) for x in to_host(model.theta)]
    return found


def golden() -> dict[str, Any]:
    """All of it, on NumPy; the initial weights in float64 too."""
    wide = {f"{name}, seed {s}": initial(name, s, "numpy", "float64") for name in NETWORKS for s in SEEDS}
    return {**exact("numpy"), "initial weights in float64": wide, "weights after one step": stepped()}


if __name__ == "__main__":
    print(json.dumps(exact(sys.argv[1]) if len(sys.argv) > 1 else golden(), indent=1))
