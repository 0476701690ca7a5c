"""Arrays in files as rows: read right, or refused in a sentence; no signal, no hang, no error of somebody else's."""

from __future__ import annotations

import json
import mmap
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule._data.streams import _npy, _windows, open_rows, read_once, read_rows, read_targets
from chainrule.tables import read_table

RNG = np.random.default_rng(7)
X = RNG.normal(size=(500, 6)).astype("float32")
Y = X[:, 0]


def fit(x: Any, y: Any = Y, **settings: Any) -> cr.Model:
    usual: dict[str, Any] = {"loss": "squared_error", "epochs": 2, "batch_size": 32, "shuffle": False}
    return cr.fit(cr.mlp([6, 4, 1]), x, y, **{**usual, **settings})


@pytest.fixture
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_windows, "WINDOW_BYTES", 8 * 6 * 64)


@pytest.mark.parametrize("order", "CF")
@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8", ">i2", "u1", "?", "f2"])
def test_a_npy_file_gives_the_rows_of_its_array(
    dtype: str, order: Any, tmp_path: Path, small_windows: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = (10 * X).astype(dtype).copy(order=order)
    np.save(tmp_path / "X.npy", whole)
    rows = open_rows(tmp_path / "X.npy")
    monkeypatch.setattr(_npy, "_BLOCK", 1000)
    for part in (
        slice(0, 500),
        slice(0, 1),
        slice(90, 333),
        slice(499, 500),
        slice(7, 7),
        slice(490, 900),
        slice(None),
    ):
        np.testing.assert_array_equal(rows[part], whole[part])
    for step in (1, 2, 3, 41, 499, 500, 1000):
        np.testing.assert_array_equal(rows[::step, ...], whole[::step])
    np.testing.assert_array_equal(read_rows(tmp_path / "X.npy"), whole)
    got, want = fit(tmp_path / "X.npy"), fit(np.ascontiguousarray(whole, whole.dtype.newbyteorder("=")))
    np.testing.assert_array_equal(got.theta, want.theta)
    np.testing.assert_allclose(got.predict(tmp_path / "X.npy"), want.predict(whole), rtol=0, atol=1e-5)


def test_a_vector_in_a_file_is_a_target_and_a_validation_set_may_lie_in_files(
    tmp_path: Path, small_windows: None
) -> None:
    np.save(tmp_path / "X.npy", X)
    np.save(tmp_path / "y.npy", Y.astype(">f8"))
    x, y = tmp_path / "X.npy", str(tmp_path / "y.npy")
    got, want = fit(x, y, validation=(x, Y)), fit(X, Y, validation=(X, Y))
    np.testing.assert_array_equal(got.theta, want.theta)
    assert got.history["val_loss"] == want.history["val_loss"]


def test_a_checkpoint_tells_a_file_by_what_a_memory_map_of_it_is_told_by(tmp_path: Path, small_windows: None) -> None:
    np.save(tmp_path / "X.npy", X)
    fit(tmp_path / "X.npy", epochs=1, checkpoint=tmp_path / "run")
    for number, given in enumerate((np.load(tmp_path / "X.npy", mmap_mode="r"), X, tmp_path / "X.npy"), 2):
        model = fit(given, epochs=number, checkpoint=cr.Checkpoint(tmp_path / "run", resume=True))
        assert len(model.history) == number


# ---------------------------------------------------------------------------------------------------------- memory maps


def test_what_was_written_to_a_private_map_is_trained_on(tmp_path: Path, small_windows: None) -> None:
    np.save(tmp_path / "X.npy", X)
    private = np.load(tmp_path / "X.npy", mmap_mode="c")
    private[:100] = 1
    changed = np.array(private)
    np.testing.assert_array_equal(fit(private).theta, fit(changed).theta)


def test_a_map_gives_its_own_rows_though_another_file_has_its_name(tmp_path: Path, small_windows: None) -> None:
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    np.save(tmp_path / "new.npy", -X)
    (tmp_path / "new.npy").replace(tmp_path / "X.npy")
    np.testing.assert_array_equal(fit(mapped).theta, fit(X).theta)
    (tmp_path / "X.npy").unlink()
    np.testing.assert_array_equal(fit(mapped).theta, fit(X).theta)


@pytest.mark.parametrize("part", [np.s_[:], np.s_[20:400], np.s_[::2], np.s_[::-1], np.s_[:, ::-1], np.s_[5:, :]])
def test_parts_of_a_map_are_its_rows(part: Any, tmp_path: Path, small_windows: None) -> None:
    np.save(tmp_path / "X.npy", X)
    for mode in ("r", "r+", "c"):
        mapped = np.load(tmp_path / "X.npy", mmap_mode=mode)[part]
        np.testing.assert_array_equal(fit(mapped, Y[: len(mapped)]).theta, fit(X[part], Y[: len(mapped)]).theta)
        assert open_rows(mapped.copy()) is None, "a copy of it is in memory"


CHANGES = """
import json, os, sys
import numpy as np, chainrule as cr
from chainrule._data.streams import _windows
_windows.WINDOW_BYTES = 8 * 512 * 64
X = np.random.default_rng(0).normal(size=(640, 512)).astype("f4")  # a page is two rows
path, answers = sys.argv[1], {}

def shorter():
    os.truncate(path, 100_000)

def written():
    with open(path, "r+b") as file:
        file.seek(1000); file.write(bytes(8))

def another():
    np.save(path + ".new.npy", -X); os.replace(path + ".new.npy", path)

def longer():
    with open(path, "ab") as file:
        file.write(bytes(8))

MODES = {"map": "r", "writable": "r+", "private": "c"}
GIVEN = {name: lambda mode=mode: np.load(path, mmap_mode=mode) for name, mode in MODES.items()}
GIVEN |= {"path": lambda: path, "part": lambda: np.load(path, mmap_mode="r")[64:]}
for name, make in GIVEN.items():
    for how in (shorter, written, longer, another, lambda: os.unlink(path)):
        np.save(path, X)
        given = make()
        class Changes:
            def on_epoch_end(self, run, record):
                if run.epoch == 1:
                    how()
        rows = X[64:] if name == "part" else X
        try:
            model = cr.fit(cr.mlp([512, 1]), given, rows[:, 0], loss="squared_error", epochs=2, callbacks=[Changes()])
            answers[f"{name}, {how.__name__}"] = "trained"
        except cr.FileError as error:
            answers[f"{name}, {how.__name__}"] = str(error).replace(path, "PATH")
        if how is shorter:
            try:
                model = cr.fit(cr.mlp([512, 1]), X, X[:, 0], loss="squared_error", epochs=1)
                model.predict(given)
            except (cr.FileError, cr.DataError) as error:
                answers[f"{name}, predict"] = str(error).replace(path, "PATH")
print(json.dumps(answers))
"""
CHANGED = "PATH has changed since it was opened: start again with the file as it is now."


@pytest.mark.skipif(sys.platform == "win32", reason="Windows cuts no file that is mapped")
def test_a_file_that_changes_while_it_is_read_is_an_error_and_no_signal(tmp_path: Path) -> None:
    command = [sys.executable, "-c", CHANGES, str(tmp_path / "X.npy")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    got = json.loads(done.stdout)
    assert got.pop("path, predict").startswith("PATH is cut off: an array of float32 and shape (640, 512) takes")
    assert got.pop("path, <lambda>") == "cannot read PATH: No such file or directory."
    fine = {f"{kind}, {how}" for kind in ("map", "part") for how in ("another", "<lambda>")}
    fine |= {
        f"{kind}, {how}" for kind in ("writable", "private") for how in ("another", "<lambda>", "written", "longer")
    }
    assert got == {name: "trained" if name in fine else CHANGED for name in got}
    assert len(got) == 5 * 5 - 1 + 4


VIEWS = """
import json, mmap, os, sys, warnings
import numpy as np, chainrule as cr
X = np.random.default_rng(0).normal(size=(640, 512)).astype("f4")
path, answers, net = sys.argv[1], {}, cr.mlp([512, 1])
Y, model = X[:, 0].copy(), cr.fit(net, X, X[:, 0], loss="squared_error", epochs=1)

def buffer(map_):
    with open(path, "rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    return np.frombuffer(map_(mapped), "f4", offset=128).reshape(X.shape)

loaded = lambda mode="r": np.load(path, mmap_mode=mode)
GIVEN = {
    "an array": lambda: np.asarray(loaded()), "a view": lambda: loaded("c").view(np.ndarray),
    "rows": lambda: np.asarray(loaded("r+"))[::-1], "columns": lambda: np.asarray(loaded()).T.T,
    "an array of rows": lambda: np.asarray(loaded()[0:640]), "another dtype": lambda: np.asarray(loaded()).view("i4"),
    "a buffer": lambda: buffer(lambda m: m), "a view of a buffer": lambda: buffer(memoryview),
    "one row": lambda: np.asarray(loaded())[639:],
}
for name, make in GIVEN.items():
    np.save(path, X)
    given = make()
    y = Y[:len(given)]
    calls = {
        "fit": lambda: cr.fit(net, given, y, loss="squared_error"),
        "batches": lambda: cr.fit(net, lambda: iter([(given, y)]), loss="squared_error", epochs=1),
        "y": lambda: cr.fit(net, X[:len(given)], given[:, :1], loss="squared_error", epochs=1),
        "weights": lambda: cr.fit(net, X[:len(given)], y, sample_weight=given[:, 0], loss="squared_error", epochs=1),
        "validation": lambda: cr.fit(net, X, Y, validation=(given, y), loss="squared_error", epochs=1),
        "predict": lambda: model.predict(given),
        "evaluate": lambda: model.evaluate(given, y),
        "diagnose": lambda: cr.diagnose(net, given, y, loss="squared_error"),
    }
    if name == "one row":
        calls = {"predict": calls["predict"], "evaluate": calls["evaluate"]}
    calls["predict"]()
    os.truncate(path, 100_000)
    for call, run in calls.items():
        try:
            run()
            answers[f"{name}, {call}"] = "read"
        except cr.FileError as error:
            answers[f"{name}, {call}"] = str(error).replace(path, "PATH").replace("the file of the memory map", "PATH")
print(json.dumps(answers))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows cuts no file that is mapped")
def test_an_array_that_lies_in_a_map_of_a_file_that_was_cut_off_is_an_error_and_no_signal(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "ignore", "-c", VIEWS, str(tmp_path / "X.npy")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    got = json.loads(done.stdout)
    assert got == dict.fromkeys(got, CHANGED)
    assert len(got) == 8 * 8 + 2


def test_a_map_of_no_file_is_memory() -> None:
    shared = np.frombuffer(mmap.mmap(-1, X.nbytes), "f4").reshape(X.shape)
    shared[:] = X
    np.testing.assert_array_equal(fit(shared).theta, fit(X).theta)


def test_a_file_that_is_cut_off_within_a_read_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.save(tmp_path / "X.npy", X)
    read = _npy.NpyRows._read

    def cut_off(self: Any, *arguments: Any) -> np.ndarray:
        os.truncate(tmp_path / "X.npy", 5000)
        return read(self, *arguments)

    monkeypatch.setattr(_npy.NpyRows, "_read", cut_off)
    with pytest.raises(cr.FileError, match=r"X.npy has changed since it was opened"):
        fit(tmp_path / "X.npy")


# -------------------------------------------------------------------------------------------------- what cannot be read


def header(text: str) -> bytes:
    line = text.encode() + b" " * (117 - len(text)) + b"\n"
    return b"\x93NUMPY\x01\x00\x76\x00" + line


def described(dtype: str, shape: str) -> bytes:
    return header(f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': ({shape}), }}")


CUT = r"is cut off: an array of float32 and shape .* takes [\d,]* bytes, and there are 128: write it again"
UNREADABLE: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "expected 8 bytes got 0"),
    "one byte": (b"\x93", "expected 8 bytes got 1"),
    "another version": (b"\x93NUMPY\x09\x00" + bytes(200), r"its version is \(9, 0\), expected one of"),
    "half a header": (header("{'descr': '<f4'")[:40], "EOF: reading array header"),
    "no end of the header": (header("{'descr'"), "is no .npy file of numbers"),
    "half the rows": (described("<f4", "500, 6"), CUT),
    "a shape beyond numbers": (described("<f4", f"{10**24}, 6"), CUT),
    "a shape beyond files": (described("<f4", f"{2**62}, 4"), CUT),
    "a negative shape": (described("<f4", "-5, 6"), r"its shape is \(-5, 6\)"),
    "objects": (described("|O", "500, 6"), "it holds Python objects, which run code"),
    "half an archive": (b"PK\x03\x04abc", "holds several arrays, expected one"),
    "text": (b"a,b\n1,2\n" * 9, "the magic string is not correct"),
}


@pytest.mark.parametrize("what", UNREADABLE)
def test_a_file_that_is_no_array_is_refused_in_a_sentence(what: str, tmp_path: Path) -> None:
    content, says = UNREADABLE[what]
    path = tmp_path / "X.npy"
    path.write_bytes(content)
    model = fit(X)
    for call in (
        lambda: fit(path),
        lambda: fit(X, path),
        lambda: fit(X, validation=(path, Y)),
        lambda: model.predict(str(path)),
        lambda: model.evaluate(path, Y),
    ):
        with pytest.raises(cr.DataError, match=rf"X.npy (is no .npy file of numbers: .*)?{says}") as caught:
            call()
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("shape", "says"), [((), "the single value"), ((500, 0), "features"), ((500,), r"shape \(rows")]
)
def test_a_file_of_another_shape_is_refused(shape: Any, says: str, tmp_path: Path) -> None:
    np.save(tmp_path / "X.npy", np.zeros(shape))
    model = fit(X)
    for call in (lambda: fit(tmp_path / "X.npy"), lambda: model.predict(tmp_path / "X.npy")):
        with pytest.raises(cr.DataError, match=f"X must have|{says}"):
            call()


def pipe(path: Path) -> None:
    os.mkfifo(path)


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def listening(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as place:
        before = Path.cwd()
        os.chdir(path.parent)  # a socket's path is short
        try:
            place.bind(path.name)
        finally:
            os.chdir(before)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such files")
@pytest.mark.parametrize("make", [pipe, device, listening])
def test_what_can_be_read_once_or_for_ever_is_refused_and_waited_for_by_nobody(
    make: Callable[[Path], None], tmp_path: Path
) -> None:
    pytest.importorskip("pyarrow")
    paths = {kind: tmp_path / f"x.{kind}" for kind in ("npy", "parquet", "csv", "npz")}
    for path in paths.values():
        make(path)
    model = fit(X)
    calls: list[Callable[[], Any]] = [
        lambda: fit(paths["npy"]),
        lambda: fit(X, paths["npy"]),
        lambda: fit(X, validation=(X, paths["npy"])),
        lambda: fit(X, validation=(paths["parquet"], Y)),
        lambda: fit(paths["parquet"]),
        lambda: model.predict(paths["npy"]),
        lambda: model.evaluate(paths["parquet"], Y),
        lambda: cr.Parquet(paths["parquet"]),
        *[lambda path=path: read_table(path) for path in paths.values()],
        lambda: read_table(paths["csv"].with_name("t.npy"), target=str(paths["npy"])),
    ]
    np.save(tmp_path / "t.npy", X)
    for call in calls:
        with pytest.raises(cr.FileError, match=r"is a (named pipe|device|socket|pipe or a device): expected a file"):
            call()


class Moves:
    """A callback that goes to another folder after an epoch."""

    def __init__(self, to: Path) -> None:
        self.to = to

    def on_epoch_end(self, run: Any, record: Any) -> None:
        os.chdir(self.to)


@pytest.mark.parametrize("kind", ["npy", "a file", "a folder"])
def test_a_relative_path_is_the_same_file_after_the_process_has_moved(
    kind: str, small_windows: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other" / "rows"
    other.mkdir(parents=True)
    (tmp_path / "rows").mkdir()
    monkeypatch.chdir(tmp_path)
    if kind == "npy":
        np.save("X.npy", X)
        np.save(other.parent / "X.npy", -X)
        given: Any = "X.npy"
    else:
        pandas = pytest.importorskip("pandas")
        pytest.importorskip("pyarrow")
        for i in range(4):
            pandas.DataFrame(X[125 * i : 125 * i + 125]).rename(columns=str).to_parquet(f"rows/{i}.parquet")
        given = cr.Parquet("rows" if kind == "a folder" else "rows/0.parquet")
        (tmp_path / "other" / "rows").rmdir()
    y = Y[: 125 if kind == "a file" else 500]
    want = fit(X[: len(y)], y, epochs=3)
    np.testing.assert_array_equal(fit(given, y, epochs=3, callbacks=[Moves(other.parent)]).theta, want.theta)
    if kind != "npy":
        np.testing.assert_array_equal(given.column("0"), y)


class Unknown:
    """What a dask array is whose chunks were not counted."""

    shape, dtype = (float("nan"), 6), np.dtype("float32")

    def __getitem__(self, key: Any) -> Any:
        return X[key]

    def __len__(self) -> int:
        raise ValueError("cannot convert float NaN to integer")


class Closed:
    """What a dataset of h5py is when its file was closed."""

    @property
    def shape(self) -> Any:
        raise RuntimeError("Unable to synchronously get dataspace\n(identifier is not of specified type)")

    def __getitem__(self, key: Any) -> Any:
        raise ValueError("Invalid dataset identifier")


class Closes:
    """Rows of a file that is closed after its first slice."""

    shape, dtype, read = X.shape, X.dtype, 0

    def __getitem__(self, key: Any) -> Any:
        self.read += 1
        if self.read > 1:
            raise ValueError("Invalid dataset identifier (identifier is not\nof specified type)")
        return X[key]


def deleted() -> Any:
    jax = pytest.importorskip("jax")
    array = jax.numpy.asarray(X)
    array.delete()
    return array


FAILS: dict[str, tuple[Callable[[], Any], str, type[Exception] | None]] = {
    "of unknown length": (
        Unknown,
        r"(X|y) has rows of a number that is not known yet.*(X|y).compute_chunk_sizes\(\)",
        None,
    ),
    "closed": (Closed, r"(X|y) is a Closed that cannot be read \(Unable to .* specified type\)", RuntimeError),
    "that closes": (Closes, r"(X|y) cannot be read from row 64 on \(ValueError: Invalid dataset", ValueError),
    "deleted": (deleted, r"got one of shape \(500, 6\) that JAX has deleted", None),
}


@pytest.mark.parametrize("what", FAILS)
def test_an_object_that_fails_is_named_and_its_error_chained(what: str, small_windows: None) -> None:
    make, says, cause = FAILS[what]
    model = fit(X)
    for call in (
        lambda: fit(make()),
        lambda: fit(X, make()),
        lambda: fit(X, validation=(make(), Y)),
        lambda: fit(X, validation=(X, make())),
        lambda: model.predict(make()),
        lambda: model.evaluate(make(), Y),
        lambda: model.evaluate(X, make()),
        lambda: cr.diagnose(model, make(), Y),
        lambda: cr.MLPRegressor(max_iter=2).fit(make(), Y),
    ):
        with pytest.raises(cr.ChainruleError, match=says) as caught:
            call()
        assert cause is None or isinstance(caught.value.__cause__, cause)
        assert "\n" not in str(caught.value)


def test_targets_of_every_kind_come_as_they_are() -> None:
    pandas = pytest.importorskip("pandas")
    labels = ["a", "bcd", "e"] * 3
    for given in (labels, pandas.Series(labels), pandas.Index(labels), pandas.Categorical(labels), np.asarray(labels)):
        assert np.asarray(read_targets(given)).tolist() == labels


def test_a_map_is_evaluated_without_a_copy(tmp_path: Path) -> None:
    np.save(tmp_path / "X.npy", X)
    mapped, model = np.load(tmp_path / "X.npy", mmap_mode="r"), fit(X)
    assert np.shares_memory(read_once(mapped), mapped)
    assert model.evaluate(mapped, Y) == model.evaluate(tmp_path / "X.npy", Y) == model.evaluate(X, Y)
    os.truncate(tmp_path / "X.npy", 1000)
    with pytest.raises(cr.FileError, match=r"X.npy has changed since it was opened"):
        read_once(mapped)
