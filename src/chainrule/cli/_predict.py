"""``chainrule predict``: a table in, a CSV of answers out."""

from __future__ import annotations

import csv
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from .._errors import FileError, unknown_name
from ..model import Model
from ..tables import Table


def predict_table(model: Model, table: Table, out: Path | None, *, proba: bool, unseen: Any) -> int:
    """Write the model's answers for ``table``, one a row, to ``out`` or to standard output."""
    if unseen not in (None, "error", "ignore"):
        raise unknown_name("treatment of unseen categories", unseen, ("error", "ignore"))
    names, columns = _answers(model, table, proba, unseen)
    if out is None:
        _write(sys.stdout, names, columns)
        return 0
    try:
        with out.open("w", newline="") as file:
            _write(file, names, columns)
    except OSError as error:
        raise FileError(f"cannot write {out}: {error.strerror}.") from error
    print(f"wrote {table.n:,} predictions to {out}")
    return 0


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


def _write(file: TextIO, names: list[str], columns: list[np.ndarray]) -> None:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(names)
    writer.writerows(zip(*columns, strict=True))
