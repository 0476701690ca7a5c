"""Products of compiled steps by another BLAS than NumPy's: which, how it is loaded, and what a checkpoint says.

MKL itself runs where it is installed, on any processor; else NumPy's BLAS, by address, stands in for it.
"""

from __future__ import annotations

import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from another_blas import put_in_place
from conftest import find_library

import chainrule as cr
from chainrule._backend import _apart, _items, _loops, _mkl, _program
from chainrule._kernels import with_providers

find_library("numba", "numba")
queue = __import__("chainrule._kernels._queue", fromlist=["Threads"])

RNG = np.random.default_rng(5)
X = RNG.standard_normal((60, 5)).astype(np.float32)
Y = RNG.integers(0, 4, 60)


@pytest.fixture(params=["mkl", "numpys"])
def another(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    put_in_place(request.param, monkeypatch)


@pytest.fixture
def intels(monkeypatch: pytest.MonkeyPatch) -> None:
    put_in_place("mkl", monkeypatch)


def fit(dtype: str = "float32", **options: Any) -> cr.Model:
    on = with_providers(cr.backend("numpy", dtype=dtype), fast=True)
    usual = {"loss": "softmax_cross_entropy", "epochs": 3, "batch_size": 16, "verbose": False, "backend": on}
    return cr.fit(cr.mlp([5, 32, 16, 4]), X, Y, **{**usual, **options})


# ------------------------------------------------------------------------------------------------------- its products


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(16, 6, 7), (1, 6, 7), (16, 1, 7), (16, 6, 1), (1, 1, 1), (300, 70, 20)])
def test_a_product_is_right_however_its_operands_lie(dtype: Any, shape: tuple[int, int, int], another: None) -> None:
    rows, inner, columns = shape
    x, y = RNG.standard_normal((rows, inner)).astype(dtype), RNG.standard_normal((inner, columns)).astype(dtype)
    wide = RNG.standard_normal((rows, inner + 3)).astype(dtype)[:, 1:-2]
    for a in (x, np.asfortranarray(x), wide):
        for b in (y, np.asfortranarray(y)):
            wanted, out = a.astype(np.float64) @ b, np.full((rows, columns), np.nan, dtype)
            bound = 4 * inner * np.finfo(dtype).eps * (np.abs(a) @ np.abs(b)).max()
            _mkl.mkl().multiply(a, b, out)
            assert np.abs(out - wanted).max() <= bound
            out[...] = np.nan
            loop = queue.Threads(mkl=_mkl.mkl()).product(a, b, out)
            call = _loops._product(np.matmul, a, b, out, loop)
            middle = rows // 2
            queue._Queue([[[(call, 0, middle)], [(call, middle, rows)]]], 0, np.zeros(1, np.int64))(1)
            assert np.abs(out - wanted).max() <= bound


def test_a_product_of_operands_that_lie_otherwise_is_numpys(another: None) -> None:
    product, x, out = queue.Threads(mkl=_mkl.mkl()).product, np.ones((6, 6), np.float32), np.ones((6, 6), np.float32)
    assert product(x, x, out) is not None
    turned = np.broadcast_to(x[:1], (6, 6)), np.ones((6, 12), np.float32)[:, ::2], x[::-1], x.astype(np.int32)
    assert [product(a, x, out) for a in turned] == [None] * 4
    assert [product(x, a, out) for a in turned] == [None] * 4
    assert product(x, x, out.T) is None
    assert product(x[None], x[None], out[None]) is None
    assert queue.Threads().product(x, x, out) is queue.Threads().product(x[None], x, out[None]) is None


# ----------------------------------------------------------------------------------------------------------- its steps


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_training_differs_in_its_last_bits_alone(dtype: str, another: None, monkeypatch: pytest.MonkeyPatch) -> None:
    models = []
    for cores in (1, 2, 3):
        monkeypatch.setattr(queue, "_cores", lambda cores=cores: cores)
        monkeypatch.setattr(_items, "_CUT", 0)
        monkeypatch.setattr(_items, "_ROWS", 4)
        models.append(fit(dtype))
    monkeypatch.undo()
    numpys = fit(dtype)
    assert [model.backend.info.get("products") for model in (*models, numpys)] == ["mkl"] * 3 + [None]
    assert all(np.array_equal(models[0].theta, model.theta) for model in models)
    np.testing.assert_allclose(models[0].theta, numpys.theta, rtol=0, atol=1e-5 if dtype == "float32" else 1e-13)
    predicted = models[0].predict_proba(X)
    np.testing.assert_allclose(predicted, numpys.predict_proba(X), rtol=0, atol=1e-5)


def test_a_wide_product_is_taken_too(another: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_items, "_WIDE", 20)
    made: list[Any] = []
    init = _program.OneCall.__init__
    monkeypatch.setattr(_program.OneCall, "__init__", lambda self, *given: (init(self, *given), made.append(self))[0])
    fit()
    assert made


def test_a_short_training_and_one_without_recorded_steps_do_not_load_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_mkl, "_found", lambda: pytest.fail("MKL is looked for"))
    for on in (cr.backend("numpy"), cr.backend("numpy", compile=False), cr.backend("numpy", kernels=False)):
        assert "products" not in fit(backend=on).backend.info


# -------------------------------------------------------------------------------------------------------- a checkpoint


@pytest.mark.parametrize("began", ["mkl", "numpy"])
def test_a_training_goes_on_with_the_products_it_began_with(
    began: str, another: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = _mkl._found
    for epochs, there in ((2, began == "mkl"), (4, True)):
        monkeypatch.setattr(_mkl, "_found", found if there else lambda: "a test")
        gone_on = fit(epochs=epochs, checkpoint=cr.Checkpoint(tmp_path, resume=True))
        assert gone_on.backend.products == began
    monkeypatch.setattr(_mkl, "_found", found if began == "mkl" else lambda: "a test")
    assert np.array_equal(fit(epochs=4).theta, gone_on.theta)


def test_where_mkl_is_gone_a_training_that_had_it_is_not_gone_on_with(
    another: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit(epochs=2, checkpoint=tmp_path)
    monkeypatch.setattr(_mkl, "_found", lambda: _mkl._NOT_INSTALLED)
    with pytest.raises(cr.BackendError) as caught:
        fit(epochs=4, checkpoint=cr.Checkpoint(tmp_path, resume=True))
    assert str(caught.value) == (
        "the checkpoint's training ran with MKL's products, to whose last bits nothing else goes on, and here mkl is "
        "not installed (pip install 'chainrule[intel]'): go on where they can be had, or start again in another folder."
    )


# ---------------------------------------------------------------------------------------------------- where it is taken


def test_on_another_processor_than_intels_it_is_never_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_mkl, "is_intels", lambda: False)
    monkeypatch.setattr(metadata, "distribution", lambda name: pytest.fail("it is looked for"))
    assert _mkl._found.__wrapped__() == "the processor is not Intel's, or this is not Linux"


def test_a_distribution_without_its_libraries_is_said_to_be_one(monkeypatch: pytest.MonkeyPatch) -> None:
    class Empty:
        version, files = "9", None

    monkeypatch.setattr(_mkl, "is_intels", lambda: True)
    monkeypatch.setattr(metadata, "distribution", lambda name: Empty())
    found = _mkl._found.__wrapped__()
    assert found == "mkl 9 has no libmkl_intel_ilp64, libmkl_sequential, libmkl_core"


def test_chainrule_backends_says_what_multiplies_and_what_would(monkeypatch: pytest.MonkeyPatch) -> None:
    find_library("typer")
    from chainrule.cli._blas import describe_blas

    def said(found: Any) -> list[str]:
        monkeypatch.setattr(_mkl, "_found", lambda: found)
        return [line for line in describe_blas() if "mkl" in line.lower()]

    assert said(_mkl.Mkl("2026.2", {})) == ["products of compiled steps: mkl 2026.2, on the threads of the step"]
    help_ = "on this processor MKL's products are up to 1.3 times as fast: pip install 'chainrule[intel]'"
    assert said(_mkl._NOT_INSTALLED) == [help_]
    assert said("the processor is not Intel's, or this is not Linux") == []


# ------------------------------------------------------------------------------------------------ apart from all others


@pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() != "x86_64" or platform.libc_ver()[0] != "glibc",
    reason="libraries are loaded apart with glibc on x86-64",
)
def test_libraries_are_loaded_by_an_empty_one_that_needs_them() -> None:
    import ctypes

    library = _apart.load_apart(["libm.so.6", "libc.so.6"])
    library.cos.restype, library.cos.argtypes = ctypes.c_double, [ctypes.c_double]
    assert library.cos(0.0) == 1.0
    assert library.getpid() > 0
    with pytest.raises(OSError, match=r"no-such-library"):
        _apart.load_apart(["/no-such-library.so"])


_SCRIPT = """
import sys
sys.path.insert(0, {tests!r})
import numpy as np
import chainrule as cr
from chainrule._backend import _mkl
from chainrule._kernels import with_providers
_mkl.is_intels = lambda: True
X, y = np.random.default_rng(0).standard_normal((200, 20)).astype("f4"), np.arange(200) % 4
def fit(on):
    return cr.fit(cr.mlp([20, 32, 4]), X, y, loss="softmax_cross_entropy", epochs=3, backend=on)
def ours():
    model = fit(with_providers(cr.backend("numpy"), fast=True))
    print(model.backend.info.get("products"), _mkl.why_not_mkl())
    return np.asarray(model.theta)
def theirs():
    import torch
    text = torch.__config__.parallel_info()
    version = next((line for line in text.splitlines() if "Math Kernel" in line), "none")
    theta = fit("torch").theta.numpy()
    print(torch.get_num_threads(), version.partition(" Product")[0])
    return theta
"""


def script(text: str, threads: str = "2") -> list[str]:
    environment = {"OMP_NUM_THREADS": threads, "PATH": "", "PYTHONPATH": str(Path(cr.__file__).parent.parent)}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _SCRIPT.format(tests=str(Path(__file__).parent)) + text],
        capture_output=True, text=True, timeout=120, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_torch_and_mkl_train_in_one_process_whichever_came_first(intels: None) -> None:
    find_library("torch")
    (alone,) = script("theirs()")
    close = "print(np.abs(a - b).max() < 1e-5)\nprint([l for l in open('/proc/self/maps') if 'iomp' in l])"
    assert alone.startswith("2 ")  # threads
    for first, second in (("ours", "theirs"), ("theirs", "ours")):
        said = script(f"a, b = {first}(), {second}(); {first}(); {second}()\n{close}")
        assert sorted({*said}) == sorted({alone, "mkl ", "True", "[]"})


def test_beside_an_mkl_that_all_of_the_process_sees_none_is_loaded(intels: None) -> None:
    path = next(str(file.locate()) for file in metadata.files("mkl") or () if file.name.startswith("libmkl_rt.so"))
    said = script(f"import ctypes; ctypes.CDLL({path!r}).MKL_Get_Max_Threads(); ours()")
    assert said == ["None another part of this process shows an MKL of its own to all of it"]
