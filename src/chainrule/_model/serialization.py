"""A model as one file: a .safetensors file of arrays, with a JSON description of everything else.

No pickle: reading a file builds only the classes in the table below, from numbers and strings, and runs no code of the
file's. The description carries a version and a checksum of the whole content.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
import re
import reprlib
import stat
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from .. import activations, initializers, layers, losses, optimizers, penalties, schedules
from .._base.errors import ChainruleError, ConfigurationError, FileError, ModelFileError, one_line
from .._base.options import BOOL
from .._base.storage import as_path, write_whole
from ..network import Sequential

FORMAT = 1
MOST = 200_000  # values in the description of a network and its loss: some ten thousand layers
_KEY = "chainrule"
_LONGEST = 400  # characters of a message about a file
_TRIES = 1000  # to open a file that another process saves to all the while
_DEEPEST = 64  # a description that we write has nine levels, a checkpoint's a few more
_DTYPES = {"BOOL": "?", "F16": "<f2", "F32": "<f4", "F64": "<f8"} | {
    f"{letter}{8 * size}": f"<{letter.lower()}{size}" for letter in "IU" for size in (1, 2, 4, 8)
}

_CLASSES: dict[str, type[Any]] = {
    cls.__name__: cls
    for module in (activations, initializers, layers, losses, optimizers, penalties, schedules)
    for cls in vars(module).values()
    if dataclasses.is_dataclass(cls) and isinstance(cls, type) and cls.__module__.startswith(module.__name__)
} | {"Sequential": Sequential}
for _custom in ("Activation", "Loss"):  # they hold functions of the user's
    del _CLASSES[_custom]
for _inner in ("Buffer", "Parameter"):  # a layer makes them of its own fields
    del _CLASSES[_inner]

# Files keep the names that these fields had when the first ones were written.
_IN_FILES = {"weight_init": "weights", "bias_init": "biases"}
_IN_CODE = {old: new for new, old in _IN_FILES.items()}


def encode(value: Any, *, lenient: bool = False) -> Any:
    """A frozen dataclass of ours, or a plain value, as JSON types; ``lenient`` makes null of anything else."""
    if isinstance(value, Sequential):
        return {"type": "Sequential", "layers": [encode(layer, lenient=lenient) for layer in value.layers]}
    if isinstance(value, tuple):
        return [encode(item, lenient=lenient) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if _CLASSES.get(type(value).__name__) is not type(value):
        if lenient:
            return None
        raise ConfigurationError(
            f"{value!r} is not part of chainrule, so a model file cannot name it: keep it in your code, save the "
            "arrays model.theta and model.buffers, and build the model again from them with cr.Model."
        )
    fields = {
        _IN_FILES.get(field.name, field.name): encode(getattr(value, field.name), lenient=lenient)
        for field in dataclasses.fields(value)
    }
    return {"type": type(value).__name__, **fields}


def decode(value: Any) -> Any:
    """The inverse of ``encode``. Raises ModelFileError for what it could not have written."""
    if isinstance(value, list):
        return tuple(decode(item) for item in value)
    if not isinstance(value, dict):
        return value
    fields = dict(value)
    name = fields.pop("type", None)
    if not isinstance(name, str) or name not in _CLASSES:
        raise ModelFileError(f"it names {reprlib.repr(name)}, which this version of chainrule does not have.")
    cannot = f"it describes a {name} that cannot be"
    try:
        if name == "Sequential":
            if not isinstance(fields.get("layers"), list):
                raise ModelFileError(f"{cannot}: its layers are no list.")
            return Sequential(*(decode(layer) for layer in fields["layers"]))
        made = _CLASSES[name](**{_IN_CODE.get(key, key): decode(item) for key, item in fields.items()})
    except ModelFileError:
        raise
    except (ChainruleError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError) as error:
        raise ModelFileError(f"{cannot}: {error}") from error
    for field in dataclasses.fields(made):
        if field.type in BOOL and not isinstance(getattr(made, field.name), bool):
            raise ModelFileError(f"{cannot}: {field.name} must be true or false.")
    return made


def is_too_large(*described: Any) -> bool:
    """Whether networks and losses in JSON have more values than a file may hold: a million take a minute."""
    waiting, seen = list(described), 0
    while waiting and seen <= MOST:
        value, seen = waiting.pop(), seen + 1
        if isinstance(value, dict | list):
            waiting.extend(value.values() if isinstance(value, dict) else value)
    return seen > MOST


def difference(read: Any, written: Any, at: str) -> str | None:
    """Where two values are not the same in JSON, in which true is not 1; None where they are the same."""
    pairs: Iterator[tuple[Any, Any, str]]
    if isinstance(read, dict) and isinstance(written, dict) and read.keys() == written.keys():
        pairs = ((read[key], written[key], f"{at}.{key}") for key in written)
    elif isinstance(read, list) and isinstance(written, list) and len(read) == len(written):
        pairs = ((mine, theirs, f"{at}[{i}]") for i, (mine, theirs) in enumerate(zip(read, written, strict=True)))
    else:
        same = isinstance(read, bool) == isinstance(written, bool) and read == written
        return None if same else at
    return next((found for pair in pairs if (found := difference(*pair))), None)


def refusal(path: str | os.PathLike[str], why: object) -> ModelFileError:
    """The error for a file that is no model of ours: its name and the reason, on one line of a length to read.

    What the reason quotes may be a stranger's: a megabyte, or what a terminal would obey.
    """
    text = str(why).rstrip(".")
    short = text if len(text) <= _LONGEST else f"{text[: _LONGEST - 100]} ... {text[-95:]}"
    return ModelFileError(f"{path}: {one_line(short)}.")


def write(
    path: str | os.PathLike[str],
    arrays: Mapping[str, np.ndarray],
    description: Mapping[str, Any],
    *,
    mark: str = "chainrule",
) -> None:
    """Write arrays and description to one file, whole or not at all. See ``write_whole``, also for ``mark``."""
    from safetensors import SafetensorError
    from safetensors.numpy import save

    contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    whole = {"format": FORMAT, "versions": _versions(), **description}
    text = json.dumps(whole, allow_nan=True)
    path = as_path(path)
    if _is_deep(text):
        raise ConfigurationError(f"cannot write {path}: what it describes is nested more than {_DEEPEST} deep.")
    try:
        content = save(contiguous, metadata={_KEY: text, "checksum": _checksum(contiguous, text)})
    except SafetensorError as error:  # more than the 100 MB of description that it would read
        raise FileError(f"cannot write {path}: {error}.") from error
    write_whole(path, content, mark=mark)


def read(path: str | os.PathLike[str]) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """(arrays, description) of a file that ``write`` made."""
    with _whole_file(path) as (file, metadata):
        description, arrays = _checked_description(path, metadata), _arrays(path, file)
    if metadata.get("checksum") != _checksum(arrays, metadata[_KEY]):
        raise ModelFileError(f"{path} was altered: its checksum does not match its content.")
    return arrays, description


def read_description(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The description alone, of a file whose arrays are there and are not looked at."""
    with _whole_file(path) as (_, metadata):
        return _checked_description(path, metadata)


@contextmanager
def _whole_file(path: str | os.PathLike[str]) -> Iterator[tuple[BinaryIO, dict[str, str]]]:
    """The file and its metadata, once safetensors has checked its header and that its arrays fill it, none twice."""
    from safetensors import SafetensorError, safe_open

    path = as_path(path)
    try:
        for _ in range(_TRIES):
            with _opened(path) as file, safe_open(path, framework="numpy") as checked:
                if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                    yield file, checked.metadata() or {}
                    return
            # Another process saved in between: what was checked is not what was opened.
        raise OSError("it is replaced all the time")
    except SafetensorError as error:
        raise refusal(path, f"this is not a chainrule model, or it was cut off or altered ({error})") from error
    except ModelFileError:
        raise
    except OSError as error:
        raise FileError(f"cannot read {path}: {error.strerror or error}.") from error
    except MemoryError as error:
        raise FileError(f"cannot read {path}: it is larger than the memory that is free.") from error
    except ValueError as error:  # a NUL, or half a character
        raise FileError(f"cannot read {str(path)!r}: no file can have this name ({error}).") from error


def _opened(path: str | os.PathLike[str]) -> BinaryIO:
    """The file, if it is one: to open a pipe would wait for whoever writes to it."""
    mode = Path(path).stat().st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise OSError("it is a device or a pipe")
    return Path(path).open("rb")


def _arrays(path: str | os.PathLike[str], file: BinaryIO) -> dict[str, np.ndarray]:
    """The arrays of a file that safetensors finds in order, if each name stands once and each dtype is one of NumPy's.

    Its own function ends the process where an array does not fit into memory.
    """
    size = int.from_bytes(file.read(8), "little")
    try:
        header = json.loads(file.read(size), object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise refusal(path, f"the header is not as in a model file ({error})") from error
    arrays = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        if entry["dtype"] not in _DTYPES:
            raise refusal(path, f"{name!r} is an array of {entry['dtype']}, which no model of ours has")
        file.seek(8 + size + entry["data_offsets"][0])
        array = np.fromfile(file, _DTYPES[entry["dtype"]], math.prod(entry["shape"]))
        if array.size != math.prod(entry["shape"]):
            raise refusal(path, "it was cut off while it was read")
        arrays[name] = array if len(entry["shape"]) == 1 else array.reshape(entry["shape"])
    return arrays


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON in which every name stands once: of two, other programs would take the other."""
    made = dict(pairs)
    if len(made) < len(pairs):
        twice = next(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        raise ValueError(f"{reprlib.repr(twice)} stands twice in one object")
    return made


def _checked_description(path: str | os.PathLike[str], metadata: Mapping[str, str]) -> dict[str, Any]:
    """The description as JSON, if it is one of a format that this version of chainrule reads."""
    if _KEY not in metadata:
        raise refusal(path, "this is a safetensors file but not a chainrule model: its description is missing")
    if _is_deep(metadata[_KEY]):  # what would exhaust the stack must not reach a parser
        raise refusal(path, f"the description is nested more than {_DEEPEST} deep")
    try:
        description = json.loads(metadata[_KEY], object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise refusal(path, f"the description is not readable JSON ({error})") from error
    form = description.get("format") if isinstance(description, dict) else None
    if isinstance(form, bool) or not isinstance(form, int) or form < 1:
        raise refusal(path, "the description has no format number")
    if form > FORMAT:
        got = reprlib.repr(form)
        raise refusal(path, f"it has format {got}, this chainrule reads up to {FORMAT}: upgrade chainrule")
    return description


def _is_deep(text: str) -> bool:
    """Whether lists and objects of JSON stand in each other more than ``_DEEPEST`` deep, found without recursion."""
    depth, quoted = 0, False
    for mark in re.finditer(r'\\.|["\[\]{}]', text, re.DOTALL):
        if mark[0] == '"':
            quoted = not quoted
        elif not quoted and mark[0] in "[{":
            depth += 1
            if depth > _DEEPEST:
                return True
        elif not quoted and mark[0] in "]}":
            depth -= 1
    return False


@cache
def _versions() -> dict[str, str]:
    """What wrote a file: for people. Nothing that reads one looks at it."""
    try:
        ours = version("chainrule")
    except PackageNotFoundError:  # imported from a folder
        ours = "unknown"
    return {"chainrule": ours, "numpy": np.__version__}


def _checksum(arrays: Mapping[str, np.ndarray], text: str) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
