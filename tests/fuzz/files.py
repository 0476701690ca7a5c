"""Hostile model files: cut off, with bits flipped, with headers and descriptions that no program of ours has written.

python tests/fuzz/files.py  every truncation, 5,000 flips, 20,000 changed descriptions: benchmarks/results/fuzz.json

Each file must be refused in one sentence that names it, or be loaded as exactly the model that it describes. The
description of a changed file gets the right checksum, so that the checksum refuses nothing that the reader should.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import platform
import random
import struct
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

import chainrule as cr
from chainrule._model import serialization
from chainrule.losses import LOSSES
from chainrule.tables import Preprocessing, Table

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results" / "fuzz.json"
LONGEST = 5.0  # seconds for one file, all checks of it included; the slowest takes a few hundredths
DEEP = 100_000


def saved_model() -> cr.Model:
    """A small model that has a part of every kind, the same to the last bit wherever it is made."""
    sizes, cities = np.asarray([1.0, 2.0, np.nan, 4.0]), np.asarray(["Oslo", "Rome", None, "Oslo"], dtype=object)
    answers = np.asarray(["no", "yes", "no", "yes"], dtype=object)
    table = Table(columns={"size, m²": sizes, "city": cities}, target=answers, target_name="sold", source="houses")
    prepared = replace(Preprocessing.learn(table, impute="median", unseen="ignore"), dropped=("id",))
    n_in = len(prepared.feature_names)
    dense = cr.Dense(n_in, 3, bias=False, weight_init=cr.Normal(0.5), bias_init=cr.Constant(0.25))
    parts = [cr.BatchNorm(3), cr.LeakyReLU(0.2), cr.Dropout(0.25), cr.LayerNorm(3), cr.Polynomial((0.0, 1.0, 0.5))]
    network = cr.Sequential(dense, *parts, cr.RandomizedLeakyReLU(), cr.Dense(3, 2))
    on = cr.backend("numpy", dtype="float32")
    theta = np.linspace(-1.0, 1.0, network.size)
    buffers = np.linspace(0.5, 1.5, network.buffer_layout.size)
    records = ({"epoch": 1, "loss": 0.75, "val_loss": float("nan")}, {"epoch": 2, "loss": 0.5, "learning_rate": 0.001})
    return cr.Model(
        network,
        on.asarray(theta),
        on.asarray(buffers),
        LOSSES["softmax_cross_entropy"],
        on,
        history=cr.History(records),
        preprocessing=prepared,
    )


class Source:
    """The file that all others are made from."""

    def __init__(self, folder: Path) -> None:
        self.model = saved_model()
        self.path = folder / "saved.safetensors"
        self.model.save(self.path)
        self.content = self.path.read_bytes()
        self.arrays, self.description = serialization.read(self.path)


# ------------------------------------------------------------------------------------------------------ what must hold


class WrongError(AssertionError):
    """A file that was neither refused as it should be nor loaded as what it describes."""


def judge(path: Path) -> str:
    """``refused``, or ``exact``: the model is the one that the file describes. Raises WrongError for all else."""
    began = time.perf_counter()
    try:
        model = cr.load(path)
    except cr.FileError as error:
        check_sentence(str(error), path)
        return "refused"
    except Exception as error:
        raise WrongError(f"load raised {type(error).__name__}: {error!s:.300}") from error
    finally:
        if time.perf_counter() - began > LONGEST:
            raise WrongError(f"load took {time.perf_counter() - began:.1f} s")
    check_model(model, path)
    return "exact"


def check_sentence(message: str, path: Path) -> None:
    """One sentence or two, of a length to read, that name the file and can be printed."""
    faults = {
        "does not name the file": str(path) not in message,
        "is not one line": not message.isprintable(),
        "is too long": len(message) > 500 + len(str(path)),
        "does not end as a sentence": not message.endswith("."),
        "shows a traceback": "Traceback" in message or 'File "' in message,
    }
    for fault, found in faults.items():
        if found:
            raise WrongError(f"the message {fault}: {message!r:.600}")


def check_model(model: cr.Model, path: Path) -> None:
    """What came back says of itself what the file says, has the file's bits, and answers or says why not."""
    with safetensors.safe_open(path, framework="numpy") as file:
        text = json.loads(file.metadata()["chainrule"])
        bits = {name: file.get_tensor(name).tobytes() for name in file.keys()}  # noqa: SIM118
    for name, value in model.description().items():
        if name not in text or not same(text[name], value):
            raise WrongError(f"{name} is {text.get(name)!r:.200} in the file and {value!r:.200} in the model")
    if {"theta": np.asarray(model.theta).tobytes(), "buffers": np.asarray(model.buffers).tobytes()} != bits:
        raise WrongError("the arrays are not the file's")
    repr(model), model.summary()
    with np.errstate(all="ignore"):
        try:
            model.predict(np.zeros((2, model.network.n_in), dtype="float32"))
        except cr.ChainruleError:
            pass  # such as a softmax loss after a sigmoid
        except Exception as error:
            raise WrongError(f"predict raised {type(error).__name__}: {error!s:.300}") from error


def same(a: Any, b: Any) -> bool:
    """Equal as JSON, where true is not 1 and NaN is itself."""
    match a, b:
        case dict(), dict():
            return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
        case list(), list():
            return len(a) == len(b) and all(map(same, a, b))
    return isinstance(a, bool) == isinstance(b, bool) and (a == b or (a != a and b != b))


# ------------------------------------------------------------------------------------------------------------ the files


def truncations(content: bytes) -> Iterator[tuple[str, bytes]]:
    """Every length but the whole."""
    for length in range(len(content)):
        yield f"cut off at {length}", content[:length]


def flips(content: bytes, seed: int, count: int) -> Iterator[tuple[str, bytes]]:
    """One bit flipped, then two, up to four, anywhere."""
    draw = random.Random(seed)
    for number in range(count):
        flipped = bytearray(content)
        positions = draw.sample(range(8 * len(content)), 1 + number % 4)
        for position in positions:
            flipped[position // 8] ^= 1 << position % 8
        yield f"bits {positions} flipped", bytes(flipped)


def packed(text: str, arrays: Mapping[str, np.ndarray], checksum: str | None = None) -> bytes:
    """A file with this description, and the right checksum unless another is given."""
    found = serialization._checksum(arrays, text) if checksum is None else checksum
    return safetensors.numpy.save(dict(arrays), metadata={"chainrule": text, "checksum": found})


def nested(depth: int) -> Any:
    value: Any = 0
    for _ in range(depth):
        value = [value]
    return value


VALUES: list[Any] = [
    *(None, True, False, 0, 1, 2, 3, -1, 2**31, 2**53 + 1, 2**63, 2**64, 10**400, -(10**400), 10**4000),
    *(0.0, -0.0, 0.25, 0.5, 1.0, 1.5, -2.5, 1e308, -1e308, 5e-324, float("nan"), float("inf"), float("-inf")),
    *("", "x", "1", "nan", "relu", "softmax", "he_normal", "Dense", "Sequential", "median", "error", "chainrule"),
    *("\0", "a\0b", "Größe 𝛼", "\u202eabc", "\ud800", "line\nline", "x" * 100_000, "../../etc/passwd", "os.system"),
    *([], [[]], [None], [0], [1.0, 2.0], ["a", "a"], ["a", "b"], [1, 1.0], [True, 1], [0] * 1000, nested(60)),
    *({}, {"type": None}, {"type": "Dense"}, {"type": "Dense", "n_in": 10**9, "n_out": 10**9}, {"kind": "numeric"}),
    *({"type": "Dense", "n_in": 10**4000, "n_out": 10**4000}, {"type": "Sequential", "layers": [{"type": "ReLU"}]}),
    {"type": "Polynomial", "coefficients": [10**400]},
    {"type": "Activate", "activation": {"type": "Softmax"}},
]
CLASSES: list[Any] = [{"type": name} for name in sorted(serialization._CLASSES)]

Position = tuple[Any, ...]


def positions(value: Any, at: Position = ()) -> Iterator[Position]:
    """Where each value stands in the description, containers too."""
    if at:
        yield at
    inner: Any = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inner:
        yield from positions(item, (*at, key))


def found(description: Any, position: Position) -> Any:
    for key in position:
        description = description[key]
    return description


def replaced(description: dict[str, Any], position: Position, value: Any) -> dict[str, Any]:
    changed = deepcopy(description)
    found(changed, position[:-1])[position[-1]] = value
    return changed


def replacements(source: Source, values: Sequence[Any] = (*VALUES, *CLASSES)) -> Iterator[tuple[str, bytes]]:
    """Every field of the description with every one of the values."""
    for position in positions(source.description):
        for value in values:
            text = json.dumps(replaced(source.description, position, value))
            yield f"{position} = {value!r:.60}", packed(text, source.arrays)


def mutations(source: Source, seed: int, count: int) -> Iterator[tuple[str, bytes]]:
    """One to three changes of the description, at random places, of random kinds."""
    draw = random.Random(seed)
    for number in range(count):
        changed = deepcopy(source.description)
        told = [mutate(changed, draw) for _ in range(1 + number % 3)]
        yield "; ".join(told), packed(json.dumps(changed), source.arrays)


def mutate(description: dict[str, Any], draw: random.Random) -> str:
    """Change the description at one place; what was done, in words."""
    position = draw.choice(list(positions(description)) or [("format",)])
    holder, key = found(description, position[:-1]), position[-1]
    near = nearby(holder.get(key) if isinstance(holder, dict) else None, draw)
    value: Any = deepcopy(draw.choice([draw.choice(VALUES + CLASSES), near]))
    kind = draw.choice(["replace", "replace", "replace", "remove", "add", "copy", "swap"])
    if kind == "remove":
        del holder[key]
    elif kind == "add" and isinstance(holder, dict):
        holder[draw.choice(["x", "", "type", "n", f"{key} ", str(key).upper()])] = value
    elif kind == "add":
        holder.insert(key, value)
    elif kind == "copy":
        holder[key] = deepcopy(found(description, draw.choice(list(positions(description)))))
    elif kind == "swap":
        other = draw.choice(list(positions(description)))
        holder[key], value = deepcopy(found(description, other)), deepcopy(holder[key])
        if other[: len(position)] != position and position[: len(other)] != other:
            found(description, other[:-1])[other[-1]] = value
    else:
        holder[key] = value
    return f"{kind} {position} {value!r:.60}"


def nearby(value: Any, draw: random.Random) -> Any:
    """A value like this one, which a reader that looks less than it should would take for it."""
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, int | float):
        other = float(value) if abs(value) < 1e300 else 0.0
        return draw.choice([value + 1, value - 1, -value, other, str(value), [value], value * 2, bool(value)])
    return draw.choice([f"{value} ", value.upper(), [value], value + "\0"]) if isinstance(value, str) else [value]


def container(header: bytes | str, data: bytes = b"", length: int | None = None) -> bytes:
    """The frame of a safetensors file around any header, with its length or another."""
    raw = header if isinstance(header, bytes) else header.encode()
    return struct.pack("<Q", len(raw) if length is None else length) + raw + data


# Of the files made by hand, those that are models. All others must be refused.
MODELS = {
    *("both of float64", "theta not finite", "theta negative NaN", "theta infinite"),  # what was saved comes back
    *("description more indented", "other versions", "no versions", "nothing changed"),
    *("names of another script", "names with a NUL", "names with half a character", "a name of a megabyte"),
}


def hostile(source: Source) -> Iterator[tuple[str, bytes]]:
    """Headers and descriptions that were made to do harm, by hand."""
    yield from _hostile_frames(source)
    yield from _hostile_tensors(source)
    yield from _hostile_descriptions(source)


def header_of(source: Source) -> dict[str, Any]:
    (size,) = struct.unpack("<Q", source.content[:8])
    header: dict[str, Any] = json.loads(source.content[8 : 8 + size])
    return header


def _data(source: Source) -> bytes:
    (size,) = struct.unpack("<Q", source.content[:8])
    return source.content[8 + size :]


def _hostile_frames(source: Source) -> Iterator[tuple[str, bytes]]:
    content, header, data = source.content, json.dumps(header_of(source)), _data(source)
    for length in (0, 1, 7, len(content) - 7, len(content), 10**6, 10**8, 10**8 + 1, 2**31, 2**32, 2**63 - 1, 2**63):
        yield f"header length {length}", struct.pack("<Q", length) + content[8:]
    yield "header length all ones", b"\xff" * 8 + content[8:]
    for name, text in {
        "nothing": "",
        "not JSON": "epoch,loss",
        "a list": "[]",
        "a number": "5",
        "null": "null",
        "an empty object": "{}",
        "unfinished": header[:-1],
        "followed by more": header + "{}",
        "nested lists": "[" * DEEP,
        "nested objects": '{"a":' * DEEP,
        "nested and closed": '{"a":' + "[" * DEEP + "]" * DEEP + "}",
        "nested metadata": header.replace('"checksum": "', f'"x": {"[" * DEEP}{"]" * DEEP}, "checksum": "'),
        "NULs": "\0" * 64,
        "a NUL in a name": '{"the\\u0000ta":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}',
        "metadata a list": '{"__metadata__":[]}',
        "metadata null": '{"__metadata__":null}',
        "metadata of numbers": '{"__metadata__":{"chainrule":1}}',
        "a thousand tensors": json.dumps(
            {str(i): {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for i in range(1000)}
        ),
    }.items():
        yield f"header {name}", container(text, data)
    yield "header no UTF-8", container(b'{"\xff\xfe":1}')
    yield "header a BOM", container(b"\xef\xbb\xbf" + header.encode(), data)
    yield "header UTF-16", container(header.encode("utf-16"), data)
    yield "bytes behind the end", content + b"\0"
    yield "the file twice", content * 2
    for name, (old, new) in {
        "theta": ('"theta": {', '"theta": {"dtype":"F32","shape":[0],"data_offsets":[0,0]}, "theta": {'),
        "buffers": ('"buffers": {', '"buffers": {"dtype":"F32","shape":[0],"data_offsets":[0,0]}, "buffers": {'),
        "metadata": ('"__metadata__": {', '"__metadata__": {"a": "b"}, "__metadata__": {'),
        "chainrule": ('"chainrule": "', '"chainrule": "{}", "chainrule": "'),
        "checksum": ('"checksum": "', '"checksum": "0", "checksum": "'),
        "dtype": ('"dtype": ', '"dtype": "F64", "dtype": '),
        "shape": ('"shape": ', '"shape": [1], "shape": '),
        "offsets": ('"data_offsets": ', '"data_offsets": [0, 4], "data_offsets": '),
    }.items():
        assert old in header, old
        yield f"header with {name} twice", container(header.replace(old, new), data)


def _hostile_tensors(source: Source) -> Iterator[tuple[str, bytes]]:
    data = _data(source)

    def changed(name: str, **fields: Any) -> bytes:
        header = header_of(source)
        header[name] |= fields
        return container(json.dumps(header), data)

    theta = source.arrays["theta"]
    for name in ("theta", "buffers"):
        for dtype in ("F64", "F16", "BF16", "F8_E4M3", "F8_E5M2", "I32", "U8", "BOOL", "C64", "F4", "X", "", None, 32):
            yield f"{name} of {dtype}", changed(name, dtype=dtype)
        for shape in (
            [],
            [0],
            [theta.size + 1],
            [10**9, 10**9],
            [2**32, 2**32],
            [2**63],
            [2**64],
            [2**64 - 1],
            [0, 2**64 - 1],
            [10**400],
            [-1],
            [-theta.size],
            [1.0],
            [float("nan")],
            [float("inf")],
            [1e308],
            ["1"],
            [None],
            [True],
            [1] * 1000,
            [1] * 30 + [theta.size],
            None,
            theta.size,
            "x",
            {},
        ):
            yield f"{name} of shape {shape!r:.40}", changed(name, shape=shape)
        size = len(data)
        for offsets in (
            [0, size],
            [0, size + 4],
            [size, 0],
            [-4, 4],
            [0, 2**63],
            [0, 2**64 - 1],
            [2**64 - 4, 2**64 - 1],
            [10**400, 10**400],
            [0.0, 4.0],
            [float("nan"), 4],
            [0],
            [],
            [0, 4, 8],
            None,
            "ab",
        ):
            yield f"{name} at {offsets!r:.40}", changed(name, data_offsets=offsets)
    header = header_of(source)
    header["buffers"]["data_offsets"] = header["theta"]["data_offsets"]
    yield "overlapping tensors", container(json.dumps(header), data)

    text = json.dumps(source.description)
    arrays = dict(source.arrays)
    for name, other in {
        "no tensors": {},
        "theta missing": {"buffers": arrays["buffers"]},
        "buffers missing": {"theta": arrays["theta"]},
        "a tensor more": {**arrays, "more": np.zeros(3, "float32")},
        "a tensor of no name more": {**arrays, "": np.zeros(3, "float32")},
        "tensors renamed": {f"{key} ": value for key, value in arrays.items()},
        "buffers of float64": {**arrays, "buffers": arrays["buffers"].astype("float64")},
        "theta of float64": {**arrays, "theta": theta.astype("float64")},
        "both of float64": {key: value.astype("float64") for key, value in arrays.items()},
        "both of float16": {key: value.astype("float16") for key, value in arrays.items()},
        "both of int32": {key: value.astype("int32") for key, value in arrays.items()},
        "both of complex64": {key: value.astype("complex64") for key, value in arrays.items()},
        "both of bool": {key: value.astype("bool") for key, value in arrays.items()},
        "theta a matrix": {**arrays, "theta": theta.reshape(1, -1)},
        "theta a number": {**arrays, "theta": theta[0]},
        "theta too long": {**arrays, "theta": np.append(theta, theta[:1])},
        "theta too short": {**arrays, "theta": theta[:-1]},
        "theta not finite": {**arrays, "theta": np.full_like(theta, np.nan)},
        "theta negative NaN": {**arrays, "theta": np.copysign(np.full_like(theta, np.nan), np.float32(-1.0))},
        "theta infinite": {**arrays, "theta": np.full_like(theta, -np.inf)},
    }.items():
        yield name, packed(text, {key: np.ascontiguousarray(value) for key, value in other.items()})


def _hostile_descriptions(source: Source) -> Iterator[tuple[str, bytes]]:
    text, arrays = json.dumps(source.description), source.arrays
    assert '"format": 1' in text
    for form in (
        "0",
        "-1",
        "2",
        "1e0",
        "1.0",
        "true",
        "false",
        "null",
        '"1"',
        "[1]",
        "{}",
        "NaN",
        "1" * 4000,
        "-Infinity",
    ):
        yield f"format {form:.20}", packed(text.replace('"format": 1', f'"format": {form}', 1), arrays)
    yield "format of too many digits", packed(text.replace('"format": 1', f'"format": {"1" * 5000}', 1), arrays)
    yield "no format", packed(text.replace('"format": 1', '"other": 1', 1), arrays)
    for key in ("format", "network", "loss", "flat", "history", "preprocessing"):
        yield f"{key} twice", packed(f'{text[:-1]}, "{key}": {json.dumps(source.description[key])}}}', arrays)
    yield "a field of a layer twice", packed(text.replace('"n_in": ', '"n_in": 3, "n_in": ', 1), arrays)
    yield "a type twice", packed(text.replace('"type": "Dense"', '"type": "ReLU", "type": "Dense"', 1), arrays)
    for depth in (50, 90, 110, 500, 900, 990, 1000, 5000, DEEP):
        for opened, closed in (("[", "]"), ('{"a":', "}"), ('{"type":"Activate","activation":', "}")):
            inside = f"{opened * depth}0{closed * depth}"
            for key in ("network", "loss", "flat", "history", "preprocessing", "other"):
                changed = json.dumps({**source.description, key: "HERE"}).replace('"HERE"', inside)
                yield f"{key} {depth} times {opened}", packed(changed, arrays)
        yield f"{depth} never closed", packed("[" * depth, arrays)
    for name, changed in {
        "empty": "",
        "blank": " ",
        "not JSON": "{",
        "a list": "[]",
        "a text": '"x"',
        "NULs": "\0" * 8,
        "followed by more": text + "x",
        "with a BOM": "\ufeff" + text,
        "with a comment": "/* */" + text,
        "of quotes": '"' + '\\"' * 50_000,
        "all escapes": '{"format": 1, "x": "' + "\\u0000" * 20_000 + '"}',
        "a bad escape": '{"format": 1, "x": "\\ud8"}',
        "of a million": '{"format": 1, "history": [' + ",".join(["{}"] * 10**5) + "]}",
        "history of nothing": '{"format": 1, "history": ' + "[" + "0," * 10**5 + "0]}",
        "more indented": json.dumps(source.description, indent=3),
    }.items():
        yield f"description {name}", packed(changed, arrays)
    other = saved_model()
    described = json.dumps({"format": 1, **replace(other, flat=False).description()})
    yield "the checksum of another", packed(described, arrays, serialization._checksum(arrays, text))
    for checksum in ("", "0" * 64, serialization._checksum(arrays, text).upper(), "é" * 64):
        yield f"checksum {checksum:.8}", packed(text, arrays, checksum)
    for name, change in _changes(source).items():
        description = deepcopy(source.description)
        change(description)
        yield name, packed(json.dumps(description), arrays)


def _changes(source: Source) -> dict[str, Callable[[dict[str, Any]], Any]]:
    first = source.description["network"]["layers"][0]
    wide = {**first, "n_in": 10**9, "n_out": 10**9}
    colliding = [i * (2**61 - 1) for i in range(1, 20_001)]  # all of one hash
    return {
        "a billion squared": lambda d: d.update(network={"type": "Sequential", "layers": [wide]}, preprocessing=None),
        "a product of 8,000 digits": lambda d: d.update(
            network={"type": "Sequential", "layers": [{**first, "n_in": 10**4000, "n_out": 10**4000}]},
            preprocessing=None,
        ),
        "a field that a terminal obeys": lambda d: d["network"]["layers"][0].update({"\x1b[2J\nx": 1}),
        "ten thousand layers": lambda d: d["network"].update(layers=[{"type": "Tanh"}] * 10_000),
        "a layer by its name": lambda d: d["network"]["layers"].insert(1, "relu"),
        "an optimizer as an activation": lambda d: d["network"]["layers"].insert(
            1, {"type": "Activate", "activation": {"type": "SGD", "learning_rate": 0.1}}
        ),
        "a network as a layer": lambda d: d["network"]["layers"].append(deepcopy(d["network"])),
        "a field left out": lambda d: d["network"]["layers"][1].pop("epsilon"),
        "a bias that is 1": lambda d: d["network"]["layers"][-1].update(bias=1),
        "a field more": lambda d: d.update(more=1),
        "no preprocessing": lambda d: d.pop("preprocessing"),
        "a column of other width": lambda d: d["preprocessing"]["columns"][1]["categories"].append("Paris"),
        "a class more": lambda d: d["preprocessing"]["target"]["classes"].append("perhaps"),
        "classes of one hash": lambda d: d["preprocessing"]["target"].update(classes=colliding),
        "categories without end": lambda d: d["preprocessing"]["columns"][1].update(
            categories=[str(i) for i in range(50_000)]
        ),
        "names of another script": lambda d: d["preprocessing"]["columns"][0].update(name="面積"),
        "names with a NUL": lambda d: d["preprocessing"]["columns"][0].update(name="a\0b"),
        "names with half a character": lambda d: d["preprocessing"]["columns"][0].update(name="\ud800"),
        "a name of a megabyte": lambda d: d["preprocessing"]["columns"][0].update(name="x" * 2**20),
        "a layer's name of a megabyte": lambda d: d["network"]["layers"][0].update(type="x" * 2**20),
        "an initializer's name of a megabyte": lambda d: d["network"]["layers"][0].update(weights="x" * 2**20),
        "history of booleans": lambda d: d.update(history=[{"loss": True}]),
        "other versions": lambda d: d.update(versions={"chainrule": "99.0", "numpy": "x"}),
        "no versions": lambda d: d.pop("versions", None),
        "nothing changed": lambda d: None,
    }


# -------------------------------------------------------------------------------------------------------------- running


def refused(name: str) -> str:
    """What must become of a file whose content was damaged."""
    return "refused"


def by_hand(name: str) -> str:
    """What must become of a file made by hand."""
    return "exact" if name in MODELS else "refused"


def run(
    cases: Iterator[tuple[str, bytes]], path: Path, must: Callable[[str], str] | None = None
) -> tuple[Counter[str], list[str]]:
    """How many were refused and how many exact, and what went wrong; ``must`` says which of the two, where known."""
    counts: Counter[str] = Counter()
    wrong = []
    for name, content in cases:
        path.write_bytes(content)
        try:
            outcome = judge(path)
            if must is not None and outcome != must(name):
                raise WrongError(f"it must be {must(name)}, and is {outcome}")
            counts[outcome] += 1
        except WrongError as error:
            counts["wrong"] += 1
            wrong.append(f"{name}: {error}")
    return counts, wrong


def main() -> int:
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("--seed", type=int, default=0)
    asked.add_argument("--flips", type=int, default=5_000)
    asked.add_argument("--mutations", type=int, default=20_000)
    asked.add_argument("--out", type=Path, default=RESULTS)
    options = asked.parse_args()
    failed: list[str] = []
    files: dict[str, dict[str, int]] = {}
    with tempfile.TemporaryDirectory() as folder:
        source, path = Source(Path(folder)), Path(folder) / "hostile.safetensors"
        for name, (cases, must) in {
            "truncations": (truncations(source.content), refused),
            "flips": (flips(source.content, options.seed, options.flips), refused),
            "made by hand": (hostile(source), by_hand),
            "replacements": (replacements(source), None),
            "mutations": (mutations(source, options.seed, options.mutations), None),
        }.items():
            faulthandler.dump_traceback_later(1800, exit=True)  # where a file hangs
            counts, wrong = run(cases, path, must)
            files[name] = {"count": counts.total(), **{kind: counts[kind] for kind in ("refused", "exact", "wrong")}}
            failed += [f"{name}: {line}" for line in wrong]
            print(f"{name}: {files[name]}", flush=True)
    faulthandler.cancel_dump_traceback_later()
    for line in failed[:100]:
        print(line, file=sys.stderr)
    versions = {
        "python": platform.python_version(),
        "chainrule": version("chainrule"),
        "numpy": np.__version__,
        "safetensors": safetensors.__version__,
    }
    result = {"seed": options.seed, "bytes": len(source.content), "files": files, "versions": versions}
    options.out.write_text(json.dumps(result, indent=1) + "\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
