"""An activation and a loss of your own: a function and its derivative each, checked against differences, then trained.

A mistake in a derivative is found before any training, and the layer that has it is named.

Run ``python custom.py [FOLDER]``; it writes custom.png into FOLDER, by default here.
"""

import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

import chainrule as cr

# Written with xp, the array namespace, and Python numbers, the same lines run on every backend.


def bump(xp, z):
    """g(z) = exp(-z^2)."""
    return xp.exp(-z * z)


def bump_slope(xp, z):
    """g'(z) = -2 z exp(-z^2)."""
    return -2.0 * z * xp.exp(-z * z)


def log_cosh(xp, z, y):
    """L = sum ln cosh(z - y), dL/dz = tanh(z - y): squared error near 0, absolute error far out."""
    e = xp.abs(z - y)
    # ln cosh e = e + ln(1 + exp(-2e)) - ln 2, which does not overflow
    values = e + xp.log1p(xp.exp(-2.0 * e)) - float(np.log(2.0))
    return xp.sum(values, axis=-1, keepdims=True), xp.tanh(z - y)


BUMP = cr.Activation(bump, bump_slope, name="bump")
WRONG = cr.Activation(bump, lambda xp, z: -z * xp.exp(-z * z), name="wrong bump")
LOG_COSH = cr.Loss(log_cosh)


def main(folder="."):
    print("The derivatives are right:")
    print(check(BUMP))
    print("\nA factor of 2 forgotten:")
    print(check(WRONG))
    X, y, outliers = data()
    models = {name: train(loss, X, y) for name, loss in (("log cosh", LOG_COSH), ("squared error", "squared_error"))}
    print("\nA sine with 8 outliers among 200 points; the largest distance from the sine:")
    for name, model in models.items():
        print(f"  {name:<14} {distance(model):.3f}")
    draw(models, X, y, outliers).savefig(Path(folder) / "custom.png")


def network(activation):
    return cr.Sequential(
        cr.Dense(1, 20, weight_init=cr.Normal(1.0), bias_init=cr.Normal(1.0)), activation, cr.Dense(20, 1)
    )


def check(activation, loss=LOG_COSH):
    X, y, _ = data(rows=8)
    return cr.check_gradients(network(activation), X, y, loss=loss)


def data(rows=200, seed=0):
    """(X, y, which are outliers): a sine with a little noise, and every 25th point far above it."""
    generator = np.random.default_rng(seed)
    X = np.sort(generator.uniform(-3.0, 3.0, (rows, 1)), axis=0)
    y = np.sin(X[:, 0]) + 0.05 * generator.normal(size=rows)
    outliers = np.arange(rows) % 25 == 12
    return X, y + 4.0 * outliers, outliers


def train(loss, X, y, epochs=300):
    return cr.fit(network(BUMP), X, y, loss=loss, optimizer=cr.Adam(0.01), epochs=epochs, batch_size=50)


def distance(model):
    """The largest distance of the model from the sine."""
    x = np.linspace(-3.0, 3.0, 301).reshape(-1, 1)
    return float(np.max(np.abs(model.predict(x) - np.sin(x[:, 0]))))


def draw(models, X, y, outliers):
    figure = Figure(figsize=(6.4, 3.6), dpi=150, layout="constrained")
    axes = figure.subplots()
    axes.plot(X[~outliers], y[~outliers], ".", color="#bbbbbb", markersize=4, label="data")
    axes.plot(X[outliers], y[outliers], "x", color="#6b6b6b", markersize=5, label="outliers")
    x = np.linspace(-3.0, 3.0, 301).reshape(-1, 1)
    for (name, model), colour in zip(models.items(), ("#0072B2", "#D55E00"), strict=True):
        axes.plot(x, model.predict(x), color=colour, label=name)
    axes.set(xlabel="x", ylabel="y")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(0.0, 0.45))
    return figure


if __name__ == "__main__":
    main(*sys.argv[1:])
