"""Training over a .npy file against training in memory, on the mnist network: python benchmarks/streaming.py.

The same rows, the same steps; interleaved, the median of the ratios and the minima of both.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np

import chainrule as cr

ROWS, ROUNDS = 60_000, 7


def main() -> int:
    """Print both times and their ratio."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(ROWS, 784)).astype("float32")
    y = rng.integers(0, 10, ROWS)
    network = cr.mlp([784, 512, 512, 10])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "X.npy"
        np.save(path, X)
        seconds: dict[str, list[float]] = {"memory": [], "file": []}
        for _ in range(ROUNDS):
            for name, given in (("memory", X), ("file", path)):
                started = time.perf_counter()
                cr.fit(network, given, y, loss="softmax_cross_entropy", epochs=1, batch_size=128)
                seconds[name].append(time.perf_counter() - started)
    ratio = median(b / a for a, b in zip(seconds["memory"], seconds["file"], strict=True))
    for name, times in seconds.items():
        print(f"{name:<8}{min(times):8.3f} s an epoch of {ROWS:,} rows")
    print(f"file over memory: {ratio:.3f}, the median of {ROUNDS}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
