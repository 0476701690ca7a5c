"""Seconds of a new process from its start to its end: a short fit, and first predictions, beside scikit-learn's fit.

    python benchmarks/first_call.py

Each way is a process of its own, the ways take turns, and the minimum counts. ``chainrule`` has what is installed,
``without Numba`` cannot import it: what ``chainrule[fast]`` costs a call that it does not pay for is the difference.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

ROUNDS = 15
DATA = """
import sys, warnings
import numpy as np
warnings.simplefilter("ignore")
rng = np.random.default_rng(0)
X = rng.standard_normal(({rows}, 20), dtype=np.float32)
y = (X @ rng.standard_normal(20) > 0).astype(int)
"""
FIT = 'cr.fit(cr.mlp([20, 64, 64, 2]), X, y, loss="softmax_cross_entropy", epochs=3, batch_size={batch})'
ESTIMATOR = "MLPClassifier((64, 64), max_iter=3, batch_size={batch}, random_state=0).fit(X, y)"
WITHOUT = 'sys.modules["numba"] = None\n'
FITS = {
    "chainrule": f"import chainrule as cr\n{FIT}",
    "without Numba": f"{WITHOUT}import chainrule as cr\n{FIT}",
    "estimator": f"from chainrule import MLPClassifier\n{ESTIMATOR}",
    "scikit-learn": f"from sklearn.neural_network import MLPClassifier\n{ESTIMATOR}",
}
PREDICT = "import chainrule as cr\nmodel = cr.load({file!r})\nfor _ in range(3): model.predict(X)"
PREDICTIONS = {"chainrule": PREDICT, "without Numba": WITHOUT + PREDICT}


def fits(rows: int, batch: int = 200, rounds: int = ROUNDS) -> dict[str, float]:
    """Three epochs of 20-64-64-2 in a new process, seconds by way."""
    return race({way: (DATA + script).format(rows=rows, batch=batch) for way, script in FITS.items()}, rounds)


def predictions(rows: int, rounds: int = ROUNDS) -> dict[str, float]:
    """A model read from its file and asked three times, seconds by way."""
    with tempfile.TemporaryDirectory() as folder:
        file = str(Path(folder) / "model.safetensors")
        made = DATA + "import chainrule as cr\n" + FIT + ".save({file!r})"
        subprocess.run([sys.executable, "-c", made.format(rows=1000, batch=200, file=file)], check=True)
        scripts = {way: (DATA + script).format(rows=rows, file=file) for way, script in PREDICTIONS.items()}
        return race(scripts, rounds)


def race(scripts: Mapping[str, str], rounds: int) -> dict[str, float]:
    """The least seconds of each script's process."""
    seconds: dict[str, list[float]] = {way: [] for way in scripts}
    for _ in range(rounds + 1):  # the first one compiles what Python keeps
        for way, script in scripts.items():
            started = time.perf_counter()
            subprocess.run([sys.executable, "-c", script], check=True)
            seconds[way].append(time.perf_counter() - started)
    return {way: min(taken[1:]) for way, taken in seconds.items()}


def main() -> None:
    for rows in (1_000, 10_000):
        for batch in (200, 128):
            print(f"fit, {rows:,} rows in batches of {batch}:", _shown(fits(rows, batch)), flush=True)
    for rows in (1, 1_000):
        print(f"three predictions of {rows:,} rows:", _shown(predictions(rows)), flush=True)


def _shown(seconds: Mapping[str, float]) -> str:
    return ", ".join(f"{way} {taken:.3f} s" for way, taken in seconds.items())


if __name__ == "__main__":
    main()
