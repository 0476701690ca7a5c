"""The driver behind ``ci/gpu``: measures, writes one JSON file a device after every rung, and prints a table."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import chainrule as cr

from .ladder import DRY, STAGES, WHOLE, Stage
from .lanes import CONTENDERS, Lane
from .machine import card, described
from .race import Budget, Row, measure
from .runners import DeviceName
from .table import crossovers, table

RESULTS = Path(__file__).parents[1] / "results"
WHOLE_RUN, ONE_STAGE = 465.0, 165.0  # seconds: under eight minutes, and under three


def main(arguments: list[str] | None = None) -> int:
    """0; or 1 and one sentence where there is no device."""
    asked = _parser().parse_args(arguments)
    device: DeviceName = "cpu" if asked.dry_run else "cuda"
    if device == "cpu":
        os.environ.setdefault("OMP_NUM_THREADS", "1")  # the threads of ten contenders would fight over few cores
    else:
        try:
            cr.backend("cupy")
        except cr.ChainruleError as error:
            print(error, file=sys.stderr)
            return 1
    stage = DRY if asked.dry_run else STAGES.get(asked.stage, WHOLE)
    budget = Budget((asked.seconds or (ONE_STAGE if asked.stage else WHOLE_RUN)) - asked.spent)
    record = described(device) | {"stage": asked.stage, "seconds": budget.seconds}
    path = None if asked.dry_run and asked.out is None else _file(asked.out or RESULTS, record["device"], asked.stage)
    run(record, stage, device, budget, path)
    print(table(record))
    if path is not None:
        print(f"\nwrote {path}")
    return 0


def run(record: dict[str, Any], stage: Stage, device: DeviceName, budget: Budget, path: Path | None) -> None:
    """Fill ``record``, which is written to ``path`` after every rung."""

    def save(rows: list[Row], not_measured: list[Row]) -> None:
        if len(rows) > len(record.get("rows", ())):
            last = rows[-1]
            print(f"{budget.left():4.0f} s left, after {last['kind']} {last['network']} {last['batch']}", flush=True)
        found = crossovers(row for row in rows if row["kind"] == "crossover")
        record.update(rows=list(rows), not_measured=not_measured, crossover=found)
        write(record, path)

    lanes = {name: Lane(name, device) for name in CONTENDERS}
    try:
        measure(stage, lanes, budget, save)
    finally:
        for lane in lanes.values():
            lane.close()
        if device == "cuda":
            record["clocks"]["after"] = card()
        write(record, path)


def write(record: dict[str, Any], path: Path | None) -> None:
    """Whole or not at all, so that a kill leaves the last rung's file."""
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        half = path.with_suffix(".half")
        half.write_text(json.dumps(record, indent=1) + "\n")
        half.replace(path)


def _file(folder: Path, device: str, stage: int | None) -> Path:
    name = re.sub(r"[^a-z0-9]+", "-", device.lower()).strip("-")
    return folder / f"{name}{'' if stage is None else f'-stage-{stage}'}.json"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="gpu", description=__doc__)
    what = parser.add_mutually_exclusive_group()
    stages = "1 right, 2 fused kernels, 3 precision, 4 graph, 5 one kernel"
    what.add_argument("--stage", type=int, choices=sorted(STAGES), help=f"a part of the work: {stages}")
    what.add_argument("--dry-run", action="store_true", help="tiny networks on the CPU; writes only into --out")
    parser.add_argument("--out", type=Path, help="the folder to write to, instead of benchmarks/results")
    parser.add_argument("--seconds", type=float, help="the budget: rungs that do not fit are listed as not measured")
    parser.add_argument("--spent", type=float, default=0.0, help="seconds of the budget that are gone already")
    return parser


if __name__ == "__main__":
    sys.exit(main())
