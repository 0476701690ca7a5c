"""Libraries and devices that are not there: what there is instead, and how to get them."""

from __future__ import annotations

import sys
import types
from typing import Any

import numpy as np
import pytest
from bad_case import Case, check, fit
from conftest import find_library

import chainrule as cr
from chainrule._backend import LIBRARIES


@pytest.mark.parametrize("device", ["meta", "xpu", "cuda:99"])
def test_a_device_of_torch_without_memory_here_is_refused(device: str) -> None:
    find_library("torch")
    says = rf"PyTorch has no device '{device}' on this machine; it has .*cpu"
    check(Case(lambda: fit(backend=f"torch:{device}"), cr.BackendError, says))


def test_jax_without_x64_says_how_to_get_it() -> None:
    says = r"jax on .* has no float64: call jax\.config\.update\('jax_enable_x64', True\) before any array is made"
    with find_library("jax").enable_x64(False):
        check(Case(lambda: cr.backend("jax", dtype="float64"), cr.DTypeError, says))


def test_a_device_without_float64_says_so() -> None:
    find_library("array-api-strict", "array_api_strict")
    name = "array-api-strict:no_float64"
    check(
        Case(
            lambda: cr.backend(name, dtype="float64"),
            cr.DTypeError,
            r"has no float64: use dtype='float32' or another device",
        )
    )


@pytest.mark.parametrize(
    ("library", "module", "says"),
    [
        ("torch", "torch", r"PyTorch is not installed: pip install 'chainrule\[torch\]'"),
        (
            "jax",
            "jax.numpy",
            r"JAX is (not installed|installed but cannot be imported.*): pip install 'chainrule\[jax\]'",
        ),
        ("cupy", "cupy", r"CuPy is not installed: pip install 'chainrule\[cuda1[23]\]'"),
        ("dpnp", "dpnp", r"dpnp is (not installed|installed but .*): pip install 'chainrule\[dpnp\]'"),
    ],
)
def test_a_library_that_is_not_installed_says_how_to_get_it(
    library: str, module: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)  # as if it were not there
    check(Case(lambda: fit(backend=library), cr.BackendError, says))


def test_cupy_that_cannot_run_here_says_why_in_one_sentence() -> None:
    problem = next(row["problem"] for row in cr.available_backends() if row["name"] == "cupy")
    if problem is None:
        pytest.skip("a CUDA device exists")
    check(
        Case(lambda: fit(backend="cupy"), cr.BackendError, r"^CuPy .*(not installed|no CUDA device|CUDA library).*\.$")
    )


@pytest.mark.parametrize(
    ("refusal", "says"),
    [
        (
            "cudaErrorInsufficientDriver: CUDA driver version is insufficient",
            r"no NVIDIA driver was found, install one",
        ),
        (
            "cudaErrorNoDevice: no CUDA-capable device is detected",
            r"the driver lists none \(see nvidia-smi and CUDA_VIS",
        ),
        ("cudaErrorUnknown: unknown error", r"the CUDA runtime refused: cudaErrorUnknown"),
    ],
)
def test_cupy_without_a_device_says_what_the_driver_said(
    refusal: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class CUDARuntimeError(RuntimeError):
        pass

    def refuse() -> int:
        raise CUDARuntimeError(refusal)

    versions = {"driverGetVersion": lambda: 0, "runtimeGetVersion": lambda: 13000}
    runtime = types.SimpleNamespace(CUDARuntimeError=CUDARuntimeError, getDeviceCount=refuse, **versions)
    cuda, ndarray = types.SimpleNamespace(runtime=runtime), type("ndarray", (), {})
    cupy = types.SimpleNamespace(__version__="14.2", cuda=cuda, ndarray=ndarray)
    monkeypatch.setitem(sys.modules, "cupy", cupy)  # type: ignore[arg-type]
    check(Case(lambda: fit(backend="cupy"), cr.BackendError, rf"CuPy 14\.2 is installed but .*{says}"))


def test_dpnp_without_a_device_says_how_a_machine_gets_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, module in {"dpnp": {"ndarray": dict}, "dpctl": {"get_devices": list}}.items():
        monkeypatch.setitem(sys.modules, name, types.SimpleNamespace(**module))  # type: ignore[arg-type]
    says = r"^dpnp .* SYCL sees no device: for an Intel GPU install its driver, .* OCL_ICD_FILENAMES=/.*libintelocl\.so"
    check(Case(lambda: fit(backend="dpnp"), cr.BackendError, says))


@pytest.mark.parametrize(
    ("promise", "says"),
    [
        (
            lambda: LIBRARIES["dpnp"].compile(lambda: lambda: None, None),
            "compiles a step, got compile=True: leave it out",
        ),
        (lambda: LIBRARIES["dpnp"].deterministic(None), r"same bits, got deterministic=True: leave it out, or .*\.$"),
    ],
)
def test_dpnp_promises_nothing_that_it_cannot_keep(promise: Any, says: str) -> None:
    check(Case(promise, cr.BackendError, says))


def test_every_backend_is_listed_with_the_reason_why_it_cannot_run() -> None:
    rows = {row["name"]: row for row in cr.available_backends()}
    assert set(rows) == set(LIBRARIES)
    assert rows["numpy"] == {"name": "numpy", "version": np.__version__, "devices": ["cpu"], "problem": None}
    for row in rows.values():
        assert (row["devices"] == []) == (row["problem"] is not None)
        assert "\n" not in str(row["problem"])
