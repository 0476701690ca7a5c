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


def backend_name(backend: str, device: str | None) -> str:
    """``"torch:cuda:1"`` for ``--backend torch --device cuda:1``."""
    if device is None:
        return backend
    require(":" not in backend, f"--backend {backend} names a device, got --device {device} too: say it once.")
    return f"{'numpy' if backend == 'auto' else backend}:{device}"


def check_folder(out: Path) -> None:
    """The results can be written: known before training, not after."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=out):
            pass
    except OSError as error:
        raise FileError(f"cannot write to the folder {out} ({error.strerror}): give another one with --out.") from error
    require(out.is_dir(), f"--out must name a folder, got the file {out}.")
