"""Data that need not fit in memory: the same training, in bounded memory."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Platform
from streamed_rows import X, Y, fit, same

import chainrule as cr
from chainrule._data.streams import Windows, _parquet, _windows, open_rows, shuffled_in_windows


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
    assert same(fit(path, checkpoint=cr.Checkpoint(tmp_path / "runs", resume=True)), want)


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
    frame = pandas.DataFrame(X.copy(), columns=[*"abcdef"])  # which pandas 2 writes into
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
