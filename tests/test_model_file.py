"""Model files: written whole, read for ever, with classes and feature names."""

from __future__ import annotations

import csv
import errno
import hashlib
import json
import os
import stat
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fuzz import files

import chainrule as cr
from chainrule._model import serialization
from chainrule.tables import read_table

FIXTURES = Path(__file__).parent / "fixtures"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> files.Source:
    return files.Source(tmp_path_factory.mktemp("source"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "hostile.safetensors"


# --------------------------------------------------------------------------------------------------- names and no files


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    said: list[str] = []

    def load(path: Path) -> None:
        with pytest.raises(cr.FileError) as error:
            cr.load(path)
        said.append(str(error.value))

    for path in (tmp_path / "pipe", Path(os.devnull)):
        reading = threading.Thread(target=load, args=(path,), daemon=True)
        reading.start()
        reading.join(10)
        assert said.pop() == f"cannot read {path}: it is a device or a pipe."


@pytest.mark.parametrize("name", ["a\0b", "a\ud800b"])
def test_a_name_that_no_file_can_have_is_a_file_error(name: str, tmp_path: Path, source: files.Source) -> None:
    for act in (cr.load, source.model.save):
        with pytest.raises(cr.FileError, match=r"^cannot (read|write) '.*': no file can have this name \(.*\)\.$"):
            act(tmp_path / name)


@pytest.mark.parametrize("name", ["größe 𝛼.safetensors", "a b", os.fsdecode(b"\xff"), "x" * 200])
def test_a_name_may_be_anything_that_the_disk_takes(name: str, tmp_path: Path, source: files.Source) -> None:
    source.model.save(tmp_path / name)
    assert cr.load(tmp_path / name) == source.model


# -------------------------------------------------------------------------------------------------------------- writing


def test_the_description_says_which_versions_wrote_it(source: files.Source) -> None:
    versions = source.description["versions"]
    assert versions.keys() == {"chainrule", "numpy"}
    assert versions["numpy"] == np.__version__


FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("fails", ["fsync", "replace"])
def test_a_disk_that_is_full_leaves_the_old_file(
    fails: str, source: files.Source, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise FULL

    source.model.save(path)
    before = path.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(os, fails, full)
        with pytest.raises(cr.FileError, match=r"cannot write .*: No space left on device\.$"):
            replace(source.model, flat=False).save(path)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.skipif(os.name != "posix", reason="folders can be synchronised on POSIX only")
@pytest.mark.parametrize("refuses", [None, errno.EINVAL, errno.EIO])
def test_the_folder_is_on_the_disk_too_when_save_returns(
    refuses: int | None, source: files.Source, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced, sync = [], os.fsync

    def watch(file: int) -> None:
        synced.append((stat.S_ISDIR(os.fstat(file).st_mode), path.exists()))
        if synced[-1][0] and refuses:
            raise OSError(refuses, os.strerror(refuses))
        sync(file)

    monkeypatch.setattr(os, "fsync", watch)
    if refuses == errno.EIO:
        with pytest.raises(cr.FileError, match="Input/output error"):
            source.model.save(path)
    else:  # a file system without it is no error
        source.model.save(path)
    assert synced == [(False, False), (True, True)]  # the file before it has its name, the folder after it
    assert cr.load(path) == source.model


def test_threads_that_save_to_one_name_leave_one_whole_file(source: files.Source, path: Path) -> None:
    models = [source.model, replace(source.model, flat=False)]
    failed: list[BaseException] = []

    def save(model: cr.Model) -> None:
        try:
            for _ in range(25):
                model.save(path)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=save, args=(model,)) for model in models * 2]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        if path.exists():
            assert cr.load(path) in models
    assert failed == []
    assert list(path.parent.iterdir()) == [path]


def test_a_description_that_could_not_be_read_back_is_not_written(source: files.Source, path: Path) -> None:
    with pytest.raises(cr.FileError, match=r"cannot write .*header too large"):
        serialization.write(path, source.arrays, {"history": "x" * 100_000_001})
    assert not path.exists()


# ------------------------------------------------------------------------------------------------- the format of before

# tests/fixtures/model-format-1.safetensors was written by chainrule 0.1.0: ``chainrule train`` on 120 rows. It is never
# written again, and neither is the JSON beside it. Where this test fails, the reader is wrong: files like this one are
# on disks that nobody here can reach.
SHA256 = "756abb9e777b1ccd4912df23d712406b9e632faf41047743ef34dcaa7c9622fd"


def test_a_file_of_format_1_is_the_model_that_it_was(tmp_path: Path) -> None:
    path = FIXTURES / "model-format-1.safetensors"
    assert hashlib.sha256(path.read_bytes()).hexdigest() == SHA256
    was: dict[str, Any] = json.loads((FIXTURES / "model-format-1.json").read_text(encoding="utf-8"))
    model = cr.load(path)
    assert np.asarray(model.theta).tobytes().hex() == was["theta"]
    assert np.asarray(model.buffers).tobytes().hex() == was["buffers"]
    renamed = [{"learning_rate" if name == "rate" else name: x for name, x in r.items()} for r in was["history"]]
    assert list(map(list, model.history)) == list(map(list, renamed))  # in their order
    assert list(model.history) == renamed
    told = (repr(model.network), type(model.loss).__name__, str(model.theta.dtype))
    assert told == (was["network"], was["loss"], was["dtype"])

    prepared = model.preprocessing
    assert prepared is not None
    assert list(prepared.feature_names) == was["features"]
    assert (list(prepared.classes), prepared.unseen, list(prepared.dropped)) == (
        was["classes"],
        was["unseen"],
        was["dropped"],
    )
    with (tmp_path / "table.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(was["table"])
    table = read_table(tmp_path / "table.csv", target="sold", categorical=prepared.categorical)
    X, behind = prepared.features(table), model.without_preprocessing()
    assert X.tolist() == was["X"]
    for given, asked in ((X, behind), (table, model)):
        np.testing.assert_allclose(asked.predict_proba(given), was["probabilities"], rtol=1e-5, atol=1e-7)
    assert prepared.decode(behind.predict(X)).tolist() == model.predict(table).tolist() == was["answers"]

    model.save(tmp_path / "again.safetensors")
    assert cr.load(tmp_path / "again.safetensors") == model
