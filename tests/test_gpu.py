"""On a real GPU, with CuPy: what a stand-in cannot show. Run with ``pytest -m gpu tests/test_gpu.py``.

What is in ``contracts`` runs there as well (``-k cupy``). Nothing here has run yet.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import pytest
import test_cuda_kernels
import test_worked_examples
from conftest import about, find_library
from test_kernels import rebuilt

import chainrule as cr
from chainrule import layers
from chainrule._backend import Backend, reference_backend
from chainrule._backend._graph import Graph
from chainrule._kernels import with_providers
from chainrule._random import Key, keep_mask, uniform
from chainrule.optimizers import OPTIMIZERS

pytestmark = pytest.mark.gpu

RNG = np.random.default_rng(11)
X = RNG.normal(size=(5000, 20)).astype(np.float32)
Y = (X[:, 0] * X[:, 1] > 0).astype(int)


@pytest.fixture
def gpu() -> Backend:
    """CuPy's first device; a skip where there is none."""
    find_library("cupy")
    try:
        return reference_backend("cupy", device=0)
    except cr.BackendError as error:
        pytest.skip(str(error))


@pytest.fixture
def cupy(gpu: Backend) -> Iterator[Any]:
    """CuPy with an empty pool, whose limit is taken off again."""
    module, pool = find_library("cupy"), find_library("cupy").get_default_memory_pool()
    gc.collect()
    pool.free_all_blocks()
    yield module
    pool.set_limit(size=0)


def network() -> cr.Sequential:
    return cr.Sequential(
        cr.Dense(20, 64, bias=False),
        cr.BatchNorm(64),
        cr.ReLU(),
        cr.Dropout(0.25),
        cr.Dense(64, 64),
        cr.ELU(),
        cr.Dense(64, 2),
    )


def trained(
    X: Any = X,
    y: Any = Y,
    *,
    backend: str = "cupy",
    dtype: str = "float64",
    compile: bool | None = None,
    **changed: Any,
) -> cr.Model:
    usual: dict[str, Any] = {
        "loss": "softmax_cross_entropy", "epochs": 3, "batch_size": 256, "clip": cr.ClipNorm(1.0),
        "penalty": cr.Penalty(l1=1e-4), "optimizer": cr.Adam(cr.CosineDecay(0.01, warmup=3)),
    }  # fmt: skip
    on = cr.backend(backend, dtype=dtype, compile=compile)
    return cr.fit(network(), X, y, backend=on, **usual | changed)


def test_a_training_is_the_one_on_numpy(gpu: Backend) -> None:
    """Sixty steps in float64: only the order of sums differs. Masks and orders are equal to the last bit."""
    theirs, ours = trained(), trained(backend="numpy")
    np.testing.assert_allclose(theirs.theta.get(), ours.theta, rtol=0, atol=1e-8)
    assert np.mean(theirs.predict(X) == ours.predict(X)) > 0.999


def test_the_worked_examples_come_out(gpu: Backend) -> None:
    examples = [test for name, test in vars(test_worked_examples).items() if name.startswith("test_")]
    assert len(examples) > 1
    for example in examples:
        example(reference_backend("cupy", device=0, dtype="float64"))


def test_xor_is_learnt(gpu: Backend) -> None:
    x = np.asarray([[0.0, 0], [0, 1], [1, 0], [1, 1]])
    net, adam = cr.mlp([2, 8, 2], activation="tanh"), cr.Adam(0.05)
    model = cr.fit(net, x, [0, 1, 1, 0], loss="softmax_cross_entropy", optimizer=adam, epochs=200, backend="cupy")
    assert model.predict(x).tolist() == [0, 1, 1, 0]


def test_the_bits_of_dropout_are_those_of_numpy(gpu: Backend) -> None:
    host = reference_backend("numpy")
    for words in ((0, 0), (-1, 12345), (2**31 - 1, -(2**31))):
        keys = [Key(*(b.asarray([[word]], b.xp.int32) for word in words)) for b in (gpu, host)]
        for draw in (lambda b, key: keep_mask(b, key, 77, 131, 0.3), lambda b, key: uniform(b, key, 77, 131)):
            there, here = (draw(b, key) for b, key in zip((gpu, host), keys, strict=True))
            np.testing.assert_array_equal(gpu.to_numpy(there), here)


@pytest.mark.filterwarnings("ignore:cupyx.allow_synchronize will be removed:UserWarning")
def test_nothing_in_a_step_makes_the_host_wait(gpu: Backend) -> None:
    """CuPy itself raises at a synchronisation inside ``allow_synchronize(False)``, which is open from step to step."""
    cupyx = find_library("cupy", "cupyx")

    class Steps:
        def on_epoch_begin(self, run: Any) -> None:
            self.open = ExitStack()
            self.open.enter_context(cupyx.allow_synchronize(False))

        def on_step_end(self, run: Any) -> None:
            if run.step == run.steps_per_epoch:
                self.open.close()  # the epoch's one synchronisation follows

    trained(callbacks=[Steps()], validation=(X[:100], Y[:100]), sample_weight=np.ones(len(X)))


def test_capture_refuses_products_so_that_they_need_another_way(cupy: Any) -> None:
    """If this fails CuPy has learnt it."""
    x, stream = cupy.ones((4, 4)), cupy.cuda.Stream(non_blocking=True)
    with stream:
        x @ x
        stream.synchronize()
        stream.begin_capture()
        try:
            with pytest.raises(NotImplementedError, match="capture"):
                x @ x
        finally:
            stream.end_capture()


def test_memory_is_given_back(cupy: Any) -> None:
    pool = cupy.get_default_memory_pool()
    gc.collect()  # what other tests left
    before = pool.used_bytes()
    model = trained()
    gc.collect()
    assert pool.used_bytes() - before <= model.theta.nbytes + model.buffers.nbytes + 2 * 512
    assert pool.total_bytes() <= 2**22  # blocks that the model's own arrays were cut from stay


def free(cupy: Any) -> int:
    """Bytes of the driver's, when all that nobody uses went back to it."""
    gc.collect()
    cupy.get_default_memory_pool().free_all_blocks()
    available: int = cupy.cuda.runtime.memGetInfo()[0]
    return available


@pytest.mark.alone
def test_a_compiled_training_gives_back_all_that_it_took(cupy: Any) -> None:
    """A pool that is dropped keeps its blocks for ever: with the workspace of the products 32 MiB a training run."""
    settings: dict[str, Any] = {"X": X[:600], "y": Y[:600], "epochs": 1}
    trained(compile=True, **settings)  # what is loaded once
    before = free(cupy)
    for _ in range(2):
        trained(compile=True, **settings)
    assert free(cupy) >= before - 2**20


@pytest.mark.alone
def test_predictions_of_a_compiled_model_leave_nothing_in_the_users_pool(cupy: Any) -> None:
    model = trained(X[:600], Y[:600], compile=True, epochs=1)
    model.predict(X[:600])
    before = free(cupy)
    pool = cupy.get_default_memory_pool()
    used = pool.used_bytes()
    model.predict(X[:600])
    del model
    assert pool.used_bytes() <= used
    assert free(cupy) >= before
    assert pool.used_bytes() < 2**20


@pytest.mark.slow  # on the fake CUDA: as much work as a GPU does in a second
def test_a_batch_that_does_not_fit_is_an_error_that_says_which_would(cupy: Any) -> None:
    cupy.get_default_memory_pool().set_limit(size=200 * 2**20)
    x = np.tile(X, (10, 1))
    settings: dict[str, Any] = {"loss": "squared_error", "epochs": 1, "backend": "cupy"}
    with pytest.raises(cr.DeviceMemoryError, match="ran out of memory") as caught:
        cr.fit(cr.mlp([20, 4000, 2]), x, x[:, :2], batch_size=50_000, **settings)
    fits = int(str(caught.value).rsplit("batch_size=", 1)[1].split()[0])
    del caught
    cr.fit(cr.mlp([20, 4000, 2]), x, x[:, :2], batch_size=fits, **settings)


@pytest.mark.slow  # as above
def test_an_x_without_room_stays_on_the_host_to_the_same_result_bit_for_bit(cupy: Any) -> None:
    """Large enough for copies and steps to overlap: a race between them would show in some bit."""
    x = RNG.normal(size=(200_000, 200)).astype(np.float32)
    y = (x[:, 0] > x[:, 1]).astype(int)
    settings: dict[str, Any] = {"loss": "softmax_cross_entropy", "batch_size": 4096, "epochs": 3, "backend": "cupy"}
    resident = cr.fit(cr.mlp([200, 256, 2]), x, y, **settings)
    cupy.get_default_memory_pool().set_limit(size=cupy.get_default_memory_pool().used_bytes() + 120 * 10**6)
    with pytest.warns(UserWarning, match="stays on the host"):
        held = cr.fit(cr.mlp([200, 256, 2]), x, y, **settings)
    assert held == resident


def test_device_1_does_all_of_the_work(cupy: Any) -> None:
    if cupy.cuda.runtime.getDeviceCount() < 2:
        pytest.skip("needs two GPUs")
    before = cupy.get_default_memory_pool().total_bytes()
    model = trained(backend="cupy:1", validation=(X[:100], Y[:100]))
    assert (model.theta.device.id, model.backend.device_name) == (1, "cuda:1")
    assert model == trained(backend="cupy:0")
    assert model.evaluate(X, Y)["accuracy"] == trained(backend="cupy:0").evaluate(X, Y)["accuracy"]
    assert cupy.cuda.Device().id == 0
    del model
    cupy.get_default_memory_pool().free_all_blocks()  # what the comparisons made
    assert cupy.get_default_memory_pool().total_bytes() <= before + 2**22


# ------------------------------------------------------------------------------------- compile=True: kernels and graphs


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_kernel_gives_what_its_reference_gives(dtype: str, gpu: Backend) -> None:
    on = with_providers(reference_backend("cupy", dtype=dtype, compile=True))
    plain = replace(on, providers={})
    for operation, cases in test_cuda_kernels.CASES.items():
        for number, case in enumerate(cases):
            with about(f"{operation.__name__}, case {number}"), np.errstate(all="ignore"):
                got, want = (
                    test_cuda_kernels.arrays_of(b.run(operation, *_placed(on, test_cuda_kernels.tuples(case))))
                    for b in (on, plain)
                )
                allowed = 4 * test_cuda_kernels.tolerance(operation, case, on)  # a GPU's exp has its own last bits
                for ours, theirs in zip(got, want, strict=True):
                    np.testing.assert_allclose(ours.get(), theirs.get(), rtol=allowed, atol=allowed)


def _placed(on: Backend, case: Any) -> Any:
    arrays = test_cuda_kernels.arrays_of(case)
    return rebuilt(case, iter([on.asarray(x, on.xp.int32 if x.dtype.kind in "iu" else None) for x in arrays]))


@pytest.mark.parametrize("shape", [(1, 1, 1), (7, 33, 5), (64, 64, 64), (129, 1000, 257), (4096, 256, 10)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_products_are_those_of_numpy(dtype: str, shape: tuple[int, int, int], gpu: Backend) -> None:
    on = with_providers(reference_backend("cupy", dtype=dtype, compile=True))
    rows, n_in, n_out = shape
    x, W, b, dy = (RNG.normal(size=s) for s in ((rows, n_in), (n_in, n_out), (1, n_out), (rows, n_out)))
    eps = float(np.finfo(dtype).eps)
    for operation, arrays in (
        (layers.affine, (x, W, b)), (layers.affine, (x, W)), (layers.weight_gradient, (x, dy)),
        (layers.input_gradient, (dy, W)),
    ):  # fmt: skip
        assert operation in on.providers
        got = on.providers[operation](on, *map(on.asarray, arrays))
        assert got is not NotImplemented, "cuBLASLt has an algorithm for it"
        want = operation(reference_backend("numpy", dtype="float64"), *arrays)
        np.testing.assert_allclose(got.get(), want, rtol=0, atol=8 * eps * max(shape))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_hundred_launches_are_a_hundred_steps(dtype: str, gpu: Backend) -> None:
    captured, eager = (trained(dtype=dtype, epochs=5, compile=compile) for compile in (True, False))
    atol = 1e-8 if dtype == "float64" else 2e-3
    np.testing.assert_allclose(captured.theta.get(), eager.theta.get(), rtol=0, atol=atol)
    np.testing.assert_allclose(captured.history["loss"], eager.history["loss"], rtol=1e-4)


def test_operands_that_are_rounded_once_give_the_bits_of_a_rounding_for_each_product(
    gpu: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    on = cr.backend("cupy", compile=True, precision="bf16")
    settings: dict[str, Any] = {"loss": "softmax_cross_entropy", "epochs": 2, "batch_size": 256, "backend": on}
    once = cr.fit(network(), X, Y, **settings)
    monkeypatch.setattr(Backend, "for_a_pass", lambda self: self)
    assert once == cr.fit(network(), X, Y, **settings)


@pytest.mark.alone
def test_launches_take_no_memory_and_mind_no_strangers_memory(cupy: Any) -> None:
    """Between launches others take what is free, of many sizes, and fill it with NaN."""

    class Poisons:
        sizes: ClassVar[list[int]] = []

        def on_step_end(self, run: Any) -> None:
            kept = [cupy.full(2**k + 17, np.nan, np.float32) for k in range(4, 21)]
            del kept
            if run.epoch > 2:
                self.sizes.append(cupy.cuda.runtime.memGetInfo()[0])

    clean = trained(compile=True, epochs=5)
    assert trained(compile=True, epochs=5, callbacks=[Poisons()]) == clean
    assert len(set(Poisons.sizes)) == 1, "no launch takes memory of the driver's"


def test_a_graph_has_no_node_that_allocates(cupy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    original = Graph._capture

    def captured(self: Graph) -> None:
        original(self)
        seen.append(self._captured[0].debug_dot_str())

    monkeypatch.setattr(Graph, "_capture", captured)
    trained(compile=True, epochs=1)
    assert seen
    assert not [dot for dot in seen if "MEM_ALLOC" in dot.upper() or "MEMALLOC" in dot.upper()]


def test_a_capture_outlives_predictions_another_batch_size_and_a_fit_after_it(cupy: Any) -> None:
    class Asks:
        def on_epoch_end(self, run: Any, record: Any) -> None:
            run.model().predict_proba(X)

    found = []
    for compile in (True, False):
        first = trained(compile=compile, callbacks=[Asks()], validation=(X[:100], Y[:100]))
        second = cr.fit(first, X[:1001], Y[:1001], epochs=2, batch_size=100)
        found.append((first.theta.get(), second.theta.get(), first.predict(X)))
    for got, want in zip(*found, strict=True):
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-8)


@pytest.mark.parametrize("rule", OPTIMIZERS)
def test_every_optimizer_is_captured(rule: str, gpu: Backend) -> None:
    captured, eager = (trained(optimizer=rule, epochs=2, compile=compile) for compile in (True, False))
    np.testing.assert_allclose(captured.theta.get(), eager.theta.get(), rtol=0, atol=1e-8)
