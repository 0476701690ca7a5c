"""Commands that train in a moment."""

from __future__ import annotations

from pathlib import Path
from typing import IO, Any

from chainrule.cli import main

QUICK = [
    "--hidden",
    "4",
    "--epochs",
    "3",
    "--normalization",
    "none",
    "--dropout",
    "0",
    "--checkpoint",
    "0 s",
    "--quiet",
]


class Drawing:
    """A picture that takes no time."""

    def savefig(self, file: IO[bytes], **settings: Any) -> None:
        file.write(b"\x89PNG tEXtSoftware\0" + settings["metadata"]["Software"].encode())


def train(*words: object) -> int:
    return main(["train", "--target", "y", *QUICK, *map(str, words)])


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def predict(model: Path, table: Path, *words: object) -> int:
    return main(["predict", str(model), str(table), *map(str, words)])
