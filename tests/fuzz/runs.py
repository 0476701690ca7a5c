"""Random networks, arrays, options and mistakes through fit, predict, evaluate, save, load and to.

python tests/fuzz/runs.py --examples 20000  writes benchmarks/results/fuzz-runs.json: seed, count, outcomes, versions

Hypothesis draws a call that is right, and none, one or two mistakes that are made in it. A right call gives a model
whose every answer is checked, or a DivergenceError; a mistake gives a ChainruleError in a sentence or two. Anything
else is a defect.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

import chainrule as cr
from chainrule._backend import library_of, to_host
from chainrule.activations import ACTIVATIONS
from chainrule.initializers import INITIALIZERS
from chainrule.layers import Activate, RandomizedLeakyReLU
from chainrule.losses import LOSSES
from chainrule.optimizers import OPTIMIZERS

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results" / "fuzz-runs.json"
BACKENDS = ("numpy",) * 14 + ("torch",) * 5 + ("jax",)
DOCUMENTED = re.compile(r"^batch_size \d+ is more than the \d+ rows there are: each step takes all of them\.$")
NO_SENTENCE = re.compile(r"Traceback|File \"|\n|<lambda>|line \d+, in")


class Defect(AssertionError):  # noqa: N818  # what a test finds, not what a library raises
    """An outcome that is neither a right answer nor a ChainruleError in a sentence."""


@dataclass
class Call:
    """The arguments of ``cr.fit``, and what else is done with its model."""

    network: Any
    X: Any
    y: Any
    options: dict[str, Any]
    backend: str
    dtype: str
    loss: Any
    plain_x: np.ndarray  # X as it was before mistakes, float64 on the host
    plain_y: np.ndarray
    weight: np.ndarray | None
    mistakes: tuple[str, ...] = ()
    after: Callable[[cr.Model, Call], Any] | None = None  # a mistake that is made with the trained model
    refused: bool = False  # whether a mistake has no right answer
    notes: dict[str, Any] = field(default_factory=dict)

    def arguments(self) -> dict[str, Any]:
        """The options as ``cr.fit`` takes them: where and how it runs is one value."""
        where = {name: self.options[name] for name in ("device", "dtype", "compile") if name in self.options}
        rest = {name: value for name, value in self.options.items() if name not in where}
        return {**rest, "backend": cr.backend(rest.get("backend", "auto"), like=self.X, **where)}

    def __repr__(self) -> str:
        shape = getattr(self.plain_x, "shape", None)
        options = ", ".join(f"{name}={value!r:.80}" for name, value in self.options.items())
        return (
            f"fit({self.network!r:.300}, X {type(self.X).__name__} {shape}, {options}) on {self.backend}, "
            f"mistakes {self.mistakes}"
        )


# ------------------------------------------------------------------------------------------------------ what is right


def numbers(low: float, high: float) -> st.SearchStrategy[float]:
    """0, and numbers that are normal in float32."""
    return st.floats(low, high).filter(lambda x: x == 0 or abs(x) > 1e-37)


ELEMENTWISE = [*sorted(set(ACTIVATIONS) - {"step"}), "softmax", "randomized_leaky_relu"]
MATRICES = sorted(set(INITIALIZERS) - {"zeros"})
RATES = st.sampled_from([0.0, 1e-6, 1e-3, 0.01, 0.1, 1.0, 30.0])
OBJECTS = {
    "linear": lambda d: cr.Linear(d(numbers(-2, 2)), d(numbers(-1, 1))),
    "leaky_relu": lambda d: cr.LeakyReLU(d(numbers(-1, 1))),
    "elu": lambda d: cr.ELU(d(numbers(-2, 2))),
    "polynomial": lambda d: cr.Polynomial(tuple(d(st.lists(numbers(-1, 1), min_size=1, max_size=3)))),
    "randomized_leaky_relu": lambda d: RandomizedLeakyReLU(0.1, d(st.floats(0.1, 0.5))),
    "softmax": lambda d: cr.Softmax(),
}


def activation(draw: Any) -> Any:
    name = draw(st.sampled_from(ELEMENTWISE))
    return OBJECTS[name](draw) if name in OBJECTS and draw(st.booleans()) else name


def schedule(draw: Any) -> Any:
    eta = draw(RATES)
    return draw(
        st.sampled_from(
            [
                eta,
                np.float32(eta),
                cr.ConstantRate(eta),
                cr.StepDecay(eta, every=2),
                cr.ExponentialDecay(eta, every=3, factor=0.5),
                cr.InverseScaling(eta),
                cr.CosineDecay(eta, warmup=1),
                cr.CosineDecay(eta, warmup=50, final=eta / 2),
                cr.OneCycle(eta),
            ]
        )
    )


def loss_of(draw: Any, outputs: int) -> Any:
    names = sorted(set(LOSSES) - ({"softmax_cross_entropy"} if outputs == 1 else set()))
    name = draw(st.sampled_from(names))
    if draw(st.booleans()):
        return name
    return {
        "huber": lambda: cr.Huber(draw(st.floats(0.01, 10))),
        "quantile": lambda: cr.Quantile(draw(st.floats(0.05, 0.95))),
        "sigmoid_cross_entropy": lambda: cr.SigmoidCrossEntropy(draw(numbers(0, 0.5))),
        "softmax_cross_entropy": lambda: cr.SoftmaxCrossEntropy(draw(numbers(0, 0.5))),
    }.get(name, lambda: LOSSES[name])()


def network_of(draw: Any, inputs: int, outputs: int, link: str) -> cr.Sequential:
    """A network with or without the loss's link at its end."""
    hidden = draw(st.lists(st.integers(1, 6), max_size=3))
    output = link if draw(st.integers(0, 3)) == 0 else None
    biases = draw(st.sampled_from(["zeros", "normal", "uniform", cr.Constant(0.5), cr.Normal(0.3)]))
    weights = draw(st.sampled_from([None, *MATRICES, cr.Normal(0.5), cr.Uniform(-1.0, 1.0), cr.VarianceScaling(0.5)]))
    if draw(st.booleans()):
        each = draw(st.booleans())
        return cr.mlp(
            [inputs, *hidden, outputs],
            activation=[activation(draw) for _ in hidden] if each else activation(draw),
            output=output,
            dropout=[draw(numbers(0, 0.9)) for _ in hidden] if each else draw(st.sampled_from([0.0, 0.1, 0.5])),
            normalization=draw(st.sampled_from([None, None, "batch", "layer"])),
            weight_init=weights,
            bias_init=biases,
        )
    layers: list[Any] = []
    for n_in, n_out in pairwise([inputs, *hidden, outputs]):
        chosen = "glorot_uniform" if weights is None else weights
        layers.append(cr.Dense(n_in, n_out, bias=draw(st.booleans()), weight_init=chosen, bias_init=biases))
        between = st.sampled_from([cr.BatchNorm(n_out), cr.LayerNorm(n_out), cr.Dropout(0.25), cr.ReLU(), cr.Tanh()])
        layers += draw(st.lists(between, max_size=2))
        layers.append(activation(draw))
    while not isinstance(layers[-1], cr.Dense):
        layers.pop()
    if draw(st.integers(0, 3)) == 0:
        layers.insert(0, cr.Dropout(0.2))
    return cr.Sequential(*layers, *([] if output is None else [output]))


def targets(loss: Any, rng: np.random.Generator, rows: int, outputs: int, draw: Any) -> np.ndarray:
    target = (LOSSES[loss] if isinstance(loss, str) else loss).target
    if target == "classes":
        if draw(st.integers(0, 3)) == 0:
            return rng.dirichlet(np.ones(outputs), rows)
        classes = rng.integers(0, outputs, rows)
        classes[:2] = 0, 1  # a training run needs two classes
        return classes.reshape(-1, 1) if draw(st.booleans()) and outputs > 1 else classes
    made = {
        "fractions": lambda: (
            rng.integers(0, 2, (rows, outputs)) if draw(st.booleans()) else rng.random((rows, outputs))
        ),
        "counts": lambda: rng.poisson(2.0, (rows, outputs)),
        "numbers": lambda: rng.normal(size=(rows, outputs)),
    }[target]()
    return made[:, 0] if outputs == 1 and draw(st.booleans()) else made


def shape_of(draw: Any, x: np.ndarray, backend: str, form: str) -> Any:
    """``x`` in one of the forms in which arrays come."""
    if form == "own" and backend == "torch":
        import torch

        made = torch.tensor(np.ascontiguousarray(x))
        return made.mT.contiguous().mT if made.ndim == 2 and draw(st.booleans()) else made
    if form == "own" and backend == "jax":
        import jax

        return jax.numpy.asarray(x)
    if form == "list":
        return x.tolist()
    if form == "frame":
        return pd.Series(x) if x.ndim == 1 else pd.DataFrame(x, columns=[f"c{i}" for i in range(x.shape[1])])
    layout = draw(st.sampled_from(["C", "F", "reversed", "swapped"]))
    if layout == "swapped":
        x = x.astype(x.dtype.newbyteorder())
    if layout == "reversed":
        x = x[::-1].copy()[::-1]
    x = np.asfortranarray(x) if layout == "F" else np.array(x) if layout == "C" else x
    x.flags.writeable = False
    return x


def half_squared(y: np.ndarray, predictions: np.ndarray) -> float:
    """A metric of the user's own."""
    return float(
        np.mean((np.asarray(y, float).reshape(len(y), -1)[:, :1] - predictions.reshape(len(y), -1)[:, :1]) ** 2) / 2
    )


class Quiet:
    """A callback of the user's own."""

    def on_epoch_end(self, run: Any, record: Any) -> None:
        if run.epoch == 2:
            run.stop("two are enough")


def plain_call() -> Call:
    """A call with nothing wrong and nothing unusual in it."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(12, 3))
    options: dict[str, Any] = {"loss": "squared_error", "epochs": 1, "compile": None, "dtype": "float32"}
    return Call(cr.mlp([3, 4, 1]), X, X[:, 0], options, "numpy", "float32", "squared_error", X, X[:, 0], None)


@st.composite
def calls(draw: Any, backends: tuple[str, ...] = BACKENDS) -> Call:
    """A call of ``fit``, right or with mistakes in it."""
    backend = draw(st.sampled_from(backends))
    small = backend == "jax"  # which compiles for every shape
    inputs, outputs = (3, draw(st.integers(1, 2))) if small else (draw(st.integers(1, 5)), draw(st.integers(1, 4)))
    rows = draw(st.sampled_from([4, 8])) if small else draw(st.integers(2, 40))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    loss = loss_of(draw, outputs)
    link = (LOSSES[loss] if isinstance(loss, str) else loss).link
    network = network_of(draw, inputs, outputs, link)
    scale = draw(st.sampled_from([1.0, 1.0, 1.0, 0.0, 1e-6, 100.0]))
    dtype = "float32" if small else draw(st.sampled_from(["float32", "float64"]))
    wide = draw(st.sampled_from(["float32", "float64", "float16", "int8", "bool", "uint16", "int64"]))
    X = (rng.normal(size=(rows, inputs)) * scale).astype(np.float64)
    if wide in ("int8", "bool", "uint16", "int64"):
        X = np.abs(np.rint(np.clip(X, -100, 100)))
    X = X.astype(wide)
    y = targets(loss, rng, rows, outputs, draw)
    weight = draw(st.sampled_from([None, None, "ones", "some", "zeros"]))
    weights = None
    if weight is not None:
        weights = {"ones": np.ones(rows), "some": rng.random(rows) + 0.1, "zeros": (np.arange(rows) % 3 > 0) * 1.0}[
            weight
        ]
    form = draw(st.sampled_from(["numpy", "own", "list", "frame"]))

    def form_of(x: Any) -> Any:
        return None if x is None else shape_of(draw, np.asarray(x), backend, form)

    norm = any(isinstance(layer, cr.BatchNorm) for layer in network.layers)
    sizes = [None, 2, 3, rows, rows + 3] + ([] if norm else [1])
    made = draw(st.sampled_from(sorted(OPTIMIZERS)))
    rated = draw(st.booleans())
    options: dict[str, Any] = {
        "loss": loss,
        "optimizer": OPTIMIZERS[made](schedule(draw)) if rated else made,
        "epochs": draw(st.integers(1, 2)),
        "batch_size": None if small else draw(st.sampled_from(sizes)),
        "shuffle": draw(st.booleans()),
        "seed": draw(st.sampled_from([0, 1, 2**31, 2**64 + 3, np.int64(7)])),
        "sample_weight": form_of(weights),
        "penalty": draw(
            st.sampled_from([None, cr.Penalty(l2=0.01), cr.Penalty(l1=0.01), cr.Penalty(0.1, 0.1, over="examples")])
        ),
        "clip": draw(st.sampled_from([None, cr.ClipNorm(1.0), cr.ClipValue(0.1)])),
        "callbacks": draw(st.sampled_from([[], [cr.EarlyStopping("loss", patience=1)], (cr.ReduceOnPlateau("loss"),)]))
        or [Quiet()],
        "backend": backend if form != "own" or draw(st.booleans()) else "auto",
        "dtype": dtype,
        "compile": None if backend == "torch" else draw(st.sampled_from([None, False])),
    }
    if draw(st.integers(0, 2)) == 0:
        half = max(1, rows // 2)
        held = form_of(X[:half]), form_of(y[:half]), form_of(None if weights is None else np.ones(half))
        options["validation"] = held if held[2] is not None and draw(st.booleans()) else list(held[:2])
        names = ["accuracy"] if link in ("softmax", "sigmoid") else ["mse", "rmse", "mae", "r2"]
        options["metrics"] = draw(st.sampled_from([None, [], names, [half_squared]]))
    call = Call(network, form_of(X), form_of(y), options, backend, dtype, loss, X.astype(float), y, weights)
    mistakes = st.lists(st.sampled_from(sorted(MISTAKES)), max_size=2, unique=True)
    for name in draw(mistakes) if draw(st.booleans()) else []:
        make_mistake(call, name)
    return call


# ------------------------------------------------------------------------------------------------------- what is wrong


@dataclass(frozen=True)
class Mistake:
    """What is done to a call. ``refused``: no answer to it can be right."""

    make: Callable[[Call], None]
    refused: bool = True


def with_X(change: Callable[[np.ndarray], Any], **options: Any) -> Mistake:
    def make(call: Call) -> None:
        call.X, call.y = change(call.plain_x.copy()), call.plain_y
        host_weight(call)

    return Mistake(make, **options)


def with_y(change: Callable[[np.ndarray], Any], **options: Any) -> Mistake:
    def make(call: Call) -> None:
        call.X, call.y = call.plain_x, change(call.plain_y.copy())
        host_weight(call)

    return Mistake(make, **options)


def with_option(name: str, value: Any, **options: Any) -> Mistake:
    return Mistake(lambda call: call.options.update({name: value}), **options)


def with_part(name: str, make: Callable[[], Any], **options: Any) -> Mistake:
    """An option whose object is made only now, since making it is the mistake."""
    return Mistake(lambda call: call.options.update({name: make()}), **options)


def with_network(make: Callable[[int, int], Any], **options: Any) -> Mistake:
    def change(call: Call) -> None:
        call.network = make(call.plain_x.shape[1], call.network.n_out if hasattr(call.network, "n_out") else 1)

    return Mistake(change, **options)


def with_weight(change: Callable[[int], Any], **options: Any) -> Mistake:
    def make(call: Call) -> None:
        call.X, call.y = call.plain_x, call.plain_y
        call.options["sample_weight"] = change(len(call.plain_x))

    return Mistake(make, **options)


def with_validation(change: Callable[[np.ndarray, np.ndarray], Any], **options: Any) -> Mistake:
    return Mistake(lambda call: call.options.update(validation=change(call.plain_x, call.plain_y)), **options)


def then(ask: Callable[[cr.Model, Call], Any], **options: Any) -> Mistake:
    return Mistake(lambda call: setattr(call, "after", ask), **options)


def host_weight(call: Call) -> None:
    call.options["sample_weight"] = call.weight


def put(x: Any, value: Any) -> np.ndarray:
    changed = np.array(x, dtype=float)
    changed[0, ...] = value
    return changed


def in_torch(change: Callable[[Any], Any]) -> Callable[[np.ndarray], Any]:
    def make(x: np.ndarray) -> Any:
        import torch

        return change(torch.tensor(x, dtype=torch.float32))

    return make


def make_mistake(call: Call, name: str) -> None:
    """Make it; what refuses at once is noted, so that it is raised where the call is run."""
    mistake = MISTAKES[name]
    call.mistakes = (*call.mistakes, name)
    call.refused = mistake.refused  # the last one; it may have undone the one before
    try:
        mistake.make(call)
    except Exception as error:
        call.notes.setdefault("raised", error)


def torch_data(
    call: Call,
    change: Callable[[Any], Any],
    *,
    labels: Callable[[Any], Any] = lambda y: y,
    y_too: bool = False,
    backend: str = "torch",
    **options: Any,
) -> None:
    """Two classes of tensors, changed."""
    import torch

    x = torch.tensor(call.plain_x, dtype=torch.float32)
    y = torch.arange(len(x)) % 2
    call.network = cr.mlp([x.shape[1], 2])
    call.X, call.y = change(x), change(y) if y_too else labels(y)
    call.plain_y, call.loss = y.numpy(), "softmax_cross_entropy"
    call.options |= {"loss": call.loss, "backend": backend, "sample_weight": None, **options}
    call.options.pop("validation", None)
    call.backend = backend


def on_torch(call: Call, change: Callable[[Call], None]) -> None:
    call.X, call.y, call.backend = call.plain_x, call.plain_y, "torch"
    call.options |= {"backend": "torch", "compile": None, "dtype": "float32"}
    call.dtype = "float32"
    host_weight(call)
    call.options.pop("validation", None)
    change(call)


def in_float32(**options: Any) -> Mistake:
    def make(call: Call) -> None:
        call.dtype = "float32"
        call.options |= {"dtype": "float32", **options}

    return Mistake(make)


def hidden(call: Call, activation: Any) -> None:
    """A network with this activation, of the same widths."""
    n_in, n_out = call.network.n_in, call.network.n_out
    call.network = cr.Sequential(cr.Dense(n_in, 3), activation, cr.Dense(3, n_out))


def back_to_front(call: Call) -> np.ndarray:
    return call.plain_x[:1].astype(np.float32)[::-1]


def with_metrics(*metrics: Any, **options: Any) -> Mistake:
    def make(call: Call) -> None:
        call.options |= {"metrics": list(metrics), "validation": (call.plain_x, call.plain_y)}

    return Mistake(make, **options)


def squared_error_of_classes(call: Call) -> None:
    torch_data(call, lambda t: t.numpy(), labels=lambda y: y.numpy(), backend="numpy")
    call.options |= {"metrics": ["mse"], "validation": (call.X, call.y)}


def with_loss(make: Callable[[], Any], **options: Any) -> Mistake:
    """A loss of the user's own, for a network of one output and numbers."""

    def change(call: Call) -> None:
        call.network, call.X, call.y = cr.mlp([call.plain_x.shape[1], 1]), call.plain_x, call.plain_x[:, 0]
        call.options.pop("validation", None)
        host_weight(call)
        call.options["loss"] = make()

    return Mistake(change, **options)


def squared(xp: Any, z: Any) -> Any:
    return z * z


def squares(xp: Any, z: Any, y: Any) -> tuple[Any, Any]:
    e = z - y
    return 0.5 * xp.sum(e * e, axis=-1, keepdims=True), e


@dataclass(frozen=True)
class Draws:
    """An initializer of the user's own."""

    what: Any

    def draw(self, generator: Any, shape: Any) -> Any:
        return self.what


class HasNoLength:
    """Neither an array nor a list."""


MISTAKES: dict[str, Mistake] = {
    # X
    "X of rank 1": with_X(lambda x: x[:, 0]),
    "X of rank 3": with_X(lambda x: x[None]),
    "X one number": with_X(lambda x: 3.0),
    "X empty": with_X(lambda x: x[:0]),
    "X too wide": with_X(lambda x: np.hstack([x, x])),
    "X NaN": with_X(lambda x: put(x, np.nan)),
    "X infinite": with_X(lambda x: put(x, np.inf)),
    "X huge": with_X(lambda x: put(x, 1e300), refused=False),
    "X at the edge of float32": with_X(lambda x: put(x, 3e38), refused=False),
    "X text": with_X(lambda x: x.astype(str)),
    "X objects": with_X(lambda x: np.full(x.shape, object())),
    "X bytes": with_X(lambda x: x.astype(bytes)),
    "X complex": with_X(lambda x: x + 1j),
    "X dates": with_X(lambda x: x.astype("M8[s]")),
    "X fields": with_X(lambda x: np.zeros(len(x), dtype=[("a", float), ("b", float)])),
    "X ragged": with_X(lambda x: [[1.0], [1.0, 2.0]]),
    "X None": with_X(lambda x: None),
    "X a dictionary": with_X(lambda x: {"a": x}),
    "X a string": with_X(lambda x: "rows"),
    "X an iterator": with_X(iter),
    "X an object": with_X(lambda x: HasNoLength()),
    "X a class": with_X(lambda x: HasNoLength),
    "X big integers": with_X(lambda x: [[10**400] * x.shape[1]] * len(x)),
    "X sparse": with_X(lambda x: __import__("scipy.sparse").sparse.csr_matrix(x)),
    # y
    "y short": with_y(lambda y: y[:-1]),
    "y of rank 3": with_y(lambda y: np.zeros((len(y), 1, 1))),
    "y too wide": with_y(lambda y: np.zeros((len(y), 7))),
    "y NaN": with_y(lambda y: put(y, np.nan)),
    "y infinite": with_y(lambda y: put(y, -np.inf)),
    "y huge": with_y(lambda y: put(y, 1e300), refused=False),
    "y text": with_y(lambda y: np.full(len(y), "a")),
    "y objects": with_y(lambda y: np.full(len(y), "a", dtype=object)),
    "y complex": with_y(lambda y: y + 1j),
    "y dates": with_y(lambda y: np.zeros(len(y)).astype("M8[s]")),
    "y None": with_y(lambda y: None),
    "y one number": with_y(lambda y: 1),
    "y a dictionary": with_y(lambda y: {"a": 1}),
    "y empty": with_y(lambda y: y[:0]),
    "y of classes that are not there": with_y(lambda y: np.full(len(y), 99), refused=False),
    "y negative": with_y(lambda y: np.full(len(y), -1), refused=False),
    # weights
    "weights negative": with_weight(lambda n: -np.ones(n)),
    "weights zero": with_weight(np.zeros),
    "weights NaN": with_weight(lambda n: np.full(n, np.nan)),
    "weights short": with_weight(lambda n: np.ones(n + 1)),
    "weights a matrix": with_weight(lambda n: np.ones((n, 2))),
    "weights text": with_weight(lambda n: ["a"] * n),
    "weights one number": with_weight(lambda n: 2.0),
    "weights ragged": with_weight(lambda n: [[1.0], [1.0, 2.0]]),
    "weights huge": with_weight(lambda n: np.full(n, 1e30), refused=False),
    # validation
    "validation more than all": with_validation(lambda X, y: 1.2),
    "validation X alone": with_validation(lambda X, y: (X,)),
    "validation too wide": with_validation(lambda X, y: (np.hstack([X, X]), y)),
    "validation short": with_validation(lambda X, y: (X, y[:-1])),
    "validation NaN": with_validation(lambda X, y: (put(X, np.nan), y)),
    "validation of Nones": with_validation(lambda X, y: (None, None)),
    "validation a string": with_validation(lambda X, y: "ab"),
    # options
    **{f"epochs {v!r}": with_option("epochs", v) for v in (0, -1, 1.5, "2", None, True, float("nan"))},
    **{f"batch_size {v!r}": with_option("batch_size", v) for v in (0, -3, 2.5, "8", float("nan"), [1])},
    **{f"seed {v!r}": with_option("seed", v) for v in (-1, None, 1.5, "a", [0])},
    **{f"loss {v!r}": with_option("loss", v) for v in (None, "zzz", 3, ["huber"], cr.SquaredError)},
    **{f"optimizer {v!r}": with_option("optimizer", v) for v in (None, "zzz", 0.1, cr.Adam, ["adam"])},
    **{f"penalty {v!r}": with_option("penalty", v) for v in (0.1, "l2", cr.Penalty)},
    **{f"clip {v!r}": with_option("clip", v) for v in (1.0, "norm", cr.ClipNorm)},
    **{f"callbacks {v!r}": with_option("callbacks", v) for v in (None, "x", [None], [cr.EarlyStopping], 3)},
    **{f"metrics {v!r}": with_option("metrics", v) for v in ("mse", ["zzz"], 3, [3], [None])},
    **{f"dtype {v!r}": with_option("dtype", v) for v in ("float16", "int8", int, 3, [1], "complex64")},
    **{f"device {v!r}": with_option("device", v) for v in (99, "gpu:99", "zzz", [1], -1)},
    **{f"backend {v!r}": with_option("backend", v) for v in (None, "zzz", 3, ["numpy"], np)},
    "an early stop of a column that is not there": with_part(
        "callbacks", lambda: [cr.EarlyStopping("val_zzz", mode="min")]
    ),
    "an early stop of an unknown column": with_part("callbacks", lambda: [cr.EarlyStopping("zzz")]),
    "patience 0": with_part("callbacks", lambda: [cr.EarlyStopping(patience=0)]),
    "factor 2": with_part("callbacks", lambda: [cr.ReduceOnPlateau(factor=2.0)]),
    "a log that cannot be": with_part("callbacks", lambda: [cr.CSVLogger("/zzz/zzz.csv")]),
    "rate NaN": with_part("optimizer", lambda: cr.SGD(float("nan"))),
    "rate infinite": with_part("optimizer", lambda: cr.Adam(float("inf"))),
    "rate negative": with_part("optimizer", lambda: cr.Lion(-1.0)),
    "rate 1e30": with_part("optimizer", lambda: cr.SGD(1e30), refused=False),
    "b1 of 1": with_part("optimizer", lambda: cr.Adam(b1=1.0)),
    "epsilon 0": with_part("optimizer", lambda: cr.RMSProp(epsilon=0.0)),
    "a schedule's class": with_part("optimizer", lambda: cr.SGD(cr.CosineDecay)),
    "l2 negative": with_part("penalty", lambda: cr.Penalty(l2=-1.0)),
    "l2 huge": with_part("penalty", lambda: cr.Penalty(l2=1e30), refused=False),
    "clip 0": with_part("clip", lambda: cr.ClipNorm(0.0)),
    "clip tiny": with_part("clip", lambda: cr.ClipNorm(1e-30), refused=False),
    "delta 0": with_part("loss", lambda: cr.Huber(0.0)),
    "q 1": with_part("loss", lambda: cr.Quantile(1.0)),
    "smoothing 1": with_part("loss", lambda: cr.SoftmaxCrossEntropy(1.0)),
    # networks
    "no network": with_network(lambda n, m: None),
    "a list for a network": with_network(lambda n, m: [n, m]),
    "a network's class": with_network(lambda n, m: cr.Sequential),
    "an empty network": with_network(lambda n, m: cr.Sequential()),
    "no Dense": with_network(lambda n, m: cr.Sequential(cr.ReLU())),
    "a width of 0": with_network(lambda n, m: cr.mlp([n, 0, m])),
    "a width of 2.5": with_network(lambda n, m: cr.mlp([n, 2.5, m])),
    "a width of text": with_network(lambda n, m: cr.mlp([n, "4", m])),
    "one size": with_network(lambda n, m: cr.mlp([n])),
    "sizes a number": with_network(lambda n, m: cr.mlp(n)),
    "another width of inputs": with_network(lambda n, m: cr.mlp([n + 1, m])),
    "another width of outputs": with_network(lambda n, m: cr.mlp([n, m + 7]), refused=False),
    "widths that do not fit": with_network(lambda n, m: cr.Sequential(cr.Dense(n, 4), cr.Dense(5, m))),
    "an unknown activation": with_network(lambda n, m: cr.mlp([n, 2, m], activation="zzz")),
    "a layer that is None": with_network(lambda n, m: cr.Sequential(cr.Dense(n, m), None)),
    "dropout 1": with_network(lambda n, m: cr.mlp([n, 2, m], dropout=1.0)),
    "dropout text": with_network(lambda n, m: cr.mlp([n, 2, m], dropout="a")),
    "step": with_network(lambda n, m: cr.mlp([n, 2, m], activation="step")),
    "infinite weights": with_network(lambda n, m: cr.mlp([n, m], weight_init=cr.Normal(float("inf")))),
    "weights all 0": with_network(lambda n, m: cr.mlp([n, 2, m], weight_init="zeros"), refused=False),
    # after a training run
    "predict another width": then(lambda model, call: model.predict(np.ones((2, model.network.n_in + 1)))),
    "predict one example": then(lambda model, call: model.predict(call.plain_x[0])),
    "predict NaN": then(lambda model, call: model.predict(put(call.plain_x, np.nan))),
    "predict text": then(lambda model, call: model.predict(call.plain_x.astype(str))),
    "predict nothing": then(lambda model, call: model.predict(None)),
    "predict no rows": then(lambda model, call: model.predict(call.plain_x[:0])),
    "evaluate too few": then(lambda model, call: model.evaluate(call.plain_x, call.plain_y[:-1])),
    "evaluate without y": then(lambda model, call: model.evaluate(call.plain_x, None)),
    "evaluate an unknown metric": then(lambda model, call: model.evaluate(call.plain_x, call.plain_y, metrics=["zzz"])),
    "to nowhere": then(lambda model, call: model.to("zzz")),
    "to an unknown dtype": then(lambda model, call: model.to(dtype="int8")),
    "save to no folder": then(lambda model, call: model.save("/zzz/zzz/model.safetensors")),
    "save to a folder": then(lambda model, call: model.save("/")),
    "load nothing": then(lambda model, call: cr.load("/zzz/model.safetensors")),
    "load another file": then(lambda model, call: cr.load(__file__)),
    "train on for another loss": then(
        lambda model, call: cr.fit(model, call.plain_x, call.plain_y, loss=cr.Huber(0.123456))
    ),
    "y ragged": with_y(lambda y: [[1.0]] * (len(y) - 1) + [[1.0, 2.0]]),
    "validation y ragged": with_validation(lambda X, y: (X, [[1.0]] * (len(y) - 1) + [[1.0, 2.0]])),
    "X masked": with_X(lambda x: np.ma.masked_array(x, mask=x > -9)),
    "X long double that is no double": with_X(lambda x: np.full(x.shape, np.longdouble("1e4000"))),
    "X of tensors that want gradients": with_X(in_torch(lambda t: [row.clone().requires_grad_() for row in t])),
    "X sparse in torch": Mistake(lambda call: torch_data(call, lambda t: t.to_sparse())),
    "X sparse in torch for NumPy": Mistake(lambda call: torch_data(call, lambda t: t.to_sparse(), backend="numpy")),
    "X on the meta device": Mistake(lambda call: torch_data(call, lambda t: t.to("meta"), y_too=True)),
    "X bfloat16 for NumPy": Mistake(
        lambda call: torch_data(call, lambda t: t.bfloat16(), backend="numpy"),
        refused=False,
    ),
    "X a lazy negative for NumPy": Mistake(
        lambda call: torch_data(call, lambda t: t.to("cpu").mul(1j).conj().imag, backend="numpy"),
        refused=False,
    ),
    "labels bfloat16": Mistake(lambda call: torch_data(call, lambda t: t, labels=lambda y: y.bfloat16())),
    "device meta": Mistake(lambda call: torch_data(call, lambda t: t, device="meta")),
    "device an array": with_option("device", np.ones(3)),
    "shuffle text": with_option("shuffle", "no"),
    "shuffle an array": with_option("shuffle", np.ones(3)),
    "compile text": with_option("compile", "no"),
    "compile an array": with_option("compile", np.ones(3)),
    "a metric that answers text": with_metrics(lambda y, p: "a"),
    "a metric that answers an array": with_metrics(lambda y, p: np.ones(3)),
    "two metrics of one name": with_metrics(lambda y, p: 1.0, lambda y, p: 2.0),
    "the squared error of classes": Mistake(lambda call: squared_error_of_classes(call)),
    "patience text": with_part("callbacks", lambda: [cr.EarlyStopping("loss", patience="3")]),
    "patience None": with_part("callbacks", lambda: [cr.EarlyStopping("loss", patience=None)]),
    "patience 1.5": with_part("callbacks", lambda: [cr.EarlyStopping("loss", patience=1.5)]),
    "min_delta text": with_part("callbacks", lambda: [cr.EarlyStopping("loss", min_delta="a")]),
    "monitor a number": with_part("callbacks", lambda: [cr.EarlyStopping(3)]),
    "factor text": with_part("callbacks", lambda: [cr.ReduceOnPlateau("loss", factor="a")]),
    "a plateau's min_delta text": with_part("callbacks", lambda: [cr.ReduceOnPlateau("loss", min_delta="a")]),
    "a plateau's minimum text": with_part("callbacks", lambda: [cr.ReduceOnPlateau("loss", minimum="a")]),
    "a log without a path": with_part("callbacks", lambda: [cr.CSVLogger(None)]),
    "a log with a NUL": with_part("callbacks", lambda: [cr.CSVLogger("a\0b")]),
    "a loss of an unknown link": with_loss(lambda: cr.Loss(squares, link="zzz")),
    "a loss of an unknown target": with_loss(lambda: cr.Loss(squares, target="zzz")),
    "a loss that is no function": with_loss(lambda: cr.Loss(3)),
    "a loss of one value": with_loss(lambda: cr.Loss(lambda xp, z, y: z)),
    "a loss of wrong shape": with_loss(lambda: cr.Loss(lambda xp, z, y: (xp.sum((z - y) ** 2), z - y))),
    "an activation that is no function": with_network(
        lambda n, m: cr.Sequential(cr.Dense(n, 2), cr.Activation(3, 3), cr.Dense(2, m)),
    ),
    "an activation of wrong shape": with_network(
        lambda n, m: cr.Sequential(
            cr.Dense(n, 2), cr.Activation(lambda xp, z: z[:, :1], lambda xp, z: z), cr.Dense(2, m)
        ),
    ),
    "an activation of double": Mistake(
        lambda call: on_torch(call, lambda c: hidden(c, cr.Activation(lambda xp, z: xp.astype(z, xp.float64), squared)))
    ),
    "an initializer of wrong shape": with_network(lambda n, m: cr.mlp([n, m], weight_init=Draws(np.ones(3)))),
    "an initializer of nothing": with_network(lambda n, m: cr.mlp([n, m], weight_init=Draws(None))),
    "weights too large for float32": with_network(
        lambda n, m: cr.mlp([n, m], weight_init=cr.Normal(1e300)), refused=False
    ),
    "uniform over everything": with_network(
        lambda n, m: cr.mlp([n, m], weight_init=cr.Uniform(-np.inf, np.inf)), refused=False
    ),
    "an infinite variance": with_network(
        lambda n, m: cr.mlp([n, m], weight_init=cr.VarianceScaling(np.inf)), refused=False
    ),
    "a polynomial of a number": with_network(lambda n, m: cr.mlp([n, 2, m], activation=cr.Polynomial(3))),
    "a bias that is an array": with_network(lambda n, m: cr.Sequential(cr.Dense(n, m, bias=np.ones(3)))),
    "a bias that is text": with_network(lambda n, m: cr.Sequential(cr.Dense(n, m, bias="no"))),
    "dropout an array": with_network(lambda n, m: cr.mlp([n, 2, m], dropout=np.asarray([0.5, 0.1]))),
    "a width that no memory holds": with_network(lambda n, m: cr.mlp([n, 10**13, m])),
    "a width that no array has": with_network(lambda n, m: cr.mlp([n, 10**25, m])),
    **{
        f"a huge {what} on torch": Mistake(
            lambda call, change=change: on_torch(call, change),
        )
        for what, change in {
            "rate": lambda call: call.options.update(optimizer=cr.SGD(1e300)),
            "clip": lambda call: call.options.update(clip=cr.ClipNorm(1e300)),
            "clip of values": lambda call: call.options.update(clip=cr.ClipValue(1e300)),
            "slope": lambda call: hidden(call, cr.LeakyReLU(1e300)),
            "factor": lambda call: hidden(call, cr.Linear(1e300)),
            "coefficient": lambda call: hidden(call, cr.Polynomial((1e300, 1e300))),
        }.items()
    },
    "a clip that float32 does not have": in_float32(clip=cr.ClipNorm(1e39)),
    "an epsilon that is 0 in float32": in_float32(optimizer=cr.Adam(epsilon=1e-44)),
    "a decay that float32 does not have": in_float32(optimizer=cr.SGD(cr.StepDecay(1.0, every=1, factor=1e39))),
    "a decay of many digits": with_part("optimizer", lambda: cr.SGD(cr.StepDecay(0.1, every=10**400)), refused=False),
    "a long decay on torch": Mistake(
        lambda call: on_torch(call, lambda c: c.options.update(optimizer=cr.SGD(cr.StepDecay(0.1, every=10**30)))),
        refused=False,
    ),
    "a long warm-up on torch": Mistake(
        lambda call: on_torch(call, lambda c: c.options.update(optimizer=cr.SGD(cr.CosineDecay(0.1, warmup=10**30)))),
        refused=False,
    ),
    "a rate of many digits": with_part("optimizer", lambda: cr.SGD(10**400)),
    "evaluate ragged": then(lambda model, call: model.evaluate(call.plain_x[:2], [[1], [1, 2]])),
    "predict one row back to front on torch": Mistake(
        lambda call: on_torch(call, lambda c: setattr(c, "after", lambda model, _: model.predict(back_to_front(c)))),
        refused=False,
    ),
    "save to nothing": then(lambda model, call: model.save(None)),
    "save to a number": then(lambda model, call: model.save(3)),
    "save to a name with a NUL": then(lambda model, call: model.save("a\0b")),
    "load None": then(lambda model, call: cr.load(None)),
    "load a number": then(lambda model, call: cr.load(10**6)),
    "load a name with a NUL": then(lambda model, call: cr.load("a\0b")),
    **{
        f"check_gradients with {name}={value!r}": then(
            lambda model, call, name=name, value=value: cr.check_gradients(
                model.network, call.plain_x, call.plain_y, **{"loss": model.loss, name: value}
            ),
        )
        for name, value in [("epsilon", "a"), ("seed", -1), ("theta", "a"), ("penalty", 3), ("max_parameters", 1.5)]
    },
    "check_gradients of no network": then(
        lambda model, call: cr.check_gradients(3, call.plain_x, call.plain_y, loss=model.loss)
    ),
    "diagnose no network": then(lambda model, call: cr.diagnose(3, call.plain_x, call.plain_y, loss=model.loss)),
    "diagnose with a negative seed": then(
        lambda model, call: cr.diagnose(model.network, call.plain_x, call.plain_y, loss=model.loss, seed=-1),
    ),
    "a confusion of more classes": then(lambda model, call: cr.confusion_matrix([0, 5], [0, 1], 2)),
    "a confusion of negative classes": then(lambda model, call: cr.confusion_matrix([0, -1], [0, 1], 2)),
    "a confusion of text": then(lambda model, call: cr.confusion_matrix(["a"], ["b"], 2)),
    "a confusion of two lengths": then(lambda model, call: cr.confusion_matrix([0, 1, 0], [0, 1], 2)),
}


# ------------------------------------------------------------------------------------------------------ what must hold


def run(call: Call) -> str:
    """The class of the outcome. Raises Defect where it is none that may be."""
    before = contents(call)
    try:
        with documented_warnings():
            outcome = _run(call)
    except cr.DivergenceError as error:
        check_sentence(error)
        if not np.isfinite(to_host(error.model.theta)).all():
            raise Defect("the model of a DivergenceError is not finite") from error
        outcome = "DivergenceError"
    except cr.ChainruleError as error:
        check_sentence(error)
        if not call.mistakes:
            raise Defect(f"a right call was refused: {error}") from error
        outcome = type(error).__name__
    except Defect:
        raise
    except Warning as warning:
        raise Defect(f"a warning that is not documented: {type(warning).__name__}: {warning}") from warning
    except Exception as error:
        raise Defect(f"{type(error).__name__} is no ChainruleError: {error}") from error
    else:
        if call.refused:
            raise Defect(f"nothing was said of {call.mistakes}")
    if contents(call) != before:
        raise Defect("an array of the user's was written to")
    return outcome


def contents(call: Call) -> list[bytes]:
    """The bytes of the user's arrays; of other libraries' only where nothing was done to them."""
    given = [x for x in (call.X, call.y) if isinstance(x, np.ndarray) or (library_of(x) and not call.mistakes)]
    return [x.tobytes() for x in map(to_host, given) if x.dtype.kind != "O"]


@contextmanager
def documented_warnings() -> Iterator[None]:
    """Raises every warning but the one that ``fit`` documents."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=DOCUMENTED.pattern, category=UserWarning)
        yield


def check_sentence(error: cr.ChainruleError) -> None:
    text = str(error)
    if not text or len(text) >= 500 or not text.endswith(".") or NO_SENTENCE.search(text):
        raise Defect(f"no sentence of expected, got and remedy: {type(error).__name__}: {text!r}") from error


def _run(call: Call) -> str:
    if "raised" in call.notes:
        raise call.notes["raised"]
    model = cr.fit(call.network, call.X, call.y, **call.arguments())
    if call.after is not None:
        call.after(model, call)
    if call.refused:
        return "model"
    theta = np.array(to_host(model.theta))
    if not np.isfinite(theta).all() or not np.isfinite(model.history["loss"]).all():
        raise Defect("a model with numbers that are not finite")
    if call.backend != "jax" or call.options["compile"] is False:
        again = cr.fit(call.network, call.X, call.y, **call.arguments())
        if not np.array_equal(to_host(again.theta), theta) or again != model:
            raise Defect("the same seed gave another model")
    check_answers(call, model)
    check_files(call, model)
    return "model"


def check_answers(call: Call, model: cr.Model) -> None:
    """Shapes, libraries, and the numbers of a forward pass that is written here."""
    answer, host = model.predict(call.X), np.asarray(to_host(model.predict(call.X)))
    rows, outputs = len(call.plain_x), model.network.n_out
    softmax = model.loss.link == "softmax"
    flat = softmax or (outputs == 1 and model.flat)
    if host.shape != ((rows,) if flat else (rows, outputs)):
        raise Defect(f"predictions of shape {host.shape} for {rows} rows and {outputs} outputs, flat={model.flat}")
    wanted = library_of(call.X)
    if library_of(answer) is not wanted and not (wanted is None and isinstance(answer, np.ndarray)):
        raise Defect(f"predictions of {type(answer)} for X of {type(call.X)}")
    z, largest = forward(model, call.plain_x)
    if call.mistakes or z is None or largest > 1e4:  # a mistake that is no mistake here has other numbers
        return
    # Each layer rounds its sums; what it gets wrong, the next ones make larger by their weights.
    slack = (1e-9 if call.dtype == "float64" else 3e-4) * (1.0 + largest) ** 2
    with np.errstate(over="ignore"):
        linked, loss = LINKED[model.loss.link](z), loss_value(model.loss, z, call.plain_y)
    if not np.abs(linked).max() < 1e30:  # float32 ends at 3e38
        return
    probable = model.loss.link in ("softmax", "sigmoid")
    numbers = np.asarray(to_host(model.predict_proba(call.X) if probable else model.predict(call.X)), dtype=float)
    if not np.allclose(numbers.reshape(rows, -1), linked, rtol=slack, atol=slack):
        raise Defect(
            f"predictions differ from a plain forward pass by {np.abs(numbers.reshape(rows, -1) - linked).max()}"
        )
    if softmax:
        sure = np.ptp(np.sort(linked, axis=1)[:, -2:], axis=1) > 2 * slack
        if not np.array_equal(host[sure], linked.argmax(axis=1)[sure]):
            raise Defect("a class that is not the most probable")
    got = model.evaluate(call.X, call.y)
    if abs(got["loss"] - loss) > 50 * slack * (1 + np.abs(call.plain_y).max() + abs(loss)):
        raise Defect(f"a loss of {got['loss']} instead of {loss}")


def check_files(call: Call, model: cr.Model) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        model.save(path)
        loaded = cr.load(path, backend=call.backend)
    kept, saved = ([sorted(record.items()) for record in m.history.records] for m in (loaded, model))
    if loaded != model or repr(kept) != repr(saved):  # in words, where NaN is equal to itself
        raise Defect("a loaded model is not the saved one")
    there = model.to("torch" if call.backend == "numpy" else "numpy")
    if there.to(call.backend) != model:
        raise Defect("a model that went to another library and back is another one")
    if call.mistakes:
        return
    one, two = (np.asarray(to_host(m.predict(call.plain_x)), dtype=float) for m in (loaded, there))
    if model.loss.link in ("linear",) and np.abs(one).max() < 1e3:
        bound = (1e-8 if call.dtype == "float64" else 1e-2) * (1.0 + np.abs(one).max())
        if forward(model, call.plain_x)[1] < 1e3 and not np.allclose(one, two, rtol=0, atol=bound):
            raise Defect(f"another library predicts other numbers: {np.abs(one - two).max()}")


# ----------------------------------------------------------------------------------------- the textbook, written again


def sigmoid(z: np.ndarray) -> np.ndarray:
    return 0.5 * (1.0 + np.tanh(0.5 * z))


def softmax(z: np.ndarray) -> np.ndarray:
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


LINKED = {"linear": lambda z: z, "softmax": softmax, "sigmoid": sigmoid, "exponential": np.exp}
PLAIN: dict[str, Callable[[Any, np.ndarray], np.ndarray]] = {
    "Linear": lambda a, z: a.alpha * z + a.beta,
    "Sigmoid": lambda a, z: sigmoid(z),
    "Tanh": lambda a, z: np.tanh(z),
    "ReLU": lambda a, z: np.maximum(z, 0.0),
    "LeakyReLU": lambda a, z: np.where(z > 0, z, a.alpha * z),
    "ELU": lambda a, z: np.where(z > 0, z, a.alpha * np.expm1(np.minimum(z, 0.0))),
    "SELU": lambda a, z: 1.0507009873554805 * np.where(z > 0, z, 1.6732632423543772 * np.expm1(np.minimum(z, 0.0))),
    "SiLU": lambda a, z: z * sigmoid(z),
    "Softplus": lambda a, z: np.logaddexp(0.0, z),
    "Mish": lambda a, z: z * np.tanh(np.logaddexp(0.0, z)),
    "HardTanh": lambda a, z: np.clip(z, -1.0, 1.0),
    "HardSigmoid": lambda a, z: np.clip((z + 3.0) / 6.0, 0.0, 1.0),
    "HardSwish": lambda a, z: z * np.clip((z + 3.0) / 6.0, 0.0, 1.0),
    "GELUTanh": lambda a, z: 0.5 * z * (1.0 + np.tanh(np.sqrt(2.0 / np.pi) * (z + 0.044715 * z**3))),
    "Exponential": lambda a, z: np.exp(z),
    "Sine": lambda a, z: np.sin(z),
    "Cosine": lambda a, z: np.cos(z),
    "Polynomial": lambda a, z: np.polynomial.polynomial.polyval(z, a.coefficients),
}


def forward(model: cr.Model, x: np.ndarray) -> tuple[np.ndarray | None, float]:
    """(the pre-activations of the loss, the largest number on the way to them); None where a layer is not known."""
    theta, buffers = (np.asarray(to_host(part), dtype=np.float64) for part in (model.theta, model.buffers))
    layers, largest = list(model.network.layers), 1.0
    link = {"softmax": cr.Softmax(), "sigmoid": Activate(cr.Sigmoid()), "exponential": Activate(cr.Exponential())}
    if layers[-1] == link.get(model.loss.link):
        layers.pop()

    def take(count: int) -> np.ndarray:
        nonlocal theta
        part, theta = theta[:count], theta[count:]
        return part

    with np.errstate(all="ignore"):
        for layer in layers:
            kind = type(layer).__name__
            if kind == "Dense":
                x = x @ take(layer.n_in * layer.n_out).reshape(layer.n_in, layer.n_out)
                largest = max(largest, float(np.abs(x).max()))
                x = x + (take(layer.n_out) if layer.bias else 0.0)
            elif kind == "BatchNorm":
                (mean, variance), buffers = buffers[: 2 * layer.n].reshape(2, -1), buffers[2 * layer.n :]
                scale = take(layer.n) / np.sqrt(variance + layer.epsilon)
                largest = max(largest, float(np.abs(scale).max()))
                x = scale * (x - mean) + take(layer.n)
            elif kind == "LayerNorm":
                deviation = np.sqrt(x.var(axis=1, keepdims=True) + layer.epsilon)
                largest = max(largest, float((1.0 / deviation).max()))  # rounding is divided by it too
                x = take(layer.n) * (x - x.mean(axis=1, keepdims=True)) / deviation + take(layer.n)
            elif kind == "Softmax":
                x = softmax(x)
            elif kind == "RandomizedLeakyReLU":
                x = np.where(x > 0, x, (layer.low + layer.high) / 2 * x)
            elif kind == "Activate" and type(layer.activation).__name__ in PLAIN:
                x = PLAIN[type(layer.activation).__name__](layer.activation, x)
            elif kind != "Dropout":
                return None, np.inf
            largest = max(largest, float(np.nan_to_num(np.abs(x).max(), nan=np.inf)))
    return x, largest


def loss_value(loss: Any, z: np.ndarray, y: np.ndarray) -> float:
    """The mean over the rows."""
    y = np.asarray(y)
    kind, rows = type(loss).__name__, len(z)
    if kind == "SoftmaxCrossEntropy":
        rowwise = y if y.ndim == 2 and y.shape[1] == z.shape[1] else np.eye(z.shape[1])[y.astype(int).ravel()]
        rowwise = (1 - loss.label_smoothing) * rowwise + loss.label_smoothing / z.shape[1]
        shifted = z - z.max(axis=1, keepdims=True)
        return float((rowwise * (np.log(np.exp(shifted).sum(axis=1, keepdims=True)) - shifted)).sum() / rows)
    y = y.reshape(z.shape).astype(float)
    e = z - y
    if kind == "SigmoidCrossEntropy":
        y = (1 - loss.label_smoothing) * y + loss.label_smoothing / 2
        return float((np.logaddexp(0.0, z) - y * z).sum() / rows)
    if kind == "Huber":
        a = np.abs(e)
        return float(np.where(a <= loss.delta, a**2 / 2, loss.delta * (a - loss.delta / 2)).sum() / rows)
    if kind == "Quantile":
        return float(np.maximum(-loss.q * e, (1 - loss.q) * e).sum() / rows)
    return float(
        {"SquaredError": e**2 / 2, "AbsoluteError": np.abs(e), "Poisson": np.exp(z) - y * z}[kind].sum() / rows
    )


# -------------------------------------------------------------------------------------------------------------- running


def search(number: int, examples: int) -> tuple[Counter[str], dict[str, list[str]]]:
    """The outcomes of so many examples, and what was wrong, each with the calls that showed it."""
    counts: Counter[str] = Counter()
    wrong: dict[str, list[str]] = {}

    @seed(number)
    @settings(max_examples=examples, database=None, deadline=None, suppress_health_check=list(HealthCheck))
    @given(calls())
    def one(call: Call) -> None:
        counts[f"{call.backend}: calls"] += 1
        try:
            counts[run(call)] += 1
        except Defect as defect:
            counts["defect"] += 1
            wrong.setdefault(re.sub(r"[\d.]+(e-?\d+)?", "#", str(defect))[:150], []).append(f"{call!r}: {defect}")

    one()
    return counts, wrong


def _part(part: tuple[int, int]) -> tuple[Counter[str], dict[str, list[str]]]:
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
    return search(*part)


def main() -> int:
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("--seed", type=int, default=0)
    asked.add_argument("--examples", type=int, default=20_000)
    asked.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    asked.add_argument("--part", type=int, default=500, help="examples of one seed; the next 500 have the next seed")
    asked.add_argument("--out", type=Path, default=RESULTS)
    options = asked.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    counts: Counter[str] = Counter()
    wrong: dict[str, list[str]] = {}
    began = time.perf_counter()
    parts = [(options.seed + i, options.part) for i in range(-(-options.examples // options.part))]
    with get_context("spawn").Pool(options.processes, maxtasksperchild=4) as pool:
        for found, defects in pool.imap_unordered(_part, parts):
            counts += found
            for text, shown in defects.items():
                wrong.setdefault(text, []).extend(shown)
            calls_so_far = sum(n for name, n in counts.items() if name.endswith(": calls"))
            print(f"{calls_so_far} calls, {counts['defect']} defects, {time.perf_counter() - began:.0f} s", flush=True)
    for text, shown in wrong.items():
        print(f"{len(shown)} x {text}\n    {min(shown, key=len)}", file=sys.stderr)
    found = {name: n for name, n in sorted(counts.items()) if not name.endswith(": calls")}
    backends = {name.removesuffix(": calls"): n for name, n in sorted(counts.items()) if name.endswith(": calls")}
    options.out.write_text(
        json.dumps(
            {
                "seed": options.seed,
                "count": sum(backends.values()),
                "seconds": round(time.perf_counter() - began),
                "outcomes": found,
                "backends": backends,
                "mistakes known": len(MISTAKES),
                "versions": {"python": platform.python_version(), **dict(_versions())},
            },
            indent=1,
        )
        + "\n"
    )
    return 1 if wrong else 0


def _versions() -> Iterator[tuple[str, str]]:
    for name in ("chainrule", "numpy", "numba", "torch", "jax", "hypothesis"):
        try:
            yield name, version(name)
        except PackageNotFoundError:
            yield name, "not installed"


if __name__ == "__main__":
    sys.exit(main())
