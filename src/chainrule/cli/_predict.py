"""``chainrule predict``: a table in, a CSV of predictions out."""

from __future__ import annotations

import csv
import sys
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any, cast

import numpy as np

from .._base.errors import unknown_name
from ..model import Model
from ..tables import Table
from ._outputs import leads_to, refuse_to_replace, write_file
from ._screen import Screen
from ._streams import Stream


def predict_table(
    model: Model, table: Table, out: Path | None, screen: Screen, *, proba: bool, unseen: Any, overwrite: bool
) -> int:
    """Write the model's predictions for ``table``, one a row, to ``out`` or to standard output."""
    if unseen not in (None, "error", "ignore"):
        raise unknown_name("treatment of unseen categories", unseen, ("error", "ignore"))
    names, columns = _predictions(model, table, proba, unseen)
    if out is None or leads_to(out, 1):
        with cast("Stream", sys.stdout).content() as file:
            _write(file, names, columns)
        return 0
    if not overwrite:  # looked at before, too: it takes a while to predict
        refuse_to_replace(out)
    text = StringIO()
    _write(text, names, columns)
    write_file(out, text.getvalue().encode("utf-8", "replace"))
    screen.print(f"wrote {table.n:,} predictions to {out}")
    return 0


def _predictions(model: Model, table: Table, proba: bool, unseen: Any) -> tuple[list[str], list[np.ndarray]]:
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
