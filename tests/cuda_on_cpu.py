"""CUDA C++ sources, compiled by g++ and run on NumPy arrays: what ``cupy.RawModule`` is on a GPU.

``HostModule(code, options).get_function(name)(grid, block, args)``. See cuda_on_cpu.h for what is run and how.
"""

from __future__ import annotations

import ctypes
import getpass
import hashlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from fake_cuda.compile import KERNEL, SHARED

HEADER = Path(__file__).with_suffix(".h")
CACHE = Path(tempfile.gettempdir()) / f"chainrule-cuda-on-cpu-{getpass.getuser()}"
SHARED_BYTES, MOST_SHARED_BYTES = 48 * 1024, 227 * 1024  # of a block, without asking for more and at most (sm_90)


def is_available() -> bool:
    """Whether there is a compiler for it, and fibers."""
    return sys.platform == "linux" and shutil.which("g++") is not None


class Argument(ctypes.Structure):
    """An argument's address, ``p``, ``i`` or ``f``, and its size in bytes, or that of an element of an array."""

    _fields_ = [("at", ctypes.c_void_p), ("kind", ctypes.c_char), ("size", ctypes.c_int)]


class HostModule:
    """The kernels of a source; ``options`` are the compiler's. Compiled when a kernel is first asked for."""

    def __init__(self, code: str, options: Sequence[str] = ()) -> None:
        code = SHARED.sub(r"\1* const \2 = reinterpret_cast<\1*>(on_cpu::shared_start());", code)
        self._code = f'#include "{HEADER}"\n#line 1 "kernels.cu"\n{code}\n'
        self._options = ["-std=c++17", "-O1", "-fPIC", "-x", "c++", *options, "-"]

    def get_function(self, name: str) -> Callable[..., None]:
        """``kernel(grid, block, args)``; arguments are NumPy arrays, scalars of NumPy's, and Python numbers.

        Python's int is a long long and its float a double, as in CuPy. More than 48 KB of dynamic shared memory must be
        asked for, with ``kernel.max_dynamic_shared_size_bytes``, as there.
        """
        launch = getattr(self._library, f"launch_{name}")
        launch.restype = ctypes.c_char_p

        def kernel(grid: tuple[int, ...], block: tuple[int, ...], args: Sequence[Any], shared_mem: int = 0) -> None:
            allowed = min(kernel.max_dynamic_shared_size_bytes, MOST_SHARED_BYTES)  # type: ignore[attr-defined]
            if shared_mem > allowed:
                raise RuntimeError(f"{name}: {shared_mem} bytes of dynamic shared memory, and {allowed} are allowed.")
            sizes = (ctypes.c_uint * 6)(*(*grid, 1, 1)[:3], *(*block, 1, 1)[:3])
            given, kept = _arguments(args)
            said = launch(sizes, ctypes.c_size_t(shared_mem), given, len(args)).decode()
            del kept
            if said:
                raise RuntimeError(f"{name}: {said}.")

        kernel.max_dynamic_shared_size_bytes = SHARED_BYTES  # type: ignore[attr-defined]
        return kernel

    @cached_property
    def _library(self) -> ctypes.PyDLL:
        """Of PyDLL's kind: it keeps the interpreter's lock, and the fibers are global."""
        CACHE.mkdir(mode=0o700, exist_ok=True)
        parts = "\0".join([HEADER.read_text(), self._code, *self._options])
        path = CACHE / f"{hashlib.sha256(parts.encode()).hexdigest()}.so"
        if not path.exists():
            preprocessed = _compile(["-E", "-P", *self._options], self._code)
            launches = [
                f'extern "C" const char* launch_{name}'
                "(const unsigned* s, size_t shared, const on_cpu::Argument* a, int n) { return "
                f"on_cpu::launch([] {{ on_cpu::call({name}); }}, on_cpu::count({name}), s, shared, a, n); }}\n"
                for name in KERNEL.findall(preprocessed)
            ]
            with tempfile.TemporaryDirectory(dir=CACHE) as folder:
                made = Path(folder) / "made.so"
                # -Bsymbolic: a kernel called advance is ours, not the C library's
                linked = ["-shared", "-Wl,-Bsymbolic", "-o", str(made), *self._options]
                _compile(linked, self._code + "".join(launches))
                made.replace(path)  # at once, for others may be compiling the same
        return ctypes.PyDLL(str(path))


def _compile(arguments: list[str], code: str) -> str:
    done = subprocess.run(["g++", *arguments], input=code, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return done.stdout


def _arguments(args: Sequence[Any]) -> tuple[Any, list[Any]]:
    """The arguments as the library reads them, and what must live until it has."""
    given, kept = (Argument * len(args))(), []
    for argument, x in zip(given, args, strict=True):
        if isinstance(x, np.ndarray):
            argument.kind, argument.size = b"p", x.itemsize
            value = np.asarray(x.ctypes.data, np.uintp)
        else:
            value = np.asarray(x)
            if value.ndim or value.dtype.kind not in "iuf":
                raise TypeError(f"a kernel's argument must be an array or a number, got {type(x).__name__}")
            argument.kind, argument.size = b"f" if value.dtype.kind == "f" else b"i", value.itemsize
        argument.at = value.ctypes.data
        kept.append((value, x))
    return given, kept
