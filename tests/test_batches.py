"""Batches of one's own: bit for bit the network of their rows."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Platform
from streamed_rows import X, Y, fit, same

import chainrule as cr


class Loader:
    """Batches that can be gone through again, of no known number."""

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        return iter([(X[i : i + 32], Y[i : i + 32]) for i in range(0, len(X), 32)])


class SizedLoader(Loader):
    def __len__(self) -> int:
        return -(-len(X) // 32)


def fit_batches(given: Any, **settings: Any) -> cr.Model:
    return fit(given, None, **{"batch_size": None, **settings})


@pytest.mark.parametrize("library", ["numpy", "torch", "jax-jit"])
def test_batches_train_the_network_that_their_rows_do(library: str, open_platform: Callable[..., Platform]) -> None:
    on = open_platform(library).backend
    want = fit(X, shuffle=False, backend=on)
    kinds: list[Any] = [Loader(), SizedLoader(), lambda: iter(Loader()), list(Loader())]
    for given in kinds if library == "numpy" else kinds[:1]:
        got = fit_batches(given, backend=on)
        assert same(got, want)
        assert [{**r, "seconds": 0} for r in got.history] == [{**r, "seconds": 0} for r in want.history]
        assert got.predict(X).shape == (1000,)


def test_torchs_own_loader_is_an_iterable_of_batches() -> None:
    torch = pytest.importorskip("torch")
    data = torch.utils.data.TensorDataset(torch.asarray(X), torch.asarray(Y))
    loader = torch.utils.data.DataLoader(data, batch_size=32)
    model = fit_batches(loader)
    assert model.backend.name == "torch"
    assert same(model, fit(torch.asarray(X), torch.asarray(Y), shuffle=False))
    assert torch.equal(model.predict(loader), model.predict(torch.asarray(X)))


def test_a_loader_without_a_length_is_gone_through() -> None:
    torch = pytest.importorskip("torch")

    class Rows(torch.utils.data.IterableDataset):
        def __iter__(self) -> Iterator[Any]:
            return zip(X, Y, strict=True)

    want = fit(torch.asarray(X), torch.asarray(Y), shuffle=False)
    assert same(fit_batches(torch.utils.data.DataLoader(Rows(), batch_size=32)), want)


def test_a_batch_of_one_row_is_refused_by_its_number_before_batch_normalisation() -> None:
    network = cr.mlp([6, 8, 2], normalization="batch")
    with pytest.raises(cr.DataError, match="batch 2 has one row, on which batch normalisation cannot train: leave"):
        cr.fit(network, [(X[:32], Y[:32]), (X[:1], Y[:1])], loss="softmax_cross_entropy")


def test_batches_may_have_weights() -> None:
    weight = np.where(np.arange(1000) % 3, 1.0, 0.0)
    parts = [slice(i, i + 50) for i in range(0, 1000, 50)]
    got = fit_batches([(X[part], Y[part], weight[part]) for part in parts])
    assert same(got, fit(X, shuffle=False, batch_size=50, sample_weight=weight))


def test_the_next_batch_is_made_while_a_step_runs() -> None:
    made = 0

    def batches() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        nonlocal made
        for _ in range(4):
            made += 1
            yield X[:32], Y[:32]

    class Waits:
        def on_step_end(self, run: Any) -> None:
            deadline = time.monotonic() + 10
            while made < min(1 + run.step + 1, 5) and time.monotonic() < deadline:  # the first was looked at before
                time.sleep(0.001)
            assert made == min(1 + run.step + 1, 5)

    fit_batches(batches, epochs=1, callbacks=[Waits()])


@pytest.mark.parametrize("loader", [Loader, SizedLoader])
def test_a_training_over_batches_resumes_within_an_epoch(loader: type[Loader], tmp_path: Path) -> None:
    class Dies:
        def on_step_end(self, run: Any) -> None:
            if (run.epoch, run.step) == (2, 20):
                raise KeyboardInterrupt

    want = fit_batches(loader())
    with pytest.raises(KeyboardInterrupt):
        fit_batches(loader(), callbacks=[Dies()], checkpoint=cr.Checkpoint(tmp_path, every="0 s"))
    got = fit_batches(loader(), checkpoint=cr.Checkpoint(tmp_path, resume=True))
    assert same(got, want)
    assert got.history["learning_rate"] == want.history["learning_rate"]
    with pytest.raises(cr.ConfigurationError, match="batch_size was 32, now 30"):
        fit_batches([(X[:30], Y[:30])], checkpoint=cr.Checkpoint(tmp_path, resume=True))
    backwards = list(loader())[-2::-1]  # a loader that shuffles gives another first batch each time
    assert len(fit_batches(backwards, checkpoint=cr.Checkpoint(tmp_path, resume=True), epochs=4).history) == 4


def test_a_divergence_in_batches_is_found() -> None:
    def batches() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        yield X[:32], X[:32, 0]
        yield X[:32] * np.float32(1e30), X[:32, 0]

    with pytest.raises(cr.DivergenceError, match=r"epoch 1, step 2 of 2: .* inputs reach"):
        cr.fit(cr.mlp([6, 8, 1]), batches, loss="squared_error", optimizer="sgd")


def test_what_is_wrong_with_batches_is_said() -> None:
    whole = [(X[:32], Y[:32])]
    once, left = iter(whole), [*whole]

    def fewer() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        yield from [left.pop()] if left else []

    for given, settings, says in (
        (X, {}, "y is missing"),
        (3, {}, "y is missing"),
        (once, {}, "only once"),
        ((x for x in whole), {}, "a generator can be gone through only once"),
        (lambda: 3, {}, "must make an iterable of batches, got a int"),
        ([], {}, "there is no batch"),
        ([X[:3]], {}, "batch 1 must be"),
        ([(X[:3, :2], Y[:3])], {}, "X of batch 1 must have 6 features"),
        ([(X[:3], Y[:2])], {}, "same number of rows, got 3 and 2"),
        (lambda: once, {}, "a list_iterator can be gone through only once"),
        (fewer, {}, "an epoch had no batch"),
        ([*whole, None], {}, "batch 2 must be"),
        ([*whole, (np.full((3, 6), np.nan), Y[:3])], {}, "X of batch 2 holds NaN"),
        (whole, {"batch_size": 3}, "got batch_size too"),
        (whole, {"sample_weight": Y}, "got sample_weight too"),
        (Loader(), {"optimizer": cr.Adam(cr.CosineDecay(0.1))}, "needs the training's length"),
    ):
        with pytest.raises(cr.ChainruleError, match=says):
            fit_batches(given, **settings)
    with pytest.raises(cr.DataError, match="there is no batch"):
        fit(X).predict(iter([]))


def test_predictions_of_batches_come_in_the_library_of_the_batches() -> None:
    torch, model = pytest.importorskip("torch"), fit(X)
    want = model.predict_proba(X)
    for given in (Loader(), lambda: iter(Loader()), (X[i : i + 100] for i in range(0, 1000, 100))):
        np.testing.assert_allclose(model.predict_proba(given), want, rtol=0, atol=1e-6)
    got = model.predict(torch.asarray(X[i : i + 100]) for i in range(0, 1000, 100))
    assert torch.equal(got, torch.asarray(model.predict(X)))


def test_a_source_that_fails_says_so_itself() -> None:
    def batches() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        yield X[:32], Y[:32]
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        fit_batches(batches)


def test_epochs_of_batches_may_differ_in_length() -> None:
    lengths = iter([31, 1, 2, 2])

    def batches() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for i in range(next(lengths)):
            yield X[:32] * np.float32(1e30 if i == 1 and done else 1.0), X[:32, 0]
        done.append(True)

    done: list[bool] = []
    with pytest.raises(cr.DivergenceError, match="epoch 2, step 2 of 2"):
        cr.fit(cr.mlp([6, 8, 1]), batches, loss="squared_error", optimizer="sgd", epochs=3)


def test_what_is_no_batch_to_predict_is_said() -> None:
    with pytest.raises(cr.DataError, match="expected X or an iterable of batches, got a NoneType"):
        fit(X).predict(lambda: None)
