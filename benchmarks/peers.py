"""A training step of ours beside those of scikit-learn, torch, torch.compile and jax.jit, and predictions too.

    python benchmarks/peers.py --networks tiny small --rounds 10

Who is not installed is left out, and named; ``pip install onnx onnxruntime openvino mkl mlxtend`` brings what nothing
else here needs.

Each contender is a process of its own, and one works at a time. The parent asks each in turn for a block of about 30
ms, and starts with another one every round. The next one has to wait until this one's process has come to rest:
OpenBLAS's threads go on looking for work after a product, and would hold a core well into the next block.

**The same work.** All start from the same weights and see the same eight batches in the same order; before it is timed,
a contender's first 20 losses must be those of chainrule without Numba, up to rounding, or it is left out. Adam's rate
is 1e-3, all is float32, but for those in ``ROUNDED``, whose products take operands rounded to bf16. Every step computes
its loss, and nobody reads it on the host while the clock runs.

**Who is favoured.** chainrule and scikit-learn gather the rows of every batch from the whole data in a shuffled order;
torch and jax are handed batches that are ready. torch, compiled or not, runs at the fastest of several settings, found
before the rounds. scikit-learn is timed inside ``fit``, from the start of one step to the start of a later one: its
checks of the data and its set-up are left out, what it does at the end of an epoch is left in. It has an epoch every
eight steps, and where a block is longer than that it has whole epochs.

Predictions are class indices for a whole array, in the contender's own library, at weights trained for one epoch.
The products of a step alone are raced in the same way: NumPy's, torch's, and MKL's in each way of threading.

A contender that does not answer in time is killed, and the table says so.
"""

from __future__ import annotations

import argparse
import multiprocessing
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from statistics import median
from typing import Any

import numpy as np
from contenders import COMPARED, Task, work
from grid import GRID

PREDICTED = ("tiny", "tabular", "mnist")
ROWS = (1, 32, 1024, 65536)

NEEDS = {"chainrule": "numpy", "chainrule_fast": "numba", "chainrule_bf16": "numpy", "sklearn": "scikit-learn",
         "torch": "torch", "torch_compile": "torch", "torch_medium": "torch", "torch_bf16": "torch", "jax": "jax",
         "onnxruntime": "onnxruntime onnx", "openvino": "openvino onnx", "openvino_bf16": "openvino onnx",
         "products_numpy": "numpy", "products_torch": "torch", "products_mkl_sequential": "mkl",
         "products_mkl_intel": "mkl", "products_mkl_tbb": "mkl"}  # fmt: skip
OURS = {"plain": "chainrule", "fast": "chainrule_fast", "bf16": "chainrule_bf16"}
ROUNDED = ("chainrule_bf16", "torch_medium", "torch_bf16", "openvino_bf16")
ONLY_TRAINS, ONLY_PREDICTS = ("torch_compile",), ("onnxruntime", "openvino", "openvino_bf16")
SECONDS = {
    "prepare": 600.0,
    "block": 60.0,
    "first": 600.0,
}  # within which a contender answers; torch.compile has eight settings
# Relative, of each loss. Roundings grow from step to step, in the deep network beyond the first bound, and as much for
# us with Numba as for a peer; a wrong rate or batch is far outside after two steps.
TOLERANCE = np.repeat([1e-3, 1e-2], [8, COMPARED - 8])
# scikit-learn's Adam adds epsilon to the root of an uncorrected moment, so its first steps are shorter.
SLACK = {"sklearn": 3.0, **dict.fromkeys(ROUNDED, 30.0)}

Failed = dict[str, str]  # why, by the contender's name


class FailedError(Exception):
    """A contender cannot do its task."""


class Contender:
    """A contender's process, seen from the parent."""

    def __init__(self, name: str, answer: Callable[[Any, str], None] = work) -> None:
        self.name, self.setting, self._late = name, "", ""
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=answer, args=(theirs, name), daemon=True)
        self._process.start()
        theirs.close()

    def prepare(self, task: Task) -> np.ndarray:
        """Get ready, find the best setting, and return the first results."""
        self.setting, first = self._ask("prepare", task)
        return first

    def block(self, task: Task) -> float:
        """Seconds a time."""
        return self._ask("block", task)

    def first(self, task: Task) -> np.ndarray:
        """The first results, of one that has them only after its times."""
        return self._ask("first", task)

    def _ask(self, question: str, task: Task) -> Any:
        if self._late:
            raise FailedError(self._late)
        try:
            self._connection.send((question, task, 2 if task.rows is None else 1))
            if not self._connection.poll(SECONDS[question]):
                self._process.kill()
                self._late = f"no answer in {SECONDS[question]:g} s"
                raise FailedError(self._late)
            answer, problem = self._connection.recv()
        except (EOFError, OSError):
            raise FailedError("its process ended") from None
        if problem is not None:
            raise FailedError(problem)
        return answer

    def close(self) -> None:
        with suppress(OSError):
            self._connection.send(None)
        self._process.join(5)
        self._process.kill()


@contextmanager
def contenders(names: Sequence[str], answer: Callable[[Any, str], None] = work) -> Iterator[list[Contender]]:
    with ExitStack() as stack:
        started = [Contender(name, answer) for name in names]
        for contender in started:
            stack.callback(contender.close)
        yield started


def installed() -> tuple[list[str], list[str]]:
    """The contenders that can run here, and a sentence on each that cannot."""
    missing = {name: [one for one in needs.split() if not _is_here(one)] for name, needs in NEEDS.items()}
    left_out = [f"{name} is left out: {' and '.join(m)} not installed." for name, m in missing.items() if m]
    return [name for name, packages in missing.items() if not packages], left_out


def _is_here(package: str) -> bool:
    try:
        return bool(version(package))
    except PackageNotFoundError:
        return False


def difference(task: Task, ours: np.ndarray, theirs: np.ndarray, slack: float = 1.0) -> str | None:
    """How a contender's first results differ from ours, or None if they agree."""
    if ours.shape != theirs.shape:
        return f"it has {theirs.shape} results instead of {ours.shape}"
    if task.rows is not None:  # rows whose two best classes are equally good may go either way
        wrong, rows = int((ours != theirs).sum()), len(ours)
        return f"{wrong} of its first {rows} answers differ from chainrule's" if wrong > 0.001 * slack * rows else None
    far = ~(np.abs(theirs / ours - 1) <= slack * TOLERANCE)  # NaN is far
    if not far.any():
        return None
    i = int(np.argmax(far))
    return f"its loss in step {i + 1} is {theirs[i]:.6g}, chainrule's is {ours[i]:.6g}"


def ready(task: Task, candidates: Sequence[Contender], failed: Failed) -> list[Contender]:
    """The contenders that do the same work; the first one says what that is."""
    able: list[Contender] = []
    ours: np.ndarray | None = None
    for contender in candidates:
        try:
            first = contender.prepare(task)
        except FailedError as error:
            if ours is None:
                raise
            failed[contender.name] = str(error)
            continue
        ours = first if ours is None else ours
        problem = difference(task, ours, first, SLACK.get(contender.name, 1.0))
        if problem is None:
            able.append(contender)
        else:
            failed[contender.name] = problem
    return able


def in_turn(task: Task, able: Sequence[Contender], rounds: int, failed: Failed) -> dict[Contender, list[float]]:
    """Microseconds of each contender in each round; with every round another one begins. One that fails is dropped."""
    times: dict[Contender, list[float]] = {contender: [] for contender in able}
    for i in range(rounds):
        first = i % len(able)
        for contender in (*able[first:], *able[:first]):
            if contender in times:
                try:
                    times[contender].append(1e6 * contender.block(task))
                except FailedError as error:
                    failed[contender.name] = f"{error} in round {i + 1}"
                    del times[contender]
    return times


def summary(times: Mapping[Contender, Sequence[float]]) -> dict[str, dict[str, Any]]:
    return {
        one.name: {"min": round(min(us), 2), "median": round(median(us), 2), "setting": one.setting}
        for one, us in times.items()
    }


def speedups(times: Mapping[Contender, Sequence[float]]) -> dict[str, dict[str, dict[str, float]]]:
    """How many times as fast as each peer we are: by the least times, and by the median of the rounds' ratios."""
    named = {one.name: us for one, us in times.items()}
    peers = {name: us for name, us in named.items() if name not in OURS.values()}
    return {
        kind: {peer: ratios(us, named[own]) for peer, us in peers.items()} for kind, own in OURS.items() if own in named
    }


def ratios(above: Sequence[float], below: Sequence[float]) -> dict[str, float]:
    paired = [a / b for a, b in zip(above, below, strict=True)]
    return {"min": round(min(above) / min(below), 3), "paired": round(median(paired), 3)}


def show(title: str, us: Mapping[str, Mapping[str, Any]], faster: Mapping[str, Any]) -> None:
    """A table of times, and of how many times as fast as each peer we are, or of why there are none."""
    print(f"\n{title}\n{'':24}{'min us':>11}{'median us':>11}" + "".join(f"{OURS[k] + ' x':>20}" for k in faster))
    for name, row in us.items():
        if "problem" in row:
            print(f"{name:24} {row['problem']}", flush=True)
            continue
        ratios = [faster[kind].get(name) for kind in faster]
        cells = "".join(f"{r['min']:.2f} ({r['paired']:.2f})".rjust(20) if r else " " * 20 for r in ratios)
        print(f"{name:24}{row['min']:11.1f}{row['median']:11.1f}{cells}  {row['setting']}", flush=True)


def main(networks: Sequence[str], rounds: int = 10, inference: Sequence[str] = ()) -> dict[str, Any]:
    """Time training steps on ``networks`` and predictions of ``inference``; print tables and return them.

    Returns:
        ``{"networks": {name: {"rounds", "us": US, "speedup": {"plain": {peer: {"min", "paired"}}, "fast": ...}}},
        "products": {name: US}, "inference": {name: {rows: US}}, "left_out": [sentence]}``, where US is
        ``{contender: {"min", "median", "setting"}}`` in microseconds, or ``{"problem"}``.
    """
    names, left_out = installed()
    result: dict[str, Any] = {"networks": {}, "products": {}, "inference": {}, "left_out": left_out}
    multiply = [name for name in names if name.startswith("products_")]
    train = [name for name in names if name not in (*multiply, *ONLY_PREDICTS)]
    predict = [name for name in names if name not in (*multiply, *ONLY_TRAINS)]
    for sentence in left_out:
        print(sentence)
    print("x: how many times as fast chainrule is, by the least times (and by the median of the rounds' ratios)")
    for name in networks:
        with contenders(train) as started:
            us, faster = race(Task(name), started, rounds, "a step")
        result["networks"][name] = {"rounds": rounds, "us": us, "speedup": faster}
        with contenders(multiply) as started:
            result["products"][name], _ = race(Task(name), started, rounds, "its products alone")
    for name in inference:
        with contenders(predict) as started:
            result["inference"][name] = {
                str(rows): race(Task(name, rows), started, rounds, "a prediction")[0] for rows in ROWS
            }
    return result


def race(
    task: Task, started: Sequence[Contender], rounds: int, what: str
) -> tuple[dict[str, dict[str, Any]], dict[str, dict[str, dict[str, float]]]]:
    """Times, or the problem, of each contender, and how many times as fast we are."""
    rounds = min(rounds, 4) if task.network == "wide" or task.rows == ROWS[-1] else rounds
    failed: Failed = {}
    times = in_turn(task, ready(task, started, failed), rounds, failed)
    us, faster = summary(times) | {name: {"problem": why} for name, why in failed.items()}, speedups(times)
    show(f"{task}: {'-'.join(map(str, GRID[task.network].sizes))}, {rounds} rounds; {what}", us, faster)
    return us, faster


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Training steps and predictions beside those of peers.")
    parser.add_argument("--networks", nargs="*", choices=GRID, default=list(GRID), help="whose steps")
    parser.add_argument("--inference", nargs="*", choices=GRID, default=[], help="predict too")
    parser.add_argument("--rounds", type=int, default=10)
    chosen = parser.parse_args()
    main(chosen.networks, chosen.rounds, chosen.inference)
