"""``chainrule predict``: a table in, a CSV of answers out."""

from __future__ import annotations

import csv
import sys
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any, cast

import numpy as np

from .._errors import ConfigurationError, FileError, unknown_name
from ..model import Model
from ..tables import Table
from ._outputs import leads_to, write_file
from ._screen import Screen
from ._streams import Stream


def predict_table(
    model: Model, table: Table, out: Path | None, screen: Screen, *, proba: bool, unseen: Any, overwrite: bool
) -> int:
    """Write the model's answers for ``table``, one a row, to ``out`` or to standard output."""
    if unseen not in (None, "error", "ignore"):
        raise unknown_name("treatment of unseen categories", unseen, ("error", "ignore"))
    names, columns = _answers(model, table, proba, unseen)
    if out is None or leads_to(out, 1):
        with cast("Stream", sys.stdout).content() as file:
            _write(file, names, columns)
        return 0
    if not overwrite:
        _refuse_other_content(out, names[0])
    text = StringIO()
    _write(text, names, columns)
    write_file(out, text.getvalue().encode("utf-8", "replace"))
    screen.print(f"wrote {table.n:,} predictions to {out}")
    return 0


def _refuse_other_content(out: Path, target: str) -> None:
    """Raise ConfigurationError where the file holds something else than predictions of this target."""
    if not out.is_file() or not out.stat().st_size:
        return
    header = StringIO()
    csv.writer(header, lineterminator="").writerow([target])
    ours = header.getvalue()
    try:
        with out.open("rb") as file:
            first = file.readline(1_000_000).decode("utf-8", "replace").rstrip("\r\n")
    except OSError as error:
        raise FileError(f"cannot write {out}: {error.strerror or error}.") from error
    if first != ours and not first.startswith((f"{ours},P(", f'{ours},"P(')):
        raise ConfigurationError(
            f"{out} is there, and holds no predictions of {target!r}: give another --out, or replace it with "
            "--overwrite."
        )


def _answers(model: Model, table: Table, proba: bool, unseen: Any) -> tuple[list[str], list[np.ndarray]]:
    prepared = model.preprocessing
    assert prepared is not None
    if unseen is not None:
        model = replace(model, preprocessing=replace(prepared, unseen=unseen))
    names, columns = [prepared.target_name], [model.predict(table)]
    if proba:
        names += [f"P({label})" for label in prepared.classes]
        columns += list(model.predict_proba(table).T)
    return names, columns


def _write(file: Any, names: list[str], columns: list[np.ndarray]) -> None:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(names)
    writer.writerows(zip(*columns, strict=True))
