"""Labels as people have them: what is taken, and what is refused in a sentence that says what to do."""

from __future__ import annotations

import datetime
import decimal
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from conftest import find_library

import chainrule as cr

find_library("scikit-learn", "sklearn")
pd, pl, pa = (find_library(name) for name in ("pandas", "polars", "pyarrow"))

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X = np.random.default_rng(0).normal(size=(40, 2))
WHOLE = (X[:, 0] > 0).astype(int) + (X[:, 1] > 0.5)
TEXT = np.asarray(["ash", "birch", "cedar"])[WHOLE]
FIRST = np.arange(40) == 0
UNSIGNED = np.asarray([c + 2**63 if c else 0 for c in WHOLE.tolist()], dtype=np.uint64)


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


CODES = 2**53 + WHOLE  # three, of which float64 makes two
EXACT: dict[str, tuple[Any, np.ndarray]] = {
    **{
        f"codes as {dtype}": (pd.Series(CODES, dtype=dtype), CODES) for dtype in ("Int64", "int64[pyarrow]", "category")
    },
    "codes as UInt64": (pd.Series(CODES, dtype="UInt64"), CODES.astype(np.uint64)),
    "codes as an index": (pd.Index(CODES, dtype="Int64"), CODES),
    "codes as an extension array": (pd.array(CODES, dtype="Int64"), CODES),
    "codes in a frame": (pd.DataFrame({"y": pd.Series(CODES, dtype="Int64")}), CODES),
    "codes in a dict": ({"y": CODES}, CODES),
    "codes of polars": (pl.Series(CODES), CODES),
    "codes of polars in 128 bits": (pl.Series(CODES).cast(pl.Int128), CODES),
    "codes in a frame of polars": (pl.DataFrame({"y": CODES}), CODES),
    "codes of Arrow": (pa.chunked_array([CODES]), CODES),
    "codes in an Arrow table": (pa.table({"y": CODES}), CODES),
    "codes in a list": (CODES.tolist(), CODES),
    "codes as Decimal": (np.asarray([decimal.Decimal(int(c)) for c in CODES], dtype=object), CODES),
    "unsigned beside small in a list": ([c + 2**63 if c else 0 for c in WHOLE.tolist()], UNSIGNED),
    "unsigned beside small as objects": (UNSIGNED.astype(object), UNSIGNED),
    "small ones": (pd.Series(WHOLE, dtype="Int8"), WHOLE),
    "truth values": (pd.Series(WHOLE > 0, dtype="boolean"), WHOLE > 0),
    "truth values of Arrow": (pd.Series(WHOLE > 0, dtype="bool[pyarrow]"), WHOLE > 0),
    "plain short ones": (pd.Series(WHOLE.astype(np.int16)), WHOLE.astype(np.int16)),
}


@pytest.mark.filterwarnings("ignore:A column-vector y was passed")
@pytest.mark.parametrize(("given", "plain"), EXACT.values(), ids=EXACT)
def test_labels_are_taken_exactly_wherever_they_enter(given: Any, plain: np.ndarray) -> None:
    want = classifier(early_stopping=True, scoring="accuracy").fit(X, plain, X_val=X, y_val=plain)
    got = classifier(early_stopping=True, scoring="accuracy").fit(X, given, X_val=X, y_val=given)
    np.testing.assert_array_equal(got.classes_, want.classes_)
    assert got.classes_.dtype == want.classes_.dtype == got.predict(X).dtype
    assert len(got.classes_) == len(set(plain.tolist()))
    np.testing.assert_array_equal(got.predict(X), want.predict(X))
    assert got.score(X, given) == want.score(X, given) == want.score(X, plain) < 1
    assert got.validation_scores_ == want.validation_scores_
    in_calls = classifier().partial_fit(X, given, classes=given).partial_fit(X, given, X_val=X, y_val=given)
    np.testing.assert_array_equal(in_calls.classes_, want.classes_)
    weights = {label: 1.0 + i for i, label in enumerate(want.classes_.tolist())}
    for weight in (weights, "balanced"):
        weighed = [classifier(class_weight=weight).fit(X, y).coefs_[0] for y in (given, plain)]
        np.testing.assert_array_equal(*weighed)


def test_codes_of_another_type_than_the_classes_are_told_apart() -> None:
    fitted = classifier(solver="lbfgs", max_iter=300).fit(X, CODES.astype(np.uint64))
    assert fitted.score(X, CODES) == fitted.score(X, CODES.astype(np.uint64)) > 0.8
    calls = classifier().partial_fit(X, CODES, classes=sorted(set(CODES.tolist())))
    same = classifier().partial_fit(X, CODES.astype(np.uint64), classes=sorted(set(CODES.tolist())))
    np.testing.assert_array_equal(calls.coefs_[0], same.coefs_[0])
    with pytest.raises(ValueError, match=r"not in `self\.classes_`"):
        calls.partial_fit(X, (CODES + 1).astype(np.uint64))


def test_codes_come_back_exactly_where_a_library_has_no_such_numbers() -> None:
    jnp = find_library("jax", "jax.numpy")
    fitted = classifier(backend="jax", dtype="float32").fit(X, CODES)
    np.testing.assert_array_equal(np.asarray(fitted.predict(jnp.asarray(X))), fitted.predict(X))
    assert set(fitted.predict(X).tolist()) <= set(CODES.tolist())


NO_LABELS: dict[str, tuple[Any, str]] = {
    "beyond 64 bits": (np.asarray([2**70 + int(i) for i in WHOLE], dtype=object), "that no dtype holds exactly"),
    "beside a fraction": ([0.5, *CODES[1:].tolist()], "numbers that no dtype holds exactly"),
    "beside a fraction as objects": (np.asarray([0.5, *CODES[1:].tolist()], dtype=object), "that no dtype holds"),
    "beside text": (["ash", *WHOLE[1:].tolist()], r"y\w* holds int, str: expected text alone"),
    "lazy": (pl.DataFrame({"y": WHOLE}).lazy(), r"give its \.collect\(\)"),
    "records": (np.rec.fromarrays([WHOLE], names="y"), r"got records of \('y',\): give one of these fields"),
    "a set": ({1, 2}, r"got a set: give numpy\.asarray\(list\(y\w*\)\)"),
    "a generator": ((i for i in WHOLE), r"got a generator: give numpy\.asarray\(list\(y\w*\)\)"),
    "a word": ("ash", "must be labels, in an array, a column or a list, got a str"),
    "a number": (1, "must be labels, in an array, a column or a list, got a int"),
}


@pytest.mark.parametrize(("y", "message"), NO_LABELS.values(), ids=NO_LABELS)
@pytest.mark.parametrize("place", ["fit", "score", "y_val"])
def test_what_holds_no_labels_is_refused_by_its_kind(y: Any, message: str, place: str) -> None:
    fitted = classifier().fit(X, WHOLE)
    with pytest.raises(cr.DataError, match=message):
        fitted.fit(X, WHOLE, X_val=X, y_val=y) if place == "y_val" else getattr(fitted, place)(X, y)


MISSING: dict[str, Any] = {
    "None": np.asarray([None, *TEXT[1:]], dtype=object),
    "None in a list": [None, *TEXT[1:].tolist()],
    "None among numbers": np.asarray([None, *WHOLE[1:]], dtype=object),
    "NaN": np.asarray([np.nan, *TEXT[1:]], dtype=object),
    "NaN among numbers": np.where(FIRST, np.nan, WHOLE),
    "NaN in a list": [float("nan"), *WHOLE[1:].tolist()],
    "NA among whole numbers": pd.Series(WHOLE, dtype="Int64").mask(FIRST),
    "NA beside a code beyond 2^53": pd.Series(WHOLE + 2**53, dtype="Int64").mask(FIRST),
    "NA among truth values": pd.Series(WHOLE > 0, dtype="boolean").mask(FIRST),
    "null of Arrow": pd.Series(WHOLE, dtype="int64[pyarrow]").mask(FIRST),
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


@pytest.mark.filterwarnings("ignore:The number of unique classes")  # scikit-learn's, before 1.9
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


# ------------------------------------------------------------------------------ one label a row, and several labels


BOTH = np.stack([WHOLE > 0, X[:, 1] > 0], axis=1).astype(int)
ONE_EACH, COLUMNS = (
    r"y must have one label a row, \(rows,\), .* got shape \(40, 2\)",
    r"y must have a column of zeros and",
)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        (BOTH, WHOLE > 0, rf"{COLUMNS} ones for each of the 2 labels of the fit before, got shape \(40,\)"),
        (BOTH, np.hstack([BOTH, BOTH]) > 0, rf"{COLUMNS} .* got shape \(40, 4\)"),
        (WHOLE, BOTH, ONE_EACH),
        (WHOLE > 0, BOTH, ONE_EACH),
    ],
    ids=["one for several", "more", "several for one", "several for two classes"],
)
@pytest.mark.parametrize("way", ["partial_fit", "y_val", "check_gradients"])
def test_labels_of_another_form_are_called_that(before: Any, after: Any, message: str, way: str) -> None:
    estimator = classifier().fit(X, before)
    ways = {"y_val": lambda: estimator.fit(X, before, X_val=X, y_val=after)}
    with pytest.raises(cr.DataError, match=message):
        ways.get(way, lambda: getattr(estimator, way)(X, after))()
