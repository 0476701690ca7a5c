"""``precision="bf16"`` on a CPU: operands of Dense's products rounded once, sums in float32, and where it is refused.

On NumPy by MKL where it is installed, else by what stands in for it (``another_blas``); on torch by its own. The
rounding is torch's, which we did not write.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
from another_blas import WITH_AMX, as_float32, put_in_place
from conftest import find_library

import chainrule as cr
from chainrule import layers
from chainrule._backend import Backend, _items, _loops, _mkl, _precision, _program, _torch
from chainrule._backend._record import NotCovered, work_of
from chainrule._kernels import _numpy_bf16, with_providers

RNG = np.random.default_rng(11)
X = RNG.standard_normal((48, 6)).astype(np.float32)
Y = (X[:, 0] > X[:, 1]).astype(np.int64)
SPECIAL = [0.0, -0.0, np.inf, -np.inf, 3.4e38, 1e-45, 1.00390625, 1.01171875, -1.00390625]  # two ties to even


@pytest.fixture(params=["mkl", "numpys", "torch"])
def bf16(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Backend:
    if request.param == "torch":
        find_library("torch")
        monkeypatch.setattr(_precision, "processor_flags", lambda: WITH_AMX)
        return cr.backend("torch", precision="bf16")
    put_in_place(request.param, monkeypatch)
    return cr.backend("numpy", precision="bf16")


@pytest.fixture(params=["mkl", "numpys"])
def fast(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Backend:
    """On NumPy in compiled steps, however short the training is."""
    find_library("numba", "numba")
    put_in_place(request.param, monkeypatch)
    return with_providers(cr.backend("numpy", precision="bf16"), fast=True)


def rounded(x: np.ndarray) -> np.ndarray:
    torch = find_library("torch")
    return torch.tensor(np.ascontiguousarray(x)).bfloat16().float().numpy().astype(np.float64)


def fit(on: Any, network: Any = None, **options: Any) -> cr.Model:
    usual = {"loss": "softmax_cross_entropy", "epochs": 4, "batch_size": 16, "verbose": False, "backend": on}
    return cr.fit(network or cr.mlp([6, 16, 8, 2]), X, Y, **{**usual, **options})


# ------------------------------------------------------------------------------------------------------- the rounding


def test_it_is_to_the_nearest_and_of_ties_to_even_as_torchs_is() -> None:
    torch = find_library("torch")
    words = RNG.integers(0, 2**32, 100_000, dtype=np.uint64).astype(np.uint32)
    x = np.concatenate([np.float32(SPECIAL), words.view(np.float32)])
    x = x[: len(x) // 10 * 10].reshape(-1, 10)
    found = np.full(x.shape, 7, np.uint16)
    _numpy_bf16._round(x, found)
    numbers = ~np.isnan(x)
    wanted = torch.tensor(x).bfloat16().view(torch.int16).numpy().view(np.uint16)
    assert np.array_equal(found[numbers], wanted[numbers])
    assert np.isnan(as_float32(found)[~numbers]).all()


@pytest.mark.parametrize("columns", [slice(None), slice(1, 7)], ids=["without gaps", "with gaps"])
def test_the_compiled_rounding_has_the_same_bits(columns: slice) -> None:
    find_library("numba", "numba")
    from chainrule._kernels import _queue

    words = RNG.integers(0, 2**32, (500, 10), dtype=np.uint64).astype(np.uint32)
    words[:, :9] = np.float32(SPECIAL).view(np.uint32)
    words[0] = 0x7F800001, 0x7FFFFFFF, 0xFFFFFFFF, 0xFF800001, *words[0, 4:]  # not numbers
    x = words.view(np.float32)[:, columns]
    found, wanted = np.full(x.shape, 7, np.uint16), np.full(x.shape, 8, np.uint16)
    call = _loops._elements(_queue.Threads().loop("bf16", x.dtype), [x, found])
    _queue._Queue([[[(call, 0, len(x))]]], 0, np.zeros(1, np.int64))(1)
    _numpy_bf16._round(x, wanted)
    assert np.array_equal(found, wanted)


# ------------------------------------------------------------------------------------------------------- the products


@pytest.mark.parametrize("members", [(), (3,)])
def test_operands_are_rounded_and_sums_are_not(members: tuple[int, ...], bf16: Backend) -> None:
    x, W, b, dy = (
        RNG.standard_normal((*members, *shape)).astype(np.float32) for shape in ((16, 40), (40, 8), (1, 8), (16, 8))
    )
    on, given = bf16.for_a_pass(), [bf16.asarray(a) for a in (x, W, b, dy)]
    found = [
        on.run(layers.affine, *given[:3]),
        on.run(layers.weight_gradient, given[0], given[3]),
        on.run(layers.input_gradient, given[3], given[1]),
    ]
    rx, rW, rdy = map(rounded, (x, W, dy))
    wanted = [rx @ rW, rx.mT @ rdy, rdy @ rW.mT]
    if bf16.name == "torch":  # whose results are rounded once more
        wanted = [rounded(product.astype(np.float32)) for product in wanted]
    wanted[0] = wanted[0] + b
    for mine, right in zip(found, wanted, strict=True):
        assert mine.dtype == bf16.dtype
        scale = np.abs(right).max()
        assert np.abs(bf16.to_numpy(mine) - right).max() <= (2**-8 if bf16.name == "torch" else 1e-6) * scale
    assert on.kept == {}


def test_what_is_no_number_stays_none(bf16: Backend) -> None:
    x = np.float32([[1.0, np.nan], [np.inf, 1.0]])
    y = bf16.to_numpy(bf16.run(layers.affine, bf16.asarray(x), bf16.asarray(np.float32([[2.0], [1.0]]))))
    assert np.isnan(y[0, 0])
    assert y[1, 0] == np.inf


def test_a_training_keeps_its_weights_in_float32(bf16: Backend) -> None:
    model = fit(bf16)
    theta = bf16.to_numpy(model.theta)
    assert theta.dtype == np.float32
    assert not np.array_equal(theta, rounded(theta))
    usual = fit(bf16.name)
    assert abs(model.history["loss"][-1] - usual.history["loss"][-1]) < 0.01
    assert model.history["loss"] != usual.history["loss"]
    assert model.backend.info["precision"] == "bf16"
    assert model.backend.products == ("mkl" if bf16.name == "numpy" else None)
    assert np.array_equal(theta, bf16.to_numpy(fit(bf16).theta))
    assert fit(model.backend).backend.precision == "bf16"


def test_torch_compiles_it(monkeypatch: pytest.MonkeyPatch) -> None:
    find_library("torch")
    monkeypatch.setattr(_precision, "processor_flags", lambda: WITH_AMX)
    on = cr.backend("torch", precision="bf16", compile=True)
    compile_ = _torch.compile
    monkeypatch.setattr(_torch, "compile", partial(compile_, compiler="eager"))
    theta = fit(on, epochs=1).theta
    np.testing.assert_allclose(theta, fit(cr.backend(on, compile=False), epochs=1).theta, atol=1e-6)


# ------------------------------------------------------------------------------------------ a step as one compiled call


def one_step(on: Backend, **options: Any) -> np.ndarray:
    return np.asarray(fit(on, epochs=1, batch_size=48, optimizer=cr.SGD(0.1), **options).theta)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    found: list[Any] = []
    init = _program.OneCall.__init__

    def noted(self: Any, engine: Any, nodes: Any, *rest: Any) -> None:
        init(self, engine, nodes, *rest)
        found.append([work_of(node).function for node in nodes])

    monkeypatch.setattr(_program.OneCall, "__init__", noted)
    return found


def test_each_operand_is_rounded_once_and_the_step_is_the_uncompiled_one(fast: Backend, made: list[Any]) -> None:
    compiled, usual = one_step(fast), one_step(cr.backend(fast, compile=False))
    assert [step.count("bf16") for step in made] == [9]  # x, W and dy of three layers
    np.testing.assert_allclose(compiled, usual, rtol=0, atol=1e-6)
    assert np.abs(compiled - one_step(cr.backend("numpy"))).max() > 1e-5


def test_cut_into_pieces_it_is_the_same_on_any_number_of_threads(
    fast: Backend, made: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from chainrule._kernels import _queue

    monkeypatch.setattr(_items, "_WIDE", 10)  # which is no bound for MKL
    whole = one_step(fast)
    for name, value in (("_CUT", 0), ("_ROWS", 4), ("_PLACES", 16)):
        monkeypatch.setattr(_items, name, value)
    thetas = []
    for cores in (1, 2, 3):
        monkeypatch.setattr(_queue, "_cores", lambda cores=cores: cores)
        thetas.append(one_step(fast, penalty=cr.Penalty(l2=0.0)))
        model = fit(fast)
        assert np.array_equal(model.predict_proba(X), fit(fast).predict_proba(X))
    assert len(made) >= 4
    np.testing.assert_allclose(thetas[0], whole, rtol=0, atol=1e-6)
    assert all(np.array_equal(theta, thetas[0]) for theta in thetas)


@pytest.fixture
def bound(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The levels of each step that is one compiled call."""
    from chainrule._kernels import _queue

    found: list[Any] = []
    bind = _queue.Threads.bind
    monkeypatch.setattr(_queue.Threads, "bind", lambda self, levels: (found.append(levels), bind(self, levels))[1])
    return found


def test_weights_are_rounded_in_pieces(fast: Backend, bound: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("_CUT", 0), ("_ROWS", 4), ("_PLACES", 64)):
        monkeypatch.setattr(_items, name, value)
    one_step(fast)
    parts = [
        [part for item in level for call, *part in item if call.arrays[-1].dtype.name == "uint16" and call.extent < 48]
        for level in bound[0]
    ]
    assert sorted(parts[0]) == [[0, 4], [0, 8], [0, 8], [4, 6], [8, 16]]  # of W six, sixteen and eight rows high
    assert parts[1:] == [[], []]  # rows through all layers, then weights


def test_predictions_of_many_rows_are_those_of_few(fast: Backend, made: list[Any], bound: list[Any]) -> None:
    model = fit(fast)
    many = np.tile(X, (400, 1))
    few = model.predict_proba(X)
    np.testing.assert_allclose(model.predict_proba(many), np.tile(few, (400, 1)), rtol=0, atol=1e-5)
    assert made[-1].count("bf16") == 6  # x and W of three layers
    window = max((levels[-1] for levels in bound), key=len)
    assert {stop - first for item in window for _, first, stop in item} == {_items.PREDICTED}
    assert len(window) == 16


def test_without_its_products_a_step_is_no_compiled_call(fast: Backend) -> None:
    from chainrule._kernels import _queue

    x = np.ones((4, 4), np.uint16)
    with pytest.raises(NotCovered, match="a product that only another BLAS has"):
        _loops.calls_of(_node(x), lambda a: a, _queue.Threads())


def _node(x: np.ndarray) -> Any:
    from chainrule._backend._record import Node

    return Node(_numpy_bf16._product, (x, x), (np.ones((4, 4), np.float32),))  # type: ignore[arg-type]


def test_sparse_rows_are_multiplied_in_bf16_too(bf16: Backend) -> None:
    find_library("scikit-learn", "sklearn")
    sparse = find_library("scipy", "scipy.sparse")
    rows = X * (np.abs(X) > 0.5)
    settings = {"hidden_layer_sizes": (8,), "max_iter": 3, "random_state": 0, "backend": bf16, "dtype": "float32"}
    with pytest.warns(UserWarning, match="Maximum iterations"):
        models = [cr.MLPClassifier(**settings).fit(given, Y).model_ for given in (rows, sparse.csr_matrix(rows))]
    thetas = [bf16.to_numpy(model.theta) for model in models]
    np.testing.assert_allclose(*thetas, atol=1e-5)
    assert not np.array_equal(thetas[0], rounded(thetas[0]))


# ------------------------------------------------------------------------------------------------------------ refusals

REFUSED: dict[str, tuple[dict[str, Any], list[str], str]] = {
    "no AMX": (
        {"name": "numpy"},
        ["avx512_bf16"],
        "a processor with amx_bf16 (a flag in /proc/cpuinfo), which this one",
    ),
    "no MKL": (
        {"name": "numpy"},
        WITH_AMX,
        "MKL's products, and mkl is not installed (pip install 'chainrule[intel]')",
    ),
    "float64": ({"name": "numpy", "dtype": "float64"}, WITH_AMX, "dtype='float32', got 'float64'"),
    "float64 on torch": ({"name": "torch", "dtype": "float64"}, WITH_AMX, "dtype='float32', got 'float64'"),
    "no flag": ({"name": "torch"}, ["avx2"], "a processor with amx_bf16 or avx512_bf16 (a flag in /proc/cpuinfo)"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_where_it_cannot_be_one_sentence_says_what_is_missing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    call, flags, missing = REFUSED[name]
    if call["name"] == "torch":
        find_library("torch")
    monkeypatch.setattr(_precision, "processor_flags", lambda: flags)
    monkeypatch.setattr(_mkl, "_found", lambda: _mkl._NOT_INSTALLED)
    with pytest.raises(cr.ConfigurationError) as caught:
        cr.backend(**call, precision="bf16")
    assert str(caught.value).startswith(f"precision='bf16' on {call['name']} needs {missing}")
    assert str(caught.value).endswith(": give what is missing, or precision='float32'.")


def test_without_kernels_it_is_refused(bf16: Backend) -> None:
    with pytest.raises(cr.ConfigurationError, match=r"products in bf16 are kernels, got kernels=False: leave one of"):
        cr.backend(bf16, kernels=False)


# ------------------------------------------------------------------------------------------------------------ accuracy


def test_on_digits_its_accuracy_is_that_of_float32_within_the_spread_of_the_seeds(bf16: Backend) -> None:
    find_library("scikit-learn", "sklearn")
    from sklearn.datasets import load_digits

    images, digits = load_digits(return_X_y=True)
    images = (images / 16).astype(np.float32)
    accuracies = {
        precision: [
            cr.fit(
                cr.mlp([64, 32, 10]), images[:1200], digits[:1200], loss="softmax_cross_entropy", epochs=8, seed=seed,
                optimizer=cr.Adam(0.01), batch_size=64,
                verbose=False, backend=cr.backend(bf16, precision=precision),
            ).evaluate(images[1200:], digits[1200:])["accuracy"]
            for seed in range(3)
        ]
        for precision in ("float32", "bf16")
    }  # fmt: skip
    usual, low = accuracies["float32"], accuracies["bf16"]
    assert abs(np.mean(low) - np.mean(usual)) <= max(usual) - min(usual)
    assert min(low) > 0.88
