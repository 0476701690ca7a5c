"""``validation=0.2`` holds out a fifth of the rows: what a split by hand would have held out, bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from conftest import Platform

import chainrule as cr
from chainrule._data.frames import read_columns
from chainrule.tables import Preprocessing, Table, split

RNG = np.random.default_rng(11)
X = RNG.normal(size=(60, 3)).astype(np.float32)
CLASSES = np.digitize(X[:, 0], [-1.2, 0.9])  # some rows of the outer ones
NUMBERS = X @ np.asarray([1.0, -2.0, 0.5], np.float32)
WEIGHT = RNG.uniform(0.5, 2.0, 60).astype(np.float32)
USUAL: dict[str, Any] = {"epochs": 3, "batch_size": 8, "seed": 5, "validation": 0.2}


def classify(X: Any = X, y: Any = CLASSES, **changed: Any) -> cr.Model:
    return cr.fit(cr.mlp([3, 5, 3], dropout=0.1), X, y, **{"loss": "softmax_cross_entropy", **USUAL, **changed})


def by_hand(y: Any = CLASSES, stratify: bool = True, seed: int = 5) -> tuple[np.ndarray, np.ndarray]:
    return split(60, y, fraction=0.2, seed=seed, stratify=stratify, part="validation")


def same(got: cr.Model, want: cr.Model) -> bool:
    """The same numbers and the same history, but for the time it took."""
    untimed = ([{**record, "seconds": 0} for record in model.history] for model in (got, want))
    first, second = untimed
    return bool(np.array_equal(got.backend.to_numpy(got.theta), want.backend.to_numpy(want.theta))) and first == second


@pytest.mark.parametrize("id", ["numpy", "torch", "jax-jit", "strictest-float32", "cupy-stand-in"])
def test_it_is_the_split_by_hand_on_every_backend(id: str, open_platform: Callable[..., Platform]) -> None:
    place = open_platform(id).array
    rest, out = by_hand()
    got = classify(place(X), place(CLASSES), sample_weight=place(WEIGHT))
    part = [[place(each[rows]) for each in (X, CLASSES, WEIGHT)] for rows in (rest, out)]
    want = classify(*part[0][:2], sample_weight=part[0][2], validation=part[1])
    assert same(got, want)
    assert np.isfinite(got.history["val_accuracy"]).all()


FORMS: dict[str, Callable[[], tuple[Any, Any]]] = {
    "lists": lambda: (X.tolist(), CLASSES.tolist()),
    "pandas": lambda: (
        pd.DataFrame(X, columns=list("abc"), index=range(9, 69)),
        pd.Series(CLASSES, index=range(9, 69)),
    ),
    "polars": lambda: (pl.DataFrame(X, schema=list("abc")), pl.Series(CLASSES)),
    "arrow": lambda: (pa.table(dict(zip("abc", X.T, strict=True))), pa.array(CLASSES)),
    "a dict of columns": lambda: (dict(zip("abc", X.T, strict=True)), CLASSES),
    "objects": lambda: (X.astype(object), CLASSES.astype(object)),
    "a column of y": lambda: (X, CLASSES[:, None]),
}


@pytest.mark.parametrize("form", FORMS)
def test_rows_of_every_form_are_held_out(form: str) -> None:
    x, y = FORMS[form]()
    got, want = classify(x, y), classify()
    assert same(got, want)
    assert got.feature_names == (tuple("abc") if form in ("pandas", "polars", "arrow", "a dict of columns") else ())
    assert got.flat == (form != "a column of y")


def test_every_class_gives_its_share() -> None:
    rest, out = by_hand()
    assert sorted([*rest, *out]) == list(range(60))
    shares = np.bincount(CLASSES[out]) / np.bincount(CLASSES)
    np.testing.assert_allclose(shares, 0.2, atol=0.1)


LOGISTIC = "sigmoid_cross_entropy"
OTHER_TARGETS: dict[str, tuple[str, np.ndarray, bool]] = {
    "numbers": ("squared_error", NUMBERS, False),
    "one label": (LOGISTIC, (X[:, :1] > 0) * 1.0, True),
    "several labels": (LOGISTIC, (X > 0) * 1.0, False),
    "chances": (LOGISTIC, 1 / (1 + np.exp(NUMBERS)), False),
}


@pytest.mark.parametrize("what", OTHER_TARGETS)
def test_only_what_has_a_class_a_row_is_stratified(what: str) -> None:
    loss, y, stratified = OTHER_TARGETS[what]
    rest, out = by_hand(y.ravel() if stratified else None, stratify=stratified)
    network = cr.mlp([3, 4, 3 if what == "several labels" else 1])
    got = cr.fit(network, X, y, loss=loss, **USUAL)
    assert same(got, cr.fit(network, X[rest], y[rest], loss=loss, **USUAL | {"validation": (X[out], y[out])}))


def test_the_seed_draws_the_rows() -> None:
    assert same(classify(), classify())
    assert set(by_hand(seed=5)[1]) != set(by_hand(seed=6)[1])
    rest, out = by_hand(seed=6)
    assert same(classify(seed=6), classify(X[rest], CLASSES[rest], validation=(X[out], CLASSES[out]), seed=6))


def test_a_resumed_training_holds_out_the_same_rows(tmp_path: Path) -> None:
    checkpoint = cr.Checkpoint(tmp_path, resume=True)
    classify(checkpoint=checkpoint)
    assert same(classify(epochs=5, checkpoint=checkpoint), classify(epochs=5))
    with pytest.raises(cr.ConfigurationError, match="data is not the same"):
        classify(epochs=6, validation=0.3, checkpoint=checkpoint)


def test_labels_and_tables_are_held_out_as_they_are() -> None:
    frame, labels = pd.DataFrame(X, columns=list("abc")), np.asarray(["low", "middle", "high"])[CLASSES]
    frame["town"] = np.where(X[:, 1] > 0, "Oslo", "Rome")
    table = Table(read_columns(frame), labels.astype(object), "y", "frame")
    prepared = Preprocessing.learn(table)
    network, settings = cr.mlp([prepared.n_features, 5, 3]), {"loss": "softmax_cross_entropy", **USUAL}
    got = cr.fit(network, frame, labels, preprocessing=prepared, **settings)
    rest, out = by_hand(prepared.targets(table))
    settings["validation"] = (frame.iloc[out], labels[out])
    want = cr.fit(network, frame.iloc[rest], labels[rest], preprocessing=prepared, **settings)
    assert same(got, want)
    assert same(cr.fit(got, frame, labels, **USUAL), cr.fit(want, frame.iloc[rest], labels[rest], **USUAL | {
        "validation": (frame.iloc[out], labels[out])
    }))  # fmt: skip


REFUSED: dict[str, tuple[Callable[[Path], Any], str]] = {
    "all": (lambda path: classify(validation=1), r"a share of the rows above 0 and below 1, got 1\."),
    "none": (lambda path: classify(validation=0.0), r"above 0 and below 1, got 0\.0\."),
    "negative": (lambda path: classify(validation=-0.2), r"got -0\.2\."),
    "NaN": (lambda path: classify(validation=float("nan")), r"got nan\."),
    "a truth value": (lambda path: classify(validation=True), r"validation must be \(X, y\) .*, got True\."),
    "a file": (lambda path: classify(path), r"X is not in memory: give a set of your own, validation=\(X_val, y_val\)"),
    "a memory map": (lambda path: classify(np.load(path, mmap_mode="r")), "X is not in memory"),
    "batches": (
        lambda path: classify([(X, CLASSES)], None, batch_size=None), "holds out some of all rows, and X is an it"
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_held_out_is_refused_in_one_sentence(what: str, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", X)
    call, says = REFUSED[what]
    with pytest.raises(cr.ConfigurationError, match=says):
        call(tmp_path / "x.npy")


def test_one_row_cannot_be_parted() -> None:
    with pytest.raises(cr.DataError, match="holding out rows for the validation part needs at least 2 rows, got 1"):
        cr.fit(cr.mlp([3, 1]), X[:1], NUMBERS[:1], loss="squared_error", validation=0.5)


def test_what_is_wrong_with_a_row_is_said_with_its_number_in_x() -> None:
    x = X.copy()
    x[[17, 41]] = np.nan
    with pytest.raises(cr.DataError, match=r"X holds NaN or infinity in float32 in 2 of 60 rows \(17, 41\)"):
        classify(x)
    with pytest.raises(cr.DataError, match="must have the same number of rows, got 60 and 59"):
        classify(y=CLASSES[:-1])
    with pytest.raises(cr.DTypeError, match="text"):
        classify(y=np.asarray(["a", "b", "c"])[CLASSES])
