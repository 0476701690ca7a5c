"""docs/scikit-learn.md: what it says of scikit-learn's names is so, and what it shows how to write runs."""

from __future__ import annotations

import importlib
import pickle
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from conftest import find_library

import chainrule as cr

SETTLED = {"random_state": 0, "validation_fraction": 0.3}  # every class among the rows that are held out
BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture(scope="module")
def script() -> Iterator[ModuleType]:
    find_library("scikit-learn", "sklearn.callback")
    for name in ("pandas", "matplotlib"):
        find_library(name)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        yield importlib.import_module("scikit_learn")


def test_every_name_is_accounted_for_and_the_page_is_current(script: ModuleType) -> None:
    assert script.check() == []


def test_a_name_that_is_missing_here_fails(script: ModuleType) -> None:
    (line,) = script.problems("parameters", {"alpha": 1, "warp": 2}, {"alpha": 1}, {})
    assert "scikit-learn has 'warp', we have not" in line
    assert not script.problems("parameters", {"warp": 2}, {}, {"warp": "Left out: nobody asks for it."})


@pytest.mark.parametrize("here", ["0.001", "None"])
def test_a_default_that_differs_fails(script: ModuleType, here: str) -> None:
    (line,) = script.problems("defaults", {"alpha": "0.0001", "tol": "1"}, {"alpha": here, "tol": "1"}, {})
    assert f"'alpha' is not the same (0.0001 there, {here} here)" in line
    assert not script.problems("defaults", {"alpha": "0.0001"}, {"alpha": here}, {"alpha": "Smaller."})


def test_a_difference_that_begins_with_same_is_checked(script: ModuleType) -> None:
    there, here = {"loss_": {"sgd": 0.5}}, {"loss_": {"sgd": 0.6}}
    assert script.problems("attributes", there, here, {"loss_": "Same without weights."})
    assert not script.problems("attributes", there, here, {"loss_": "Another one."})
    assert not script.problems("attributes", there, {"loss_": {"sgd": 0.5 + 1e-12}}, {})


def test_a_difference_stated_for_no_name_fails(script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    empty: dict[str, dict[str, str]] = {kind: {} for kind in script.DIFFERENCES}
    monkeypatch.setattr(script, "DIFFERENCES", empty | {"methods": {"fly": "It flies."}})
    (line,) = script.unaccounted({"MLPClassifier": empty}, {"MLPClassifier": empty})
    assert line == "methods: DIFFERENCES names 'fly', which scikit-learn has not."


def test_what_scikit_learn_adds_shows_up(script: ModuleType) -> None:
    class Later:
        """A later scikit-learn's estimator: a parameter more, another default, an attribute and a method more."""

        _parameter_constraints = {"alpha": [None], "warp": [None]}  # noqa: RUF012

        def __init__(self, alpha: Any = 2, warp: Any = None, **settings: Any) -> None:
            self.alpha, self.warp = alpha, warp

        def fit(self, X: Any, y: Any) -> Later:
            self.energy_ = 1.0
            return self

        def fly(self) -> None: ...

    class Now(Later):
        _parameter_constraints = {"alpha": [None], "settings": [None]}  # noqa: RUF012

        def __init__(self, alpha: Any = 1, **settings: Any) -> None:
            self.alpha = alpha

        fly = None  # type: ignore[assignment]

    Later._parameter_constraints["settings"] = [None]
    there, here = script.surface(Later), script.surface(Now)
    found = [line for kind in there for line in script.problems(kind, there[kind], here[kind], {})]
    assert [line.split(":")[0] for line in found] == ["defaults", "defaults", "parameters", "methods"]
    assert [word for word in ("alpha", "warp", "fly") if not any(f"'{word}'" in line for line in found)] == []


def test_an_old_page_fails_and_says_where(script: ModuleType, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(script.PAGE.read_text().replace("`0.0001` | `0.0001`", "`0.0001` | `0.1`", 1))
    (line,) = script.check(page)
    assert "docs/scikit-learn.md is old, from line" in line


def test_ours_is_below_only_beyond_the_error_and_beyond_rounding(script: ModuleType) -> None:
    theirs = [0.9, 0.8, 0.7]

    def below(metric: str, ours: list[float]) -> bool:
        return bool(script.is_below({"metric": metric, "scores": {"theirs": theirs, "ours": ours}}))

    assert below("accuracy", [0.8, 0.7, 0.6])
    assert not below("RMSE", [0.8, 0.7, 0.6])
    assert not below("accuracy", [0.8, 0.9, 0.7])
    assert not below("accuracy", [0.9 - 1e-15, 0.8 - 1e-15, 0.7 - 1e-15])


@pytest.fixture(scope="module")
def small(script: ModuleType) -> dict[str, Any]:
    """The names that the requests are written with."""
    sparse, callback = importlib.import_module("scipy.sparse"), importlib.import_module("sklearn.callback")
    frame, y = script.small_data()
    X = frame.to_numpy()
    settings: dict[str, Any] = {"hidden_layer_sizes": (8,), "activation": "tanh", "max_iter": 3, "random_state": 0}
    with script.without_convergence_warnings():
        clf = cr.MLPClassifier(**settings).fit(X, y, X_val=X, y_val=y)
        scaler = importlib.import_module("sklearn.preprocessing").StandardScaler()
        pipeline = importlib.import_module("sklearn.pipeline").make_pipeline(scaler, cr.MLPClassifier(**settings))
        pipeline.fit(X, y)
        half = cr.MLPClassifier(**settings).partial_fit(X, y, classes=[0, 1, 2])
    return {
        "cr": cr,
        "pickle": pickle,
        "MLPClassifier": cr.MLPClassifier,
        "MLPRegressor": cr.MLPRegressor,
        "ScoringMonitor": callback.ScoringMonitor,
        "f": lambda xp, z: xp.tanh(z),
        "df": lambda xp, z: 1.0 - xp.tanh(z) ** 2,
        "g": lambda xp, z, y: (xp.sum(xp.log(xp.cosh(z - y)), axis=-1, keepdims=True), xp.tanh(z - y)),
        "X": X,
        "y": y,
        "X_val": X[:20],
        "y_val": y[:20],
        "w_val": np.ones(20),
        "X_sparse": sparse.csr_matrix(X),
        "classes": [0, 1, 2],
        "clf": clf,
        "half": half,
        "pipeline": pipeline,
    }


def test_what_users_asked_for_runs_as_it_is_written(
    script: ModuleType, small: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find_library("torch")
    monkeypatch.chdir(tmp_path)
    with script.without_convergence_warnings():
        for wanted, written, _ in script.REQUESTS:
            try:
                made = eval(written, dict(small))
                if isinstance(made, cr.MLPClassifier | cr.MLPRegressor) and not hasattr(made, "model_"):
                    made.set_params(max_iter=30, tol=1.0, n_iter_no_change=1, **SETTLED).fit(small["X"], small["y"])
            except BaseException as error:
                error.add_note(f"{wanted}: {written}")
                raise
    assert (tmp_path / "digits.safetensors").exists()
    np.testing.assert_array_equal(
        cr.load(tmp_path / "pipeline.safetensors").predict(small["X"]), small["pipeline"].predict(small["X"])
    )
    assert (tmp_path / "epochs.csv").read_text().startswith("epoch,loss")
