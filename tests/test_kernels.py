"""Every faster body gives what its reference gives, as it is and in a recorded step."""

from __future__ import annotations

import ast
import importlib
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from conftest import Platform, about

import chainrule as cr
from chainrule import _kernels, _layout, layers, links, losses, optimizers
from chainrule import batch as batches
from chainrule import network as networks
from chainrule._backend import Backend, dtype_name
from chainrule._backend import reference_backend as backend
from chainrule._backend._program import engine
from chainrule._kernels import _numba, _numpy, _torch
from chainrule.activations import Activation, ReLU, Tanh
from chainrule.batch import Batch
from chainrule.losses import SoftmaxCrossEntropy, SquaredError
from chainrule.optimizers import SGD, Adam, AdamW, Momentum

Z = np.random.default_rng(4).normal(size=(3, 7, 5))
WIDE = np.random.default_rng(4).normal(size=(40, 5))  # many rows of few classes
CLASSES = np.random.default_rng(5).integers(0, 5, (40, 1))
SPECIAL = np.asarray([[-1.0, -0.0, 0.0, np.nan, np.inf]])
LONG = 0.5 + np.abs(np.random.default_rng(6).normal(size=(4, 2 * 65_536 + 5)))  # theta, g, m, v: two chunks and a rest
PAIRS = np.abs(np.random.default_rng(6).normal(size=(4, 3, 11)))
COUNT, ONE, RATES = np.asarray([2]), np.asarray([3.0]), np.asarray([[0.1], [0.2], [0.3]])
NETWORK = cr.Sequential(cr.Dense(5, 4), cr.ReLU(), cr.LayerNorm(4), cr.Dense(4, 2, bias=False))
PIECES = ((Z[0, :5, :4], Z[1, :1, :4]), (), (Z[1, 1:2, :4], Z[1, 2:3, :4]), (Z[2, :4, :2],))
RESIDUALS = Z[0], (Z[1, :, :4], np.maximum(Z[1, :, :4], 0.0)), (Z[2, :, :4], 1.0 + Z[0, :, :1] ** 2), Z[2, :, 1:]
# What each operation with a provider is tried on.
KERNELS: dict[Callable[..., Any], list[tuple[Any, ...]]] = {
    batches.advance: [
        ((COUNT, COUNT, ONE, ONE), np.asarray(0.5), 8, None),
        ((COUNT, COUNT, ONE, ONE), np.asarray(0.5), 8, ONE),
        ((COUNT, COUNT, RATES, ONE), RATES[:, 0], 8, None),
    ],
    batches.gather: [
        (Batch(Z[0], CLASSES[:7], None), np.asarray([3, 0, 6, 1, 2, 5, 4]), np.asarray([2]), np.asarray([0, 1, 2, 3])),
        (Batch(Z[0], Z[1], np.ones((7, 1))), np.asarray([3, 0, 6, 1, 2, 5, 4]), np.asarray([5]), np.asarray([0, 1])),
    ],
    layers.activate: [(ReLU(), Z), (ReLU(), SPECIAL), (Tanh(), Z), (Activation(lambda xp, z: z * z, abs), Z)],
    layers.activation_gradient: [
        (ReLU(), Z, np.maximum(Z, 0.0), Z[::-1]),
        (ReLU(), SPECIAL, np.maximum(SPECIAL, 0.0), Z[0, :1]),
    ],
    layers.affine: [(Z[0], Z[1].T.copy(), Z[0, :1, :1] * np.ones((1, 7))), (Z[0], Z.mT.copy(), np.ones((3, 1, 7)))],
    layers.bias_gradient: [(Z,), (Z[0],), (Z[0, :1],)],
    links.largest: [
        (Z[0],),
        (np.asarray([[1.0, 3.0, 3.0], [2.0, np.nan, np.inf], [-np.inf, np.nan, np.nan]]),),
        (Z,),
        (np.asarray([[3e38, 3.1e38], [-np.inf, 0.0], [0.0, np.inf], [-np.inf, -np.inf]]),),
    ],
    links.note_infinite: [
        *((x, z, np.zeros(1)) for x in (Z[0], SPECIAL) for z in (Z[1], SPECIAL)),
        (Z[0], np.asarray([[1.0, -np.inf]]), np.zeros(1)),
    ],
    links.positive: [(Z[0],), (Z,), (SPECIAL,), (np.full((3, 2), 3e38),)],
    losses.cost: [
        *((SoftmaxCrossEntropy(), z, CLASSES[: z.shape[-2]], None) for z in (Z, Z[0], WIDE, 1000.0 * WIDE)),
        (SoftmaxCrossEntropy(0.1), Z, CLASSES[:7], None),
        (SoftmaxCrossEntropy(), Z, CLASSES[:7], np.ones((7, 1))),
        (SquaredError(), Z, Z[0], None),
    ],
    optimizers.clip_norm: [
        *((bound, g) for bound in (1e-3, 1.0, 1e9) for g in (LONG[0], PAIRS, 0.0 * LONG[0])),
        (5.0, np.asarray([3e19, -4e19, 0.0])),
        (1.0, np.asarray([[3e38, -3e38], [1.0, np.nan], [0.3, 0.4]])),
    ],
    optimizers.adam: [
        *((Adam(b1=b1), LONG[0], LONG[1], (LONG[2], LONG[3]), ONE, np.asarray([0.1])) for b1 in (0.9, 0.0)),
        *(
            (adam, LONG[0], LONG[1], (LONG[2], LONG[3]), ONE, np.asarray([0.1]))
            for adam in (Adam(epsilon=0.1), Adam(epsilon=0.1, epsilon_hat=True), Adam(b2=0.0, epsilon_hat=True))
        ),
        (Adam(epsilon=0.1, epsilon_hat=True), PAIRS[0], PAIRS[1], (PAIRS[2], PAIRS[3]), ONE, RATES),
        *((AdamW(), PAIRS[0], PAIRS[1], (PAIRS[2], PAIRS[3]), ONE, rate) for rate in (np.asarray([0.1]), RATES)),
    ],
    optimizers.update: [
        (SGD(), LONG[0], LONG[1], (), ONE, np.asarray([0.1])),
        (Momentum(nesterov=True), LONG[0], LONG[1], (LONG[2],), ONE, np.asarray([0.1])),
        (AdamW(decay=0.1), LONG[0], LONG[1], (LONG[2], LONG[3], 1.0 * (LONG[3] > 1.0)), ONE, np.asarray([0.1])),
        (Momentum(), PAIRS[0], PAIRS[1], (PAIRS[2],), ONE, RATES),
    ],
    layers.input_gradient: [(Z[0], Z[1, :4]), (Z, Z[:, :4])],
    _layout.split: [(NETWORK.layout.groups, LONG[0, : NETWORK.size]), (NETWORK.layout.groups, LONG[:, : NETWORK.size])],
    networks.flat_gradient: [
        (NETWORK, PIECES, RESIDUALS, Z[0, :, :2]),
        (cr.Sequential(cr.Dense(5, 4)), (PIECES[0],), (Z[0, :1],), Z[1, :1, :4]),
        (cr.Sequential(cr.Dense(5, 4)), ((Z[:, :5, :4], Z[:, :1, :4]),), (Z,), Z[..., :4]),
    ],
}
TABLES = {"numpy": _numpy.PROVIDERS, "numpy-fast": _numba.PROVIDERS, "torch": _torch.PROVIDERS}
PROVIDED = [
    (platform, operation)
    for platform, providers in TABLES.items()
    for operation in providers
    if operation is not engine  # what it makes of a whole step is in test_one_call.py
]
each_provider = pytest.mark.parametrize(
    ("name", "operation"), PROVIDED, ids=lambda value: getattr(value, "__name__", value)
)
DONATED = (optimizers.adam, optimizers.update, batches.advance, links.note_infinite)


def test_every_provider_is_compared() -> None:
    assert {operation for _, operation in PROVIDED} == set(KERNELS)
    assert list(_kernels._PROVIDERS) == ["numpy", "cupy", "torch"]  # CuPy's are compared in test_cuda_kernels.py


@pytest.mark.parametrize("recorded", [False, True], ids=["as it is", "recorded"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@each_provider
def test_a_provider_gives_what_its_reference_gives(
    name: str, operation: Callable[..., Any], dtype: str, recorded: bool, open_platform: Callable[..., Platform]
) -> None:
    platform = open_platform(name, dtype=dtype, mode="eager" if operation in DONATED or name == "torch" else "readonly")
    for arguments in KERNELS[operation]:
        with about(str(arguments)):
            want = leaves(operation(replace(platform.backend, providers={}), *placed(platform, arguments)))
            run = replayed if recorded and platform.backend.library.RECORDS else Backend.run
            got = leaves(run(platform.backend, operation, *placed(platform, arguments)))
            for ours, theirs in zip(got, want, strict=True):
                ours = np.asarray(ours) if platform.backend.name == "numpy" else ours
                want_host, name_of = platform.host(theirs), dtype_name(theirs.dtype)
                platform.check(ours, want_host, rtol=8 * platform.eps, atol=8 * platform.eps, dtype=name_of)


def test_a_sparse_batch_gives_what_the_dense_one_gives() -> None:
    sparse = pytest.importorskip("scipy.sparse", reason="SciPy comes with chainrule[sklearn]")
    on = _kernels.with_sparse_providers(_kernels.backend("numpy", dtype="float64"))
    rng = np.random.default_rng(0)
    x, W, b, dy = (rng.normal(size=shape) for shape in ((7, 5), (5, 3), (1, 3), (7, 3)))
    x[x < 0.5] = 0.0
    for rows in (sparse.csr_matrix(x), sparse.csr_array(x)):
        for operation, *arguments in ((layers.affine, W, b), (layers.affine, W), (layers.weight_gradient, dy)):
            got, want = on.run(operation, rows, *arguments), on.run(operation, x, *arguments)
            assert type(got) is np.ndarray
            np.testing.assert_allclose(got, want, rtol=1e-14, atol=1e-14)
    assert not on.compiled


@each_provider
def test_a_provider_does_not_decline_what_it_is_there_for(
    name: str, operation: Callable[..., Any], open_platform: Callable[..., Platform]
) -> None:
    platform = open_platform(name)
    cases = [placed(platform, arguments) for arguments in KERNELS[operation]]
    if name != "numpy-fast":
        assert any(
            platform.backend.providers[operation](platform.backend, *case) is not NotImplemented for case in cases
        )
        return
    compiled = importlib.import_module("chainrule._kernels._compiled")
    call_by_call = {body: made for body, made in platform.backend.providers.items() if body is not engine}
    backend = replace(platform.backend, providers=call_by_call)
    programs = [recorded_program(backend, operation, case)._program for case in cases]
    loops = {id(thing) for thing in vars(compiled).values()}
    assert any(id(part) in loops for program in programs for call in program.calls for part in parts(call))


def parts(call: Any) -> Iterator[Any]:
    """A bound call, and what is inside of it."""
    yield call
    if hasattr(call, "func"):
        yield from parts(call.func)


def test_a_numba_that_cannot_be_imported_says_so_once_and_is_done_without(
    monkeypatch: pytest.MonkeyPatch, open_platform: Callable[..., Platform]
) -> None:
    """Each Numba refuses the NumPy versions that are newer than itself."""
    on, plain = open_platform("numpy-fast").backend, open_platform("numpy").backend
    arguments = ReLU(), Z[0].astype(np.float32)

    def refuses(name: str, package: str) -> None:
        raise ImportError("Numba needs NumPy 2.3 or less. Got NumPy 2.4.")

    _numba.load.cache_clear()
    monkeypatch.setattr(_numba.importlib, "import_module", refuses)
    with pytest.warns(RuntimeWarning, match=r"cannot be imported \(Numba needs NumPy 2.3 or less") as seen:
        got = [replayed(on, layers.activate, *arguments)[0] for _ in range(2)]
    monkeypatch.undo()
    _numba.load.cache_clear()
    assert len(seen) == 1
    np.testing.assert_array_equal(got[1], plain.run(layers.activate, *arguments))


def doubled(x: Any, out: Any) -> None:
    for i in range(x.size):
        out[i] = 2.0 * x[i]


def damages() -> dict[str, Callable[[bytes], bytes]]:
    return {
        "empty": lambda data: b"",
        "cut short": lambda data: data[: len(data) // 2],
        "all zero": lambda data: bytes(len(data)),
        "another's": lambda data: b"not a pickle at all",
    }


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("damage", damages())
@pytest.mark.parametrize("suffix", [".nbi", ".nbc"])
def test_a_cache_that_was_damaged_is_written_anew(
    suffix: str, damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    numba = pytest.importorskip("numba", reason="Numba is not installed: pip install 'chainrule[fast]'")
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    compiled = importlib.import_module("chainrule._kernels._compiled")

    def run() -> Any:
        loop, out = compiled.compiled(doubled), np.empty(3)
        loop(np.arange(3.0), out)
        assert out.tolist() == [0.0, 2.0, 4.0]
        return loop

    run()
    (path,) = tmp_path.rglob(f"*{suffix}")
    path.write_bytes(damages()[damage](path.read_bytes()))
    assert not run().stats.cache_hits
    assert run().stats.cache_hits


@pytest.mark.parametrize("folder", ["on a full disk", "that is a file"])
def test_where_the_cache_cannot_be_written_to_the_loops_are_compiled_and_a_warning_says_so_once(
    folder: str, tmp_path: Path
) -> None:
    pytest.importorskip("numba", reason="Numba is not installed: pip install 'chainrule[fast]'")
    script = """
        import resource, sys, warnings
        import numpy as np
        from numba.core import caching
        import chainrule as cr
        from chainrule._kernels import with_providers
        if sys.argv[1] == "on a full disk":  # no file may grow
            resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
        else:  # nor is there another one, as in an installation that is read-only
            caching.CacheImpl._locator_classes = caching.CacheImpl._locator_classes[:1]
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            X = np.arange(12.0).reshape(6, 2) / 12
            net, sgd = cr.mlp([2, 3, 1], activation="tanh"), cr.SGD(0.1)
            on = with_providers(cr.backend("numpy"), fast=True)
            model = cr.fit(net, X, X[:, 0], loss="squared_error", optimizer=sgd, epochs=3, batch_size=2, backend=on)
        assert model.backend.info["kernels"]["affine"] == "numba"
        print([str(warning.message) for warning in caught])
    """
    if folder == "that is a file":
        (tmp_path / "cache").write_text("")
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    command = [sys.executable, "-c", textwrap.dedent(script), folder]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    (warning,) = ast.literal_eval(done.stdout)
    why = "File too large" if folder == "on a full disk" else "there is no folder for it"
    assert warning.startswith(f"Numba's cache cannot be written to ({why}), so each process compiles its loops again")


def test_numba_stays_inside_of_its_arrays(open_platform: Callable[..., Platform]) -> None:
    """Without a check of its own it would read on in memory that is not ours."""
    on = open_platform("numpy-fast").backend
    numbers, rows = np.zeros((3, 2), np.float32), np.arange(3, dtype=np.int32)
    batch = Batch(numbers, np.zeros((3, 1), np.int32))
    with pytest.raises(IndexError, match="beyond"):
        replayed(on, batches.gather, batch, rows, np.asarray([2], np.int32), rows[:2])
    for wrong in (-1, 2):
        with pytest.raises(IndexError, match="no output"):
            replayed(on, losses.cost, SoftmaxCrossEntropy(), numbers, np.full((3, 1), wrong, np.int32), None)


def test_a_backend_without_providers_runs_the_reference() -> None:
    plain = backend("numpy")
    assert not plain.providers
    assert _kernels.with_providers(plain, fast=False).providers.keys() == {o for name, o in PROVIDED if name == "numpy"}
    assert plain.run(lambda b, x: (b, x), 3) == (plain, 3)


def test_what_ran_is_on_view(open_platform: Callable[..., Platform]) -> None:
    kernels = open_platform("numpy-fast").backend.info["kernels"]
    assert kernels["adam"] == "numba"
    assert open_platform("numpy").backend.info["kernels"]["adam"] == "numpy"
    assert open_platform("providers-off").backend.info["kernels"] == {}


class State(NamedTuple):
    arrays: tuple[Any, ...]


def recorded_program(on: Backend, operation: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    """A program whose state are the operation's arguments, and whose results are the operation's; it ran once."""

    def make(on: Backend) -> Callable[..., Any]:
        return lambda state: (state, *leaves(on.run(operation, *rebuilt(arguments, iter(state.arrays)))))

    program = on.compile(make)
    program(State(tuple(leaves(arguments))))
    return program


def replayed(on: Backend, operation: Callable[..., Any], *arguments: Any) -> tuple[Any, ...]:
    """The results of the program's second run: the first may be the recording's."""
    _, *results = recorded_program(on, operation, arguments)(State(tuple(leaves(arguments))))
    return tuple(results)


def placed(platform: Platform, tree: Any) -> Any:
    """The tuples of ``tree`` with arrays of the platform, new ones each time."""
    return rebuilt(tree, iter([platform.backend.xp.reshape(platform.array(x), x.shape) for x in leaves(tree)]))


def leaves(tree: Any) -> list[Any]:
    """The arrays in nested tuples."""
    if isinstance(tree, tuple):
        return [leaf for part in tree for leaf in leaves(part)]
    return [tree] if hasattr(tree, "dtype") else []


def rebuilt(tree: Any, arrays: Iterator[Any]) -> Any:
    """Tuples like ``tree``, of other arrays."""
    if isinstance(tree, tuple):
        parts = [rebuilt(part, arrays) for part in tree]
        return type(tree)(*parts) if hasattr(tree, "_fields") else tuple(parts)
    return next(arrays) if hasattr(tree, "dtype") else tree
