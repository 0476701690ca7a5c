"""Too large weights saturate, too small ones collapse: ten layers of 100 units, before any training.

Run ``python initializers.py [FOLDER]``; it writes initializers.png into FOLDER, by default here.
"""

import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

import chainrule as cr
from chainrule.diagnostics import diagnose

CHOICES = [
    ("sigmoid", "normal(0, 1)", cr.Normal(1.0)),
    ("sigmoid", "normal(0, 0.01)", cr.Normal(0.01)),
    ("sigmoid", "uniform(0, 1]", cr.Uniform(0.0, 1.0)),
    ("sigmoid", "4 x Xavier", cr.sigmoid_glorot_normal()),
    ("tanh", "normal(0, 1)", cr.Normal(1.0)),
    ("tanh", "normal(0, 0.01)", cr.Normal(0.01)),
    ("tanh", "uniform(-0.05, 0.05)", cr.Uniform(-0.05, 0.05)),
    ("tanh", "Xavier", cr.glorot_normal()),
    ("relu", "normal(0, 0.01)", cr.Normal(0.01)),
    ("relu", "normal(0, 0.1)", cr.Normal(0.1)),
    ("relu", "Xavier", cr.glorot_normal()),
    ("relu", "He", cr.he_normal()),
]
SHOWN = (1, 3, 6, 9)  # of the hidden layers


def main(folder="."):
    generator = np.random.default_rng(0)
    X, y = generator.normal(size=(500, 100)), generator.integers(0, 10, 500)
    figure = Figure(figsize=(10, 0.95 * len(CHOICES)), dpi=120)
    grid = figure.subplots(
        len(CHOICES), len(SHOWN), gridspec_kw={"left": 0.16, "right": 0.98, "top": 0.96, "bottom": 0.03, "hspace": 0.6}
    )
    for row, (activation, name, weights) in zip(grid, CHOICES, strict=True):
        network = cr.mlp([100] * 10 + [10], activation=activation, weight_init=weights)
        diagnosis = diagnose(network, X, y, loss="softmax_cross_entropy")
        hidden = diagnosis.rows[:-1]
        verdicts = dict.fromkeys(finding for layer in hidden for finding in layer.findings) or ["healthy"]
        print(f"{activation:<8} {name:<21} std of layer 9 {hidden[-1].std:8.1e}   {', '.join(verdicts)}")
        draw(row, f"{activation}\n{name}", [hidden[k - 1] for k in SHOWN])
    for axes, k in zip(grid[0], SHOWN, strict=True):
        axes.set_title(f"layer {k}", fontsize=9)
    figure.savefig(Path(folder) / "initializers.png")
    equal_weights()


def draw(row, label, layers):
    """One histogram a layer, on one axis for the whole row, orange where something is wrong; zeros are left out."""
    largest = max(np.abs(layer.activations).max() for layer in layers)
    lowest = -largest if min(layer.activations.min() for layer in layers) < 0 else 0.0
    for axes, layer in zip(row, layers, strict=True):
        shown = layer.activations[layer.activations != 0.0]
        counts, edges = np.histogram(shown, bins=40, range=(lowest, largest))
        axes.stairs(counts, edges, fill=True, color="#D55E00" if layer.findings else "#0072B2")
        axes.set_yticks([])
        axes.set_xticks([lowest, largest], [f"{lowest:.2g}", f"{largest:.2g}"], fontsize=7)
        axes.spines[["top", "right", "left"]].set_visible(False)
    row[0].set_ylabel(label, rotation=0, ha="right", va="center", fontsize=9)


def equal_weights():
    """Units that start equal stay equal: their gradients are equal too."""
    X = np.asarray([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    exact = cr.backend("numpy", dtype="float64")
    for value in (0.0, 0.5):
        network = cr.mlp([2, 3, 1], activation="tanh", weight_init=cr.Constant(value))
        model = cr.fit(
            network, X, [0.0, 1.0, 1.0, 0.0], loss="squared_error", optimizer=cr.SGD(0.5), epochs=100, backend=exact
        )
        W = network.layout.split(model.backend, model.theta)[0][0]
        print(
            f"all weights {value} at the start; after 100 epochs the hidden units, the columns of W, are still equal:"
        )
        print(np.round(W, 4))


if __name__ == "__main__":
    main(*sys.argv[1:])
