"""A model as one file: a .safetensors file of arrays, with a JSON description of everything else.

No pickle: reading a file builds only the classes in the table below, from numbers and strings, and runs no code of the
file's. The description carries a version and a checksum of the whole content.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from . import activations, initializers, layers, losses, optimizers, penalties, schedules
from ._errors import ChainruleError, ConfigurationError, FileError, ModelFileError
from .network import Sequential

FORMAT = 1
_KEY = "chainrule"

_CLASSES: dict[str, type[Any]] = {
    cls.__name__: cls
    for module in (activations, initializers, layers, losses, optimizers, penalties, schedules)
    for cls in vars(module).values()
    if dataclasses.is_dataclass(cls) and isinstance(cls, type) and cls.__module__.startswith("chainrule.")
} | {"Sequential": Sequential}
for _custom in ("Activation", "Loss"):  # they hold functions of the user's
    del _CLASSES[_custom]


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
    fields = {field.name: encode(getattr(value, field.name), lenient=lenient) for field in dataclasses.fields(value)}
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
        raise ModelFileError(f"the model file names {name!r}, which this version of chainrule does not have.")
    try:
        if name == "Sequential":
            return Sequential(*(decode(layer) for layer in fields["layers"]))
        return _CLASSES[name](**{key: decode(item) for key, item in fields.items()})
    except ModelFileError:
        raise
    except (ChainruleError, TypeError, ValueError, KeyError, AttributeError, RecursionError) as error:
        raise ModelFileError(f"the model file describes a {name} that cannot be: {error}") from error


def write(path: str | os.PathLike[str], arrays: Mapping[str, np.ndarray], description: Mapping[str, Any]) -> None:
    """Write arrays and description to one file, whole or not at all: an old file is replaced at the last moment."""
    from safetensors.numpy import save

    contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    text = json.dumps({"format": FORMAT, **description}, allow_nan=True, sort_keys=True)
    content = save(contiguous, metadata={_KEY: text, "checksum": _checksum(contiguous, text)})
    path = Path(path)
    if not path.name:
        raise FileError(f"cannot write {str(path)!r}: give the name of a file.")
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        try:
            with partial.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise FileError(f"cannot write {path}: {error.strerror or error}.") from error


def read(path: str | os.PathLike[str]) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """(arrays, description) of a file that ``write`` made."""
    from safetensors import SafetensorError, safe_open

    try:
        with Path(path).open("rb"):
            pass
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # safe_open is no mapping
    except SafetensorError as error:
        raise ModelFileError(f"{path} is not a chainrule model, or was cut off or altered ({error}).") from error
    except OSError as error:
        raise FileError(f"cannot read {path}: {error.strerror or error}.") from error
    return arrays, _checked_description(path, arrays, metadata)


def _checked_description(
    path: str | os.PathLike[str], arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]
) -> dict[str, Any]:
    if _KEY not in metadata:
        raise ModelFileError(f"{path} is a safetensors file but not a chainrule model: its description is missing.")
    text = metadata[_KEY]
    try:
        description = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ModelFileError(f"{path}: the description is not readable JSON ({error}).") from error
    if not isinstance(description, dict) or not isinstance(description.get("format"), int):
        raise ModelFileError(f"{path}: the description has no format number.")
    if description["format"] > FORMAT:
        raise ModelFileError(
            f"{path} has format {description['format']}, this chainrule reads up to {FORMAT}: upgrade chainrule."
        )
    if metadata.get("checksum") != _checksum(arrays, text):
        raise ModelFileError(f"{path} was altered: its checksum does not match its content.")
    return description


def _checksum(arrays: Mapping[str, np.ndarray], text: str) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
