"""With ``kernels=False`` every operation runs as its equation is written, and nothing takes its place."""

from __future__ import annotations

import importlib
import itertools
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Platform, find_library

import chainrule as cr
from chainrule import _kernels
from chainrule._model import serialization

EXAMPLES = Path(__file__).parents[1] / "docs" / "examples"
X = np.random.default_rng(0).normal(size=(40, 3))
CLASSES = (X[:, 0] > 0).astype(int)


def written(**options: Any) -> cr.Backend:
    return cr.backend("numpy", kernels=False, **options)


def trained(backend: Any = "auto", network: Any = None, **options: Any) -> cr.Model:
    given = {"loss": "softmax_cross_entropy", "epochs": 2} if network is None else {}
    return cr.fit(network or cr.mlp([3, 4, 2]), X, CLASSES, backend=backend, **(given | options))


def test_each_edit_of_an_equation_changes_the_training_and_faster_bodies_hide_most() -> None:
    """The example edits the source itself, in copies, and trains in processes of their own."""
    printed = subprocess.check_output([sys.executable, EXAMPLES / "change_an_equation.py"], text=True)
    _, *lines = printed.splitlines()
    before, on, off = (list(map(float, column)) for column in zip(*(line.split()[-3:] for line in lines), strict=True))
    assert len(lines) == 10
    assert len(set(before)) == 1
    assert not set(off) & set(before), printed
    assert sum(loss in before for loss in on) == 6, printed  # those that NumPy alone has no faster bodies for change


@pytest.mark.parametrize("name", ["numpy", "torch", "jax", "array-api-strict"])
def test_a_backend_says_that_it_has_no_kernels(name: str) -> None:
    find_library(name, name.replace("-", "_"))
    plain, on = cr.backend(name), cr.backend(name, kernels=False)
    assert plain != on
    assert cr.backend(name, kernels=True) == plain
    assert repr(on) == f"{repr(plain)[:-1]}, kernels=False)"
    assert on.info == {**plain.info, "kernels": {}}
    assert not on.providers
    assert not _kernels.with_providers(on, fast=True).providers
    assert cr.backend(on) is on
    assert cr.backend(on, kernels=False) == on
    assert cr.backend(on, kernels=True) == plain
    assert cr.backend(on, kernels=True).info == plain.info


def test_kernels_are_there_or_not() -> None:
    with pytest.raises(cr.ConfigurationError, match="kernels must be True or False, got 'off'"):
        cr.backend("numpy", kernels="off")  # type: ignore[arg-type]


def test_cupy_has_no_compiled_step_without_kernels(open_platform: Callable[..., Platform]) -> None:
    open_platform("cupy-stand-in")
    assert not cr.backend("cupy", kernels=False).providers
    with pytest.raises(cr.ConfigurationError, match="a compiled step on CuPy is made of kernels"):
        cr.backend("cupy", compile=True, kernels=False)


def test_cupy_on_rocm_runs_but_does_not_compile(
    open_platform: Callable[..., Platform], monkeypatch: pytest.MonkeyPatch
) -> None:
    open_platform("cupy-stand-in")
    monkeypatch.setattr(importlib.import_module("cupy").cuda.runtime, "is_hip", True)
    for asked in (True, None):
        with pytest.raises(cr.ConfigurationError, match="got CuPy for AMD's ROCm: leave compile=True out"):
            cr.backend("cupy", compile=True, kernels=asked)
    assert trained(cr.backend("cupy")).backend.info["name"] == "cupy"


def test_what_is_trained_without_kernels_stays_without() -> None:
    model = trained(written())
    assert not model.backend.kernels
    assert not pickle.loads(pickle.dumps(model)).backend.kernels
    assert not trained(network=model, epochs=1).backend.kernels
    assert not model.to(dtype="float64").backend.kernels
    assert not model.to("array-api-strict").backend.kernels
    assert model.to(cr.backend("numpy")).backend.kernels  # said
    assert trained(cr.backend("numpy"), model, epochs=1).backend.kernels
    assert pickle.loads(pickle.dumps(trained())).backend.kernels


def test_a_pickle_of_before_has_kernels() -> None:
    model = trained()
    state = model.__getstate__()
    del state["backend"]["kernels"]
    again = cr.Model.__new__(cr.Model)
    again.__setstate__(state)
    assert again == model
    assert again.backend.kernels


def test_a_checkpoint_tells_the_two_apart(tmp_path: Path) -> None:
    trained(checkpoint=tmp_path / "usual")
    description = serialization.read_description(tmp_path / "usual" / "epoch-000002.safetensors")
    assert "kernels" not in description["training"]["identity"]  # as in the checkpoints of before there were any
    trained(written(), checkpoint=tmp_path)
    with pytest.raises(cr.ConfigurationError, match="kernels was False, now None"):
        trained(checkpoint=cr.Checkpoint(tmp_path, resume=True), epochs=3)
    assert len(trained(written(), checkpoint=cr.Checkpoint(tmp_path, resume=True), epochs=3).history) == 3


def test_a_recorded_step_has_the_bits_of_the_step() -> None:
    net = cr.Sequential(cr.Dense(3, 8), cr.ReLU(), cr.Dropout(0.2), cr.BatchNorm(8), cr.Dense(8, 2))
    options = {"network": net, "loss": "softmax_cross_entropy", "clip": cr.ClipNorm(0.1), "epochs": 3, "batch_size": 16}
    recorded, plain = (trained(written(compile=compile), **options) for compile in (True, False))
    assert recorded.backend.compiled
    np.testing.assert_array_equal(recorded.theta, plain.theta)


def test_a_function_of_ones_own_is_called_in_every_step() -> None:
    """A recording would call it once, and freeze what it counts or draws."""
    calls = itertools.count()

    def noisy(xp: Any, z: Any) -> Any:
        next(calls)
        return z * 1.0

    own = cr.Activation(noisy, lambda xp, z: xp.ones_like(z))
    net = cr.Sequential(cr.Dense(3, 4), own, cr.Dense(4, 2))
    model = trained(written(), net, loss="softmax_cross_entropy", epochs=3, batch_size=20)
    assert next(calls) == 6
    assert not model.backend.compiled
    loss = cr.Loss(lambda xp, z, y: (xp.sum((z - y) ** 2, axis=-1, keepdims=True) / 2, z - y))
    assert not trained(written(), cr.mlp([3, 4, 1]), loss=loss, epochs=1).backend.compiled
    assert trained(written()).backend.compiled


@pytest.fixture
def provided(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The names of the operations for which a provider is asked, of whatever table."""
    asked: set[str] = set()
    run = cr.Backend.run

    def watched(self: cr.Backend, reference: Any, *arguments: Any) -> Any:
        if reference in self.providers:
            asked.add(reference.__name__)
        return run(self, reference, *arguments)

    monkeypatch.setattr(cr.Backend, "run", watched)
    return asked


@pytest.mark.filterwarnings("ignore:.*converge")
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_sparse_rows_are_made_dense_and_multiplied_as_it_is_written(
    solver: str, provided: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    sparse = pytest.importorskip("scipy.sparse", reason="SciPy comes with chainrule[sklearn]")
    pytest.importorskip("sklearn", reason="the estimators need chainrule[sklearn]")
    rows = sparse.csr_matrix(np.where(X > 0.5, X, 0.0))
    dense = rows.toarray()

    def fitted(inputs: Any) -> Any:
        return cr.MLPClassifier(hidden_layer_sizes=(4,), solver=solver, max_iter=5, random_state=0).fit(inputs, CLASSES)

    fitted(rows)
    assert {"affine", "weight_gradient"} <= provided
    network = importlib.import_module("chainrule.estimators._network")
    monkeypatch.setattr(
        network, "make_backend", lambda name, **options: _kernels.backend(name, kernels=False, **options)
    )
    provided.clear()
    ours, theirs = fitted(rows), fitted(dense)
    np.testing.assert_allclose(ours.model_.theta, theirs.model_.theta, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(ours.predict_proba(rows), ours.predict_proba(dense), rtol=1e-12)
    assert provided == set()


def test_nothing_that_trains_predicts_or_looks_inside_asks_for_a_provider(provided: set[str]) -> None:
    def use(backend: cr.Backend) -> None:
        model = trained(backend, validation=(X, CLASSES), clip=cr.ClipNorm(1.0), optimizer=cr.AdamW(0.01))
        for _ in range(3):
            model.predict(X)
        model.predict_proba(X)
        model.evaluate(X, CLASSES)
        cr.diagnose(model, X, CLASSES)
        trained(network=model, epochs=1)

    use(written())
    assert provided == set()
    use(cr.backend("numpy"))
    assert provided >= {
        "activate",
        "activation_gradient",
        "adam",
        "bias_gradient",
        "clip_norm",
        "cost",
        "gather",
        "largest",
    }
