"""Which files a run may replace: those that say of themselves that a command wrote them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

from .._base.errors import FileError

SOFTWARE = "chainrule"  # what a picture says that drew it
_MODEL = (b'"chainrule":"{\\"format\\":', b'\\"preprocessing\\": {')  # no model is without one that a table taught
_HISTORY = {"epoch", "loss", "val_loss", "seconds"}
_MORE = {"learning_rate", "rate", "val_accuracy", "val_r2"}  # rate: of the first files


def standing(paths: Iterable[Path]) -> list[Path]:
    """Those of the paths where a command left something. Raises FileError where it is anything else."""
    there = [path for path in paths if holds_something(path)]
    for path in there:
        try:
            ours = path.is_file() and _is_ours(path)
        except OSError as error:
            raise FileError(f"cannot read {path}: {error.strerror or error}.") from error
        if not ours:
            raise FileError(
                f"{path} is there, and is none that chainrule wrote: it would be lost. Move it away, or give another "
                "--out."
            )
    return there


def holds_something(path: Path) -> bool:
    """Whether there is a file that is not empty, a folder or a device."""
    return path.exists() and (not path.is_file() or path.stat().st_size > 0)


def _is_ours(path: Path) -> bool:
    with path.open("rb") as file:
        match path.suffix:
            case ".safetensors":
                header = _header(file)
                return all(part in header for part in _MODEL)
            case ".csv":
                columns = set(file.readline(1000).decode("utf-8", "replace").rstrip().split(","))
                return columns >= _HISTORY and columns <= _HISTORY | _MORE
            case ".json":
                return file.read(20).startswith(b'{\n  "machine": {')
            case _:
                return f"tEXtSoftware\0{SOFTWARE}".encode() in file.read(1000)


def _header(file: BinaryIO) -> bytes:
    return file.read(min(int.from_bytes(file.read(8), "little"), 100_000_000))
