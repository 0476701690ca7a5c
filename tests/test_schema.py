"""A model knows what it was trained on, and answers in it: columns, labels, the target's unit."""

from __future__ import annotations

import csv
import io
import warnings
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.cli import main
from chainrule.tables import Preprocessing, Table, read_table

pandas = pytest.importorskip("pandas")
polars = pytest.importorskip("polars")
arrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")

POSITIONS = "has no column names"


def houses(rows: int = 240, seed: int = 0) -> Any:
    draw = np.random.default_rng(seed)
    frame = pandas.DataFrame(
        {
            "area": draw.integers(30, 200, rows).astype(float),
            "age": draw.integers(0, 90, rows),
            "city": draw.choice(["Oslo", "Rome", "Lima"], rows),
            "new": draw.random(rows) < 0.5,
        }
    )
    worth = {"Oslo": 90_000, "Rome": 20_000, "Lima": 0}
    frame["price"] = 2000.0 * frame.area - 1500.0 * frame.age + frame.city.map(worth) + 50_000
    frame["size"] = np.where(frame.area > 110, "big", "small")
    return frame


FEATURES = ["area", "age", "city", "new"]


def trained(folder: Path, target: str) -> cr.Model:
    """What the command line trains, loaded."""
    frame = houses()[[*FEATURES, target]]
    frame.to_csv(folder / "houses.csv", index=False)
    code = main(
        [
            "train",
            str(folder / "houses.csv"),
            "--target",
            target,
            "--epochs",
            "25",
            "--out",
            str(folder / "run"),
            "--hidden",
            "16",
            "--dropout",
            "0",
            "--learning-rate",
            "0.02",
            "--quiet",
        ]
    )
    assert code == 0
    return cr.load(folder / "run" / "model.safetensors")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("houses")


@pytest.fixture(scope="module")
def regressor(folder: Path) -> cr.Model:
    (folder / "price").mkdir()
    return trained(folder / "price", "price")


@pytest.fixture(scope="module")
def classifier(folder: Path) -> cr.Model:
    (folder / "size").mkdir()
    return trained(folder / "size", "size")


def told_by_the_command_line(folder: Path, frame: Any) -> list[str]:
    frame.to_csv(folder / "new.csv", index=False)
    with redirect_stdout(io.StringIO()) as out:
        assert main(["predict", str(folder / "run" / "model.safetensors"), str(folder / "new.csv")]) == 0
    return [row[0] for row in csv.reader(io.StringIO(out.getvalue()))][1:]


def in_many_forms(frame: Any, folder: Path) -> dict[str, Any]:
    frame.to_csv(folder / "new.csv", index=False)
    frame.to_parquet(folder / "new.parquet")
    return {
        "pandas": frame,
        "other order": frame[frame.columns[::-1]],
        "nullable": frame.convert_dtypes(),
        "arrow dtypes": frame.convert_dtypes(dtype_backend="pyarrow"),
        "categories": frame.astype({"city": "category"}),
        "polars": polars.from_pandas(frame),
        "arrow": arrow.Table.from_pandas(frame),
        "dict": {name: frame[name].to_numpy() for name in frame},
        "dict of lists": {name: frame[name].tolist() for name in frame},
        "csv": folder / "new.csv",
        "parquet": str(folder / "new.parquet"),
        "table": read_table(folder / "new.csv"),
    }


def test_a_model_of_a_table_answers_as_the_command_line_does(
    folder: Path, regressor: cr.Model, classifier: cr.Model
) -> None:
    frame = houses(40, seed=1)[FEATURES]
    prices = np.asarray(told_by_the_command_line(folder / "price", frame), float)
    sizes = told_by_the_command_line(folder / "size", frame)
    assert prices.std() > 10_000
    for form, X in in_many_forms(frame, folder).items():
        np.testing.assert_allclose(regressor.predict(X), prices, rtol=1e-9, err_msg=form)
        assert classifier.predict(X).tolist() == sizes, form
        assert classifier.predict_proba(X).shape == (40, 2)


def test_it_is_right(regressor: cr.Model, classifier: cr.Model) -> None:
    frame = houses(100, seed=2)
    X = frame[FEATURES]
    scores = regressor.evaluate(X, frame["price"], metrics=["r2", "rmse", "mae", "mse"])
    errors = regressor.predict(X) - frame["price"].to_numpy()
    assert scores["r2"] > 0.9
    assert scores["rmse"] == pytest.approx(np.sqrt(np.mean(errors**2)), rel=1e-4)
    assert scores["mae"] == pytest.approx(np.mean(np.abs(errors)), rel=1e-4)
    assert scores["mse"] == pytest.approx(np.mean(errors**2), rel=1e-4)
    right = np.mean(classifier.predict(X) == frame["size"].to_numpy())
    assert classifier.evaluate(X, frame["size"])["accuracy"] == pytest.approx(right)
    assert right > 0.9


def test_it_knows_its_columns_and_classes(regressor: cr.Model, classifier: cr.Model) -> None:
    assert classifier.classes == ("big", "small")
    assert regressor.classes == ()
    assert classifier.feature_names == regressor.feature_names == tuple(FEATURES)


def test_metrics_of_ones_own_see_labels_and_units(regressor: cr.Model, classifier: cr.Model) -> None:
    frame, seen = houses(30, seed=3), []

    def watch(y: np.ndarray, predictions: np.ndarray) -> float:
        seen.append((y, predictions))
        return 0.0

    classifier.evaluate(frame[FEATURES], frame["size"], metrics=[watch])
    regressor.evaluate(frame[FEATURES], frame["price"], metrics=[watch])
    assert seen[0][0].tolist() == frame["size"].tolist()
    assert set(seen[0][1]) <= {"big", "small"}
    np.testing.assert_allclose(seen[1][0], frame["price"], rtol=1e-5)
    assert seen[1][1].mean() > 10_000


def test_an_array_is_the_raw_columns_and_that_is_said(folder: Path) -> None:
    frame = houses()[["area", "age", "price"]]
    table = save_and_read(frame, folder / "numbers.csv", "price")
    prepared = Preprocessing.learn(table)
    model = cr.fit(cr.mlp([2, 8, 1]), table, table.target, loss="squared_error", epochs=5, preprocessing=prepared)
    X = frame[["area", "age"]]
    want = model.predict(X)
    for array in (X.to_numpy(), X.to_numpy().tolist(), X.to_numpy("f4")):
        with pytest.warns(UserWarning, match=POSITIONS):
            np.testing.assert_allclose(model.predict(array), want, rtol=1e-5)
    np.save(folder / "numbers.npy", X.to_numpy())
    with pytest.warns(UserWarning, match=POSITIONS):
        np.testing.assert_allclose(model.predict(folder / "numbers.npy"), want, rtol=1e-5)
    with pytest.raises(cr.DataError, match=r"shape \(rows, 2\)"):
        model.predict(np.zeros((3, 3)))


def test_what_is_said_of_columns_by_position_points_to_the_line_that_trains(folder: Path) -> None:
    frame = houses()[["area", "age", "price"]]
    prepared = Preprocessing.learn(save_and_read(frame, folder / "numbers.csv", "price"))
    X, y = frame[["area", "age"]].to_numpy(), frame["price"].to_numpy()
    settings: dict[str, Any] = {"loss": "squared_error", "epochs": 1, "preprocessing": prepared}
    with pytest.warns(UserWarning, match=POSITIONS) as seen:
        cr.fit(cr.mlp([2, 1]), X, y, validation=(X, y), **settings)
    assert [warning.filename for warning in seen] == [__file__, __file__]


@pytest.mark.parametrize("name", ["torch", "jax"])
def test_raw_columns_of_another_library_are_answered_in_it(name: str, folder: Path) -> None:
    library = pytest.importorskip(name)
    frame = houses()[["area", "age", "price"]]
    table = save_and_read(frame, folder / "numbers.csv", "price")
    prepared = Preprocessing.learn(table)
    model = cr.fit(cr.mlp([2, 8, 1]), table, table.target, loss="squared_error", epochs=5, preprocessing=prepared)
    X = frame[["area", "age"]].to_numpy("f4")
    given = library.asarray(X) if name == "torch" else library.numpy.asarray(X)
    with pytest.warns(UserWarning, match=POSITIONS):
        answers = model.predict(given)
    assert type(answers) is type(given)
    np.testing.assert_allclose(np.asarray(answers), model.predict(frame[["area", "age"]]), rtol=1e-5, atol=0.5)


def save_and_read(frame: Any, path: Path, target: str) -> Any:
    frame.to_csv(path, index=False)
    return read_table(path, target=target)


def test_without_preprocessing_is_the_network_behind(classifier: cr.Model) -> None:
    frame = houses(20, seed=4)
    assert classifier.preprocessing is not None
    behind = classifier.without_preprocessing()
    x = classifier.schema.inputs(frame[FEATURES])
    assert (behind.classes, behind.feature_names, behind.preprocessing) == ((), (), None)
    np.testing.assert_array_equal(
        np.asarray(classifier.classes)[behind.predict(x)], classifier.predict(frame[FEATURES])
    )
    np.testing.assert_array_equal(behind.predict_proba(x), classifier.predict_proba(frame[FEATURES]))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda f: f.drop(columns="age"), "lacks 1 of the 4 columns.*'age'"),
        (lambda f: f.rename(columns={"age": "years"}), "lacks 1 of the 4 columns.*'age'"),
        (lambda f: f.assign(rooms=3), "not trained on: 'rooms'"),
        (lambda f: f.assign(age="old"), "has text where the model was trained on numbers: 'age'"),
        (lambda f: f.assign(age=np.where(f.index == 3, np.nan, f.age)), "missing values: 'age'"),
        (lambda f: f.assign(city="Bergen"), "categories that training never saw: 'city'"),
        (lambda f: f.iloc[:0], "is empty"),
    ],
)
def test_what_it_cannot_take_it_refuses(classifier: cr.Model, change: Any, said: str) -> None:
    frame = houses(20, seed=5)
    X = change(frame[FEATURES])
    for call in (classifier.predict, classifier.predict_proba, lambda X: classifier.evaluate(X, frame["size"])):
        with pytest.raises(cr.ChainruleError, match=said):
            call(X)


def test_targets_that_it_does_not_know_are_refused(regressor: cr.Model, classifier: cr.Model) -> None:
    frame = houses(20, seed=5)
    for y in (np.zeros(20, int), frame["size"].replace("big", "huge"), frame["size"].where(frame.index != 2)):
        with pytest.raises(cr.ChainruleError, match="size"):
            classifier.evaluate(frame[FEATURES], y)
    with pytest.raises(cr.ChainruleError, match="price"):
        regressor.evaluate(frame[FEATURES], frame["size"])


def test_it_is_trained_further_on_what_it_was_trained_on(folder: Path, classifier: cr.Model) -> None:
    frame, check = houses(300, seed=6), houses(60, seed=7)
    further = cr.fit(
        classifier,
        frame[FEATURES],
        frame["size"],
        validation=(check[FEATURES], check["size"]),
        epochs=3,
        metrics=["accuracy"],
    )
    assert further.preprocessing == classifier.preprocessing
    assert further.history["val_accuracy"][-1] > 0.9
    assert further.evaluate(check[FEATURES], check["size"])["accuracy"] > 0.9
    further.save(folder / "further.safetensors")
    out = io.StringIO()
    frame[FEATURES].to_csv(folder / "frame.csv", index=False)
    with redirect_stdout(out):
        assert main(["predict", str(folder / "further.safetensors"), str(folder / "frame.csv")]) == 0
    right = np.mean(np.asarray(out.getvalue().split()[1:]) == frame["size"].to_numpy())
    assert right > 0.9


def test_a_file_of_a_table_is_the_table(folder: Path, classifier: cr.Model) -> None:
    frame = houses(60, seed=10)
    want = cr.fit(classifier, frame[FEATURES], frame["size"], epochs=1)
    frame[FEATURES].to_csv(folder / "further.csv", index=False)
    frame[FEATURES].to_parquet(folder / "further.parquet")
    for path in (folder / "further.csv", folder / "further.parquet"):
        assert cr.fit(classifier, path, frame["size"], epochs=1) == want
        assert classifier.evaluate(path, frame["size"]) == classifier.evaluate(frame[FEATURES], frame["size"])


def test_batches_of_tables_are_the_tables(classifier: cr.Model) -> None:
    frame = houses(128, seed=8)
    parts = [frame.iloc[i : i + 32] for i in range(0, 128, 32)]
    loader = [(part[FEATURES], part["size"]) for part in parts]
    whole = cr.fit(classifier, frame[FEATURES], frame["size"], batch_size=32, shuffle=False, epochs=2)
    assert cr.fit(classifier, loader, epochs=2) == whole
    answers = whole.predict(part[FEATURES] for part in parts)
    assert answers.tolist() == whole.predict(frame[FEATURES]).tolist()


def test_a_validation_row_of_an_unseen_category_is_said(classifier: cr.Model) -> None:
    frame = houses(40, seed=9)
    strange = frame[FEATURES].assign(city="Bergen")
    with pytest.warns(UserWarning, match="never saw, taken as none: 'city': 'Bergen'"):
        cr.fit(classifier, frame[FEATURES], frame["size"], validation=(strange, frame["size"]), epochs=1)
    with pytest.raises(cr.DataError, match="Bergen"):
        cr.fit(classifier, strange, frame["size"], epochs=1)


def test_a_checkpoint_of_a_table_is_a_model_of_the_table(folder: Path, classifier: cr.Model) -> None:
    best = cr.load(folder / "size" / "run" / "checkpoints" / "best.safetensors")
    assert best.preprocessing == classifier.preprocessing
    assert set(best.predict(houses(9, seed=1)[FEATURES])) <= {"big", "small"}


def test_a_preprocessing_that_does_not_fit_is_refused(folder: Path, classifier: cr.Model) -> None:
    table = save_and_read(houses()[[*FEATURES, "size"]], folder / "t.csv", "size")
    prepared = Preprocessing.learn(table)
    for network, given, said in (
        (cr.mlp([4, 2]), prepared, "makes 6 columns"),
        (classifier, prepared, "knows its data already"),
        (cr.mlp([6, 2]), "median", "must be a chainrule.tables.Preprocessing"),
    ):
        loss = None if isinstance(network, cr.Model) else "softmax_cross_entropy"
        with pytest.raises(cr.ConfigurationError, match=said):
            cr.fit(network, table, table.target, loss=loss, preprocessing=given)


# --- names without preprocessing --------------------------------------------------------------------------------------


def named(kind: str, X: np.ndarray, names: list[str], folder: Path) -> Any:
    frame = pandas.DataFrame(X, columns=names)
    if kind == "polars":
        return polars.from_pandas(frame)
    if kind == "arrow":
        return arrow.Table.from_pandas(frame)
    if kind == "dict":
        return {name: X[:, i] for i, name in enumerate(names)}
    if kind == "Parquet":
        path = folder / f"{'-'.join(names)}-{len(X)}.parquet"
        frame.to_parquet(path)
        return cr.Parquet(path)
    return frame


KINDS = ["pandas", "polars", "arrow", "dict", "Parquet"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_remembers_the_names_of_its_columns(kind: str, tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    X = draw.normal(size=(120, 4)).astype("f4")
    y = (X[:, 0] + 0.5 * X[:, 1] > 0).astype(int)
    given = named(kind, X, list("abcd"), tmp_path)
    loss = {"loss": "softmax_cross_entropy", "epochs": 2}
    model = cr.fit(cr.mlp([4, 8, 2]), given, y, **loss)
    assert model.feature_names == tuple("abcd")
    model.save(tmp_path / "m.safetensors")
    model = cr.load(tmp_path / "m.safetensors")
    want = model.predict(X)
    for same in KINDS:
        np.testing.assert_array_equal(model.predict(named(same, X, list("abcd"), tmp_path)), want)
    for other in KINDS:
        for columns in ([3, 2, 1, 0], [0, 1, 2, 2]):
            names = ["abcd"[i] for i in columns] if len(set(columns)) == 4 else list("abce")
            strange = named(other, X[:, columns], names, tmp_path)
            path = tmp_path / f"{'-'.join(names)}-{len(X)}.parquet"
            for call in (
                *([lambda X, p=path: model.predict(p), lambda X, p=path: cr.fit(model, p, y)] if path.exists() else ()),
                model.predict,
                model.predict_proba,
                lambda X: model.evaluate(X, y),
                lambda X: cr.fit(model, X, y, epochs=1),
                lambda X: cr.diagnose(model, X, y),
                lambda X: cr.fit(cr.mlp([4, 8, 2]), given, y, validation=(X, y), **loss),
                lambda X: model.predict(iter([given, X])),
            ):
                with pytest.raises(cr.DataError, match="must have the columns a, b, c, d"):
                    call(strange)


def test_columns_of_lists_have_names_too(tmp_path: Path) -> None:
    X, y = np.random.default_rng(0).normal(size=(40, 4)).astype("f4"), np.arange(40) % 2
    for name, first, second in (("ab", "a", "b"), ("ba", "b", "a")):
        columns = {first: arrow.FixedSizeListArray.from_arrays(X[:, :3].ravel(), 3), second: arrow.array(X[:, 3])}
        parquet.write_table(arrow.table(columns), tmp_path / f"{name}.parquet")
    model = cr.fit(cr.mlp([4, 2]), tmp_path / "ab.parquet", y, loss="softmax_cross_entropy", epochs=1)
    assert model.feature_names == ("a[0]", "a[1]", "a[2]", "b")
    np.testing.assert_array_equal(model.predict(tmp_path / "ab.parquet"), model.predict(X))
    with pytest.raises(cr.DataError, match="must have the columns a"):
        model.predict(tmp_path / "ba.parquet")


def test_batches_have_the_columns_of_the_first(tmp_path: Path) -> None:
    X, y = np.random.default_rng(0).normal(size=(64, 3)).astype("f4"), np.arange(64) % 2
    frame = pandas.DataFrame(X, columns=list("abc"))
    good = [(frame[:32], y[:32]), (frame[32:], y[32:])]
    assert cr.fit(cr.mlp([3, 2]), good, loss="softmax_cross_entropy", epochs=1).feature_names == ("a", "b", "c")
    late = [(X[:32], y[:32]), (frame[32:], y[32:])]
    with pytest.raises(cr.DataError, match="X of batch 2 has column names, and batch 1 had none"):
        cr.fit(cr.mlp([3, 2]), late, loss="softmax_cross_entropy", epochs=1)
    bad = [good[0], (frame[32:][["c", "b", "a"]], y[32:])]
    with pytest.raises(cr.DataError, match="X of batch 2 must have the columns a, b, c"):
        cr.fit(cr.mlp([3, 2]), bad, loss="softmax_cross_entropy", epochs=1)


def test_a_frame_without_names_goes_by_position() -> None:
    X, y = np.random.default_rng(0).normal(size=(40, 3)).astype("f4"), np.arange(40) % 2
    model = cr.fit(cr.mlp([3, 2]), pandas.DataFrame(X), y, loss="softmax_cross_entropy", epochs=1)
    assert model.feature_names == ()
    np.testing.assert_array_equal(model.predict(pandas.DataFrame(X)), model.predict(X))
    np.testing.assert_array_equal(model.predict(pandas.DataFrame(X, columns=list("abc"))), model.predict(X))
    with pytest.raises(cr.DataError, match="must have the columns 0, 1, 2 in this order"):
        model.predict(pandas.DataFrame(X)[[2, 1, 0]])
    turned = cr.fit(cr.mlp([3, 2]), pandas.DataFrame(X)[[2, 1, 0]], y, loss="softmax_cross_entropy", epochs=1)
    with pytest.raises(cr.DataError, match="must have the columns 2, 1, 0 in this order"):
        turned.predict(pandas.DataFrame(X))


def test_names_that_stand_twice_are_not_remembered_and_that_is_said() -> None:
    X, y = np.random.default_rng(0).normal(size=(40, 3)).astype("f4"), np.arange(40) % 2
    with pytest.warns(UserWarning, match="several columns of the name 'a'"):
        model = cr.fit(
            cr.mlp([3, 2]), pandas.DataFrame(X, columns=list("aba")), y, loss="softmax_cross_entropy", epochs=1
        )
    assert model.feature_names == ()


# --- what an estimator wrote ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("labels", [["no", "yes"], [-1, 1], [False, True], ["a", "b", "c"]])
def test_probabilities_of_an_estimators_file_are_the_estimators(labels: list[Any], tmp_path: Path) -> None:
    draw = np.random.default_rng(1)
    X = draw.normal(size=(90, 3))
    y = np.asarray(labels)[np.arange(90) % len(labels)]
    estimator = cr.MLPClassifier(hidden_layer_sizes=(4,), max_iter=3, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        estimator.fit(X, y)
    estimator.model_.save(tmp_path / "m.safetensors")
    loaded = cr.load(tmp_path / "m.safetensors")
    np.testing.assert_array_equal(loaded.predict_proba(X), estimator.predict_proba(X))
    np.testing.assert_array_equal(loaded.predict(X), estimator.predict(X))
    assert loaded.evaluate(X, y)["accuracy"] == estimator.score(X, y)


def test_a_schema_survives_what_a_model_survives(classifier: cr.Model) -> None:
    import copy
    import pickle

    X = houses(12, seed=3)[FEATURES]
    want = classifier.predict(X).tolist()
    for again in (
        pickle.loads(pickle.dumps(classifier)),
        copy.deepcopy(classifier),
        replace(classifier, history=cr.History()),
        classifier.to(dtype="float64"),
    ):
        assert again.predict(X).tolist() == want
        assert again.classes == classifier.classes


def test_what_jax_follows_is_no_table() -> None:
    jax = pytest.importorskip("jax")
    frame = houses()[["area", "age", "price"]]
    columns = {name: frame[name].to_numpy().astype(float) for name in ("area", "age")}
    prepared = Preprocessing.learn(Table(columns, frame["price"].to_numpy(), "price", "houses"))
    model = cr.fit(
        cr.mlp([2, 4, 1]), frame[["area", "age"]], frame["price"], loss="squared_error", epochs=1,
        preprocessing=prepared, backend="jax",
    )  # fmt: skip
    with pytest.raises(cr.DataError, match="without_preprocessing"):
        jax.jit(model.predict)(jax.numpy.zeros((3, 2)))
    behind = model.without_preprocessing()
    x = jax.numpy.asarray(model.schema.inputs(frame[["area", "age"]]), dtype="float32")
    np.testing.assert_allclose(jax.jit(behind.predict)(x), behind.predict(x), rtol=1e-5, atol=1e-6)
