"""``compile.py HEADERS SOURCE MADE OPTION...``: a CUDA source becomes a shared library with a launcher for each kernel.

HEADERS is the folder of ``cupy_kernels.h``, which build.py has compiled: without it a kernel takes three times as long.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
FLAGS = ("-O1", "-w", "-fPIC")
KERNEL = re.compile(r'extern "C" (?:__global__|__attribute__\(\(used\)\))\s+void (\w+)\(')
SHARED = re.compile(r"extern __shared__ (.+?) (\w+)\[\];")
INCLUDE = re.compile(r"^\s*#\s*include\b.*$", re.MULTILINE)


def g_plus_plus(*arguments: str, code: str) -> str:
    done = subprocess.run(
        ["g++", "-std=c++17", "-x", "c++", *arguments, "-"], input=code, capture_output=True, text=True
    )
    if done.returncode:
        sys.exit(done.stderr)
    return done.stdout


def kernels(code: str, options: list[str]) -> list[str]:
    """Their names; those of ours are made by macros, which CuPy's are not."""
    if "cupy/carray.cuh" not in code:
        given = ["-D__global__=__attribute__((used))", "-D__launch_bounds__(...)=", *options]
        code = g_plus_plus("-E", "-P", *given, code=INCLUDE.sub("", code))
    return KERNEL.findall(code)


def launcher(name: str) -> str:
    return (
        f'extern "C" const char* launch_{name}(const unsigned* size, size_t shared, void** given) '
        f"{{ return on_cpu::launch_at([] {{ on_cpu::call_at({name}); }}, size, shared, given); }}\n"
        f'extern "C" int sizes_{name}(int* made) {{ return on_cpu::sizes({name}, made); }}\n'
    )


def main(made_beforehand: str, source: str, made: str, *given: str) -> None:
    code = SHARED.sub(
        r"\1* const \2 = reinterpret_cast<\1*>(on_cpu::shared_start());", Path(source).read_text(encoding="utf-8")
    )
    # CuPy's own headers are C++ for any compiler; the toolkit's are not.
    options = [option for option in given if re.match(r"-D|-I.*cupy/_core/include", option)]
    tail = "".join(map(launcher, kernels(code, options)))
    header = Path(made_beforehand) / "cupy_kernels.h" if "cupy/carray.cuh" in code else HERE / "device.h"
    # -Bsymbolic: a kernel called advance is ours, not the C library's
    flags = [*FLAGS, "-shared", "-Wl,-Bsymbolic", "-include", str(header), *options, "-o", made]
    g_plus_plus(*flags, code=f'#line 1 "kernels.cu"\n{code}\n#line 1 "launchers.cpp"\n{tail}')


if __name__ == "__main__":
    main(*sys.argv[1:])
