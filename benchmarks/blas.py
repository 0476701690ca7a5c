"""What the kernels that NumPy's OpenBLAS chooses are worth, beside the others that it has for this kind of processor.

OpenBLAS looks the processor up in a table. One that is newer than the table, or a virtual machine's, gets the kernels
of a safe old one: AVX2 where there is AVX-512, say. ``OPENBLAS_CORETYPE`` overrules it, and is read when NumPy is
imported, so each choice is measured in a process of its own. Beware: kernels that the processor cannot run end the
process.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

KERNELS = ("", "HASWELL", "ZEN", "SKYLAKEX", "COOPERLAKE", "SAPPHIRERAPIDS")  # "" is OpenBLAS's own choice
NAMES = ("small", "tabular", "mnist", "deep", "wide")
MEASURE = """
import json, sys
from threadpoolctl import threadpool_info
from grid import GRID, interleaved, products
names = json.loads(sys.argv[1])
times = interleaved({name: products(GRID[name])[0] for name in names}, rounds=6)
chosen = [info["architecture"] for info in threadpool_info() if info["user_api"] == "blas"]
print(json.dumps({"kernels": chosen[0], "us": {name: 1e6 * min(t) for name, t in times.items()}}))
"""


def measure() -> dict[str, Any]:
    """Microseconds of a step's products, the minimum, by kernels; what cannot run here is left out."""
    found = {}
    for kernels in KERNELS:
        environment = {k: v for k, v in os.environ.items() if k != "OPENBLAS_CORETYPE"}
        environment |= {"OPENBLAS_CORETYPE": kernels} if kernels else {}
        command = [sys.executable, "-c", MEASURE, json.dumps(NAMES)]
        done = subprocess.run(
            command, env=environment, cwd=Path(__file__).parent, capture_output=True, text=True, check=False
        )
        if done.returncode == 0:
            found[kernels or "own choice"] = json.loads(done.stdout)
    return found
