"""Predictions of many rows: bounded memory, the same numbers as a few rows give, and safe from several threads."""

from __future__ import annotations

import pickle
import threading
import tracemalloc
import warnings
from collections.abc import Callable

import numpy as np
import pytest
from conftest import Platform

import chainrule as cr
from chainrule._backend import Backend
from chainrule._kernels import with_providers
from chainrule._model import prediction
from chainrule._model.prediction import ForwardPass
from chainrule.network import without_link

RNG = np.random.default_rng(0)
X = RNG.normal(size=(5000, 6)).astype(np.float32)
NET = cr.mlp([6, 32, 16, 4], normalization="batch", dropout=0.2, output="softmax")


def model_on(on: Backend) -> cr.Model:
    y = RNG.integers(0, 4, len(X))
    return cr.fit(NET, X[:200], y[:200], loss="softmax_cross_entropy", epochs=2, batch_size=50, backend=on)


@pytest.mark.parametrize("rows", [1, 2047, 2048, 2049, 4096, 5000])
def test_chunks_give_what_rows_give(rows: int) -> None:
    model = model_on(cr.backend("numpy"))
    theta, network = model.theta.copy(), without_link(model.network, model.loss)
    for _ in range(2):  # the second call finds what the first one kept
        probabilities = model.predict_proba(X[:rows])
        z = network.apply(model.backend, model.theta, model.buffers, X[:rows])
        e = np.exp(z - z.max(axis=1, keepdims=True))
        np.testing.assert_allclose(probabilities, e / e.sum(axis=1, keepdims=True), rtol=1e-5, atol=1e-7)
        assert probabilities.shape == (rows, 4)
    np.testing.assert_array_equal(model.theta, theta)


@pytest.mark.parametrize("name", ["numpy", "numpy-fast", "providers-off", "strictest-float32", "torch", "jax-jit"])
def test_every_library_predicts_many_rows(name: str, open_platform: Callable[..., Platform]) -> None:
    platform = open_platform(name, dtype="float32")
    network = without_link(NET, cr.SoftmaxCrossEntropy())
    theta, buffers = network.initial_theta(0).astype(np.float32), network.initial_buffers().astype(np.float32)
    placed, x = (platform.owned(theta), platform.owned(buffers)), platform.array(X)
    forward = ForwardPass(platform.backend, network).load(*placed)
    plain = cr.backend("numpy", compile=False)
    want = network.apply(plain, theta, buffers, X)
    for _ in range(2):
        platform.check(forward(x), want, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(platform.host(placed[0]), theta)  # what is compiled owns its state: it was a copy


def test_new_weights_are_looked_at() -> None:
    on, network = cr.backend("numpy"), cr.mlp([6, 4])
    forward, buffers = ForwardPass(on, network), np.zeros(0, np.float32)
    for scale in (0.0, 1.0, 2.0):
        theta = np.full(network.size, scale, np.float32)
        for rows in (5, 5000):
            for _ in range(3):  # as it is, and compiled from the second on
                z = forward.load(theta, buffers)(np.ones((rows, 6), np.float32))
                np.testing.assert_allclose(z, np.full((rows, 4), 7.0 * scale))


@pytest.mark.parametrize("rows", [100, 5000])
def test_validation_sees_every_epochs_weights(rows: int) -> None:
    """The steps overwrite theta in place: a pass that kept a copy of it would measure the first epoch for ever."""
    y, held = RNG.integers(0, 4, len(X)), (X[:rows], RNG.integers(0, 4, rows))
    seen: list[float] = []

    class Evaluate:
        def on_epoch_end(self, run: cr.training.Run, record: dict[str, float]) -> None:
            seen.append(run.model().evaluate(*held)["loss"])

    options = {"loss": "softmax_cross_entropy", "epochs": 5, "validation": held, "callbacks": [Evaluate()]}
    model = cr.fit(cr.mlp([6, 16, 4]), X, y, optimizer=cr.Adam(0.01), **options)
    np.testing.assert_allclose(model.history["val_loss"], seen, rtol=1e-5)
    assert len(set(seen)) == 5


def test_threads_predict_with_one_model() -> None:
    model = model_on(cr.backend("numpy"))
    want, wrong = model.predict_proba(X), []

    def ask() -> None:
        wrong.extend(i for i in range(20) if not np.array_equal(model.predict_proba(X), want))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_model_that_has_predicted_is_still_a_value() -> None:
    model = model_on(cr.backend("numpy"))
    model.predict(X)
    assert pickle.loads(pickle.dumps(model)) == model
    assert "_kept" not in repr(model)


def test_memory_does_not_grow_with_the_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prediction, "CHUNK", 512)
    on, network = cr.backend("numpy"), cr.mlp([6, 300, 1])
    theta, buffers = network.initial_theta(0).astype(np.float32), np.zeros(0, np.float32)
    peaks = []
    for rows in (16_384, 65_536):
        forward, x = ForwardPass(on, network), np.ones((rows, 6), np.float32)
        tracemalloc.start()
        forward.load(theta, buffers)(x)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 16 * 65_536  # the answers, twice; whole activations would be 79 MB


def test_torch_is_not_compiled_for_a_prediction(open_platform: Callable[..., Platform]) -> None:
    """A compilation takes it half a minute; it was asked for the steps."""
    platform = open_platform("torch")
    on = cr.backend("torch", compile=True)
    assert on.compiled
    forward = ForwardPass(on, NET).load(platform.owned(NET.initial_theta(0)), platform.owned(NET.initial_buffers()))
    forward(platform.array(np.ones((4096, 6))))
    assert forward._program is None


def test_each_way_to_finish_a_pass_has_a_pass_of_its_own():
    X = np.random.default_rng(0).normal(size=(8, 3)).astype("f4")
    model = cr.fit(cr.mlp([3, 2]), X, np.arange(8) % 2, loss="softmax_cross_entropy", epochs=1)
    twice, half = (lambda loss, backend, z: 2.0 * z), (lambda loss, backend, z: z / 2.0)
    np.testing.assert_allclose(model.predict_with(twice, X), 4.0 * model.predict_with(half, X), rtol=1e-6)


PLACES = {"an array": np.ascontiguousarray, "columns": np.asfortranarray, "gaps": lambda x: np.repeat(x, 2, 1)[:, ::2]}


@pytest.mark.parametrize("fast", [False, True])
@pytest.mark.parametrize("loss", ["softmax_cross_entropy", "squared_error"])
@pytest.mark.parametrize("rows", [1, 3, 512, 8200])
@pytest.mark.parametrize("lies", PLACES)
def test_numbers_that_are_not_finite_are_refused_on_every_path(fast: bool, loss: str, rows: int, lies: str) -> None:
    """A ReLU makes 0 of minus infinity: it would not be seen in the answers."""
    on = with_providers(cr.backend("numpy"), fast=fast)
    network, y = cr.mlp([6, 8, 3]), RNG.integers(0, 3, 200) if loss.startswith("soft") else X[:200, :3]
    model = cr.fit(network, X[:200], y, loss=loss, epochs=1, backend=on)
    x = PLACES[lies](np.resize(X, (rows, 6)))
    want = model.predict(x)
    for number in (np.nan, -np.inf, np.inf):
        bad = x.copy(order="K") if lies != "gaps" else PLACES[lies](x)
        bad[rows - 1, 2] = number
        for _ in range(3):  # as it is, recorded, and asked again
            np.testing.assert_array_equal(model.predict(x), want)
            with pytest.raises(cr.DataError, match=rf"NaN or infinity in float32 in 1 of {rows} rows \({rows - 1}\)"):
                model.predict(bad)
    large = x.copy()
    large[0, 0] = 1e25  # whose square is infinite, and which itself is not
    assert np.array_equal(model.predict(large), model.predict(large))
    with pytest.raises(cr.DataError, match="too large for float32"):
        model.predict(1e300 * x.astype(float))


@pytest.mark.parametrize("fast", [False, True])
def test_what_is_asked_again_is_asked_of_these_rows(fast: bool) -> None:
    """The rows lie in memory of the pass then; an answer is the caller's own."""
    model = model_on(with_providers(cr.backend("numpy"), fast=fast))
    want = model.predict_proba(X[:60])
    answers = [model.predict_proba(X[i : i + 3]) for i in range(0, 60, 3)]
    np.testing.assert_allclose(np.concatenate(answers), want, rtol=1e-6)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(4):
            model.predict_proba(np.full((3, 6), 1e30, np.float32))
