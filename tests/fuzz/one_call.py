"""Random trainings on NumPy by three ways that must agree: called from Python, in one call, and cut into small pieces.

python tests/fuzz/one_call.py --cases 3000

The one call has the bits of the recorded step. Cut, products have other last bits, which an optimizer that divides by
the size of a gradient may enlarge where that is nearly 0; a wrong address or a lost row is far outside.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import numpy as np

import chainrule as cr
from chainrule._backend import _items, _program
from chainrule._kernels import with_providers
from chainrule.activations import ACTIVATIONS
from chainrule.optimizers import OPTIMIZERS

WAYS = ("from Python", "one call", "cut")
LAYOUTS = ("rows", "columns", "every second row", "every third column", "backwards", "file")
LOSSES = ("softmax_cross_entropy", "sigmoid_cross_entropy", "squared_error", "huber", "absolute_error", "poisson")
DIVIDES = ("ada", "rmsprop", "lion")  # by the size of a gradient, or takes its sign


def main() -> int:
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("--seed", type=int, default=0)
    asked.add_argument("--cases", type=int, default=1000)
    options = asked.parse_args()
    wrong, outcomes = 0, Counter[str]()
    for seed in range(options.seed, options.seed + options.cases):
        found, how = differs(seed)
        outcomes[how] += 1
        if found:
            wrong += 1
            print(f"seed {seed}: {found}", file=sys.stderr, flush=True)
    print(f"{options.cases} trainings, {wrong} wrong; {dict(outcomes)}")
    return 1 if wrong else 0


def differs(seed: int) -> tuple[str, str]:
    """How the three ways differ in the training of this seed, "" where they do not; and what it was."""
    rng = np.random.default_rng(seed)
    network, X, y, options = _drawn(rng)
    results = {}
    with TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if options.pop("in a file"):
            np.save(Path(folder) / "X.npy", X)
            options["X"] = str(Path(folder) / "X.npy")
        for way in WAYS:
            with _by(way, rng):
                try:
                    model = cr.fit(cr.mlp(**network), options.get("X", X), y, **_without(options, "X"))
                    answers = [np.asarray(model.predict(X)) for _ in range(3)]
                except cr.ChainruleError as error:
                    return "", f"refused: {type(error).__name__}"
                if any(not np.array_equal(answers[0], again, equal_nan=True) for again in answers):
                    return f"{way}: a prediction that was asked again is another one", "trained"
                results[way] = np.array(model.theta), np.array(model.buffers), np.array(model.history["loss"])
    python, whole, cut = (results[way] for way in WAYS)
    if not all(np.array_equal(a, b, equal_nan=True) for a, b in zip(python, whole, strict=True)):
        return f"one call has other bits: {network} {options}", "trained"
    divides = any(word in type(options["optimizer"]).__name__.lower() for word in DIVIDES)
    exact = python[0].dtype == np.float64
    bound = 3e-2 if divides else 1e-9 if exact else 3e-4
    far = np.max(np.abs(python[0] - cut[0])) / max(1e-9, float(np.max(np.abs(python[0]))))
    return (f"cut, it is {far:.1g} off: {network} {options}" if not far <= bound else ""), "trained"


def _drawn(rng: np.random.Generator) -> tuple[dict[str, Any], np.ndarray, np.ndarray, dict[str, Any]]:
    """A network, X, y and the options of ``fit``: sizes that are easily mistaken for each other, every layout of X."""

    def one(*of: Any) -> Any:
        return of[int(rng.integers(len(of)))]

    batch = one(1, 2, 3, 4, 5, 7, 8, 16, 33)
    rows, hidden = int(rng.integers(batch, 4 * batch + 5)), one(0, 1, 2, 3)
    sizes = [one(1, 2, batch, 5, 8), *(one(1, 2, 3, batch, 7) for _ in range(hidden)), one(2, 3, batch + 1)]
    network = {"sizes": sizes, "activation": one(*(name for name in ACTIVATIONS if name != "step"), "softmax")}
    network |= {"dropout": one(0, 0, 0.3), "normalization": one(None, None, "batch" if batch > 1 else None, "layer")}
    loss, n, dtype, layout = one(*LOSSES), sizes[-1], one("float32", "float64"), one(*LAYOUTS)
    y = rng.standard_normal((rows, n))
    if loss == "softmax_cross_entropy":
        y = one(rng.integers(0, n, rows), rng.dirichlet(np.ones(n), rows))
    elif loss == "sigmoid_cross_entropy":
        y = (y > 0).astype(float)
    elif loss == "poisson":
        y = rng.poisson(2, (rows, n)).astype(float)
    X = rng.standard_normal((rows, sizes[0])).astype(dtype)
    X = {"columns": np.asfortranarray(X), "every second row": np.repeat(X, 2, 0)[::2], "backwards": X[::-1],
         "every third column": np.repeat(X, 3, 1)[:, ::3]}.get(layout, X)  # fmt: skip
    rate = one(0.01, cr.CosineDecay(0.01), cr.OneCycle(0.01))
    options = {
        "loss": loss, "optimizer": one(*OPTIMIZERS.values())(rate), "epochs": 2, "batch_size": batch,
        "seed": int(rng.integers(1000)), "shuffle": one(True, False), "on_divergence": "stop",
        "clip": one(None, None, cr.ClipNorm(0.1), cr.ClipValue(0.01)),
        "penalty": one(None, None, cr.Penalty(l2=0.01), cr.Penalty(l1=0.01, over="examples")),
        "sample_weight": one(None, None, rng.random(rows), (rng.random(rows) > 0.3) + 0.0),
        "backend": with_providers(cr.backend("numpy", dtype=dtype), fast=True), "in a file": layout == "file",
    }  # fmt: skip
    return network, X, y, options


def _without(options: dict[str, Any], name: str) -> dict[str, Any]:
    return {option: value for option, value in options.items() if option != name}


@contextmanager
def _by(way: str, rng: np.random.Generator) -> Iterator[None]:
    pieces = {"_CUT": 0, "_ROWS": int(rng.integers(1, 5)), "_PLACES": int(rng.choice([1, 3, 8, 16]))}
    changed = {
        "from Python": lambda: patch.object(_program, "check_products", _refused),
        "one call": nullcontext,
        "cut": lambda: patch.multiple(_items, **pieces),
    }
    with changed[way]():
        yield


def _refused(*_: Any) -> None:
    raise _program.NotCovered("this training is called from Python")


if __name__ == "__main__":
    sys.exit(main())
