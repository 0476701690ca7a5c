"""What CuPy asks for beyond the array API, on the stand-in of tests/stand_in: two devices, memory, streams, a driver.

Each of these would be a slow, a wrong or a failed training on a GPU, and most of them on a second GPU only.
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import cupy_stand_in, fake_cuda
from cuda_on_cpu import is_available

import chainrule as cr
from chainrule._backend import reference_backend
from chainrule.diagnostics import diagnose
from chainrule.gradient_check import check_gradients

RNG = np.random.default_rng(5)
X = RNG.normal(size=(300, 6))
Y = (X[:, 0] > X[:, 1]).astype(int)
WEIGHT = RNG.uniform(0.5, 2.0, 300)
LONG = np.tile(X, (33, 1))


@pytest.fixture
def cupy() -> Iterator[Any]:
    """The stand-in, or CuPy on the fake CUDA, with all of its memory free."""
    with cupy_stand_in() as module:
        if not is_stand_in(module) and fake_cuda() is None:
            pytest.skip("what a device has free, and how often it is waited for, is not ours to say here")
        if is_stand_in(module):
            module.counts.clear()
        gc.collect()
        for device in 0, 1:
            with module.cuda.Device(device):
                module.get_default_memory_pool().free_all_blocks()
        yield module
        if is_stand_in(module):
            module.cuda.memory.capacity.update({0: 2**40, 1: 2**40})
        else:
            fake_cuda().fake_cuda_others_take(1, 0)


@pytest.fixture
def stand_in(cupy: Any) -> Any:
    """What only the stand-in can be made to do."""
    if not is_stand_in(cupy):
        pytest.skip("CuPy itself is installed, and this is about its stand-in")
    return cupy


def is_stand_in(cupy: Any) -> bool:
    return hasattr(cupy, "counts")


def waits(cupy: Any) -> int:
    """How often the host has waited."""
    return cupy.counts["synchronisation"] if is_stand_in(cupy) else fake_cuda().fake_cuda_waits()


def on(cupy: Any, device: int, x: Any) -> Any:
    with cupy.cuda.Device(device):
        return cupy.asarray(x)


def network() -> cr.Sequential:
    """Layers and activations of every kind that does something of its own."""
    return cr.Sequential(
        cr.Dense(6, 16), cr.BatchNorm(16), cr.ReLU(), cr.Dropout(0.25), cr.Dense(16, 16), cr.ELU(), cr.Dense(16, 2)
    )


def trained(X: Any = X, y: Any = Y, *, backend: str = "auto", dtype: str = "float64", **changed: Any) -> cr.Model:
    """A training run in which most parts take part."""
    usual: dict[str, Any] = {
        "loss": "softmax_cross_entropy", "epochs": 3, "batch_size": 64, "clip": cr.ClipNorm(1.0),
        "penalty": cr.Penalty(l1=1e-3), "optimizer": cr.Adam(cr.CosineDecay(0.01, warmup=3)),
    }  # fmt: skip
    return cr.fit(network(), X, y, backend=cr.backend(backend, dtype=dtype, like=X), **usual | changed)


def leave(cupy: Any, size: int) -> None:
    """Let device 1 have so many bytes free, whatever failed tests still hold."""
    gc.collect()
    with cupy.cuda.Device(1):
        cupy.get_default_memory_pool().free_all_blocks()
        if is_stand_in(cupy):
            cupy.cuda.memory.capacity[1] = cupy.get_default_memory_pool().used_bytes() + size
        else:
            fake_cuda().fake_cuda_others_take(1, 0)
            fake_cuda().fake_cuda_others_take(1, cupy.cuda.runtime.memGetInfo()[0] - size)


class Counted:
    """How often the host waited in each epoch, from the end of the one before to its own end."""

    def __init__(self, cupy: Any) -> None:
        self._cupy, self.epochs, self.last = cupy, [], waits(cupy)

    def on_epoch_end(self, run: Any, record: Any) -> None:
        seen = waits(self._cupy)
        self.epochs.append(seen - self.last)
        self.last = seen


# ------------------------------------------------------------------------------------------------------------- devices


def test_a_training_on_device_1_is_the_one_on_numpy_and_leaves_the_current_device_alone(cupy: Any) -> None:
    settings: dict[str, Any] = {"sample_weight": WEIGHT, "validation": (X[:50], Y[:50])}
    theirs = trained(backend="cupy:1", **settings)
    ours = trained(backend="numpy", **settings)
    assert theirs.backend.device_name == "cuda:1" == f"cuda:{theirs.theta.device.id}"
    assert cupy.cuda.Device().id == 0
    np.testing.assert_allclose(theirs.theta.get(), ours.theta, rtol=0, atol=1e-9)
    np.testing.assert_allclose(theirs.history["val_accuracy"], ours.history["val_accuracy"])


def test_everything_that_is_asked_of_a_model_on_device_1_happens_there(cupy: Any, tmp_path: Path) -> None:
    model = trained(backend="cupy:1")
    twin = model.to("numpy")
    np.testing.assert_array_equal(model.predict(X.tolist()), twin.predict(X))
    np.testing.assert_allclose(model.predict_proba(X), twin.predict_proba(X), atol=1e-12)
    assert model.evaluate(X, Y, WEIGHT) == pytest.approx(twin.evaluate(X, Y, WEIGHT))
    assert [r.verdict for r in diagnose(model, X, Y).rows] == [r.verdict for r in diagnose(twin, X, Y).rows]
    assert check_gradients(model.network, on(cupy, 1, X[:5]), on(cupy, 1, Y[:5]), loss=model.loss).passed
    model.save(tmp_path / "model.safetensors")
    for other in (cr.load(tmp_path / "model.safetensors", backend="cupy:1"), twin.to("cupy:1")):
        assert (other.theta.device.id, other.buffers.device.id) == (1, 1)
        assert other == model
        np.testing.assert_array_equal(other.predict(X), twin.predict(X))
    further = cr.fit(model, X, Y, epochs=1)
    assert further.theta.device.id == 1
    assert cupy.cuda.Device().id == 0


def test_without_a_device_the_current_one_is_taken(cupy: Any) -> None:
    assert reference_backend("cupy").device.id == 0
    with cupy.cuda.Device(1):
        assert reference_backend("cupy").device.id == 1
        assert trained(backend="cupy", epochs=1).theta.device.id == 1


def test_batches_are_prepared_on_the_device_by_the_thread_that_reads_ahead(cupy: Any) -> None:
    batches = [(X[i : i + 64], Y[i : i + 64]) for i in range(0, 256, 64)]
    whole = trained(X[:256], Y[:256], backend="cupy:1", shuffle=False)
    assert trained(batches, None, batch_size=None, backend="cupy:1") == whole


@pytest.mark.parametrize("where", ["host", "device"])
def test_a_buffer_that_is_filled_anew_trains_and_predicts_on_its_rows(cupy: Any, where: str) -> None:
    def place(x: np.ndarray) -> Any:
        return x.copy() if where == "host" else on(cupy, 1, x)

    def batches() -> Iterator[tuple[Any, Any]]:
        x, y = place(X[:64]), place(Y[:64])
        for i in range(0, 256, 64):
            with cupy.cuda.Device(1):
                x[...], y[...] = place(X[i : i + 64]), place(Y[i : i + 64])
            yield x, y

    settings: dict[str, Any] = {"backend": "cupy:1", "optimizer": cr.Adam(0.01)}
    whole = trained(X[:256], Y[:256], shuffle=False, **settings)
    model = trained(batches, None, batch_size=None, **settings)
    assert model == whole
    answers = model.predict(batches)
    np.testing.assert_array_equal(answers if where == "host" else answers.get(), whole.predict(X[:256]))


def test_arrays_of_two_devices_do_not_mix(cupy: Any) -> None:
    x, y = on(cupy, 1, X), on(cupy, 0, Y)
    with pytest.raises(cr.DataError, match="one device, got cupy on cuda:1 and cupy on cuda:0: convert them"):
        trained(x, y)
    with pytest.raises(cr.DataError, match="cupy on cuda:1 and cupy on cuda:0"):
        trained(x, on(cupy, 1, Y), validation=(x, y))
    with pytest.raises(cr.DataError, match="cupy on cuda:1 and cupy on cuda:0"):
        trained(x, on(cupy, 1, Y)).evaluate(x, y)


def test_a_model_answers_on_the_device_of_the_question_and_validates_on_its_own(cupy: Any) -> None:
    model = trained(on(cupy, 1, X), on(cupy, 1, Y), validation=(on(cupy, 0, X), on(cupy, 0, Y)))
    assert model.backend.device_name == "cuda:1"
    answers = model.predict(on(cupy, 0, X))
    assert answers.device.id == 0
    np.testing.assert_array_equal(answers.get(), model.predict(X))
    moved = cr.fit(model, on(cupy, 0, X), on(cupy, 0, Y), epochs=1, backend="cupy:0")
    assert moved.theta.device.id == 0


def test_an_array_with_gaps_is_brought_over_from_the_other_device(cupy: Any) -> None:
    model = trained(backend="cupy:1")
    with cupy.cuda.Device(0):
        every_second = cupy.asarray(np.repeat(X, 2, axis=1))[:, ::2]
        answers = model.predict(every_second)
    np.testing.assert_array_equal(answers.get(), model.predict(X))


def test_an_array_is_read_on_a_stream_of_its_own_device(cupy: Any) -> None:
    there = on(cupy, 1, X)
    with cupy.cuda.Device(0), cupy.cuda.Stream(non_blocking=True):
        np.testing.assert_array_equal(reference_backend("cupy", device=1).to_numpy(there), X)


# ------------------------------------------------------------------------------------------------------ synchronisation


@pytest.mark.parametrize(
    ("loss", "y"),
    [("softmax_cross_entropy", Y), ("sigmoid_cross_entropy", np.stack([Y, 1 - Y], 1)), ("huber", X[:, :2])],
)
def test_the_host_waits_once_an_epoch(cupy: Any, loss: str, y: np.ndarray) -> None:
    """With validation, metrics and weights, and with a clipped gradient, rate and activation."""
    counted = Counted(cupy)
    settings = {"validation": (X[:50], y[:50]), "sample_weight": WEIGHT, "epochs": 4, "callbacks": [counted]}
    trained(y=y, loss=loss, backend="cupy:1", **settings)
    assert counted.epochs[1:] == [1, 1, 1]


# --------------------------------------------------------------------------------------------------------------- memory


def test_memory_is_given_back_but_for_the_model_and_the_users_own(cupy: Any) -> None:
    pool = cupy.get_default_memory_pool()
    with cupy.cuda.Device(1):
        x, y = cupy.asarray(X), cupy.asarray(Y)
        total, used = pool.total_bytes(), pool.used_bytes()  # with what other tests left
        model = trained(x, y)
        sizes = pool.total_bytes(), pool.used_bytes()  # before theta is handed out, which is a copy
        kept = sum(-(-array.nbytes // 512) * 512 for array in (model.theta, model.buffers))
        spare = 0 if is_stand_in(cupy) else 2**16  # CuPy cuts an array from a larger block, whose rest stays
        assert used + kept <= sizes[0] <= total + kept + spare
        assert sizes[1] == used + kept
        np.testing.assert_array_equal(x.get(), X)


def test_a_pool_that_has_room_is_left_as_it_was(cupy: Any) -> None:
    pool = cupy.get_default_memory_pool()
    with cupy.cuda.Device(1):
        del_me = cupy.empty(10**7)
        del del_me
        before = pool.total_bytes()
        trained(backend="cupy", epochs=1)
        assert pool.total_bytes() == before


def test_free_is_what_the_pool_keeps_for_reuse_too_but_no_more_than_its_limit(cupy: Any) -> None:
    memory, pool = reference_backend("cupy", device=1).memory, cupy.get_default_memory_pool()
    leave(cupy, 10**6)
    with cupy.cuda.Device(1):
        room = 10**6 + pool.free_bytes()  # of a block that something of another test's lies in
        cupy.empty(10**5)  # 800 kB, kept by the pool
        assert memory.free() == room
        kept = cupy.empty(10**4)
        assert memory.free() == room - kept.nbytes - -kept.nbytes % 512
        pool.set_limit(pool.used_bytes() + 1000)
        assert memory.free() == 1000
        pool.set_limit(0)


def test_a_batch_that_does_not_fit_is_an_error_that_says_which_would(cupy: Any) -> None:
    wide, rows = cr.mlp([6, 2000, 2]), np.tile(X, (20, 1))
    leave(cupy, 60_000_000)
    settings: dict[str, Any] = {"loss": "squared_error", "epochs": 1, "backend": "cupy:1"}
    with pytest.raises(
        cr.DeviceMemoryError, match=r"cuda:1 ran out of memory: .* batch_size=6000, and 60 MB were"
    ) as caught:
        cr.fit(wide, rows, rows[:, :2], batch_size=6000, **settings)
    assert isinstance(caught.value, cr.BackendError | MemoryError)
    fits = int(str(caught.value).rsplit("batch_size=", 1)[1].split()[0])
    del caught
    assert 100 < fits < 6000
    cr.fit(wide, rows, rows[:, :2], batch_size=fits, **settings)


def test_a_network_that_does_not_fit_is_an_error(cupy: Any) -> None:
    leave(cupy, 3_000_000)
    with pytest.raises(cr.DeviceMemoryError, match="free some, or train a smaller network"):
        cr.fit(cr.mlp([6, 500, 500, 2]), X[:10], X[:10, :2], loss="squared_error", backend="cupy:1")


def test_predictions_that_do_not_fit_are_an_error_that_says_how_many_would(cupy: Any) -> None:
    model = trained(backend="cupy:1", dtype="float32")
    x = on(cupy, 1, np.tile(X, (200, 1)).astype(np.float32))
    leave(cupy, 700_000)
    with pytest.raises(cr.DeviceMemoryError, match=r"60,000 rows take up to about .* ask for at most about") as caught:
        model.predict_proba(x)
    fits = int(str(caught.value).rsplit("about ", 1)[1].split()[0].replace(",", ""))
    del caught
    assert 1000 < fits < 60_000
    with cupy.cuda.Device(1):
        model.predict_proba(x[:fits])


# ---------------------------------------------------------------------------------------------------- an X without room


def held(cupy: Any, **settings: Any) -> cr.Model:
    """A training run of an X that does not fit on the device."""
    leave(cupy, 400_000)
    with pytest.warns(UserWarning, match=r"X takes 475 kB and cuda:1 has 400 kB free: it stays on the host"):
        return trained(LONG, np.tile(Y, 33), backend="cupy:1", **settings)


def test_an_x_without_room_stays_on_the_host_to_the_same_result_bit_for_bit(
    cupy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chainrule.training._examples.rows_in_window", lambda rows, batch_size: 10 * batch_size)
    weight = np.tile(WEIGHT, 33)
    resident = trained(LONG, np.tile(Y, 33), backend="cupy", sample_weight=weight)
    assert held(cupy, sample_weight=weight) == resident


def test_an_x_without_room_makes_the_host_wait_no_more_often(cupy: Any) -> None:
    counted = Counted(cupy)
    held(cupy, callbacks=[counted], epochs=4)
    assert counted.epochs[1:] == [1, 1, 1]


def test_an_x_without_room_is_checked_like_any_other(cupy: Any) -> None:
    bad = LONG.copy()
    bad[7, 3] = np.nan
    leave(cupy, 400_000)
    with pytest.warns(UserWarning, match="host"), pytest.raises(cr.DataError, match=r"in 1 of 9900 rows \(7\)"):
        trained(bad, np.tile(Y, 33), backend="cupy:1")


def test_predictions_of_an_x_without_room_are_made_a_window_at_a_time(cupy: Any, monkeypatch: Any) -> None:
    model = trained(backend="cupy:1")
    monkeypatch.setattr("chainrule._data.streams._windows.WINDOW_BYTES", 8 * LONG.shape[1] * 100)
    leave(cupy, 400_000)
    np.testing.assert_array_equal(model.predict(LONG), model.to("numpy").predict(LONG))


def test_a_buffer_is_not_filled_before_it_was_copied(cupy: Any) -> None:
    """The stand-in copies no sooner than it must: the host is far ahead of the device."""
    with cupy.cuda.Device(1), cupy.cuda.Stream(non_blocking=True):
        carry, x = reference_backend("cupy", device=1).memory.carrier(), np.arange(40.0).reshape(20, 2)
        for i in range(6):
            there = carry(x, np.asarray([i, 19 - i]))
        np.testing.assert_array_equal(there.get(), x[[5, 14]])


def test_rows_that_are_carried_over_are_there_for_what_is_asked_before_the_next(cupy: Any) -> None:
    with cupy.cuda.Device(1):
        carry, x = reference_backend("cupy", device=1).memory.carrier(), np.arange(40.0).reshape(20, 2)
        seen = []
        for i in range(6):
            index = np.asarray([i, 19 - i, 3][: 2 + i % 2])
            there = carry(x, index)
            seen.append((there * 1.0, x[index]))
            carry(x, np.asarray([0]))
        for got, want in seen:
            np.testing.assert_array_equal(got.get(), want)


# --------------------------------------------------------------------------------------------------- a machine without


def raising(error: Exception) -> Callable[..., Any]:
    def function(*_: Any, **__: Any) -> Any:
        raise error

    return function


def ill(cupy: Any, patch: pytest.MonkeyPatch, case: str) -> None:
    """Make the stand-in's machine one of these."""
    runtime = cupy.cuda.runtime
    insufficient = runtime.CUDARuntimeError("cudaErrorInsufficientDriver: CUDA driver version is insufficient")
    match case:
        case "no driver":
            patch.setattr(runtime, "getDeviceCount", raising(insufficient))
            patch.setattr(runtime, "driverGetVersion", lambda: 0)
        case "an old driver":
            patch.setattr(runtime, "getDeviceCount", raising(insufficient))
            patch.setattr(runtime, "driverGetVersion", lambda: 12020)
        case "no device":
            none = runtime.CUDARuntimeError("cudaErrorNoDevice: no CUDA-capable device is detected")
            patch.setattr(runtime, "getDeviceCount", raising(none))
        case "no runtime":
            missing = ImportError("libcudart.so.13: cannot open shared object file")
            patch.setattr(runtime, "getDeviceCount", raising(missing))
        case "no NVRTC":
            missing = RuntimeError("CuPy failed to load libnvrtc.so.13: OSError: libnvrtc.so.13: cannot open")
            patch.setattr(cupy, "ones", raising(missing))
        case "no kernel":
            refused = cupy.cuda.compiler.CompileException("kernel.cu(1): error: cannot open source file\n1 error")
            patch.setattr(cupy, "ones", raising(refused))
        case "no cuBLAS":
            missing = raising(ImportError("libcublas.so.13: cannot open shared object file"))
            patch.setattr(cupy, "matmul", lambda x, y: missing() if x.size > 1 else x * y)
        case "no room for cuBLAS":
            full = raising(RuntimeError("CUBLAS_STATUS_NOT_INITIALIZED"))
            patch.setattr(cupy, "matmul", lambda x, y: full() if x.size > 1 else x * y)
        case "a busy device":
            busy = runtime.CUDARuntimeError("cudaErrorDevicesUnavailable: CUDA-capable device(s) is/are busy")
            patch.setattr(cupy, "ones", raising(busy))


@pytest.mark.parametrize(
    ("case", "words"),
    [
        (
            "no driver",
            "CuPy 14.0.0 is installed but no CUDA device is visible: no NVIDIA driver was found, install one",
        ),
        (
            "an old driver",
            "the NVIDIA driver is too old for it, it is for CUDA 12.2 and CuPy for 13.0: update the driver",
        ),
        ("no device", "no CUDA device is visible: the driver lists none"),
        ("no runtime", "CUDA library does not load (libcudart.so.13: cannot open shared object file): pip install"),
        ("no NVRTC", "the compiler NVRTC does not load (CuPy failed to load libnvrtc.so.13"),
        ("no kernel", "the compiler NVRTC refuses CuPy's own kernels (kernel.cu(1): error: cannot open source file):"),
        ("no cuBLAS", "cuBLAS does not load (libcublas.so.13: cannot open shared object file): pip install"),
        ("no room for cuBLAS", "sees cuda:0, but cuBLAS does not start there (CUBLAS_STATUS_NOT_INITIALIZED)"),
        ("a busy device", "sees cuda:0, but the CUDA runtime refused: cudaErrorDevicesUnavailable"),
    ],
)
def test_a_machine_without_what_cupy_needs_says_so_in_one_sentence(
    stand_in: Any, monkeypatch: pytest.MonkeyPatch, case: str, words: str
) -> None:
    ill(stand_in, monkeypatch, case)
    with pytest.raises(cr.BackendError) as caught:
        trained(backend="cupy")
    assert words in str(caught.value)
    problem = next(row["problem"] for row in cr.available_backends() if row["name"] == "cupy")
    assert problem == str(caught.value)


def test_a_device_that_does_not_work_is_no_matter_where_another_is_asked_for(
    stand_in: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ones, busy = stand_in.ones, stand_in.cuda.runtime.CUDARuntimeError("cudaErrorDevicesUnavailable: busy")

    def one(*arguments: Any, **named: Any) -> Any:
        return ones(*arguments, **named) if stand_in.cuda.Device().id else raising(busy)()

    monkeypatch.setattr(stand_in, "ones", one)
    for asked in ({"name": "cupy"}, {"like": on(stand_in, 0, X)}):
        with pytest.raises(cr.BackendError, match="sees cuda:0, but"):
            reference_backend(**asked)
    assert reference_backend("cupy", device=1).device.id == 1
    assert reference_backend(like=on(stand_in, 1, X)).device.id == 1


def test_a_device_that_others_have_filled_is_told_from_a_library_that_is_missing(cupy: Any) -> None:
    """JAX takes three quarters of a GPU when it starts. A thread has its own handle of cuBLAS, which takes memory."""
    if is_stand_in(cupy):
        pytest.skip("the stand-in has no cuBLAS: this is for CuPy itself, see ci/fake-cuda")
    leave(cupy, 2**20)
    with ThreadPoolExecutor(1) as thread, pytest.raises(cr.BackendError) as caught:
        thread.submit(reference_backend, "cupy", device=1).result()
    assert "sees cuda:1, but cuBLAS does not start there (CUBLAS_STATUS_NOT_INITIALIZED)" in str(caught.value)
    assert "1 MB of its 8590 MB are free" in str(caught.value)
    assert "pip install" not in str(caught.value)


# -------------------------------------------------------------------------------------------------------- the stand-in


def test_the_stand_in_refuses_what_a_gpu_would_get_wrong(stand_in: Any) -> None:
    here, there = on(stand_in, 0, X), on(stand_in, 1, X)
    with pytest.raises(ValueError, match="current device"):
        here + there
    with pytest.raises(ValueError, match="current device"):
        stand_in.exp(there)
    with pytest.raises(TypeError, match="NumPy array"):
        here + X
    with pytest.raises(TypeError):
        X + here
    with pytest.raises(TypeError, match="Implicit conversion"):
        np.asarray(here)
    with pytest.raises(ValueError, match="overlaps"):
        here[1:] += here[:-1]
    with pytest.raises(NotImplementedError, match="non-contiguous"):
        on(stand_in, 1, here[:, ::2])
    with stand_in.cuda.Stream(non_blocking=True), pytest.raises(RuntimeError, match="of another device"):
        there.get()
    for options, grid in (["-O1"], (1,)), (("-O1",), [1]):
        with pytest.raises(TypeError, match="expected tuple"):
            stand_in.RawModule(code='extern "C" __global__ void f() {}', options=options).get_function("f")(
                grid, (1,), ()
            )
    assert on(stand_in, 1, here).device.id == 1
    assert not stand_in.counts["synchronisation"]
    assert float(stand_in.sum(here)) == pytest.approx(X.sum())
    assert bool(stand_in.all(here == here))
    here[here > 0.0]
    assert stand_in.counts["synchronisation"] == 3


def test_the_stand_in_captures_what_cuda_captures(stand_in: Any) -> None:
    x, stream = on(stand_in, 0, X), stand_in.cuda.Stream(non_blocking=True)
    with stream:
        stream.begin_capture()
        stand_in.exp(x) * 2.0
        for refused in (lambda: x @ x.mT, lambda: stand_in.matmul(x, x.mT)):
            with pytest.raises(NotImplementedError, match="capture"):
                refused()
        stand_in.concatenate([x] * 8)
        many = lambda: stand_in.concatenate([x] * 9)  # noqa: E731
        for refused in (x.get, lambda: stand_in.asarray(X), lambda: float(x[0, 0]), lambda: x[x > 0.0], many):
            with pytest.raises(RuntimeError, match="capture"):
                refused()
        for refused in (stream.begin_capture, stream.synchronize, stream.end_capture):
            with pytest.raises(stand_in.cuda.runtime.CUDARuntimeError, match=r"captured|Unsupported|Invalidated"):
                refused()
        x @ x.mT
        stream.begin_capture()
        memory = weakref.ref(stand_in.empty(3)._a)
        graph = stream.end_capture()
    gc.collect()
    assert memory() is not None, "as long as the graph, which writes there"
    del graph
    gc.collect()
    assert memory() is None


@pytest.mark.skipif(not is_available(), reason="CUDA C++ runs on the host where there is g++")
def test_the_stand_in_runs_cuda_sources(cupy: Any) -> None:
    code = """extern "C" __global__ void twice(const double* x, double* y, int n) {
        int i = blockIdx.x * blockDim.x + threadIdx.x;
        if (i < n) y[i] = 2.0 * x[i];
    }"""
    x = on(cupy, 0, X.ravel())
    y = cupy.empty(x.shape)
    cupy.RawModule(code=code).get_function("twice")((-(-x.size // 32),), (32,), (x, y, np.int32(x.size)))
    np.testing.assert_array_equal(y.get(), 2.0 * X.ravel())


# ------------------------------------------------------------------------------------------------ the rest of the house


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_an_estimator_trains_and_answers_on_device_1(solver: str, cupy: Any) -> None:
    settings: dict[str, Any] = {
        "hidden_layer_sizes": (8,),
        "solver": solver,
        "max_iter": 400,
        "random_state": 0,
        "tol": 1e-3,
    }
    theirs = cr.MLPClassifier(backend="cupy:1", **settings).fit(X, Y)
    ours = cr.MLPClassifier(**settings).fit(X, Y)
    for got, want in zip((*theirs.coefs_, *theirs.intercepts_), (*ours.coefs_, *ours.intercepts_), strict=True):
        assert got.device.id == 1
        np.testing.assert_allclose(got.get(), want, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(theirs.predict(X), ours.predict(X))
    np.testing.assert_allclose(theirs.transform(X), ours.transform(X), atol=1e-6)
    theirs.coefs_ = ours.coefs_
    assert theirs.score(X, Y) == ours.score(X, Y)
    assert cupy.cuda.Device().id == 0


def test_an_estimator_resumes_and_stops_early_on_device_1(cupy: Any) -> None:
    found = []
    usual = {"hidden_layer_sizes": (8,), "early_stopping": True, "random_state": 0, "max_iter": 5, "dropout": 0.2}
    for settings in ({"backend": "cupy:1"}, {}):
        clf = cr.MLPClassifier(**usual | settings)
        for _ in range(3):
            clf.partial_fit(X, Y, classes=[0, 1])
        found.append(clf.predict_proba(X))
    np.testing.assert_allclose(found[0], found[1], rtol=0, atol=1e-6)


def test_batches_from_the_host_do_not_wait_for_the_device(cupy: Any) -> None:
    parts = [(X[i : i + 60], Y[i : i + 60], WEIGHT[i : i + 60]) for i in range(0, 300, 60)]
    seen = Counted(cupy)
    model = trained(parts, None, batch_size=None, backend="cupy:1", callbacks=[seen])
    assert seen.epochs[1:] == [1, 1]
    same = trained(parts, None, batch_size=None, backend="numpy")
    np.testing.assert_allclose(model.theta.get(), same.theta, rtol=0, atol=1e-9)
