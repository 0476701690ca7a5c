"""Class weights of estimators: sample weights by label, checked before training."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from conftest import find_library
from small_estimators import CLASSES, LABELS, WEIGHT, X, classifier, same, sparse, theta

import chainrule as cr

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["alone", "times sample_weight"])
def test_class_weights_are_sample_weights_by_label(weight: np.ndarray | None) -> None:
    labels = np.asarray(["ash", "birch", "cedar"])[CLASSES]
    by_class = np.asarray([1.0, 5.0, 0.5])[CLASSES]
    got = classifier(class_weight={"birch": 5.0, "cedar": 0.5}).fit(X, labels, weight)  # ash weighs 1
    want = classifier().fit(X, labels, by_class if weight is None else by_class * weight)
    assert same(got, want)
    assert not same(got, classifier().fit(X, labels, weight))


def test_balanced_class_weights_are_inverse_to_the_frequencies() -> None:
    by_class = 90 / (3 * np.bincount(CLASSES))
    got, want = classifier(class_weight="balanced").fit(X, CLASSES), classifier().fit(X, CLASSES, by_class[CLASSES])
    np.testing.assert_allclose(theta(got), theta(want), rtol=1e-12)
    assert not same(got, classifier().fit(X, CLASSES))


def test_partial_fit_takes_class_weights_by_label_and_refuses_balanced_ones() -> None:
    got, want = classifier(class_weight={0: 3.0}), classifier()
    got.partial_fit(X, CLASSES, classes=[0, 1, 2])
    want.partial_fit(X, CLASSES, np.where(CLASSES == 0, 3.0, 1.0), classes=[0, 1, 2])
    assert same(got, want)
    with pytest.raises(ValueError, match="balanced"):
        classifier(class_weight="balanced").partial_fit(X, CLASSES, classes=[0, 1, 2])


def test_partial_fit_takes_class_weights_where_a_weighed_class_is_not_among_the_rows() -> None:
    got, few = classifier(class_weight={0: 1.0, 2: 3.0}), CLASSES < 2
    got.partial_fit(X, CLASSES, classes=[0, 1, 2]).partial_fit(X[few], CLASSES[few])
    several = classifier(class_weight=[{1: 3.0}, {0: 2.0}]).partial_fit(X, LABELS, classes=[0, 1])
    several.partial_fit(X[few], np.zeros((few.sum(), 2)))


def test_class_weights_of_several_labels_a_row_are_multiplied() -> None:
    weight = np.where(LABELS[:, 0] == 1, 3.0, 1.0) * np.where(LABELS[:, 1] == 0, 0.5, 2.0)
    by_label = [{1: 3.0}, {0: 0.5, 1: 2}]
    want = classifier().fit(X, LABELS, weight)
    assert same(classifier(class_weight=by_label).fit(X, LABELS), want)
    assert same(classifier(class_weight=by_label).fit(X, sparse.csr_matrix(LABELS)), want)


@pytest.mark.parametrize("fit", ["adam", "lbfgs", "partial_fit"])
@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({1: -1}, "class_weight must be finite, >= 0 and not all 0, got -1 for class 1"),
        ({1: np.inf}, "class_weight must be finite, >= 0 and not all 0, got inf for class 1"),
        ({0: 2, 1: np.nan}, "class_weight must be finite, >= 0 and not all 0, got nan for class 1"),
        ({0: 0, 1: 0.0, 2: 0}, "class_weight must be finite, >= 0 and not all 0, got 0 for every class"),
        ({0: "abc"}, "class_weight of class 0 must be a number, got 'abc'"),
        ({0: None}, "class_weight of class 0 must be a number, got None"),
        ({0: np.timedelta64(1, "s")}, r"class_weight of class 0 must be a number, got np\.timedelta64\(1,'s'\)"),
        ({3: 1.0}, r"class_weight must name labels among \[0, 1, 2\], got \[3\] too"),
        ([{1: 1.0}] * 3, "class_weight must be a dict by label, or 'balanced'"),
    ],
    ids=str,
)
def test_class_weights_are_checked_before_training(given: Any, message: str, fit: str) -> None:
    solver = "lbfgs" if fit == "lbfgs" else "adam"
    estimator = classifier(class_weight=given, **({"batch_size": "auto"} if fit == "lbfgs" else {}), solver=solver)
    train = {"partial_fit": lambda: estimator.partial_fit(X, CLASSES, classes=[0, 1, 2])}
    with pytest.raises(cr.ConfigurationError, match=message):
        train.get(fit, lambda: estimator.fit(X, CLASSES))()


@pytest.mark.parametrize("fit", ["fit", "partial_fit"])
def test_class_weights_in_a_series_are_refused_by_their_kind(fit: str) -> None:
    series = find_library("pandas").Series([1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match="'class_weight' parameter of MLPClassifier must be an instance of 'dict'"):
        getattr(classifier(class_weight=series), fit)(X, CLASSES, **({} if fit == "fit" else {"classes": [0, 1, 2]}))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([{0: 1.0}, {1: -1.0}], "got -1 for class 1"),
        ([{0: 1.0}, {1: np.nan}], "got nan for class 1"),
        ([{0: 0, 1: 0}, {}], "got 0 for every class"),
        ([{0: "abc"}, {}], "class_weight of class 0 must be a number, got 'abc'"),
        ([{2: 1.0}, {}], r"labels among \[0, 1\], got \[2\] too"),
        ([{1: 1.0}], r"a list with a dict \{0: ..., 1: ...\} for each label"),
        ({1: 1.0}, r"a list with a dict \{0: ..., 1: ...\} for each label"),
    ],
    ids=str,
)
def test_so_are_those_of_several_labels_a_row(given: Any, message: str) -> None:
    with pytest.raises(cr.ConfigurationError, match=message):
        classifier(class_weight=given).fit(X, LABELS)


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_weights_that_leave_no_row_are_refused(solver: str) -> None:
    estimator = classifier(class_weight={0: 0.0}, solver=solver, batch_size="auto")
    with pytest.raises(cr.DataError, match="class_weight leaves every row the weight 0"):
        estimator.fit(X, CLASSES, CLASSES == 0)
    estimator.set_params(solver="adam").partial_fit(X, CLASSES, classes=[0, 1, 2])
    before = theta(estimator)
    np.testing.assert_array_equal(theta(estimator.partial_fit(X[CLASSES == 0], CLASSES[CLASSES == 0])), before)
