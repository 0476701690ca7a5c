"""``chainrule bench``: time the backends on networks like the user's, say which is fastest, write everything down."""

from __future__ import annotations

import json
import math
import os
import platform
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text
from threadpoolctl import threadpool_info

from .._base.errors import ConfigurationError, FileError, InterruptedTraining
from ..benchmark import TIE, Measurement, answer, by_network, crossovers, measure, network_name, unrest
from ..plots import plot_benchmark
from ._folder import claimed
from ._options import hidden_widths
from ._outputs import write_figure, write_file
from ._replaceable import standing
from ._screen import Screen

# How far the median epoch may lie above the best before the table says that the machine was busy.
_BUSY = 2.0
_RESULTS = ("bench.json", "bench.png")


@dataclass(frozen=True)
class BenchOptions:
    """The options of ``chainrule bench``, as its help states them."""

    hidden: str
    features: int
    classes: int
    rows: int
    batch_size: int
    dtype: str
    backends: tuple[str, ...]
    sizes: int
    seconds: float
    out: Path | None
    overwrite: bool

    @property
    def widths(self) -> list[int]:
        """The user's network, from input to output."""
        return [self.features, *hidden_widths(self.hidden), self.classes]


def bench_networks(options: BenchOptions, screen: Screen) -> int:
    """Measure, write bench.json and bench.png to ``options.out``, and print the table and the answer."""
    widths = options.widths
    first = Path("runs/bench")
    out, is_new = claimed(options.out or (first if options.overwrite else None), first, screen.print)
    try:
        there = standing(out / name for name in _RESULTS)
        if there and not options.overwrite:
            raise ConfigurationError(
                f"{out} has a {there[0].name}: give another --out, or replace it with --overwrite."
            )
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", InterruptedTraining)
            measured = measure(
                widths,
                options.batch_size,
                options.rows,
                options.backends or None,
                dtype=options.dtype,
                count=options.sizes,
                seconds=options.seconds,
                say=lambda text: screen.print(text, style="dim"),
            )
        try:
            results = _write(screen, measured, options, out)
        except FileError:  # minutes were measured
            _report(screen, measured, options)
            raise
    finally:
        if is_new:
            with suppress(OSError):  # it is not empty
                out.rmdir()
    for message in dict.fromkeys(str(warning.message) for warning in caught):  # a step that was not compiled, too
        screen.print(message)
    _report(screen, measured, options)
    screen.print("wrote " + ", ".join(map(str, results)))
    return 130 if any(issubclass(warning.category, InterruptedTraining) for warning in caught) else 0


def _report(screen: Screen, measured: Sequence[Measurement], options: BenchOptions) -> None:
    """The table and its caption, what failed, the answer, the crossovers."""
    if measured:
        shape = f"{options.features} features, {options.classes} classes, batch {options.batch_size}, {options.dtype}"
        screen.print(f"rows trained a second: {shape}")
        screen.print(_table(measured), soft_wrap=False)
        screen.print(_caption(measured), style="dim", soft_wrap=False)
    for line in _failures(measured):
        screen.print(line)
    screen.print(answer(measured), style="bold")
    for line in _turns(measured):
        screen.print(line)


def _turns(measured: Sequence[Measurement]) -> list[str]:
    """The crossovers as sentences, or that there are none along a ladder that could have shown one."""
    ran = [rung for rung in by_network(measured) if sum(one.problem is None for one in rung) > 1]
    found = list(map(str, crossovers(measured)))
    if found or len(ran) < 2:
        return found
    return [f"no backend overtakes another between {ran[0][0].parameters:,} and {ran[-1][0].parameters:,} parameters"]


def _caption(measured: Sequence[Measurement]) -> str:
    caption = f"The best of several epochs on this machine; times drift, and less than {TIE - 1:.0%} is a tie."
    if unrest(measured) < _BUSY:
        return caption
    busy = (
        f"It was busy: the median epoch took up to {unrest(measured):.1f} times the best. Repeat this when it is idle."
    )
    return f"{caption} {busy}"


def _table(measured: Sequence[Measurement]) -> Table:
    """A row a network, a column a backend, the fastest in bold."""
    names = list(dict.fromkeys(one.backend for one in measured))
    table = Table(box=None, pad_edge=False, collapse_padding=len(names) > 4)  # five backends fit 80 columns
    table.add_column("width")
    table.add_column("hidden", overflow="fold")
    for name in ["parameters", *names]:
        table.add_column(Text(name.replace(":", "\n", 1)), justify="right", overflow="fold")
    for rung in by_network(measured):
        own = rung[0].factor == 1.0
        width = "yours" if own else f"x {Fraction(rung[0].factor)}"
        hidden = network_name(rung[0].widths[1:-1]) or "none"
        table.add_row(width, hidden, f"{rung[0].parameters:,}", *_speeds(rung, names), style="cyan" if own else None)
    return table


def _speeds(rung: Sequence[Measurement], names: Sequence[str]) -> list[Text]:
    of, best = {one.backend: one for one in rung}, min(one.seconds for one in rung)
    cells = []
    for name in names:
        speed = "failed" if of[name].problem is not None else f"{of[name].rows_per_second:,.0f}"
        cells.append(Text(speed, style="bold" if of[name].seconds == best < math.inf else ""))
    return cells


def _failures(measured: Sequence[Measurement]) -> list[str]:
    """Why a backend failed, once, and on which networks if not on all."""
    networks, where = len(by_network(measured)), dict[tuple[str, str], list[str]]()
    for one in measured:
        if one.problem is not None:
            where.setdefault((one.backend, one.problem), []).append(one.name)
    return [
        f"{backend}{'' if len(names) == networks else ' on ' + ', '.join(names)}: {problem}"
        for (backend, problem), names in where.items()
    ]


def _write(screen: Screen, measured: Sequence[Measurement], options: BenchOptions, out: Path) -> list[Path]:
    """Write the results; the files. A picture that cannot be written is said, and costs no number."""
    data, picture = (out / name for name in _RESULTS)
    write_file(data, json.dumps(_record(measured, options), indent=2, allow_nan=False).encode() + b"\n")
    if any(one.problem is None for one in measured):
        try:
            write_figure(picture, plot_benchmark(measured))
            return [data, picture]
        except Exception as error:  # Matplotlib's, too, of a backend or a font that it does not find
            screen.print(f"warning: {picture} could not be drawn: {str(error).rstrip('.')}.")
    return [data]


def _record(measured: Sequence[Measurement], options: BenchOptions) -> dict[str, Any]:
    """All that bench.json says."""
    return {
        "machine": machine(),
        "network": options.widths,
        "batch_size": options.batch_size,
        "rows": options.rows,
        "dtype": options.dtype,
        "seconds": options.seconds,
        "answer": answer(measured),
        "crossovers": [{**vars(one), "sentence": str(one)} for one in crossovers(measured)],
        "backends": {one.backend: one.info for one in measured},
        "measurements": [_row(one) for one in measured],
    }


def _row(one: Measurement) -> dict[str, Any]:
    numbers: Mapping[str, float] = {
        "rows_per_second": one.rows_per_second,
        "microseconds_a_step": one.microseconds_a_step,
        "gflops": one.gflops,
        "seconds": one.seconds,
        "median_seconds": one.median_seconds,
        "first_epoch_seconds": one.first_epoch_seconds,
    }
    return {
        "backend": one.backend,
        "device": one.device,
        "widths": one.widths,
        "factor": one.factor,
        "parameters": one.parameters,
        "epochs": one.epochs,
        **{name: None if one.problem is not None else float(f"{x:.6g}") for name, x in numbers.items()},
        "problem": one.problem,
    }


def machine() -> dict[str, Any]:
    """The processor, the cores this process may use, the versions, and the thread pools that are loaded."""
    pools = [
        {name: pool.get(name) for name in ("user_api", "internal_api", "num_threads")} for pool in threadpool_info()
    ]
    return {
        "system": platform.platform(),
        "cpu": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "python": platform.python_version(),
        "numpy": version("numpy"),
        "chainrule": version("chainrule"),
        "thread_pools": pools,
    }


def _processor() -> str:
    """The processor's name: Linux has it in a file only."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()
