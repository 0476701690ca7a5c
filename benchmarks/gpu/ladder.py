"""What is measured: one shape of network from 32 to 8,192 wide, the six of the CPU grid, and the stages of the work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

import numpy as np
from grid import GRID, Network

Kind = Literal["training", "inference", "crossover"]
Precision = Literal["float32", "tf32", "bf16"]

COMPARED = 100  # steps whose losses must agree
# Relative, of each loss; of the share of rows that get another class in a prediction. Products in tf32 have 10 bits of
# mantissa, in bf16 7, and nobody rounds at the same places.
TOLERANCE = {"float32": 1e-3, "tf32": 1e-2, "bf16": 5e-2}


@dataclass(frozen=True)
class Rung:
    """A network at so many rows, in a precision of its products. ``weight`` is its share of the time that is left."""

    network: Network
    kind: Kind = "training"
    precision: Precision = "float32"

    def __str__(self) -> str:
        return f"{self.kind} {self.network.name} at {self.network.batch} rows in {self.precision}"

    @property
    def weight(self) -> float:
        if self.kind != "training":
            return 1.0
        return 8.0 if self.precision == "float32" else 4.0

    @property
    def flop(self) -> float:
        """Floating-point operations of a step's or a prediction's products."""
        products = sum(a * b for a, b in pairwise(self.network.sizes))
        return 2.0 * self.network.batch * products if self.kind == "inference" else self.network.flop

    @property
    def bytes(self) -> float:
        """About what one contender holds: its data, its activations, its parameters with gradients and moments."""
        rows, sizes, size = self.network.batch, self.network.sizes, self.network.net.size
        if self.kind == "inference":
            return 4.0 * (rows * (sizes[0] + 2 * max(sizes)) + size)
        return 4.0 * (self.batches * rows * sizes[0] + 2 * rows * sum(sizes) + 6 * size)

    @property
    def batches(self) -> int:
        """Of the training data, in turn; an epoch of ``fit`` is some milliseconds long, at the least."""
        if self.kind == "crossover":
            return 64 if self.flop < 1e9 else 16 if self.flop < 2e10 else 4
        return 8 if self.flop < 1e12 else 2

    @property
    def steps(self) -> int:
        """A timing's, up to half a second. It divides ``compared``."""
        if self.flop < 1e10:
            return 100
        if self.flop < 2e11:
            return 10
        return 2 if self.flop < 2e13 else 1

    @property
    def compared(self) -> int:
        """Steps whose losses are compared: fewer where a hundred take half a minute."""
        return COMPARED if self.flop < 5e12 else 10

    def training_data(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Random examples, their classes, and the order in which they are taken."""
        X, y = self.network.data(self.batches)
        return X, y, np.random.default_rng(1).permutation(len(X))

    def rows_to_predict(self) -> np.ndarray:
        rows, n_in = self.network.batch, self.network.sizes[0]
        return np.random.default_rng(1).standard_normal((rows, n_in), dtype=np.float32)


def deep(width: int, batch: int) -> Network:
    """As many inputs as each of four hidden layers has units, and 10 classes."""
    return Network(f"4x{width}", batch, (*[width] * 5, 10))


# In the order of importance.
LADDER = (*(deep(width, 4096) for width in (64, 1024, 128, 4096, 256, 32)), deep(8192, 8192))
NARROW = [deep(width, 4096) for width in (32, 64, 128)]
SMALL = [*NARROW, deep(256, 4096), *(GRID[name] for name in ("tiny", "small", "tabular"))]
ROWS = (1, 256, 65_536)
CROSSOVER_WIDTHS, CROSSOVER_ROWS = (16, 64, 256, 1024), (32, 128, 512, 2048, 8192)


def training(networks: Sequence[Network], precision: Precision = "float32") -> list[Rung]:
    return [Rung(network, "training", precision) for network in networks]


def inference(networks: Sequence[Network], rows: Sequence[int] = ROWS) -> list[Rung]:
    return [Rung(replace(network, batch=n), "inference") for n in rows for network in networks]


def crossover(widths: Sequence[int] = CROSSOVER_WIDTHS, rows: Sequence[int] = CROSSOVER_ROWS) -> list[Rung]:
    return [Rung(deep(width, n), "crossover") for width in widths for n in rows]


@dataclass(frozen=True)
class Stage:
    """A part of the work: its rungs in the order of importance, and the contenders that it is about."""

    rungs: Sequence[Rung]
    contenders: Sequence[str]

    def take_part(self, rung: Rung) -> list[str]:
        """Who does this rung; ours first, since its results are the ones that others are compared with."""
        return [name for name in self.contenders if (name in CROSSING) == (rung.kind == "crossover")]


FLOOR = ("floor: torch.mm in a graph", "floor: torch.mm", "floor: cupy.matmul")
OURS = ("ours: compiled", "ours: eager")
TORCH = ("torch: graph", "torch: eager", "torch: reduce-overhead", "torch: max-autotune")
JAX = ("jax: scan",)
CROSSING = ("ours: fit", "numpy: fit")
EVERYBODY = (*OURS, *TORCH, *JAX, *FLOOR)
_ALL = [*LADDER[:6], *GRID.values(), LADDER[6]]
_PRECISE = [rung for n in (*LADDER[:6], GRID["wide"], LADDER[6]) for p in ("tf32", "bf16") for rung in training([n], p)]
_NARROW_PRECISE = [rung for p in ("tf32", "bf16") for rung in training(NARROW, p)]

STAGES = {
    1: Stage([*training(_ALL), *crossover()], ("ours: eager", "torch: eager", *JAX, *FLOOR, *CROSSING)),
    2: Stage(training(_ALL), EVERYBODY),
    3: Stage(_PRECISE, EVERYBODY),
    4: Stage([*training(SMALL), *inference(SMALL, (1, 256))], EVERYBODY),
    5: Stage([*training(NARROW), *_NARROW_PRECISE, *inference(NARROW)], (*EVERYBODY, "ours: fused")),
}
WHOLE = Stage([*training(_ALL), *crossover(), *_PRECISE, *inference(_ALL)], (*EVERYBODY, *CROSSING))
_TINY = [Network("4x8", 32, (*[8] * 5, 10))]
DRY = Stage(
    [*training(_TINY), *training(_TINY, "tf32"), *inference(_TINY, (1,)), *crossover((8,), (16, 32))],
    (*OURS, *TORCH[:2], *JAX, FLOOR[2], *CROSSING),
)
