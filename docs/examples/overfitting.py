"""Overfitting, and what helps: 300 digits of which 40 % carry a wrong label, learnt by heart by 200 hidden units.

The training accuracy climbs to 98 % and the validation accuracy falls while it does; with an L2 penalty, dropout or
early stopping the network answers better than it was taught. The test rows are looked at once, at the end.

Run ``python overfitting.py [FOLDER]``; it writes overfitting.png into FOLDER, by default here.
"""

import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from sklearn.datasets import load_digits

import chainrule as cr

STOPPING = [cr.EarlyStopping("val_accuracy", patience=20)]
REMEDIES = {
    "nothing": {},
    "L2, lambda 0.02": {"penalty": cr.Penalty(l2=0.02)},
    "dropout 0.7": {"dropout": 0.7},
    "early stopping": {"callbacks": STOPPING},
    "L2 and early stopping": {"penalty": cr.Penalty(l2=0.02), "callbacks": STOPPING},
}


def main(folder="."):
    data = noisy_digits()
    print(f"{'against overfitting':<23}{'training':>10}{'validation':>12}{'test':>8}{'epochs':>8}")
    found = {}
    for name, remedy in REMEDIES.items():
        model, *seen = train(data, **remedy)
        found[name] = seen
        training, validation, test = (accuracy(model, data, part) for part in data)
        print(f"{name:<23}{training:>10.1%}{validation:>12.1%}{test:>8.1%}{len(model.history):>8}")
    draw(found).savefig(Path(folder) / "overfitting.png")


def noisy_digits(rows=300, wrong=0.4, seed=0):
    """{part: (X, y)}: of the training labels a share is replaced by another digit; validation and test are right."""
    X, y = load_digits(return_X_y=True)
    generator = np.random.default_rng(seed)
    order = generator.permutation(len(y))
    X, y = X[order] / 16.0, y[order]
    taught = y[:rows].copy()
    chosen = generator.random(rows) < wrong
    taught[chosen] = (taught[chosen] + generator.integers(1, 10, int(np.sum(chosen)))) % 10
    return {
        "training": (X[:rows], taught),
        "validation": (X[rows : rows + 700], y[rows : rows + 700]),
        "test": (X[rows + 700 :], y[rows + 700 :]),
    }


def train(data, *, hidden=200, dropout=0.0, penalty=None, callbacks=(), epochs=200):
    """The model; (training accuracy, validation accuracy) after each epoch; the epoch whose weights the model has."""
    curves = Curves(data["training"])
    model = cr.fit(
        cr.mlp([64, hidden, 10], dropout=dropout), *data["training"], loss="softmax_cross_entropy",
        epochs=epochs, batch_size=50, validation=data["validation"], penalty=penalty, callbacks=[*callbacks, curves],
    )  # fmt: skip
    kept = next((stop.best_epoch for stop in callbacks if isinstance(stop, cr.EarlyStopping)), len(model.history))
    return model, np.stack([curves.training, model.history["val_accuracy"]], axis=1), kept


class Curves:
    """A callback: the accuracy on the whole training part after every epoch, as the model stands."""

    def __init__(self, part):
        self.part, self.training = part, []

    def on_epoch_end(self, run, record):
        self.training.append(run.model().evaluate(*self.part)["accuracy"])


def accuracy(model, data, part):
    return model.evaluate(*data[part])["accuracy"]


def draw(found):
    """The curves, and on them the epoch whose weights were kept."""
    figure = Figure(figsize=(12, 3.4), dpi=150, layout="constrained")
    names = ["nothing", "L2, lambda 0.02", "dropout 0.7", "early stopping"]
    for axes, name in zip(figure.subplots(1, len(names), sharex=True, sharey=True), names, strict=True):
        curves, kept = found[name]
        epochs = np.arange(1, len(curves) + 1)
        for values, part, colour in zip(curves.T, ("training", "validation"), ("#0072B2", "#D55E00"), strict=True):
            axes.plot(epochs, values, color=colour, label=f"{part}, {values[kept - 1]:.0%}")
            axes.plot(kept, values[kept - 1], "o", color=colour)
        axes.set_title(name, fontsize=10)
        axes.set_xlabel("epoch")
        axes.set_ylim(0.0, 1.03)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize=8, loc="lower right")
    figure.axes[0].set_ylabel("accuracy")
    figure.axes[0].yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    return figure


if __name__ == "__main__":
    main(*sys.argv[1:])
