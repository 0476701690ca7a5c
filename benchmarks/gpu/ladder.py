"""What is measured, in the order of importance: networks from 32 to 8,192 wide, and who takes part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

import numpy as np
from grid import GRID, Network

Kind = Literal["training", "inference", "crossover"]
Precision = Literal["float32", "tf32", "bf16"]

COMPARED = 20  # steps, after which theta must have moved as the reference's has


@dataclass(frozen=True)
class Rung:
    """A network at so many rows, in a precision of its products."""

    network: Network
    kind: Kind = "training"
    precision: Precision = "float32"

    def __str__(self) -> str:
        return f"{self.kind} {self.network.name} at {self.network.batch} rows in {self.precision}"

    @property
    def flop(self) -> float:
        """Floating-point operations of a step's or a prediction's products."""
        products = sum(a * b for a, b in pairwise(self.network.sizes))
        return 2.0 * self.network.batch * products if self.kind == "inference" else self.network.flop

    @property
    def batches(self) -> int:
        """Of the training data, in turn; an epoch of ``fit`` is some milliseconds long, at the least."""
        if self.kind == "crossover":
            return 64 if self.flop < 1e9 else 16 if self.flop < 2e10 else 4
        return max(2, self.steps)

    @property
    def steps(self) -> int:
        """Of one dispatch: a ``lax.scan`` of JAX, a launch of a CUDA graph. It divides ``COMPARED`` and ``batches``."""
        if self.kind != "training":
            return 1
        return 20 if self.flop < 1e10 else 10 if self.flop < 2e11 else 2 if self.flop < 2e13 else 1

    @property
    def rate(self) -> float:
        """Adam's usual one, divided by the width above 256, as wide networks want it (Yang et al. 2022)."""
        return 1e-3 * min(1.0, 256 / max(self.network.sizes))

    def training_data(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Random examples, their classes, and the order in which they are taken."""
        X, y = self.network.data(self.batches)
        return X, y, np.random.default_rng(1).permutation(len(X))

    def rows_to_predict(self) -> np.ndarray:
        rows, n_in = self.network.batch, self.network.sizes[0]
        return np.random.default_rng(1).standard_normal((rows, n_in), dtype=np.float32)


def deep(width: int, batch: int = 4096) -> Network:
    """As many inputs as each of four hidden layers has units, and 10 classes."""
    return Network(f"4x{width}", batch, (*[width] * 5, 10))


def training(networks: Sequence[Network], *precisions: Precision) -> list[Rung]:
    return [Rung(network, "training", precision) for precision in precisions for network in networks]


def inference(networks: Sequence[Network], rows: Sequence[int]) -> list[Rung]:
    return [Rung(replace(network, batch=n), "inference") for n in rows for network in networks]


def crossover(widths: Sequence[int], rows: Sequence[int]) -> list[Rung]:
    return [Rung(deep(width, n), "crossover") for width in widths for n in rows]


MIDDLE = [deep(width) for width in (64, 128, 32, 256, 1024)]
LARGE = [deep(4096), deep(8192, 8192)]
LADDER = [
    *training(MIDDLE, "float32"),
    *training(MIDDLE[:3], "tf32"),
    *inference([deep(64), deep(1024)], (65_536, 1)),
    *training(list(GRID.values()), "float32"),
    *training(MIDDLE[4:], "tf32", "bf16"),
    *training(LARGE, "float32", "bf16", "tf32"),
    *crossover((16, 64, 256, 1024), (32, 512, 8192)),
    *training(MIDDLE[:4], "bf16"),
    *training([MIDDLE[3], GRID["wide"]], "tf32"),
    *inference([deep(64), deep(256), deep(1024)], (256,)),
]

REFERENCE = "reference: float64"
COMPILED_TORCH, ON_COMPILED_TORCH = "torch: compiled, in a graph", "on torch: compile=True"
COMPILE_LONG = (COMPILED_TORCH, ON_COMPILED_TORCH)
ON_LIBRARIES = ("on torch: default", ON_COMPILED_TORCH, "on jax: jit")  # ours, on arrays of theirs
# The columns of the table and who stands in each: the best of them. A trial is what no user of the library gets.
COLUMNS: Mapping[str, Sequence[str]] = {
    "floor": ("floor: torch.mm",),
    "default": ("ours: default",),
    "compile=True": ("ours: compile=True",),
    "trial": ("trial: steps in one graph", "trial: one kernel", "trial: epilogues"),
    "on torch": ON_LIBRARIES[:1],
    "on torch.compile": ON_LIBRARIES[1:2],
    "on jax": ON_LIBRARIES[2:],
    "torch": (COMPILED_TORCH, "torch: in a graph", "torch: eager"),
    "jax": ("jax: scan",),
    "fit": ("fit: on the device",),
    "numpy": ("fit: on NumPy",),
}
WARMED = (COMPILED_TORCH, "jax: scan", ON_COMPILED_TORCH)  # whose compilers keep what they made on disk


def take_part(rung: Rung) -> list[str]:
    """Who does this rung; whose results the others are compared with comes first."""
    if rung.kind == "crossover":
        return [*COLUMNS["numpy"], *COLUMNS["fit"]]
    raced = [name for column, names in COLUMNS.items() if column not in ("fit", "numpy") for name in names]
    narrow = rung.kind == "training" and set(rung.network.sizes[1:-1]) <= {32, 64, 128}
    left_out = set() if narrow else {"trial: one kernel"}
    if rung.kind == "inference":  # which torch does not compile for us
        left_out |= {"trial: steps in one graph", "trial: epilogues", ON_COMPILED_TORCH}
    if rung.precision != "float32":  # the only one that these have
        left_out |= {"ours: default", *ON_LIBRARIES}
    return [REFERENCE, *(name for name in raced if name not in left_out)]


DRY = [*training([Network("4x8", 32, (*[8] * 5, 10))], "float32"), *inference([deep(8)], (1,))]
