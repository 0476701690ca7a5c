"""One backend timed on one network."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby, pairwise

Widths = tuple[int, ...]


@dataclass(frozen=True)
class Measurement:
    """One backend on one network: its best epoch, or the ``problem`` that there is none.

    Args:
        widths: of the network, from input to output.
        factor: the hidden widths are those of the user's network times this.
        batch_size: rows a step.
        rows: rows an epoch.
        backend: as asked for: ``"numpy"``, or with its device, ``"torch:cuda:0"``.
        device: the library's own name of it; default "".
        seconds: the best epoch's, without compiling; infinite (the default) where there was none.
        median_seconds: the median epoch's, as a default infinite; far above the best where something else kept the
            machine busy.
        first_epoch_seconds: the best first epoch's, with compiling; as a default infinite.
        epochs: how many were timed; default 0.
        info: what ran, see ``Backend.info``; default empty.
        problem: why nothing was measured; default None.

    Example:
        >>> from chainrule.benchmark import Measurement
        >>> one = Measurement((784, 512, 512, 10), 1.0, 128, 12_800, "numpy", "cpu", seconds=0.5)
        >>> one.parameters, one.rows_per_second, one.microseconds_a_step, round(one.gflops, 1)
        (669706, 25600.0, 5000.0, 82.2)
    """

    widths: Widths
    factor: float
    batch_size: int
    rows: int
    backend: str
    device: str = ""
    seconds: float = math.inf
    median_seconds: float = math.inf
    first_epoch_seconds: float = math.inf
    epochs: int = 0
    info: Mapping[str, object] = field(default_factory=dict, compare=False, repr=False)
    problem: str | None = None

    @property
    def name(self) -> str:
        """The network's widths in one word: ``784-512-512-10``."""
        return network_name(self.widths)

    @property
    def parameters(self) -> int:
        """Weights and biases of the network."""
        return sum(n_in * n_out + n_out for n_in, n_out in pairwise(self.widths))

    @property
    def rows_per_second(self) -> float:
        """Rows trained a second; 0 where nothing was measured."""
        return self.rows / self.seconds

    @property
    def microseconds_a_step(self) -> float:
        """The mean over an epoch's steps, of which the last may have fewer rows."""
        return 1e6 * self.seconds / math.ceil(self.rows / self.batch_size)

    @property
    def gflops(self) -> float:
        """Billions of floating-point operations a second in the matrix products; see ``flop_a_row``."""
        return flop_a_row(self.widths) * self.rows_per_second / 1e9


def network_name(widths: Sequence[int]) -> str:
    """Widths in one word; four or more equal ones in a row are counted.

    Args:
        widths: from input to output.

    Example:
        >>> from chainrule.benchmark import network_name
        >>> network_name([784, *[512] * 11, 10])
        '784-11x512-10'
    """
    runs = [(width, len(list(run))) for width, run in groupby(widths)]
    return "-".join(f"{n}x{width}" if n > 3 else "-".join([str(width)] * n) for width, n in runs)


def flop_a_row(widths: Sequence[int]) -> int:
    """Floating-point operations of a row's products: 2 x (3 sum n_in n_out - the first n_in n_out).

    Two a multiplication; each layer has a product forward, one for dC/dW and one for dC/dx, but nobody reads the
    gradient of the data.

    Args:
        widths: from input to output.

    Example:
        >>> from chainrule.benchmark import flop_a_row
        >>> flop_a_row([784, 512, 10])
        1636352
    """
    products = [n_in * n_out for n_in, n_out in pairwise(widths)]
    return 2 * (3 * sum(products) - products[0])
