"""What a look of cr.Watch costs, on the mnist network: python benchmarks/watch.py."""

from __future__ import annotations

import sys
import time

import numpy as np

import chainrule as cr


def main() -> int:
    """Print the minimum of 30 looks at 200 examples."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(6000, 784)).astype("float32"), rng.integers(0, 10, 6000)
    model = cr.fit(cr.mlp([784, 512, 512, 10]), X, y, loss="softmax_cross_entropy", epochs=1)
    seconds = []
    for _ in range(30):
        started = time.perf_counter()
        cr.diagnose(model, X[:200], y[:200])
        seconds.append(time.perf_counter() - started)
    print(
        f"a look: {1000 * min(seconds):.1f} ms; a tenth of an epoch of 60,000 rows: {model.history['seconds'][0]:.3f} s"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
