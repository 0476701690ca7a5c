"""Estimators in scikit-learn's ecosystem: cloned, searched, pickled, written by skops, routed."""

from __future__ import annotations

import copy
import importlib
import pickle
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from conftest import find_library
from side_by_side import COUNTS, DIGIT, DIGITS, NUMBER, NUMBERS, SEVERAL, TARGETS

import chainrule as cr

sklearn = find_library("scikit-learn", "sklearn")

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def test_it_is_cloned_searched_piped_pickled_and_shown() -> None:
    base, pipeline, selection, preprocessing = (
        importlib.import_module(f"sklearn.{name}") for name in ("base", "pipeline", "model_selection", "preprocessing")
    )
    pipe = pipeline.make_pipeline(preprocessing.StandardScaler(), cr.MLPClassifier(max_iter=3, random_state=0))
    grid = {"mlpclassifier__activation": ["relu", "logistic"], "mlpclassifier__dropout": [0.0, 0.3]}
    search = selection.GridSearchCV(pipe, grid, cv=2).fit(DIGITS, DIGIT)
    again = pickle.loads(pickle.dumps(search))
    np.testing.assert_array_equal(again.predict_proba(DIGITS), search.predict_proba(DIGITS))
    assert base.clone(search.best_estimator_[-1]).get_params() == search.best_estimator_[-1].get_params()
    assert "MLPClassifier" in search._repr_html_()
    assert repr(cr.MLPClassifier(alpha=1.0, dropout=0.5)) == "MLPClassifier(alpha=1.0, dropout=0.5)"


FITTED: dict[str, Callable[[], Any]] = {
    "a classifier": lambda: cr.MLPClassifier(max_iter=2, random_state=0).fit(DIGITS, np.where(DIGIT > 4, "a", "b")),
    "a regressor": lambda: cr.MLPRegressor(solver="lbfgs", max_iter=5).fit(NUMBERS, TARGETS),
    "with much of it": lambda: cr.MLPClassifier(
        max_iter=2, early_stopping=True, solver=cr.AdamW(cr.CosineDecay(1e-3, steps=90)), dropout=0.2,
        normalization="batch", activation=["gelu"], hidden_layer_sizes=(9,), random_state=0, class_weight={1: 2.0},
        clip=cr.ClipNorm(1.0),
    ).fit(DIGITS.astype("float32"), DIGIT),
    "by calls": lambda: cr.MLPRegressor(random_state=0).partial_fit(NUMBERS, NUMBER / 100.0),
    "of labels": lambda: cr.MLPClassifier(max_iter=2).fit(COUNTS, SEVERAL),
}  # fmt: skip


def parts_of(thing: Any) -> Iterator[Any]:
    """What a state is made of, as skops walks through it."""
    yield thing
    if isinstance(thing, dict):
        inner = list(thing.values())
    elif isinstance(thing, list | tuple):
        inner = list(thing)
    elif hasattr(thing, "__dict__") and type(thing).__module__.startswith("chainrule"):
        inner = [thing.__getstate__()]
    else:
        inner = []
    for part in inner:
        yield from parts_of(part)


@pytest.mark.parametrize("make", FITTED.values(), ids=FITTED)
def test_a_fitted_estimator_has_no_module_in_it(make: Callable[[], Any]) -> None:
    assert not [part for part in parts_of(make()) if isinstance(part, ModuleType)]


@pytest.mark.parametrize("make", FITTED.values(), ids=FITTED)
def test_skops_writes_and_reads_what_was_fitted(make: Callable[[], Any]) -> None:
    skops = find_library("skops", "skops.io")
    estimator = make()
    X = {64: DIGITS, 8: NUMBERS, 20: COUNTS}[estimator.n_features_in_]
    written = skops.dumps(importlib.import_module("sklearn.pipeline").make_pipeline("passthrough", estimator))
    back = skops.loads(written, trusted=skops.get_untrusted_types(data=written))[-1]
    np.testing.assert_array_equal(back.predict(X), estimator.predict(X))
    assert back.model_ == estimator.model_
    if estimator.solver != "lbfgs" and not hasattr(estimator, "classes_"):
        estimator.partial_fit(X, NUMBER), back.partial_fit(X, NUMBER)
        assert back.model_ == estimator.model_


BARE: dict[str, Callable[[], cr.Model]] = {
    "of arrays": lambda: cr.fit(cr.mlp([2, 4, 1]), COUNTS[:, :2], COUNTS[:, 2], loss="squared_error", epochs=1),
    "of a frame": lambda: cr.fit(
        cr.mlp([2, 4, 1], normalization="batch"),
        {"a": COUNTS[:, 0], "b": COUNTS[:, 1]},
        COUNTS[:, 2],
        loss="huber",
        epochs=1,
    ),
    "of labels": lambda: cr.MLPClassifier(max_iter=1).fit(COUNTS, np.where(COUNTS[:, 0] > 3, "a", "b")).model_,
}


@pytest.mark.parametrize("make", BARE.values(), ids=BARE)
def test_a_model_alone_is_copied_pickled_and_written_by_skops(make: Callable[[], cr.Model]) -> None:
    model = make()
    assert not [part for part in parts_of(model) if isinstance(part, ModuleType)]
    assert pickle.loads(pickle.dumps(model)) == copy.deepcopy(model) == model
    skops = find_library("skops", "skops.io")
    written = skops.dumps(model)
    assert skops.loads(written, trusted=skops.get_untrusted_types(data=written)) == model


def test_metadata_is_routed() -> None:
    pipeline, preprocessing = (importlib.import_module(f"sklearn.{name}") for name in ("pipeline", "preprocessing"))
    with sklearn_config(enable_metadata_routing=True):
        est = cr.MLPRegressor(max_iter=2, random_state=0).set_fit_request(X_val=True, y_val=True, sample_weight=True)
        scaler = preprocessing.StandardScaler().set_fit_request(sample_weight=False)
        pipe = pipeline.Pipeline([("s", scaler), ("m", est)], transform_input=["X_val"])
        pipe.fit(NUMBERS, NUMBER, X_val=NUMBERS[:50], y_val=NUMBER[:50], sample_weight=np.ones(330))
        assert len(pipe[-1].validation_loss_curve_) == 2
        scaled = preprocessing.StandardScaler().fit(NUMBERS).transform(NUMBERS[:50])
        assert pipe[-1].validation_scores_[-1] == pytest.approx(pipe[-1].score(scaled, NUMBER[:50]))


def sklearn_config(**settings: Any) -> Any:
    return importlib.import_module("sklearn").config_context(**settings)


def test_scikit_learn_is_imported_only_when_an_estimator_is_asked_for() -> None:
    asked = "chainrule.MLPClassifier; print('sklearn' in sys.modules)"
    script = f"import sys, chainrule; assert 'sklearn' not in sys.modules; {asked}"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "True"


def test_without_scikit_learn_the_name_says_what_to_install() -> None:
    script = (
        "import sys; sys.modules['sklearn'] = None\n"
        "import chainrule\n"
        "try: chainrule.MLPClassifier\n"
        "except chainrule.MissingExtraError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert "pip install 'chainrule[sklearn]'" in done.stdout


def test_weights_are_read_only_and_can_be_replaced() -> None:
    est = cr.MLPClassifier(max_iter=2, random_state=0).fit(DIGITS, DIGIT)
    other = cr.MLPClassifier(max_iter=2, random_state=1).fit(DIGITS, DIGIT)
    with pytest.raises(ValueError, match="read-only"):
        est.coefs_[0][0, 0] = 1.0
    est.coefs_, est.intercepts_ = other.coefs_, other.intercepts_
    np.testing.assert_array_equal(est.predict_proba(DIGITS), other.predict_proba(DIGITS))
    with pytest.raises(cr.DataError, match="expected arrays of shapes"):
        est.coefs_ = other.coefs_[:1]


def test_inputs_are_never_written() -> None:
    X, y, weight = DIGITS.copy(), DIGIT.copy(), np.ones(330)
    for array in (X, y, weight):
        array.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cr.MLPClassifier(max_iter=2, early_stopping=True).fit(X, y, sample_weight=weight).partial_fit(X, y)


def test_before_scikit_learn_1_9_only_its_callbacks_are_missing() -> None:
    script = (
        "import sys, sklearn.compose, sklearn.model_selection, chainrule as cr\n"
        "theirs = sys.modules.get('sklearn.callback'); sys.modules['sklearn.callback'] = None\n"
        "cr.MLPClassifier; sys.modules['sklearn.callback'] = theirs\n"  # which scikit-learn 1.9 itself needs
        "X, y = [[0.0], [1.0], [2.0], [3.0]], list('aabb')\n"
        "est = cr.MLPClassifier(max_iter=2).fit(X, y, [1.0, 2.0, 1.0, 1.0])\n"
        "print(len(est.predict(X)))\n"
        "for wrong in (lambda: est.set_callbacks(print), lambda: est.fit(X, y, [0.0] * 4)):\n"
        "    try: wrong()\n"
        "    except (cr.ChainruleError, ValueError) as error: print(error)"
    )
    command = [sys.executable, "-W", "ignore", "-c", script]
    said = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout.splitlines()
    assert said[0] == "4"
    assert said[1].startswith("set_callbacks needs scikit-learn 1.9 or newer")
    assert said[2] == "Sample weights must contain at least one non-zero number."
