"""What people type who know another library is answered with the word that is right here."""

from __future__ import annotations

import dataclasses
import importlib.util
import inspect
import pickle
import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule._base import synonyms
from chainrule._base.errors import unknown_name
from chainrule.activations import ACTIVATIONS
from chainrule.initializers import INITIALIZERS
from chainrule.losses import LOSSES
from chainrule.metrics import METRICS
from chainrule.optimizers import OPTIMIZERS

X = np.random.default_rng(0).normal(size=(20, 3))
CLASSES = (X[:, 0] > 0).astype(int)


def public() -> Iterator[tuple[str, Callable[..., Any]]]:
    """What a user calls with keywords."""
    for name in dir(cr):
        part = getattr(cr, name)
        made = isinstance(part, type) and not issubclass(part, BaseException) and dataclasses.is_dataclass(part)
        made = made or name in ("EarlyStopping", "ReduceOnPlateau", "CSVLogger", "ProgressBar", "Watch", "Sequential")
        if not name.startswith("_") and (made or (inspect.isfunction(part) and inspect.signature(part).parameters)):
            yield name, part
    yield "to", cr.Model.to


PUBLIC = dict(public())
KNOWN = {name: [word for word in inspect.signature(part).parameters if word != "self"] for name, part in PUBLIC.items()}


def answer(name: str, word: str) -> str:
    """What ``cr.name(word=...)`` is answered with."""
    with pytest.raises(cr.ArgumentError) as caught:
        PUBLIC[name](**{word: 1})
    assert isinstance(caught.value, TypeError | cr.ConfigurationError)
    said = str(caught.value)
    assert said.startswith(f"{name} has no {word}: ")
    assert said.endswith(".")
    return said


def names_what_exists(code: str, function: str) -> None:
    """A part of the library, made as it is written; or arguments of the function, with values that are made so."""
    given = {"cr": cr, "X": X, "X_val": X, "y_val": CLASSES, "weights_of_the_rows": CLASSES}
    if '"cupy"' in code:  # which may not be here
        code = code.replace('"cupy"', '"numpy"').replace(', precision="bf16"', "")
    found = eval(code if code.startswith("cr.") else f"dict({code})", given)
    if isinstance(found, dict) and function != "SGD":  # whose answer is an argument of fit
        assert set(found) <= set(KNOWN[function])


SPECIAL = [(function, word) for function, words in synonyms.OTHERWISE.items() for word in words]


@pytest.mark.parametrize(("function", "word"), SPECIAL, ids=[f"{f}({w}=)" for f, w in SPECIAL])
def test_what_is_said_otherwise_here_is_shown_in_code_that_runs(function: str, word: str) -> None:
    assert word not in KNOWN[function] or function == "Sequential"  # whose layers come one after another
    reason, code = synonyms.OTHERWISE[function][word]
    assert answer(function, word).endswith(f": {reason}, {code}.")
    names_what_exists(code, function)


def test_every_word_for_an_argument_leads_to_one_that_some_function_has() -> None:
    led = set()
    for name, known in KNOWN.items():
        for words in synonyms.SAME_ARGUMENT:
            for word in words - set(known) - set(synonyms.OTHERWISE.get(name, {})):
                ours = synonyms.same_argument(word, known)
                if ours is not None:
                    assert ours in known
                    led.add(word)
    for words in synonyms.SAME_ARGUMENT:
        ours = {word for known in KNOWN.values() for word in known} & words
        assert ours, f"no function has any of {sorted(words)}"
        assert words - ours <= led, f"nothing answers {sorted(words - ours - led)}"


TYPED = {
    ("fit", "batch"): "batch_size", ("fit", "num_epochs"): "epochs", ("fit", "max_iter"): "epochs",
    ("fit", "random_state"): "seed", ("fit", "criterion"): "loss", ("Adam", "lr"): "learning_rate",
    ("Adam", "beta_1"): "b1", ("Adam", "eps"): "epsilon", ("Momentum", "momentum"): "mu", ("Dropout", "p"): "rate",
    ("RMSProp", "alpha"): "rho", ("EarlyStopping", "restore_best_weights"): "restore_best",
    ("EarlyStopping", "tol"): "min_delta", ("ReduceOnPlateau", "min_lr"): "minimum", ("StepDecay", "gamma"): "factor",
    ("CosineDecay", "T_max"): "steps", ("OneCycle", "max_lr"): "learning_rate", ("Dense", "units"): "n_out",
    ("Dense", "kernel_initializer"): "weight_init", ("LeakyReLU", "negative_slope"): "alpha",
    ("ClipNorm", "max_norm"): "bound", ("Normal", "stddev"): "std", ("Checkpoint", "filepath"): "folder",
    ("mlp", "layer_sizes"): "sizes", ("MLPClassifier", "lr"): "learning_rate_init",
    ("MLPClassifier", "epochs"): "max_iter", ("MLPRegressor", "optimizer"): "solver", ("BatchNorm", "eps"): "epsilon",
    ("backend", "jit"): "compile", ("Huber", "beta"): "delta", ("Quantile", "tau"): "q",
}  # fmt: skip


@pytest.mark.parametrize(("called", "ours"), TYPED.items(), ids=[f"{f}({w}=)" for f, w in TYPED])
def test_what_torch_keras_and_scikit_learn_call_it_is_answered(called: tuple[str, str], ours: str) -> None:
    assert answer(*called).endswith(f": write {ours}.")


@pytest.mark.parametrize("name", PUBLIC)
def test_any_other_keyword_is_answered_with_the_known_ones_and_the_signature_stays(name: str) -> None:
    assert answer(name, "zzzz").endswith(
        f"Known: {', '.join(k for k in KNOWN[name] if (name, k) != ('Sequential', 'layers')) or 'none'}."
    )
    assert not {"args", "kwargs"} & set(KNOWN[name])


def test_a_slip_is_answered_with_the_nearest() -> None:
    assert "did you mean 'epochs'?" in answer("fit", "epocks")
    assert "did you mean 'patience'?" in answer("EarlyStopping", "patince")


def test_parts_are_what_they_were() -> None:
    adam = cr.Adam(0.1, epsilon=1e-6)
    assert pickle.loads(pickle.dumps(adam)) == adam
    assert repr(cr.Dropout(0.5)) == "Dropout(rate=0.5)"
    with pytest.raises(TypeError, match="Adam takes 5 by position"):
        cr.Adam(*range(9))  # type: ignore[arg-type]


# -------------------------------------------------------------------------------------------------------------- values

TABLES = {
    "activation": ACTIVATIONS, "loss": LOSSES, "optimizer": OPTIMIZERS, "metric": METRICS, "initializer": INITIALIZERS,
    "normalization": ("batch", "layer"),
}  # fmt: skip
VALUES = [
    (kind, word, ours)
    for kind, words in synonyms.VALUES.items()
    for ours, theirs in words.items()
    for word in theirs.split()
]


def test_a_word_has_one_meaning() -> None:
    assert TABLES.keys() == synonyms.VALUES.keys()
    for kind in TABLES:
        words = [word for k, word, _ in VALUES if k == kind]
        assert len(words) == len(set(words))
        assert not set(words) & set(TABLES[kind]), "a name of ours is no synonym"


@pytest.mark.parametrize(("kind", "word", "ours"), VALUES, ids=[f"{kind} {word}" for kind, word, _ in VALUES])
def test_every_word_for_a_value_is_answered_with_what_exists(kind: str, word: str, ours: str) -> None:
    named = ours in TABLES[kind]
    write = repr(ours) if named else ours
    assert str(unknown_name(kind, word, TABLES[kind])) == f"unknown {kind} {word!r}: write {write}."
    parts = re.findall(r"cr\.(\w+)", ours)
    assert named or "function" in ours or (parts and all(hasattr(cr, part) for part in parts))


def fit(**options: Any) -> cr.Model:
    usual: dict[str, Any] = {"loss": "softmax_cross_entropy", "epochs": 1}
    return cr.fit(cr.mlp([3, 4, 2]), X, CLASSES, **usual | options)


GPU = r"for a GPU write backend="
ASKED = {
    "activation": (lambda: cr.mlp([3, 4, 2], activation="swish"), r"'swish': write 'silu'\."),
    "Activation": (lambda: cr.mlp([3, 4, 2], activation="Swish"), r"'Swish': write 'silu'\."),
    "initializer": (lambda: cr.Dense(3, 2, weight_init="kaiming_normal"), r"write 'he_normal'\."),
    "normalization": (lambda: cr.mlp([3, 4, 2], normalization="batchnorm"), r"write 'batch'\."),
    "loss": (lambda: fit(loss="nll"), r"'nll': write 'softmax_cross_entropy'\."),
    "binary loss": (lambda: fit(loss="binary_cross_entropy"), r"write 'sigmoid_cross_entropy'\."),
    "optimizer": (lambda: fit(optimizer="nesterov"), r"write cr\.Momentum\(0\.01, nesterov=True\)\."),
    "metric": (lambda: fit(metrics=["f1"], validation=(X, CLASSES)), r"'f1': write a function of \(y, predictions\)"),
    "torch": (lambda: fit(backend="pytorch"), r"write 'torch'\."),
    "Intel's GPUs": (lambda: fit(backend="xpu"), r"write 'dpnp'\."),
    "numpy": (lambda: cr.backend("np"), r"write 'numpy'\."),
    "a GPU": (lambda: fit(backend="cuda"), GPU),
    "to a GPU": (lambda: fit().to("cuda:1"), GPU),
    "a GPU of NumPy": (lambda: fit(backend="numpy:cuda"), rf"NumPy has no device 'cuda' .* it has 0 \(cpu\): {GPU}"),
}


@pytest.mark.parametrize("what", ASKED)
def test_the_doors_answer_from_the_table(what: str) -> None:
    call, says = ASKED[what]
    with pytest.raises(cr.ChainruleError, match=says):
        call()


@pytest.mark.parametrize(
    ("installed", "says"),
    [
        ({"torch"}, r"write backend='torch:cuda'\.$"),
        ({"cupy"}, r"write backend='cupy'\.$"),
        ({"dpnp"}, r"write backend='dpnp:gpu'\.$"),
        ({"torch", "cupy"}, r"write backend='torch:cuda' or 'cupy'\.$"),
        (set(), r"write backend='torch:cuda' or 'cupy', which takes pip install 'chainrule\[torch\]' or .*\.$"),
    ],
)
def test_for_a_gpu_what_is_installed_is_named(installed: set[str], says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name if name in installed else None)
    with pytest.raises(cr.ConfigurationError, match=says):
        cr.backend("gpu")
