"""Training over rows that are not in memory against rows in memory, on the mnist net: python benchmarks/streaming.py.

The same rows, the same steps, one BLAS thread; interleaved, the medians of the epochs and of the ratios.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet
from threadpoolctl import threadpool_limits

import chainrule as cr

ROWS, WIDTH, BATCH, ROUNDS = 150_000, 784, 128, 3


def main() -> int:
    """Print an epoch's time for each source, and its ratio to that of rows in memory."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(ROWS, WIDTH)).astype("float32"), rng.integers(0, 10, ROWS)
    network = cr.mlp([WIDTH, 512, 512, 10])

    def batches() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for first in range(0, ROWS, BATCH):
            yield X[first : first + BATCH], y[first : first + BATCH]

    with tempfile.TemporaryDirectory() as folder, threadpool_limits(1, user_api="blas"):
        sources: dict[str, tuple[Any, ...]] = {"memory": (X, y), ".npy file": (write_npy(Path(folder), X), y)}
        for name, table in (("Parquet, 784 columns", as_columns(X)), ("Parquet, one column of lists", as_lists(X))):
            sources[name] = (cr.Parquet(write_parquet(Path(folder) / name, table)), y)
        sources["batches"] = (batches,)
        seconds: dict[str, list[float]] = {name: [] for name in sources}
        for turn in range(ROUNDS + 1):  # the first warms the caches
            for name, given in sources.items():
                size = None if name == "batches" else BATCH
                started = time.perf_counter()
                cr.fit(network, *given, loss="softmax_cross_entropy", epochs=1, batch_size=size)
                seconds[name] += [time.perf_counter() - started] if turn else []
    for name, times in seconds.items():
        ratio = median(b / a for a, b in zip(seconds["memory"], times, strict=True))
        print(f"{name:<30}{median(times):8.3f} s an epoch of {ROWS:,} rows, {ratio:.2f} of that in memory")
    return 0


def write_npy(folder: Path, X: np.ndarray) -> Path:
    """The rows as one array."""
    np.save(folder / "X.npy", X)
    return folder / "X.npy"


def as_columns(X: np.ndarray) -> Any:
    """A column a feature."""
    return pa.table({f"pixel{i}": X[:, i] for i in range(X.shape[1])})


def as_lists(X: np.ndarray) -> Any:
    """All features in one column."""
    return pa.table({"pixels": pa.FixedSizeListArray.from_arrays(pa.array(X.ravel()), X.shape[1])})


def write_parquet(folder: Path, table: Any) -> Path:
    """Four files with row groups of 2,000 rows."""
    folder.mkdir()
    for first in range(0, ROWS, ROWS // 4):
        parquet.write_table(table.slice(first, ROWS // 4), folder / f"{first:06}.parquet", row_group_size=2_000)
    return folder


if __name__ == "__main__":
    sys.exit(main())
