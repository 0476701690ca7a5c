"""Data that need not fit in memory: the same training, in bounded memory."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Platform

import chainrule as cr
from chainrule._data.streams import Windows, _parquet, _windows, open_rows, shuffled_in_windows

RNG = np.random.default_rng(3)
X = RNG.normal(size=(1000, 6)).astype("float32")
Y = (X[:, 0] * X[:, 1] > 0).astype(int)


class Slices:
    """What an HDF5 or a Zarr array offers: a shape, a dtype, and slices."""

    def __init__(self, rows: np.ndarray) -> None:
        self._rows, self.shape, self.dtype = rows, rows.shape, rows.dtype
        self.read: list[slice] = []

    def __getitem__(self, part: slice) -> np.ndarray:
        self.read.append(part)
        return self._rows[part]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    np.save(tmp_path / "X.npy", X)
    return tmp_path / "X.npy"


@pytest.fixture
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows of 128 rows, so that 1,000 rows are eight of them."""
    monkeypatch.setattr(_windows, "WINDOW_BYTES", 8 * 6 * 128)
    monkeypatch.setattr(_parquet, "WINDOW_BYTES", 8 * 6 * 128)


def fit(x: Any, y: Any = Y, **settings: Any) -> cr.Model:
    usual: dict[str, Any] = {"loss": "softmax_cross_entropy", "epochs": 3, "batch_size": 32, "seed": 1}
    return cr.fit(cr.mlp([6, 8, 2], dropout=0.2), x, y, **{**usual, **settings})


def same(got: cr.Model, want: cr.Model) -> bool:
    return np.array_equal(np.asarray(got.theta), np.asarray(want.theta))


@pytest.mark.parametrize("library", ["numpy", "torch", "jax-jit"])
@pytest.mark.parametrize("kind", ["path", "memory map", "slices"])
def test_rows_on_disk_train_the_network_that_rows_in_memory_do(
    kind: str, library: str, path: Path, small_windows: None, open_platform: Callable[..., Platform]
) -> None:
    on = open_platform(library).backend.name
    given: Any = {"path": str(path), "memory map": np.load(path, mmap_mode="r"), "slices": Slices(X)}[kind]
    assert same(fit(given, shuffle=False, backend=on), fit(X, shuffle=False, backend=on))


def test_rows_that_make_one_window_are_shuffled_as_in_memory(path: Path) -> None:
    assert same(fit(path), fit(X))


def test_targets_may_lie_in_a_file_too(path: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "y.npy", Y)
    model = fit(path, tmp_path / "y.npy")
    assert same(model, fit(X))
    assert model.predict(X).shape == (1000,)


def test_an_order_is_a_permutation_of_long_runs_from_all_over() -> None:
    order = shuffled_in_windows(np.random.default_rng(0), 100_003, 8_000, 100)
    np.testing.assert_array_equal(np.sort(order), np.arange(100_003))
    window = np.sort(order[:8_000])
    assert len(np.flatnonzero(np.diff(window) != 1)) <= 8, "eight runs of neighbours"
    assert np.ptp(window) > 40_000
    assert np.mean(np.diff(order[:8_000]) == 1) < 0.01, "and shuffled among themselves"
    again = shuffled_in_windows(np.random.default_rng(0), 100_003, 8_000, 100)
    np.testing.assert_array_equal(order, again)


def test_windows_give_the_rows_of_an_order_across_their_edges() -> None:
    windows = Windows(X, 128, "float64")
    order = shuffled_in_windows(np.random.default_rng(0), 1000, 128, 32)
    windows.begin(order)
    for first, rows in ((0, 32), (100, 60), (990, 10), (0, 1000), (5, 300)):
        np.testing.assert_array_equal(windows.take(first, rows), X[order[first : first + rows]].astype("float64"))
    windows.close()


def test_only_windows_are_read_and_each_once_an_epoch(small_windows: None) -> None:
    rows = Slices(X)
    fit(rows, epochs=2, batch_size=16)
    assert max(part.stop - part.start for part in rows.read) <= 128
    assert sum(part.stop - part.start for part in rows.read) == 2 * 1000


def test_predictions_come_in_windows(path: Path, small_windows: None) -> None:
    model, rows = fit(X), Slices(X)
    for given in (path, np.load(path, mmap_mode="r"), rows):
        np.testing.assert_array_equal(model.predict(given), model.predict(X))
        np.testing.assert_allclose(model.predict_proba(given), model.predict_proba(X), rtol=0, atol=1e-6)
    assert max(part.stop - part.start for part in rows.read) <= 128


def test_a_training_over_a_file_resumes(path: Path, tmp_path: Path, small_windows: None) -> None:
    class Dies:
        def on_step_end(self, run: Any) -> None:
            if (run.epoch, run.step) == (2, 20):
                raise KeyboardInterrupt

    want = fit(path)
    with pytest.raises(KeyboardInterrupt):
        fit(path, checkpoint=cr.Checkpoint(tmp_path / "runs", every="0 s"), callbacks=[Dies()])
    assert same(fit(path, checkpoint=tmp_path / "runs", resume=True), want)


def test_a_divergence_over_a_file_is_located(path: Path, small_windows: None) -> None:
    settings: dict[str, Any] = {"optimizer": cr.SGD(1e6), "loss": "squared_error", "shuffle": False}
    errors = []
    for given in (path, X):
        with pytest.raises(cr.DivergenceError) as caught:
            cr.fit(cr.mlp([6, 8, 1], activation="linear"), given, X[:, 0], **settings)
        errors.append(str(caught.value))
    assert errors[0] == errors[1]


BAD: dict[str, tuple[Callable[[Path], Any], type[Exception], str]] = {
    "no file": (lambda p: p / "none.npy", cr.FileError, "cannot read .*none.npy: No such file"),
    "another kind": (
        lambda p: p / "X.csv",
        cr.DataError,
        "the path of a .npy file, a .parquet file or a folder of them, got '.*X.csv'",
    ),
    "a pickle": (
        lambda p: np.save(p / "o.npy", np.asarray([{}, None])) or p / "o.npy",
        cr.DataError,
        "o.npy is no .npy",
    ),
    "no header": (lambda p: (p / "t.npy").write_text("text") and p / "t.npy", cr.DataError, "t.npy is no .npy"),
    "one dimension": (lambda p: Slices(X[:, 0]), cr.DataError, r"X must have shape \(rows, 6\)"),
    "other columns": (lambda p: Slices(X[:, :5]), cr.DataError, r"X must have shape \(rows, 6\).* got \(1000, 5\)"),
    "no rows": (lambda p: Slices(X[:0]), cr.DataError, r"got \(0, 6\)"),
    "other rows": (lambda p: Slices(X[:999]), cr.DataError, "same number of rows, got 999 and 1000"),
}


@pytest.mark.parametrize("what", BAD)
def test_what_cannot_be_read_is_refused(what: str, tmp_path: Path) -> None:
    make, error, message = BAD[what]
    with pytest.raises(error, match=message):
        fit(make(tmp_path))


def test_a_row_that_is_no_number_is_named_when_it_is_read(small_windows: None) -> None:
    broken = X.copy()
    broken[[700, 701], 2] = np.nan
    with pytest.raises(cr.DataError, match=r"X holds NaN in rows 700, 701: fill the missing values in, or drop these"):
        fit(Slices(broken))
    broken[[700, 701], 2] = np.inf
    with pytest.raises(
        cr.DataError, match=r"infinity, or .* too large for float32, in rows 700, 701: drop or scale th"
    ):
        fit(Slices(broken))


def test_a_row_that_cannot_be_predicted_is_counted_from_where_its_window_starts(monkeypatch: Any) -> None:
    model, broken = fit(X, epochs=1), X.copy()
    monkeypatch.setattr("chainrule._data.streams._windows.WINDOW_BYTES", 8 * 6 * 128)
    broken[300, 2] = np.nan
    with pytest.raises(cr.DataError, match=r"^counted from row 256: X holds NaN .* in 1 of 128 rows \(44\)"):
        model.predict(Slices(broken))
    broken[3, 2] = np.nan
    with pytest.raises(cr.DataError, match=r"^X holds NaN .* in 1 of 128 rows \(3\)"):
        model.predict(Slices(broken))


def test_a_null_of_a_parquet_file_is_named_by_its_row_and_column(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=[*"abcdef"])
    frame.loc[[700, 701], "c"] = None
    frame.loc[701, "e"] = None
    frame.to_parquet(tmp_path / "0.parquet")
    with pytest.raises(cr.DataError, match=r"X holds NaN in rows 700, 701, first in column 'c': fill the missing"):
        fit(cr.Parquet(tmp_path))


def test_what_is_in_memory_is_left_alone() -> None:
    frames = [pytest.importorskip(name).DataFrame(X) for name in ("pandas", "polars")]
    for given in (X, X.tolist(), *frames, None):
        assert open_rows(given) is None


BOUNDED = """
import resource, sys
import numpy as np, chainrule as cr
rows = np.lib.format.open_memmap(sys.argv[1], mode="w+", dtype="float32", shape=(500_000, 1000))  # 2 GB, mostly holes
rows[::1000] = np.random.default_rng(0).normal(size=(500, 1000)); rows.flush(); del rows
y = np.arange(500_000, dtype="int8") % 2
resource.setrlimit(resource.RLIMIT_DATA, (400 * 2**20, 400 * 2**20))
net = cr.mlp([1000, 8, 2])
model = cr.fit(net, sys.argv[1], y, loss="softmax_cross_entropy", epochs=1, batch_size=4096)
print(model.predict(sys.argv[1]).shape[0], len(model.history))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_DATA bounds a process's own memory on Linux")
def test_two_gigabytes_are_trained_on_and_predicted_in_four_hundred_megabytes(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", BOUNDED, str(tmp_path / "big.npy")],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.stdout.split() == ["500000", "1"], done.stderr


# -------------------------------------------------------------------------------------------------------------- Parquet


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
    again = fit(cr.Parquet(folder, drop="y"), epochs=3, checkpoint=tmp_path / "run", resume=True)
    assert same(again, fit(rows, epochs=3))
    with pytest.raises(cr.ConfigurationError, match="data is not the same"):
        fit(cr.Parquet(folder, ["b", "a", "pair", "c", "d"]), epochs=3, checkpoint=tmp_path / "run", resume=True)


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


# ------------------------------------------------------------------------------------------------- batches of one's own


class Loader:
    """Batches that can be gone through again, of no known number."""

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        return iter([(X[i : i + 32], Y[i : i + 32]) for i in range(0, len(X), 32)])


class SizedLoader(Loader):
    def __len__(self) -> int:
        return -(-len(X) // 32)


def fit_batches(given: Any, **settings: Any) -> cr.Model:
    return fit(given, None, **{"batch_size": None, **settings})


@pytest.mark.parametrize("library", ["numpy", "torch", "jax-jit"])
def test_batches_train_the_network_that_their_rows_do(library: str, open_platform: Callable[..., Platform]) -> None:
    on = open_platform(library).backend.name
    want = fit(X, shuffle=False, backend=on)
    kinds: list[Any] = [Loader(), SizedLoader(), lambda: iter(Loader()), list(Loader())]
    for given in kinds if on == "numpy" else kinds[:1]:
        got = fit_batches(given, backend=on)
        assert same(got, want)
        assert [{**r, "seconds": 0} for r in got.history] == [{**r, "seconds": 0} for r in want.history]
        assert got.predict(X).shape == (1000,)


def test_torchs_own_loader_is_an_iterable_of_batches() -> None:
    torch = pytest.importorskip("torch")
    data = torch.utils.data.TensorDataset(torch.asarray(X), torch.asarray(Y))
    loader = torch.utils.data.DataLoader(data, batch_size=32)
    model = fit_batches(loader)
    assert model.backend.name == "torch"
    assert same(model, fit(torch.asarray(X), torch.asarray(Y), shuffle=False))
    assert torch.equal(model.predict(loader), model.predict(torch.asarray(X)))


def test_a_loader_without_a_length_is_gone_through() -> None:
    torch = pytest.importorskip("torch")

    class Rows(torch.utils.data.IterableDataset):
        def __iter__(self) -> Iterator[Any]:
            return zip(X, Y, strict=True)

    want = fit(torch.asarray(X), torch.asarray(Y), shuffle=False)
    assert same(fit_batches(torch.utils.data.DataLoader(Rows(), batch_size=32)), want)


def test_a_batch_of_one_row_is_refused_by_its_number_before_batch_normalisation() -> None:
    network = cr.mlp([6, 8, 2], normalization="batch")
    with pytest.raises(cr.DataError, match="batch 2 has one row, on which batch normalisation cannot train: leave"):
        cr.fit(network, [(X[:32], Y[:32]), (X[:1], Y[:1])], loss="softmax_cross_entropy")


def test_batches_may_have_weights() -> None:
    weight = np.where(np.arange(1000) % 3, 1.0, 0.0)
    parts = [slice(i, i + 50) for i in range(0, 1000, 50)]
    got = fit_batches([(X[part], Y[part], weight[part]) for part in parts])
    assert same(got, fit(X, shuffle=False, batch_size=50, sample_weight=weight))


def test_the_next_batch_is_made_while_a_step_runs() -> None:
    made = 0

    def batches() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        nonlocal made
        for _ in range(4):
            made += 1
            yield X[:32], Y[:32]

    class Waits:
        def on_step_end(self, run: Any) -> None:
            deadline = time.monotonic() + 10
            while made < min(1 + run.step + 1, 5) and time.monotonic() < deadline:  # the first was looked at before
                time.sleep(0.001)
            assert made == min(1 + run.step + 1, 5)

    fit_batches(batches, epochs=1, callbacks=[Waits()])


@pytest.mark.parametrize("loader", [Loader, SizedLoader])
def test_a_training_over_batches_resumes_within_an_epoch(loader: type[Loader], tmp_path: Path) -> None:
    class Dies:
        def on_step_end(self, run: Any) -> None:
            if (run.epoch, run.step) == (2, 20):
                raise KeyboardInterrupt

    want = fit_batches(loader())
    with pytest.raises(KeyboardInterrupt):
        fit_batches(loader(), callbacks=[Dies()], checkpoint=cr.Checkpoint(tmp_path, every="0 s"))
    got = fit_batches(loader(), checkpoint=tmp_path, resume=True)
    assert same(got, want)
    assert got.history["learning_rate"] == want.history["learning_rate"]
    with pytest.raises(cr.ConfigurationError, match="batch_size was 32, now 30"):
        fit_batches([(X[:30], Y[:30])], checkpoint=tmp_path, resume=True)
    backwards = list(loader())[-2::-1]  # a loader that shuffles gives another first batch each time
    assert len(fit_batches(backwards, checkpoint=tmp_path, resume=True, epochs=4).history) == 4


def test_a_divergence_in_batches_is_found() -> None:
    def batches() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        yield X[:32], X[:32, 0]
        yield X[:32] * np.float32(1e30), X[:32, 0]

    with pytest.raises(cr.DivergenceError, match=r"epoch 1, step 2 of 2: .* inputs reach"):
        cr.fit(cr.mlp([6, 8, 1]), batches, loss="squared_error", optimizer="sgd")


def test_what_is_wrong_with_batches_is_said() -> None:
    whole = [(X[:32], Y[:32])]
    once, left = iter(whole), [*whole]

    def fewer() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        yield from [left.pop()] if left else []

    for given, settings, says in (
        (X, {}, "y is missing"),
        (3, {}, "y is missing"),
        (once, {}, "only once"),
        ((x for x in whole), {}, "a generator can be gone through only once"),
        (lambda: 3, {}, "must make an iterable of batches, got a int"),
        ([], {}, "there is no batch"),
        ([X[:3]], {}, "batch 1 must be"),
        ([(X[:3, :2], Y[:3])], {}, "X of batch 1 must have 6 features"),
        ([(X[:3], Y[:2])], {}, "same number of rows, got 3 and 2"),
        (lambda: once, {}, "a list_iterator can be gone through only once"),
        (fewer, {}, "an epoch had no batch"),
        ([*whole, None], {}, "batch 2 must be"),
        ([*whole, (np.full((3, 6), np.nan), Y[:3])], {}, "X of batch 2 holds NaN"),
        (whole, {"batch_size": 3}, "got batch_size too"),
        (whole, {"sample_weight": Y}, "got sample_weight too"),
        (Loader(), {"optimizer": cr.Adam(cr.CosineDecay(0.1))}, "needs the training's length"),
    ):
        with pytest.raises(cr.ChainruleError, match=says):
            fit_batches(given, **settings)
    with pytest.raises(cr.DataError, match="there is no batch"):
        fit(X).predict(iter([]))


def test_predictions_of_batches_come_in_the_library_of_the_batches() -> None:
    torch, model = pytest.importorskip("torch"), fit(X)
    want = model.predict_proba(X)
    for given in (Loader(), lambda: iter(Loader()), (X[i : i + 100] for i in range(0, 1000, 100))):
        np.testing.assert_allclose(model.predict_proba(given), want, rtol=0, atol=1e-6)
    got = model.predict(torch.asarray(X[i : i + 100]) for i in range(0, 1000, 100))
    assert torch.equal(got, torch.asarray(model.predict(X)))


def test_a_source_that_fails_says_so_itself() -> None:
    def batches() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        yield X[:32], Y[:32]
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        fit_batches(batches)


def test_epochs_of_batches_may_differ_in_length() -> None:
    lengths = iter([31, 1, 2, 2])

    def batches() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for i in range(next(lengths)):
            yield X[:32] * np.float32(1e30 if i == 1 and done else 1.0), X[:32, 0]
        done.append(True)

    done: list[bool] = []
    with pytest.raises(cr.DivergenceError, match="epoch 2, step 2 of 2"):
        cr.fit(cr.mlp([6, 8, 1]), batches, loss="squared_error", optimizer="sgd", epochs=3)


def test_a_path_is_taken_wherever_an_array_is(path: Path, folder: Path) -> None:
    model = fit(X, validation=(path, Y))
    assert model.history["val_loss"] == fit(X, validation=(X, Y)).history["val_loss"]
    assert model.evaluate(path, Y) == model.evaluate(X, Y)
    with pytest.raises(cr.DataError, match=r"X must have shape \(rows, 6\).*cr.Parquet\(path, columns="):
        fit(folder)


def test_what_is_no_batch_to_predict_is_said() -> None:
    with pytest.raises(cr.DataError, match="expected X or an iterable of batches, got a NoneType"):
        fit(X).predict(lambda: None)
