"""Files that a command writes: never one that it reads, whole or not at all, and a device or a pipe as what it is."""

from __future__ import annotations

import os
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path
from typing import Any

from .._base.errors import ConfigurationError, FileError
from .._base.storage import write_whole
from ._replaceable import SOFTWARE


def refuse_inputs(outputs: Iterable[Path], inputs: Iterable[str | Path | None]) -> None:
    """Raise ConfigurationError where a file to write is, by whatever name or link, a file to read."""
    read = [Path(given) for given in inputs if given is not None and Path(given).is_file()]
    for output in outputs:
        for given in read:
            if output.is_file() and output.samefile(given):
                raise ConfigurationError(
                    f"{output} would be written, and is {given}, which is read: it would be lost. Give another --out."
                )


def refuse_to_replace(path: Path) -> None:
    """Raise ConfigurationError where a file stands with something in it, but for a standard stream by its name."""
    if path.is_file() and path.stat().st_size and not any(leads_to(path, stream) for stream in (1, 2)):
        raise ConfigurationError(f"{path} is there: give another --out, or replace it with --overwrite.")


def leads_to(path: Path, descriptor: int) -> bool:
    """Whether the path is another name of this open file: /dev/stdout is one of 1."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except OSError:
        return False


def write_file(path: Path, content: bytes) -> None:
    """Write a file that takes the place of an old one of this path when it is complete.

    A link is followed. What is no regular file is written to. Raises FileError where it cannot be written.
    """
    try:
        if leads_to(path, 2):
            with os.fdopen(os.dup(2), "wb") as file:
                file.write(content)
        elif path.exists() and not path.is_file():
            path.write_bytes(content)
        else:
            write_whole(path, content)
    except FileError:
        raise
    except OSError as error:
        raise FileError(f"cannot write {path}: {error.strerror or error}.") from error


def write_figure(path: Path, figure: Any) -> None:
    """Write a Matplotlib figure as PNG that says who drew it. Raises FileError."""
    content = BytesIO()
    figure.savefig(content, dpi=150, format="png", metadata={"Software": SOFTWARE})
    write_file(path, content.getvalue())
