"""``build.py SOURCES``: the fake CUDA, into the environment that runs this, whose CuPy is NVIDIA's until then.

SOURCES is the folder of CuPy's source archive. Of all that CuPy's wheel has, one module has CUDA's runtime linked into
it; it is made anew from its source, against ``runtime.cpp``. The other libraries lie where pip puts NVIDIA's, so CuPy
and chainrule find them as they find those.
"""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

from compile import FLAGS

HERE = Path(__file__).resolve().parent
SITE = Path(sysconfig.get_path("purelib"))
NVIDIA = SITE / "nvidia" / "cu13"
LIBRARIES = NVIDIA / "lib"
BACKENDS = SITE / "cupy_backends" / "cuda"
CUDA_VERSION = 13000


def run(*command: object) -> str:
    return subprocess.run([*map(str, command)], check=True, stdout=subprocess.PIPE, text=True).stdout


def g_plus_plus(made: Path, *arguments: object) -> None:
    run("g++", "-std=c++17", "-O2", "-fPIC", "-shared", f"-I{NVIDIA / 'include'}", "-o", made, *arguments)


def library(name: str, *arguments: object) -> None:
    """In NVIDIA's place, with symbols of the version that their users ask for."""
    version = LIBRARIES / "version.map"
    version.write_text(f"{name} {{ global: *; }};\n", encoding="utf-8")
    made = LIBRARIES / name
    made.unlink(missing_ok=True)  # not written into: NVIDIA's may be linked to a cache of pip's
    strict = "-Wall", "-Wextra", "-Werror", "-Wl,-z,defs", f"-Wl,--version-script={version}", f"-Wl,-soname,{name}"
    g_plus_plus(made, *strict, f"-Wl,-rpath,{LIBRARIES}", *arguments)


def undefined(module: Path, prefix: str) -> set[str]:
    """The functions that a module wants of others."""
    return set(re.findall(rf"\b({prefix}\w+)", run("nm", "--dynamic", "--undefined-only", module)))


def defined(source: Path, prefix: str) -> set[str]:
    return set(re.findall(rf"\b({prefix}\w+)\(", source.read_text(encoding="utf-8")))


def unsupported(names: set[str], code: int) -> Path:
    """A source with functions that answer that they are not supported."""
    path = LIBRARIES / "unsupported.cpp"
    lines = [f'extern "C" int {name}() {{ return {code}; }}\n' for name in sorted(names)]
    path.write_text("".join(lines), encoding="utf-8")
    return path


def build_runtime(sources: Path) -> None:
    """CuPy's module, then the library for all that it asks for."""
    made = next((BACKENDS / "api").glob("runtime.*.so"))
    generated = LIBRARIES / "runtime.cpp"
    constants = f"CUPY_CUDA_VERSION={CUDA_VERSION},CUPY_HIP_VERSION=0,CUPY_USE_CUDA_PYTHON=False"
    directives = "c_api_binop_methods=True,binding=False,warn.deprecated.IF=False"  # those of CuPy's setup
    module = sources / "cupy_backends" / "cuda" / "api" / "runtime.pyx"
    cython = [sys.executable, "-m", "cython", "-3", "--cplus", "-w", sources, "-E", constants, "-X", directives]
    run(*cython, "-o", generated, module.relative_to(sources))
    python = f"-I{sysconfig.get_path('include')}"
    loose = LIBRARIES / "runtime.so"
    g_plus_plus(loose, "-O1", "-w", python, f"-I{module.parent}", generated)
    missing = undefined(loose, "cuda[A-Z]") - defined(HERE / "runtime.cpp", "cuda[A-Z]")
    fake = "libcuda.so.1"
    library(fake, f"-I{HERE}", HERE / "runtime.cpp", unsupported(missing, 801), "-ldl")
    g_plus_plus(made, "-O1", "-w", python, f"-I{module.parent}", generated, LIBRARIES / fake, f"-Wl,-rpath,{LIBRARIES}")
    cudart = LIBRARIES / "libcudart.so.13"
    cudart.unlink(missing_ok=True)
    cudart.symlink_to(fake)


def precompile_headers() -> None:
    """What each of CuPy's kernels includes."""
    folder = SITE / "cupy" / "_core" / "include"
    header = LIBRARIES / "cupy_kernels.h"
    names = "complex.cuh", "carray.cuh", "atomics.cuh", "math_constants.h"
    lines = [f'#include "{HERE / "device.h"}"', *(f"#include <cupy/{name}>" for name in names)]
    header.write_text("\n".join(lines) + "\n", encoding="utf-8")
    paths = [f"-I{folder}", *(f"-I{folder}/cupy/_cccl/{name}" for name in ("cub", "thrust", "libcudacxx"))]
    run("g++", "-std=c++17", *FLAGS, *paths, "-x", "c++-header", header, "-o", f"{header}.gch")


def main(sources: Path) -> None:
    if importlib.util.find_spec("cupy_backends") is None:
        sys.exit("build.py: this environment has no CuPy.")
    LIBRARIES.mkdir(parents=True, exist_ok=True)
    build_runtime(sources)
    cuda = LIBRARIES / "libcuda.so.1"
    blas = HERE / "cublas.cpp"
    missing = undefined(next((BACKENDS / "libs").glob("cublas.*.so")), "cublas") - defined(blas, "cublas")
    library("libcublas.so.13", blas, unsupported(missing, 15), cuda)
    library("libcublasLt.so.13", "-DON_FAKE_CUDA", f"-I{HERE}", HERE.parent / "stand_in" / "cublaslt.cpp", cuda)
    told = {"PYTHON": sys.executable, "COMPILER": HERE / "compile.py", "HEADERS": LIBRARIES}
    library("libnvrtc.so.13", *(f'-D{name}="{value}"' for name, value in told.items()), HERE / "nvrtc.cpp")
    precompile_headers()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
