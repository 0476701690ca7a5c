"""What products in bf16 cost in accuracy, beside the spread of the seeds: python benchmarks/bf16_accuracy.py.

scikit-learn's digits, and 100 classes around random centres in 40 dimensions; 30 % of the rows are held out.
"""

from __future__ import annotations

import sys
from statistics import mean, stdev

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import chainrule as cr

SEEDS = 8


def main() -> int:
    """Print, of each data set and library, the accuracy on the held-out rows in both precisions."""
    print("| data | backend | precision | accuracy, mean | of seeds: standard deviation | last training loss |")
    print("|---|---|---|---|---|---|")
    for data, (X, y, widths, epochs) in {"digits": digits(), "100 classes": clusters()}.items():
        X, X_held, y, y_held = train_test_split(X, y, test_size=0.3, random_state=0)
        for library in ("numpy", "torch"):
            for precision in ("float32", "bf16"):
                try:
                    on = cr.backend(library, precision=precision)
                except cr.ChainruleError as error:
                    print(f"| {data} | {library} | {precision} | {error} | | |")
                    continue
                settings = {"loss": "softmax_cross_entropy", "epochs": epochs, "batch_size": 64, "backend": on}
                models = [cr.fit(cr.mlp(widths), X, y, **settings, seed=seed) for seed in range(SEEDS)]
                found = [model.evaluate(X_held, y_held)["accuracy"] for model in models]
                loss = mean(model.history["loss"][-1] for model in models)
                print(f"| {data} | {library} | {precision} | {mean(found):.4f} | {stdev(found):.4f} | {loss:.4f} |")
    return 0


def digits() -> tuple[np.ndarray, np.ndarray, list[int], int]:
    X, y = load_digits(return_X_y=True)
    return (X / 16).astype("float32"), y, [64, 64, 32, 10], 25


def clusters() -> tuple[np.ndarray, np.ndarray, list[int], int]:
    rng = np.random.default_rng(0)
    centres, y = rng.standard_normal((100, 40)), rng.integers(0, 100, 8_000)
    return (centres[y] + rng.standard_normal((len(y), 40))).astype("float32"), y, [40, 128, 128, 100], 12


if __name__ == "__main__":
    sys.exit(main())
