"""Classes and feature names in a model's file: they come back whole, and other columns are refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule._model import serialization


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "hostile.safetensors"


def labelled(classes: Any = ("no", "yes"), outputs: int = 1) -> cr.Model:
    loss = "sigmoid_cross_entropy" if outputs == 1 else "softmax_cross_entropy"
    rows = np.random.default_rng(0).normal(size=(60, 2))
    model = cr.fit(cr.mlp([2, 4, outputs]), rows, (rows[:, 0] > 0).astype(int), loss=loss, optimizer=cr.Adam(0.1))
    return replace(model, classes=tuple(classes), feature_names=("width", "height"))


@pytest.mark.parametrize(
    ("classes", "outputs"),
    [(("no", "yes"), 1), ((3, 5), 1), ((False, True), 1), ((0.5, 2.0), 1), (("only",), 1), (("a", "b", "ü"), 3)],
)
def test_a_file_knows_the_classes_and_the_columns(classes: Any, outputs: int, path: Path) -> None:
    model = labelled(classes, outputs)
    model.save(path)
    again = cr.load(path)
    assert again == model
    assert (again.classes, again.feature_names) == (classes, ("width", "height"))
    assert [type(label) for label in again.classes] == [type(label) for label in classes]
    X = np.random.default_rng(1).normal(size=(20, 2))
    answers, indices = again.predict(X), replace(again, classes=()).predict(X)
    assert answers.tolist() == [classes[min(i, len(classes) - 1)] for i in indices]
    if len(classes) > 1:
        assert again.evaluate(X, answers)["accuracy"] == 1.0
        further = cr.fit(again, X, answers, epochs=1)
        assert (further.classes, further.feature_names) == (classes, ("width", "height"))
        np.testing.assert_array_equal(further.theta, cr.fit(replace(again, classes=()), X, indices, epochs=1).theta)
    with pytest.raises(cr.DataError, match=r"y must hold the model's classes .* got 'zzz' too"):
        again.evaluate(X, ["zzz"] * 20)
    batches = [(X, answers)]
    assert cr.fit(again, batches, epochs=2) == cr.fit(again, X, answers, shuffle=False, batch_size=20, epochs=2)


def test_answers_of_numbers_come_in_the_library_of_the_question() -> None:
    torch, model = pytest.importorskip("torch"), labelled((3, 5))
    answers = model.predict(torch.asarray([[9.0, 0], [-9, 0]]))
    assert torch.equal(answers, torch.asarray([5, 3]))
    X, y = torch.asarray([[9.0, 0], [-9, 0]]), torch.asarray([5, 3])
    assert model.evaluate(X, y)["accuracy"] == model.evaluate(X.numpy(), y.numpy())["accuracy"] == 1.0
    assert cr.fit(model.to("torch"), X, y, epochs=1).classes == (3, 5)


@pytest.mark.parametrize("classes", [(10**10, 10**10 + 1), (0.1, 2.0**24 + 1)])
def test_labels_that_a_library_cannot_hold_come_in_numpy(classes: Any) -> None:
    numpy, model = pytest.importorskip("jax.numpy"), labelled(classes)
    assert model.predict(numpy.asarray([[9.0, 0], [-9, 0]])).tolist() == [classes[1], classes[0]]


@pytest.mark.parametrize(
    "classes",
    [("k", "k\0"), (1, 2**63), (2**53 + 1, 2**64 - 1), (-1, 2**62), ("a", 10**5 * "b")],
    ids=["NUL", "uint64", "beyond 2^53", "int64", "long"],
)
def test_labels_come_back_whole(classes: Any, path: Path) -> None:
    labelled(classes).save(path)
    model, X = cr.load(path), np.asarray([[9.0, 0], [-9, 0]])
    answers = model.predict(X).tolist()
    assert sorted(answers) == list(classes)
    assert [type(label) for label in answers] == [type(classes[0])] * 2
    assert model.evaluate(X, answers)["accuracy"] == 1.0
    assert model.evaluate(X, answers[::-1])["accuracy"] == 0.0


def test_a_column_of_labels_is_labels() -> None:
    model, X = labelled((1, 0)), np.asarray([[9.0, 0], [-9, 0]])
    y = model.predict(X)
    assert y.tolist() == [0, 1]
    assert model.evaluate(X, y.reshape(-1, 1)) == model.evaluate(X, y)


def test_a_frame_with_other_columns_is_refused() -> None:
    pandas, model = pytest.importorskip("pandas"), labelled()
    frame = pandas.DataFrame({"width": [1.0, -2.0], "height": [0.0, 1.0]})
    assert model.predict(frame).tolist() == model.predict(frame.to_numpy()).tolist()
    with pytest.raises(cr.DataError, match="columns width, height in this order, it has them in another order"):
        model.predict(frame[["height", "width"]])
    with pytest.raises(cr.DataError, match="in this order, it has depth too: give them"):
        model.predict(frame.assign(depth=1.0))
    with pytest.raises(cr.DataError, match="it lacks height"):
        model.predict(frame.rename(columns={"height": "depth"}))


NAMES: dict[str, list[Any]] = {
    "classes": [
        *([], ["no"] * 2, ["a", "b", "c"], [1, "b"], [1, True], [1.5, float("inf")], [float("nan"), 1.0], [None, 1]),
        *([["no"], ["yes"]], [{}, "a"], "no", {"no": 1}, None, 3, True),
    ],
    "feature_names": [
        [],
        ["a"],
        ["a", "a"],
        ["a", 1],
        [1, 2],
        ["a", "b", "c"],
        [None, "b"],
        "ab",
        {"a": 1, "b": 2},
        None,
    ],
}


@pytest.mark.parametrize(("field", "value"), [(field, value) for field, values in NAMES.items() for value in values])
def test_classes_and_names_that_cannot_be_are_refused(field: str, value: Any, path: Path) -> None:
    model = labelled()
    numbers = {name: np.asarray(getattr(model, name)) for name in ("theta", "buffers")}
    serialization.write(path, numbers, {**model.description(), field: value})
    with pytest.raises(cr.ModelFileError, match=r"classes|feature names|cannot be"):
        cr.load(path)


def test_classes_that_a_file_cannot_hold_are_refused(path: Path) -> None:
    model = labelled((np.datetime64("2026-01-01"), np.datetime64("2026-01-02")))
    with pytest.raises(
        cr.ConfigurationError, match=r"text, truth values or numbers below 2\*\*64, got datetime64: .*astype\(str\)"
    ):
        model.save(path)
    assert "classes" not in model.description(lenient=True)


def test_an_estimators_file_answers_like_the_estimator(path: Path) -> None:
    pandas, iris = pytest.importorskip("pandas"), pytest.importorskip("sklearn.datasets").load_iris
    X, y = iris(return_X_y=True, as_frame=True)
    y = pandas.Series(np.asarray(["setosa", "versicolor", "virginica"])[y])
    for targets in (y, y == "setosa", pandas.Series(np.where(y == "setosa", 7, 9))):
        clf = cr.MLPClassifier(hidden_layer_sizes=(8,), max_iter=500, alpha=1.0, random_state=0, solver="lbfgs").fit(
            X, targets
        )
        clf.model_.save(path)
        model = cr.load(path)
        np.testing.assert_array_equal(model.predict(X), clf.predict(X))
        assert model.feature_names == tuple(X.columns)
        assert list(model.classes) == clf.classes_.tolist()


def test_columns_in_another_order_are_refused_wherever_they_come_from(tmp_path: Path) -> None:
    pandas, pa = pytest.importorskip("pandas"), pytest.importorskip("pyarrow")
    model = labelled()
    frame = pandas.DataFrame({"height": [1.0, -2.0], "width": [0.0, 1.0]})
    frame.to_parquet(tmp_path / "x.parquet")
    calls: list[Callable[[], Any]] = [
        lambda: model.predict(cr.Parquet(tmp_path / "x.parquet")),
        lambda: model.predict(tmp_path / "x.parquet"),
        lambda: model.evaluate(frame, ["no", "yes"]),
        lambda: cr.fit(model, frame, ["no", "yes"]),
        lambda: model.predict(pa.table({"height": [1.0], "width": [2.0]})),
    ]
    for call in calls:
        with pytest.raises(cr.DataError, match="in another order"):
            call()
    right = cr.Parquet(tmp_path / "x.parquet", columns=["width", "height"])
    assert model.predict(right).tolist() == model.predict(frame[["width", "height"]]).tolist()


def test_dates_as_labels_are_not_saved_as_numbers(path: Path) -> None:
    X = np.random.default_rng(0).normal(size=(40, 2))
    days = np.asarray(["2026-01-01", "2026-01-02"], "datetime64[ns]")[(X[:, 0] > 0).astype(int)]
    clf = cr.MLPClassifier(hidden_layer_sizes=(4,), max_iter=200, solver="lbfgs", alpha=1.0, random_state=0).fit(
        X, days
    )
    assert clf.predict(X).dtype == days.dtype
    with pytest.raises(cr.ConfigurationError, match="got datetime64"):
        clf.model_.save(path)
