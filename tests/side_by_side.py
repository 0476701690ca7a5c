"""Problems for our estimators and scikit-learn's, side by side."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

import chainrule as cr

datasets = importlib.import_module("sklearn.datasets")
theirs = importlib.import_module("sklearn.neural_network")

DIGITS, DIGIT = datasets.load_digits(return_X_y=True)
DIGITS, DIGIT = DIGITS[:330] / 16.0, DIGIT[:330]
NUMBERS, NUMBER = datasets.make_regression(330, 8, random_state=0)
TARGETS = datasets.make_regression(330, 8, n_targets=3, random_state=1)[1] / 100.0
COUNTS, SEVERAL = datasets.make_multilabel_classification(330, 20, n_classes=4, random_state=0)
PROBLEMS: dict[str, tuple[str, np.ndarray, np.ndarray]] = {
    "multiclass": ("MLPClassifier", DIGITS, DIGIT),
    "binary": ("MLPClassifier", DIGITS, np.where(DIGIT > 4, "large", "small")),
    "multilabel": ("MLPClassifier", COUNTS / 20.0, SEVERAL),
    "regression": ("MLPRegressor", NUMBERS, NUMBER / 100.0),
}


def both(name: str, **settings: Any) -> tuple[Any, Any]:
    """scikit-learn's estimator and ours, with the same parameters."""
    return getattr(theirs, name)(**settings), getattr(cr, name)(**settings)
