"""Gradients that vanish in a deep sigmoid network, and what cures them; gradients that explode, and what clipping does.

``cr.diagnose`` looks into each network before and after training and says what is wrong with which layer.

Run ``python gradient_trouble.py [FOLDER]``; it writes vanishing.png and delta.png into FOLDER, by default here.
"""

import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from sklearn.datasets import load_digits

import chainrule as cr
from chainrule.plots import plot_diagnosis

SIZES = [64, *[30] * 6, 10]
NETWORKS = {
    "sigmoid": cr.mlp(SIZES, activation="sigmoid"),
    "ReLU, He's weights": cr.mlp(SIZES, activation="relu", weight_init="he_normal"),
    "sigmoid, batch normalisation": cr.mlp(SIZES, activation="sigmoid", normalization="batch"),
}
LARGE = cr.mlp(SIZES, weight_init=cr.Normal(0.7))
CLIPS = {"no clipping": None, "ClipNorm(1.0)": cr.ClipNorm(1.0), "ClipValue(0.1)": cr.ClipValue(0.1)}


def main(folder="."):
    seen = {}
    for name, network in NETWORKS.items():
        before, after, accuracy = train(network)
        seen[name] = before
        print(f"{name}: training accuracy {accuracy:.1%} after 20 epochs; before training")
        print(before)
        print(f"and after it: {findings(after)}\n")
    plot_diagnosis(seen["sigmoid"]).savefig(Path(folder) / "vanishing.png")
    draw(seen).savefig(Path(folder) / "delta.png")

    print(f"ReLU, weights from N(0, 0.7^2), about three times He's: {findings(look(LARGE))}")
    for name, clip in CLIPS.items():
        print(f"  {name:<15} {outcome(LARGE, clip)}")
    print(f"  He's weights    {outcome(cr.mlp(SIZES, weight_init='he_normal'), None)}")


def digits(rows=1000):
    X, y = load_digits(return_X_y=True)
    return X[:rows] / 16.0, y[:rows]


def look(network, rows=500):
    return cr.diagnose(network, *digits(rows), loss="softmax_cross_entropy")


def train(network, epochs=20):
    """(diagnosis before, diagnosis after, training accuracy), by the same plain gradient descent for all."""
    X, y = digits()
    model = cr.fit(network, X, y, loss="softmax_cross_entropy", optimizer=cr.SGD(0.1), epochs=epochs, batch_size=50)
    return look(network), cr.diagnose(model, X[:500], y[:500]), model.evaluate(X, y)["accuracy"]


def clipped(network, clip, epochs=30):
    """(loss in the first epoch, in the last, training accuracy) with this bound on the gradient.

    Raises DivergenceError where the numbers overflow on the way.
    """
    X, y = digits()
    model = cr.fit(
        network, X, y, loss="softmax_cross_entropy", optimizer=cr.SGD(0.05), epochs=epochs, batch_size=50, clip=clip
    )
    return model.history["loss"][0], model.history["loss"][-1], model.evaluate(X, y)["accuracy"]


def outcome(network, clip):
    try:
        first, last, accuracy = clipped(network, clip)
    except cr.DivergenceError as error:
        return str(error)
    return f"loss {first:.2f}, then {last:.2f}; training accuracy {accuracy:.1%}"


def findings(diagnosis):
    """``layer 1 vanishing gradient, layers ...``, or that all are healthy."""
    found = {}
    for row in diagnosis.rows:
        for finding in row.findings:
            found.setdefault(finding, []).append(row.number)
    words = [f"{finding} in layer {', '.join(map(str, numbers))}" for finding, numbers in found.items()]
    return "; ".join(words) or "every layer is healthy"


def draw(seen):
    """How large delta is at each hidden layer, from the last one, where it arrives, to the first."""
    figure = Figure(figsize=(5.6, 3.4), dpi=150, layout="constrained")
    axes = figure.subplots()
    for (name, diagnosis), colour in zip(seen.items(), ("#D55E00", "#0072B2", "#009E73"), strict=True):
        sizes = [row.delta for row in diagnosis.rows[:-1]]
        axes.plot(np.arange(1, len(sizes) + 1), sizes, "o-", color=colour, markersize=4, label=name)
    axes.set(xlabel="hidden layer", ylabel="delta, root mean square", yscale="log", title="before training")
    axes.title.set_fontsize(10)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8)
    return figure


if __name__ == "__main__":
    main(*sys.argv[1:])
