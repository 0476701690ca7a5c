"""Ten optimizers on the same weights and batches, and seven learning rates that change.

The problem is small: 500 digits, 32 hidden units. The rates are usual ones for each optimizer, not tuned.

Run ``python optimizers.py [FOLDER]``; it writes optimizers.png and schedules.png into FOLDER, by default here.
"""

import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from sklearn.datasets import load_digits

import chainrule as cr

OPTIMIZERS = {
    "SGD, 0.1": cr.SGD(0.1),
    "AveragedMomentum, 0.1": cr.AveragedMomentum(0.1),
    "Momentum, 0.1": cr.Momentum(0.1),
    "VelocityMomentum, 0.1": cr.VelocityMomentum(0.1),
    "Nesterov, 0.1": cr.Momentum(0.1, nesterov=True),
    "Adagrad, 0.05": cr.Adagrad(0.05),
    "RMSProp, 0.003": cr.RMSProp(0.003),
    "Adam, 0.01": cr.Adam(0.01),
    "AdamW, 0.01, decay 0.1": cr.AdamW(0.01, decay=0.1),
    "Lion, 0.001": cr.Lion(0.001),
}
SCHEDULES = {
    "ConstantRate": cr.ConstantRate(0.1),
    "StepDecay, every 60": cr.StepDecay(0.1, every=60, factor=0.5),
    "ExponentialDecay, every 200": cr.ExponentialDecay(0.1, every=200),
    "InverseScaling": cr.InverseScaling(0.1),
    "CosineDecay, warmup 20": cr.CosineDecay(0.1, warmup=20),
    "OneCycle": cr.OneCycle(0.1),
}
STEPS = 200
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#000000", "#8B6914", "#6b6b6b", "#882255")


def main(folder="."):
    found = {name: losses(optimizer) for name, optimizer in OPTIMIZERS.items()}
    print(f"{'optimizer, rate':<24}{'loss after epoch 1':>20}{'5':>10}{'20':>10}")
    for name, loss in found.items():
        print(f"{name:<24}{loss[0]:>20.4f}{loss[4]:>10.4f}{loss[19]:>10.4f}")
    same = largest_difference(cr.Momentum(0.1), cr.AveragedMomentum(1.0))
    print(f"Momentum at 0.1 and AveragedMomentum at 0.1 / (1 - 0.9): the losses differ by {same:.0e} at most")
    for name, rate_of in {"at 0.1": float, "under CosineDecay(0.1)": cr.CosineDecay}.items():
        apart = largest_difference(cr.Momentum(rate_of(0.1)), cr.VelocityMomentum(rate_of(0.1)))
        print(f"Momentum and VelocityMomentum {name}: by {apart:.0e}")

    rates = {name: rate(schedule) for name, schedule in SCHEDULES.items()} | {"ReduceOnPlateau": plateau()}
    print(f"\n{'schedule':<29}{'rate at step 1':>16}{'50':>10}{'100':>10}{STEPS:>10}")
    for name, eta in rates.items():
        print(f"{name:<29}{eta[0]:>16.5f}{eta[49]:>10.5f}{eta[99]:>10.5f}{eta[-1]:>10.5f}")

    draw(found, "epoch", "training loss", log=True).savefig(Path(folder) / "optimizers.png")
    draw(rates, "step", "learning rate", log=False).savefig(Path(folder) / "schedules.png")


def losses(optimizer, epochs=20, backend="numpy"):
    """The training loss of each epoch, all from the same seed."""
    X, y = load_digits(return_X_y=True)
    network = cr.mlp([64, 32, 10])
    model = cr.fit(
        network, X[:500] / 16.0, y[:500], loss="softmax_cross_entropy", optimizer=optimizer, batch_size=25,
        epochs=epochs, backend=backend,
    )  # fmt: skip
    return np.asarray(model.history["loss"])


def largest_difference(one, other):
    exact = cr.backend("numpy", dtype="float64")
    return np.max(np.abs(losses(one, backend=exact) - losses(other, backend=exact)))


def rate(schedule, steps=STEPS):
    """The rate at steps 1, 2, ...; one without a length gets this one, as ``cr.fit`` would do."""
    return schedule.planned(steps).rate(np, np.arange(1.0, steps + 1.0))


def plateau(steps=STEPS):
    """A rate that depends on what happens: a line is fitted to a sine, and once its loss stops falling, the rate does.

    With all rows in one batch a step is an epoch; 20 epochs without a loss lower by 0.001 halve the rate.
    """
    x = np.linspace(-1.0, 1.0, 20).reshape(-1, 1)
    model = cr.fit(
        cr.mlp([1, 1]), x, np.sin(6.0 * x), loss="squared_error", optimizer=cr.SGD(0.1), batch_size=20, epochs=steps,
        callbacks=[cr.ReduceOnPlateau("loss", factor=0.5, patience=20, min_delta=0.001)],
    )  # fmt: skip
    return np.asarray(model.history["learning_rate"])


def draw(curves, across, up, *, log):
    figure = Figure(figsize=(8, 4), dpi=150, layout="constrained")
    axes = figure.subplots()
    for k, (name, values) in enumerate(curves.items()):
        style = "-" if k % 2 == 0 else "--"
        axes.plot(np.arange(1, len(values) + 1), values, style, color=COLOURS[k], label=name)
    axes.set(xlabel=across, ylabel=up, yscale="log" if log else "linear")
    axes.locator_params(axis="x", integer=True)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside right center", frameon=False, fontsize=8)
    return figure


if __name__ == "__main__":
    main(*sys.argv[1:])
