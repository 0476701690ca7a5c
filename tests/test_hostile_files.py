"""Model files that are hostile, old, or cut off by the machine: each is refused in a sentence, or is the exact model.

The files come from tests/fuzz/files.py, which ci/fuzz runs at length.
"""

from __future__ import annotations

import json
import subprocess
import sys
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


# -------------------------------------------------------------------------------------------------------- hostile files


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
        no_room = "is larger than the memory that is free.", "Cannot allocate memory (os error 12)."  # safetensors 0.7
        assert str(error).endswith(no_room), error
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


# -------------------------------------------------------------------------------------------- classes and feature names


def labelled(classes: Any = ("no", "yes"), outputs: int = 1) -> cr.Model:
    loss = "sigmoid_cross_entropy" if outputs == 1 else "softmax_cross_entropy"
    rows = np.random.default_rng(0).normal(size=(60, 2))
    model = cr.fit(cr.mlp([2, 4, outputs]), rows, (rows[:, 0] > 0).astype(int), loss=loss, optimizer=cr.Adam(0.1))
    return replace(model, classes=tuple(classes), feature_names=("width", "height"))


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
