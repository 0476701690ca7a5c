"""The platforms: array libraries, devices and ways of running that between them catch what plain NumPy forgives.

A test that asks for ``platform`` runs on all of them; one that compares several opens them with ``open_platform``. A
library that is missing is a skip with its reason, and a failure where CHAINRULE_REQUIRE names it ("torch,jax,
array-api-strict").
"""

from __future__ import annotations

import atexit
import ctypes
import gc
import importlib
import importlib.util
import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

import numpy as np
import pytest

from chainrule._backend import Backend, dtype_name
from chainrule._backend import reference_backend as backend
from chainrule._base.errors import BackendError
from chainrule._kernels import _cublaslt, _cupy_products, _products, with_providers

# A program that JAX compiled once in this run is not compiled again, by any of the processes: half of its tests' time.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="chainrule-jax-")
    atexit.register(shutil.rmtree, os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)
    os.environ |= {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0", "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1"}

# A shell's background ignores Ctrl-C, which tests send to themselves and to processes that inherit this.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

REQUIRED = frozenset(name.strip() for name in os.environ.get("CHAINRULE_REQUIRE", "").split(",") if name.strip())


@dataclass(frozen=True)
class Spec:
    """A platform in words; nothing is imported until it is opened."""

    id: str
    library: str
    dtype: str
    device: str | None = None
    mode: str = "eager"  # or "readonly", "jit", "dynamo", "stand-in"
    kernels: str = "library"  # or "none", as compiling takes them on torch, or "fast": with Numba's


SPECS = (
    Spec("numpy", "numpy", "float32"),
    Spec("numpy-readonly", "numpy", "float64", mode="readonly"),  # x *= 2 on an argument
    Spec("numpy-fast", "numpy", "float32", mode="readonly", kernels="fast"),
    Spec("providers-off", "numpy", "float32", mode="readonly", kernels="none"),
    Spec("strictest-float32", "array-api-strict", "float32", "device1"),  # a device, a dtype, a host read forgotten
    Spec("strictest-float64", "array-api-strict", "float64", "device1"),
    Spec("no-float64", "array-api-strict", "float32", "no_float64"),  # accumulation in float64
    Spec("torch", "torch", "float32", "cpu"),
    Spec("jax-jit", "jax", "float32", mode="jit"),  # z[0] = 0, a view relied upon, a Python number frozen
    Spec("jax-jit-float64", "jax", "float64", mode="jit"),
    Spec(
        "dynamo", "torch", "float32", "cpu", mode="dynamo", kernels="none"
    ),  # a graph break: maximum(z, 0.), a branch on data
    Spec("dpnp", "dpnp", "float32"),  # an array of another queue
    Spec("cupy-stand-in", "cupy", "float32", "cuda:1", mode="stand-in"),  # a NumPy array, an array left on device 0
    Spec("cupy-stand-in-float64", "cupy", "float64", "cuda:1", mode="stand-in"),
    Spec("cupy", "cupy", "float32"),
)


@dataclass(frozen=True)
class Platform:
    """An open platform."""

    spec: Spec
    backend: Backend = field(hash=False)  # CuPy's devices do not hash

    @property
    def eps(self) -> float:
        """The distance from 1 to the next number of the dtype."""
        return float(np.finfo(self.spec.dtype).eps)

    def array(self, x: Any, dtype: Any = None) -> Any:
        """``x`` on the platform, in its float dtype (integers in int32); not writeable on the read-only platforms."""
        x = np.array(x)
        if dtype is None and x.dtype.kind in "iu":
            dtype = self.backend.xp.int32
        made = self.backend.asarray(x, dtype)
        if self.spec.mode == "readonly":
            made.flags.writeable = False
        return made

    def owned(self, x: Any) -> Any:
        """``x`` on the platform, to be donated."""
        return self.backend.asarray(np.array(x))

    def compile(self, f: Callable[..., Any]) -> Callable[..., Any]:
        """``f`` as the platform runs it. No fallback: what cannot be compiled fails."""
        if self.spec.mode == "jit":
            return importlib.import_module("jax").jit(f)
        if self.spec.mode == "dynamo":
            torch = importlib.import_module("torch")
            torch._dynamo.reset()  # it allows 8 programs to one code object, and a test's inner function is one
            return torch.compile(f, backend="eager", fullgraph=True, dynamic=False)
        return f

    def run(self, f: Callable[..., Any], *arguments: Any) -> Any:
        """``f(*arguments)`` as the platform runs it."""
        return self.compile(f)(*arguments)

    def compile_step(self, make: Callable[..., Any], *arguments: Any) -> Callable[..., Any]:
        """The step ``make(backend, *arguments)`` as the library itself compiles it, its state donated."""
        if self.spec.mode == "dynamo":
            importlib.import_module("torch")._dynamo.reset()
            library: Any = self.backend.library
            return library.compile(make, self.backend, *arguments, compiler="eager")
        return self.backend.compile(make, *arguments)

    def host(self, x: Any) -> np.ndarray:
        """A copy of ``x`` on the host."""
        return np.array(self.backend.to_numpy(x))

    def check(self, got: Any, want: Any, rtol: float = 0.0, atol: float = 0.0, dtype: str | None = None) -> None:
        """Library, device, dtype (the platform's, unless told) and shape first, then the values."""
        library, want = self.backend.library, np.asarray(want)
        assert library.owns(got), f"a {type(got)} is not an array of {self.backend}"
        assert library.device_of(got) == self.backend.device
        assert dtype_name(got.dtype) == (self.spec.dtype if dtype is None else dtype)
        assert tuple(got.shape) == want.shape
        np.testing.assert_allclose(self.host(got), want, rtol=rtol, atol=atol)


def elsewhere(platform: Platform) -> AbstractContextManager[object]:
    """While it lasts, the current device is the library's first, which need not be the platform's."""
    library = platform.backend.library
    return library.active(library.devices()[0])


def find_library(name: str, module: str | None = None) -> ModuleType:
    """An optional module: missing it is a skip, or a failure where CHAINRULE_REQUIRE names the library."""
    try:
        return importlib.import_module(module or name)
    except ImportError as error:
        _missing(name, str(error))


def central_differences(f: Callable[[np.ndarray], Any], x: np.ndarray, h: float = 1e-6) -> np.ndarray:
    """df/dx of a scalar function: (f(x + h e) - f(x - h e)) / 2h for each unit vector e; wrong by O(h^2) + 1e-16/h."""
    slopes = np.empty_like(x)
    for i in np.ndindex(x.shape):
        up, down = x.copy(), x.copy()
        up[i] += h
        down[i] -= h
        slopes[i] = (f(up) - f(down)) / (2.0 * h)
    return slopes


@contextmanager
def about(name: str) -> Iterator[None]:
    """Says in a failure which line of a table it is about. Compiling a table at once takes a tenth of the time."""
    try:
        yield
    except BaseException as error:
        error.add_note(f"In the table: {name}")
        raise


@pytest.fixture(params=[pytest.param(spec.id, marks=[pytest.mark.gpu] * (spec.id == "cupy")) for spec in SPECS])
def platform(request: pytest.FixtureRequest) -> Iterator[Platform]:
    with _opened(_spec(request.param)) as opened:
        yield opened


@pytest.fixture
def open_platform() -> Iterator[Callable[..., Platform]]:
    """``open_platform("torch", dtype="float64")``; each stays open until the test ends."""
    with ExitStack() as stack:
        yield lambda name, **changes: stack.enter_context(_opened(replace(_spec(name), **changes)))


def _spec(id: str) -> Spec:
    return next(spec for spec in SPECS if spec.id == id)


@contextmanager
def _opened(spec: Spec) -> Iterator[Platform]:
    with ExitStack() as stack:
        if spec.library == "array-api-strict":
            stack.enter_context(_nothing_beyond_the_standard())
        if spec.library == "torch":
            _ready_torch()
        if spec.mode == "stand-in":
            stack.enter_context(cupy_stand_in())
        if spec.library == "jax":
            stack.enter_context(find_library("jax").enable_x64(spec.dtype == "float64"))
        try:
            made = backend(spec.library, device=spec.device, dtype=spec.dtype)
        except BackendError as error:
            _missing(spec.library, str(error))
        if spec.kernels == "fast":
            find_library("numba")
        stack.enter_context(made.active())
        yield Platform(spec, made if spec.kernels == "none" else with_providers(made, fast=spec.kernels == "fast"))


@contextmanager
def cupy_stand_in() -> Iterator[Any]:
    """``import cupy`` gives tests/stand_in/cupy, which computes with NumPy and has two devices.

    Where CuPy is installed and sees two devices, as on the fake CUDA of ci/fake-cuda, it is CuPy itself; where it sees
    fewer, a skip.
    """
    if _is_installed("cupy"):
        yield _cupy_with_two_devices()
        return
    with pytest.MonkeyPatch.context() as patch:
        for name, module in _stand_in_modules().items():
            patch.setitem(sys.modules, name, module)
        done, run = sys.modules["cupy"].done, _products.Products.run
        patch.setattr(_cupy_products, "load", lambda: _cublaslt.CublasLt(cublaslt_stand_in()))
        patch.setattr(_products.Products, "run", lambda *arguments: done(lambda: run(*arguments)))
        try:
            yield sys.modules["cupy"]
        finally:
            gc.collect()  # graphs give their memory back while the module is there


@cache
def _is_installed(name: str) -> bool:
    """Asked before anything stands in for it."""
    return importlib.util.find_spec(name) is not None


def _cupy_with_two_devices() -> ModuleType:
    module = importlib.import_module("cupy")
    try:
        count = module.cuda.runtime.getDeviceCount()
    except module.cuda.runtime.CUDARuntimeError as error:
        pytest.skip(f"CuPy is installed, and its stand-in stays away: {error}")
    if count < 2:
        pytest.skip("CuPy is installed and sees one device: what needs a second is not tested")
    return module


@cache
def fake_cuda() -> ctypes.CDLL | None:
    """What tests may ask of the fake CUDA under CuPy (tests/fake_cuda/fake_cuda.h); None where there is another."""
    try:
        library = ctypes.CDLL("libcuda.so.1")
        library.fake_cuda_used.restype = library.fake_cuda_free.restype = ctypes.c_size_t
        library.fake_cuda_others_take.argtypes = ctypes.c_int, ctypes.c_size_t
        library.fake_cuda_launches.restype = library.fake_cuda_waits.restype = ctypes.c_int64
    except (OSError, AttributeError):
        return None
    return library


@cache
def cublaslt_stand_in() -> str:
    """A library that has cuBLASLt's functions and computes on the host; a skip without a compiler."""
    compiler = shutil.which("g++")
    if compiler is None:
        assert "g++" not in REQUIRED, "CHAINRULE_REQUIRE names g++, which is not installed"
        pytest.skip("g++ is not installed, and compiles the stand-in for cuBLASLt")
    source = Path(__file__).parent / "stand_in" / "cublaslt.cpp"
    path = Path(tempfile.mkdtemp(prefix="chainrule-")) / "libcublasLt.so"
    command = [compiler, "-std=c++17", "-Wall", "-Wextra", "-Werror", "-O1", "-shared", "-fPIC", str(source)]
    subprocess.run([*command, "-o", str(path)], check=True, timeout=300)
    atexit.register(shutil.rmtree, path.parent, ignore_errors=True)
    return str(path)


@cache
def _stand_in_modules() -> dict[str, ModuleType]:
    """Imported once, since arrays outlive a test; not left where a test that wants no CuPy would find them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(Path(__file__).parent / "stand_in")
        importlib.import_module("array_api_compat.cupy")
        names = [name for name in sys.modules if {"cupy"} & set(name.split(".")[:2])]
        return {name: sys.modules.pop(name) for name in names}


@contextmanager
def _nothing_beyond_the_standard() -> Iterator[None]:
    """array-api-strict with its flags off, and no host read of an array that is not on the CPU."""
    strict = find_library("array-api-strict", "array_api_strict")
    Array = find_library("array-api-strict", "array_api_strict._array_object").Array
    before = strict.get_array_api_strict_flags()
    # What NumPy 2 and JAX declare; array-api-strict would allow the year after.
    strict.set_array_api_strict_flags(
        api_version="2024.12", boolean_indexing=False, data_dependent_shapes=False, enabled_extensions=()
    )

    def forbidden(name: str) -> Callable[[Any], Any]:
        original = getattr(Array, name)

        def guarded(self: Any) -> Any:
            assert self.device == strict.Device("CPU_DEVICE"), f"a host read: {name} of an array on {self.device}"
            return original(self)

        return guarded

    with pytest.MonkeyPatch.context() as patch:
        for name in ("__float__", "__int__", "__bool__", "__index__"):
            patch.setattr(Array, name, forbidden(name))
        try:
            yield
        finally:
            strict.set_array_api_strict_flags(**before)


def _ready_torch() -> None:
    find_library("torch").set_num_threads(1)  # the workers of xdist share the cores already
    logging.getLogger("torch.__trace").disabled = True  # hundreds of lines in the report of a failure


def _missing(library: str, why: str) -> NoReturn:
    if library in REQUIRED:
        pytest.fail(f"CHAINRULE_REQUIRE names {library}: {why}")
    pytest.skip(why, allow_module_level=True)  # a file may need it at its import
