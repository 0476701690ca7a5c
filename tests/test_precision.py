"""Products in tf32 and bf16 on the stand-ins: how far they round, that nothing else does, and where they are refused.

What this cannot show is which of them a GPU really takes in that precision, and its speed.
"""

from __future__ import annotations

import ctypes
import pickle
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
from conftest import cublaslt_stand_in, cupy_stand_in, find_library
from cuda_on_cpu import is_available
from test_cuda_kernels import edged, edges_hold, host_module

import chainrule as cr
from chainrule import layers
from chainrule._backend import PRECISIONS, Backend
from chainrule._kernels import _cupy, _cupy_products
from chainrule._kernels._cublaslt import Epilogue

pytestmark = pytest.mark.skipif(not is_available(), reason="kernels run on the CPU where there is g++ on Linux")

RNG = np.random.default_rng(3)
X = RNG.normal(size=(70, 6)).astype(np.float32)
Y = (X[:, 0] > X[:, 1]).astype(int)
# The most that rounding changes a number, in parts of it: half the distance between neighbours just above 1.
ROUNDING = {"float32": 2.0**-24, "tf32": 2.0**-11, "bf16": 2.0**-8}
LOW = ("tf32", "bf16")
each_low = pytest.mark.parametrize("precision", LOW)


@pytest.fixture
def cupy() -> Iterator[Any]:
    with cupy_stand_in() as module:
        yield module


@pytest.fixture
def backend(cupy: Any) -> Iterator[Callable[[str], Backend]]:
    """The backend of a precision, on the second device, which is the current one."""
    with cupy.cuda.Device(1):
        yield lambda precision: cr.backend("cupy", device=1, compile=True, precision=precision)


# ---------------------------------------------------------------------------------------------------- rounding to bf16


def words_of(x: np.ndarray) -> np.ndarray:
    """bf16 by cases: the upper half of float32, one more where the lower half is above the middle, or in it and odd."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    upper, lower = bits >> 16, bits & 0xFFFF
    up = (lower > 0x8000) | ((lower == 0x8000) & (upper % 2 == 1))
    return np.where(np.isnan(x), upper | 0x40, upper + up).astype(np.uint16)


def rounded(x: np.ndarray) -> np.ndarray:
    """To bf16 and back."""
    return (words_of(x).astype(np.uint32) << 16).view(np.float32)


def all_halves() -> np.ndarray:
    """Every upper half, with lower halves at both ends and around the middle: ties and specials of all kinds."""
    lower = np.asarray([0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF], np.uint32)
    return ((np.arange(2**16, dtype=np.uint32) << 16)[:, np.newaxis] | lower).view(np.float32)


def by_kernel(x: np.ndarray) -> np.ndarray:
    words = _cupy.bf16(cr.backend("numpy", compile=False), edged(x))
    assert edges_hold(words)
    return words


@pytest.fixture
def kernels_on_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_cupy, "_kernel", lambda dtype, name: host_module(dtype).get_function(name))
    monkeypatch.setattr(_cupy, "_new", lambda on, shape, dtype: edged(np.full(shape, 7, np.int16)).view(dtype))


def test_every_number_is_rounded_to_the_nearest_bit_for_bit(kernels_on_numpy: None) -> None:
    x = all_halves()
    words = by_kernel(x)
    assert words.dtype == np.uint16
    assert words.shape == x.shape
    np.testing.assert_array_equal(words, words_of(x))
    for number, word in {
        1.0: 0x3F80,
        1.0 + 2.0**-8: 0x3F80,  # the middle, to the even one
        1.0 + 3 * 2.0**-8: 0x3F82,
        -0.0: 0x8000,
        1e-45: 0x0000,
        3.4028235e38: 0x7F80,
        -np.inf: 0xFF80,
    }.items():
        assert by_kernel(np.full((1, 1), number, np.float32)).item() == word
    silent = np.asarray([[0x7F800001, 0xFF80FFFF]], np.uint32).view(np.float32)
    np.testing.assert_array_equal(by_kernel(silent), [[0x7FC0, 0xFFC0]])


def test_the_rounding_is_torchs(kernels_on_numpy: None) -> None:
    torch, x = find_library("torch"), all_halves()
    theirs = torch.from_numpy(x).to(torch.bfloat16).view(torch.int16).numpy().view(np.uint16)
    words, nan = by_kernel(x), np.isnan(x)
    np.testing.assert_array_equal(words[~nan], theirs[~nan])
    assert np.all((words[nan] & 0x7FFF) > 0x7F80)


def test_a_kernel_rounds_what_is_beyond_its_grid(kernels_on_numpy: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_cupy, "_BLOCKS", 2)
    for n in (1, 255, 513, 1500):
        x = RNG.normal(size=(1, n)).astype(np.float32)
        np.testing.assert_array_equal(by_kernel(x), words_of(x))


# -------------------------------------------------------------------------------------------------------- the products


def normal(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


CASES: dict[Callable[..., Any], list[tuple[np.ndarray, ...]]] = {
    layers.affine: [
        (normal(5, 40), normal(40, 7), normal(1, 7)),
        (normal(5, 40), normal(3, 40, 7), normal(3, 1, 7)),
        (normal(3, 5, 40), normal(3, 40, 7)),
        (normal(1, 1), normal(1, 1)),
        (normal(40, 5).T, normal(40, 14)[:, ::2]),
        (np.broadcast_to(normal(1, 40), (5, 40)), normal(7, 40)[::-1].T),
    ],
    layers.weight_gradient: [(normal(40, 3), normal(40, 7)), (normal(40, 3), normal(2, 40, 7))],
    layers.input_gradient: [(normal(5, 40), normal(3, 40)), (normal(2, 5, 40), normal(2, 3, 40))],
}
each_operation = pytest.mark.parametrize("operation", CASES, ids=lambda operation: operation.__name__)


def product(on: Backend, operation: Callable[..., Any], arrays: tuple[np.ndarray, ...]) -> np.ndarray:
    """With strides of the host's arrays; a product of any strides is taken."""
    placed = [on.xp.empty(a.shape, dtype=on.dtype) for a in arrays]
    for there, a in zip(placed, arrays, strict=True):
        there._a = a
    made = _cupy_products.PROVIDERS[operation](on, *placed)
    assert made.dtype == np.float32
    return on.to_numpy(made)


@each_operation
def test_a_product_is_that_of_operands_in_bf16(
    operation: Callable[..., Any], backend: Callable[[str], Backend]
) -> None:
    numpy = cr.backend("numpy", dtype="float64", compile=False)
    for x, y, *b in CASES[operation]:
        want = operation(numpy, rounded(x).astype(float), rounded(y).astype(float), *b)
        got = product(backend("bf16"), operation, (x, y, *b))
        np.testing.assert_allclose(got, want.astype(np.float32), rtol=ROUNDING["float32"] * 2, atol=0)


@each_operation
def test_a_product_errs_by_its_own_precision(operation: Callable[..., Any], backend: Callable[[str], Backend]) -> None:
    """|error| <= (2u + u^2) |x| |y| where both operands are rounded, by u at most (Higham, 2002, section 3.5)."""
    numpy = cr.backend("numpy", dtype="float64", compile=False)
    arrays = CASES[operation][0]
    exact, size = (operation(numpy, *(f(a.astype(float)) for a in arrays)) for f in (np.array, np.abs))
    errors = {precision: np.abs(product(backend(precision), operation, arrays) - exact) for precision in PRECISIONS}
    for precision, error in errors.items():
        u = ROUNDING[precision]
        assert np.all(error <= (2 * u + u * u + 2**-22) * size), precision
    assert 8 * errors["float32"].max() < errors["tf32"].max() < errors["bf16"].max() / 2


# -------------------------------------------------------------------------------------------------------------- fits


def on_device_1(**changed: Any) -> Backend:
    return cr.backend("cupy:1", **{"compile": True} | changed)


def fit(network: cr.Sequential | cr.Model | None = None, **changed: Any) -> cr.Model:
    usual: dict[str, Any] = {
        "loss": "softmax_cross_entropy", "epochs": 4, "batch_size": 16, "backend": on_device_1(),
        "optimizer": cr.SGD(0.1),
    }  # fmt: skip
    return cr.fit(network or cr.mlp([6, 16, 8, 2], activation="tanh"), X, Y, **usual | changed)


def host(model: cr.Model) -> np.ndarray:
    return model.backend.to_numpy(model.theta)


def distance(one: cr.Model, other: cr.Model) -> float:
    """Between their parameters, in parts of the way from the first ones."""
    start = one.network.initial_theta(0)
    return float(np.linalg.norm(host(one) - host(other)) / np.linalg.norm(host(other) - start))


def in_bf16(operation: Callable[..., Any]) -> Callable[..., Any]:
    """The reference on rounded operands."""
    return lambda on, x, y, *b: operation(on, rounded(np.ascontiguousarray(x)), rounded(np.ascontiguousarray(y)), *b)


def test_a_fit_in_bf16_is_the_one_whose_products_numpy_rounds(cupy: Any) -> None:
    emulated = MappingProxyType({operation: in_bf16(operation) for operation in CASES})
    on = replace(cr.backend("numpy", compile=False), providers=emulated)
    got = fit(backend=on_device_1(precision="bf16"))
    want = fit(backend=on)
    assert distance(got, want) < 1e-6
    assert distance(fit(), want) > 1e-4


@each_low
def test_a_fit_differs_from_float32_by_the_precisions_own_error(precision: str, cupy: Any) -> None:
    """The gradient errs by some roundings; so does the way that it leads."""
    got, exact = fit(backend=on_device_1(precision=precision)), fit()
    u = ROUNDING[precision]
    assert u / 10 < distance(got, exact) < 2 * u
    np.testing.assert_allclose(got.history["loss"], exact.history["loss"], rtol=u)
    for array in (got.theta, got.buffers, got.backend.asarray(X)):
        assert array.dtype == np.float32
    assert got.predict_proba(X).dtype == np.float32


@each_low
def test_a_captured_step_is_the_step(precision: str, backend: Callable[[str], Backend]) -> None:
    """Bit for bit: what is rounded in a capture is rounded anew at each launch."""
    network = cr.mlp([6, 16, 2], normalization="batch", dropout=0.2)
    graph, steps = (
        fit(network, backend=replace(backend(precision), compiled=compiled), optimizer="adamw")
        for compiled in (True, False)
    )
    np.testing.assert_array_equal(host(graph), host(steps))


def test_a_model_that_is_trained_further_keeps_its_precision_unless_told(cupy: Any) -> None:
    model = fit(backend=on_device_1(precision="bf16"), epochs=1)

    def further(backend: str | Backend = "auto") -> cr.Model:
        return fit(model, loss=None, epochs=1, backend=backend)

    kept, exact = further(), further(cr.backend(model.backend, precision="float32"))
    assert kept.backend == model.backend == further("cupy").backend == further("cupy:1").backend
    assert exact.backend == on_device_1()
    assert np.any(host(kept) != host(exact))
    with pytest.raises(cr.ConfigurationError, match=r"precision='bf16' needs .*compile=True.* got .*compile=False"):
        further(cr.backend(model.backend, compile=False))
    assert further("numpy").backend.precision == "float32"


# --------------------------------------------------------------------------------------------- what is said and refused


def test_a_precision_is_a_part_of_the_backend(backend: Callable[[str], Backend]) -> None:
    usual, tf32 = backend("float32"), backend("tf32")
    assert "precision" not in usual.info
    assert repr(usual) == "Backend(cupy, device=cuda:1, dtype=float32, compiled)"
    assert tf32.info["precision"] == "tf32"
    assert repr(tf32) == "Backend(cupy, device=cuda:1, dtype=float32, compiled, precision=tf32)"
    assert usual == cr.backend("cupy", device=1, compile=True)
    assert usual != tf32 == backend("tf32")


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "another library": (
        {"name": "array-api-strict"},
        "got backend='array-api-strict', compile=True and dtype='float32'",
    ),
    "not compiled": ({"compile": False}, "got backend='cupy', compile=False"),
    "not said to be compiled": ({"compile": None}, "got backend='cupy', compile=False"),
    "float64": ({"dtype": "float64"}, "got backend='cupy', compile=True and dtype='float64'"),
}


@pytest.mark.parametrize("name", REFUSED)
@each_low
def test_where_it_cannot_be_one_sentence_says_what_it_needs(name: str, precision: str, cupy: Any) -> None:
    changed, got = REFUSED[name]
    call: dict[str, Any] = {"name": "cupy", "compile": True, "precision": precision} | changed
    needs = f"precision='{precision}' needs backend='cupy', compile=True and dtype='float32', "
    with pytest.raises(cr.ConfigurationError) as caught:
        cr.backend(**call)
    assert str(caught.value).startswith(needs + got)
    assert cr.backend(**{"name": "cupy"} | changed, precision="float32").precision == "float32"


@pytest.mark.parametrize("given", ["bfloat16", "TF32", 16, np.ones(2), ["bf16"]], ids=str)
def test_an_unknown_precision_is_refused_everywhere(given: Any, backend: Callable[[str], Backend]) -> None:
    for name in ("numpy", backend("tf32")):
        with pytest.raises(cr.ConfigurationError, match=r"^precision must be 'float32', 'tf32' or 'bf16', got "):
            cr.backend(name, precision=given)


def test_a_backend_takes_another_precision_and_keeps_the_rest(backend: Callable[[str], Backend]) -> None:
    assert cr.backend(backend("tf32"), precision="bf16") == backend("bf16")


@each_low
def test_a_product_that_the_library_lacks_is_an_error_and_never_float32(
    precision: str, backend: Callable[[str], Backend]
) -> None:
    tells, network = ctypes.CDLL(cublaslt_stand_in()), cr.mlp([6, 11, 2])  # widths that no other test has planned
    on, x, W = backend(precision), normal(5, 41), normal(41, 9)
    tells.stand_in_lacks(int(Epilogue.DEFAULT))
    try:
        said = rf"a product of float32 \(5, 41\) and float32 \(41, 9\) should be taken in {precision}, .*'float32'\.$"
        with pytest.raises(cr.BackendError, match=said):
            product(on, layers.affine, (x, W))
        assert _cupy_products.affine(backend("float32"), *map(on.asarray, (x, W))) is NotImplemented
        with pytest.raises(cr.BackendError, match=precision):
            fit(network, backend=on_device_1(precision=precision))
    finally:
        tells.stand_in_lacks(0)


def test_a_product_of_nothing_has_no_precision(backend: Callable[[str], Backend]) -> None:
    on = backend("bf16")
    x, W = on.zeros((0, 6)), on.zeros((6, 4))
    assert on.run(layers.affine, x, W).shape == (0, 4)


def test_another_dtype_than_the_backends_is_refused(backend: Callable[[str], Backend]) -> None:
    on = backend("tf32")
    with pytest.raises(cr.BackendError, match=r"float64 \(5, 6\) and float64 \(6, 4\)"):
        on.run(layers.affine, on.zeros((5, 6), np.float64), on.zeros((6, 4), np.float64))


def test_a_checkpoint_and_a_pickle_know_the_precision(cupy: Any, tmp_path: Path) -> None:
    x, y = RNG.normal(size=(40, 6)), RNG.integers(0, 2, 40)
    settings: dict[str, Any] = {"loss": "softmax_cross_entropy", "epochs": 1}
    bf16 = on_device_1(precision="bf16")
    model = cr.fit(cr.mlp([6, 4, 2]), x, y, backend=bf16, checkpoint=tmp_path, **settings)
    assert pickle.loads(pickle.dumps(model)).backend == model.backend
    tf32, checkpoint = cr.backend(bf16, precision="tf32"), cr.Checkpoint(tmp_path, resume=True)
    with pytest.raises(cr.ConfigurationError, match="precision was 'bf16', now 'tf32'"):
        cr.fit(cr.mlp([6, 4, 2]), x, y, backend=tf32, checkpoint=checkpoint, **settings)
