"""What a user of Python expects of tables, frames, labels, weights and estimators, in forms that no other test has."""

from __future__ import annotations

import dataclasses
import decimal
import fractions
import os
import pickle
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule as cr

pd = pytest.importorskip("pandas")
pytest.importorskip("sklearn")
pytest.importorskip("typer")

from sklearn.exceptions import ConvergenceWarning  # noqa: E402
from sklearn.metrics import r2_score  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, RobustScaler, StandardScaler  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

A = np.random.default_rng(1).normal(size=(60, 3))
ZERO_ONE = (A[:, 0] > 0).astype(int)
NUMBERS = A[:, 0] * 2 + 1
NAMED = pd.DataFrame(A, columns=list("abc"))
REVERSED = NAMED[["c", "b", "a"]]
BIG = np.where(ZERO_ONE, 2**53, 2**53 + 1)
DATES = pd.Series(pd.date_range("2020-01-01", periods=60))
STANDS_STILL = cr.SGD(0.0)


def classifier(X: Any = A, y: Any = ZERO_ONE, **options: Any) -> cr.Model:
    return cr.fit(cr.mlp([3, 4, 2]), X, y, loss="softmax_cross_entropy", epochs=1, **options)


def regressor(X: Any = A, y: Any = NUMBERS, *, epochs: int = 1, **options: Any) -> cr.Model:
    return cr.fit(cr.mlp([3, 4, 1]), X, y, loss="squared_error", epochs=epochs, **options)


def overflowing() -> cr.Model:
    """A classifier whose outputs are NaN for nearly all rows, as inf - inf is."""
    model = classifier(A.astype("f4"))
    return dataclasses.replace(model, theta=model.theta * 1e25)


@pytest.fixture(scope="module")
def houses(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """A model of a table with a code, a number with gaps and a text, by the command line; and its table."""
    folder = tmp_path_factory.mktemp("houses")
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"area": rng.integers(40, 160, 80).astype(float), "zip": rng.choice(["01067", "80331"], 80)})
    frame["city"] = rng.choice(["Rom", "Bonn"], 80)
    frame["price"] = 2000 * frame.area + 20000 * (frame.city == "Rom")
    frame.loc[::9, "area"] = np.nan
    frame.to_csv(folder / "houses.csv", index=False)
    options = "--target price --categorical zip --impute median --hidden 4 --epochs 3 --dropout 0 --quiet --out run"
    command = [sys.executable, "-m", "chainrule.cli", "train", "houses.csv", *options.split()]
    subprocess.run(command, check=True, capture_output=True, cwd=folder, timeout=120)
    return folder, frame


def command_lines_answers(folder: Path) -> np.ndarray:
    command = [sys.executable, "-m", "chainrule.cli", "predict", "run/model.safetensors", "houses.csv"]
    done = subprocess.run(command, check=True, capture_output=True, cwd=folder, timeout=120, text=True)
    return np.asarray([float(line.split(",")[-1]) for line in done.stdout.split("\n")[1:] if line])


def test_a_table_is_answered_as_the_command_line_does_in_every_form_of_it(houses: tuple[Path, Any]) -> None:
    pl, pa = pytest.importorskip("polars"), pytest.importorskip("pyarrow")
    folder, frame = houses
    model, X = cr.load(folder / "run" / "model.safetensors"), frame.drop(columns="price")
    arrow = pa.table({"zip": pa.array(X.zip).dictionary_encode(), "area": pa.array(X.area), "city": X.city.tolist()})
    forms = {
        "file": str(folder / "houses.csv"),
        "with the target": frame,
        "another order": X[["city", "zip", "area"]],
        "shuffled index": X.set_axis(np.arange(80)[::-1]),
        "polars": pl.from_pandas(X),
        "arrow, a dictionary": arrow,
        "a dict of lists": {name: [None if pd.isna(v) else v for v in X[name]] for name in reversed(list(X))},
        "nullable": X.astype({"area": "Float64"}),
        "Decimals": X.assign(area=[None if pd.isna(v) else decimal.Decimal(str(v)) for v in X.area]),
        "categories": X.assign(city=X.city.astype(pd.CategoricalDtype(["Oslo", "Rom", "Bonn"]))),
    }
    right = command_lines_answers(folder)
    for name, form in forms.items():
        assert np.allclose(model.predict(form), right, rtol=1e-6), name
    with pytest.warns(UserWarning, match=r"taken for 'area', 'zip', 'city', in this order"):
        assert np.allclose(model.predict(X.to_numpy(object)), right, rtol=1e-6)


def test_a_code_is_the_same_code_whatever_holds_it(houses: tuple[Path, Any]) -> None:
    folder, frame = houses
    model, X = cr.load(folder / "run" / "model.safetensors"), frame.drop(columns="price").astype({"zip": object})
    right = model.predict(X.assign(zip="80331"))
    assert np.abs(right - model.predict(X.assign(zip="01067"))).max() > 0
    fraction, floating = fractions.Fraction(80331), np.float32(80331)
    for code in (80331, 80331.0, floating, np.str_("80331"), decimal.Decimal("80331.0"), b"80331", fraction):
        assert np.array_equal(model.predict(X.assign(zip=pd.Series([code] * 80, dtype=object))), right), repr(code)
    with pytest.raises(cr.DataError, match=r"'1067' \(80 rows\)"):  # what pandas makes of 01067
        model.predict(X.assign(zip=1067))


def test_a_tables_model_is_validated_and_trained_further_in_the_targets_unit(houses: tuple[Path, Any]) -> None:
    folder, frame = houses
    model, X = cr.load(folder / "run" / "model.safetensors"), frame.drop(columns="price")
    still = cr.fit(
        model, X, frame.price, epochs=1, optimizer=STANDS_STILL, validation=(X[["zip", "city", "area"]], frame.price)
    )
    predicted = still.predict(X)
    assert still.history["val_r2"][-1] == pytest.approx(r2_score(frame.price, predicted), abs=1e-5)
    measured = still.evaluate(X, [decimal.Decimal(str(p)) for p in frame.price], metrics=["mae"])
    assert measured["mae"] == pytest.approx(np.abs(frame.price - predicted).mean(), rel=1e-5)
    batches = [(X[:40], frame.price[:40]), (X[40:][["city", "area", "zip"]], frame.price[40:])]
    assert np.isfinite(cr.fit(model, batches, epochs=1).predict(X)).all()
    further = cr.fit(model, X, frame.price, epochs=2)
    further.save(folder / "further.safetensors")
    assert np.array_equal(cr.load(folder / "further.safetensors").predict(X), further.predict(X))
    for copy in (pickle.loads(pickle.dumps(further)), further.to("numpy", dtype="float64")):
        assert np.allclose(copy.predict(X), further.predict(X), rtol=1e-5)


def test_further_training_reads_the_files_that_predict_reads(houses: tuple[Path, Any]) -> None:
    folder, frame = houses
    model, path = cr.load(folder / "run" / "model.safetensors"), str(folder / "houses.csv")
    further = cr.fit(model, path, frame.price, epochs=1, optimizer=STANDS_STILL)
    in_memory = cr.fit(model, frame.drop(columns="price"), frame.price, epochs=1, optimizer=STANDS_STILL)
    assert np.array_equal(further.predict(path), in_memory.predict(path))


@pytest.mark.parametrize("kind", ["polars", "arrow", "record batch", "dict", "float[pyarrow]", "sparse", "object"])
def test_the_names_of_every_kind_of_frame_are_kept_and_checked(kind: str, tmp_path: Path) -> None:
    pl, pa = pytest.importorskip("polars"), pytest.importorskip("pyarrow")

    def as_kind(frame: Any) -> Any:
        made = {
            "polars": lambda: pl.from_pandas(frame),
            "arrow": lambda: pa.Table.from_pandas(frame),
            "record batch": lambda: pa.RecordBatch.from_pandas(frame),
            "dict": lambda: {name: frame[name].tolist() for name in frame},
            "float[pyarrow]": lambda: frame.astype("float64[pyarrow]"),
            "sparse": lambda: frame.astype(pd.SparseDtype("float64", 0.0)),
            "object": lambda: frame.astype(object),
        }
        return made[kind]()

    model = classifier(as_kind(NAMED))
    assert model.feature_names == ("a", "b", "c")
    assert np.array_equal(model.predict(NAMED), model.predict(A))
    model.save(tmp_path / "m.safetensors")
    other = as_kind(REVERSED)
    for asked in (model, pickle.loads(pickle.dumps(model)), cr.load(tmp_path / "m.safetensors")):
        with pytest.raises(cr.DataError, match="another order"):
            asked.predict(other)
    for mistake in (
        lambda: model.evaluate(other, ZERO_ONE),
        lambda: classifier(NAMED, validation=(other, ZERO_ONE)),
        lambda: cr.fit(model, other, ZERO_ONE, epochs=1),
        lambda: cr.fit(cr.mlp([3, 4, 2]), [(NAMED, ZERO_ONE), (other, ZERO_ONE)], loss="softmax_cross_entropy"),
        lambda: cr.diagnose(model, other, ZERO_ONE),
    ):
        with pytest.raises(cr.DataError, match="another order"):
            mistake()


def test_further_training_checks_numbered_columns_as_predict_does() -> None:
    numbered = pd.DataFrame(A)
    model = classifier(numbered)
    with pytest.raises(cr.DataError, match="another order"):
        model.predict(numbered[[2, 1, 0]])
    with pytest.raises(cr.DataError, match="another order"):
        cr.fit(model, numbered[[2, 1, 0]], ZERO_ONE, epochs=1)


def test_a_name_that_is_there_twice_does_not_switch_the_check_off_without_a_word() -> None:
    with pytest.warns(UserWarning, match="several columns of the name 'a'"):
        classifier(NAMED.set_axis(["a", "a", "b"], axis=1))


def test_batches_of_frames_in_two_orders_are_refused_after_an_array_too() -> None:
    batches = [(A, ZERO_ONE), (REVERSED, ZERO_ONE), (NAMED, ZERO_ONE)]
    with pytest.raises(cr.DataError, match="batch 1 had none"):
        cr.fit(cr.mlp([3, 4, 2]), batches, loss="softmax_cross_entropy", epochs=1)


def test_an_estimator_that_was_fitted_on_parquet_keeps_its_names(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    NAMED.to_parquet(tmp_path / "abc.parquet")
    REVERSED.to_parquet(tmp_path / "cba.parquet")
    fitted = cr.MLPClassifier(max_iter=1).fit(cr.Parquet(tmp_path / "abc.parquet"), ZERO_ONE)
    with pytest.raises(ValueError, match="order"):
        fitted.model_.predict(cr.Parquet(tmp_path / "cba.parquet"))


def test_labels_of_every_kind_come_back_from_a_file_and_are_compared_exactly(tmp_path: Path) -> None:
    for labels in (
        np.where(ZERO_ONE, 2**64 - 1, 2**64 - 2).astype("u8"),
        np.where(ZERO_ONE, -128, 127).astype("i1"),
        np.where(ZERO_ONE, "nan", "None"),
        np.where(ZERO_ONE, "", "x"),
        np.where(ZERO_ONE, "1", "01"),
        np.where(ZERO_ONE, "e\u0301", "\U0001f600"),
        ZERO_ONE > 0,
        np.where(ZERO_ONE, 1.0, 2.0),
    ):
        fitted = cr.MLPClassifier(max_iter=1, random_state=0).fit(A, labels)
        fitted.model_.save(tmp_path / "m.safetensors")
        loaded = cr.load(tmp_path / "m.safetensors")
        assert np.asarray(loaded.predict(A)).tolist() == fitted.predict(A).tolist()
        for y in (labels, labels.tolist(), pd.Series(labels), labels.astype(object)):
            assert loaded.evaluate(A, y)["accuracy"] == pytest.approx(fitted.score(A, labels))
    numbered = cr.MLPClassifier(max_iter=1, random_state=0).fit(A, ZERO_ONE + 1).model_
    for y in (ZERO_ONE, (ZERO_ONE + 1).astype(str)):
        for ask in (
            lambda y: numbered.evaluate(A, y),
            lambda y: cr.fit(numbered, A, y, epochs=1),
            lambda y: cr.fit(numbered, [(A, y)], epochs=1),
            lambda y: cr.fit(numbered, A, ZERO_ONE + 1, epochs=1, validation=(A, y)),
        ):
            with pytest.raises(cr.DataError, match=r"classes \[1, 2\]"):
                ask(y)


def test_numbers_are_the_same_numbers_as_x_y_and_weights_whatever_holds_them() -> None:
    pl, pa = pytest.importorskip("polars"), pytest.importorskip("pyarrow")
    weights = np.arange(60) + 1.0
    right = regressor(sample_weight=weights).theta
    for X in (
        NAMED.map(fractions.Fraction),
        NAMED.astype(object).map(np.asarray),
        A.astype(">f8"),
        memoryview(A),
    ):
        assert np.array_equal(regressor(X, sample_weight=weights).theta, right), type(X)
    for y in (
        [fractions.Fraction(float(v)) for v in NUMBERS],
        np.asarray([decimal.Decimal(repr(float(v))) for v in NUMBERS]),
        pd.Series(pd.Categorical(NUMBERS)),
        pa.chunked_array([NUMBERS[:20], NUMBERS[20:]]),
        pl.DataFrame({"y": NUMBERS}),
    ):
        assert np.array_equal(regressor(y=y, sample_weight=weights).theta, right), type(y)
    for w in (
        pl.Series(weights),
        pa.array(weights),
        {"w": weights},
        pd.Series(pd.Categorical(weights)),
        weights[:, None],
    ):
        assert np.array_equal(regressor(sample_weight=w).theta, right), type(w)


def test_what_is_no_number_is_called_what_it_is_by_its_column() -> None:
    cases = {
        "dates": NAMED.assign(b=DATES.dt.date),
        "durations": NAMED.assign(b=pd.Timedelta("1D")),
        "missing": NAMED.assign(b=NAMED.b.astype("Float64").mask(NAMED.b > 1)),
        "text": NAMED.assign(b=NAMED.b.astype(str)),
        "complex": NAMED.assign(b=NAMED.b + 1j),
        "Interval": NAMED.assign(b=pd.Interval(0, 1)),
        "too large for float32": NAMED.assign(b=1e39),
    }
    for word, X in cases.items():
        for ask in (classifier, classifier().predict, lambda X: classifier(validation=(X, ZERO_ONE))):
            with pytest.raises((cr.DataError, cr.DTypeError), match=rf"{word}.*'b'"):
                ask(X)


def test_an_estimator_refuses_dates_durations_and_text_wherever_fit_takes_numbers() -> None:
    text = pd.Series(NUMBERS).astype(str)
    fitted = cr.MLPRegressor(max_iter=1, random_state=0).fit(A, NUMBERS)
    for wrong in (DATES, DATES - DATES[0], text, pd.Series(pd.Categorical(text)), DATES.mask(ZERO_ONE == 1)):
        for ask in (
            lambda w: cr.MLPRegressor(max_iter=1).fit(A, w),
            lambda w: cr.MLPRegressor(max_iter=1).fit(A, NUMBERS, X_val=A, y_val=w),
            lambda w: cr.MLPRegressor(max_iter=1).fit(A, NUMBERS, sample_weight=w),
            lambda w: cr.MLPRegressor().partial_fit(A, NUMBERS).partial_fit(A, w),
            lambda w: fitted.score(A, w),
            lambda w: fitted.predict(NAMED.assign(a=w)),
        ):
            with pytest.raises(cr.DTypeError, match="must hold real numbers"):
                ask(wrong)


@pytest.mark.parametrize("wrong", ["dates", "NaT", "text", "negative"])
def test_an_estimators_score_checks_its_weights_as_fit_does(wrong: str) -> None:
    fitted = cr.MLPRegressor(max_iter=1, random_state=0).fit(A, NUMBERS)
    weights = {
        "dates": DATES,
        "NaT": DATES.mask(ZERO_ONE == 1),
        "text": np.arange(1, 61).astype(str),
        "negative": np.where(ZERO_ONE, 1.0, -1.0),
    }
    with pytest.raises((ValueError, cr.DTypeError), match="sample_weight"):
        fitted.score(A, NUMBERS, sample_weight=weights[wrong])


@pytest.mark.parametrize("kind", ["int64", "object", "list", "categories", "polars", "arrow", "uint64"])
def test_two_labels_beyond_two_to_the_53_stay_two(kind: str) -> None:
    pl, pa = pytest.importorskip("polars"), pytest.importorskip("pyarrow")
    labels = {
        "int64": BIG,
        "object": BIG.astype(object),
        "list": BIG.tolist(),
        "categories": pd.Series(pd.Categorical(BIG)),
        "polars": pl.Series(BIG),
        "arrow": pa.array(BIG),
        "uint64": BIG.astype("u8"),
    }[kind]
    fitted = cr.MLPClassifier(max_iter=1).fit(A, labels)
    assert [int(label) for label in fitted.classes_] == [2**53, 2**53 + 1]
    assert fitted.model_.evaluate(A, pd.Series(BIG).astype("Int64"))["accuracy"] == pytest.approx(
        fitted.score(A, labels)
    )


@pytest.mark.parametrize("dtype", ["Int64", "UInt64", "int64[pyarrow]"])
def test_two_nullable_labels_beyond_two_to_the_53_stay_two(dtype: str) -> None:
    if "pyarrow" in dtype:
        pytest.importorskip("pyarrow")
    nullable = pd.Series(BIG).astype(dtype)
    assert [int(label) for label in cr.MLPClassifier(max_iter=1).fit(A, nullable).classes_] == [2**53, 2**53 + 1]


def test_a_score_of_nullable_labels_is_that_of_the_same_numbers() -> None:
    fitted = cr.MLPClassifier(max_iter=40, random_state=0).fit(A, BIG)
    assert fitted.score(A, BIG) < 1
    assert fitted.score(A, pd.Series(BIG).astype("Int64")) == fitted.score(A, BIG)


def test_rows_whose_outputs_are_not_finite_have_no_class() -> None:
    with pytest.raises(cr.DataError, match="have no class"):
        overflowing().predict(A)


def test_rows_without_a_class_are_not_counted_as_right() -> None:
    try:
        accuracy = overflowing().evaluate(A, np.zeros(60, int))["accuracy"]
    except cr.DataError:
        return
    assert np.isnan(accuracy)


def test_a_model_inside_of_jit_works_or_says_what_to_do() -> None:
    jax = pytest.importorskip("jax")
    X, model = jax.numpy.asarray(A), classifier(A.astype("f4"))
    try:
        answers = jax.jit(model.predict)(X)
    except cr.ChainruleError:
        return
    assert np.array_equal(np.asarray(answers), np.asarray(model.predict(A)))


def test_jax_trains_and_loads_on_its_default_device(tmp_path: Path) -> None:
    pytest.importorskip("jax")
    code = f"""
import jax, numpy as np, chainrule as cr
A = np.random.default_rng(1).normal(size=(20, 3)).astype("f4")
with jax.default_device(jax.devices()[1]):
    model = cr.fit(cr.mlp([3, 2]), A, [0, 1] * 10, loss="softmax_cross_entropy", epochs=1, backend="jax")
    model.save({str(tmp_path / "m.safetensors")!r})
    loaded = cr.load({str(tmp_path / "m.safetensors")!r}, backend="jax")
    print({{str(d) for m in (model, loaded) for d in m.theta.devices()}} == {{str(jax.devices()[1])}})
"""
    flags = {**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=2", "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-W", "ignore", "-c", code]
    done = subprocess.run(command, check=True, capture_output=True, env=flags, timeout=120, text=True)
    assert done.stdout.strip() == "True"


def test_a_plateau_of_a_metric_that_is_no_number_is_said_as_by_early_stopping() -> None:
    one_row = (A[:1], NUMBERS[:1])
    with pytest.warns(UserWarning, match="val_r2 was no number"):
        regressor(epochs=6, validation=one_row, callbacks=[cr.EarlyStopping("val_r2", patience=2)])
    with pytest.warns(UserWarning, match="val_r2"):
        regressor(epochs=6, validation=one_row, callbacks=[cr.ReduceOnPlateau("val_r2", patience=2)])


def test_early_stopping_by_a_scorer_that_answers_nan_is_said() -> None:
    def nothing(estimator: Any, X: Any, y: Any) -> float:
        return float("nan")

    clf = cr.MLPClassifier(early_stopping=True, scoring=nothing, max_iter=9, n_iter_no_change=2, random_state=0)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            clf.fit(A, ZERO_ONE)
        except cr.ChainruleError:
            return
    assert [w for w in said if not issubclass(w.category, ConvergenceWarning)]


def test_a_theta_of_another_length_is_refused_in_a_sentence() -> None:
    model = classifier()
    with pytest.raises(cr.ChainruleError):
        dataclasses.replace(model, theta=np.zeros(3, "f4")).predict(A)


def test_a_model_keeps_its_numbers_when_the_array_it_was_made_from_is_written_to() -> None:
    model = regressor()
    mine = np.array(model.theta)
    mine_too = dataclasses.replace(model, theta=mine)
    mine[:] = 0
    assert np.array_equal(mine_too.predict(A), model.predict(A))
    with pytest.raises(ValueError, match="read-only"):
        model.theta[:] = 0
    with pytest.raises(AttributeError):
        model.theta = mine


def test_a_diagnosis_of_columns_that_are_not_scaled_says_so() -> None:
    X = A * [1, 1, 1e4] + [0, 0, 1e5]
    assert "healthy." not in str(cr.diagnose(cr.mlp([3, 16, 2]), X, ZERO_ONE, loss="softmax_cross_entropy"))


def test_a_pipelines_model_answers_as_the_pipeline_with_every_scaler_and_layer(tmp_path: Path) -> None:
    X = NAMED * [1, 100, 1000] + [0, 50, 1.7e9]
    X["constant"] = 7.0
    labels = np.where(ZERO_ONE, "yes", "no")
    nested = make_pipeline(StandardScaler(with_mean=False), MinMaxScaler((-1, 3)))
    for scaler in (RobustScaler(quantile_range=(5, 95), unit_variance=True), MaxAbsScaler(), nested, "passthrough"):
        for options in ({}, {"hidden_layer_sizes": ()}, {"normalization": "batch", "dropout": 0.2}):
            clf = cr.MLPClassifier(max_iter=3, random_state=0, **options)
            if scaler == "passthrough":
                pipeline = make_pipeline(StandardScaler(), scaler, clf).fit(X, labels)
            else:
                pipeline = make_pipeline(scaler, StandardScaler(), clf).fit(X, labels)
            model = cr.from_pipeline(pipeline)
            assert np.allclose(model.predict_proba(X), pipeline.predict_proba(X), atol=1e-5)
            model.save(tmp_path / "p.safetensors")
            assert np.array_equal(cr.load(tmp_path / "p.safetensors").predict(X), model.predict(X))
            with pytest.raises(cr.DataError, match="another order"):
                model.predict(X[list(X)[::-1]])


def test_a_pipeline_that_does_more_than_scale_is_refused_by_its_step() -> None:
    labels = np.where(ZERO_ONE, "yes", "no")
    clipped = make_pipeline(MinMaxScaler(clip=True), cr.MLPClassifier(max_iter=1)).fit(A, labels)
    with pytest.raises(cr.ConfigurationError, match=r"minmaxscaler.*clip"):
        cr.from_pipeline(clipped)


def test_a_copy_of_half_a_training_goes_on_as_the_original_and_does_not_touch_it() -> None:
    joblib = pytest.importorskip("joblib")
    import copy
    import io

    def through_joblib(fitted: Any) -> Any:
        file = io.BytesIO()
        joblib.dump(fitted, file, compress=3)
        file.seek(0)
        return joblib.load(file)

    for way in (copy.copy, copy.deepcopy, through_joblib, lambda e: pickle.loads(pickle.dumps(e, protocol=2))):
        half = cr.MLPClassifier(hidden_layer_sizes=(8,), random_state=0).partial_fit(A, ZERO_ONE, classes=[0, 1])
        other, before = way(half), half.predict_proba(A)
        other.partial_fit(A, ZERO_ONE)
        assert np.array_equal(half.predict_proba(A), before)
        assert np.array_equal(half.partial_fit(A, ZERO_ONE).coefs_[0], other.coefs_[0])


def test_a_schedule_runs_smoothly_over_calls_of_unequal_chunks_and_says_its_end_once() -> None:
    reg = cr.MLPRegressor(solver=cr.Adam(cr.CosineDecay(1e-2, steps=6)), random_state=0)

    def rate(rows: int) -> float:
        return reg.partial_fit(A[:rows], NUMBERS[:rows]).model_.history["learning_rate"][-1]

    with pytest.warns(UserWarning, match="end of its 6 steps") as said:
        rates = [rate(rows) for rows in (20, 7, 33, 1, 12, 20, 20, 20)]
    assert rates[:6] == pytest.approx([1e-2 * (1 + np.cos(np.pi * k / 6)) / 2 for k in range(1, 7)])
    assert len([w for w in said if "end of its" in str(w.message)]) == 1
    for solver in ("sgd", "adam"):
        with pytest.raises(cr.ConfigurationError, match="steps="):
            cr.MLPRegressor(solver=solver, learning_rate=cr.OneCycle(1e-2)).partial_fit(A, NUMBERS)


def test_a_warm_fit_keeps_the_better_weights_by_any_score() -> None:
    for scoring in (None, "neg_log_loss", "loss"):
        clf = cr.MLPClassifier(
            hidden_layer_sizes=(8,), early_stopping=True, warm_start=True, scoring=scoring, max_iter=40, random_state=0
        )
        before = clf.set_params(learning_rate_init=0.01).fit(A, ZERO_ONE, X_val=A, y_val=ZERO_ONE).predict_proba(A)
        clf.set_params(learning_rate_init=9.0, max_iter=3).fit(A[:9], 1 - ZERO_ONE[:9], X_val=A, y_val=ZERO_ONE)
        assert np.array_equal(clf.predict_proba(A), before), scoring


def test_class_weights_are_sample_weights_by_label_and_are_checked_everywhere() -> None:
    labels = np.where(ZERO_ONE, "yes", "no")
    weighted = cr.MLPClassifier(max_iter=2, random_state=0, class_weight={"yes": 3}).fit(A, labels)
    plain = cr.MLPClassifier(max_iter=2, random_state=0).fit(A, labels, sample_weight=np.where(ZERO_ONE, 3.0, 1.0))
    assert np.array_equal(weighted.coefs_[0], plain.coefs_[0])
    for wrong in ({"yes": -1}, {"yes": np.inf}, {"yes": "3"}, {"yes": 0, "no": 0}, {"maybe": 1}, {"yes": 1j}):
        for solver in ("adam", "sgd", "lbfgs"):
            with pytest.raises(cr.ConfigurationError, match="class_weight"):
                cr.MLPClassifier(solver=solver, class_weight=wrong).fit(A, labels)
        with pytest.raises(cr.ConfigurationError, match="class_weight"):
            cr.MLPClassifier(class_weight=wrong).partial_fit(A, labels, classes=["no", "yes"])


def test_r2_is_scikit_learns_for_weights_that_leave_one_row_or_one_number() -> None:
    model = regressor()
    halves = np.r_[np.zeros(30), np.ones(30)]
    for y, weights in (
        (NUMBERS, np.arange(60.0)),
        (np.r_[NUMBERS[:30], np.ones(30)], halves),
        (np.full(60, 1e6), np.ones(60)),
    ):
        right = r2_score(y, model.predict(A), sample_weight=weights)
        assert model.evaluate(A, y, weights)["r2"] == pytest.approx(right, rel=1e-4)


@pytest.mark.parametrize("name", ["lss", "Loss", "loss ", None, 1.0, ("loss", "learning_rate"), 3, -4, np.int64(9)])
def test_a_history_answers_no_name_and_no_epoch_that_it_has_not(name: Any) -> None:
    with pytest.raises(cr.MissingEntryError):
        regressor(epochs=3).history[name]
