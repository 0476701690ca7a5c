"""Tables of files: CSV, Parquet and NumPy's become columns, or are refused in a sentence."""

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
from small_tables import refusal

from chainrule._base.errors import ConfigurationError, DataError, FileError, MissingExtraError
from chainrule.tables import Preprocessing, infer_task, read_table


@pytest.fixture
def write(tmp_path):
    """Writes a CSV from its header and its rows, and gives the path."""

    def write(header: str, *rows: object, name: str = "data.csv") -> Path:
        path = tmp_path / name
        path.write_text("\n".join([header, *map(str, rows)]) + "\n")
        return path

    return write


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


@pytest.mark.skipif(pd.__version__ < "3", reason="pandas 2 reads numbers beyond its own as text")
def test_large_whole_numbers_are_a_quantity_where_there_are_many(write):
    read = read_table(write("a,y", *(f"{i},{10**25 + i * 10**23}" for i in range(20))), target="y")
    assert infer_task(read)[0] == "regression"
    learned = Preprocessing.learn(read)
    np.testing.assert_allclose(learned.targets(read), np.arange(-9.5, 10) / np.std(np.arange(20)))
    assert learned.features(read).shape == (20, 1)


@pytest.mark.skipif(pd.__version__ < "3", reason="pandas 2 reads numbers beyond its own as text")
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
