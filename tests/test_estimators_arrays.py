"""Estimators on any array, sparse rows and frames."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from conftest import Platform, find_library
from side_by_side import DIGIT, DIGITS, NUMBER, NUMBERS, PROBLEMS

import chainrule as cr
from chainrule._backend import library_of
from chainrule.estimators import _sparse

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


# --------------------------------------------------------------------------------------------------------- on any array

LIBRARIES = ["numpy", "strictest-float32", "strictest-float64", "torch", "jax-jit"]


@pytest.fixture(params=LIBRARIES)
def library(request: pytest.FixtureRequest, open_platform: Callable[..., Platform]) -> Platform:
    return open_platform(request.param)


@pytest.mark.parametrize("problem", PROBLEMS)
def test_answers_come_in_the_library_and_on_the_device_of_x(library: Platform, problem: str) -> None:
    name, X, y = PROBLEMS[problem]
    on, atol = library.backend, 3e-5 if library.spec.dtype == "float32" else 1e-9
    given = library.array(X)
    settings = {"max_iter": 3, "random_state": 0, "hidden_layer_sizes": (8,)}
    reference = getattr(cr, name)(**settings).fit(X, y)
    labels = y if y.dtype.kind == "U" else library.array(y)
    est = getattr(cr, name)(**settings).fit(given, labels)
    answers = [est.predict(given), est.transform(given), *est.coefs_]
    answers += [est.predict_proba(given), est.predict_log_proba(given)] if name == "MLPClassifier" else []
    if y.dtype.kind == "U":
        np.testing.assert_array_equal(answers.pop(0), reference.predict(X))
    for answer in answers:
        assert library_of(answer) is on.library
        assert on.library.device_of(answer) == on.device
    for want, got in zip(reference.coefs_, est.coefs_, strict=True):
        np.testing.assert_allclose(library.host(got), want, rtol=0, atol=atol)
    assert est.score(given, labels) == pytest.approx(reference.score(X, y), abs=0.02)


def test_x_is_never_copied_through_the_host(library: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    on = library.backend
    if on.name == "numpy":
        pytest.skip("NumPy's arrays are on the host")
    X, y = library.array(DIGITS), DIGIT
    to_numpy = on.library.to_numpy

    def watched(x: Any) -> np.ndarray:
        assert tuple(x.shape) != DIGITS.shape, "all of X was read on the host"
        return to_numpy(x)

    monkeypatch.setattr(on.library, "to_numpy", watched)
    est = cr.MLPClassifier(max_iter=2, early_stopping=True, random_state=0).fit(X, y)
    est.predict_proba(X)
    est.partial_fit(X, y)


def test_numpy_in_and_numpy_out_where_another_backend_trains(library: Platform) -> None:
    on = library.backend
    est = cr.MLPClassifier(max_iter=2, random_state=0, backend=on)
    est.fit(DIGITS, DIGIT)
    assert library_of(est.coefs_[0]) is on.library
    for answer in (est.predict(DIGITS), est.predict_proba(DIGITS), est.transform(DIGITS)):
        assert isinstance(answer, np.ndarray)


def test_a_fitted_estimator_moves(library: Platform) -> None:
    on = library.backend
    est = cr.MLPClassifier(max_iter=3, random_state=0).fit(DIGITS, DIGIT)
    before = est.predict_proba(DIGITS)
    assert est.to(f"{on.name}:{on.device_name}", dtype=library.spec.dtype) is est
    assert library_of(est.coefs_[0]) is on.library
    atol = 1e-5 if library.spec.dtype == "float32" else 1e-12
    np.testing.assert_allclose(est.predict_proba(DIGITS), before, rtol=0, atol=atol)
    est.to("numpy", dtype="float64")
    np.testing.assert_allclose(est.predict_proba(DIGITS), before, rtol=0, atol=atol)
    est.set_params(backend=f"{on.name}:{on.device_name}", dtype=library.spec.dtype).partial_fit(DIGITS, DIGIT)
    assert library_of(est.coefs_[0]) is on.library


def test_lbfgs_runs_on_any_array(library: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chainrule.estimators._lbfgs.BLOCK", 100)  # 330 rows are four blocks
    est = cr.MLPClassifier(solver="lbfgs", max_iter=15, random_state=0).fit(library.array(DIGITS), DIGIT)
    assert library_of(est.coefs_[0]) is library.backend.library
    assert est.score(library.array(DIGITS), DIGIT) > 0.9


def test_where_there_is_no_float64_float32_is_used_and_a_warning_says_so(
    open_platform: Callable[..., Platform],
) -> None:
    device = open_platform("no-float64").backend.device_name
    est = cr.MLPRegressor(max_iter=1, backend=f"array-api-strict:{device}")
    with pytest.warns(UserWarning, match="float32 is used"):
        est.fit(NUMBERS, NUMBER)
    assert "float32" in str(est.coefs_[0].dtype)
    with pytest.raises(cr.DTypeError, match="no float64"):
        est.set_params(dtype="float64").fit(NUMBERS, NUMBER)


SEARCH = """
import warnings; warnings.simplefilter("ignore")
import sys
import numpy as np
import sklearn
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV, cross_val_score, train_test_split
import array_api_strict, torch
import chainrule as cr
X, y = load_digits(return_X_y=True)
X, y = X[:200] / 16, y[:200]
want = cross_val_score(cr.MLPClassifier(max_iter=5, random_state=0), X, y, cv=3)
for xp in (array_api_strict, torch):
    a, b = xp.asarray(X), xp.asarray(y)
    with sklearn.config_context(array_api_dispatch=True):
        parts = train_test_split(a, b, random_state=0)
        est = cr.MLPClassifier(max_iter=5, random_state=0).fit(parts[0], parts[2])
        assert type(est.predict(parts[1])) is type(a)
        np.testing.assert_allclose(cross_val_score(cr.MLPClassifier(max_iter=5, random_state=0), a, b, cv=3), want)
        search = GridSearchCV(cr.MLPClassifier(max_iter=3), {"alpha": [1e-4, 1.0]}, cv=2).fit(a, b)
        assert type(search.predict(a)) is type(a)
print("done")
"""


def test_searches_run_on_arrays_of_other_libraries() -> None:
    find_library("torch")
    find_library("array-api-strict", "array_api_strict")
    environment = {**os.environ, "SCIPY_ARRAY_API": "1"}
    done = subprocess.run(
        [sys.executable, "-c", SEARCH], capture_output=True, text=True, timeout=300, check=False, env=environment
    )
    assert done.stdout.strip() == "done", done.stderr


# ---------------------------------------------------------------------------------------------------- sparse and frames


@pytest.mark.parametrize("backend", ["numpy", "torch", "jax"])
def test_sparse_rows_train_the_same_network(backend: str, open_platform: Callable[..., Platform]) -> None:
    open_platform("torch" if backend == "torch" else "jax-jit" if backend == "jax" else "numpy")
    sparse = importlib.import_module("scipy.sparse")
    X = np.where(DIGITS > 0.4, DIGITS, 0.0).astype("f4")
    settings = {"max_iter": 3, "random_state": 0, "early_stopping": True, "backend": backend, "dtype": "float32"}
    dense = cr.MLPClassifier(**settings).fit(X, DIGIT)
    for make in (sparse.csr_matrix, sparse.csc_array, sparse.coo_matrix):
        est = cr.MLPClassifier(**settings).fit(make(X), DIGIT)
        np.testing.assert_allclose(est.validation_loss_curve_, dense.validation_loss_curve_, rtol=1e-4)
        np.testing.assert_allclose(est.predict_proba(make(X)), dense.predict_proba(X), rtol=0, atol=1e-4)
        np.testing.assert_allclose(est.transform(make(X)), dense.transform(X), rtol=0, atol=1e-4)
        np.testing.assert_array_equal(est.predict(X), est.predict(make(X)))


def test_on_numpy_sparse_rows_are_never_made_dense(monkeypatch: pytest.MonkeyPatch) -> None:
    sparse = importlib.import_module("scipy.sparse")
    X = sparse.random(300, 50_000, density=1e-3, format="csr", random_state=0)
    for form in ("csr_matrix", "csr_array"):
        monkeypatch.setattr(getattr(sparse, form), "toarray", None)
    for settings in ({"max_iter": 1}, {"max_iter": 2, "solver": "lbfgs"}):
        est = cr.MLPClassifier(hidden_layer_sizes=(3,), **settings).fit(X, np.arange(300) % 2)
        assert est.predict(X).shape == (300,)


def test_many_sparse_rows_are_predicted_a_bounded_number_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    X = importlib.import_module("scipy.sparse").csr_array(DIGITS)
    est = cr.MLPClassifier(max_iter=2, random_state=0).fit(X, DIGIT)
    whole = est.predict_proba(X)
    monkeypatch.setattr(_sparse, "CHUNK", 100)
    np.testing.assert_allclose(est.predict_proba(X), whole, rtol=1e-6)


def test_an_arrow_table_is_trained_on() -> None:
    arrow = find_library("pyarrow")
    table = arrow.table({"a": NUMBERS[:, 0], "b": NUMBERS[:, 1]})
    est = cr.MLPRegressor(max_iter=2, random_state=0, early_stopping=True).fit(table, NUMBER)
    assert est.predict(table).shape == (330,)


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_names_of_a_frame_are_remembered_and_checked(library: str) -> None:
    frames = find_library(library)
    X = frames.DataFrame({"a": NUMBERS[:, 0], "b": NUMBERS[:, 1]})
    est = cr.MLPRegressor(max_iter=2, random_state=0, early_stopping=True).fit(X, NUMBER)
    assert est.feature_names_in_.tolist() == ["a", "b"]
    np.testing.assert_array_equal(est.predict(X), cr.MLPRegressor(max_iter=2, random_state=0, early_stopping=True)
                                  .fit(NUMBERS[:, :2], NUMBER).predict(NUMBERS[:, :2]))  # fmt: skip
    with pytest.raises(ValueError, match="Feature names must be in the same order"):
        est.predict(X[["b", "a"]])
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        est.predict(NUMBERS[:, :2])
    named = est.set_output(transform=library).transform(X)
    assert list(named.columns)[:2] == ["mlpregressor0", "mlpregressor1"]
