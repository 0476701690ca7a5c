"""Each CUDA kernel gives what its reference gives: the sources are compiled for the CPU (cuda_on_cpu) and run on NumPy.

What this cannot show is a GPU's own arithmetic in the last bits, its speed, and races between blocks.
"""

from __future__ import annotations

import ctypes
import importlib
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from conftest import Platform, about
from cuda_on_cpu import HostModule, is_available
from test_kernels import leaves, rebuilt
from test_random import KNOWN

import chainrule as cr
from chainrule import _kernels, _layout, _random, layers, losses, optimizers
from chainrule import batch as batches
from chainrule._backend import LIBRARIES, Backend
from chainrule._backend import reference_backend as backend
from chainrule._kernels import _cupy, _cupy_products
from chainrule._random import Key
from chainrule.activations import Activation, Linear
from chainrule.batch import Batch
from chainrule.losses import SoftmaxCrossEntropy, SquaredError

CUDA = Path(_cupy.__file__).with_name("cuda")
REAL = {"float32": "float", "float64": "double"}
EDGE = 64  # entries around each array that no kernel may read or write
SHAPES = [(1, 1), (31, 1), (33, 3), (257, 10), (1, 129), (33, 129), (9, 1000), (3, 33, 10), (2, 1, 1)]
ODD = [-np.inf, -1e4, -1.0, -1e-30, -0.0, 0.0, 1e-30, 1.0, 1e4, np.inf, np.nan]
FAR = np.asarray([[-1e30, -1.9e19, -1e7, 1e7, 1.9e19, 1e30, np.nan]])  # squares that float32 does not hold
ACTIVATIONS = [
    *(cr.ReLU(), cr.LeakyReLU(), cr.LeakyReLU(0.0), cr.ELU(), cr.ELU(0.5), cr.SELU(), cr.Sigmoid(), cr.Tanh()),
    *(cr.SiLU(), cr.GELU(), cr.GELUTanh()),
]
RULES = [
    cr.SGD(),
    *(cr.Momentum(mu=0.8, nesterov=ahead) for ahead in (False, True)),
    *(cr.VelocityMomentum(mu=0.8, nesterov=ahead) for ahead in (False, True)),
    cr.AveragedMomentum(),
    cr.Adagrad(),
    cr.RMSProp(),
    cr.Adam(epsilon=0.1),
    cr.Adam(epsilon=0.1, epsilon_hat=True),
    cr.Adam(b1=0.0, b2=0.0),
    cr.AdamW(epsilon=0.1, decay=0.3),
    cr.Lion(),
    cr.Lion(decay=0.3),
]
RNG = np.random.default_rng(8)

pytestmark = pytest.mark.skipif(not is_available(), reason="kernels run on the CPU where there is g++ on Linux")


def normal(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape)


def classes(rows: int, n: int) -> np.ndarray:
    return RNG.integers(0, n, (rows, 1))


def odd_rows() -> np.ndarray:
    """Rows of five with each odd number in one of them."""
    return np.concatenate([np.where(np.arange(5) == 2, x, normal(1, 5)) for x in ODD])


def key(members: int, first_row: int = 0) -> Key:
    words = RNG.integers(-(2**31), 2**31, (2, members, 1, 1))
    return Key(words[0], words[1], first_row)


def update_of(rule: Any, *shape: int) -> tuple[Any, ...]:
    """(rule, theta, g, moments, t, eta) after some steps, for one vector or a stack of them."""
    decays = np.arange(shape[-1]) % 3 > 0
    moments = rule.init(backend("numpy", dtype="float64"), np.zeros(shape), decays.astype(float))
    filled = tuple(normal(*shape) ** 2 if m.shape == shape and not m.any() else m for m in moments)
    return rule, normal(*shape), normal(*shape), filled, np.asarray([3.0]), 0.1 + np.abs(normal(shape[0], 1))


class Slower(cr.SGD):
    """Half of gradient descent."""

    def update(self, backend: Backend, theta: Any, g: Any, moments: Any, t: Any, eta: Any) -> Any:
        return theta - 0.5 * eta * g, ()


def one_rate(arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    return (*arguments[:-1], np.asarray([0.1]))


def odd_update(rule: Any) -> tuple[Any, ...]:
    rule, theta, _, moments, t, _ = update_of(rule, len(ODD))
    return rule, theta, np.asarray(ODD), moments, t, np.asarray([0.1])


# What each operation is tried on.
CASES: dict[Callable[..., Any], list[tuple[Any, ...]]] = {
    batches.advance: [
        ((np.asarray([2]), np.asarray([5]), normal(1), normal(1)), np.asarray(0.5), 8, None),
        ((np.asarray([2]), np.asarray([5]), normal(1), normal(1)), np.asarray(0.5), 8, normal(1)),
        ((np.asarray([2]), np.asarray([5]), normal(300, 1), normal(1)), normal(300), 8, None),
    ],
    batches.gather: [
        (Batch(normal(40, n), y, w), RNG.permutation(40), np.asarray([first]), np.arange(batch))
        for n, y, w, first, batch in [
            (1, classes(40, 5), None, 0, 40),
            (33, classes(40, 5), normal(40, 1), 7, 33),
            (129, normal(40, 3), None, 39, 1),
            (1000, normal(40, 1), normal(40, 1), 3, 9),
        ]
    ],
    layers.activate: [(g, normal(*shape)) for g in ACTIVATIONS for shape in ((1, 1), (33, 129), (2, 9, 10))]
    + [(g, odd_rows()) for g in ACTIVATIONS],
    layers.activation_gradient: [
        (g, z, g.value(np, z), normal(*z.shape)) for g in ACTIVATIONS for z in (normal(33, 129), normal(2, 9, 10), FAR)
    ],
    layers.bias_gradient: [(normal(*shape),) for shape in [*SHAPES, (1030, 40), (33_000, 1)]] + [(odd_rows(),)],
    layers.dropout_mask: [
        (key(members, first), rows, columns, rate)
        for members, first, rows, columns, rate in [
            (1, 0, 1, 1, 0.5),
            (1, 5, 33, 3, 0.0),
            (3, 2**30, 31, 10, 0.3),
            (2, 0, 9, 129, 0.999),
            (1, 0, 257, 1000, 0.1),
        ]
    ],
    losses.cost: [(SoftmaxCrossEntropy(), normal(*shape), classes(shape[-2], shape[-1]), None) for shape in SHAPES]
    + [
        (SoftmaxCrossEntropy(), 1000.0 * normal(33, 10), classes(33, 10), None),
        (SoftmaxCrossEntropy(), normal(5, 3), np.asarray([[-1], [3], [0], [2**31 - 1], [-(2**31)]]), None),
        *((SoftmaxCrossEntropy(), row, np.asarray([[1]]), None) for row in odd_rows()[:, np.newaxis]),
        *((SoftmaxCrossEntropy(), row, np.asarray([[2]]), None) for row in odd_rows()[:, np.newaxis]),
    ],
    optimizers.update: [update_of(rule, 3, 11) for rule in RULES]
    + [one_rate(update_of(rule, *shape)) for rule in RULES for shape in ((1,), (2, 300), (1000,))]
    + [odd_update(rule) for rule in RULES],
    _layout.join: [
        ([(normal(3, 4), normal(1, 4)), (), (normal(300, 1),)],),
        ([tuple(normal(3, i + 1, 2) for i in range(19))],),
    ],
    _random.uniform: [(key(1), 1, 1), (key(3, 2**30), 31, 10), (key(2), 9, 129)],
}
DONATED = (batches.advance, optimizers.update)
SUMS = (layers.bias_gradient,)
BIT_FOR_BIT = (batches.gather, layers.dropout_mask, _layout.join, _random.uniform)
each_operation = pytest.mark.parametrize("operation", CASES, ids=lambda operation: operation.__name__)


@cache
def host_module(dtype: str, *options: str) -> HostModule:
    return HostModule(_cupy.source(), ("-std=c++17", f"-DReal={REAL[dtype]}", *options))


@pytest.fixture(params=REAL)
def on(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Backend:
    """NumPy with CuPy's providers, whose kernels run on the CPU and whose results lie between edges."""
    monkeypatch.setattr(_cupy, "_kernel", lambda dtype, name: host_module(dtype).get_function(name))
    monkeypatch.setattr(_cupy, "_new", lambda on, shape, dtype=None: edged(np.full(shape, -7, dtype or on.dtype), 7.0))
    return replace(backend("numpy", dtype=request.param), providers=_cupy.PROVIDERS)


def edged(x: np.ndarray, edge: float = np.nan) -> np.ndarray:
    """A copy of x between edges: not a number, which spoils what reads them; a number where NaN would hide a write."""
    whole = np.full(x.size + 2 * EDGE, edge if x.dtype.kind == "f" else -99, x.dtype)
    whole[EDGE : EDGE + x.size] = x.reshape(-1)
    return whole[EDGE : EDGE + x.size].reshape(x.shape)


def edges_hold(x: np.ndarray) -> bool:
    while x.base is not None:
        x = x.base
    edges = np.concatenate([x[:EDGE], x[-EDGE:]])
    return np.array_equal(edges, np.full_like(edges, edges[0]), equal_nan=True)


def placed(on: Backend, tree: Any, edge: float = np.nan) -> Any:
    """``tree`` with arrays of the backend between edges, new ones each time; lists in it become tuples."""
    made = [edged(on.asarray(x, np.int32 if x.dtype.kind == "i" else None), edge) for x in arrays_of(tree)]
    return rebuilt(tuples(tree), iter(made))


def arrays_of(tree: Any) -> list[Any]:
    return leaves(tuples(tree))


def tuples(tree: Any) -> Any:
    return tuple(tuples(part) for part in tree) if type(tree) in (list, tuple) else tree


def compare(got: Any, want: Any, tolerance: float) -> None:
    """Dtypes and shapes first, then the values: to a relative and an absolute tolerance."""
    assert len(arrays_of(got)) == len(arrays_of(want))
    for ours, theirs in zip(arrays_of(got), arrays_of(want), strict=True):
        assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
        np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance)


def tolerance(operation: Callable[..., Any], case: Any, on: Backend) -> float:
    """Rounding in another order: of numbers near 1, or of a sum over rows, to the size of its terms together."""
    if operation in BIT_FOR_BIT:
        return 0.0
    terms = float(np.nansum(np.abs(case[0]), axis=-2, where=np.isfinite(case[0])).max()) if operation in SUMS else 1.0
    return 8 * float(np.finfo(on.dtype).eps) * max(1.0, terms)


def test_every_provider_is_compared() -> None:
    assert set(CASES) == set(_cupy.PROVIDERS)


@each_operation
def test_a_kernel_gives_what_its_reference_gives(operation: Callable[..., Any], on: Backend) -> None:
    for number, case in enumerate(CASES[operation]):
        with about(f"case {number}"), np.errstate(all="ignore"):
            arguments = placed(on, case, 7.0 if operation in DONATED else np.nan)
            want = operation(replace(on, providers={}), *placed(on, case))
            got = on.providers[operation](on, *arguments)
            assert got is not NotImplemented
            compare(got, want, tolerance(operation, case, on))
            assert all(edges_hold(x) for x in arrays_of((arguments, got)))
            if operation not in DONATED:
                compare(arguments, placed(on, case), 0.0)


@pytest.mark.parametrize("operation", [layers.bias_gradient, losses.cost], ids=lambda operation: operation.__name__)
def test_the_order_in_which_threads_run_changes_no_bit(
    operation: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """So no thread reads what another has yet to write."""
    sources = [CUDA / f"{name}.cu" for name in ("column_sums", "softmax_cross_entropy")]
    backwards = HostModule("\n".join(map(Path.read_text, sources)), ("-DReal=double", "-DBACKWARDS"))
    on = backend("numpy", dtype="float64")
    for case in CASES[operation][: len(SHAPES)]:
        results = []
        for module in (host_module("float64"), backwards):
            monkeypatch.setattr(_cupy, "_kernel", lambda dtype, name, module=module: module.get_function(name))
            results.append(_cupy.PROVIDERS[operation](on, *placed(on, case)))
        for one, other in zip(*map(arrays_of, results), strict=True):
            np.testing.assert_array_equal(one, other)


EXAMPLES = Batch(normal(9, 4), classes(9, 3), None), np.arange(9), np.asarray([0]), np.arange(3)
DECLINED: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
    "a function of the user's own": (layers.activate, (Activation(lambda xp, z: z * z, abs), normal(3, 2))),
    "an activation without a kernel": (layers.activate, (Linear(), normal(3, 2))),
    "an alpha below 0": (layers.activation_gradient, (cr.LeakyReLU(-0.1), *normal(3, 4, 5))),
    "an optimizer of the user's own": (optimizers.update, one_rate(update_of(Slower(), 5))),
    "gaps": (layers.activate, (cr.ReLU(), normal(4, 6))),
    "gaps in a gradient": (layers.bias_gradient, (normal(4, 6),)),
    "gaps in the moments": (optimizers.update, one_rate(update_of(cr.Adam(), 5))),
    "gaps between the columns of a table": (batches.gather, EXAMPLES),
    "another dtype": (layers.activate, (cr.ReLU(), normal(4, 6))),
    "another dtype of the order": (batches.gather, EXAMPLES),
    "no rows": (layers.bias_gradient, (normal(0, 6),)),
    "label smoothing": (losses.cost, (SoftmaxCrossEntropy(0.1), normal(3, 4), classes(3, 4), None)),
    "rows of probabilities": (losses.cost, (SoftmaxCrossEntropy(), normal(3, 4), normal(3, 4), None)),
    "weights": (losses.cost, (SoftmaxCrossEntropy(), normal(3, 4), classes(3, 4), normal(3, 1))),
    "another loss": (losses.cost, (SquaredError(), normal(3, 4), normal(3, 4), None)),
}


@pytest.mark.parametrize("name", DECLINED)
def test_what_a_kernel_does_not_cover_goes_to_the_reference(name: str, on: Backend) -> None:
    operation, case = DECLINED[name]
    arrays = [x.astype(np.int32 if x.dtype.kind == "i" else on.dtype) for x in arrays_of(case)]
    if name.startswith("gaps"):
        arrays = [x.repeat(2, axis=-1)[..., ::2] for x in arrays]
    if name.startswith("another dtype"):
        arrays = [x.astype(np.float16) if x.dtype.kind == "f" else x.astype(np.int64) for x in arrays]
    arguments = rebuilt(case, iter(arrays))
    assert _cupy.PROVIDERS[operation](on, *arguments) is NotImplemented
    compare(on.run(operation, *arguments), operation(replace(on, providers={}), *arguments), 0.0)


def test_pieces_with_gaps_are_joined_by_the_reference(on: Backend) -> None:
    pieces = [tuple(x.astype(on.dtype) for x in (normal(3, 4), normal(1, 8)[:, ::2]))]
    np.testing.assert_array_equal(_cupy.join(on, iter(pieces)), np.concatenate([p.reshape(-1) for p in pieces[0]]))


def test_what_changes_from_step_to_step_is_read_from_memory(on: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    """A captured graph launches with the same arguments again; only what they point to is new."""
    launches: list[Callable[[], None]] = []

    def recorded(dtype: str, name: str) -> Callable[..., None]:
        def launch(*arguments: Any) -> None:
            launches.append(partial(host_module(dtype).get_function(name), *arguments))
            launches[-1]()

        return launch

    monkeypatch.setattr(_cupy, "_kernel", recorded)
    plain = replace(on, providers={})
    for rule in RULES:
        launches.clear()
        case = one_rate(update_of(rule, 33))
        arguments, wanted = placed(on, case), placed(on, case)
        for t, eta in ((1.0, 0.1), (2.0, 0.05), (1000.0, 0.2)):
            for _, _, _, _, at, rate in (arguments, wanted):
                at[0], rate[0] = t, eta
            if launches:
                launches[0]()
            else:
                on.run(optimizers.update, *arguments)
            optimizers.update(plain, *wanted)
            compare(arguments, wanted, 8 * float(np.finfo(on.dtype).eps))
        assert len(launches) == 1
    launches.clear()
    source, order, cursor, window = placed(on, CASES[batches.gather][1])
    batch = on.run(batches.gather, source, order, cursor, window)
    cursor[0] = 2
    launches[0]()
    compare(batch, batches.gather(plain, source, order, cursor, window), 0.0)


TESTED = """
extern "C" __global__ void words(const unsigned* key, unsigned* counter) {
  threefry(key[0], key[1], counter[0], counter[1]);
}
extern "C" __global__ void alone(float* x) {
  if (threadIdx.x == 0) __syncthreads();
  x[0] = 1;
}
"""


@pytest.fixture(scope="module")
def tested() -> HostModule:
    return HostModule((CUDA / "threefry.cu").read_text() + TESTED, ("-DReal=float",))


@pytest.mark.parametrize("name", KNOWN)
def test_threefry_gives_the_published_answers(name: str, tested: HostModule) -> None:
    counter, words, answer = (np.asarray(x, np.uint32) for x in KNOWN[name])
    tested.get_function("words")((1,), (1,), (words, counter))
    np.testing.assert_array_equal(counter, answer)


def test_a_launch_that_a_gpu_would_not_forgive_is_an_error(tested: HostModule) -> None:
    alone, x = tested.get_function("alone"), np.zeros(2, np.float32)
    with pytest.raises(RuntimeError, match="barrier"):
        alone((1,), (32,), (x,))
    with pytest.raises(RuntimeError, match="1024 threads"):
        alone((1,), (1025,), (x,))
    with pytest.raises(RuntimeError, match="argument 0 must be p4, got p8"):
        alone((1,), (1,), (x.astype(float),))
    with pytest.raises(RuntimeError, match="expected 1 arguments, got 2"):
        alone((1,), (1,), (x, 1))


def test_a_batch_is_gathered_from_beyond_two_to_the_31_entries(on: Backend, tmp_path: Path) -> None:
    rows = 2**25 + 1
    x = np.memmap(tmp_path / "sparse", on.dtype, "w+", shape=(rows, 64))  # takes the disk space of one row
    x[-1] = np.arange(64)
    order, cursor = np.asarray([rows - 1], np.int32), np.zeros(1, np.int32)
    arguments = Batch(np.asarray(x), np.zeros((rows, 1), np.int32), None), order, cursor, np.zeros(1, np.int32)
    np.testing.assert_array_equal(_cupy.gather(on, *arguments).x, x[-1:])


@pytest.mark.parametrize("dtype", REAL)
def test_a_training_with_kernels_goes_as_one_without(dtype: str, open_platform: Callable[..., Platform]) -> None:
    """The stand-in's arrays have CuPy's ways, and a compiled backend all providers."""
    on = open_platform("cupy-stand-in", dtype=dtype).backend
    X, y = normal(70, 5), classes(70, 3)
    options: dict[str, Any] = {"batch_size": 16, "epochs": 2, "seed": 3, "loss": "softmax_cross_entropy"}
    network = cr.mlp([5, 9, 8, 3], activation=["relu", "gelu"], dropout=0.2)
    for rule in (cr.AdamW(), cr.Momentum()):
        plain, fused = (
            cr.fit(network, X, y, optimizer=rule, backend=cr.backend(on, compile=c), **options) for c in (False, True)
        )
        assert fused.backend.info["kernels"]["cost"] == "cupy"
        assert plain.backend.info["kernels"] == {}
        eps = float(np.finfo(dtype).eps)
        np.testing.assert_allclose(fused.theta.get(), plain.theta.get(), rtol=0, atol=2000 * eps)


def test_a_launch_can_be_captured_and_does_not_wait(open_platform: Callable[..., Platform]) -> None:
    platform = open_platform("cupy-stand-in")
    on, cupy = _kernels.with_providers(replace(platform.backend, compiled=True)), sys.modules["cupy"]
    stream = cupy.cuda.Stream(non_blocking=True)
    for operation in CASES:
        case = tuples(CASES[operation][0])
        arguments = rebuilt(case, iter([platform.array(x) for x in arrays_of(case)]))
        before = cupy.counts["synchronisation"]
        with about(operation.__name__), stream:
            stream.begin_capture()
            got = on.providers[operation](on, *arguments)
            stream.end_capture()
        assert got is not NotImplemented
        assert cupy.counts["synchronisation"] == before


def test_the_sources_are_compiled_once_for_a_dtype(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = []

    class RawModule:
        def __init__(self, *, code: str, options: tuple[str, ...]) -> None:
            assert code == _cupy.source()
            compiled.append(options)

        def get_function(self, name: str) -> str:
            return name

    monkeypatch.setitem(sys.modules, "cupy", SimpleNamespace(RawModule=RawModule))
    for function in ("_module", "_kernel"):
        monkeypatch.setattr(_cupy, function, cache(getattr(_cupy, function).__wrapped__))
    for dtype in REAL:
        assert [_cupy._kernel(dtype, name) for name in ("sgd", "adam", "sgd")] == ["sgd", "adam", "sgd"]
    assert compiled == [("-std=c++17", "-DReal=float"), ("-std=c++17", "-DReal=double")]


def test_kernels_are_off_unless_asked_for() -> None:
    made = Backend(LIBRARIES["cupy"], None, None, None, compiled=False)
    assert not _kernels.with_providers(made).providers
    assert _kernels.with_providers(replace(made, compiled=True)).providers == {
        **_cupy.PROVIDERS,
        **_cupy_products.PROVIDERS,
    }


@pytest.mark.parametrize(("real", "architecture"), [("float", "sm_90"), ("double", "sm_80")])
def test_nvrtc_compiles_every_kernel_without_a_warning(real: str, architecture: str) -> None:
    """As CuPy 14 asks for it. The compiler needs no driver."""
    try:
        pathfinder = importlib.import_module("cuda.pathfinder")
        nvrtc = ctypes.CDLL(pathfinder.load_nvidia_dynamic_lib("nvrtc").abs_path)
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"NVRTC is not installed: {error}")
    given = ["-std=c++17", f"-DReal={real}", "-ftz=true", f"-arch={architecture}", "-default-device"]
    options = (ctypes.c_char_p * len(given))(*map(str.encode, given))
    program, size = ctypes.c_void_p(), ctypes.c_size_t()
    assert not nvrtc.nvrtcCreateProgram(ctypes.byref(program), _cupy.source().encode(), b"kernels.cu", 0, None, None)
    code = nvrtc.nvrtcCompileProgram(program, len(given), options)
    nvrtc.nvrtcGetProgramLogSize(program, ctypes.byref(size))
    log = ctypes.create_string_buffer(size.value)
    nvrtc.nvrtcGetProgramLog(program, log)
    assert (code, log.value.decode().strip()) == (0, "")
    nvrtc.nvrtcGetCUBINSize(program, ctypes.byref(size))
    cubin = ctypes.create_string_buffer(size.value)
    nvrtc.nvrtcGetCUBIN(program, cubin)
    for name in ("adam", "gather_classes", "relu_value", "join"):  # under the names that CuPy looks for
        assert f".text.{name}\0".encode() in cubin.raw
    nvrtc.nvrtcDestroyProgram(ctypes.byref(program))


@pytest.mark.skipif(shutil.which("nvcc") is None, reason="nvcc is not installed")
@pytest.mark.parametrize(("real", "architecture"), [("float", "sm_90"), ("double", "sm_80")])
def test_nvcc_compiles_every_source_without_a_warning(real: str, architecture: str, tmp_path: Path) -> None:
    assert {path.stem for path in CUDA.iterdir()} == set(_cupy._SOURCES)
    (tmp_path / "kernels.cu").write_text(_cupy.source())
    options = ["-std=c++17", f"-DReal={real}", f"-arch={architecture}", "-Werror", "all-warnings", "-Xptxas", "-v"]
    done = subprocess.run(
        ["nvcc", *options, "-cubin", "-o", "kernels.cubin", "kernels.cu"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    spilled = [line for line in done.stderr.splitlines() if "spill" in line and " 0 bytes spill stores" not in line]
    assert not spilled, spilled
