"""Files are written whole or not at all, and only where a file may be: links, modes, owners, names, other processes."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule._base.storage import write_whole
from chainrule._model import serialization

on_posix = pytest.mark.skipif(os.name != "posix", reason="modes, links and pipes are POSIX's")


def model(flat: bool = True) -> cr.Model:
    network, on = cr.mlp([2, 3, 1]), cr.backend("numpy")
    theta = on.asarray(network.initial_theta(0))
    return cr.Model(network, theta, on.asarray(network.initial_buffers()), cr.SquaredError(), on, flat)


def log(path: Path) -> None:
    X = np.ones((4, 1))
    cr.fit(cr.mlp([1, 1]), X, X, loss="squared_error", epochs=2, callbacks=[cr.CSVLogger(path)])


WRITERS: dict[str, Callable[[Path], Any]] = {
    "a model": lambda path: model().save(path),
    "a log": log,
    "bytes": lambda path: write_whole(path, b"new"),
}
every_writer = pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)


@on_posix
@every_writer
@pytest.mark.parametrize("before", [b"", None], ids=["to a file", "to nothing"])
def test_a_link_stays_and_what_it_points_to_is_written(write: Any, before: bytes | None, tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    target, first, second = tmp_path / "far" / "target", tmp_path / "first", tmp_path / "second"
    second.symlink_to("far/target")  # relative, and a link to a link
    first.symlink_to(second)
    if before is not None:
        target.write_bytes(before)
    write(first)
    assert first.is_symlink()
    assert second.is_symlink()
    assert target.stat().st_size > 0
    assert {path.name for path in tmp_path.rglob("*")} == {"far", "target", "first", "second"}


@on_posix
@every_writer
@pytest.mark.parametrize("kind", ["pipe", "socket", "terminal", "link to a pipe", "folder"])
def test_what_is_no_file_is_refused_and_stays(write: Any, kind: str, tmp_path: Path) -> None:
    path = tmp_path / "it"
    with socket.socket(socket.AF_UNIX) as listening:
        if kind == "folder":
            path.mkdir()
        elif kind == "socket":
            listening.bind(str(path))
        elif kind == "terminal":
            path = Path(os.ttyname(os.openpty()[1]))
        else:
            os.mkfifo(tmp_path / "pipe")
            path.symlink_to("pipe") if kind == "link to a pipe" else (tmp_path / "pipe").rename(path)
        kept = path.lstat()
        with pytest.raises(cr.FileError, match=r"cannot write .*: (it is a device, a pipe or a socket|Is a directory)"):
            write(path)
    assert (path.lstat().st_mode, path.lstat().st_ino) == (kept.st_mode, kept.st_ino)


@on_posix
@every_writer
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o666])
def test_a_file_keeps_its_mode(write: Any, mode: int, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    path.chmod(mode)
    write(path)
    assert stat.S_IMODE(path.stat().st_mode) == mode
    assert path.stat().st_size > 0


@on_posix
def test_a_private_file_is_at_no_moment_open_to_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, seen, opened = tmp_path / "file", [], Path.open
    path.touch(0o600)

    def watch(self: Path, mode: str) -> Any:
        seen.append(stat.S_IMODE(self.stat().st_mode))
        return opened(self, mode)

    monkeypatch.setattr(Path, "open", watch)
    write_whole(path, b"new")
    assert seen == [0o600]


@on_posix
@every_writer
def test_a_new_file_is_made_as_the_umask_says(write: Any, tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write(tmp_path / "file")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o640


@pytest.mark.skipif(getattr(os, "geteuid", lambda: 1)() != 0, reason="only root may give a file away")
def test_a_file_keeps_its_owner_and_group(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch(0o640)
    os.chown(path, 12345, 23456)
    write_whole(path, b"new")
    kept = path.stat()
    assert (kept.st_uid, kept.st_gid, stat.S_IMODE(kept.st_mode)) == (12345, 23456, 0o640)


@on_posix
def test_another_group_is_not_let_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(path: Any, user: int, group: int) -> None:
        raise PermissionError

    path = tmp_path / "file"
    path.touch()
    path.chmod(0o664)
    real = Path.stat
    monkeypatch.setattr(os, "chown", refused)
    as_if = lambda self, **k: os.stat_result((*real(self, **k)[:5], 7 if self == path else 8, *real(self, **k)[6:]))  # noqa: E731
    monkeypatch.setattr(Path, "stat", as_if)
    write_whole(path, b"new")
    assert stat.S_IMODE(path.stat().st_mode) == 0o604


def test_a_file_that_is_read_only_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"kept")
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write to everything
    with pytest.raises(cr.FileError, match="Permission denied"):
        write_whole(path, b"new")
    assert path.read_bytes() == b"kept"


@every_writer
def test_a_name_as_long_as_may_be_is_taken(write: Any, tmp_path: Path) -> None:
    path = tmp_path / ("ü" * 127 + "x")  # 255 bytes
    path.touch()
    path.unlink()
    write(path)
    assert list(tmp_path.iterdir()) == [path]


@on_posix
def test_another_hard_link_keeps_what_it_had(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"old")
    (tmp_path / "other").hardlink_to(tmp_path / "file")
    write_whole(tmp_path / "file", b"new")
    assert (tmp_path / "other").read_bytes() == b"old"


@pytest.mark.parametrize("times", [1, 3])
def test_a_load_in_the_middle_of_a_save_reads_one_whole_model(
    times: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, left = tmp_path / "model.safetensors", [times]
    model(flat=False).save(path)
    opened = serialization._opened

    def overtaken(path: Any) -> Any:
        file = opened(path)
        if left[0]:
            left[0] -= 1
            replace(model(), history=cr.History(({"epoch": left[0], "loss": 0.5},))).save(path)
        return file

    monkeypatch.setattr(serialization, "_opened", overtaken)
    assert cr.load(path).history["epoch"] == [0]


def test_a_load_that_is_always_overtaken_ends_in_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model.safetensors"
    model().save(path)
    monkeypatch.setattr(os.path, "samestat", lambda *_: False)
    with pytest.raises(cr.FileError, match=r"cannot read .*: it is replaced all the time"):
        cr.load(path)
