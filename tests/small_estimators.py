"""Small rows, and estimators that train on them in a moment.

The tests are of what scikit-learn's users asked for and did not get: each fails where the feature is silently ignored.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from conftest import find_library

import chainrule as cr

find_library("scikit-learn", "sklearn")
sparse = find_library("scipy", "scipy.sparse")
base = find_library("scikit-learn", "sklearn.base")

RNG = np.random.default_rng(1905)
X = RNG.normal(size=(90, 4))
NUMBERS = X[:, 0] * 2.0 - X[:, 1] ** 2 + 0.3 * RNG.normal(size=90)
PAIRS = np.stack([NUMBERS, np.sin(X[:, 2])], axis=1)
COUNTS = RNG.poisson(np.exp(0.5 * X[:, 0])).astype(float)
SIDES = (NUMBERS > -0.5).astype(int)
CLASSES = np.digitize(X[:, 0] + X[:, 1], [-0.5, 0.6])
WEIGHT = RNG.uniform(0.2, 2.0, 90)
LABELS = np.stack([NUMBERS > 0, X[:, 2] > 0], axis=1).astype(int)
X_VAL, NUMBERS_VAL, CLASSES_VAL = X[60:], NUMBERS[60:], CLASSES[60:]
for _array in (X, NUMBERS, PAIRS, COUNTS, SIDES, CLASSES, WEIGHT):
    _array.flags.writeable = False  # so every test here fails if an estimator writes to them

USUAL: dict[str, Any] = {"hidden_layer_sizes": (6, 5), "max_iter": 4, "batch_size": 16, "random_state": 7}


def classifier(**settings: Any) -> cr.MLPClassifier:
    return cr.MLPClassifier(**{**USUAL, **settings})


def regressor(**settings: Any) -> cr.MLPRegressor:
    return cr.MLPRegressor(**{**USUAL, **settings})


def theta(estimator: Any) -> np.ndarray:
    return np.concatenate([np.ravel(np.asarray(a)) for a in (*estimator.coefs_, *estimator.intercepts_)])


def same(a: Any, b: Any) -> bool:
    """Whether two estimators are one to the last bit."""
    return np.array_equal(theta(a), theta(b))


class Models:
    """A callback that keeps the model of every epoch."""

    def on_train_begin(self, run: Any) -> None:
        self.after: list[cr.Model] = []

    def on_epoch_end(self, run: Any, record: Any) -> None:
        self.after.append(run.model())
