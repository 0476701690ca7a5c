"""A model as a file: everything comes back, and what is no whole model of ours is refused in a sentence."""

from __future__ import annotations

import json
import os
import pickle
import re
from collections.abc import Callable
from dataclasses import fields, make_dataclass, replace
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import pytest
import safetensors.numpy
from conftest import Platform

import chainrule as cr
from chainrule._backend import reference_backend as backend
from chainrule._base.options import BOOL, FLOAT, INT, INT_OR_NONE
from chainrule._model import serialization
from chainrule.activations import ACTIVATIONS
from chainrule.initializers import INITIALIZERS
from chainrule.layers import Layer
from chainrule.losses import LOSSES, SquaredError

RNG = np.random.default_rng(577)
X = RNG.normal(size=(20, 3)).astype("float32")


def untrained(network: cr.Sequential, loss: Any = LOSSES["squared_error"]) -> cr.Model:
    on = backend("numpy")
    theta, buffers = network.initial_theta(0), network.initial_buffers()
    return cr.Model(network, on.asarray(theta), on.asarray(buffers), loss, on)


MODEL = cr.fit(cr.mlp([3, 4, 1], normalization="batch"), X, X[:, 0], loss="squared_error", epochs=2)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.safetensors"


@pytest.fixture
def saved(path: Path) -> Path:
    MODEL.save(path)
    return path


# ------------------------------------------------------------------------------------------------------- round trips

LAYERS = [
    cr.BatchNorm(4, momentum=0.2, epsilon=1e-3),
    cr.LayerNorm(4, epsilon=1e-3),
    cr.Dropout(0.3),
    cr.RandomizedLeakyReLU(0.1, 0.2),
    cr.Softmax(),
    cr.Dense(4, 4, bias=False, weight_init=cr.Normal(0.5), bias_init=cr.Constant(0.25)),
]
SETTINGS = [cr.LeakyReLU(0.2), cr.ELU(0.5), cr.Linear(2.0, 1.0), cr.Polynomial((0.0, 1.0, 0.5))]
NETWORKS = {
    **{f"layer {type(layer).__name__}": [layer] for layer in LAYERS},
    **{f"activation {name}": [activation] for name, activation in ACTIVATIONS.items()},
    **{f"activation {activation}": [activation] for activation in SETTINGS},
    **{f"initializer {name}": [cr.Dense(4, 4, weight_init=name)] for name in INITIALIZERS},
    **{f"initializer {name} made": [cr.Dense(4, 4, weight_init=make())] for name, make in INITIALIZERS.items()},
}


@pytest.mark.parametrize("middle", NETWORKS.values(), ids=NETWORKS)
def test_every_part_of_a_network_comes_back(middle: list[Any], path: Path) -> None:
    model = untrained(cr.Sequential(cr.Dense(3, 4), *middle, cr.Dense(4, 1)))
    model.save(path)
    loaded = cr.load(path)
    assert loaded == model
    assert loaded.predict(X).tolist() == model.predict(X).tolist()


def test_every_layer_is_in_the_table_above() -> None:
    layers = {name for name, kind in vars(cr).items() if isinstance(kind, type) and issubclass(kind, Layer)} - {"Layer"}
    assert layers == {type(layer).__name__ for layer in LAYERS} | {"Activate"}


CHANGED_LOSSES = [cr.Huber(2.0), cr.Quantile(0.9), cr.SigmoidCrossEntropy(0.1), cr.SoftmaxCrossEntropy(0.2)]


@pytest.mark.parametrize("loss", [*LOSSES.values(), *CHANGED_LOSSES], ids=repr)
def test_every_loss_comes_back(loss: Any, path: Path) -> None:
    untrained(cr.mlp([3, 2]), loss).save(path)
    assert cr.load(path).loss == loss


def test_history_buffers_and_the_shape_of_predictions_come_back(saved: Path) -> None:
    loaded = cr.load(str(saved))
    assert loaded.history == MODEL.history
    assert loaded.buffers.tolist() == MODEL.buffers.tolist() != MODEL.network.initial_buffers().tolist()
    assert (loaded.flat, loaded.theta.dtype) == (True, np.float32)
    column = replace(MODEL, flat=False)
    column.save(saved)
    assert cr.load(saved).predict(X).shape == (20, 1)


def test_the_dtype_comes_back_unless_another_is_asked_for(saved: Path) -> None:
    MODEL.to(dtype="float64").save(saved)
    assert cr.load(saved).theta.dtype == np.float64
    assert cr.load(saved, dtype="float32") == MODEL


@pytest.mark.parametrize("id", ["numpy", "torch", "jax-jit", "strictest-float32"])
def test_a_file_is_read_into_any_library(id: str, open_platform: Callable[..., Platform], path: Path) -> None:
    platform = open_platform(id)
    MODEL.to(platform.backend).save(path)
    loaded = cr.load(path, backend=platform.backend)
    assert platform.backend.library.owns(loaded.theta)
    assert loaded == MODEL


def test_a_loaded_model_trains_further(saved: Path) -> None:
    assert cr.fit(cr.load(saved), X, X[:, 0], epochs=1) == cr.fit(MODEL, X, X[:, 0], epochs=1)


def test_parts_of_your_own_are_refused_before_a_file_is_made(path: Path) -> None:
    bump = cr.Activation(lambda xp, z: z, lambda xp, z: xp.ones_like(z), name="bump")
    own_loss = cr.Loss(lambda xp, z, y: (z, y))
    for model in (untrained(cr.mlp([3, 4, 1], activation=bump)), untrained(cr.mlp([3, 1]), own_loss)):
        with pytest.raises(cr.ConfigurationError, match=r"is not part of chainrule.*model\.theta and model\.buffers"):
            model.save(path)
    assert not path.exists()


def test_settings_that_are_numpy_numbers_are_numbers(path: Path) -> None:
    model = untrained(cr.mlp([3, 4, 1], activation=cr.LeakyReLU(np.float32(0.25))))  # type: ignore[arg-type]
    model.save(path)
    assert cr.load(path) == model


# ------------------------------------------------------------------------------------------- what is no model of ours


def refused(path: Path) -> str:
    """The message with which the file is refused."""
    with pytest.raises(cr.ModelFileError) as error:
        cr.load(path)
    message = str(error.value)
    assert isinstance(error.value, OSError)
    assert isinstance(error.value, ValueError)
    assert "\n" not in message
    return message


def test_a_file_cut_off_anywhere_is_refused(saved: Path) -> None:
    content = saved.read_bytes()
    for length in [*range(24), *range(24, len(content), 61), len(content) - 1]:
        saved.write_bytes(content[:length])
        assert "was cut off" in refused(saved), f"cut off at {length}"


def test_a_file_with_bytes_behind_its_end_is_refused(saved: Path) -> None:
    saved.write_bytes(saved.read_bytes() + b"\0")
    refused(saved)


def test_one_bit_flipped_anywhere_is_seen(saved: Path) -> None:
    content = saved.read_bytes()
    for i in range(len(content)):
        flipped = bytearray(content)
        flipped[i] ^= 1 << (i % 8)
        saved.write_bytes(flipped)
        assert refused(saved), f"bit {i % 8} of byte {i}"


def test_a_number_altered_in_description_or_data_is_named_as_altered(saved: Path) -> None:
    content = saved.read_bytes()
    seconds = re.search(rb'seconds\\": [0-9.e-]*?([1-8])', content)
    assert seconds is not None
    for i in (seconds.start(1), len(content) - 3):
        saved.write_bytes(content[:i] + bytes([content[i] ^ 1]) + content[i + 1 :])
        assert refused(saved).endswith("was altered: its checksum does not match its content.")


FOREIGN = {
    "empty": (b"", "not a chainrule model"),
    "text": (b"epoch,loss\n1,0.5\n" * 20, "not a chainrule model"),
    "pickle": (pickle.dumps({"theta": [1.0]}), "not a chainrule model"),
    "zip": (b"PK\x03\x04" + bytes(60), "not a chainrule model"),
    "other safetensors": (
        safetensors.numpy.save({"theta": np.zeros(3)}, metadata={"format": "pt"}),
        "is a safetensors file but not a chainrule model: its description is missing",
    ),
    "description no JSON": (safetensors.numpy.save({}, metadata={"chainrule": "{"}), "is not readable JSON"),
    "description a list": (safetensors.numpy.save({}, metadata={"chainrule": "[]"}), "has no format number"),
    "no checksum": (safetensors.numpy.save({}, metadata={"chainrule": '{"format": 1}'}), "was altered"),
}


@pytest.mark.parametrize(("content", "says"), FOREIGN.values(), ids=FOREIGN)
def test_a_file_of_another_kind_is_refused(content: bytes, says: str, path: Path) -> None:
    path.write_bytes(content)
    assert says in refused(path)
    assert str(path) in refused(path)


def rewrite(saved: Path, change: Callable[[dict[str, Any], dict[str, Any]], Any]) -> None:
    """The file as a malicious or later program would have written it: altered, with the right checksum."""
    arrays, description = serialization.read(saved)
    change(arrays, description)
    text = json.dumps(description)
    metadata = {"chainrule": text, "checksum": serialization._checksum(arrays, text)}
    saved.write_bytes(safetensors.numpy.save(arrays, metadata=metadata))


def layers(description: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = description["network"]["layers"]
    return found


WRONG = {
    "later format": (lambda a, d: d.update(format=2), r"has format 2, this chainrule reads up to 1: upgrade chainrule"),
    "format a word": (lambda a, d: d.update(format="1"), r"has no format number"),
    "no theta": (lambda a, d: a.pop("theta"), r"theta must be .* of shape \(25,\), got nothing"),
    "no buffers": (lambda a, d: a.pop("buffers"), r"buffers must be .* of shape \(8,\), got nothing"),
    "theta too short": (
        lambda a, d: a.update(theta=a["theta"][:-1]),
        r"theta .*shape \(25,\), got float32 \(24,\)",
    ),
    "theta a matrix": (lambda a, d: a.update(theta=a["theta"].reshape(5, 5)), r"theta must be .* got float32 \(5, 5\)"),
    "theta of integers": (lambda a, d: a.update(theta=a["theta"].astype("int32")), r"theta .*int32"),
    "theta of half precision": (lambda a, d: a.update(theta=a["theta"].astype("float16")), r"theta .*float16"),
    "no network": (lambda a, d: d.pop("network"), r"must have a network and a loss, got"),
    "network a layer": (lambda a, d: d.update(network=layers(d)[0]), r"must have a network and a loss, got"),
    "no loss": (lambda a, d: d.pop("loss"), r"must have a network and a loss, got"),
    "loss an activation": (lambda a, d: d.update(loss={"type": "ReLU"}), r"must have a network and a loss, got|loss"),
    "loss a number": (lambda a, d: d.update(loss=5), r"must have a network and a loss, got|loss"),
    "unknown class": (lambda a, d: layers(d)[0].update(type="Conv2D"), r"names 'Conv2D', which this version"),
    "class of Python's": (lambda a, d: layers(d)[0].update(type="os.system"), r"names 'os.system', which this version"),
    "class a list": (lambda a, d: layers(d)[0].update(type=["Dense"]), r"names \['Dense'\], which this version"),
    "impossible width": (lambda a, d: layers(d)[0].update(n_in=-3), r"a Dense that cannot be: .*>= 1, got -3"),
    "width a word": (lambda a, d: layers(d)[0].update(n_in="3"), r"a Dense that cannot be: .*got '3'"),
    "widths that do not fit": (lambda a, d: layers(d)[0].update(n_out=5), r"a Sequential that cannot be: layer 2"),
    "field of no class": (lambda a, d: layers(d)[0].update(colour="red"), r"a Dense that cannot be: .*has no colour"),
    "field missing": (lambda a, d: layers(d)[0].pop("n_in"), r"a Dense that cannot be: .*'n_in'"),
    "layers missing": (lambda a, d: d["network"].pop("layers"), r"a Sequential that cannot be"),
    "layers a number": (lambda a, d: d["network"].update(layers=5), r"a Sequential that cannot be"),
    "initializer of no name": (lambda a, d: layers(d)[0].update(weights="he"), r"a Dense that cannot be: unknown init"),
    "initializer a loss": (lambda a, d: layers(d)[0].update(weights={"type": "Huber"}), r"a Dense that cannot be"),
    "history a number": (lambda a, d: d.update(history=5), r"history"),
    "history of numbers": (lambda a, d: d.update(history=[1.0]), r"history"),
    "preprocessing a word": (lambda a, d: d.update(preprocessing="scale"), r"preprocessing"),
}


@pytest.mark.parametrize(("change", "says"), WRONG.values(), ids=WRONG)
def test_a_description_that_cannot_be_is_refused(change: Any, says: str, saved: Path) -> None:
    rewrite(saved, change)
    assert re.search(says, refused(saved))


def test_a_class_of_a_module_that_keeps_annotations_as_types_is_checked_too(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = make_dataclass("Plain", [("on", bool)], frozen=True)
    monkeypatch.setitem(serialization._CLASSES, "Plain", plain)
    assert serialization.decode({"type": "Plain", "on": True}) == plain(True)
    with pytest.raises(cr.ModelFileError, match=r"it describes a Plain that cannot be: on must be true or false\."):
        serialization.decode({"type": "Plain", "on": 1})


def test_every_number_and_truth_value_is_annotated_as_it_is_looked_for() -> None:
    for name, cls in serialization._CLASSES.items():
        types = get_type_hints(cls)
        for field in fields(cls):
            for looked_for in (BOOL, FLOAT, INT, INT_OR_NONE):
                assert (field.type in looked_for) == (types[field.name] == looked_for[0]), (name, field.name)


def test_rewriting_without_a_change_is_accepted(saved: Path) -> None:
    rewrite(saved, lambda arrays, description: None)  # so what the cases above change is what is refused
    assert cr.load(saved) == MODEL


def test_reading_runs_no_code_of_the_files(path: Path, tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "ran",)

    path.write_bytes(pickle.dumps(Bomb()))
    refused(path)
    assert not (tmp_path / "ran").exists()
    source = Path(serialization.__file__).read_text()
    assert not re.search(r"\b(import pickle|eval|exec|__import__|import_module)\b", source)


# --------------------------------------------------------------------------------------------------- files and disks


def test_a_file_that_is_not_there_or_a_folder_is_a_file_error(tmp_path: Path) -> None:
    for path, why in ((tmp_path / "missing", "No such file or directory"), (tmp_path, "Is a directory")):
        with pytest.raises(cr.FileError, match=rf"cannot read .*{path.name}: {why}") as error:
            cr.load(path)
        assert not isinstance(error.value, cr.ModelFileError)


def test_a_place_that_cannot_be_written_is_a_file_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    for path in (tmp_path / "missing" / "m", tmp_path / "file" / "m", tmp_path):
        with pytest.raises(cr.FileError, match=r"cannot write .*: \w+"):
            MODEL.save(path)
    assert [file.name for file in tmp_path.iterdir()] == ["file"]  # nothing half-written stays


def test_a_write_that_fails_leaves_the_old_file_as_it_was(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(cr.FileError, match=r"cannot write .*: No space left on device"):
        untrained(cr.mlp([3, 1])).save(saved)
    monkeypatch.undo()
    assert cr.load(saved) == MODEL
    assert list(saved.parent.iterdir()) == [saved]


def test_saving_over_a_file_replaces_it(saved: Path) -> None:
    other = untrained(cr.mlp([3, 1]), SquaredError())
    other.save(saved)
    assert cr.load(saved) == other
