"""Which rate to read from a range test: python benchmarks/rate_rules.py.

Three rules, on problems and optimizers: how much of the fall of the loss, of which the best rate of a grid is 100 %, a
training run of 15 epochs reaches at the rate that each proposes.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits

import chainrule as cr
from chainrule.optimizers import find_optimizer

GRID = 10.0 ** np.arange(-5, 1.01, 0.25)


def problems() -> Iterator[tuple[str, cr.Sequential, np.ndarray, np.ndarray, str]]:
    rng = np.random.default_rng(0)
    X, y = load_digits(return_X_y=True)
    for name, network in (
        ("digits", cr.mlp([64, 64, 10])),
        ("digits, tanh", cr.mlp([64, 32, 32, 10], activation="tanh")),
        ("digits, five layers", cr.mlp([64, 64, 64, 64, 64, 10])),
        ("digits, normalised", cr.mlp([64, 64, 64, 10], normalization="batch")),
    ):
        yield name, network, X / 16.0, y, "softmax_cross_entropy"
    X, y = load_diabetes(return_X_y=True)
    yield "diabetes", cr.mlp([10, 32, 1]), X / X.std(axis=0), (y - y.mean()) / y.std(), "squared_error"
    X, y = load_breast_cancer(return_X_y=True)
    yield "breast cancer", cr.mlp([30, 16, 1]), (X - X.mean(axis=0)) / X.std(axis=0), y, "sigmoid_cross_entropy"
    X = rng.normal(size=(5000, 20))
    waves, line = np.sin(2 * X[:, 0]) + X[:, 1] * X[:, 2], X @ rng.normal(size=20)
    yield "waves", cr.mlp([20, 64, 64, 1]), X, waves + 0.1 * rng.normal(size=5000), "squared_error"
    yield "signs", cr.mlp([20, 64, 2]), X, (X[:, 0] * X[:, 1] > 0).astype(int), "softmax_cross_entropy"
    yield "line", cr.mlp([20, 1]), X, line + 0.5 * rng.normal(size=5000), "squared_error"


def rules(found: cr.RangeTest) -> dict[str, float]:
    lowest = int(np.argmin(found.smoothed))
    slopes = np.gradient(found.smoothed, np.log(found.rates))
    steepest = 10 + int(np.argmin(slopes[10 : lowest + 1]))
    assert found.learning_rate is not None
    return {
        "steepest": float(found.rates[steepest]),
        "a tenth of the lowest": float(found.rates[lowest]) / 10,
        "four fifths of the fall": found.learning_rate,
    }


def main() -> int:
    warnings.simplefilter("ignore")
    shares: dict[str, list[float]] = {}
    for name, network, X, y, loss in problems():
        for optimizer in ("sgd", "momentum", "adam", "rmsprop"):
            found = cr.find_rate(network, X, y, loss=loss, optimizer=optimizer)
            start = float(np.median(found.losses[:10]))

            def fall(rate: float, optimizer: str = optimizer, given: Any = (network, X, y), loss: str = loss) -> float:
                rule = replace(find_optimizer(optimizer), learning_rate=rate)
                try:
                    model = cr.fit(*given, loss=loss, optimizer=rule, epochs=15, verbose=False)
                except cr.DivergenceError:
                    return 0.0
                return start - float(model.evaluate(*given[1:], metrics=[])["loss"])  # noqa: B023

            best = max(map(fall, GRID.tolist()))
            reached = {rule: fall(rate) / best for rule, rate in rules(found).items()}
            print(f"{name}, {optimizer}: " + ", ".join(f"{rule} {share:.2f}" for rule, share in reached.items()))
            for rule, share in reached.items():
                shares.setdefault(rule, []).append(share)
    for rule, each in shares.items():
        print(f"{rule}: {min(each):.2f} at the worst, {np.mean(each):.2f} in the mean of {len(each)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
