"""The kernel for narrow networks gives what backpropagation gives: run on the CPU, its tensor cores written in C++.

What this cannot show is a GPU's own arithmetic in the last bits and its speed.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Platform, about
from cuda_on_cpu import HostModule, is_available
from test_cuda_kernels import edged, edges_hold

import chainrule as cr
from chainrule import layers
from chainrule._backend import Backend
from chainrule._backend import reference_backend as backend
from chainrule._kernels import _cupy
from chainrule._random import Key
from chainrule.backpropagation import value_and_gradient
from chainrule.batch import Batch
from chainrule.losses import SoftmaxCrossEntropy, SquaredError

with pytest.MonkeyPatch.context() as patch:
    patch.syspath_prepend(str(Path(__file__).parent.parent / "benchmarks"))
    from gpu import fused_kernel
    from gpu.fused_kernel import Fused

PROVIDERS = {value_and_gradient: fused_kernel.value_and_gradient}
SM_80, SM_90 = 163 * 1024, 227 * 1024  # bytes of shared memory that a block may have
KEY = Key(*np.zeros((2, 1, 1), np.int32), 0)

FOUR = Fused(33, 64, 3, 10, "float32")
PRECISIONS = ("float32", "tf32", "bf16")

# Every pair of a precision with a width, a number of layers, of inputs and of outputs.
CASES = [
    ([7, 32, 2], "float32"),
    ([33, 32, 32, 10], "tf32"),
    ([128, 32, 32, 32, 32, 100], "bf16"),
    ([33, 64, 64, 64, 100], "float32"),
    ([128, 64, 2], "tf32"),
    ([7, 64, 64, 10], "bf16"),
    ([128, 128, 128, 128, 128, 10], "float32"),
    ([7, 128, 128, 128, 128, 100], "tf32"),
    ([33, 128, 128, 128, 2], "bf16"),
]
# Of a gradient: the root of the mean square of its errors to that of its entries, and the largest to the largest. Where
# sums in another order lie beyond a point at which rounding turns, few entries differ by up to a step of the precision.
TOLERANCE = {"float32": (1e-5, 1e-5), "tf32": (1e-4, 2.0**-11), "bf16": (1e-4, 2.0**-8)}
each_case = pytest.mark.parametrize(("sizes", "precision"), CASES, ids=lambda x: str(x).replace(" ", ""))

pytestmark = pytest.mark.skipif(not is_available(), reason="kernels run on the CPU where there is g++ on Linux")


@pytest.fixture
def on_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_cupy, "_kernel", lambda dtype, name: summed().get_function(name))
    monkeypatch.setattr(_cupy, "_new", lambda on, shape: edged(np.full(shape, np.nan, on.dtype), 7.0))
    monkeypatch.setattr(fused_kernel, "_kernel", fused)
    monkeypatch.setattr(fused_kernel, "shared_limit", lambda: SM_90)


@cache
def summed() -> HostModule:
    source = Path(_cupy.__file__).with_name("cuda") / "column_sums.cu"
    return HostModule(source.read_text(), ("-DReal=float",))


@cache
def fused(what: Fused, *options: str) -> Any:
    module = HostModule(fused_kernel.source(what.precision), (*what.options, *options))
    kernel = module.get_function("fused_backpropagation")
    kernel.max_dynamic_shared_size_bytes = what.shared_bytes
    return kernel


def problem(sizes: list[int], rows: int) -> tuple[Any, ...]:
    """Arguments of ``value_and_gradient``: biases are not 0, and arrays lie between edges of what is not a number."""
    rng = np.random.default_rng(rows)
    network = cr.mlp(sizes)
    theta = edged((network.initial_theta(3) + 0.05 * rng.normal(size=network.size)).astype(np.float32))
    x = edged(rng.normal(size=(rows, sizes[0])).astype(np.float32))
    y = edged(rng.integers(0, sizes[-1], (rows, 1)).astype(np.int32))
    return network, SoftmaxCrossEntropy(), theta, np.zeros(0, np.float32), Batch(x, y), KEY


def numpy_in(precision: str) -> Backend:
    return replace(backend("numpy", compile=False), precision=precision)


def by_kernel(precision: str, arguments: tuple[Any, ...]) -> Any:
    on = replace(numpy_in(precision), providers=PROVIDERS)
    got = on.providers[value_and_gradient](on, *arguments)
    assert got is not NotImplemented
    assert all(edges_hold(x) for x in (got[1], arguments[2], *arguments[4][:2]))
    return got


def by_reference(precision: str, arguments: tuple[Any, ...]) -> Any:
    """With products of rounded operands, and everything else in float32."""
    plain, to = numpy_in("float32"), partial(rounded, precision)
    products = {
        layers.affine: lambda on, x, W, b: layers.affine(plain, to(x), to(W), b),
        layers.weight_gradient: lambda on, x, dy: layers.weight_gradient(plain, to(x), to(dy)),
        layers.input_gradient: lambda on, dy, W: layers.input_gradient(plain, to(dy), to(W)),
    }
    return value_and_gradient(replace(plain, providers=products), *arguments)


def rounded(precision: str, x: np.ndarray) -> np.ndarray:
    """To 10 bits of mantissa, ties away from 0, or to 7, ties to even."""
    bits = np.ascontiguousarray(x).view(np.uint32)
    if precision == "tf32":
        bits = bits + np.uint32(0x1000) & np.uint32(0xFFFFE000)
    if precision == "bf16":
        bits = bits + np.uint32(0x7FFF) + (bits >> np.uint32(16) & np.uint32(1)) & np.uint32(0xFFFF0000)
    return bits.view(np.float32)


def compare(got: Any, want: Any, arguments: tuple[Any, ...], precision: str) -> None:
    """The cost, and the gradient of each W and b."""
    assert (got[0].shape, got[0].dtype, got[1].shape, got[1].dtype) == ((), np.float32, want[1].shape, np.float32)
    np.testing.assert_allclose(got[0], want[0], rtol=TOLERANCE[precision][0])
    for slot in (slot for group in arguments[0].layout.groups for slot in group):
        ours, theirs = (x[1][slot.start : slot.stop].astype(np.float64) for x in (got, want))
        errors = np.abs(ours - theirs)
        on_average = np.sqrt(np.mean(errors**2) / np.mean(theirs**2))
        assert on_average <= TOLERANCE[precision][0]
        assert errors.max() / np.abs(theirs).max() <= TOLERANCE[precision][1]


@pytest.mark.usefixtures("on_the_host")
@each_case
def test_the_kernel_gives_what_backpropagation_gives(sizes: list[int], precision: str) -> None:
    for rows in (1, 63, 65, 257) if sizes[1] < 128 else (1, 65, 257):  # the widest take longest
        with about(f"{rows} rows"):
            arguments = problem(sizes, rows)
            compare(by_kernel(precision, arguments), by_reference(precision, arguments), arguments, precision)


@pytest.mark.usefixtures("on_the_host")
@pytest.mark.parametrize("form", [replace(FOUR, rows=64), replace(FOUR, precision="bf16", resident=False)], ids=str)
def test_blocks_take_several_tiles_of_rows_and_threads_run_in_any_order(
    form: Fused, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With weights that stay and weights that come and go; backwards no bit changes if no thread is too early."""
    arguments, limit = problem([33, 64, 64, 64, 10], 257), form.shared_bytes
    monkeypatch.setattr(fused_kernel, "_BLOCKS", 2)
    monkeypatch.setattr(fused_kernel, "shared_limit", lambda: limit)
    assert fused_kernel.find(arguments[0], form.precision, 257, limit) == form
    forwards = by_kernel(form.precision, arguments)
    compare(forwards, by_reference(form.precision, arguments), arguments, form.precision)
    monkeypatch.setattr(fused_kernel, "_kernel", lambda form: fused(form, "-DBACKWARDS"))
    backwards = by_kernel(form.precision, arguments)
    np.testing.assert_array_equal(forwards[0], backwards[0])
    np.testing.assert_array_equal(forwards[1], backwards[1])


@pytest.mark.usefixtures("on_the_host")
@pytest.mark.parametrize(
    ("sizes", "precision"), [([7, 32, 2], "float32"), ([128, 64, 2], "tf32"), ([7, 64, 64, 10], "bf16")], ids=str
)
def test_what_is_no_number_goes_where_backpropagation_takes_it(sizes: list[int], precision: str) -> None:
    odd = {
        "NaN in x": (4, np.nan),
        "infinity in x": (4, np.inf),
        "NaN in theta": (2, np.nan),
        "-infinity": (2, -np.inf),
    }
    for name, (argument, value) in odd.items():
        with about(name), np.errstate(all="ignore"):
            arguments = problem(sizes, 65)
            place = arguments[4].x if argument == 4 else arguments[2]
            place.reshape(-1)[-1] = value
            got, want = by_kernel(precision, arguments), by_reference(precision, arguments)
            np.testing.assert_array_equal(np.isfinite(got[0]), np.isfinite(want[0]))
            np.testing.assert_array_equal(np.isfinite(got[1]), np.isfinite(want[1]))


@pytest.mark.usefixtures("on_the_host")
def test_rows_without_an_example_add_nothing() -> None:
    """Not even where a unit that is off for every example would overflow for one of zeros."""
    arguments = problem([33, 32, 32, 10], 1)
    (W, b), _, (V, _), *_ = arguments[0].layout.split(numpy_in("tf32"), arguments[2])
    arguments[4].x[0, 0], W[0, 0], b[0, 0], V[0] = 1.0, -3e38, 3e38, 4.0
    compare(by_kernel("tf32", arguments), by_reference("tf32", arguments), arguments, "tf32")


@pytest.mark.usefixtures("on_the_host")
def test_a_class_without_an_output_is_a_row_of_zeros() -> None:
    arguments = problem([7, 32, 2], 65)
    arguments[4].y[3:9] = [[2], [-1], [100], [-(2**31)], [2**31 - 1], [31]]
    compare(by_kernel("float32", arguments), by_reference("float32", arguments), arguments, "float32")


WIDE = cr.Dense(7, 32), cr.ReLU(), cr.Dense(32, 2)
DECLINED: dict[str, Callable[[list[Any]], Any]] = {
    "label smoothing": lambda given: given.__setitem__(1, SoftmaxCrossEntropy(0.1)),
    "another loss": lambda given: given.__setitem__(1, SquaredError()),
    "weights of examples": lambda given: given.__setitem__(4, given[4]._replace(weight=np.ones((9, 1), np.float32))),
    "rows of probabilities": lambda given: given.__setitem__(4, given[4]._replace(y=np.eye(9, 2, dtype=np.float32))),
    "indices in int64": lambda given: given.__setitem__(4, given[4]._replace(y=given[4].y.astype(np.int64))),
    "a stack": lambda given: given.__setitem__(2, given[2][np.newaxis]),
    "float64": lambda given: given.__setitem__(2, given[2].astype(np.float64)),
    "gaps": lambda given: given.__setitem__(4, given[4]._replace(x=np.repeat(given[4].x, 2, axis=1)[:, ::2])),
    "no rows": lambda given: given.__setitem__(4, Batch(given[4].x[:0], given[4].y[:0])),
}


@pytest.mark.usefixtures("on_the_host")
@pytest.mark.parametrize("name", DECLINED)
def test_what_it_does_not_cover_goes_to_the_reference(name: str) -> None:
    given = list(problem([7, 32, 2], 9))
    on = replace(numpy_in("float32"), providers=PROVIDERS)
    DECLINED[name](given)
    assert fused_kernel.value_and_gradient(on, *given) is NotImplemented


NETWORKS = {
    "no hidden layer": cr.mlp([7, 2]),
    "another width": cr.mlp([7, 48, 2]),
    "two widths": cr.mlp([7, 32, 64, 2]),
    "many inputs": cr.mlp([129, 32, 2]),
    "many outputs": cr.mlp([7, 32, 129]),
    "no bias": cr.Sequential(cr.Dense(7, 32, bias=False), *WIDE[1:]),
    "another activation": cr.mlp([7, 32, 2], activation="tanh"),
    "dropout": cr.mlp([7, 32, 2], dropout=0.5),
    "normalisation": cr.mlp([7, 32, 2], normalization="batch"),
    "an activation at the end": cr.Sequential(*WIDE, cr.ReLU()),
    "an activation in front": cr.Sequential(cr.ReLU(), *WIDE),
    "two Dense in a row": cr.Sequential(cr.Dense(7, 32), cr.Dense(32, 32), cr.ReLU(), cr.Dense(32, 2)),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_that_it_does_not_cover_has_no_kernel(name: str) -> None:
    assert fused_kernel.find(NETWORKS[name], "float32", 9, SM_90) is None
    assert fused_kernel.find(cr.Sequential(*WIDE), "float32", 9, SM_90) == Fused(7, 32, 1, 2, "float32")


def test_a_block_takes_what_fits_in_its_shared_memory() -> None:
    """Four hidden layers and ten outputs: (width, precision) to the form on sm_80 and on sm_90, for many rows."""
    forms = {
        (width, precision): tuple(
            form and (form.rows, form.resident)
            for limit in (SM_80, SM_90)
            for form in [fused_kernel.find(cr.mlp([*[width] * 5, 10]), precision, 10**6, limit)]
        )
        for width in (32, 64, 128)
        for precision in ("tf32", "bf16")
    }
    assert forms == {
        (32, "tf32"): ((64, True), (64, True)),
        (32, "bf16"): ((64, True), (64, True)),
        (64, "tf32"): ((32, True), (64, True)),
        (64, "bf16"): ((64, True), (64, True)),
        (128, "tf32"): (None, (32, False)),
        (128, "bf16"): ((32, False), (32, True)),
    }


TESTED = """
extern "C" __global__ void tf32_product(const unsigned* a, const unsigned* b, float* c) {
  const int lane = threadIdx.x;
  float sum[4] = {c[4 * lane], c[4 * lane + 1], c[4 * lane + 2], c[4 * lane + 3]};
  mma_tf32(sum, {a[4 * lane], a[4 * lane + 1], a[4 * lane + 2], a[4 * lane + 3]}, {b[2 * lane], b[2 * lane + 1]});
  for (int i = 0; i < 4; i++) c[4 * lane + i] = sum[i];
}
extern "C" __global__ void bf16_product(const unsigned* a, const unsigned* b, float* c) {
  const int lane = threadIdx.x;
  float sum[4] = {c[4 * lane], c[4 * lane + 1], c[4 * lane + 2], c[4 * lane + 3]};
  mma_bf16(sum, {a[4 * lane], a[4 * lane + 1], a[4 * lane + 2], a[4 * lane + 3]}, {b[2 * lane], b[2 * lane + 1]});
  for (int i = 0; i < 4; i++) c[4 * lane + i] = sum[i];
}
extern "C" __global__ void loaded(const unsigned short* rows, unsigned* r, unsigned* transposed) {
  unsigned one[4], other[4];
  load_matrices(one, rows + 8 * threadIdx.x);
  load_matrices_transposed(other, rows + 8 * threadIdx.x);
  for (int i = 0; i < 4; i++) r[4 * threadIdx.x + i] = one[i], transposed[4 * threadIdx.x + i] = other[i];
}
"""


@pytest.fixture(scope="module")
def tested() -> HostModule:
    return HostModule(TESTED)


@pytest.mark.parametrize("precision", ["tf32", "bf16"])
def test_the_hosts_tensor_cores_lay_out_matrices_as_the_ptx_isa_says(precision: str, tested: HostModule) -> None:
    """Where element i of a lane's fragment lies: "Matrix Fragments for mma.m16n8k8" and "mma.m16n8k16", the tables."""
    lanes, rng = range(32), np.random.default_rng(5)
    if precision == "tf32":
        in_a = [[(g + 8 * (i in (1, 3)), t + 4 * (i >= 2)) for i in range(4)] for g, t in map(group, lanes)]
        in_b = [[(t + 4 * i, g) for i in range(2)] for g, t in map(group, lanes)]
    else:
        in_a = [
            [(g + 8 * (i in (2, 3, 6, 7)), 2 * t + i % 2 + 8 * (i >= 4)) for i in range(8)]
            for g, t in map(group, lanes)
        ]
        in_b = [[(2 * t + i % 2 + 8 * (i >= 2), g) for i in range(4)] for g, t in map(group, lanes)]
    in_c = [[(g + 8 * (i >= 2), 2 * t + i % 2) for i in range(4)] for g, t in map(group, lanes)]
    depth = 8 if precision == "tf32" else 16
    A, B, C = (rng.integers(-9, 9, shape).astype(np.float32) for shape in ((16, depth), (depth, 8), (16, 8)))
    a, b, c = (fragment(X, places) for X, places in ((A, in_a), (B, in_b), (C, in_c)))
    if precision == "bf16":
        a, b = (np.ascontiguousarray(x.view(np.uint16)[..., 1::2]) for x in (a, b))
    tested.get_function(f"{precision}_product")((1,), (32,), (a.view(np.uint32), b.view(np.uint32), c))
    np.testing.assert_array_equal(c, fragment(A @ B + C, in_c))


def group(lane: int) -> tuple[int, int]:
    """groupID and threadID_in_group."""
    return lane >> 2, lane % 4


def fragment(matrix: np.ndarray, places: list[list[tuple[int, int]]]) -> np.ndarray:
    return np.asarray([[matrix[place] for place in own] for own in places], np.float32)


def test_the_hosts_ldmatrix_lays_out_matrices_as_the_ptx_isa_says(tested: HostModule) -> None:
    """Lane l gets elements 2 (l%4) and 2 (l%4) + 1 of row l/4 of each matrix, or of its transpose."""
    matrices = np.arange(4 * 8 * 8, dtype=np.uint16).reshape(4, 8, 8)
    given = np.concatenate([np.zeros(8, np.uint16), matrices.reshape(-1)])
    given = given[(-given.ctypes.data % 16) // 2 :][: matrices.size]
    given[:] = matrices.reshape(-1)
    r, transposed = np.zeros((32, 4), np.uint32), np.zeros((32, 4), np.uint32)
    tested.get_function("loaded")((1,), (32,), (given, r, transposed))
    for got, rows in ((r, matrices), (transposed, matrices.transpose(0, 2, 1))):
        np.testing.assert_array_equal(got.view(np.uint16).reshape(32, 4, 2).swapaxes(0, 1).reshape(4, 8, 8), rows)


def test_what_a_gpu_would_not_forgive_is_an_error(tested: HostModule) -> None:
    product, c = tested.get_function("tf32_product"), np.zeros(128, np.float32)
    a, b = (np.full(n, np.float32(1.0001)).view(np.uint32) for n in (128, 64))
    with pytest.raises(RuntimeError, match="not rounded to tf32"):
        product((1,), (32,), (a, b, c))
    with pytest.raises(RuntimeError, match="fewer than 32"):
        product((1,), (16,), (a, b, c))
    with pytest.raises(RuntimeError, match="49153 bytes of dynamic shared memory, and 49152"):
        product((1,), (32,), (a, b, c), shared_mem=49153)


def test_a_training_with_the_kernel_goes_as_one_without(open_platform: Callable[..., Platform]) -> None:
    """In captured graphs, on a device that is not the first, with more shared memory than a kernel has unasked."""
    on = open_platform("cupy-stand-in").backend
    rng = np.random.default_rng(1)
    X, y = rng.normal(size=(100, 33)), np.arange(100)
    options: dict[str, Any] = {"batch_size": 32, "epochs": 2, "seed": 3, "optimizer": cr.Adam()}
    plain = cr.backend("cupy", device=on.device_name, compile=True)
    alone, together = (
        cr.fit(cr.mlp([33, 64, 64, 64, 100]), X, y, loss="softmax_cross_entropy", backend=used, **options)
        for used in (plain, replace(plain, providers={**plain.providers, **PROVIDERS}))
    )
    assert together.backend.info["kernels"]["value_and_gradient"] == "gpu.fused_kernel"
    np.testing.assert_allclose(together.theta.get(), alone.theta.get(), rtol=0, atol=1e-4)
    assert "value_and_gradient" not in alone.backend.info["kernels"]


def test_what_nvrtc_says_is_in_the_error(
    open_platform: Callable[..., Platform], monkeypatch: pytest.MonkeyPatch
) -> None:
    open_platform("cupy-stand-in")
    monkeypatch.setattr(fused_kernel, "source", lambda precision: "no kernel")
    with pytest.raises(cr.BackendError, match="NVRTC says"):
        fused_kernel._kernel(Fused(7, 32, 1, 3, "float32"))


def test_the_limit_is_the_current_devices(
    open_platform: Callable[..., Platform], monkeypatch: pytest.MonkeyPatch
) -> None:
    open_platform("cupy-stand-in")
    runtime = sys.modules["cupy"].cuda.runtime
    monkeypatch.setattr(fused_kernel, "_device_limit", cache(fused_kernel._device_limit.__wrapped__))
    properties = {
        0: {"major": 7, "sharedMemPerBlockOptin": 64 * 1024},
        1: {"major": 8, "sharedMemPerBlockOptin": SM_80},
    }
    monkeypatch.setattr(runtime, "getDeviceProperties", properties.__getitem__)
    monkeypatch.setattr(runtime, "getDevice", lambda: 0)
    assert fused_kernel.shared_limit() == 0
    monkeypatch.setattr(runtime, "getDevice", lambda: 1)
    assert fused_kernel.shared_limit() == SM_80


@pytest.mark.gpu
@pytest.mark.slow  # on the fake CUDA: half an hour
@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_gpu_gives_what_backpropagation_gives(precision: str, open_platform: Callable[..., Platform]) -> None:
    """Not yet run. A tensor core adds in an order of its own."""
    open_platform("cupy")
    on = replace(cr.backend("cupy", compile=True), precision=precision, providers=PROVIDERS)
    for sizes, _ in CASES:
        for rows in (1, 65, 257, 10_000):
            with about(f"{sizes}, {rows} rows"):
                arguments = problem(sizes, rows)
                network, loss, theta, buffers, batch, key = arguments
                placed = Batch(on.asarray(batch.x), on.asarray(batch.y, on.xp.int32))
                given = network, loss, on.asarray(theta), on.asarray(buffers), placed, key
                got = on.providers[value_and_gradient](on, *given)
                again = on.providers[value_and_gradient](on, *given)
                assert bool((got[1] == again[1]).all())
                want = by_reference(precision, arguments)
                compare(tuple(map(on.to_numpy, got)), want, arguments, precision)


@pytest.mark.skipif(shutil.which("nvcc") is None, reason="nvcc is not installed")
@pytest.mark.parametrize(
    ("form", "architecture", "registers"),
    [
        (Fused(32, 32, 4, 10, "float32"), "sm_80", 160),
        (Fused(64, 64, 4, 10, "tf32", rows=64), "sm_90", 128),
        (Fused(33, 128, 2, 100, "bf16", resident=False), "sm_80", 160),
    ],
    ids=str,
)
def test_nvcc_compiles_it_without_a_warning(form: Fused, architecture: str, registers: int, tmp_path: Path) -> None:
    (tmp_path / "kernel.cu").write_text(fused_kernel.source(form.precision))
    options = [*form.options, f"-arch={architecture}", "-Werror", "all-warnings", "-Xptxas", "-v"]
    done = subprocess.run(
        ["nvcc", *options, "-cubin", "-o", "kernel.cubin", "kernel.cu"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert " 0 bytes spill stores" in done.stderr
    (used,) = re.findall(r"Used (\d+) registers", done.stderr)
    assert int(used) <= registers
