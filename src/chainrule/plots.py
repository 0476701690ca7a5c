"""Pictures of what training and diagnosing return. Each function gives a Matplotlib figure and shows nothing.

No window, no ``pyplot``, no global state: save with ``figure.savefig("history.png")``, or return the figure from a
notebook's cell. Matplotlib is imported when a picture is asked for: ``pip install 'chainrule[plot]'``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ._backend import to_host
from ._base.errors import ConfigurationError, DataError, MissingExtraError, require
from .activations import ACTIVATIONS, Elementwise, find_activation
from .benchmark import Measurement, by_network, crossovers
from .diagnostics import Diagnosis
from .training import RangeTest

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe & Ito's palette, told apart with every common colour blindness.
BLUE, ORANGE, GREEN, PURPLE, SKY, VERMILION, YELLOW = (
    "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442",
)  # fmt: skip
GREY = "#6b6b6b"
MARKERS = "osD^vPX"


def plot_history(history: Iterable[Mapping[str, float]]) -> Figure:
    """The cost over the epochs, training and validation; on the right the accuracy, where there is one.

    The best epoch by validation cost is marked.

    Args:
        history: ``model.history``, a model, or records with ``epoch``, ``loss`` and, where measured, ``val_loss``,
            ``accuracy``, ``val_accuracy``.

    Raises:
        DataError: no records. MissingExtraError: Matplotlib is not installed.

    Example:
        >>> from chainrule.plots import plot_history
        >>> records = [{"epoch": 1, "loss": 0.9, "val_loss": 1.0}, {"epoch": 2, "loss": 0.4, "val_loss": 0.6}]
        >>> figure = plot_history(records)
        >>> figure.axes[0].get_ylabel()
        'loss'
    """
    records = [dict(record) for record in getattr(history, "history", history)]
    if not records:
        raise DataError("a history needs at least one epoch, got none: train first.")
    names = {name for record in records for name in record}
    panels = [name for name in ("loss", "accuracy") if {name, f"val_{name}"} & names]
    figure = _figure(4.8 * len(panels) + 0.4, 3.6)
    best = _best_epoch(records)
    for k, name in enumerate(panels):
        axes = figure.add_subplot(1, len(panels), k + 1)
        _draw_curves(axes, records, name, best)
    return figure


def plot_activation(*activations: str | Elementwise, low: float = -6.0, high: float = 6.0) -> Figure:
    """g(z) and, beside it, g'(z), over z from ``low`` to ``high``; several activations make a grid of such pairs.

    Args:
        activations: one or more, by name or object.
        low: where z begins; default -6.
        high: where it ends, above ``low``; default 6.

    Raises:
        ConfigurationError: no or an unknown activation. MissingExtraError: Matplotlib is not installed.

    Example:
        >>> from chainrule.plots import plot_activation
        >>> figure = plot_activation("tanh", "leaky_relu", low=-3.0, high=3.0)
        >>> [axes.get_title("left") for axes in figure.axes]
        ['tanh', 'derivative', 'leaky_relu', 'derivative']
    """
    require(len(activations) > 0, "plot_activation needs at least one activation, got none.")
    require(low < high, f"low must be < high, got {low} and {high}.")
    found = [find_activation(activation) for activation in activations]
    across = min(len(found), 3)
    down = math.ceil(len(found) / across)
    figure = _figure(5.4 * across, 2.4 * down if down > 1 else 2.8)
    z = np.linspace(low, high, 1001)
    for k, (given, activation) in enumerate(zip(activations, found, strict=True)):
        row, column = divmod(k, across)
        left, right = (figure.add_subplot(down, 2 * across, 2 * across * row + 2 * column + side) for side in (1, 2))
        _draw_activation(left, right, activation, _title(given, activation), z)
    return figure


def plot_diagnosis(diagnosis: Diagnosis) -> Figure:
    """A histogram of every layer's activations, first layer on top, and beside it of log10 |dC/dW|, where there is one.

    The hidden layers share their axis, so what shrinks, grows or sticks to its bounds is seen at once. Zeros are left
    out and their share is written instead.

    Args:
        diagnosis: what ``cr.diagnose`` found.

    Raises:
        MissingExtraError: Matplotlib is not installed.

    Example:
        >>> import numpy as np, chainrule as cr
        >>> from chainrule.plots import plot_diagnosis
        >>> diagnosis = cr.diagnose(cr.mlp([4, 8, 8, 1]), np.random.default_rng(0).normal(size=(50, 4)))
        >>> len(plot_diagnosis(diagnosis).axes)
        3
    """
    rows, hidden = diagnosis.rows, diagnosis.rows[:-1] or diagnosis.rows
    figure = _figure(6.0 if rows[0].gradients is None else 10.0, 0.85 * len(rows) + 0.8)
    columns = 1 if rows[0].gradients is None else 2
    shared, logs = _range([row.activations for row in hidden]), _range([_log_sizes(row.gradients) for row in rows])
    for k, row in enumerate(rows):
        output = k == len(rows) - 1
        # The output's pre-activations have a scale of their own, which would hide the hidden layers'.
        limits = _range([row.activations]) if output else shared
        left = figure.add_subplot(len(rows), columns, columns * k + 1)
        _draw_histogram(left, row.activations[row.activations != 0.0], limits, BLUE, labels=k >= len(hidden) - 1)
        verdict = f": {row.verdict}" if row.findings else ""
        left.set_title(f"{row.number}  {row.name}{verdict}", loc="left", fontsize=8)
        left.set_title(f"std {row.std:.2g}{_zeros(row.activations)}", loc="right", fontsize=7, color=GREY)
        if row.gradients is not None:
            right = figure.add_subplot(len(rows), columns, columns * k + 2)
            _draw_histogram(right, _log_sizes(row.gradients), logs, ORANGE, labels=output)
            note = f"norm {row.gradient_norm:.2g}{_zeros(row.gradients)}"
            right.set_title(note, loc="right", fontsize=7, color=GREY)
    figure.axes[-columns].set_xlabel("activation")
    if columns == 2:
        figure.axes[-1].set_xlabel("log10 |dC/dW|")
    return figure


def plot_decision_regions(
    model: Any, X: Any, y: Any, *, resolution: int = 300, names: tuple[str, str] | None = None
) -> Figure:
    """The class that a model predicts at every point of the plane, and the examples on it.

    Args:
        model: a model or an estimator, of which ``predict`` is asked, or a function from points ``(n, 2)`` to their
            classes ``(n,)`` or ``(n, 1)``.
        X: examples ``(B, 2)``.
        y: their classes ``(B,)``, numbers or names.
        resolution: points along each axis; default 300.
        names: of the two features; default x1 and x2.

    Raises:
        DataError: X is not ``(B, 2)``, or y does not fit it. MissingExtraError: Matplotlib is not installed.

    Example:
        >>> import numpy as np
        >>> from chainrule.plots import plot_decision_regions
        >>> X = np.asarray([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
        >>> figure = plot_decision_regions(lambda x: x[:, 0] + x[:, 1] > 1.5, X, [False, False, False, True])
        >>> [text.get_text() for text in figure.legends[0].get_texts()]
        ['False', 'True']
    """
    X, y = np.asarray(to_host(X), dtype=np.float64), to_host(y).reshape(-1)
    if X.ndim != 2 or X.shape[1] != 2:
        raise DataError(f"decision regions need X of shape (rows, 2), got {X.shape}: choose two features.")
    if len(y) != len(X):
        raise DataError(f"X and y must have the same number of rows, got {len(X)} and {len(y)}.")
    low, high = X.min(axis=0), X.max(axis=0)
    margin = 0.1 * np.maximum(high - low, 1e-9)
    across, up = (np.linspace(low[i] - margin[i], high[i] + margin[i], resolution) for i in (0, 1))
    points = np.stack([np.tile(across, resolution), np.repeat(up, resolution)], axis=1)
    predict = getattr(model, "predict", model)
    regions = to_host(predict(points)).reshape(resolution, resolution)
    return _draw_regions(across, up, regions, X, y, names or ("x1", "x2"))


def plot_benchmark(measurements: Sequence[Measurement]) -> Figure:
    """Rows trained a second against the network's parameters, both on logarithmic axes, a line a backend.

    The user's own network is marked, and the places where the fastest backend changes.

    Args:
        measurements: what ``chainrule.benchmark.measure`` returns; those with a problem are left out.

    Raises:
        DataError: nothing was measured. MissingExtraError: Matplotlib is not installed.

    Example:
        >>> from chainrule.benchmark import Measurement
        >>> from chainrule.plots import plot_benchmark
        >>> one = Measurement((784, 512, 512, 10), 1.0, 128, 12_800, "numpy", "cpu", seconds=0.5)
        >>> plot_benchmark([one]).axes[0].get_xlabel()
        'parameters of the network'
    """
    ran = [one for one in measurements if one.problem is None]
    if not ran:
        raise DataError("a picture of a benchmark needs at least one measurement without a problem, got none.")
    figure = _figure(6.4, 4.2)
    axes = figure.add_subplot()
    colours = (BLUE, ORANGE, GREEN, PURPLE, SKY, VERMILION, YELLOW)
    for k, name in enumerate(dict.fromkeys(one.backend for one in ran)):
        mine = [one for rung in by_network(ran) for one in rung if one.backend == name]
        axes.plot(
            [one.parameters for one in mine], [one.rows_per_second for one in mine], color=colours[k % 7],
            marker=MARKERS[k % 7], markersize=5, label=f"{name} on {mine[0].device}" if ":" not in name else name,
        )  # fmt: skip
    _mark_crossovers(axes, measurements)
    own = [one for one in ran if one.factor == 1.0]
    if own:
        axes.axvline(
            own[0].parameters, color=GREY, linewidth=0.8, linestyle=":", zorder=0, label=f"yours: {own[0].name}"
        )
    dtype = ran[0].info.get("dtype")
    axes.set_title(f"batch {ran[0].batch_size}{f', {dtype}' if dtype else ''}", loc="left", fontsize=9)
    axes.set(xlabel="parameters of the network", ylabel="rows trained a second")
    if len({one.parameters for one in ran}) == 1:  # a logarithmic axis has no width of its own
        axes.set_xlim(ran[0].parameters / 2, ran[0].parameters * 2)
    _log_axes(axes)
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    return figure


def plot_rate(found: RangeTest) -> Figure:
    """The loss of each step against its learning rate, smoothed and as it was, with the proposal and the range.

    Args:
        found: what ``cr.find_rate`` gives.

    Raises:
        MissingExtraError: Matplotlib is not installed.

    Example:
        >>> import numpy as np, chainrule as cr
        >>> from chainrule.plots import plot_rate
        >>> X = np.random.default_rng(0).normal(size=(500, 4))
        >>> found = cr.find_rate(cr.mlp([4, 8, 1]), X, X[:, 0], loss="squared_error")
        >>> plot_rate(found).axes[0].get_xlabel()
        'learning rate'
    """
    figure = _figure(5.6, 3.6)
    axes = figure.add_subplot()
    axes.plot(found.rates, found.losses, color=SKY, linewidth=0.8, alpha=0.7, label="a batch")
    axes.plot(found.rates, found.smoothed, color=BLUE, label="smoothed")
    if found.learning_rate is not None and found.low is not None and found.high is not None:
        at = np.interp(math.log(found.learning_rate), np.log(found.rates), found.smoothed)
        axes.axvspan(
            found.low, found.high, color=GREY, alpha=0.12, linewidth=0, label=f"range, {found.low:g} to {found.high:g}"
        )
        axes.plot(found.learning_rate, at, "o", color=VERMILION, label=f"take {found.learning_rate:g}")
    else:
        axes.set_title("no clear answer", loc="left", fontsize=9)
    axes.set(xscale="log", xlabel="learning rate", ylabel="loss")
    axes.set_ylim(*_range([found.smoothed]))
    axes.legend(frameon=False, fontsize=8)
    _clean(axes)
    return figure


def _figure(width: float, height: float) -> Figure:
    """An empty figure with a canvas that draws without a display."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("pictures need Matplotlib: pip install 'chainrule[plot]'.") from error
    figure = Figure(figsize=(width, height), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _clean(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8, color=GREY)


def _best_epoch(records: list[dict[str, float]]) -> float | None:
    measured = [(record["val_loss"], _epoch(record, k)) for k, record in enumerate(records) if _has(record, "val_loss")]
    return min(measured)[1] if measured else None


def _has(record: dict[str, float], name: str) -> bool:
    return name in record and math.isfinite(record[name])


def _epoch(record: dict[str, float], k: int) -> float:
    return record.get("epoch", k + 1)


def _draw_curves(axes: Axes, records: list[dict[str, float]], name: str, best: float | None) -> None:
    for key, label, colour in ((name, "training", BLUE), (f"val_{name}", "validation", VERMILION)):
        seen = [(_epoch(record, k), record[key]) for k, record in enumerate(records) if _has(record, key)]
        if not seen:
            continue
        x, values = zip(*seen, strict=True)
        axes.plot(x, values, color=colour, label=label, marker="o" if len(x) < 3 else None, markersize=4)
        if best is not None and best in x and key.startswith("val_"):
            axes.plot(best, values[x.index(best)], "o", color=colour, label=f"lowest validation loss, epoch {best:g}")
    axes.set_xlabel("epoch")
    axes.set_ylabel(name)
    axes.locator_params(axis="x", integer=True, min_n_ticks=1)
    axes.legend(frameon=False, fontsize=8)
    _clean(axes)


def _title(given: str | Elementwise, activation: Elementwise) -> str:
    if isinstance(given, str):
        return given
    names = [name for name, known in ACTIVATIONS.items() if known == activation]
    return names[0] if names else str(getattr(activation, "name", type(activation).__name__))


def _draw_activation(left: Axes, right: Axes, activation: Elementwise, title: str, z: np.ndarray) -> None:
    a: Any = activation.value(np, z)
    left.plot(z, a, color=BLUE)
    left.set_title(title, loc="left", fontsize=10)
    right.set_title("derivative", loc="left", fontsize=10, color=GREY)
    try:
        slope: Any = activation.derivative(np, z, a)
        right.plot(z, slope, color=ORANGE)
    except ConfigurationError:
        right.text(0.5, 0.5, "none to train by", ha="center", color=GREY, transform=right.transAxes, fontsize=9)
        right.set(xlim=left.get_xlim(), yticks=[])
    for axes in (left, right):
        if axes.lines:
            axes.axhline(0.0, color=GREY, linewidth=0.5, zorder=0)
            axes.axvline(0.0, color=GREY, linewidth=0.5, zorder=0)
        axes.margins(y=0.1)
        axes.locator_params(nbins=4)
        _clean(axes)


def _range(samples: list[np.ndarray]) -> tuple[float, float]:
    """What holds nearly all numbers of every sample: single outliers of one layer shall not shrink the others."""
    finite = [sample[np.isfinite(sample)] for sample in samples]
    ends = [np.quantile(sample, [0.002, 0.998]) for sample in finite if sample.size]
    if not ends:
        return -1.0, 1.0
    low, high = float(min(e[0] for e in ends)), float(max(e[1] for e in ends))
    pad = 0.05 * (high - low) or 0.5
    return low - pad, high + pad


def _log_sizes(gradients: np.ndarray | None) -> np.ndarray:
    sizes = np.zeros(0) if gradients is None else np.abs(gradients)
    return np.log10(sizes[sizes > 0.0])


def _zeros(numbers: np.ndarray) -> str:
    """The share of zeros, which are left out of a histogram: half of a ReLU's activations would hide the rest."""
    share = float(np.mean(numbers == 0.0))
    return f", {share:.0%} are 0" if share >= 0.005 else ""


def _draw_histogram(axes: Axes, numbers: np.ndarray, limits: tuple[float, float], colour: str, *, labels: bool) -> None:
    """A histogram as one outline, which draws ten times faster than its bars."""
    finite = numbers[np.isfinite(numbers)]
    if finite.size:
        axes.stairs(*np.histogram(np.clip(finite, *limits), bins=60, range=limits), fill=True, color=colour)
    else:
        text = "not finite" if numbers.size else "all 0"
        axes.text(0.5, 0.4, text, ha="center", va="center", color=GREY, fontsize=8, transform=axes.transAxes)
    axes.set_xlim(*limits)
    axes.set_yticks([])
    _clean(axes)
    axes.spines["left"].set_visible(False)
    axes.tick_params(labelbottom=labels)


def _mark_crossovers(axes: Axes, measurements: Sequence[Measurement]) -> None:
    """A ring where two lines cross, and which one is ahead from there on."""
    for crossover in crossovers(measurements):
        at = crossover.parameters, crossover.rows_per_second
        axes.plot(*at, "o", markersize=12, markerfacecolor="none", markeredgecolor="black", markeredgewidth=1.0)
        text = f"{crossover.after} overtakes\n{crossover.before}"
        axes.annotate(text, at, xytext=(9, 9), textcoords="offset points", fontsize=8)


def _log_axes(axes: Axes) -> None:
    """Logarithmic axes with numbers such as 500, 20 k and 1 M at 1, 2 and 5 times the powers of ten."""
    from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter

    axes.set(xscale="log", yscale="log")
    axes.margins(0.08, 0.12)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.set_major_formatter(EngFormatter())
        axis.set_minor_formatter(NullFormatter())
    axes.grid(True, color=GREY, alpha=0.15)
    _clean(axes)


def _draw_regions(
    across: np.ndarray, up: np.ndarray, regions: np.ndarray, X: np.ndarray, y: np.ndarray, names: tuple[str, str]
) -> Figure:
    classes = np.unique(np.concatenate([np.unique(y), np.unique(regions)]))
    figure = _figure(5.4, 4.2)
    axes = figure.add_subplot()
    from matplotlib.colors import to_rgb

    colours = [(BLUE, ORANGE, GREEN, PURPLE, SKY, VERMILION, YELLOW)[k % 7] for k in range(len(classes))]
    tints = np.asarray([[0.7 + 0.3 * part for part in to_rgb(colour)] for colour in colours])
    extent = (across[0], across[-1], up[0], up[-1])
    axes.imshow(tints[np.searchsorted(classes, regions)], origin="lower", extent=extent, aspect="auto")
    for k, name in enumerate(classes):
        mine = y == name
        axes.scatter(
            X[mine, 0], X[mine, 1], color=colours[k], marker=MARKERS[k % 7], edgecolors="black", linewidths=0.6,
            s=30, label=f"{name:g}" if isinstance(name, np.floating) else str(name),
        )  # fmt: skip
    axes.set(xlabel=names[0], ylabel=names[1], xlim=extent[:2], ylim=extent[2:])
    figure.legend(title="class", fontsize=8, title_fontsize=8, loc="outside right upper", frameon=False)
    _clean(axes)
    return figure
