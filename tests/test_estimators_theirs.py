"""scikit-learn's own tests of its multilayer perceptrons, run on ours."""

from __future__ import annotations

import importlib
from typing import Any

import pytest
from conftest import find_library

import chainrule

find_library("scikit-learn", "sklearn")
theirs = importlib.import_module("sklearn.neural_network.tests.test_mlp")

OURS = {"MLPClassifier": chainrule.MLPClassifier, "MLPRegressor": chainrule.MLPRegressor}

PRIVATE = "reads scikit-learn's private attributes; tests/test_estimators.py compares the numbers themselves"
LEFT_OUT = {
    "test_fit": PRIVATE,
    "test_gradient": PRIVATE,
    "test_learning_rate_warmstart": PRIVATE,
    "test_adaptive_learning_rate": PRIVATE,
    "test_early_stopping_stratified": "asks for a class to be called 'True'; ours is called by its label",
    "test_preserve_feature_names": "trains on a constant, of which R^2 tells nothing, and ours says so; "
    "tests/test_estimators_partial_fit.py looks for warnings of names",
    "test_mlp_partial_fit_after_fit": "asks for an error from partial_fit under early stopping, which works here",
}


def _on_ours(test: Any) -> Any:
    for mark in getattr(test, "pytestmark", []):
        if mark.name == "parametrize":
            mark.args[1][:] = [OURS.get(getattr(value, "__name__", ""), value) for value in mark.args[1]]
    return test


for _name, _thing in list(vars(theirs).items()):
    if _name.startswith("test_") and _name not in LEFT_OUT:
        globals()[_name] = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")(_on_ours(_thing))


@pytest.fixture
def global_random_seed() -> int:
    """scikit-learn's fixture of this name."""
    return 42


@pytest.fixture(autouse=True)
def _ours_in_their_place(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, ours in OURS.items():
        monkeypatch.setattr(theirs, name, ours)


def test_what_is_left_out_is_there_to_leave_out() -> None:
    assert set(LEFT_OUT) <= set(vars(theirs))
