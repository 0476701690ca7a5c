"""Model files that are hostile, old, or cut off by the machine: each is refused in a sentence, or is the exact model.

The files come from tests/fuzz/files.py, which ci/fuzz runs at length.
"""

from __future__ import annotations

import csv
import errno
import hashlib
import json
import os
import stat
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fuzz import files

import chainrule as cr
from chainrule._data.labels import are_labels
from chainrule._model import serialization
from chainrule.tables import read_table

FIXTURES = Path(__file__).parent / "fixtures"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> files.Source:
    return files.Source(tmp_path_factory.mktemp("source"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "hostile.safetensors"


Cases = Iterator[tuple[str, bytes]]


def wrong(cases: Cases, path: Path, must: Callable[[str], str] | None = None) -> list[str]:
    counts, found = files.run(cases, path, must)
    assert counts
    return found


# ------------------------------------------------------------------------------------------------------- hostile files


def test_a_file_cut_off_at_any_byte_is_refused(source: files.Source, path: Path) -> None:
    assert wrong(files.truncations(source.content), path, files.refused) == []


def test_a_file_with_up_to_four_bits_flipped_is_refused(source: files.Source, path: Path) -> None:
    assert wrong(files.flips(source.content, seed=0, count=600), path, files.refused) == []


def test_headers_arrays_and_descriptions_made_to_do_harm_are_refused(source: files.Source, path: Path) -> None:
    assert wrong(files.hostile(source), path, files.by_hand) == []


@pytest.mark.slow
@pytest.mark.parametrize("part", [0, 1])
def test_a_field_with_any_other_value_is_refused_or_kept_exactly(source: files.Source, path: Path, part: int) -> None:
    assert wrong(files.replacements(source, files.VALUES[part::2]), path) == []


def test_descriptions_changed_at_random_are_refused_or_kept_exactly(source: files.Source, path: Path) -> None:
    assert wrong(files.mutations(source, seed=1, count=1_000), path) == []


def test_the_cases_hold_what_they_are_there_for(source: files.Source, path: Path) -> None:
    made = dict(files.hostile(source))
    assert set(made) > files.MODELS
    counts, _ = files.run(files.mutations(source, seed=1, count=300), path)
    assert min(counts["refused"], counts["exact"]) > 5  # both ways are gone
    path.write_bytes(made["nothing changed"])
    assert cr.load(path) == source.model


def test_the_judge_finds_a_reader_that_is_wrong(
    source: files.Source, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.write_bytes(source.content)
    for model in (replace(source.model, flat=False), source.model.to(dtype="float64")):
        monkeypatch.setattr(cr, "load", lambda _, model=model: model)
        with pytest.raises(files.WrongError):
            files.judge(path)
    for message in ("no file named.", f"{path} is on\ntwo lines.", f"{path} has no end", f"{path} {'x' * 1000}."):
        with pytest.raises(files.WrongError):
            files.check_sentence(message, path)


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux's limit on memory")
def test_no_hostile_file_takes_memory_or_the_stack(tmp_path: Path) -> None:
    script = f"""
import json, resource, sys
from pathlib import Path
from resource import RLIMIT_AS as AS
sys.path.insert(0, {str(Path(files.__file__).parent)!r})
import chainrule as cr, files
source, path = files.Source(Path({str(tmp_path)!r})), Path({str(tmp_path / "hostile")!r})
files.judge(source.path)  # whatever is loaded once is loaded
sys.setrecursionlimit(10**6)  # as some programs do: a parser that recursed would now crash
used, (_, most) = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize(), resource.getrlimit(AS)
resource.setrlimit(AS, (used + 10**8, most))
_, wrong = files.run(files.hostile(source), path, files.by_hand)
header = files.header_of(source)
header["theta"] |= {{"shape": [2 * 10**9], "data_offsets": [0, 8 * 10**9]}}
del header["buffers"]
head = files.container(json.dumps(header))
with path.open("wb") as file:
    file.write(head)
    file.truncate(len(head) + 8 * 10**9)  # a hole: the file takes no place on the disk
for limit in (10**8, 12 * 10**9):  # not enough to look into it, and not enough to read it
    resource.setrlimit(AS, (used + limit, most))
    try:
        cr.load(path)
    except cr.FileError as error:
        assert str(error).endswith("is larger than the memory that is free."), error
sys.exit("; ".join(wrong) or 0)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")


def test_reading_takes_the_memory_of_the_arrays_once(path: Path) -> None:
    network, on = cr.mlp([500, 500, 1]), cr.backend("numpy", dtype="float32")
    theta, buffers = on.asarray(network.initial_theta(0)), on.asarray(network.initial_buffers())
    cr.Model(network, theta, buffers, cr.SquaredError(), on).save(path)
    cr.load(path)
    tracemalloc.start()
    try:
        model = cr.load(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert model.network == network
    assert peak < path.stat().st_size + 100_000


def test_a_checkpoint_may_hold_more_arrays_and_a_model_may_not(source: files.Source, path: Path) -> None:
    arrays = {**source.arrays, "training.step": np.ones(1, "int32")}
    description = {**source.description, "training": {"epoch": 1}}
    path.write_bytes(files.packed(json.dumps(description), arrays))
    assert cr.load(path) == source.model
    path.write_bytes(files.packed(json.dumps(source.description), arrays))
    with pytest.raises(cr.ModelFileError, match=r"it has arrays that no model has: 'training\.step'\.$"):
        cr.load(path)


def test_a_later_format_is_named_before_anything_of_it_is_looked_at(source: files.Source, path: Path) -> None:
    text = json.dumps({"format": 2, "layers": "in another way"})
    for content in (files.packed(text, {"weights": np.zeros(1, "complex64")}), files.packed(text, {}, "another sum")):
        path.write_bytes(content)
        with pytest.raises(cr.ModelFileError, match=r"format 2, this chainrule reads up to 1: upgrade chainrule\.$"):
            cr.load(path)


def test_a_type_of_array_that_numpy_lacks_is_refused(source: files.Source, path: Path) -> None:
    for dtype, size in (("BF16", 2), ("F8_E4M3", 1), ("F8_E5M2", 1), ("C64", 8)):
        metadata = {"chainrule": json.dumps(source.description)}
        header = {"__metadata__": metadata, "theta": {"dtype": dtype, "shape": [1], "data_offsets": [0, size]}}
        path.write_bytes(files.container(json.dumps(header), bytes(size)))
        with pytest.raises(cr.ModelFileError, match=rf"'theta' is an array of {dtype}, which no model of ours has"):
            cr.load(path)


def test_what_is_read_and_what_would_be_written_differ_where_json_does() -> None:
    for read, written, place in (
        ({"a": [1, {"b": 2}]}, {"a": [1.0, {"b": 2}]}, None),
        ({"a": [1, {"b": 2}]}, {"a": [1, {"b": 3}]}, "x.a[1].b"),
        ({"a": [True]}, {"a": [1]}, "x.a[0]"),
        ({"a": 1}, {"a": 1, "b": None}, "x"),
        ([1], [1, 2], "x"),
    ):
        assert serialization.difference(read, written, "x") == place


def test_the_figures_on_the_page_are_those_that_were_committed() -> None:
    root = Path(__file__).parent.parent
    page = (root / "docs" / "reliability.md").read_text(encoding="utf-8")
    found = json.loads((root / "benchmarks" / "results" / "fuzz.json").read_text())["files"]
    for name in ("truncations", "flips"):
        counts = found[name]
        assert f" {counts['refused']:,} of {counts['count']:,} " in page
        assert (counts["exact"], counts["wrong"]) == (0, 0)
    for name in ("made by hand", "replacements", "mutations"):
        counts = found[name]
        assert f"{counts['count']:,} files: {counts['refused']:,} refused, {counts['exact']:,} exact" in page
        assert counts["wrong"] == 0
    assert found["flips"]["count"] >= 5_000
    assert found["mutations"]["count"] >= 20_000


# ------------------------------------------------------------------------------------------------- names and no files


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


# -------------------------------------------------------------------------------------------- classes and feature names


def labelled(classes: Any = ("no", "yes"), outputs: int = 1) -> cr.Model:
    loss = "sigmoid_cross_entropy" if outputs == 1 else "softmax_cross_entropy"
    rows = np.random.default_rng(0).normal(size=(60, 2))
    model = cr.fit(cr.mlp([2, 4, outputs]), rows, (rows[:, 0] > 0).astype(int), loss=loss, optimizer=cr.Adam(0.1))
    return replace(model, classes=tuple(classes), feature_names=("width", "height"))


@pytest.mark.parametrize(
    ("classes", "outputs"),
    [(("no", "yes"), 1), ((3, 5), 1), ((False, True), 1), ((0.5, 2.0), 1), (("only",), 1), (("a", "b", "ü"), 3)],
)
def test_a_file_knows_the_classes_and_the_columns(classes: Any, outputs: int, path: Path) -> None:
    model = labelled(classes, outputs)
    model.save(path)
    again = cr.load(path)
    assert again == model
    assert (again.classes, again.feature_names) == (classes, ("width", "height"))
    assert [type(label) for label in again.classes] == [type(label) for label in classes]
    X = np.random.default_rng(1).normal(size=(20, 2))
    answers, indices = again.predict(X), replace(again, classes=()).predict(X)
    assert answers.tolist() == [classes[min(i, len(classes) - 1)] for i in indices]
    if len(classes) > 1:
        assert again.evaluate(X, answers)["accuracy"] == 1.0
        further = cr.fit(again, X, answers, epochs=1)
        assert (further.classes, further.feature_names) == (classes, ("width", "height"))
        np.testing.assert_array_equal(further.theta, cr.fit(replace(again, classes=()), X, indices, epochs=1).theta)
    with pytest.raises(cr.DataError, match=r"y must hold the model's classes .* got 'zzz' too"):
        again.evaluate(X, ["zzz"] * 20)
    batches = [(X, answers)]
    assert cr.fit(again, batches, epochs=2) == cr.fit(again, X, answers, shuffle=False, batch_size=20, epochs=2)


def test_answers_of_numbers_come_in_the_library_of_the_question() -> None:
    torch, model = pytest.importorskip("torch"), labelled((3, 5))
    answers = model.predict(torch.asarray([[9.0, 0], [-9, 0]]))
    assert torch.equal(answers, torch.asarray([5, 3]))
    X, y = torch.asarray([[9.0, 0], [-9, 0]]), torch.asarray([5, 3])
    assert model.evaluate(X, y)["accuracy"] == model.evaluate(X.numpy(), y.numpy())["accuracy"] == 1.0
    assert cr.fit(model.to("torch"), X, y, epochs=1).classes == (3, 5)


@pytest.mark.parametrize("classes", [(10**10, 10**10 + 1), (0.1, 2.0**24 + 1)])
def test_labels_that_a_library_cannot_hold_come_in_numpy(classes: Any) -> None:
    numpy, model = pytest.importorskip("jax.numpy"), labelled(classes)
    assert model.predict(numpy.asarray([[9.0, 0], [-9, 0]])).tolist() == [classes[1], classes[0]]


@pytest.mark.parametrize(
    "classes",
    [("k", "k\0"), (1, 2**63), (2**53 + 1, 2**64 - 1), (-1, 2**62), ("a", 10**5 * "b")],
    ids=["NUL", "uint64", "beyond 2^53", "int64", "long"],
)
def test_labels_come_back_whole(classes: Any, path: Path) -> None:
    labelled(classes).save(path)
    model, X = cr.load(path), np.asarray([[9.0, 0], [-9, 0]])
    answers = model.predict(X).tolist()
    assert sorted(answers) == list(classes)
    assert [type(label) for label in answers] == [type(classes[0])] * 2
    assert model.evaluate(X, answers)["accuracy"] == 1.0
    assert model.evaluate(X, answers[::-1])["accuracy"] == 0.0


def test_a_column_of_labels_is_labels() -> None:
    model, X = labelled((1, 0)), np.asarray([[9.0, 0], [-9, 0]])
    y = model.predict(X)
    assert y.tolist() == [0, 1]
    assert model.evaluate(X, y.reshape(-1, 1)) == model.evaluate(X, y)


def test_a_frame_with_other_columns_is_refused() -> None:
    pandas, model = pytest.importorskip("pandas"), labelled()
    frame = pandas.DataFrame({"width": [1.0, -2.0], "height": [0.0, 1.0]})
    assert model.predict(frame).tolist() == model.predict(frame.to_numpy()).tolist()
    with pytest.raises(cr.DataError, match="columns width, height in this order, it has them in another order"):
        model.predict(frame[["height", "width"]])
    with pytest.raises(cr.DataError, match="in this order, it has depth too: give them"):
        model.predict(frame.assign(depth=1.0))
    with pytest.raises(cr.DataError, match="it lacks height"):
        model.predict(frame.rename(columns={"height": "depth"}))


NAMES: dict[str, list[Any]] = {
    "classes": [
        *([], ["no"] * 2, ["a", "b", "c"], [1, "b"], [1, True], [1.5, float("inf")], [float("nan"), 1.0], [None, 1]),
        *([["no"], ["yes"]], [{}, "a"], "no", {"no": 1}, None, 3, True),
    ],
    "feature_names": [
        [],
        ["a"],
        ["a", "a"],
        ["a", 1],
        [1, 2],
        ["a", "b", "c"],
        [None, "b"],
        "ab",
        {"a": 1, "b": 2},
        None,
    ],
}


@pytest.mark.parametrize(("field", "value"), [(field, value) for field, values in NAMES.items() for value in values])
def test_classes_and_names_that_cannot_be_are_refused(field: str, value: Any, path: Path) -> None:
    model = labelled()
    numbers = {name: np.asarray(getattr(model, name)) for name in ("theta", "buffers")}
    serialization.write(path, numbers, {**model.description(), field: value})
    with pytest.raises(cr.ModelFileError, match=r"classes|feature names|cannot be"):
        cr.load(path)


def test_classes_that_a_file_cannot_hold_are_refused(path: Path) -> None:
    model = labelled((np.datetime64("2026-01-01"), np.datetime64("2026-01-02")))
    with pytest.raises(
        cr.ConfigurationError, match=r"text, truth values or numbers below 2\*\*64, got datetime64: .*astype\(str\)"
    ):
        model.save(path)
    assert "classes" not in model.description(lenient=True)


def test_an_estimators_file_answers_like_the_estimator(path: Path) -> None:
    pandas, iris = pytest.importorskip("pandas"), pytest.importorskip("sklearn.datasets").load_iris
    X, y = iris(return_X_y=True, as_frame=True)
    y = pandas.Series(np.asarray(["setosa", "versicolor", "virginica"])[y])
    for targets in (y, y == "setosa", pandas.Series(np.where(y == "setosa", 7, 9))):
        clf = cr.MLPClassifier(hidden_layer_sizes=(8,), max_iter=500, alpha=1.0, random_state=0, solver="lbfgs").fit(
            X, targets
        )
        clf.model_.save(path)
        model = cr.load(path)
        np.testing.assert_array_equal(model.predict(X), clf.predict(X))
        assert model.feature_names == tuple(X.columns)
        assert list(model.classes) == clf.classes_.tolist()


def test_columns_in_another_order_are_refused_wherever_they_come_from(tmp_path: Path) -> None:
    pandas, pa = pytest.importorskip("pandas"), pytest.importorskip("pyarrow")
    model = labelled()
    frame = pandas.DataFrame({"height": [1.0, -2.0], "width": [0.0, 1.0]})
    frame.to_parquet(tmp_path / "x.parquet")
    calls: list[Callable[[], Any]] = [
        lambda: model.predict(cr.Parquet(tmp_path / "x.parquet")),
        lambda: model.predict(tmp_path / "x.parquet"),
        lambda: model.evaluate(frame, ["no", "yes"]),
        lambda: cr.fit(model, frame, ["no", "yes"]),
        lambda: model.predict(pa.table({"height": [1.0], "width": [2.0]})),
    ]
    for call in calls:
        with pytest.raises(cr.DataError, match="in another order"):
            call()
    right = cr.Parquet(tmp_path / "x.parquet", columns=["width", "height"])
    assert model.predict(right).tolist() == model.predict(frame[["width", "height"]]).tolist()


def test_dates_as_labels_are_not_saved_as_numbers(path: Path) -> None:
    X = np.random.default_rng(0).normal(size=(40, 2))
    days = np.asarray(["2026-01-01", "2026-01-02"], "datetime64[ns]")[(X[:, 0] > 0).astype(int)]
    clf = cr.MLPClassifier(hidden_layer_sizes=(4,), max_iter=200, solver="lbfgs", alpha=1.0, random_state=0).fit(
        X, days
    )
    assert clf.predict(X).dtype == days.dtype
    with pytest.raises(cr.ConfigurationError, match="got datetime64"):
        clf.model_.save(path)


# --------------------------------------------------------------------------------------------- what would take for ever


def test_labels_of_one_hash_are_refused_before_a_set_of_them_is_made(source: files.Source, path: Path) -> None:
    class Counted(int):
        hashed = 0

        def __hash__(self) -> int:
            Counted.hashed += 1
            return 0

    assert not are_labels([Counted(i * (2**61 - 1)) for i in range(1, 100)])
    assert Counted.hashed == 0
    for label in (2**64, -(2**63) - 1, 10**400):
        path.write_bytes(files.packed(json.dumps({**source.description, "classes": [0, label]}), source.arrays))
        with pytest.raises(cr.ModelFileError, match=r"the classes \[0, .*\] are not distinct labels"):
            cr.load(path)
        with pytest.raises(cr.ConfigurationError, match=r"numbers below 2\*\*64"):
            labelled((0, label)).save(path)


@pytest.mark.parametrize("label", [2**64 - 1, -(2**63)])
def test_the_largest_numbers_of_an_array_are_labels(label: int, path: Path) -> None:
    model = labelled((0, label))
    model.save(path)
    assert cr.load(path) == model


BIG: dict[str, Callable[[int], cr.Sequential]] = {
    "layers": lambda n: cr.Sequential(cr.Dense(2, 1), *[cr.ReLU()] * n),
    "coefficients": lambda n: cr.Sequential(cr.Dense(2, 1), cr.Polynomial([0.0, 1.0] + [0.0] * n)),
}


@pytest.mark.parametrize("what", BIG)
def test_a_network_too_large_to_describe_is_neither_written_nor_read(
    what: str, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on = cr.backend("numpy")

    def model(n: int) -> cr.Model:
        network = BIG[what](n)
        theta, buffers = on.asarray(network.initial_theta(0)), on.asarray(network.initial_buffers())
        return cr.Model(network, theta, buffers, cr.SquaredError(), on)

    def built(*_: Any) -> Any:
        raise AssertionError("it was built")

    monkeypatch.setattr(serialization, "MOST", 1000)
    model(200).save(path)
    assert cr.load(path) == model(200)
    with pytest.raises(cr.ConfigurationError, match=r"a network in at most 1,000 values, and this one has more"):
        model(1000).save(path)
    with monkeypatch.context() as patch:
        patch.setattr(serialization, "MOST", 10**6)
        model(1000).save(path)
    monkeypatch.setattr(serialization, "decode", built)
    with pytest.raises(cr.ModelFileError, match=r"describes a network in at most 1,000 values, got more\.$"):
        cr.load(path)


def test_ten_thousand_layers_are_written() -> None:
    network = cr.mlp([2] * 5000 + [1], normalization="layer", dropout=0.1)
    assert len(network.layers) > 10_000
    assert not serialization.is_too_large(serialization.encode(network))


def test_what_is_nested_too_deep_to_be_read_is_not_written(source: files.Source, path: Path) -> None:
    with pytest.raises(cr.ConfigurationError, match="nested more than 64 deep"):
        serialization.write(path, source.arrays, {"training": files.nested(70)})
    assert not path.exists()


@pytest.mark.parametrize("what", ["columns", "classes"])
def test_names_of_a_file_reach_no_terminal_as_they_are(what: str) -> None:
    escape = "\x1b]0;gone\x07\x1b[2J\n"
    model = replace(labelled((escape, "b")), feature_names=(escape, "b"))
    frame = pytest.importorskip("pandas").DataFrame({"a": [1.0], "b": [2.0]})
    with pytest.raises(cr.DataError) as caught:
        model.predict(frame) if what == "columns" else model.evaluate(np.ones((1, 2)), ["a"])
    assert str(caught.value).isprintable()
