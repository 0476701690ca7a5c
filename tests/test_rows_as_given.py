"""Rows are the rows that were given: sources that fill one buffer again and again, and objects that read lazily."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Platform

import chainrule as cr
from chainrule._data.streams import _windows

RNG = np.random.default_rng(5)
X = RNG.normal(size=(640, 6)).astype("float32")
Y = (X[:, :1] * X[:, 1:2]).astype("float32")
W = RNG.uniform(0.5, 2, size=640).astype("float32")
PARTS = [slice(i, i + 32) for i in range(0, 640, 32)]


def plain() -> Iterator[tuple[Any, ...]]:
    for part in PARTS:
        yield X[part].copy(), Y[part].copy(), W[part].copy()


def refilled(made: Callable[[np.ndarray], Any], slots: int = 1) -> Iterator[tuple[Any, ...]]:
    """Batches in the memory of a ring of buffers; ``made`` is what the caller is given of one."""
    rings = [tuple(map(aligned, ((32, 6), (32, 1), (32,)))) for _ in range(slots)]
    for number, part in enumerate(PARTS):
        for buffer, rows in zip(rings[number % slots], (X, Y, W), strict=True):
            buffer[...] = rows[part]
        yield tuple(map(made, rings[number % slots]))


def aligned(shape: tuple[int, ...]) -> np.ndarray:
    """Zeros where JAX makes an array without a copy."""
    memory = np.zeros(int(np.prod(shape)) * 4 + 64, "u1")
    first = -memory.ctypes.data % 64
    return memory[first : first + int(np.prod(shape)) * 4].view("f4").reshape(shape)


def structured() -> Iterator[tuple[Any, ...]]:
    buffer = np.zeros(32, [("x", "f4", 6), ("y", "f4", 1), ("w", "f4")])
    for part in PARTS:
        buffer["x"], buffer["y"], buffer["w"] = X[part], Y[part], W[part]
        yield buffer["x"], buffer["y"], buffer["w"]


def read_into() -> Iterator[tuple[Any, ...]]:
    """As a file's ``readinto`` fills bytes; views of them that cannot be written."""
    memory = bytearray(32 * 8 * 4)
    rows = np.frombuffer(memory, "f4").reshape(32, 8)
    rows.flags.writeable = False
    for part in PARTS:
        memory[:] = np.hstack([X[part], Y[part], W[part, None]]).tobytes()
        yield rows[:, :6], rows[:, 6:7], rows[:, 7]


class Lazy:
    """An object that NumPy makes an array of, which is the memory of its own."""

    def __init__(self, memory: np.ndarray) -> None:
        self._memory, self.shape, self.dtype = memory, memory.shape, memory.dtype

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self._memory


def torchs(buffer: np.ndarray) -> Any:
    return pytest.importorskip("torch").from_numpy(buffer)


def jaxs(buffer: np.ndarray) -> Any:
    return pytest.importorskip("jax").dlpack.from_dlpack(buffer)


def frames(buffer: np.ndarray) -> Any:
    return pytest.importorskip("pandas").DataFrame(buffer, copy=False)


class Loader:
    """Batches that can be gone through again, in buffers that it keeps."""

    def __init__(self) -> None:
        torch = pytest.importorskip("torch")
        self._kept = torch.zeros(32, 6), torch.zeros(32, 1), torch.zeros(32)

    def __len__(self) -> int:
        return len(PARTS)

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        for part in PARTS:
            for kept, rows in zip(self._kept, (X, Y, W), strict=True):
                kept.copy_(torchs(rows[part]))
            yield self._kept


SOURCES: dict[str, Callable[[], Any]] = {
    "one buffer": lambda: refilled(lambda buffer: buffer),
    "a ring of three": lambda: refilled(lambda buffer: buffer, slots=3),
    "views that are read-only": lambda: refilled(
        lambda buffer: np.lib.stride_tricks.as_strided(buffer, writeable=False)
    ),
    "fields of records": structured,
    "bytes that are read into": read_into,
    "objects of one's own": lambda: refilled(Lazy),
    "tensors on NumPy's memory": lambda: refilled(torchs),
    "tensors that are written to": Loader,
    "JAX's arrays on NumPy's memory": lambda: refilled(jaxs),
    "frames on NumPy's memory": lambda: refilled(frames),
}


def fit(given: Any, **settings: Any) -> cr.Model:
    usual: dict[str, Any] = {"loss": "squared_error", "epochs": 3, "seed": 1}
    return cr.fit(cr.mlp([6, 8, 1], normalization="batch"), given, **{**usual, **settings})


def same(got: cr.Model, want: cr.Model) -> bool:
    return np.array_equal(np.asarray(got.theta), np.asarray(want.theta)) and np.array_equal(
        np.asarray(got.buffers), np.asarray(want.buffers)
    )


@cache
def trained_on_plain_batches(on: cr.Backend) -> cr.Model:
    return fit(plain, backend=on)


@pytest.mark.parametrize(
    ("kind", "library"),
    [(kind, library) for kind in SOURCES for library in ("numpy", "torch")]
    + [(kind, "jax-jit") for kind in ("one buffer", "fields of records", "JAX's arrays on NumPy's memory")],
)
def test_a_source_that_fills_its_buffers_anew_trains_and_predicts_on_its_rows(
    kind: str, library: str, open_platform: Callable[..., Platform]
) -> None:
    on = open_platform(library).backend
    source = SOURCES[kind]
    given = source() if kind == "tensors that are written to" else source
    model = fit(given, backend=on)
    assert same(model, trained_on_plain_batches(on))
    want = np.concatenate([np.asarray(model.predict(x)) for x, _, _ in plain()])
    for asked in (source(), (x for x, _, _ in source()), source):
        # JAX's first call is not compiled.
        np.testing.assert_allclose(np.asarray(model.predict(asked)), want, rtol=0, atol=1e-6)


@pytest.mark.parametrize("dtype", ["int64", "int32", "uint8", "bool"])
def test_classes_in_a_refilled_buffer_are_those_of_their_rows(
    dtype: str, open_platform: Callable[..., Platform]
) -> None:
    labels = (X[:, 0] > 0).astype(dtype)

    def batches() -> Iterator[tuple[Any, Any]]:
        x, y = np.empty((32, 6), "f4"), np.empty(32, dtype)
        for part in PARTS:
            x[...], y[...] = X[part], labels[part]
            yield x, y

    settings: dict[str, Any] = {"loss": "softmax_cross_entropy", "epochs": 2, "backend": open_platform("numpy").backend}
    got = cr.fit(cr.mlp([6, 2]), batches, **settings)
    want = cr.fit(cr.mlp([6, 2]), [(X[part], labels[part]) for part in PARTS], **settings)
    assert same(got, want)


def test_every_run_over_a_refilled_buffer_is_the_same() -> None:
    models = [fit(SOURCES["one buffer"], epochs=1) for _ in range(5)]
    assert all(same(model, models[0]) for model in models)


def test_probabilities_of_refilled_buffers() -> None:
    network = cr.mlp([6, 3])
    model = cr.fit(network, X, np.arange(640) % 3, loss="softmax_cross_entropy", epochs=1)
    want = np.concatenate([model.predict_proba(x) for x, _, _ in plain()])
    np.testing.assert_array_equal(model.predict_proba(x for x, _, _ in SOURCES["one buffer"]()), want)


def test_a_training_over_refilled_buffers_resumes_within_an_epoch(tmp_path: Path) -> None:
    class Dies:
        def on_step_end(self, run: Any) -> None:
            if (run.epoch, run.step) == (2, 12):
                raise KeyboardInterrupt

    source = SOURCES["one buffer"]
    with pytest.raises(KeyboardInterrupt):
        fit(source, checkpoint=cr.Checkpoint(tmp_path, every="0 s"), callbacks=[Dies()])
    assert same(fit(source, checkpoint=cr.Checkpoint(tmp_path, resume=True)), trained_on_plain_batches("numpy"))


def test_a_divergence_in_refilled_buffers_is_found_where_it_was() -> None:
    def diverges() -> Iterator[tuple[Any, ...]]:
        for number, (x, y, w) in enumerate(SOURCES["one buffer"](), 1):
            x *= 1e30 if number == 7 else 1
            yield x, y, w

    with pytest.raises(cr.DivergenceError, match=r"epoch 1, step 7 of 20: .* inputs reach") as caught:
        cr.fit(cr.mlp([6, 1]), diverges, loss="squared_error", optimizer="sgd")
    assert np.isfinite(caught.value.model.theta).all()


# ------------------------------------------------------------------------------------------------------ lazy readers


class Reader:
    """Rows by slices, always in the same memory; no more than a thousand at a time. ``kind`` is what a slice is."""

    def __init__(self, rows: np.ndarray, kind: Callable[[np.ndarray], Any] = np.asarray) -> None:
        self._rows, self.shape, self.dtype, self._kind = rows, rows.shape, rows.dtype, kind
        self._memory = np.zeros((1000, *rows.shape[1:]), rows.dtype)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, key: Any) -> Any:
        rows = self._rows[key]
        self._memory[: len(np.atleast_1d(rows))] = rows
        return self._kind(self._memory[: len(rows)] if isinstance(key, slice) else self._memory[0])


@pytest.fixture
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_windows, "WINDOW_BYTES", 8 * 6 * 64)


@pytest.mark.parametrize(
    ("kind", "library"),
    [*((kind, "numpy") for kind in (np.asarray, torchs, jaxs, Lazy)), (torchs, "torch"), (jaxs, "jax-jit")],
)
def test_a_reader_that_gives_its_slices_in_one_memory_trains_and_predicts_on_its_rows(
    kind: Callable[..., Any], library: str, open_platform: Callable[..., Platform], small_windows: None
) -> None:
    on, rows = open_platform(library).backend.name, Reader(X, kind)
    settings: dict[str, Any] = {"shuffle": False, "backend": on}
    got, want = (
        fit(rows, y=Reader(Y, kind), validation=(rows, Y), **settings),
        fit(X, y=Y, validation=(X, Y), **settings),
    )
    assert same(got, want)
    assert got.history["val_loss"] == want.history["val_loss"]
    assert got.evaluate(rows, Y) == want.evaluate(X, Y)
    np.testing.assert_allclose(np.asarray(got.predict(rows)), np.asarray(want.predict(X)), rtol=0, atol=1e-6)


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_readers_are_read_by_slices_wherever_an_array_is_taken() -> None:
    rows, target, weight = Reader(X), Reader(Y[:, 0]), Reader(W)
    settings: dict[str, Any] = {"max_iter": 3, "random_state": 0}
    got, want = (
        cr.MLPRegressor(**settings).fit(*given, sample_weight=w)
        for *given, w in ((rows, target, weight), (X, Y[:, 0], W))
    )
    np.testing.assert_array_equal(got.model_.theta, want.model_.theta)
    np.testing.assert_array_equal(got.predict(rows), want.predict(X))
    assert got.score(rows, target, weight) == want.score(X, Y[:, 0], W)
    model = want.model_
    assert model.evaluate(rows, target, weight) == model.evaluate(X, Y[:, 0], W)
    assert str(cr.diagnose(model, rows, target)) == str(cr.diagnose(model, X, Y[:, 0]))
    checks = [cr.check_gradients(model.network, x, y, loss="squared_error") for x, y in ((rows, target), (X, Y[:, 0]))]
    assert str(checks[0]) == str(checks[1])


@pytest.mark.parametrize(
    ("part", "says"),
    [
        (lambda rows: rows[:1], r"X\[0:128\] must be rows of shape \(128, 6\), got shape \(1, 6\)"),
        (lambda rows: rows[0], r"got shape \(6,\)"),
        (lambda rows: rows[:-1], r"got shape \(127, 6\)"),
        (lambda rows: rows.astype(complex), "X must hold real numbers, got dtype complex128"),
        (lambda rows: rows.astype(str), "X must hold real numbers, got dtype <U"),
    ],
)
def test_what_a_slice_gives_is_looked_at(part: Any, says: str, small_windows: None) -> None:
    class Wrong(Reader):
        def __getitem__(self, key: Any) -> Any:
            return part(self._rows[key])

    with pytest.raises((cr.DataError, cr.DTypeError), match=says):
        fit(Wrong(X), y=Y, shuffle=False)


@pytest.mark.parametrize("form", ["memory map", "Fortran order", "strided", "frame"])
def test_batches_of_every_form_are_their_rows_bit_for_bit(form: str, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", X)
    whole = {
        "memory map": lambda: np.load(tmp_path / "x.npy", mmap_mode="r"),
        "Fortran order": lambda: np.asfortranarray(X),
        "strided": lambda: np.repeat(X, 2, axis=0)[::2],
        "frame": lambda: pytest.importorskip("pandas").DataFrame(X),
    }[form]()
    network, how = cr.mlp([6, 8, 1]), {"loss": "squared_error", "epochs": 2}
    batches = [(np.asfortranarray(whole[part]) if form == "Fortran order" else whole[part], Y[part]) for part in PARTS]
    model = cr.fit(network, batches, **how)
    rows = cr.fit(network, X, Y, batch_size=32, shuffle=False, **how)
    np.testing.assert_array_equal(model.theta, rows.theta)
    np.testing.assert_array_equal(model.predict(x for x, _ in batches), rows.predict(X))
