"""Tables: what is read, what is refused and in which words, and that a description survives its journey as JSON."""

from __future__ import annotations

import json
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from chainrule._base.errors import ConfigurationError, DataError, FileError, MissingExtraError, ModelFileError
from chainrule.tables import Preprocessing, Table, infer_task, read_table, split


@pytest.fixture
def write(tmp_path):
    """Writes a CSV from its header and its rows, and gives the path."""

    def write(header: str, *rows: object, name: str = "data.csv") -> Path:
        path = tmp_path / name
        path.write_text("\n".join([header, *map(str, rows)]) + "\n")
        return path

    return write


def table(target: Any = None, **columns: Any) -> Table:
    """A table made by hand, with columns of numbers, or of text as objects."""

    def column(values: Any) -> np.ndarray:
        array = np.asarray(values)
        return np.asarray(values, dtype=object) if array.dtype.kind in "UO" else array.astype(float)

    answers = None if target is None else np.asarray(target, dtype=object if isinstance(target[0], str) else None)
    return Table({name: column(x) for name, x in columns.items()}, answers, None if target is None else "y", "data.csv")


HALVES = [0.5 * i for i in range(20)]  # a target that is plainly a quantity
TURNS = ["a", "b"] * 10  # and one that is plainly a label


def refusal(error: type[Exception], action: Any, *parts: str) -> None:
    with pytest.raises(error) as caught:
        action()
    message = str(caught.value)
    missing = [part for part in parts if part not in message]
    assert not missing, f"{missing} not in: {message}"
    assert "\n" not in message


# --- files -----------------------------------------------------------------------------------------------------------


def test_a_csv_becomes_numbers_texts_and_booleans_as_0_and_1(write):
    read = read_table(write("n,word,flag,y", "1,x,True,2.5", "2,,False,3.5"), target="y")
    assert list(read.columns) == ["n", "word", "flag"]
    np.testing.assert_array_equal(read.columns["n"], [1.0, 2.0])
    np.testing.assert_array_equal(read.columns["flag"], [1.0, 0.0])
    assert read.columns["word"].tolist() == ["x", None]
    assert read.target.tolist() == [2.5, 3.5]
    assert (read.target_name, read.n) == ("y", 2)


@pytest.mark.parametrize(
    ("cells", "kept"),
    [(["1", "2"], [1, 2]), (["1.5", "2"], [1.5, 2.0]), (["True", "False"], [True, False]), (["u", "v"], ["u", "v"])],
)
def test_the_target_keeps_its_type(write, cells, kept):
    target = read_table(write("a,y", *(f"0,{cell}" for cell in cells)), target="y").target
    assert target.tolist() == kept
    assert list(map(type, target.tolist())) == list(map(type, kept))


def test_empty_boolean_cells_are_missing_numbers(write):
    column = read_table(write("flag,b", "True,1", ",1", "False,1")).columns["flag"]
    np.testing.assert_array_equal(column, [1.0, np.nan, 0.0])


def test_a_byte_order_mark_and_spaces_after_separators_are_no_part_of_names(tmp_path):
    path = tmp_path / "data.csv"
    path.write_bytes(b"\xef\xbb\xbfa, b\n1, x\n")
    read = read_table(path)
    assert list(read.columns) == ["a", "b"]
    assert read.columns["b"].tolist() == ["x"]


def test_separators_go_by_character_by_name_and_by_ending(write):
    for path, separator in [
        (write("a;b", "1;2", name="1.csv"), ";"),
        (write("a;b", "1;2", name="2.csv"), "semicolon"),
        (write("a\tb", "1\t2", name="3.csv"), "tab"),
        (write("a\tb", "1\t2", name="4.tsv"), None),
    ]:
        assert list(read_table(path, separator=separator).columns) == ["a", "b"]
    refusal(ConfigurationError, lambda: read_table(write("a,b", "1,2"), separator=", "), "one character", "', '")


@pytest.mark.parametrize(("character", "name"), [(";", "semicolon"), ("\t", "tab"), ("|", "bar")])
def test_a_wrong_separator_is_said(write, character, name):
    path = write(character.join("aby"), character.join("123"))
    refusal(DataError, lambda: read_table(path, target="y"), "one column only", "comma", f"--separator {name}")


def test_a_wrong_separator_that_cannot_be_guessed_is_said_with_the_target(write):
    path = write("a b y", "1 2 3")
    refusal(ConfigurationError, lambda: read_table(path, target="y"), "one column only", "'a b y'", "--separator")


def test_a_parquet_file_reads_as_the_csv_of_the_same_frame(tmp_path):
    frame = pd.DataFrame(
        {
            "n": pd.array([1, 2, None], dtype="Int64"),
            "flag": pd.array([True, None, False], dtype="boolean"),
            "word": pd.Categorical(["x", None, "z"]),
            "small": np.asarray([1, 2, 3], dtype=np.float32),
            "y": [1, 0, 1],
        }
    )
    frame.to_parquet(tmp_path / "data.parquet")
    frame.to_csv(tmp_path / "data.csv", index=False)
    a, b = (read_table(tmp_path / name, target="y") for name in ("data.parquet", "data.csv"))
    assert list(a.columns) == list(b.columns)
    for name in a.columns:
        np.testing.assert_array_equal(a.columns[name], b.columns[name])
        assert a.columns[name].dtype == b.columns[name].dtype
    assert a.target.tolist() == b.target.tolist() == [1, 0, 1]


def test_a_named_index_of_a_parquet_file_is_a_column(tmp_path):
    pd.DataFrame({"key": [5, 6], "a": [1, 2]}).set_index("key").to_parquet(tmp_path / "data.parquet")
    assert list(read_table(tmp_path / "data.parquet").columns) == ["key", "a"]


def test_a_parquet_column_of_lists_is_refused(tmp_path):
    pd.DataFrame({"a": [[1, 2], [3]]}).to_parquet(tmp_path / "data.parquet")
    refusal(DataError, lambda: read_table(tmp_path / "data.parquet"), "'a'", "ndarray", "one number or text a cell")


def test_npz_holds_X_and_y(tmp_path):
    path = tmp_path / "data.npz"
    np.savez(path, X=np.asarray([[1, 2], [3, 4], [5, 6]], dtype=np.float32), y=np.asarray(["u", "v", "u"]))
    read = read_table(path)
    assert list(read.columns) == ["x0", "x1"]
    assert read.columns["x1"].tolist() == [2.0, 4.0, 6.0]
    assert read.columns["x1"].dtype == np.float64
    assert read.target.tolist() == ["u", "v", "u"]
    assert read.target_name == "y"


def test_npz_takes_another_array_or_a_column_as_target(tmp_path):
    path = tmp_path / "data.npz"
    np.savez(path, X=np.eye(3), labels=np.asarray([[3], [1], [2]], dtype=np.uint8))
    assert read_table(path).target is None
    named = read_table(path, target="labels")
    assert (named.target.tolist(), named.target.dtype) == ([3, 1, 2], np.int64)
    column = read_table(path, target="x2")
    assert (column.target.tolist(), list(column.columns)) == ([0.0, 0.0, 1.0], ["x0", "x1"])
    refusal(ConfigurationError, lambda: read_table(path, target="label"), "'label'", "did you mean 'labels'?")


def test_npy_files_come_in_pairs(tmp_path):
    np.save(tmp_path / "X.npy", np.eye(3))
    np.save(tmp_path / "y.npy", np.asarray([0, 1, 1]))
    np.save(tmp_path / "long.npy", np.arange(4))
    read = read_table(tmp_path / "X.npy", target=str(tmp_path / "y.npy"))
    assert (list(read.columns), read.target.tolist(), read.target_name) == (["x0", "x1", "x2"], [0, 1, 1], "y")
    assert read_table(tmp_path / "X.npy").target is None
    refusal(DataError, lambda: read_table(tmp_path / "X.npy", target=str(tmp_path / "long.npy")), "3 rows", "4 targets")
    refusal(ConfigurationError, lambda: read_table(tmp_path / "X.npy", target="y"), "without column names", "y.npy")


def test_arrays_of_the_wrong_shape_or_type_are_refused(tmp_path):
    for arrays, parts in [
        ({"data": np.eye(2)}, ("'X'", "'data'")),
        ({"x": np.eye(2)}, ("no array 'X'", "Is 'x' it?")),
        ({"X": np.ones((4, 2, 2))}, ("(n, features)", "(4, 2, 2)")),
        ({"X": np.ones(4)}, ("(n, features)", "(4,)")),
        ({"X": np.asarray([["a", "b"]])}, ("numbers", "CSV")),
        ({"X": np.eye(2), "y": np.eye(2)}, ("one target a row", "(2, 2)")),
        ({"X": np.eye(2), "y": np.arange(3)}, ("2 rows", "3 targets")),
        ({"X": np.eye(2), "y": np.ones(2, complex)}, ("complex",)),
    ]:
        np.savez(tmp_path / "data.npz", **arrays)
        refusal(DataError, lambda: read_table(tmp_path / "data.npz"), *parts)


def test_files_of_python_objects_are_not_loaded(tmp_path):
    np.savez(tmp_path / "data.npz", X=np.asarray([[object()]], dtype=object))
    refusal(FileError, lambda: read_table(tmp_path / "data.npz"), "Python objects", "run code", "np.save")


@pytest.mark.parametrize("name", ["data.npz", "data.npy", "data.parquet"])
@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no more of it", b"\x93NUMPY\x01\x00v\x00{'descr'", b"PAR1"])
def test_broken_files_are_said_to_be_unreadable(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    refusal(FileError, lambda: read_table(tmp_path / name), name, "cannot be read as")


def test_files_that_are_not_there_are_refused_with_the_nearest(tmp_path, write):
    write("a,b", "1,2")
    refusal(FileError, lambda: read_table(tmp_path / "dta.csv"), "does not exist", "did you mean data.csv?")
    refusal(FileError, lambda: read_table(tmp_path), "is a folder")
    refusal(FileError, lambda: read_table(tmp_path / "none" / "x.csv"), "does not exist")
    refusal(FileError, lambda: read_table("https://a.org/x.csv"), "https://a.org/x.csv is an address", "Download it")


def test_an_unknown_file_type_is_refused_with_the_known(tmp_path):
    (tmp_path / "data.xlsx").write_bytes(b"PK")
    refusal(
        FileError, lambda: read_table(tmp_path / "data.xlsx"), "'.xlsx'", ".csv", ".tsv", ".parquet", ".npz", ".npy"
    )


def test_text_that_is_not_utf_8_is_refused(tmp_path):
    for before in (b"a,b\n1,", b""):
        (tmp_path / "data.csv").write_bytes(before + "é\n".encode("latin-1"))
        refusal(FileError, lambda: read_table(tmp_path / "data.csv"), "not UTF-8", "0xe9", "save it as")


def test_ragged_and_unfinished_rows_are_refused(write):
    refusal(FileError, lambda: read_table(write("a,b", "1,2", "1,2,3")), "line 3", "saw 3")
    refusal(
        FileError, lambda: read_table(write("a,b", "1,2,3", "1,2,3")), "more cells than its first line", "2 columns"
    )
    refusal(FileError, lambda: read_table(write("a,b", '"1,2')), "EOF inside string")


def test_empty_data_is_refused(tmp_path, write):
    for content in ("", "\n\n"):
        (tmp_path / "empty.csv").write_text(content)
        refusal(DataError, lambda: read_table(tmp_path / "empty.csv"), "is empty", "names of the columns")
    refusal(DataError, lambda: read_table(write("a,b")), "no rows")
    np.savez(tmp_path / "empty.npz", X=np.ones((0, 3)))
    refusal(DataError, lambda: read_table(tmp_path / "empty.npz"), "no rows")


def test_two_columns_of_one_name_are_refused(write):
    refusal(DataError, lambda: read_table(write("a,b,a", "1,2,3")), "more than one column", "'a'", "rename")


def test_a_target_that_is_not_there_is_refused_with_the_nearest(write):
    path = write("Price,rooms", "1,2")
    refusal(ConfigurationError, lambda: read_table(path, target="price"), "'price'", "did you mean 'Price'?", "'rooms'")
    refusal(ConfigurationError, lambda: read_table(path, drop=["room"]), "'room'", "did you mean 'rooms'?")


def test_columns_asked_for_as_categories_are_read_as_they_stand(write):
    read = read_table(write("zip,y", "01234,1", "00501,0"), target="y", categorical=["zip"])
    assert read.columns["zip"].tolist() == ["01234", "00501"]


def test_a_missing_extra_is_named(monkeypatch, write, tmp_path):
    pd.DataFrame({"a": [1]}).to_parquet(tmp_path / "data.parquet")
    path = write("a", "1")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    refusal(MissingExtraError, lambda: read_table(tmp_path / "data.parquet"), "pyarrow", "'chainrule[parquet]'")
    monkeypatch.setitem(sys.modules, "pandas", None)
    refusal(MissingExtraError, lambda: read_table(path), "pandas", "pip install 'chainrule[cli]'")


CODES: dict[str, tuple[Any, tuple[str, str]]] = {
    "Int64 and a gap": (lambda: pd.array([2**53, 2**53 + 1, None], "Int64"), (str(2**53), str(2**53 + 1))),
    "plain int64": (lambda: pd.array([2**53, 2**53 + 1, 2**53], "int64"), (str(2**53), str(2**53 + 1))),
    "uint64": (lambda: np.asarray([2**64 - 1, 2**64 - 2, 2**64 - 1], "u8"), (str(2**64 - 2), str(2**64 - 1))),
    "UInt64 and a gap": (lambda: pd.array([2**64 - 1, 2**64 - 2, None], "UInt64"), (str(2**64 - 2), str(2**64 - 1))),
    "decimals": (lambda: [Decimal(2**70), Decimal(2**70 + 1), None], (str(2**70), str(2**70 + 1))),
    "decimals with a point": (lambda: [Decimal("1.50"), Decimal("1.25"), None], ("1.25", "1.5")),
    "bytes": (lambda: [b"c\xfe", b"c\xff", None], ("c\\xfe", "c\\xff")),
    "bytes of text": (lambda: ["é".encode(), b"e", None], ("e", "é")),
    "text": (lambda: ["01", "1", None], ("01", "1")),
}


@pytest.mark.parametrize(("make", "categories"), CODES.values(), ids=CODES)
@pytest.mark.parametrize("written_by", ["pandas", "pyarrow"])
def test_codes_that_differ_are_categories_that_differ(tmp_path, make, categories, written_by):
    frame = pd.DataFrame({"code": make(), "y": [0.5, 1.5, 2.5]})
    frame = frame.iloc[[0, 1, 2] * 4]
    path = tmp_path / "data.parquet"
    if written_by == "pandas":
        frame.to_parquet(path, index=False)
    else:  # whose files do not say that pandas should read what it may be missing from as nullable
        pq.write_table(pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None), path)
    read = read_table(path, target="y", categorical=["code"])
    learned = Preprocessing.learn(read, impute="median")
    assert learned.columns[0].categories == categories
    assert [v is None for v in read.columns["code"][:3]] == frame["code"].isna()[:3].tolist()
    again = read_table(path, target="code", categorical=learned.categorical)
    assert set(again.target.tolist()) - {None} == set(categories)


@pytest.mark.parametrize("kind", ["csv", "parquet"])
@pytest.mark.parametrize(
    ("codes", "classes"),
    [
        ((2**53, 2**53 + 1), (2**53, 2**53 + 1)),
        ((2**64 - 1, 2**64 - 2), (str(2**64 - 2), str(2**64 - 1))),
        ((2**70, 2**70 + 1), (str(2**70), str(2**70 + 1))),
        ((-(2**70), 5), (str(-(2**70)), "5")),
    ],
)
def test_targets_of_large_codes_are_classes_that_differ(tmp_path, write, kind, codes, classes):
    path = write("a,y", *(f"{i},{codes[i % 2]}" for i in range(20)))
    if kind == "parquet":
        path = tmp_path / "data.parquet"
        pd.DataFrame({"a": range(20), "y": [Decimal(codes[i % 2]) for i in range(20)]}).to_parquet(path)
    read = read_table(path, target="y")
    assert infer_task(read)[0] == "classification"
    learned = Preprocessing.from_json(json.loads(json.dumps(Preprocessing.learn(read).to_json())))
    assert learned.classes == classes
    want = [classes.index(type(classes[0])(codes[i % 2])) for i in range(20)]
    assert learned.targets(read).tolist() == want
    assert learned.targets(read_table(path, target="y", categorical=learned.categorical)).tolist() == want


def test_large_whole_numbers_are_a_quantity_where_there_are_many(write):
    read = read_table(write("a,y", *(f"{i},{10**25 + i * 10**23}" for i in range(20))), target="y")
    assert infer_task(read)[0] == "regression"
    learned = Preprocessing.learn(read)
    np.testing.assert_allclose(learned.targets(read), np.arange(-9.5, 10) / np.std(np.arange(20)))
    assert learned.features(read).shape == (20, 1)


def test_whole_numbers_beyond_floats_are_infinite(write):
    path = write("a,y", *(f"{'9' * 400 if i == 3 else 2**70 + i},{i}.5" for i in range(20)))
    refusal(DataError, lambda: Preprocessing.learn(read_table(path, target="y")), "infinite values: 'a' (1 of 20)")
    path = write("a,y", *(f"{i},{'9' * 400 if i == 3 else 2**70 + i}" for i in range(20)))
    refusal(DataError, lambda: Preprocessing.learn(read_table(path, target="y")), "target 'y' has 1 infinite values")


def test_what_rounds_to_one_value_is_not_called_the_same(write):
    path = write("big,same,y", *(f"{2**53 + i % 2},7,{i}.5" for i in range(20)))
    said = Preprocessing.learn(read_table(path, target="y")).describe()
    assert [line for line in said if "one value" in line and "'big'" in line and "--categorical" in line]
    assert [line for line in said if "the same value" in line and line.endswith(": 'same'")]
    path = write("a,y", *(f"{i},0.{'1' * 20}{i}" for i in range(20)), name="digits.csv")
    refusal(DataError, lambda: infer_task(read_table(path, target="y")), "is constant", "to the 16 digits of float64")


# --- the task --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "task"),
    [
        (TURNS, "classification"),
        ([True, False] * 5, "classification"),
        ([0, 1] * 10, "classification"),
        ([0.0, 1.0] * 10, "classification"),
        (HALVES, "regression"),
        (list(range(10)) * 2, "classification"),  # 10 different in 20 rows
        (list(range(11)) * 2, "regression"),  # 11 are too many for so few rows
        (list(range(4)), "regression"),  # each stands for one row only
        (list(range(20)) * 20, "classification"),  # 20 are 5 % of 400 rows
        (list(range(20)) * 19, "regression"),  # and more than that of 380
        (list(range(21)) * 100, "regression"),
    ],
)
def test_the_task_is_inferred_from_the_type_and_the_number_of_different_answers(target, task):
    assert infer_task(table(target, a=np.arange(len(target))))[0] == task


def test_the_task_is_said_aloud_with_its_reason_and_its_override():
    assert infer_task(table(HALVES, a=HALVES))[1] == (
        "'y': 20 different numbers in 20 rows: regression (override with --task classification)"
    )
    assert "2 different whole numbers" in infer_task(table([0, 1] * 10, a=HALVES))[1]
    assert "as asked" in infer_task(table([0, 1] * 10, a=HALVES), "regression")[1]
    assert "override" not in infer_task(table(TURNS, a=HALVES))[1]  # text is nothing else


def test_a_task_that_the_target_is_not_for_is_refused():
    refusal(
        ConfigurationError,
        lambda: infer_task(table(TURNS, a=HALVES), "regression"),
        "'y' is text",
        "'a'",
        "--task classification",
    )
    refusal(
        ConfigurationError,
        lambda: infer_task(table(HALVES, a=HALVES), "classification"),
        "not whole",
        "0.5",
        "--task regression",
    )
    refusal(
        DataError, lambda: infer_task(table(list(range(20)), a=HALVES), "classification"), "20 different", "--task reg"
    )
    refusal(ConfigurationError, lambda: infer_task(table(TURNS, a=HALVES), "regresion"), "did you mean 'regression'?")


def test_a_target_without_anything_to_learn_is_refused():
    refusal(DataError, lambda: infer_task(table([2.5] * 4, a=[1, 2, 3, 4])), "'y' is constant", "2.5", "all 4 rows")
    refusal(DataError, lambda: infer_task(table(["u"] * 4, a=[1, 2, 3, 4])), "one class only", "'u'", "two or more")
    refusal(DataError, lambda: infer_task(table([1] * 4, a=[1, 2, 3, 4]), "classification"), "one class only, 1,")
    refusal(DataError, lambda: infer_task(table(a=[1, 2])), "without a target", "--target NAME")


def test_a_training_part_with_one_answer_is_refused():
    made = table(["u", "u", "u", "v", "v", "v"], a=range(6))
    refusal(DataError, lambda: Preprocessing.learn(made, np.arange(3)), "1 different class", "3 training rows")


def test_missing_and_infinite_answers_are_counted():
    nan, inf = float("nan"), float("inf")
    refusal(DataError, lambda: infer_task(table([nan, 1.5, nan], a=[1, 2, 3])), "'y'", "2 missing", "remove these rows")
    refusal(DataError, lambda: infer_task(table(["u", None, "v"], a=[1, 2, 3])), "'y'", "1 missing", "3 rows")
    refusal(DataError, lambda: infer_task(table([1.5, -inf, 2.0], a=[1, 2, 3])), "'y'", "1 infinite")


def test_a_text_target_that_is_an_id_or_a_mixture_is_refused():
    ids = [f"n{i}" for i in range(20)]
    refusal(DataError, lambda: infer_task(table(ids, a=HALVES)), "20 different texts in 20 rows", "another --target")
    mixed = [*(str(i) for i in range(18)), "?", "?"]
    refusal(DataError, lambda: infer_task(table(mixed, a=HALVES)), "18 numbers with 2 texts ('?')", "--categorical y")


# --- features --------------------------------------------------------------------------------------------------------


def test_numbers_are_standardised_with_the_training_rows_alone():
    made = table(HALVES, a=[*([1.0, 3.0] * 5), *([100.0] * 10)])
    X = Preprocessing.learn(made, np.arange(10)).features(made)
    np.testing.assert_array_equal(X[:2, 0], [-1.0, 1.0])  # mean 2, standard deviation 1
    np.testing.assert_array_equal(X[10:, 0], 98.0)


def test_columns_constant_in_training_are_divided_by_one_and_said():
    made = table(HALVES, a=[0.1] * 19 + [2.1], b=range(20))
    learned = Preprocessing.learn(made, np.arange(19))
    np.testing.assert_allclose(learned.features(made)[:, 0], [0.0] * 19 + [2.0])
    assert any("teaches nothing: 'a'" in line for line in learned.describe())


@pytest.mark.parametrize("size", [1e-300, 1e300])
def test_standardising_neither_overflows_nor_underflows(size):
    made = table(HALVES, a=size * np.arange(20))
    X = Preprocessing.learn(made).features(made)
    np.testing.assert_allclose([X.mean(), X.std()], [0.0, 1.0], atol=1e-12)


def test_categories_are_one_hot_in_sorted_order():
    made = table([1.5, 2.5, 3.5], city=["Rome", "Oslo", "Rome"], n=[1, 2, 3])
    learned = Preprocessing.learn(made)
    assert learned.feature_names == ("city=Oslo", "city=Rome", "n")
    np.testing.assert_array_equal(learned.features(made)[:, :2], [[0, 1], [1, 0], [0, 1]])


def test_unseen_categories_are_an_error_that_names_and_counts_them_or_zeros_on_request():
    learned = Preprocessing.learn(table([1.5, 2.5, 3.5], city=["Rome", "Oslo", "Rome"]))
    new = table(city=["Bern", "Rome", "Bern", "Paris"])
    refusal(
        DataError,
        lambda: learned.features(new),
        "'city'",
        "'Bern' (2 rows)",
        "'Paris' (1 row)",
        "never saw",
        "--unseen ignore",
    )
    np.testing.assert_array_equal(learned.features(new, unseen="ignore"), [[0, 0], [0, 1], [0, 0], [0, 0]])
    forgiving = Preprocessing.learn(table([1.5, 2.5, 3.5], city=["Rome", "Oslo", "Rome"]), unseen="ignore")
    np.testing.assert_array_equal(forgiving.features(new), learned.features(new, unseen="ignore"))


def test_categories_of_held_out_rows_are_not_learned_and_said():
    made = table([1.5, 2.5, 3.5, 4.5, 5.5], city=["Rome", "Oslo", "Rome", "Oslo", "Bern"])
    learned = Preprocessing.learn(made, np.arange(4))
    assert learned.feature_names == ("city=Oslo", "city=Rome")
    assert any("held-out rows only" in line and "'Bern' (1 row)" in line for line in learned.describe())


def test_missing_values_are_an_error_that_names_columns_and_counts():
    nan = float("nan")
    made = table([1.5, 2.5, 3.5, 4.5], a=[1, nan, nan, 2], b=["x", None, "x", "z"], c=[1, 2, 3, 4])
    refusal(
        DataError,
        lambda: Preprocessing.learn(made),
        "missing values: 'a' (2 of 4), 'b' (1 of 4).",
        "--impute median",
        "--drop a,b",
    )
    learned = Preprocessing.learn(table([1.5, 2.5], a=[1, 2]))
    refusal(DataError, lambda: learned.features(table(a=[nan, 1])), "'a' (1 of 2)", "without --impute median")


def test_median_imputation_fills_with_the_training_rows_median_and_most_frequent_category():
    nan = float("nan")
    made = table([1.5, 2.5, 3.5, 4.5, 5.5], a=[0, 1, 8, nan, 50], b=["x", "z", "z", None, "x"])
    learned = Preprocessing.learn(made, np.arange(4), impute="median")
    filled = table([1.5, 2.5, 3.5, 4.5, 5.5], a=[0, 1, 8, 1, 50], b=["x", "z", "z", "z", "x"])
    np.testing.assert_array_equal(learned.features(made), learned.features(filled))
    np.testing.assert_allclose(learned.features(made)[:4, 0].mean(), 0.0, atol=1e-15)
    assert any("'a': 1 missing values become the median, 1" in line for line in learned.describe())
    assert any("'b': 1 missing values become the most frequent category, 'z'" in line for line in learned.describe())
    # A column that was complete in training is filled at prediction too.
    new = table(a=[nan], b=["x"])
    np.testing.assert_array_equal(learned.features(new), learned.features(table(a=[1], b=["x"])))


def test_a_column_that_is_empty_in_training_is_refused():
    made = table([1.5, 2.5, 3.5], a=[float("nan"), float("nan"), 1.0], b=[1, 2, 3])
    refusal(
        DataError, lambda: Preprocessing.learn(made, np.arange(2), impute="median"), "'a' (no value)", "2 training rows"
    )


def test_infinities_are_counted():
    made = table([1.5, 2.5, 3.5], a=[np.inf, 1, -np.inf])
    refusal(DataError, lambda: Preprocessing.learn(made), "infinite values: 'a' (2 of 3)", "Correct")
    learned = Preprocessing.learn(table([1.5, 2.5, 3.5], a=[1, 2, 3]))
    refusal(DataError, lambda: learned.features(made), "'a' (2 of 3)")


def test_numbers_too_large_for_a_float_are_infinite(write):
    made = read_table(write("a,y", "1e400,1.5", "2,2.5"), target="y")
    refusal(DataError, lambda: Preprocessing.learn(made), "infinite values: 'a' (1 of 2)")


@pytest.mark.parametrize(
    ("cells", "parts"),
    [
        ([f"n{i}" for i in range(20)], ("20 different in 20 rows", "An id", "--drop a")),
        ([f"{i}/A" for i in range(20)], ("20 different in 20 rows",)),
        ([f"2024-01-{i + 1:02}" for i in range(20)], ("dates", "'2024-01-01'", "year, month or weekday", "--drop a")),
        ([f"{i + 1}/12/2024" for i in range(20)], ("dates", "'1/12/2024'")),
        ([f'"{i},5"' for i in range(20)], ("commas", "'0,5'", "1234.5")),
        ([*range(18), "?", "n/k"], ("18 numbers with 2 texts ('?', 'n/k')", "--categorical", "leave them empty")),
    ],
)
def test_text_that_is_no_category_is_refused_by_name_with_the_remedy(write, cells, parts):
    path = write("a,y", *(f"{cell},{y}" for cell, y in zip(cells, HALVES, strict=True)))
    refusal(DataError, lambda: Preprocessing.learn(read_table(path, target="y")), "'a'", *parts)


def test_a_hundred_categories_are_taken_and_not_one_more():
    def made(different: int) -> Table:
        n = 4 * different
        return table(np.linspace(0.1, 9.7, n), city=[f"c{i % different}" for i in range(n)])

    assert len(Preprocessing.learn(made(100)).feature_names) == 100
    refusal(DataError, lambda: Preprocessing.learn(made(101)), "'city' (101 different in 404 rows)", "at most 100")


def test_dates_of_a_parquet_file_are_refused_as_dates(tmp_path):
    frame = pd.DataFrame({"day": pd.date_range("2024-01-01", periods=20), "y": HALVES})
    frame.to_parquet(tmp_path / "data.parquet")
    read = read_table(tmp_path / "data.parquet", target="y")
    refusal(DataError, lambda: Preprocessing.learn(read), "'day'", "dates", "2024-01-01")


def test_all_columns_of_one_ailment_are_named_at_once():
    ids = [f"n{i}" for i in range(20)]
    refusal(DataError, lambda: Preprocessing.learn(table(HALVES, a=ids, b=ids)), "'a' (20", "'b' (20", "--drop a,b")


def test_a_mixture_that_was_asked_for_as_categories_is_taken(write):
    path = write("a,y", *(f"{['0', '1', '3+'][i % 3]},{y}" for i, y in enumerate(HALVES)))
    learned = Preprocessing.learn(read_table(path, target="y", categorical=["a"]))
    assert learned.feature_names == ("a=0", "a=1", "a=3+")
    # A later file in which all of them look like numbers is read alike.
    later = write("a", "1", "0", name="later.csv")
    for read in (read_table(later), read_table(later, categorical=learned.categorical)):
        np.testing.assert_array_equal(learned.features(read), [[0, 1, 0], [1, 0, 0]])


def test_labels_that_look_like_numbers_come_back_as_they_stood(write):
    path = write("a,y", *(f"{i},{['01', '02'][i % 2]}" for i in range(20)))
    learned = Preprocessing.learn(read_table(path, target="y", categorical=["y"]))
    assert learned.classes == ("01", "02")
    assert learned.targets(read_table(path, target="y", categorical=learned.categorical)).tolist() == [0, 1] * 10


def test_a_column_to_take_as_categories_must_be_there(write):
    read = read_table(write("a,y", "1,1.5", "2,2.5"), target="y", categorical=["zip"])
    refusal(ConfigurationError, lambda: Preprocessing.learn(read), "'zip'", "'a'")


def test_a_table_without_columns_besides_the_target_is_refused(write):
    read = read_table(write("y", "1.5", "2.5"), target="y")
    refusal(DataError, lambda: Preprocessing.learn(read), "no columns left", "'y'", "--separator")


def test_numbers_that_count_the_rows_are_said_to_be_an_id():
    shuffled = np.random.default_rng(0).permutation(20) + 7
    learned = Preprocessing.learn(table(HALVES, key=shuffled, a=HALVES))
    assert any("'key'" in line and "id" in line and "--drop key" in line for line in learned.describe())
    learned = Preprocessing.learn(table(HALVES, key=2 * shuffled, a=HALVES))
    assert not any("--drop" in line for line in learned.describe())


# --- prediction ------------------------------------------------------------------------------------------------------


def test_columns_are_found_by_name_in_any_order_and_the_target_may_be_there(write):
    learned = Preprocessing.learn(table([1.5, 2.5, 3.5], a=[1, 2, 3], b=[5, 9, 4]))
    one = learned.features(read_table(write("a,b", "1,5", "2,9")))
    other = learned.features(read_table(write("y,b,a", "0,5,1", "0,9,2")))
    np.testing.assert_array_equal(one, other)


def test_columns_missing_at_prediction_are_named():
    learned = Preprocessing.learn(table([1.5, 2.5, 3.5], rooms=[1, 2, 3], area=[5, 9, 4]))
    refusal(DataError, lambda: learned.features(table(area=[1])), "lacks 1 of the 2 columns", "'rooms'")
    refusal(DataError, lambda: learned.features(table(area=[1], room=[1])), "Is 'room' the column 'rooms'? Rename it")
    refusal(DataError, lambda: learned.features(table(AREA=[1], rooms=[1])), "Is 'AREA' the column 'area'? Rename it")
    learned = Preprocessing.learn(table([1.5, 2.5, 3.5], A=[1, 2, 3]))
    refusal(DataError, lambda: learned.features(table(a=[1])), "Is 'a' the column 'A'? Rename it")


def test_columns_unknown_at_prediction_are_named_and_dropped_ones_passed_over(write):
    path = write("a,note,y", "1,u1,1.5", "2,u2,2.5", "3,u3,3.5")
    read = read_table(path, target="y", drop=["note"])
    assert list(read.columns) == ["a"]
    learned = Preprocessing.learn(read)
    assert any("left out: 'note'" in line for line in learned.describe())
    assert learned.features(read_table(path)).shape == (3, 1)
    new = write("a,b", "1,2")
    refusal(DataError, lambda: learned.features(read_table(new)), "not trained on: 'b'", "--drop b")
    assert learned.features(read_table(new, drop=["b"])).shape == (1, 1)


def test_text_where_numbers_were_is_refused():
    learned = Preprocessing.learn(table([1.5, 2.5, 3.5], a=[1, 2, 3]))
    refusal(DataError, lambda: learned.features(table(a=["old", "new"])), "'a'", "'old'", "trained on numbers")
    refusal(DataError, lambda: learned.features(table(a=["1", "new"])), "1 number with 1 text ('new')")


# --- targets and answers ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "classes"),
    [
        (["v", "u", "v", "u"], ("u", "v")),
        ([5, -1, 5, -1], (-1, 5)),
        ([5.0, -1.0, 5.0, -1.0], (-1, 5)),
        ([True, False, True, False], (False, True)),
    ],
)
def test_labels_become_indices_and_come_back_as_they_were(target, classes):
    made = table(target, a=[1, 2, 3, 4])
    learned = Preprocessing.learn(made)
    assert learned.classes == classes
    assert list(map(type, learned.classes)) == list(map(type, classes))
    y = learned.targets(made)
    assert (y.tolist(), y.dtype) == ([1, 0, 1, 0], np.int64)
    assert learned.decode(y.reshape(-1, 1)).tolist() == target


def test_a_quantity_is_standardised_with_the_training_rows_and_comes_back():
    made = table([1.5, 2.5, 100.5], a=[1, 2, 3])
    learned = Preprocessing.learn(made, np.arange(2))
    y = learned.targets(made)
    np.testing.assert_allclose(y, [-1.0, 1.0, 197.0])  # mean 2, standard deviation 1/2
    np.testing.assert_allclose(learned.decode(y.astype(np.float32)), [1.5, 2.5, 100.5], rtol=1e-6)
    assert (learned.kind, learned.target_name, learned.target_std, learned.classes) == ("regression", "y", 0.5, ())


def test_labels_that_training_never_saw_are_named():
    learned = Preprocessing.learn(table(["u", "v"] * 2, a=[1, 2, 3, 4]))
    refusal(DataError, lambda: learned.targets(table(["u", "w"], a=[1, 2])), "'w' (1 row)", "'u', 'v'")
    refusal(DataError, lambda: learned.decode(np.asarray([0, 2])), "0..1", "2")
    refusal(DataError, lambda: learned.decode(np.asarray([0.5])), "integers")


def test_a_class_of_one_row_is_said():
    learned = Preprocessing.learn(table(["u"] * 4 + ["v"] * 4 + ["w"], a=range(9)))
    assert any("one row only of 'w'" in line for line in learned.describe())


# --- the journey as JSON ---------------------------------------------------------------------------------------------


def everything(task: str) -> tuple[Table, Preprocessing]:
    target = TURNS if task == "classification" else HALVES
    made = table(target, a=[float("nan"), *range(19)], city=["Oslo", "Rome"] * 10)
    return made, Preprocessing.learn(made, np.arange(15), impute="median", unseen="ignore")


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_a_description_survives_json_unchanged(task):
    made, learned = everything(task)
    back = Preprocessing.from_json(json.loads(json.dumps(learned.to_json(), allow_nan=False)))
    assert back == learned
    np.testing.assert_array_equal(back.features(made), learned.features(made))
    np.testing.assert_array_equal(back.targets(made), learned.targets(made))
    assert back.describe() == learned.describe()


@pytest.mark.parametrize("classes", [[True, False], [3, -4], ["u", "v"]])
def test_classes_keep_their_type_through_json(classes):
    learned = Preprocessing.learn(table(classes * 5, a=range(10)))
    back = Preprocessing.from_json(json.loads(json.dumps(learned.to_json())))
    assert list(map(type, back.classes)) == list(map(type, learned.classes))


HOSTILE: list[tuple[tuple[Any, ...], Any]] = [
    ((), None),
    ((), []),
    (("columns",), None),
    (("columns",), []),
    (("columns",), {}),
    (("columns", 0), "numeric"),
    (("columns", 0, "kind"), "exec"),
    (("columns", 0, "kind"), ["numeric"]),
    (("columns", 0, "name"), 3),
    (("columns", 0, "name"), "city"),
    (("columns", 0, "name"), "y"),
    (("columns", 0, "mean"), float("nan")),
    (("columns", 0, "mean"), "0"),
    (("columns", 0, "mean"), True),
    (("columns", 0, "mean"), 10**400),
    (("columns", 0, "std"), 0.0),
    (("columns", 0, "std"), -1.0),
    (("columns", 0, "std"), float("inf")),
    (("columns", 0, "median"), []),
    (("columns", 0, "median"), None),
    (("columns", 1, "categories"), []),
    (("columns", 1, "categories"), "Oslo"),
    (("columns", 1, "categories"), ["Oslo", 1]),
    (("columns", 1, "categories"), ["Oslo", "Oslo"]),
    (("columns", 1, "most_frequent"), "Bern"),
    (("columns", 1, "most_frequent"), {}),
    (("target",), None),
    (("target", "kind"), "clustering"),
    (("target", "name"), None),
    (("target", "classes"), ["u"]),
    (("target", "classes"), ["u", "u"]),
    (("target", "classes"), ["u", 1]),
    (("target", "classes"), [True, 1]),
    (("target", "classes"), [[], []]),
    (("target", "classes"), [0.5, 1.5]),
    (("target", "classes"), [1, 2**63]),
    (("target", "classes"), 2),
    (("unseen",), "guess"),
    (("unseen",), None),
    (("impute",), "mean"),
    (("impute",), None),
    (("dropped",), [1]),
    (("notes",), "all is well"),
]


@pytest.mark.parametrize(("path", "value"), HOSTILE, ids=[f"{'.'.join(map(str, p))}={v!r}"[:40] for p, v in HOSTILE])
def test_an_altered_description_is_refused_by_the_field(path, value):
    stored = everything("classification")[1].to_json()
    if not path:
        stored = value
    else:
        inner = stored
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = value
    refusal(ModelFileError, lambda: Preprocessing.from_json(stored), "preprocessing", "expected", "got", "damaged")


@pytest.mark.parametrize("field", ["mean", "std"])
def test_an_altered_quantity_is_refused(field):
    stored = everything("regression")[1].to_json()
    del stored["target"][field]
    refusal(ModelFileError, lambda: Preprocessing.from_json(stored), f"preprocessing.target.{field}")


def test_options_that_cannot_be_are_refused():
    made = table(HALVES, a=HALVES)
    refusal(ConfigurationError, lambda: Preprocessing.learn(made, impute="mean"), "imputation", "median")
    refusal(ConfigurationError, lambda: Preprocessing.learn(made, unseen="ignored"), "did you mean 'ignore'?")


# --- the split -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stratify", [False, True])
@pytest.mark.parametrize(("n", "fraction", "held"), [(10, 0.2, 2), (7, 0.5, 4), (2, 0.9, 1), (5, 0.01, 1), (5, 0.0, 0)])
def test_a_split_is_a_partition_of_the_asked_size(n, fraction, held, stratify):
    train, test = split(n, np.zeros(n, int), fraction=fraction, seed=0, stratify=stratify)
    assert len(test) == held
    assert sorted([*train, *test]) == list(range(n))
    assert train.tolist() == sorted(train)


def test_a_split_is_keyed_by_seed_and_part():
    def test_rows(**options: Any) -> list[int]:
        return split(100, fraction=0.3, **options)[1].tolist()

    assert test_rows(seed=1) == test_rows(seed=1)
    assert test_rows(seed=1) != test_rows(seed=2)
    assert test_rows(seed=1, part="test") != test_rows(seed=1, part="validation")


def test_a_split_is_the_same_on_every_machine():
    # Written down once: a change of the generator or of its key would silently change every user's test part.
    assert split(12, fraction=0.25, seed=0)[1].tolist() == [0, 7, 9]


def test_a_stratified_split_rounds_by_the_largest_remainder():
    # 25 % of 10, 7 and 3 rows: 2.5, 1.75 and 0.75; five in all: 2, 1 and 0 and one more where .75 is left.
    y = np.asarray(["a"] * 10 + ["b"] * 7 + ["c"] * 3, dtype=object)
    _, test = split(20, y, fraction=0.25, seed=3, stratify=True)
    assert [int((y[test] == c).sum()) for c in "abc"] == [2, 2, 1]


def test_every_class_keeps_a_row_in_training():
    y = np.asarray([0] * 20 + [1, 2, 2])
    for seed in range(20):
        train, test = split(len(y), y, fraction=0.9, seed=seed, stratify=True)
        assert set(y[train]) == {0, 1, 2}
        assert 1 not in y[test]


def test_which_rows_of_a_class_are_held_out_is_left_to_chance():
    y = np.repeat([0, 1], 10)
    drawn = {tuple(split(20, y, fraction=0.5, seed=seed, stratify=True)[1]) for seed in range(10)}
    assert len(drawn) == 10


def test_splits_that_cannot_be_are_refused():
    refusal(ConfigurationError, lambda: split(10, fraction=1.0, seed=0), "[0, 1)", "1.0")
    refusal(DataError, lambda: split(1, fraction=0.5, seed=0), "at least 2 rows", "1")
    refusal(DataError, lambda: split(3, fraction=0.5, seed=0, stratify=True), "3 labels", "none")
