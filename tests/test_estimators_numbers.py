"""What is no number is refused by the estimators wherever numbers are asked for, though NumPy could make one of it."""

from __future__ import annotations

import decimal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import find_library

import chainrule as cr

find_library("scikit-learn", "sklearn")
pd, pl, pa = (find_library(name) for name in ("pandas", "polars", "pyarrow"))

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

ROWS = 40
X = np.random.default_rng(4).normal(size=(ROWS, 2))
Y = X[:, 0] - X[:, 1]
DATES = pd.Series(pd.date_range("2020-01-01", periods=ROWS))
DIGITS = [str(i) for i in range(ROWS)]

TIMES: dict[str, Any] = {
    "dates": DATES.to_numpy(),
    "dates of pandas": DATES,
    "dates of polars": pl.Series("when", DATES.dt.date.to_list()),
    "dates of Arrow": DATES.astype("timestamp[ns][pyarrow]"),
    "dates with a zone": DATES.dt.tz_localize("UTC"),
    "some of no date": DATES.where(DATES.index != 3),
    "dates as objects": DATES.astype(object),
    "dates in a list": list(DATES.dt.to_pydatetime()),
    "times of day": np.asarray([date.time() for date in DATES], dtype=object),
    "periods": DATES.dt.to_period("D"),
    "durations": (DATES - DATES[0]).to_numpy(),
    "durations of pandas": DATES - DATES[0],
    "durations as objects": np.asarray([date - DATES[0] for date in DATES], dtype=object),
}
TEXT: dict[str, Any] = {
    "text": np.asarray(DIGITS),
    "text as objects": np.asarray(DIGITS, dtype=object),
    "text in a list": DIGITS,
    "text of pandas": pd.Series(DIGITS, dtype="string"),
    "text of polars": pl.Series("name", DIGITS),
    "categories": pd.Series(DIGITS).astype("category"),
    "bytes": np.asarray(DIGITS).astype("S"),
    "one word among numbers": np.asarray([*Y[1:], "1.5"], dtype=object),
}
MISSING: dict[str, Any] = {
    "a masked entry": np.ma.MaskedArray(Y, mask=np.arange(ROWS) == 3),
    "pandas' NA": pd.Series([pd.NA, *Y[1:]], dtype=object),
    "no date": pd.Series([pd.NaT, *Y[1:]], dtype=object),
    "None": np.asarray([None, *Y[1:]], dtype=object),
    "Decimal's NaN": np.asarray([decimal.Decimal("NaN"), *map(decimal.Decimal, Y[1:])], dtype=object),
    "of pandas": pd.Series([None, *range(ROWS - 1)], dtype="Int64"),
    "of Arrow": pd.Series([None, *Y[1:]]).astype("double[pyarrow]"),
    "of polars": pl.Series("y", [None, *Y[1:]]),
}
NUMBERS: dict[str, Any] = {
    "objects": Y.astype(object),
    "Decimal": np.asarray([decimal.Decimal(repr(float(y))) for y in Y], dtype=object),
    "Arrow's": pd.Series(Y).astype("double[pyarrow]"),
    "polars'": pl.Series("y", Y),
    "a list": Y.tolist(),
}


def regressor() -> cr.MLPRegressor:
    return cr.MLPRegressor(hidden_layer_sizes=(3,), max_iter=2, random_state=0)


def beside_numbers(column: Any) -> Any:
    """X with this as its second column."""
    if isinstance(column, pl.Series):
        return pl.DataFrame({"a": X[:, 0], "b": column})
    if isinstance(column, np.ma.MaskedArray):
        return np.ma.stack([column, column], axis=1)
    return pd.DataFrame({"a": X[:, 0], "b": column})


PLACES: dict[str, Callable[[Any], Any]] = {
    "y": lambda bad: regressor().fit(X, bad),
    "y of partial_fit": lambda bad: regressor().partial_fit(X, Y).partial_fit(X, bad),
    "y_val": lambda bad: regressor().fit(X, Y, X_val=X, y_val=bad),
    "X": lambda bad: regressor().fit(beside_numbers(bad), Y),
    "X of a classifier": lambda bad: cr.MLPClassifier(max_iter=2).fit(beside_numbers(bad), Y > 0),
    "X_val": lambda bad: regressor().fit(pd.DataFrame(X, columns=["a", "b"]), Y, X_val=beside_numbers(bad), y_val=Y),
    "X of predict": lambda bad: regressor().fit(pd.DataFrame(X, columns=["a", "b"]), Y).predict(beside_numbers(bad)),
    "y of score": lambda bad: regressor().fit(X, Y).score(X, bad),
    "sample_weight": lambda bad: regressor().fit(X, Y, sample_weight=bad),
    "sample_weight of score": lambda bad: regressor().fit(X, Y).score(X, Y, sample_weight=bad),
    "sample_weight of a classifier's score": lambda bad: (
        cr.MLPClassifier(max_iter=2).fit(X, Y > 0).score(X, Y > 0, sample_weight=bad)
    ),
    "sample_weight_val": lambda bad: regressor().fit(X, Y, X_val=X, y_val=Y, sample_weight_val=bad),
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("kind", [*TIMES, *TEXT])
def test_dates_durations_and_text_are_no_numbers(kind: str, place: str) -> None:
    got = "dates or durations" if kind in TIMES else "text"
    name = "X.*: column 'b'" if place.startswith("X") else place.split()[0]
    with pytest.raises(cr.DTypeError, match=rf"^{name}( must|: column) .*got {got}"):
        PLACES[place]({**TIMES, **TEXT}[kind])


@pytest.mark.parametrize("place", [place for place in PLACES if place != "y of score"])
@pytest.mark.parametrize("kind", MISSING)
def test_what_is_missing_is_called_so(kind: str, place: str) -> None:
    with pytest.raises(ValueError, match=r"missing (or infinite )?values|masked entries|contains NaN"):
        PLACES[place](MISSING[kind])


@pytest.mark.parametrize("kind", NUMBERS)
def test_numbers_are_taken_in_whatever_they_come(kind: str) -> None:
    want, got = regressor().fit(X, Y, np.abs(Y)), regressor()
    got.fit(X, NUMBERS[kind], [abs(y) for y in NUMBERS[kind]])
    np.testing.assert_array_equal(got.predict(X), want.predict(X))
    frame, array = beside_numbers(NUMBERS[kind]), np.stack([X[:, 0], Y], axis=1)
    np.testing.assert_array_equal(regressor().fit(frame, Y).predict(frame), regressor().fit(array, Y).predict(array))


@pytest.mark.parametrize("place", [place for place in PLACES if not place.startswith("X")])
def test_complex_numbers_are_refused_without_printing_them(place: str) -> None:
    with pytest.raises(cr.DataError, match=r"Complex data not supported: .* real numbers, got complex128") as caught:
        PLACES[place](Y + 1j)
    assert len(str(caught.value)) < 100


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_numbers_beyond_the_dtype_are_named(solver: str) -> None:
    estimator = regressor().set_params(solver=solver, dtype="float32")
    with pytest.raises(cr.DataError, match=r"^y reaches 1e\+300, too large for float32: scale it, or use dtype="):
        estimator.fit(X, Y / np.abs(Y).max() * 1e300)
    with pytest.raises(cr.DataError, match=r"^sample_weight reaches 1e\+39, too large for float32"):
        estimator.fit(X, Y, np.full(ROWS, 1e39))
    if solver == "adam":
        with pytest.raises(cr.DataError, match=r"^y_val reaches 1e\+39, too large for float32"):
            estimator.fit(X, Y, X_val=X[:2], y_val=[1e39, 0.0])
        with pytest.raises(cr.DataError, match=r"^X_val holds numbers too large for float32"):
            estimator.fit(X, Y, X_val=np.full((2, 2), 1e39), y_val=[1.0, 0.0])


def test_an_arrow_table_is_looked_at_by_column() -> None:
    table = pa.table({"a": X[:, 0], "b": DIGITS})
    with pytest.raises(cr.DTypeError, match="column 'b' must hold real numbers, got text"):
        regressor().fit(table, Y)


def test_lists_of_rows_are_looked_at_too() -> None:
    with pytest.raises(cr.DTypeError, match="X must hold real numbers, got text"):
        regressor().fit([[1.0, "2"], [3.0, "4"]], [0.0, 1.0])
    with pytest.raises(cr.DTypeError, match="y must hold real numbers, got dates"):
        regressor().fit(X[:2], [np.datetime64("2020-01-01"), np.datetime64("2020-01-02")])


def test_a_classifier_takes_dates_and_text_as_labels() -> None:
    label = np.where(Y > 0, np.datetime64("2020-01-01"), np.datetime64("2021-01-01"))
    assert set(cr.MLPClassifier(max_iter=2).fit(X, label).predict(X)) <= set(label)


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
@pytest.mark.parametrize("size", [3e38, 1e30, 1e-30, 1e-43, 1e-60])
def test_weights_whose_sums_leave_float32_are_refused(solver: str, size: float) -> None:
    x, weight = X.astype("float32"), np.full(ROWS, size)  # the dtype of the training is that of X
    for estimator, y in ((cr.MLPRegressor, Y), (cr.MLPClassifier, Y > 0)):
        made = estimator(solver=solver, max_iter=1)
        with pytest.raises(cr.DataError, match=r"sample_weight, .* sum to 1e-19 to 2e\+19 in float32, got 40 weights"):
            made.fit(x, y, sample_weight=weight)
        assert np.isfinite(made.fit(X, y, sample_weight=weight).loss_)
    with pytest.raises(cr.DataError, match="class_weight, must sum to"):
        cr.MLPClassifier(class_weight={False: size, True: size}, max_iter=1).fit(x, Y > 0)
    with pytest.raises(cr.DataError, match=r"sample_weight, .* must sum to"):
        cr.MLPRegressor(max_iter=1).fit(x, Y, X_val=x, y_val=Y, sample_weight_val=weight)


@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
def test_targets_too_large_to_be_squared_are_named(solver: str) -> None:
    for x, dtype, size in ((X.astype("float32"), "float32", 1e30), (X, "float64", 1e170)):
        made = cr.MLPRegressor(solver=solver, max_iter=1)
        says = rf"the targets reach .*, too large to add up their squares in {dtype}: scale y"
        with pytest.raises(cr.DataError, match=says):
            made.fit(x, size * Y)
        with pytest.raises(cr.DataError, match=says.replace("their squares", "their weighted squares")):
            made.fit(x, size * Y, sample_weight=np.ones(ROWS))
    with pytest.raises(cr.DataError, match="the targets reach"):
        cr.MLPRegressor(max_iter=1).fit(X, Y, X_val=X, y_val=1e170 * Y)


@pytest.mark.parametrize("numeric", [True, False])
def test_the_weights_of_a_score_are_checked_as_those_of_a_fit(numeric: bool) -> None:
    y = Y if numeric else Y > 0
    fitted = (regressor() if numeric else cr.MLPClassifier(max_iter=2)).fit(X, y)
    for bad in (np.where(Y > 0, 1.0, -1.0), np.zeros(ROWS), np.full(ROWS, np.inf), np.ones(ROWS - 1), [[1.0]] * ROWS):
        says = []
        for call in (fitted.fit, fitted.score):
            with pytest.raises(ValueError, match=r"(?i)weight") as caught:
                call(X, y, sample_weight=bad)
            says.append(str(caught.value))
        assert says[0] == says[1]
    twice = np.where(Y > 0, 2.0, 1.0)
    weighed = fitted.score(np.concatenate([X, X[Y > 0]]), np.concatenate([y, y[Y > 0]]))
    for weight in (twice, twice.tolist(), pd.Series(twice).astype("Int64"), pl.Series(twice)):
        assert fitted.score(X, y, sample_weight=weight) == pytest.approx(weighed, rel=1e-12)
    assert fitted.score(X, y, sample_weight=3.0) == pytest.approx(fitted.score(X, y), rel=1e-12)


# ------------------------------------------------------------------------------- columns by name, and what has none


NAMED = {name: X[:, i] for i, name in enumerate("ab")}
TURNED = {name: NAMED[name] for name in "ba"}


def parquet(columns: dict[str, np.ndarray], tmp_path: Path) -> cr.Parquet:
    path = tmp_path / f"{''.join(columns)}.parquet"
    pd.DataFrame(columns).to_parquet(path)
    return cr.Parquet(path)


HOLDERS: dict[str, Callable[[dict[str, np.ndarray], Path], Any]] = {
    "a dict": lambda columns, tmp_path: columns,
    "a dict of lists": lambda columns, tmp_path: {name: column.tolist() for name, column in columns.items()},
    "a dict of polars": lambda columns, tmp_path: {name: pl.Series(column) for name, column in columns.items()},
    "Parquet": parquet,
}


@pytest.mark.filterwarnings("ignore:A column-vector y was passed")  # as for a frame
@pytest.mark.parametrize("settings", [{}, {"early_stopping": True}, {"early_stopping": True, "scoring": "r2"}], ids=str)
@pytest.mark.parametrize("kind", HOLDERS)
def test_columns_are_taken_by_name(kind: str, settings: dict[str, Any], tmp_path: Path) -> None:
    given, turned = (HOLDERS[kind](columns, tmp_path) for columns in (NAMED, TURNED))
    want = regressor().set_params(**settings).fit(X, Y)
    got = regressor().set_params(**settings).fit(given, Y)
    assert got.feature_names_in_.tolist() == ["a", "b"]
    assert got.model_.feature_names == ("a", "b")
    np.testing.assert_array_equal(got.predict(given), want.predict(X))
    assert got.validation_scores_ == want.validation_scores_
    assert got.score(given, {"y": Y}) == want.score(X, Y)
    assert got.transform(given).shape == (ROWS, 3)
    got.partial_fit(given, Y).fit(given, Y, X_val=given, y_val={"y": Y})
    uses: list[tuple[str, Callable[[], Any]]] = [
        ("X", lambda: got.predict(turned)),
        ("X", lambda: got.partial_fit(turned, Y)),
        ("X", lambda: got.check_gradients(turned, Y)),
        ("X_val", lambda: got.fit(given, Y, X_val=turned, y_val=Y)),
    ]
    for what, use in uses:
        with pytest.raises(cr.DataError, match=f"^{what} must have the columns a, b in this order"):
            use()
    with pytest.raises(ValueError, match="in the same order"):
        got.predict(pd.DataFrame(TURNED))
    with pytest.raises(cr.DataError, match="must have the columns a, b in this order"):
        regressor().fit(pd.DataFrame(NAMED), Y).predict(turned)


PLACES_OF_ALL: dict[str, Callable[[Any], Any]] = {
    **{place: use for place, use in PLACES.items() if not place.startswith("X")},
    "X": lambda bad: regressor().fit(bad, Y),
    "X_val": lambda bad: regressor().fit(X, Y, X_val=bad, y_val=Y),
    "X of predict": lambda bad: regressor().fit(X, Y).predict(bad),
    "X of score": lambda bad: regressor().fit(X, Y).score(bad, Y),
}
KINDS: dict[str, tuple[Callable[[], Any], str]] = {
    "a lazy frame": (lambda: pl.DataFrame(NAMED).lazy(), r"which holds no rows yet: give its \.collect\(\)"),
    "records": (lambda: np.rec.fromarrays(X.T, names="a,b"), r"got records of \('a', 'b'\): make a matrix of them"),
    "a dict with text": (lambda: {"a": DIGITS}, "got text in column 'a', such as '0'"),
    "a dict with gaps": (lambda: {"a": [None, *Y[1:]]}, r"missing values in column 'a' \(1 row, row 0\)"),
    "columns of several lengths": (lambda: {"a": Y, "b": Y[1:]}, "must be of one length"),
    "a generator": (lambda: iter(Y), r"got a \w+: give numpy\.asarray\(list\(\w+\)\)"),
    "a set": (lambda: {1.0, 2.0}, "lists of numbers, got a set"),
    "a path": (lambda: "rows.parquet", r"got 'rows\.parquet': give a file as cr\.Parquet\(path\)"),
}


@pytest.mark.parametrize("place", PLACES_OF_ALL)
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_array_is_refused_by_its_kind(kind: str, place: str) -> None:
    make, says = KINDS[kind]
    with pytest.raises(cr.ChainruleError, match=says):
        PLACES_OF_ALL[place](make())
