"""Checks of options that several commands have."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryFile

from .._base.errors import ConfigurationError, FileError, require


def hidden_widths(text: str) -> list[int]:
    """``"128,64"`` as numbers."""
    try:
        return [int(width) for width in text.split(",") if width.strip()]
    except ValueError:
        raise ConfigurationError(f"--hidden must be widths separated by commas, like 128,64, got {text!r}.") from None


def check_folder(out: Path) -> None:
    """The results can be written: known before training, not after."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=out):
            pass
    except OSError as error:
        raise FileError(f"cannot write to the folder {out} ({error.strerror}): give another one with --out.") from error
    require(out.is_dir(), f"--out must name a folder, got the file {out}.")
