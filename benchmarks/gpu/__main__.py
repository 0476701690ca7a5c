"""The driver behind ``ci/gpu``: plans, measures, writes one JSON file a device after every rung, and prints a table."""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import chainrule as cr

from .clocks import Clocks, of_card
from .ladder import DRY, LADDER, WARMED, Rung
from .lanes import CONTENDERS, Lane
from .machine import card, described
from .plan import LEAST, PREPARATION, STATED, describe, measured, plan
from .race import Budget, Course, Row, measure
from .runners import DeviceName, NotMeasuredError
from .table import crossovers, table

RESULTS = "CHAINRULE_RESULTS"  # the environment variable that says where to write
COMMITTED = Path(__file__).parents[1] / "results"
WARMED_UP = Path(tempfile.gettempdir()) / "chainrule-gpu-warmed-up.json"  # whose programs compilers have on disk
KINDS = ("training", "inference", "crossover", "float32", "tf32", "bf16")
AT_ONCE = 2  # rungs that are compiled beside the tests


def main(arguments: list[str] | None = None) -> int:
    """0; or 1 and one sentence where there is no device."""
    asked = _parser().parse_args(arguments)
    rungs = [rung for rung in (DRY if asked.dry_run else LADDER) if {rung.kind, rung.precision} & {*asked.only}]
    folder = asked.out or (None if asked.dry_run else COMMITTED)
    if asked.plan:
        print(describe(plan(rungs, 60 * asked.plan, known(folder), STATED), rungs, asked.plan))
        return 0
    device: DeviceName = "cpu" if asked.dry_run else "cuda"
    if device == "cpu":
        os.environ.setdefault("OMP_NUM_THREADS", "1")  # the threads of ten contenders would fight over few cores
    else:
        try:
            cr.backend("cupy")
        except cr.ChainruleError as error:
            print(error, file=sys.stderr)
            return 1
    if asked.warm:
        warm(rungs, device)
        return 0
    record = described(device) | {"minutes": asked.minutes, "only": asked.only}
    part = [] if asked.only is KINDS else asked.only
    name = re.sub(r"[^a-z0-9]+", "-", " ".join([record["device"].lower(), *part])).strip("-")
    path = None if folder is None else folder / f"{name}.json"
    run(record, rungs, device, Budget(60 * asked.minutes - asked.spent), path)
    print(table(record))
    if path is not None:
        print(f"\nwrote {path}")
    return 0


def run(record: dict[str, Any], rungs: Sequence[Rung], device: DeviceName, budget: Budget, path: Path | None) -> None:
    """Fill ``record``, which is written to ``path`` after every rung."""

    def save(rows: list[Row], not_measured: list[Row]) -> None:
        if len(rows) > len(record.get("rows", ())):
            print(f"{budget.left():4.0f} s left, after {rows[-1]['rung']}", flush=True)
        found = crossovers(row for row in rows if row["kind"] == "crossover")
        record.update(rows=list(rows), not_measured=not_measured, crossover=found)
        write(record, path)

    lanes = {name: Lane(name, device) for name in CONTENDERS}
    memory, least = _memory(device), LEAST if device == "cuda" else 0.01
    try:
        with Clocks(of_card(device)) as clocks:
            course = Course(lanes, budget, clocks, memory, known(path and path.parent), least)
            record["plan"] = describe(plan(rungs, budget.left(), course.known, memory), rungs, budget.left() / 60)
            print(record["plan"], flush=True)
            measure(rungs, course, save)
    finally:
        for lane in lanes.values():
            lane.close()
        if device == "cuda":
            record["clocks"]["after"] = card()
        write(record, path)


def warm(rungs: Sequence[Rung], device: DeviceName) -> None:
    """Let who compiles long do it, and note for which rungs it is on disk now, until a signal ends this process.

    Beside it the tests run: a compiler that chooses by timing does so on a card that others use too.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    lanes = [[Lane(name, device) for name in WARMED] for _ in range(AT_ONCE)]
    rungs = [rung for rung in rungs if rung.kind != "crossover"]
    rows: list[Row] = []
    write({"rows": rows}, WARMED_UP)
    try:
        for i in range(0, len(rungs), AT_ONCE):
            pairs = [(lane, rung) for rung, group in zip(rungs[i:], lanes, strict=False) for lane in group]
            for lane, rung in pairs:
                with suppress(NotMeasuredError):
                    lane.begin(rung)
            for lane, rung in pairs:
                with suppress(NotMeasuredError):
                    lane.first(600.0)
                    rows.append({"rung": str(rung), "preparation_s": {lane.name: PREPARATION[lane.name]}})
                    write({"rows": rows}, WARMED_UP)
    finally:
        for lane in (lane for group in lanes for lane in group):
            lane.close()


def known(folder: Path | None) -> dict[tuple[str, str], float]:
    """How long contenders took to get ready in runs with results in this folder, or less where it is on disk now."""
    files = [] if folder is None else sorted(folder.glob("*.json"))
    found = {key: seconds for path in files for key, seconds in measured(_rows(path)).items()}
    return found | {key: min(seconds, found.get(key, seconds)) for key, seconds in measured(_rows(WARMED_UP)).items()}


def _rows(path: Path) -> list[Row]:
    """Of a file of ours; other benchmarks write there too."""
    rows = json.loads(path.read_text()).get("rows", []) if path.exists() else []
    return [row for row in rows if "preparation_s" in row]


def write(record: dict[str, Any], path: Path | None) -> None:
    """Whole or not at all, so that a kill leaves the last rung's file."""
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        half = path.with_suffix(".half")
        half.write_text(json.dumps(record, indent=1) + "\n")
        half.replace(path)


def _memory(device: DeviceName) -> float:
    """Bytes of it that are free."""
    if device == "cpu":
        return STATED
    from cupy.cuda import runtime

    return float(runtime.memGetInfo()[0])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="gpu", description=__doc__)
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--plan", type=float, metavar="MINUTES", help="print what they have room for; needs no GPU")
    what.add_argument("--dry-run", action="store_true", help="tiny networks on the CPU; writes only into --out")
    what.add_argument("--warm", action="store_true", help="compile what takes long, in the background, until stopped")
    parser.add_argument("--only", nargs="+", choices=KINDS, default=KINDS, help="rungs of these kinds or precisions")
    parser.add_argument("--minutes", type=float, default=8.0, help="the budget, 8 by default; 13 for more, 3 for less")
    parser.add_argument("--spent", type=float, default=0.0, help="seconds of the budget that are gone already")
    out = os.environ.get(RESULTS)
    parser.add_argument(
        "--out",
        type=Path,
        default=out and Path(out),
        help=f"the folder to write to; default ${RESULTS}, else benchmarks/results",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
