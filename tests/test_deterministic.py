"""The same run twice on one machine, and what must be said for it."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
import warnings
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from conftest import Platform, find_library
from sklearn.exceptions import ConvergenceWarning

import chainrule as cr
from chainrule._backend import LIBRARIES

X = np.random.default_rng(0).normal(size=(64, 5))
Y = (X[:, 0] > 0).astype(int)

# Wide enough that products and sums are shared by two threads.
TRAINS = """
import hashlib, sys, numpy as np, chainrule as cr
rng = np.random.default_rng(0)
X, y = rng.normal(size=(2000, 300)).astype("float32"), rng.integers(0, 10, 2000)
net = cr.mlp([300, 400, 400, 10], dropout=0.2)
backend = cr.backend(sys.argv[1], deterministic=True)
model = cr.fit(net, X, y, loss="softmax_cross_entropy", epochs=2, batch_size=500, backend=backend)
print(hashlib.sha256(np.ascontiguousarray(model.backend.to_numpy(model.theta)).data).hexdigest())
"""


@pytest.mark.parametrize("library", ["numpy", "torch", "jax"])
def test_two_processes_with_two_threads_train_the_same_network(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    find_library(library)
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        monkeypatch.setenv(name, "2")
    seen = {
        subprocess.run([sys.executable, "-c", TRAINS, library], capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    }
    assert len(seen) == 1


def test_torchs_switch_is_on_while_it_trains_and_put_back(open_platform: Callable[..., Platform]) -> None:
    on, torch = open_platform("torch").backend, find_library("torch")

    class Looks:
        def on_step_end(self, run: Any) -> None:
            seen.append(torch.are_deterministic_algorithms_enabled())

    for wanted in (True, False):
        seen: list[bool] = []
        chosen = cr.backend(on, deterministic=wanted)
        cr.fit(cr.mlp([5, 2]), X, Y, loss="softmax_cross_entropy", epochs=1, backend=chosen, callbacks=[Looks()])
        assert set(seen) == {wanted}
        assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.parametrize(
    ("library", "device", "variable", "value"),
    [
        ("torch", SimpleNamespace(type="cuda"), "CUBLAS_WORKSPACE_CONFIG", ":4096:8"),
        ("jax", SimpleNamespace(platform="gpu"), "XLA_FLAGS", "--xla_gpu_deterministic_ops=true"),
    ],
)
def test_what_a_gpus_library_must_be_told_before_is_said(
    library: str, device: Any, variable: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    find_library(library)
    monkeypatch.delenv(variable, raising=False)
    with pytest.raises(cr.BackendError, match=f"needs {variable}=.* before Python starts"):
        LIBRARIES[library].deterministic(device).__enter__()
    monkeypatch.setenv(variable, value)
    with LIBRARIES[library].deterministic(device):
        pass


def test_a_word_is_no_flag() -> None:
    for option in ("deterministic", "compile"):
        with pytest.raises(cr.ConfigurationError, match=rf"^{option} must be True or False, got 'yes'\.$"):
            cr.backend("numpy", **{option: "yes"})


def test_it_is_a_part_of_the_backend_that_further_training_and_pickles_keep() -> None:
    usual, steady = cr.backend("numpy"), cr.backend("numpy", deterministic=True)
    assert usual != steady == cr.backend(usual, deterministic=True)
    assert repr(steady) == "Backend(numpy, device=cpu, dtype=float32, compiled, deterministic)"
    assert (steady.info["deterministic"], "deterministic" in usual.info) == (True, False)
    model = cr.fit(cr.mlp([5, 2]), X, Y, loss="softmax_cross_entropy", epochs=1, backend=steady)
    for kept in (cr.fit(model, X, Y, epochs=1), pickle.loads(pickle.dumps(model)), model.to(dtype="float64")):
        assert kept.backend.deterministic
    assert pickle.loads(pickle.dumps(steady)) == copy.deepcopy(steady) == steady
    assert pickle.loads(pickle.dumps(steady)).providers == steady.providers


def test_an_estimator_trains_so_too(open_platform: Callable[..., Platform]) -> None:
    on, torch = open_platform("torch").backend, find_library("torch")
    seen: list[bool] = []

    class Looks:
        def on_step_end(self, run: Any) -> None:
            seen.append(torch.are_deterministic_algorithms_enabled())

    estimator = cr.MLPClassifier(max_iter=1, tol=0, backend=cr.backend(on, deterministic=True), callbacks=[Looks()])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        estimator.fit(X, Y)
    assert set(seen) == {True}
    assert not torch.are_deterministic_algorithms_enabled()
