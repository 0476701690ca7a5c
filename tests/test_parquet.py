"""Parquet files as rows: bit for bit the network of rows in memory, from one file or a folder of them."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Platform
from streamed_rows import RNG, X, Y, fit, same

import chainrule as cr
from chainrule._data.streams import _parquet, _windows, shuffled_in_windows


@pytest.fixture
def path(tmp_path: Path) -> Path:
    np.save(tmp_path / "X.npy", X)
    return tmp_path / "X.npy"


@pytest.fixture
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows of 128 rows, so that 1,000 rows are eight of them."""
    monkeypatch.setattr(_windows, "WINDOW_BYTES", 8 * 6 * 128)
    monkeypatch.setattr(_parquet, "WINDOW_BYTES", 8 * 6 * 128)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """X and Y in three files with row groups of 90 rows: plain columns, one of lists of two, and the target."""
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    (tmp_path / "set").mkdir()
    for number, (first, last) in enumerate(((0, 300), (300, 333), (333, 1000))):
        x = X[first:last]
        pairs = pa.FixedSizeListArray.from_arrays(pa.array(x[:, 2:4].ravel()), 2)
        columns = {"a": x[:, 0], "b": x[:, 1], "pair": pairs, "c": x[:, 4], "d": x[:, 5], "y": Y[first:last]}
        pq.write_table(pa.table(columns), tmp_path / "set" / f"part-{number}.parquet", row_group_size=90)
    return tmp_path / "set"


def test_parquet_files_are_rows(folder: Path) -> None:
    rows = cr.Parquet(folder, drop="y")
    assert (rows.shape, rows.dtype, rows.columns) == ((1000, 6), np.float32, ["a", "b", "pair", "c", "d"])
    for first, last in ((0, 1000), (0, 1), (85, 95), (299, 334), (999, 1000), (300, 300), (990, 2000)):
        np.testing.assert_array_equal(rows[first:last], X[first:last])
    np.testing.assert_array_equal(rows.column("y"), Y)
    np.testing.assert_array_equal(rows.column("pair"), X[:, 2:4])
    one = cr.Parquet(folder / "part-1.parquet", columns=["d", "a"])
    np.testing.assert_array_equal(one[0:33], X[300:333][:, [5, 0]])


@pytest.mark.parametrize("library", ["numpy", "torch", "jax-jit"])
def test_parquet_files_train_the_network_that_rows_in_memory_do(
    library: str, folder: Path, small_windows: None, open_platform: Callable[..., Platform]
) -> None:
    on, rows = open_platform(library).backend.name, cr.Parquet(folder, drop="y")
    model = fit(rows, rows.column("y"), shuffle=False, backend=on)
    assert same(model, fit(X, shuffle=False, backend=on))
    np.testing.assert_allclose(model.predict_proba(rows), model.predict_proba(X), rtol=0, atol=1e-6)


def test_a_folder_of_features_is_given_by_its_path(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    pandas.DataFrame(X, columns=[*"abcdef"]).to_parquet(tmp_path / "0.parquet")
    for given in (tmp_path, str(tmp_path / "0.parquet")):
        model = fit(given)
        assert same(model, fit(X))
        np.testing.assert_array_equal(model.predict(given), model.predict(X))


def test_row_groups_are_shuffled_and_read_once_or_twice_an_epoch(
    folder: Path, small_windows: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, read, original = cr.Parquet(folder, drop="y"), [], cr.Parquet._read
    monkeypatch.setattr(cr.Parquet, "_read", lambda self, block: (read.append(block), original(self, block))[1])
    fit(rows, rows.column("y"), epochs=1)
    assert len(set(read)) == len(rows.starts) == 13
    assert len(read) <= 2 * 13
    order = shuffled_in_windows(np.random.default_rng(0), 1000, 128, 32, rows.starts)
    np.testing.assert_array_equal(np.sort(order), np.arange(1000))
    assert np.ptp(order[:128]) > 200, "from more than one row group"


def test_a_row_group_larger_than_a_window_is_read_in_parts(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_parquet, "WINDOW_BYTES", 8 * 6 * 40)
    with pytest.warns(UserWarning, match=r"row groups of 90 rows are larger than the 40 .* row_group_size=10"):
        rows = cr.Parquet(folder, drop="y")
    assert max(np.diff(rows.starts)) == 40
    for first, last in ((0, 1000), (35, 45), (70, 200)):
        np.testing.assert_array_equal(rows[first:last], X[first:last])


def test_truth_values_whole_numbers_and_nulls(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame({"t": [True, False, None], "i": [1, 2, 3], "n": [1.0, None, 3.0]})
    table["t"] = table["t"].astype("boolean")
    table.to_parquet(tmp_path / "x.parquet")
    rows = cr.Parquet(tmp_path / "x.parquet")
    np.testing.assert_array_equal(rows[0:3], [[1, 1, 1], [0, 2, np.nan], [np.nan, 3, 3]])
    with pytest.raises(cr.DataError, match=r"rows 1, 2"):
        cr.fit(cr.mlp([3, 1]), rows, np.ones(3), loss="squared_error")


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_columns_of_one_type_are_read_as_they_are(dtype: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    want = X.astype(dtype)
    columns = {f"x{i}": pa.array(want[:, i], mask=np.arange(1000) == 10 * i) for i in range(6)}
    want[[*range(0, 60, 10)], [*range(6)]] = np.nan
    pq.write_table(pa.table(columns), tmp_path / "x.parquet", row_group_size=90)
    np.testing.assert_array_equal(np.asarray(cr.Parquet(tmp_path / "x.parquet")), want)
    monkeypatch.setattr(_parquet, "WINDOW_BYTES", 8 * 6 * 40)
    with pytest.warns(UserWarning, match="larger than the 40"):
        rows = cr.Parquet(tmp_path / "x.parquet")
    np.testing.assert_array_equal(np.asarray(rows), want)


def test_a_training_over_parquet_resumes_and_tells_other_files(folder: Path, tmp_path: Path) -> None:
    rows = cr.Parquet(folder, drop="y")
    fit(rows, epochs=2, checkpoint=tmp_path / "run")
    again = fit(cr.Parquet(folder, drop="y"), epochs=3, checkpoint=cr.Checkpoint(tmp_path / "run", resume=True))
    assert same(again, fit(rows, epochs=3))
    with pytest.raises(cr.ConfigurationError, match="data is not the same"):
        fit(
            cr.Parquet(folder, ["b", "a", "pair", "c", "d"]),
            epochs=3,
            checkpoint=cr.Checkpoint(tmp_path / "run", resume=True),
        )


def test_what_is_wrong_with_parquet_is_said(folder: Path, tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    (tmp_path / "empty").mkdir()
    pandas.DataFrame({"a": ["x"]}).to_parquet(tmp_path / "text.parquet")
    pandas.DataFrame({"a": np.zeros(0)}).to_parquet(tmp_path / "none.parquet")
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 and then something else")
    mistakes: list[tuple[Callable[[], Any], type[Exception], str]] = [
        (lambda: cr.Parquet(tmp_path / "nowhere.parquet"), cr.FileError, "nowhere"),
        (lambda: cr.Parquet(tmp_path / "empty"), cr.DataError, "a folder without .parquet files"),
        (
            lambda: cr.Parquet(tmp_path / "text.parquet"),
            cr.DataError,
            "'a' .* holds .*string, not numbers: leave it out",
        ),
        (lambda: cr.Parquet(tmp_path / "none.parquet"), cr.DataError, "has no rows"),
        (lambda: cr.Parquet(tmp_path / "bad.parquet"), cr.FileError, "as Parquet"),
        (lambda: cr.Parquet(folder, columns=["z"]), cr.ConfigurationError, "column"),
        (lambda: cr.Parquet(folder, drop=[*"abcdy", "pair"]), cr.ConfigurationError, "no column is left"),
        (lambda: cr.Parquet(folder).column("z"), cr.ConfigurationError, "column"),
        (lambda: cr.Parquet(folder)[0:8:2], cr.ConfigurationError, r"got rows\[slice\(0, 8, 2\)\]"),
        (lambda: fit(folder), cr.DataError, r"\(rows, 6\).*\(1000, 7\)"),
    ]
    for call, kind, says in mistakes:
        with pytest.raises(kind, match=says):
            call()
    pandas.DataFrame({"z": [1.0]}).to_parquet(folder / "part-9.parquet")
    with pytest.raises(cr.DataError, match=r"part-9.parquet and .* differ in their columns|has other columns"):
        cr.Parquet(folder)


def test_what_pandas_wrote_as_an_index_is_no_feature(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=[*"abcdef"])
    for name, index in (("drawn", RNG.permutation(1000)), ("named", pandas.Index(RNG.permutation(1000), name="id"))):
        frame.set_index(index).to_parquet(tmp_path / f"{name}.parquet")
        assert cr.Parquet(tmp_path / f"{name}.parquet").columns == [*"abcdef"]
    assert cr.Parquet(tmp_path / "named.parquet", ["a", "id"]).shape == (1000, 2)


def test_a_folder_is_its_files_and_those_of_its_folders(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    places = ("b.parquet", "a.parquet/part-0.parquet", "c/year=2025/0.parquet", "c/notes.txt")
    left_out = (".hidden.parquet", ".checkpoints/0.parquet", "_log/0.parquet", "c/_temporary/0.parquet")
    for number, place in enumerate((*places, *left_out)):
        (tmp_path / "set" / place).parent.mkdir(parents=True, exist_ok=True)
        pandas.DataFrame({"a": [float(number)]}).to_parquet(tmp_path / "set" / place)
    (tmp_path / "link").symlink_to(tmp_path / "set")
    (tmp_path / "one.parquet").symlink_to(tmp_path / "set" / "b.parquet")
    for given in (tmp_path / "set", tmp_path / "link"):
        np.testing.assert_array_equal(np.asarray(cr.Parquet(given)), [[1], [0], [2]])
    np.testing.assert_array_equal(np.asarray(cr.Parquet(tmp_path / "one.parquet")), [[0]])


LINKS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "to a file beside it": (
        lambda p: (p / "latest.parquet").symlink_to("0.parquet"),
        "latest.parquet .*same file as 0",
    ),
    "to it by its whole path": (lambda p: (p / "-.parquet").symlink_to(p / "0.parquet"), "-.parquet .*same file as 0"),
    "to a file of a folder": (lambda p: (p / "z.parquet").symlink_to("in/1.parquet"), r"z.parquet .*same file as in/1"),
    "to a link": (
        lambda p: ((p / "z.parquet").symlink_to("y.parquet"), (p / "y.parquet").symlink_to("0.parquet")),
        r"y.parquet .*same file as 0.*z.parquet .*same file as 0",
    ),
    "by a second name": (
        lambda p: (p / "in" / "z.parquet").hardlink_to(p / "0.parquet"),
        "in/z.parquet .*same file as 0",
    ),
    "to the folder itself": (lambda p: (p / "loop").symlink_to("."), "loop .a link to a folder"),
    "to a folder above": (lambda p: (p / "in" / "up").symlink_to(".."), "in/up .a link to a folder"),
    "to a folder elsewhere": (lambda p: (p / "out").symlink_to(p.parent / "else"), "out .a link to a folder"),
    "with a file's name": (
        lambda p: (p / "out.parquet").symlink_to(p.parent / "else"),
        "out.parquet .a link to a folder",
    ),
    "to a file elsewhere": (
        lambda p: (p / "o.parquet").symlink_to(p.parent / "else" / "9.parquet"),
        "o.parquet .a link out of the folder",
    ),
    "to nothing": (lambda p: (p / "gone.parquet").symlink_to("none.parquet"), "gone.parquet .a link to nothing"),
    "to itself": (lambda p: (p / "self.parquet").symlink_to("self.parquet"), "self.parquet .a link to nothing"),
    "with a short name": (
        lambda p: (p / "x.pq").write_bytes((p / "0.parquet").read_bytes()),
        "x.pq .its name does not end in .parquet",
    ),
    "that is a pipe": (lambda p: os.mkfifo(p / "p.parquet"), "p.parquet .no file"),
}


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege on Windows")
@pytest.mark.parametrize("what", LINKS)
def test_a_folder_counts_a_file_once_and_follows_no_link_out_of_it(what: str, tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    for number, place in enumerate(("set/0.parquet", "set/in/1.parquet", "else/9.parquet")):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        pandas.DataFrame({"a": [float(number)]}).to_parquet(tmp_path / place)
    link, says = LINKS[what]
    link(tmp_path / "set")
    with pytest.warns(UserWarning, match=f"in .*set these are passed over: {says}") as seen:
        rows = cr.Parquet(tmp_path / "set")
    assert (len(seen), seen[0].filename) == (1, __file__)
    np.testing.assert_array_equal(np.asarray(rows), [[0], [1]])


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege on Windows")
def test_a_link_to_a_file_that_is_left_out_itself_is_a_file_of_the_folder(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    for place in (".store/a.parquet", "b.data"):
        (tmp_path / "set" / place).parent.mkdir(parents=True, exist_ok=True)
        pandas.DataFrame({"a": [float(len(place))]}).to_parquet(tmp_path / "set" / place)
    (tmp_path / "set" / "0.parquet").symlink_to(tmp_path / "set" / ".store" / "a.parquet")
    (tmp_path / "set" / "1.parquet").symlink_to("b.data")
    np.testing.assert_array_equal(np.asarray(cr.Parquet(tmp_path / "set")), [[16], [6]])
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "x.parquet").symlink_to(tmp_path / "set" / "b.data")
    with pytest.raises(cr.DataError, match=r"without .parquet files but x.parquet .a link out of the folder"):
        cr.Parquet(tmp_path / "links")


def test_what_is_done_to_rows_that_were_read_reaches_no_training(folder: Path, small_windows: None) -> None:
    rows = cr.Parquet(folder, drop="y")
    for part in (rows[0:90], rows[300:333]):
        with pytest.raises(ValueError, match="read-only"):
            part *= 0
    one = cr.Parquet(folder / "part-1.parquet", drop="y")
    np.asarray(one)[:] = 0
    rows[0:200][:] = 0  # of two row groups, so in memory of its own
    np.testing.assert_array_equal(one[0:33], X[300:333])
    np.testing.assert_array_equal(fit(rows, shuffle=False).theta, fit(X, shuffle=False).theta)


def test_files_need_the_same_features_and_nothing_else(folder: Path) -> None:
    pandas = pytest.importorskip("pandas")
    more = pandas.DataFrame({"note": ["x"], "b": X[:1, 1], "a": X[:1, 0]})
    more.to_parquet(folder / "part-9.parquet")
    rows = cr.Parquet(folder, columns=["a", "b"])
    np.testing.assert_array_equal(np.asarray(rows), X[[*range(1000), 0]][:, :2])
    more.astype({"a": "float64"}).to_parquet(folder / "part-9.parquet")
    with pytest.raises(cr.DataError, match=r"part-9.parquet has other columns, or other types"):
        cr.Parquet(folder, columns=["a", "b"])


def test_columns_are_named_by_anything_that_gives_names(folder: Path) -> None:
    for make in (str, lambda name: [name], lambda name: (each for each in [name]), lambda name: np.asarray([name])):
        assert list(cr.Parquet(folder, make("pair")).columns) == ["pair"]
        assert cr.Parquet(folder, drop=make("pair")).columns == [*"abcdy"]
    with pytest.raises(cr.ConfigurationError, match=r"the column 'a' of .* is there twice"):
        cr.Parquet(folder, ["a", "b", "a"])


def test_parquet_rows_may_be_targets_and_a_validation_set(folder: Path) -> None:
    rows = cr.Parquet(folder, drop="y")
    got, want = fit(rows, cr.Parquet(folder, "y"), validation=(rows, Y)), fit(X, validation=(X, Y))
    assert same(got, want)
    assert got.history["val_loss"] == want.history["val_loss"]
    assert got.evaluate(rows, Y) == want.evaluate(X, Y)
    settings: dict[str, Any] = {"loss": "squared_error", "epochs": 1}
    numbers = cr.fit(cr.mlp([6, 3]), rows, cr.Parquet(folder, ["a", "pair"]), **settings)
    assert same(numbers, cr.fit(cr.mlp([6, 3]), X, X[:, [0, 2, 3]], **settings))


def test_a_column_of_categories_keeps_its_nulls(tmp_path: Path) -> None:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    labels = pa.array(["a", "b", None]).dictionary_encode()
    pq.write_table(pa.table({"x": [1.0, 2.0, 3.0], "label": labels}), tmp_path / "x.parquet", row_group_size=1)
    assert cr.Parquet(tmp_path / "x.parquet", "x").column("label").tolist() == ["a", "b", None]


@pytest.mark.parametrize("how", ["cut off", "written anew", "removed"])
def test_files_that_change_while_they_are_read_are_named(how: str, folder: Path, small_windows: None) -> None:
    class Changes:
        def on_epoch_end(self, run: Any, record: Any) -> None:
            for path in folder.glob("*.parquet"):
                content = path.read_bytes()
                path.unlink()
                if how != "removed":
                    path.write_bytes(content if how == "written anew" else content[:99])

    rows = cr.Parquet(folder, drop="y")
    says = r"part-\d.parquet (as Parquet: .*No such file|has changed since it was opened: make)"
    with pytest.raises(cr.FileError, match=says):
        fit(rows, callbacks=[Changes()])


@pytest.mark.skipif(sys.platform != "linux", reason="/proc lists the open files on Linux")
def test_a_folder_may_have_more_files_than_a_process_may_open(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    for number in range(40):
        pandas.DataFrame({"a": [float(number)]}).to_parquet(tmp_path / f"{number:02}.parquet")
    rows = cr.Parquet(tmp_path)
    assert np.asarray(rows)[:, 0].tolist() == list(range(40))
    held = [link.resolve() for link in Path("/proc/self/fd").iterdir()]
    assert 1 <= len([path for path in held if tmp_path in path.parents]) <= 16


@pytest.mark.parametrize("dtype", ["complex64", "datetime64[s]", "U3", [("a", "f4")]])
def test_a_file_of_other_things_than_numbers_is_refused(dtype: Any, tmp_path: Path) -> None:
    np.save(tmp_path / "X.npy", np.zeros((1000, 6), dtype))
    with pytest.raises(cr.DTypeError, match="X must hold real numbers, got dtype"):
        fit(tmp_path / "X.npy")


def test_a_file_of_several_arrays_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "X.npz", X)
    (tmp_path / "X.npz").rename(tmp_path / "X.npy")
    with pytest.raises(cr.DataError, match=r"X.npy holds several arrays, expected one"):
        fit(tmp_path / "X.npy")


def test_a_path_is_taken_wherever_an_array_is(path: Path, folder: Path) -> None:
    model = fit(X, validation=(path, Y))
    assert model.history["val_loss"] == fit(X, validation=(X, Y)).history["val_loss"]
    assert model.evaluate(path, Y) == model.evaluate(X, Y)
    with pytest.raises(cr.DataError, match=r"X must have shape \(rows, 6\).*cr.Parquet\(path, columns="):
        fit(folder)
