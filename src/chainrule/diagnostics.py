"""What goes wrong inside a network, layer by layer, said in words.

One training pass forward, and one back where targets are given. Too large weights saturate the activations, too small
ones let them collapse, and either makes the gradients of the lower layers vanish or explode (Glorot & Bengio, 2010);
a ReLU that is never above 0 passes no gradient and never recovers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ._backend import Backend
from ._base.arguments import names_arguments
from ._base.errors import ConfigurationError
from ._base.typing import Array
from ._model.naming import Block, blocks
from ._model.training_pass import Trained, TrainingPass, answer, ask
from ._random import host_generator
from .layers import Layer, Residual
from .losses import LossFunction
from .network import Sequential

# A slope below this passes on less than a hundredth of what reaches it: a sigmoid beyond |z| = 4.6, tanh beyond 3.
FLAT = 0.01
# Weights drawn from N(0, 1) flatten 45 to 75 % of the slopes, the usual initializers a third at most (hard tanh).
SATURATED = 0.4
# More than half of the units dead. In a deep ReLU network with the usual weights a third may stay silent on a sample.
DEAD = 0.5
# One learning rate serves layers whose gradients differ tenfold, not a hundredfold; the same ratio is asked of
# activations, where a factor of 100 leaves two digits of float32's seven in differences from a common value.
RATIO = 100.0
# A pre-activation so large that every activation that saturates has.
FAR = 30.0
# The usual initial weights make of inputs of mean square q pre-activations of mean square q to 2 q. Where q is far from
# 1 all units begin far out, or all near 0. Zeros and ones, and pixels from 0 to 16 (q up to 86), learn as they are.
LOUD, FAINT = 10.0, 0.01  # square roots of q
# How many numbers of each layer's activations and gradients are stored for histograms.
SAMPLE = 10_000

_WEIGHTS = "he_normal (ReLU), glorot_uniform (tanh) or sigmoid_glorot_normal (sigmoid) weights, or batch normalisation"
# What to do about each finding, the causes before their consequences.
_ADVICE = {
    "not finite": f"Numbers overflowed: scale the inputs, lower the learning rate, or use {_WEIGHTS}.",
    "dead": "Dead units learn nothing: use he_normal weights, zero biases, a lower rate, or activation='leaky_relu'.",
    "saturated": f"The pre-activations are too large: scale the inputs, or use {_WEIGHTS}.",
    "exploding": f"The weights are too large: use {_WEIGHTS}.",
    "collapsed": f"The weights are too small: use {_WEIGHTS}.",
    "vanishing": "The lower layers learn too slowly: use ReLU with he_normal weights, or batch normalisation.",
}


@dataclass(frozen=True)
class LayerDiagnosis:
    """One layer of weights with the normalisation and activation that follow it.

    Attributes:
        number: counted from 1.
        name: its parts in words.
        units: how many numbers it gives for an example.
        mean, std: of all its activations a, over examples and units.
        spread: the standard deviation over the examples, root mean square over the units: how far the examples are
            still told apart.
        flat: the share of slopes |g'(z)| below 0.01, about half for ReLU; None without an activation of one number.
        dead: how many units have slope 0 for every example; None as before.
        gradient_norm: of dC/dW; None without targets.
        delta: the root mean square of one example's dL/dz, at the output of the weights; None without targets.
        findings: what is wrong, in words; none if it is healthy.
        activations, gradients: at most 10,000 of the numbers a and dC/dW, for histograms.
    """

    number: int
    name: str
    units: int
    mean: float
    std: float
    spread: float
    flat: float | None
    dead: int | None
    gradient_norm: float | None
    delta: float | None
    findings: tuple[str, ...]
    activations: np.ndarray = field(repr=False, compare=False)
    gradients: np.ndarray | None = field(repr=False, compare=False)

    @property
    def verdict(self) -> str:
        """The findings, or ``"healthy"``."""
        return ", ".join(self.findings) or "healthy"


@dataclass(frozen=True)
class Diagnosis:
    """What ``diagnose`` found; ``print`` it for a table and advice.

    Attributes:
        rows: a ``LayerDiagnosis`` for each layer of weights, from the first to the last.
        examples: how many were looked at.
        inputs: what is wrong with X in words, which comes before all layers; empty where nothing is.

    Example:
        >>> import numpy as np, chainrule as cr
        >>> X = np.random.default_rng(0).normal(size=(200, 4))
        >>> found = cr.diagnose(cr.mlp([4, 50, 50, 1], activation="tanh", weight_init=cr.Normal(1.0)), 1000.0 * X)
        >>> found.healthy, [row.verdict for row in found.rows]
        (False, ['saturated', 'saturated', 'healthy'])
        >>> print(found.inputs)
        are of size 1e+03 (root mean square; columns of sizes from 9.5e+02 to 1e+03), where weights are made for about 1
    """

    rows: tuple[LayerDiagnosis, ...]
    examples: int
    inputs: str = ""

    @property
    def healthy(self) -> bool:
        """Whether nothing is wrong: neither with the inputs nor with any layer."""
        return not self.inputs and not any(row.findings for row in self.rows)

    @property
    def advice(self) -> str:
        """What to do about what was found, the causes before their consequences, and in which layers it was."""
        found = {word: [row.number for row in self.rows if word in row.verdict] for word in _ADVICE}
        cures = [f"{_listed(numbers)} ({word}): {_ADVICE[word]}" for word, numbers in found.items() if numbers]
        first = (
            [f"The inputs {self.inputs}: standardise X, each column to mean 0 and deviation 1."] if self.inputs else []
        )
        return "\n".join([*first, *cures]) or "Every layer is healthy."

    def __str__(self) -> str:
        width = max(len(row.name) for row in self.rows)
        head = f"     {'layer':<{width}}{'mean':>10}{'std':>10}{'spread':>10}{'flat':>7}{'dead':>6}"
        head += "" if self.rows[0].delta is None else f"{'|dC/dW|':>10}{'rms delta':>11}"
        lines = [_line(row, width) for row in self.rows]
        return "\n".join([f"{head}  verdict", *lines, f"{self.examples} examples. {self.advice}"])


@names_arguments
def diagnose(
    network: Sequential | Trained,
    X: Any,
    y: Any = None,
    *,
    loss: str | LossFunction | None = None,
    theta: Any = None,
    buffers: Any = None,
    seed: int = 0,
    backend: str | Backend = "auto",
) -> Diagnosis:
    """Per layer: the size of a = g(z), the slopes g'(z), and with targets the size of dC/dW and delta = dL/dz.

    It is one training pass: batch normalisation uses the batch's statistics and dropout drops. A layer here is one of
    weights with what follows it, up to the next; dropout's zeros are left out of its numbers. The verdicts compare:

    * saturated: 40 % of the slopes are below 0.01, and the activation is flat on both sides (sigmoid, tanh);
    * N of M units are dead: slope 0 for every example, for more than half of the units;
    * collapsed: the spread fell below a hundredth of an earlier layer's, or to 0;
      exploding activations: it grew a hundredfold;
    * vanishing gradient, exploding gradient: delta is a hundred times smaller or larger than in the last hidden layer,
      or 0;
    * not finite: NaN or infinity.

    The inputs come first: of a root mean square above 10 or below 0.01, of columns whose sizes differ more than a
    hundredfold, or of a column whose mean is more than a hundred deviations, one learning rate cannot serve the weights
    (LeCun et al., Efficient BackProp, 1998, section 4.3). What a batch normalisation in front takes away is not said.

    Args:
        network: a network, or a trained model, which brings its own theta, buffers, loss and backend.
        X: examples ``(B, n_in)``, or what a model was trained on; some hundreds tell enough.
        y: class indices or numbers; with ``loss`` (or a model's) it brings the gradients. Default none.
        loss: by name or object, which y needs; by default the model's. A last activation that is its link belongs to
            the loss and is not looked at.
        theta: ``(p,)``; by default the seed's initial weights, or the model's.
        buffers: ``(q,)``; by default the initial ones, or the model's.
        seed: of the weights and the masks, an integer >= 0; default 0.
        backend: a name or ``cr.backend(...)``; by default the library of X.

    Returns:
        A ``Diagnosis``, numbers on the host.

    Raises:
        DataError: X, y, theta or buffers do not fit the network.
        ConfigurationError: y without a loss; a network that cannot be trained through.

    Example:
        >>> import numpy as np, chainrule as cr
        >>> from chainrule.diagnostics import diagnose
        >>> network = cr.mlp([100] * 6, activation="tanh", weight_init=cr.Normal(0.01))
        >>> diagnosis = diagnose(network, np.random.default_rng(0).normal(size=(200, 100)))
        >>> diagnosis.rows[3].verdict
        'collapsed'
    """
    asked = ask(network, X, y, loss=loss, theta=theta, buffers=buffers, seed=seed, backend=backend)
    with asked.backend.active(), np.errstate(over="ignore", invalid="ignore"):  # an overflow is a finding here
        return _judged(answer(asked), asked.seed)


def _judged(seen: TrainingPass, seed: int) -> Diagnosis:
    groups = blocks(seen.network)
    shown = [_shown(seen, group.layers) for group in groups]
    rows = [_measure(seen, group, i, k, seed) for k, (group, i) in enumerate(zip(groups, shown, strict=True), 1)]
    bounded = [row.flat is not None and _flat_on_both_sides(seen, i) for row, i in zip(rows, shown, strict=True)]
    inputs = _look_at_inputs(seen.network, _host(seen.backend, seen.x))
    return Diagnosis(tuple(_judge(rows, bounded)), seen.x.shape[0], inputs)


def _look_at_inputs(network: Sequential, x: np.ndarray) -> str:
    """What is wrong with X, ``(rows, columns)``, in words that follow "the inputs"; empty where nothing is.

    A column's size is that of its entries but 0: a rare category or a corner's pixel is no smaller than others.
    """
    first = next(iter(network.weighted), 0)
    if any(layer.normalizes() == "columns" for layer in network.layers[:first]):
        return ""
    rescaled = any(layer.normalizes() for layer in network.layers[: first + 2])
    loudness, means, deviations = _rms(x), np.abs(np.mean(x, axis=0)), np.std(x, axis=0)
    entries = np.sum(x != 0.0, axis=0)
    sizes = np.sqrt(np.sum(x * x, axis=0) / np.maximum(entries, 1))
    varies = deviations > 1e-6 * means  # a constant column is a bias
    sizes, off = sizes[varies], means[varies] / deviations[varies]
    span = f"columns of sizes from {min(sizes, default=0.0):.2g} to {max(sizes, default=0.0):.2g}"
    if not rescaled and not FAINT <= loudness <= LOUD and loudness > 0.0:
        return f"are of size {loudness:.2g} (root mean square; {span}), where weights are made for about 1"
    if len(sizes) and sizes.max() > RATIO * sizes.min():
        return f"have {span} (root mean square)"
    if len(off) and off.max() > RATIO:
        return f"have a column whose mean is {off.max():.2g} times its standard deviation"
    return ""


def _measure(seen: TrainingPass, block: Block, shown: int, number: int, seed: int) -> LayerDiagnosis:
    backend, layers, weighted = seen.backend, seen.network.layers, block.weights
    output, residual, _ = seen.forward[shown]
    a, slopes = _host(backend, output), _slopes(backend, layers[shown], residual)
    delta, norm, dW = None, None, None
    if weighted in seen.backward:
        delta, gradients = seen.backward[weighted]
        decays = [p.decays for p in layers[weighted].parameters()]
        weights = [g for g, d in zip(gradients, decays, strict=True) if d or not any(decays)]
        dW = np.concatenate([_host(backend, g).ravel() for g in weights])
        norm = float(np.linalg.norm(dW))
    return LayerDiagnosis(
        number=number,
        name=", ".join(_short_name(layers[i], i == weighted) for i in block.layers),
        units=a.shape[-1],
        mean=float(np.mean(a)),
        std=float(np.std(a)),
        spread=_rms(np.std(a, axis=0)),
        flat=None if slopes is None else float(np.mean(np.abs(slopes) < FLAT)),
        dead=None if slopes is None else int(np.sum(np.all(slopes == 0.0, axis=0))),
        gradient_norm=norm,
        # The cost is a mean over the examples: times their number, it is one example's.
        delta=None if delta is None else _rms(_host(backend, delta)) * a.shape[0],
        findings=(),
        activations=_sample(a, seed, number),
        gradients=None if dW is None else _sample(dW, seed, number),
    )


def _slopes(backend: Backend, layer: Layer, residual: Residual) -> np.ndarray | None:
    """g'(z), where there is one: the perceptron's step has none and says so."""
    try:
        slopes = layer.slopes(backend, residual)
    except ConfigurationError:
        return None
    return None if slopes is None else _host(backend, slopes)


def _judge(rows: Sequence[LayerDiagnosis], bounded: Sequence[bool]) -> Iterator[LayerDiagnosis]:
    for k, row in enumerate(rows):
        about_activations = _activation_finding(row, rows[:k], bounded[k], output=k == len(rows) - 1)
        # The output's delta depends on its width and on the fit: gradients are compared among the hidden layers.
        about_gradients = _gradient_finding(row, rows[-2]) if k < len(rows) - 1 else None
        yield replace(row, findings=tuple(f for f in (about_activations, about_gradients) if f))


def _activation_finding(
    row: LayerDiagnosis, below: Sequence[LayerDiagnosis], bounded: bool, *, output: bool
) -> str | None:
    if not math.isfinite(row.std):
        return "not finite"
    if bounded and row.flat is not None and row.flat > SATURATED:
        return "saturated"
    if row.dead is not None and row.dead > DEAD * row.units:
        return f"{row.dead} of {row.units} units are dead"
    widest = max((earlier.spread for earlier in below), default=0.0)
    # An output may start at 0, and often does on purpose.
    if not output and (row.spread == 0.0 or row.spread * RATIO < widest):
        return "collapsed"
    if below and row.spread > RATIO * below[0].spread > 0.0:
        return "exploding activations"
    return None


def _gradient_finding(row: LayerDiagnosis, last_hidden: LayerDiagnosis) -> str | None:
    if row.delta is None or last_hidden.delta is None:
        return None
    if not math.isfinite(row.delta):
        return "gradient not finite"
    if row.delta == 0.0 or row.delta * RATIO < last_hidden.delta:
        return "vanishing gradient"
    return "exploding gradient" if row.delta > RATIO * last_hidden.delta else None


def _flat_on_both_sides(seen: TrainingPass, i: int) -> bool:
    """Whether the activation saturates (sigmoid, tanh): ReLU and its kin are flat on one side only, and should be."""
    layer, width = seen.network.layers[i], seen.forward[i][0].shape[-1]
    z = seen.backend.asarray([[-FAR] * width, [FAR] * width])
    _, residual, _ = layer.forward(seen.backend, seen.params[i], seen.buffers[i], z, seen.key.fold(i))
    slopes = _slopes(seen.backend, layer, residual)
    return slopes is not None and bool(np.all(np.abs(slopes) < FLAT))


def _shown(seen: TrainingPass, block: range) -> int:
    """The layer of a block whose outputs are looked at: the last, but none that only disturbs them, as dropout does."""
    return max(i for i in block if i == block[0] or not _predicts_its_inputs(seen, i))


def _predicts_its_inputs(seen: TrainingPass, i: int) -> bool:
    layer, x = seen.network.layers[i], seen.forward[i - 1][0]
    no_function = _slopes(seen.backend, layer, seen.forward[i][1]) is None
    return no_function and layer.apply(seen.backend, seen.params[i], seen.buffers[i], x) is x


def _sample(x: np.ndarray, seed: int, number: int) -> np.ndarray:
    numbers = x.ravel()
    if numbers.size <= SAMPLE:
        return numbers.copy()
    return numbers[host_generator(seed, "diagnosis", number).choice(numbers.size, SAMPLE, replace=False)]


def _host(backend: Backend, x: Array) -> np.ndarray:
    return np.asarray(backend.to_numpy(x), dtype=np.float64)


def _rms(x: np.ndarray) -> float:
    return float(np.sqrt(np.mean(x * x)))


def _short_name(layer: Layer, weighted: bool) -> str:
    """``Dense(64, 32)``, ``BatchNorm``, ``ReLU``: what follows the weights has their width."""
    name = str(layer)
    return name.replace(", bias=False", "") if weighted else name.split("(")[0]


def _listed(numbers: Sequence[int]) -> str:
    """``Layer 3``, ``Layers 1 to 4, 6``."""
    runs: list[list[int]] = []
    for n in numbers:
        if runs and n == runs[-1][-1] + 1:
            runs[-1].append(n)
        else:
            runs.append([n])
    words = [f"{run[0]} to {run[-1]}" if len(run) > 2 else ", ".join(map(str, run)) for run in runs]
    return f"Layer{'s' if len(numbers) > 1 else ''} {', '.join(words)}"


def _line(row: LayerDiagnosis, width: int) -> str:
    flat = "-" if row.flat is None else f"{row.flat:.0%}"
    dead = "-" if row.dead is None else str(row.dead)
    line = f"{row.number:>3}  {row.name:<{width}}{row.mean:>10.2g}{row.std:>10.2g}{row.spread:>10.2g}"
    line += f"{flat:>7}{dead:>6}"
    line += "" if row.delta is None else f"{row.gradient_norm:>10.2g}{row.delta:>11.2g}"
    return f"{line}  {row.verdict}"
