"""What Windows and macOS do otherwise, emulated on Linux: the lock of an open file, files that are open and cannot be
replaced, and a BLAS that does not say what it is. The encodings of a terminal are in test_cli_output.py.
"""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from conftest import find_library

import chainrule as cr
from chainrule._backend import _blas
from chainrule.training import _lock
from chainrule.training._lock import FolderLock

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="emulated with Linux's locks and /proc")

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(40, 3)), RNG.normal(size=40)


def train(**options: Any) -> cr.Model:
    return cr.fit(cr.mlp([3, 4, 1]), X, Y, loss="squared_error", batch_size=20, seed=0, **options)


@pytest.fixture
def on_windows(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The positions that were locked. As there, one byte is, by an open file, and a second one gets EACCES."""
    import fcntl

    positions: list[int] = []

    def locking(file: int, mode: int, count: int) -> None:
        assert (mode, count) == (2, 1), "one byte, without waiting"
        positions.append(os.lseek(file, 0, os.SEEK_CUR))
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise PermissionError(errno.EACCES, "Permission denied") from None

    msvcrt = ModuleType("msvcrt")
    msvcrt.__dict__.update(locking=locking, LK_NBLCK=2)
    monkeypatch.setitem(sys.modules, "msvcrt", msvcrt)
    monkeypatch.setattr(_lock, "sys", SimpleNamespace(platform="win32"))
    return positions


def test_a_folder_is_locked_by_a_byte_that_nobody_reads(tmp_path: Path, on_windows: list[int]) -> None:
    one, other = FolderLock(tmp_path), FolderLock(tmp_path)
    assert not one.hold()
    assert one.hold(), "it is held already"
    for _ in range(2):
        with pytest.raises(cr.FileError, match=f"process {os.getpid()} on .* is training in"):
            other.hold()
    one.release()
    assert not other.hold()
    other.release()
    assert (tmp_path / "lock").read_text().count("\n") == 1
    assert set(on_windows) == {2**30}


def test_two_trainings_in_one_folder_are_told_apart(tmp_path: Path, on_windows: list[int]) -> None:
    lock = FolderLock(tmp_path)
    lock.hold()
    with pytest.raises(cr.FileError, match="is training in"):
        train(epochs=1, checkpoint=tmp_path)
    lock.release()
    whole = train(epochs=4)
    train(epochs=2, checkpoint=tmp_path)
    np.testing.assert_array_equal(train(epochs=4, checkpoint=cr.Checkpoint(tmp_path, resume=True)).theta, whole.theta)
    assert on_windows


def test_a_drive_without_locks_is_said(tmp_path: Path, on_windows: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    def locking(*arguments: Any) -> None:
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(sys.modules["msvcrt"], "locking", locking)
    lock = FolderLock(tmp_path)
    with pytest.warns(UserWarning, match="there are no file locks in"):
        lock.hold()
    lock.release()


def is_open(path: str | os.PathLike[str]) -> bool:
    """Whether this process has the file open, or mapped."""
    name = os.path.realpath(path)
    with Path("/proc/self/maps").open() as maps:
        mapped = any(line.rstrip().endswith(name) for line in maps)
    return mapped or any(os.path.realpath(entry) == name for entry in Path("/proc/self/fd").iterdir())


@pytest.fixture
def open_files_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on Windows, what is open can be neither replaced nor moved nor removed."""

    def guarded(call: Callable[..., None], which: slice) -> Callable[..., None]:
        def guard(*arguments: Any, **options: Any) -> None:
            if any(is_open(path) for path in arguments[which]):
                raise PermissionError(errno.EACCES, "Access is denied")
            call(*arguments, **options)

        return guard

    for name, which in (("replace", slice(2)), ("rename", slice(2)), ("unlink", slice(1)), ("remove", slice(1))):
        monkeypatch.setattr(os, name, guarded(getattr(os, name), which))


def test_a_file_that_somebody_has_open_stays_whole_and_the_error_says_so(tmp_path: Path, open_files_stay: None) -> None:
    path = tmp_path / "model.safetensors"
    model = train(epochs=1)
    model.save(path)
    before = path.read_bytes()
    with path.open("rb"), pytest.raises(cr.FileError, match=r"cannot write .*model\.safetensors: Access is denied"):
        train(epochs=2).save(path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == [path.name], "nothing is left beside it"


def test_a_model_is_saved_over_the_file_it_was_loaded_from(tmp_path: Path, open_files_stay: None) -> None:
    path = tmp_path / "model.safetensors"
    train(epochs=1).save(path)
    model = cr.load(path)
    model.save(path)
    np.testing.assert_array_equal(cr.load(path).theta, model.theta)


def test_a_training_replaces_its_own_checkpoints(tmp_path: Path, open_files_stay: None, on_windows: list[int]) -> None:
    for epochs in (2, 4, 5):
        model = train(epochs=epochs, checkpoint=cr.Checkpoint(tmp_path, resume=True))
    np.testing.assert_array_equal(model.theta, train(epochs=5).theta)


def test_the_command_line_replaces_a_run(
    tmp_path: Path, open_files_stay: None, on_windows: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    find_library("typer")
    from chainrule.cli import main

    table, run = tmp_path / "data.csv", tmp_path / "run"
    table.write_text("a,b,y\n" + "".join(f"{a},{b},{a - b}\n" for a, b, _ in X))
    train = ["train", str(table), "--target", "y", "--hidden", "4", "--epochs", "2", "--out", str(run), "--quiet"]
    for words in (train, [*train, "--overwrite"], ["predict", str(run / "model.safetensors"), str(table)]):
        assert main(words) == 0, capsys.readouterr().err


def test_a_blas_that_does_not_answer_has_the_name_that_numpy_was_built_with(monkeypatch: pytest.MonkeyPatch) -> None:
    """Accelerate, with which NumPy comes on macOS."""
    find_library("typer")
    from chainrule.cli import _blas as described

    monkeypatch.setattr(described, "numpys_blas", lambda: None)
    for built, want in (({"name": "accelerate", "version": "unknown"}, "accelerate"), ({}, "its own loops")):
        config = {"Build Dependencies": {"blas": built}}
        monkeypatch.setattr(np, "show_config", lambda mode, config=config: config)
        assert described.describe_blas() == [f"numpy's products: {want}"]


def test_numpys_blas_is_looked_for_beside_it_where_its_module_does_not_answer(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Windows: a module has its own functions alone."""
    dll = tmp_path / "numpy.libs" / "libscipy_openblas64_-13e2df51.dll"
    dll.parent.mkdir()
    dll.touch()
    asked: list[str] = []

    def opened(path: str) -> SimpleNamespace:
        asked.append(path)
        return SimpleNamespace()

    monkeypatch.setattr(np, "__file__", str(tmp_path / "numpy" / "__init__.py"))
    monkeypatch.setattr(ctypes, "PyDLL", opened)
    assert _blas.numpys_blas.__wrapped__() is None
    assert asked[1:] == [str(dll)]
