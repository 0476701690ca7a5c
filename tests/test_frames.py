"""Frames as people have them become numbers column by column; what is missing or no number is called what it is."""

from __future__ import annotations

import datetime
import re
import subprocess
import sys
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule._data.frames import column_names, is_frame, read_columns, to_numbers

pd, pl, pa = (pytest.importorskip(name) for name in ("pandas", "polars", "pyarrow"))

RNG = np.random.default_rng(5)
ROWS = 24
X = np.stack([RNG.normal(size=ROWS), np.arange(ROWS) % 5, np.arange(ROWS) % 2], axis=1)  # floats, whole, truth values
Y = X @ [1.0, -2.0, 0.5]
LABELS = np.arange(ROWS) % 3
PLAIN = pd.DataFrame({"a": X[:, 0], "b": X[:, 1].astype(int), "c": X[:, 2].astype(bool)})
COLUMNS = {name: PLAIN[name].tolist() for name in "abc"}
DAY = datetime.date(2020, 5, 17)


class Foreign:
    """A frame of a library of its own, known by one protocol alone."""

    columns = ("a", "b", "c")

    def __init__(self, protocol: str, table: Any) -> None:
        self._made = getattr(table, protocol)
        setattr(type(self), protocol, lambda self, *given, **options: self._made(*given, **options))


def foreign(protocol: str) -> Any:
    return type("Foreign", (Foreign,), {})(protocol, pa.table(COLUMNS))


FORMS: dict[str, Callable[[], Any]] = {
    "bool beside int and float": lambda: PLAIN,
    "convert_dtypes": PLAIN.convert_dtypes,
    "nullable": lambda: PLAIN.astype({"a": "Float64", "b": "UInt8", "c": "boolean"}),
    "nullable beside plain": lambda: PLAIN.astype({"b": "Int64"}),
    "arrow-backed": lambda: PLAIN.astype({"a": "double[pyarrow]", "b": "uint8[pyarrow]", "c": "bool[pyarrow]"}),
    "objects": lambda: PLAIN.astype(object),
    "decimals": lambda: PLAIN.map(lambda x: Decimal(float(x))),
    "fractions": lambda: PLAIN.map(lambda x: Fraction(float(x))),
    "categories of numbers": lambda: PLAIN.astype({"b": "category", "c": "category"}),
    "sparse": lambda: PLAIN.astype({"b": pd.SparseDtype("int64", 0), "c": pd.SparseDtype("bool", False)}),
    "twin names": lambda: PLAIN.set_axis(["a", "b", "b"], axis=1),
    "numbered columns": lambda: PLAIN.set_axis([2, 1, 0], axis=1),
    "two levels of names": lambda: PLAIN.set_axis(pd.MultiIndex.from_tuples([("u", 1), ("u", 2), ("v", 1)]), axis=1),
    "polars": lambda: pl.DataFrame(COLUMNS),
    "polars decimals": lambda: pl.DataFrame(COLUMNS).with_columns(pl.col("b").cast(pl.Decimal(10, 2))),
    "polars Int128": lambda: pl.DataFrame(COLUMNS).with_columns(pl.col("b").cast(pl.Int128)),
    "polars objects": lambda: pl.DataFrame({"a": pl.Series(COLUMNS["a"], dtype=pl.Object), "b": X[:, 1], "c": X[:, 2]}),
    "arrow": lambda: pa.table(COLUMNS),
    "arrow batch": lambda: pa.RecordBatch.from_pydict(COLUMNS),
    "arrow chunks": lambda: pa.concat_tables([pa.table(COLUMNS).slice(0, 7), pa.table(COLUMNS).slice(7)]),
    "arrow dictionaries": lambda: pa.table(
        COLUMNS | {"b": pa.chunked_array([pa.array(COLUMNS["b"])]).dictionary_encode()}
    ),
    "arrow stream": lambda: foreign("__arrow_c_stream__"),
    "interchange protocol": lambda: foreign("__dataframe__"),
    "dict of lists": lambda: COLUMNS,
    "dict of columns": lambda: {"a": X[:, 0], "b": pd.Series(COLUMNS["b"]), "c": pl.Series(COLUMNS["c"])},
    "rows of objects": lambda: X.astype(object),
    "rows of mixed numbers": lambda: [list(row) for row in zip(*COLUMNS.values(), strict=True)],
    "rows of decimals": lambda: [[Decimal(x) for x in row] for row in X.tolist()],
}


def fit(X: Any = X, y: Any = Y, **options: Any) -> cr.Model:
    return cr.fit(cr.mlp([3, 4, 1]), X, y, **{"loss": "squared_error", "epochs": 1, "seed": 1, **options})


@pytest.fixture(scope="module")
def trained() -> cr.Model:
    return fit(validation=(X, Y), sample_weight=X[:, 1] + 1)


@pytest.mark.filterwarnings("ignore:X has several columns of the name")  # twin names, which is said
@pytest.mark.parametrize("make", FORMS.values(), ids=FORMS)
def test_every_form_trains_validates_predicts_and_evaluates_as_its_numbers_do(make: Any, trained: cr.Model) -> None:
    frame = make()
    np.testing.assert_array_equal(to_numbers(frame, "X"), X)
    model = fit(frame, Y, validation=(frame, Y), sample_weight=X[:, 1] + 1)
    np.testing.assert_array_equal(model.theta, trained.theta)
    assert model.history["val_loss"] == trained.history["val_loss"]
    np.testing.assert_array_equal(model.predict(frame), trained.predict(X))
    assert model.evaluate(frame, Y) == trained.evaluate(X, Y)


VECTORS: dict[str, Callable[[list[Any]], Any]] = {
    "Int64": lambda v: pd.Series(v, dtype="Int64"),
    "pandas array": lambda v: pd.array(v, dtype="Int64"),
    "index": lambda v: pd.Index(v, dtype="Int64"),
    "int64[pyarrow]": lambda v: pd.Series(v, dtype="int64[pyarrow]"),
    "objects": lambda v: np.asarray(v, dtype=object),
    "object series": lambda v: pd.Series(v, dtype=object),
    "decimals": lambda v: pd.Series([None if x is None else Decimal(x) for x in v]),
    "decimals with a point": lambda v: [None if x is None else Decimal(f"{x}.00") for x in v],
    "polars": lambda v: pl.Series(v, dtype=pl.Int16),
    "arrow": lambda v: pa.array(v),
    "arrow chunks": lambda v: pa.chunked_array([v[:9], v[9:]]),
    "categories": lambda v: pd.Series(v, dtype="Int64").astype("category"),
    "a frame of one column": lambda v: pd.DataFrame({"y": pd.Series(v, dtype="Int64")}),
}


@pytest.mark.parametrize("make", VECTORS.values(), ids=VECTORS)
def test_targets_labels_and_weights_come_in_every_form(make: Any) -> None:
    whole = (LABELS + 1).tolist()
    assert (
        fit(y=make(whole), sample_weight=make(whole)).theta.tolist()
        == fit(y=np.asarray(whole, float), sample_weight=np.asarray(whole)).theta.tolist()
    )
    labels = {"loss": "softmax_cross_entropy", "epochs": 1, "seed": 1}
    want = cr.fit(cr.mlp([3, 4, 3]), X, LABELS, **labels)
    np.testing.assert_array_equal(cr.fit(cr.mlp([3, 4, 3]), X, make(LABELS.tolist()), **labels).theta, want.theta)
    assert want.evaluate(X, make(LABELS.tolist())) == want.evaluate(X, LABELS)


@pytest.mark.parametrize("make", VECTORS.values(), ids=VECTORS)
def test_a_missing_target_label_or_weight_is_called_missing(make: Any) -> None:
    gaps = [None if i in (4, 9) else i % 3 for i in range(ROWS)]
    where = "in column 'y' " if make is VECTORS["a frame of one column"] else ""
    says = rf"%s has missing values {where}\(2 rows, the first is row 4\): fill them or drop these rows\."
    refused(cr.DataError, lambda: fit(y=make(gaps)), says % "y")
    refused(cr.DataError, lambda: fit(sample_weight=make(gaps)), says % "sample_weight")
    refused(
        cr.DataError,
        lambda: cr.fit(cr.mlp([3, 3]), X, make(gaps), loss="softmax_cross_entropy", epochs=1),
        says % "y",
    )


def test_a_frame_of_targets_is_answered_in_a_column() -> None:
    for y in ({"y": Y}, pd.DataFrame({"y": Y}), pl.DataFrame({"y": Y}), pa.table({"y": Y})):
        assert fit(y=y).predict(X).shape == (ROWS, 1)
    assert fit(y=pa.array(Y)).predict(X).shape == (ROWS,)


@pytest.mark.parametrize("as_bool", ["boolean", "bool[pyarrow]", object, "bool"])
def test_truth_values_are_the_classes_0_and_1(as_bool: Any) -> None:
    turns, options = LABELS == 1, {"loss": "softmax_cross_entropy", "epochs": 1}
    want = cr.fit(cr.mlp([3, 2]), X, turns.astype(int), **options)
    assert cr.fit(cr.mlp([3, 2]), X, pd.Series(turns).astype(as_bool), **options).theta.tolist() == want.theta.tolist()


# --------------------------------------------------------------------------------------------------------- the refusals


def refused(error: type[cr.ChainruleError], make: Callable[[], Any], says: str) -> None:
    with pytest.raises(cr.ChainruleError) as caught:
        make()
    assert type(caught.value) is error, caught.value
    assert re.search(says, str(caught.value)), f"expected {says!r} in {str(caught.value)!r}"
    assert "\n" not in str(caught.value)


def everywhere(error: type[cr.ChainruleError], X_bad: Any, says: str, trained: cr.Model) -> None:
    refused(error, lambda: fit(X_bad), f"^X {says}")
    refused(error, lambda: fit(validation=(X_bad, Y)), f"^the validation X {says}")
    refused(error, lambda: trained.predict(X_bad), f"^X {says}")
    refused(error, lambda: trained.evaluate(X_bad, Y), f"^X {says}")


GAPS: dict[str, Callable[[], Any]] = {
    "NaN": lambda: PLAIN.assign(b=X[:, 1]).mask(HOLES),
    "NaN among plain floats": lambda: pd.DataFrame(X, columns=[*"abc"]).mask(HOLES),
    "float32": lambda: pd.DataFrame(X.astype("f4"), columns=[*"abc"]).mask(HOLES),
    "pd.NA": lambda: PLAIN.convert_dtypes().mask(HOLES, pd.NA),
    "pd.NA among objects": lambda: PLAIN.astype(object).mask(HOLES, pd.NA),
    "NaT among objects": lambda: PLAIN.astype(object).mask(HOLES, pd.NaT),
    "None": lambda: PLAIN.astype(object).where(~HOLES, None),
    "sparse": lambda: pd.DataFrame(X, columns=[*"abc"]).mask(HOLES).astype(pd.SparseDtype("float64")),
    "arrow-backed": lambda: PLAIN.astype({"b": "uint8[pyarrow]"}).mask(HOLES, pd.NA),
    "decimals": lambda: PLAIN.map(Decimal).mask(HOLES, Decimal("NaN")),
    "categories": lambda: PLAIN.assign(b=PLAIN["b"].astype("category").mask(HOLES[:, 1])),
    "polars": lambda: pl.DataFrame(WITH_NONE),
    "polars NaN": lambda: pl.DataFrame(WITH_NONE | {"b": np.where(HOLES[:, 1], np.nan, X[:, 1])}),
    "polars decimals": lambda: pl.DataFrame(WITH_NONE).with_columns(pl.col("b").cast(pl.Decimal(8, 1))),
    "arrow": lambda: pa.table(WITH_NONE),
    "arrow floats": lambda: pa.table(WITH_NONE | {"b": pa.array(WITH_NONE["b"]).cast(pa.float32())}),
    "arrow nulls": lambda: pa.table(WITH_NONE | {"b": pa.nulls(ROWS)}),
    "arrow stream": lambda: type("Other", (Foreign,), {})("__arrow_c_stream__", pa.table(WITH_NONE)),
    "dict": lambda: WITH_NONE,
    "dict of masked arrays": lambda: COLUMNS | {"b": np.ma.array(X[:, 1], mask=HOLES[:, 1])},
}
HOLES = np.zeros((ROWS, 3), bool)
HOLES[[7, 11, 20], 1] = True
WITH_NONE = COLUMNS | {"b": [None if gone else x for x, gone in zip(COLUMNS["b"], HOLES[:, 1], strict=True)]}


@pytest.mark.parametrize("make", GAPS.values(), ids=GAPS)
def test_missing_is_called_missing_by_its_column_and_row(make: Any, trained: cr.Model) -> None:
    rows = "24 rows, the first is row 0" if make is GAPS["arrow nulls"] else "3 rows, the first is row 7"
    everywhere(cr.DataError, make(), rf"has missing values in column 'b' \({rows}\): fill them or drop", trained)


TEXT = ["Oslo", "3"] * (ROWS // 2)
STRANGE: dict[str, tuple[Any, str]] = {
    "text": (TEXT, "text in column 'b', such as 'Oslo': encode it as numbers, for instance with pandas.get_dummies"),
    "numbers as text": (["3"] * ROWS, "text in column 'b', such as '3'"),
    "text among numbers": ([1, "two"] * (ROWS // 2), "text in column 'b', such as 'two'"),
    "text and a gap": (["u", None] * (ROWS // 2), "text in column 'b', such as 'u'"),
    "bytes": ([b"3"] * ROWS, "bytes in column 'b', such as b'3'"),
    "dates": ([DAY] * ROWS, "dates in column 'b', such as 2020-05-17: make numbers of them"),
    "times of day": ([datetime.time(12)] * ROWS, "dates in column 'b', such as 12:00:00"),
    "dates and a gap": ([DAY, None] * (ROWS // 2), "dates in column 'b'"),
    "durations": ([datetime.timedelta(3)] * ROWS, r"durations in column 'b', such as 3 days.*: divide them by"),
    "NumPy's durations": ([np.timedelta64(3, "D")] * ROWS, "durations in column 'b', such as 3 days: divide"),
    "complex numbers": ([1j] * ROWS, r"complex numbers in column 'b', such as 1j: take the real"),
    "lists": ([[1, 2]] * ROWS, r"list objects in column 'b', such as \[1, 2\]: give one number a row"),
}


@pytest.mark.parametrize(("cells", "says"), STRANGE.values(), ids=STRANGE)
def test_what_is_no_number_is_called_what_it_is_by_its_column(cells: Any, says: str, trained: cr.Model) -> None:
    frame = PLAIN.assign(b=pd.Series(cells, dtype=object))
    everywhere(cr.DTypeError, frame, f"must hold real numbers, got {says}", trained)
    says = says.replace(" in column 'b'", "").split(":")[0]
    refused(cr.DTypeError, lambda: fit(y=frame["b"]), f"^y must hold real numbers, got {says}")
    refused(cr.DTypeError, lambda: fit(sample_weight=frame["b"]), f"^sample_weight must hold real numbers, got {says}")


OTHERS: dict[str, tuple[Callable[[], Any], type[cr.ChainruleError], str]] = {
    "pandas text": (
        lambda: PLAIN.assign(b=pd.Series(TEXT, dtype="str")),
        cr.DTypeError,
        "text in column 'b', .*'Oslo'",
    ),
    "categories": (lambda: PLAIN.assign(b=pd.Categorical(TEXT)), cr.DTypeError, "text in column 'b', such as 'Oslo'"),
    "pandas dates": (
        lambda: PLAIN.assign(b=pd.date_range("2020-05-17", periods=ROWS)),
        cr.DTypeError,
        "dates in column 'b', .*2020-05",
    ),
    "dates with a zone": (
        lambda: PLAIN.assign(b=pd.date_range("2020-05-17", periods=ROWS, tz="UTC")),
        cr.DTypeError,
        "dates in column 'b'",
    ),
    "periods": (
        lambda: PLAIN.assign(b=pd.period_range("2020-05", periods=ROWS, freq="M")),
        cr.DTypeError,
        "Period objects in col",
    ),
    "only NaT": (lambda: PLAIN.assign(b=pd.NaT), cr.DataError, "missing values in column 'b' .24 rows"),
    "polars text": (lambda: pl.DataFrame(COLUMNS | {"b": TEXT}), cr.DTypeError, "text in column 'b', such as 'Oslo'"),
    "polars categories": (
        lambda: pl.DataFrame({"b": pl.Series(TEXT, dtype=pl.Categorical)}),
        cr.DTypeError,
        "text in column 'b', .*'Oslo'",
    ),
    "polars dates": (
        lambda: pl.DataFrame({"b": [DAY] * ROWS}),
        cr.DTypeError,
        "dates in column 'b', such as 2020-05-17",
    ),
    "arrow text": (lambda: pa.table({"b": TEXT}), cr.DTypeError, "text in column 'b', such as 'Oslo'"),
    "arrow dates": (lambda: pa.table({"b": [DAY] * ROWS}), cr.DTypeError, "dates in column 'b', such as 2020-05-17"),
    "arrow lists": (lambda: pa.table({"b": [[1, 2]] * ROWS}), cr.DTypeError, "list objects in column 'b'"),
    "no names": (lambda: [[1.0, "u", 0]] * ROWS, cr.DTypeError, "X must hold .* text in column 1, such as 'u'"),
    "dates without names": (
        lambda: np.full((ROWS, 3), "2020", "M8[D]"),
        cr.DTypeError,
        "dates in column 0, such as 2020",
    ),
    "a dict of unequal columns": (
        lambda: {"a": [1, 2], "b": [1, 2, 3]},
        cr.DataError,
        "one length, got 2 rows in 'a' and 3 in 'b'",
    ),
    "a dict of matrices": (
        lambda: {"a": X, "b": X},
        cr.DataError,
        r"column 'a' must be of shape \(rows,\), got \(24, 3\)",
    ),
    "a dict of numbers": (lambda: {"a": 1.0}, cr.DataError, r"column 'a' must be of shape \(rows,\), got \(\)"),
    "an empty dict": (dict, cr.DataError, "must have 3 features.*, got 0"),
    "a frame without columns": (lambda: PLAIN[[]], cr.DataError, "must have 3 features.*, got 0"),
    "a frame without rows": (lambda: PLAIN[:0], cr.DataError, "X is empty"),
    "a lazy frame": (
        lambda: pl.LazyFrame(COLUMNS),
        cr.DataError,
        r"LazyFrame, which holds no rows yet: give its \.collect",
    ),
    "rows without columns": (lambda: np.empty((ROWS, 0), object), cr.DataError, "must have 3 features.*, got 0"),
    "a generator of rows": (
        lambda: (row for row in X),
        cr.DTypeError,
        r"got a generator: give numpy\.asarray\(list\(X\)\)",
    ),
    "an iterator": (
        lambda: map(list, X),
        cr.DTypeError,
        r"lists of numbers, got a map: give numpy\.asarray\(list\(X\)\)",
    ),
    "a set, which has no order": (lambda: {1.0, 2.0}, cr.DTypeError, r"lists of numbers, got a set\.$"),
    "records": (lambda: PLAIN.to_records(), cr.DTypeError, "structured_to_unstructured"),
}


@pytest.mark.parametrize(("make", "error", "says"), OTHERS.values(), ids=OTHERS)
def test_what_cannot_be_read_is_refused_in_words_of_its_own(make: Any, error: Any, says: str) -> None:
    refused(error, lambda: fit(make()), says)


@pytest.mark.parametrize(
    "as_frame", [lambda x: pd.DataFrame(x, columns=[*"abc"]), lambda x: pl.DataFrame(x, schema=[*"abc"])]
)
def test_infinite_and_too_large_numbers_of_a_frame_are_named_by_their_column(as_frame: Any, trained: cr.Model) -> None:
    for number, says in ((np.inf, "NaN or infinity in"), (1e300, "numbers too large for")):
        changed = X.copy()
        changed[3, 1] = changed[5, 2] = number
        says = rf"holds {says} float32 in column 'b' in 1 of 24 rows \(3\): "
        everywhere(cr.DataError, as_frame(changed), says, trained)


@pytest.mark.filterwarnings("ignore:lbfgs failed to converge")
def test_a_missing_label_of_a_model_that_knows_its_labels_is_called_missing() -> None:
    pytest.importorskip("sklearn")
    labels = pd.Series(TEXT)
    model = cr.MLPClassifier(hidden_layer_sizes=(3,), solver="lbfgs", max_iter=2).fit(X, labels).model_
    want = model.evaluate(X, labels)
    for y in (labels, pd.DataFrame({"y": labels}), {"y": TEXT}, pl.DataFrame({"y": TEXT}), pa.array(TEXT), TEXT):
        assert model.evaluate(X, y) == want
    gaps = labels.where(labels.index != 6, None)
    for y in (gaps, gaps.astype("string"), gaps.astype(object), pl.Series(gaps), pa.array(gaps), {"y": gaps}):
        refused(cr.DataError, lambda y=y: model.evaluate(X, y), r"^y has missing values \(1 row, row 6\): fill them or")
        refused(cr.DataError, lambda y=y: cr.fit(model, X, y), "^y has missing values")


def test_text_labels_are_told_to_be_numbered() -> None:
    for y in (pd.Series(TEXT), pd.Categorical(TEXT), pl.Series(TEXT), pa.array(TEXT), TEXT, {"y": TEXT}):
        make = lambda y=y: cr.fit(cr.mlp([3, 2]), X, y, loss="softmax_cross_entropy", epochs=1)  # noqa: E731
        refused(
            cr.DTypeError, make, r"^y must hold .* got text.* such as 'Oslo': .*np\.unique\(y, return_inverse=True\)"
        )


def test_what_speaks_dlpack_alone_is_read() -> None:
    class Tensor:
        def __init__(self, x: np.ndarray) -> None:
            self.shape, self._x = x.shape, x

        def __getitem__(self, index: Any) -> Any:
            return Tensor(self._x[index])

        def __dlpack__(self, **options: Any) -> Any:
            return self._x.__dlpack__(**options)

        def __dlpack_device__(self) -> Any:
            return self._x.__dlpack_device__()

    assert fit(Tensor(X), Tensor(Y)).theta.tolist() == fit().theta.tolist()


# ------------------------------------------------------------------------------------------------------ the room itself


def test_columns_are_read_in_the_kinds_that_are_promised() -> None:
    big = 2**53
    given = {
        "bool": ([True, False], [True, False], "b"),
        "int": ([1, 2], [1, 2], "i"),
        "uint": ([2**64 - 1, 2**64 - 2], [2**64 - 1, 2**64 - 2], "u"),
        "float": ([1.5, None], [1.5, np.nan], "f"),
        "gap in bool": ([True, None], [1.0, np.nan], "f"),
        "gap in int": ([1, None], [1.0, np.nan], "f"),
        "gap in large int": ([big + 1, None], [big + 1, None], "O"),
        "beyond 64 bits": ([2**70, -1], [2**70, -1], "O"),
        "decimals": ([Decimal("1.5"), None], [1.5, np.nan], "f"),
        "whole decimals": ([Decimal("7.0"), Decimal(big + 1)], [7, big + 1], "i"),
        "large decimals": ([Decimal(2**70 + 1), None], [2**70 + 1, None], "O"),
        "NaN of decimals": ([Decimal(big + 1), Decimal("NaN")], [big + 1, None], "O"),
        "beyond floats": ([10**400, 0.5], [np.inf, 0.5], "f"),
        "text": (["x", None], ["x", None], "O"),
        "mixed": ([1, "x"], [1, "x"], "O"),
        "dates": ([DAY, None], [DAY, None], "O"),
        "lists": ([[1], None], [[1], None], "O"),
        "nothing": ([None, None], [np.nan, np.nan], "f"),
    }
    frame = pd.DataFrame({name: pd.Series(cells, dtype=object) for name, (cells, _, _) in given.items()})
    for name, values in read_columns(frame).items():
        _, want, kind = given[name]
        assert values.dtype.kind == kind, name
        np.testing.assert_equal(values.tolist(), want, err_msg=name)


@pytest.mark.parametrize(
    "make",
    [
        lambda v: pd.DataFrame({"a": pd.Series(v, dtype="Int64")}),
        lambda v: pd.DataFrame({"a": pd.Series(v, dtype="int64[pyarrow]")}),
        lambda v: pl.DataFrame({"a": pl.Series(v, dtype=pl.Int64)}),
        lambda v: pa.table({"a": pa.array(v, pa.int64())}),
        lambda v: pa.table({"a": pa.array(v, pa.int64()).dictionary_encode()}),
        lambda v: {"a": v},
    ],
    ids=["Int64", "int64[pyarrow]", "polars", "arrow", "dictionary", "dict"],
)
def test_whole_numbers_that_float64_cannot_hold_stay_apart_beside_a_gap(make: Any) -> None:
    codes = [2**53, 2**53 + 1, None]
    assert read_columns(make(codes))["a"].tolist() == codes
    np.testing.assert_array_equal(read_columns(make([1, 2, None]))["a"], [1.0, 2.0, np.nan])
    read = read_columns(make(codes[:2]))["a"]
    assert (read.dtype, read.tolist()) == (np.int64, codes[:2])


def test_what_is_masked_is_missing() -> None:
    mask = [False, True]
    for values, want in (
        (["x", "y"], ["x", None]),
        ([1.5, 2.5], [1.5, np.nan]),
        ([2**53 + 1, 7], [2**53 + 1, None]),
        (np.asarray(["2020", "2021"], "M8[ns]"), [np.datetime64("2020", "ns"), None]),
    ):
        np.testing.assert_equal(read_columns({"a": np.ma.array(values, mask=mask)})["a"].tolist(), want)


def test_what_has_columns_with_names_is_known_as_a_frame() -> None:
    for name, make in FORMS.items():
        if not name.startswith("rows of"):
            assert is_frame(make()), name
    for other in (
        X,
        X.tolist(),
        PLAIN["a"],
        pl.Series([1]),
        pa.array([1]),
        pa.chunked_array([[1]]),
        pd.array([1]),
        None,
    ):
        assert not is_frame(other)
        assert column_names(other) is None
    assert is_frame(pl.LazyFrame(COLUMNS))


def test_names_are_text(tmp_path: Any) -> None:
    assert column_names(FORMS["numbered columns"]()) == ("2", "1", "0")
    assert column_names(FORMS["two levels of names"]()) == ("('u', 1)", "('u', 2)", "('v', 1)")
    for name in ("polars", "arrow", "arrow batch", "arrow stream", "dict of lists", "convert_dtypes"):
        assert column_names(FORMS[name]()) == ("a", "b", "c")
    PLAIN.to_parquet(tmp_path / "x.parquet")
    assert column_names(cr.Parquet(tmp_path / "x.parquet")) == ("a", "b", "c")
    assert not is_frame(cr.Parquet(tmp_path / "x.parquet"))


def test_columns_of_one_name_are_not_read_by_name() -> None:
    refused(cr.DataError, lambda: read_columns(FORMS["twin names"]()), "several columns of the name 'b': rename")
    refused(
        cr.DataError, lambda: read_columns(pd.DataFrame([[1, 2]], columns=[1, "1"])), "several columns of the name '1'"
    )


def test_a_frame_of_plain_numbers_is_its_own_block() -> None:
    frame = pd.DataFrame(X, columns=[*"abc"])
    assert np.shares_memory(to_numbers(frame, "X"), np.asarray(frame))
    assert to_numbers(frame.astype("f4"), "X").dtype == np.float32
    assert to_numbers(pl.DataFrame({"a": X[:, 0].astype("f4")}), "X").dtype == np.float32


def test_a_frame_of_an_unknown_library_says_what_reads_it(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = type("Broken", (), {"columns": ["a"], "__arrow_c_stream__": lambda self, schema=None: 1 / 0})()
    refused(cr.DataError, lambda: fit(broken), r"a Broken cannot be read as a table \(.*\): give a pandas frame")
    frame = foreign("__arrow_c_stream__")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    refused(
        cr.MissingExtraError,
        lambda: fit(frame),
        r"reading a .*Foreign needs pyarrow: pip install 'chainrule\[parquet\]'",
    )


def test_no_library_of_frames_is_imported_for_what_is_not_its_own() -> None:
    code = (
        "import sys, numpy as np, chainrule as cr; from chainrule._data.frames import *;"
        "to_numbers({'a': [1, None], 'b': np.ones(2)} and {'a': [1, 2]}, 'X'); read_columns({'a': ['x', None]});"
        "assert not {'pandas', 'polars', 'pyarrow'} & {*sys.modules}"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_large_whole_numbers_in_a_list_stay_what_they_are_beside_others() -> None:
    codes = read_columns({"unsigned": [2**63, 2**63 + 1, 1], "gap": [2**53, 2**53 + 1, float("nan")]})
    assert codes["unsigned"].tolist() == [2**63, 2**63 + 1, 1]
    assert codes["gap"].tolist() == [2**53, 2**53 + 1, None]
    assert read_columns({"a": [1e300, 0.5]})["a"].tolist() == [1e300, 0.5]
