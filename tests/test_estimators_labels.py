"""Labels as people have them: what is taken, and what is refused in a sentence that says what to do."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from conftest import find_library

import chainrule as cr

find_library("scikit-learn", "sklearn.callback")
pd, pl = find_library("pandas"), find_library("polars")

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X = np.random.default_rng(0).normal(size=(40, 2))
WHOLE = (X[:, 0] > 0).astype(int) + (X[:, 1] > 0.5)
TEXT = np.asarray(["ash", "birch", "cedar"])[WHOLE]
FIRST = np.arange(40) == 0


def classifier(**settings: Any) -> cr.MLPClassifier:
    return cr.MLPClassifier(**{"hidden_layer_sizes": (4,), "max_iter": 2, "random_state": 0, **settings})


TAKEN: dict[str, tuple[Any, Any]] = {
    "whole numbers": (WHOLE.astype(object), WHOLE),
    "NumPy's numbers": (np.asarray([*WHOLE], dtype=object), WHOLE),
    "truth values": ((WHOLE > 0).astype(object), WHOLE > 0),
    "numbers without fractions": (WHOLE.astype(float).astype(object), WHOLE.astype(float)),
    "of pandas": (pd.Series(WHOLE, dtype=object), WHOLE),
    "labels of a row": (np.stack([WHOLE > 0, WHOLE > 1], axis=1).astype(object), np.stack([WHOLE > 0, WHOLE > 1], 1)),
}


@pytest.mark.parametrize(("given", "plain"), TAKEN.values(), ids=TAKEN)
def test_numbers_in_an_array_of_objects_are_labels(given: Any, plain: np.ndarray) -> None:
    got, want = classifier().fit(X, given), classifier().fit(X, plain)
    answers = got.predict(X)
    np.testing.assert_array_equal(answers, want.predict(X))
    assert (answers.dtype, got.classes_.dtype) == (want.predict(X).dtype, want.classes_.dtype)
    assert got.score(X, given) == want.score(X, plain)
    got.set_params(early_stopping=True, scoring="accuracy").fit(X, given, X_val=X, y_val=given)
    assert got.best_validation_score_ >= 0
    if given.ndim == 1:
        classes = np.asarray(sorted(set(given.tolist())), dtype=object)
        calls = classifier().partial_fit(X, given, classes=classes).partial_fit(X, given)
        np.testing.assert_array_equal(calls.classes_, want.classes_)


MISSING: dict[str, Any] = {
    "None": np.asarray([None, *TEXT[1:]], dtype=object),
    "None in a list": [None, *TEXT[1:].tolist()],
    "None among numbers": np.asarray([None, *WHOLE[1:]], dtype=object),
    "NaN": np.asarray([np.nan, *TEXT[1:]], dtype=object),
    "pandas' NA": pd.Series(TEXT, dtype="string").mask(FIRST),
    "a category": pd.Series(TEXT).astype("category").mask(FIRST),
    "of polars": pl.Series([None, *TEXT[1:].tolist()]),
    "no date": pd.Series(pd.date_range("2020-01-01", periods=40)).mask(FIRST),
}
PLACES: dict[str, Callable[[Any], Any]] = {
    "y": lambda y: classifier().fit(X, y),
    "y of lbfgs": lambda y: classifier(solver="lbfgs").fit(X, y),
    "y of partial_fit": lambda y: classifier().partial_fit(X, y, classes=["ash", "birch", "cedar"]),
    "classes": lambda y: classifier().partial_fit(X, TEXT, classes=y),
    "y_val": lambda y: classifier().fit(X, TEXT, X_val=X, y_val=y),
    "y of score": lambda y: classifier().fit(X, TEXT).score(X, y),
    "y of check_gradients": lambda y: classifier().fit(X, TEXT).check_gradients(X, y),
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("y", MISSING.values(), ids=MISSING)
def test_missing_labels_are_called_missing(y: Any, place: str) -> None:
    message = f"^{place.split()[0]} has missing labels in 1 of 40 places, the first at 0: drop these rows, or give"
    with pytest.raises(cr.DataError, match=message):
        PLACES[place](y)


UNKNOWN: dict[str, tuple[Any, str]] = {
    "text and numbers": (
        np.asarray([1, *TEXT[1:].tolist()], dtype=object),
        "y holds int, str: expected text alone, or",
    ),
    "sets": (np.asarray([{1}] * 40, dtype=object), "y holds set: expected"),
    "days": (np.asarray([datetime.date(2020, 1, 1)] * 40, dtype=object), "y holds date: expected"),
    "fractions": (X[:, 0], "numbers with fractions"),
    "fractions as objects": (X[:, 0].astype(object), "numbers with fractions"),
}


@pytest.mark.parametrize(("y", "message"), UNKNOWN.values(), ids=UNKNOWN)
def test_what_is_no_label_is_refused_without_printing_it(y: Any, message: str) -> None:
    with pytest.raises(cr.DataError, match=f"^Unknown label type: .*{message}") as caught:
        classifier().fit(X, y)
    assert len(str(caught.value)) < 250


def test_complex_labels_are_refused_without_printing_them() -> None:
    with pytest.raises(cr.DataError, match=r"^Complex data not supported: y must hold labels, got complex128"):
        classifier().fit(X, WHOLE + 1j)


@pytest.mark.parametrize("go_on", ["partial_fit", "fit"])
def test_of_many_other_labels_some_are_printed(go_on: str) -> None:
    for other in (X[:, 0], np.arange(500)):
        estimator = classifier(warm_start=True, batch_size="auto").fit(X, WHOLE)
        with pytest.raises(ValueError, match=r"(not in `self.classes_`|same classes as)") as caught:
            getattr(estimator, go_on)(np.resize(X, (len(other), 2)), other)
        assert len(str(caught.value)) < 700


# ------------------------------------------------------------------------------------------------- what cannot be split


LONE = np.where(FIRST, "dog", "cat")


@pytest.mark.parametrize(
    ("settings", "y", "message"),
    [
        ({}, LONE, "of class 'dog' there is one row alone: add rows of it, give X_val and y_val, or"),
        ({}, ~FIRST, "of class False there is one row alone"),
        ({"scoring": "f1_macro"}, LONE, "of class 'dog' there is one row alone"),
        ({"validation_fraction": 0.0}, TEXT, r"validation_fraction of the rows out, which must be > 0, got 0\.0"),
        (
            {"validation_fraction": 0.99},
            TEXT,
            r"cannot hold out 0\.99 of 40 rows.*: choose another validation_fraction",
        ),
        ({"validation_fraction": 0.01}, np.zeros(40), "The validation set is too small"),
        ({"validation_fraction": 0.01}, TEXT != "ash", r"cannot hold out 0\.01 of 40 rows"),
    ],
    ids=["a lone one", "a lone truth value", "by a scorer", "nothing", "nearly all", "too small", "too small for two"],
)
def test_a_split_that_cannot_be_says_why(settings: dict[str, Any], y: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        classifier(early_stopping=True, **settings).fit(X, y)
    classifier(early_stopping=True, **settings).fit(X, y, X_val=X, y_val=y)


def test_a_regressor_holds_something_out_too() -> None:
    with pytest.raises(cr.ConfigurationError, match="must be > 0"):
        cr.MLPRegressor(early_stopping=True, validation_fraction=0.0).fit(X, X[:, 0])
