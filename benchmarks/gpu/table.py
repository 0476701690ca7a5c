"""The table that is printed last: a line a rung, microseconds as medians, and what was not measured below it."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from typing import Any

Row = dict[str, Any]
_RACED = ("floor", "default", "compile=True", "trial", "on torch", "on torch.compile", "on jax", "torch", "jax")
_WIDTHS = {column: max(13, len(column) + 2) for column in _RACED}


def table(record: dict[str, Any]) -> str:
    """All of it."""
    raced = [row for row in record["rows"] if row["kind"] != "crossover"]
    parts = [_races(kind, list(rows)) for kind, rows in groupby(sorted(raced, key=_kind), _kind)]
    crossover = [row for row in record["rows"] if row["kind"] == "crossover"]
    if crossover:
        parts.append(_crossover(crossover))
    return "\n\n".join([*parts, _not_measured(record)])


def crossovers(rows: Iterable[Row]) -> dict[int, int | None]:
    """By width, the fewest rows a batch from which on ``fit`` on the device is faster than on NumPy; None is never."""
    found: dict[int, int | None] = {}
    for width, entries in groupby(sorted(rows, key=_width_and_rows), lambda row: int(row["layers"][0])):
        found[width] = None
        for row in reversed(list(entries)):
            ratio = _ratio(row)
            if ratio is None or ratio < 1:
                break
            found[width] = row["batch"]
    return found


def _kind(row: Row) -> str:
    return str(row["kind"])


def _width_and_rows(row: Row) -> tuple[int, int]:
    return row["layers"][0], row["batch"]


def _ratio(row: Row) -> float | None:
    """NumPy's time over the device's."""
    device, numpy = row["fit"], row["numpy"]
    return None if device is None or numpy is None else numpy["median_us"] / device["median_us"]


def _races(kind: str, rows: list[Row]) -> str:
    """``~`` is the largest spread of a line, ``!`` a card that was slowed down."""
    heads = "".join(f"{column:>{width}}" for column, width in _WIDTHS.items())
    lines = [f"{kind + ', microseconds':28}{heads}     ~  torch's form"]
    for row in rows:
        name = f"{row['network']} {row['batch']} {row['precision']}"
        cells = "".join(
            f"{'-' if row[c] is None else format(row[c]['median_us'], ',.1f'):>{width}}" for c, width in _WIDTHS.items()
        )
        spread = max((row[c]["spread"] for c in _RACED if row[c]), default=0.0)
        slowed = "!" * any(form["clocks"] and form["clocks"]["throttled"] for form in row["forms"].values())
        unequal = sorted(form for form, found in row["forms"].items() if not found["equal"])
        remark = f"  NOT COMPARABLE: {', '.join(unequal)}" if unequal or not row["comparable"] else ""
        form = row["torch"]["form"] if row["torch"] else "-"
        lines.append(f"{name:28}{cells}  {spread:4.0%}{slowed}  {form}{remark}")
    return "\n".join(lines)


def _crossover(rows: list[Row]) -> str:
    """NumPy's time over the device's, widths down and rows a batch across."""
    batches = sorted({row["batch"] for row in rows})
    ratios = {(row["layers"][0], row["batch"]): _ratio(row) for row in rows}
    lines = ["fit on NumPy over fit on the device, by width and rows a batch"]
    lines.append(f"{'':8}" + "".join(f"{n:>9,}" for n in batches) + "   faster from")
    for width, first in crossovers(rows).items():
        found = [ratios.get((width, n)) for n in batches]
        cells = "".join(f"{'-' if ratio is None else f'{ratio:.2f}':>9}" for ratio in found)
        lines.append(f"{width:<8,}{cells}   {'-' if first is None else f'{first:,}'}")
    return "\n".join(lines)


def _not_measured(record: dict[str, Any]) -> str:
    """Rungs that were left out, then reasons, each with how many rows it holds for."""
    lines = [f"{left_out['rung']}: {left_out['why']}" for left_out in record["not_measured"]]
    reasons: dict[str, list[str]] = {}
    for row in record["rows"]:
        for name, why in row["not_measured"].items():
            reasons.setdefault(f"{name}: {why}", []).append(row["rung"])
    lines += [
        f"{reason} ({rungs[0]}{f' and {len(rungs) - 1} more' * (len(rungs) > 1)})" for reason, rungs in reasons.items()
    ]
    return "not measured\n" + "\n".join(lines or ["nothing was left out"])
