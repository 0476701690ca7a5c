"""How wide shall the hidden layer be? The validation part decides; the test part is looked at once, at the end.

Every width is trained from several seeds, because two seeds differ by as much as two widths do.

Run ``python choose_architecture.py [FOLDER]``; it writes choose-architecture.png into FOLDER, by default here.
"""

import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from sklearn.datasets import load_digits

import chainrule as cr
from chainrule.tables import split

WIDTHS = (4, 8, 16, 32, 64, 128)
SEEDS = range(3)


def main(folder="."):
    parts = digits()
    print(f"{'hidden units':>12}{'parameters':>12}{'training error':>16}{'validation error':>18}{'spread':>9}")
    errors = {}
    for width in WIDTHS:
        errors[width] = search(parts, width, SEEDS)
        training, validation = errors[width].T
        print(
            f"{width:>12}{network(width).size:>12,}{np.mean(training):>16.1%}{np.mean(validation):>18.1%}"
            f"{np.ptp(validation):>9.1%}"
        )
    chosen = choose(errors, len(parts["validation"][1]))
    test = np.mean([error(train(parts, chosen, seed), parts["test"]) for seed in SEEDS])
    print(f"chosen: {chosen} hidden units, the fewest within a standard error of the best; test error {test:.1%}")
    draw(errors, chosen).savefig(Path(folder) / "choose-architecture.png")


def digits(seed=0):
    """{part: (X, y)}: 60 % to train, 20 % to choose by, 20 % for the end, every class in its share."""
    X, y = load_digits(return_X_y=True)
    X = X / 16.0
    rest, test = split(len(y), y, fraction=0.2, seed=seed, stratify=True)
    kept, held = split(len(rest), y[rest], fraction=0.25, seed=seed, stratify=True, part="validation")
    rows = {"training": rest[kept], "validation": rest[held], "test": test}
    return {part: (X[chosen], y[chosen]) for part, chosen in rows.items()}


def network(width):
    return cr.mlp([64, width, 10])


def train(parts, width, seed, epochs=30):
    return cr.fit(
        network(width), *parts["training"], loss="softmax_cross_entropy", optimizer=cr.Adam(0.005),
        batch_size=64, epochs=epochs, seed=seed,
    )  # fmt: skip


def search(parts, width, seeds, epochs=30):
    """(training error, validation error) of each seed, ``(seeds, 2)``."""
    models = [train(parts, width, seed, epochs) for seed in seeds]
    return np.asarray([[error(model, parts[part]) for part in ("training", "validation")] for model in models])


def error(model, part):
    return 1.0 - model.evaluate(*part)["accuracy"]


def choose(errors, rows):
    """The smallest width whose mean validation error is within one standard error of the smallest mean.

    A share p of ``rows`` examples is known to sqrt(p (1 - p) / rows): what is closer than that may be luck.
    """
    means = {width: np.mean(found[:, 1]) for width, found in errors.items()}
    best = min(means.values())
    return min(width for width, mean in means.items() if mean <= best + np.sqrt(best * (1.0 - best) / rows))


def draw(errors, chosen):
    figure = Figure(figsize=(5.6, 3.6), dpi=150, layout="constrained")
    axes = figure.subplots()
    widths = list(errors)
    for k, (part, colour) in enumerate((("training", "#0072B2"), ("validation", "#D55E00"))):
        axes.plot(widths, [np.mean(errors[w][:, k]) for w in widths], "o-", color=colour, markersize=4, label=part)
        for w in widths:
            axes.plot([w] * len(errors[w]), errors[w][:, k], ".", color=colour, alpha=0.4, markersize=4)
    axes.axvline(chosen, color="#6b6b6b", linewidth=0.8, linestyle="--", label=f"chosen, {chosen}")
    axes.set_xscale("log", base=2)
    axes.set_xticks(widths, [str(w) for w in widths])
    axes.set(xlabel="hidden units", ylabel="error", ylim=(-0.01, None))
    axes.locator_params(axis="y", steps=[1, 2, 5, 10])
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    return figure


if __name__ == "__main__":
    main(*sys.argv[1:])
