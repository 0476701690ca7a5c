"""``find_rate``: which learning rate to take, from one short training run at rates that grow."""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from .._backend import Backend
from .._base.arguments import names_arguments
from .._base.errors import ConfigurationError, DivergenceError, require
from .._base.options import real_number, whole_number
from .._base.typing import Array
from ..history import Record
from ..losses import LossFunction
from ..model import Model
from ..network import Sequential
from ..optimizers import Clip, Optimizer, find_optimizer
from ..penalties import Penalty
from ..schedules import ExponentialDecay
from ..tables import Preprocessing
from ._fit import fit
from ._run import Run

_BEGUN, _FALL, _DONE = 0.1, 0.8, 0.98  # of the loss's whole fall: at the lower bound, the proposal, the upper bound
_EXPLODED = 4.0  # times the fall, or the lowest loss, above the lowest loss
_SMOOTH = 40  # widths of the smoothing kernel in a test
_START = 20  # a twentieth of the steps tells the loss at the start
_READ = 50  # steps between two reads from the device
_NOISE = 2.0  # standard deviations of a batch's loss, which a fall must exceed


@dataclass(frozen=True)
class RangeTest:
    """What ``find_rate`` found; ``print`` it for a table and advice.

    Attributes:
        learning_rate: the proposal; None where the curve gives no clear answer, which ``finding`` explains.
        low: where the loss begins to fall, a lower bound of a cyclical schedule; or None.
        high: where it falls no further, an upper bound; or None.
        optimizer: the optimizer with the proposal, for ``cr.fit``; or None.
        finding: the advice in words.
        rates: the rate of each step, ``(steps,)``, float64, up to the step at which the loss exploded.
        losses: the loss of each step's batch before the step, penalty included.
        smoothed: the same, smoothed.

    Example:
        >>> import numpy as np, chainrule as cr
        >>> X = np.random.default_rng(0).normal(size=(2000, 10))
        >>> found = cr.find_rate(cr.mlp([10, 32, 1]), X, np.sin(X[:, 0]), loss="squared_error", optimizer=cr.SGD())
        >>> found.optimizer == cr.SGD(found.learning_rate), len(found.losses) == len(found.rates)
        (True, True)
        >>> found.low < found.learning_rate < found.high
        True
    """

    learning_rate: float | None
    low: float | None
    high: float | None
    optimizer: Optimizer | None
    finding: str
    rates: np.ndarray = field(repr=False, compare=False)
    losses: np.ndarray = field(repr=False, compare=False)
    smoothed: np.ndarray = field(repr=False, compare=False)

    def __str__(self) -> str:
        marks = {self.low: "begins to fall", self.high: "falls no further", self.learning_rate: "take this"}
        marked = [rate for rate in marks if rate is not None]
        shown = sorted([*marked, *_decades(self.rates, besides=marked)])
        losses = np.interp(np.log(shown), np.log(self.rates), self.smoothed)
        lines = [f"{rate:<7.1e}{x:>12.5g}  {marks.get(rate, '')}" for rate, x in zip(shown, losses, strict=True)]
        return "\n".join([f"rate   {'loss':>12}", *(line.rstrip() for line in lines), self.finding])


@names_arguments
def find_rate(
    network: Sequential | Model,
    X: Any,
    y: Any = None,
    *,
    loss: str | LossFunction | None = None,
    optimizer: str | Optimizer = "adam",
    low: float = 1e-6,
    high: float = 10.0,
    steps: int = 200,
    batch_size: int | None = None,
    seed: int = 0,
    sample_weight: Any = None,
    penalty: Penalty | None = None,
    clip: Clip | None = None,
    backend: str | Backend = "auto",
    preprocessing: Preprocessing | None = None,
) -> RangeTest:
    """eta(t) = low (high / low)^((t - 1) / (steps - 1)): the learning rate range test (Smith, 2017, section 3.3).

    The network is trained as ``cr.fit`` trains it, at a rate that grows from step to step, until the loss explodes: is
    far above where it began, or not finite. The rate to take is the one at which four fifths of the loss's fall are
    done, on the smoothed curve: not where it is lowest, which is on the brink, nor where it is steepest, which noise
    decides. Nothing that is passed in is changed. (Smith, Cyclical Learning Rates for Training Neural Networks, WACV.)

    Args:
        network: what is to be trained; a Model is tested from its own weights.
        X: examples, whatever ``cr.fit`` takes.
        y: targets, or None (the default) where X is an iterable of batches.
        loss: by name or object; required for a network, default that of a Model.
        optimizer: by name or object, default ``"adam"``; its own rate does not matter.
        low: the rate of the first step, > 0; default 1e-6.
        high: the rate of the last one, above low; default 10.
        steps: how many to take, >= 50; default 200. More are less noisy.
        batch_size: rows a step, >= 1; default 128. The proposal holds for this size.
        seed: of initial weights, orders and dropout, an integer >= 0; default 0.
        sample_weight: ``(rows,)``, >= 0; default 1 for each.
        penalty: ``cr.Penalty(l2=1e-4)``, part of the loss that is noted; default none.
        clip: ``cr.ClipNorm(1.0)`` or ``cr.ClipValue(0.5)``; default none.
        backend: a name or ``cr.backend(...)``, as of ``cr.fit``; ``"auto"`` (the default) is the library of X.
        preprocessing: ``chainrule.tables.Preprocessing``, where X is a table; default none.

    Raises:
        ConfigurationError: rates or steps that cannot be, and what ``cr.fit`` refuses.
        DataError, DTypeError, BackendError: as ``cr.fit``.

    Example:
        >>> import numpy as np, chainrule as cr
        >>> X = np.random.default_rng(0).normal(size=(2000, 10))
        >>> net, y = cr.mlp([10, 32, 1]), np.sin(X[:, 0])
        >>> found = cr.find_rate(net, X, y, loss="squared_error")
        >>> 1e-4 < found.low < found.learning_rate < found.high < 0.2
        True
        >>> usual, better = (
        ...     cr.fit(net, X, y, loss="squared_error", optimizer=optimizer, epochs=10).evaluate(X, y)["r2"]
        ...     for optimizer in ("adam", found.optimizer)
        ... )
        >>> usual < 0.6 < 0.8 < better
        True
    """
    low, high, steps = real_number("low", low), real_number("high", high), whole_number("steps", steps, least=50)
    require(0 < low < high < math.inf, f"find_rate needs 0 < low < high, finite, got low={low} and high={high}.")
    found: Any = find_optimizer(optimizer)
    if not hasattr(found, "__dataclass_fields__"):
        raise ConfigurationError(f"find_rate tries an optimizer at other rates, got {found!r}: make it a dataclass.")
    growing: Any = replace(found, learning_rate=ExponentialDecay(low, every=steps - 1, factor=high / low))
    costs = _Costs(steps)
    try:
        fit(
            network, X, y, loss=loss, optimizer=growing, epochs=steps, batch_size=batch_size, seed=seed,
            sample_weight=sample_weight, penalty=penalty, clip=clip, callbacks=[costs], verbose=False,
            backend=backend, preprocessing=preprocessing,
        )  # fmt: skip
    except (_EndedError, DivergenceError):
        pass
    else:  # Ctrl-C, while an error is dealt with
        raise KeyboardInterrupt
    end = _end(costs.losses)
    return _judge(found, low * (high / low) ** (costs.taken[:end] / (steps - 1)), costs.losses[:end], steps)


class _EndedError(Exception):
    """Ends the training run of a test."""


class _Costs:
    """A callback that notes the cost of every batch, on the device, and reads them once in a while.

    ``losses`` has the mean of each batch that has weight, and ``taken`` how many steps were taken before it. ``fit``
    goes by ``most_steps`` where it asks what pays.
    """

    def __init__(self, steps: int) -> None:
        self._steps = self.most_steps = steps
        self._sums: list[Array] = []  # the epoch's sums of cost times weight, and of the weights, after each step
        self.losses, self.taken = np.zeros(0), np.zeros(0)

    def on_train_begin(self, run: Run) -> None:
        self._read_until = 0

    def on_epoch_begin(self, run: Run) -> None:
        self._before = np.zeros(2)

    def on_step_end(self, run: Run) -> None:
        self._sums += [run.backend.copy(run.state.cost), run.backend.copy(run.state.weight)]
        done = self._read_until + len(self._sums) // 2
        if done % _READ == 0 or done == self._steps:
            self._read(run)
            if done == self._steps or _end(self.losses) < len(self.losses):
                raise _EndedError

    def on_epoch_end(self, run: Run, record: Record) -> None:
        self._read(run)

    def on_train_end(self, run: Run) -> None:
        self._read(run)  # where an epoch was broken off
        if sys.exception() is None:  # of so many epochs the steps are taken before the end: it was Ctrl-C
            raise KeyboardInterrupt

    def _read(self, run: Run) -> None:
        if not self._sums:
            return
        sums = run.backend.to_numpy(run.backend.xp.concat(self._sums)).astype(np.float64).reshape(-1, 2)
        with np.errstate(all="ignore"):  # where the loss has exploded
            cost, weight = np.diff(np.concatenate([self._before[None], sums]), axis=0).T
        has_weight = weight != 0.0
        self.losses = np.concatenate([self.losses, cost[has_weight] / weight[has_weight]])
        self.taken = np.concatenate([self.taken, self._read_until + np.nonzero(has_weight)[0]])
        self._before, self._sums, self._read_until = sums[-1], [], self._read_until + len(sums)


def _end(losses: np.ndarray) -> int:
    """How many steps come before the loss explodes: is not finite, or far too large three times running."""
    seen = np.concatenate([losses, [math.inf]])
    finite = losses[: int(np.argmin(np.isfinite(seen)))]
    if len(finite) < _START:
        return len(finite)
    start = float(np.median(finite[: max(5, len(finite) // _START)]))
    lowest = np.minimum.accumulate(finite)
    high = finite > lowest + _EXPLODED * np.maximum(start - lowest, np.abs(lowest))
    running = high[:-2] & high[1:-1] & high[2:]
    return int(np.argmax(running)) if running.any() else len(finite)


def _judge(optimizer: Any, rates: np.ndarray, losses: np.ndarray, steps: int) -> RangeTest:
    """The proposal and the range, read from the curve."""

    def without(finding: str, smoothed: np.ndarray = losses) -> RangeTest:
        return RangeTest(None, None, None, None, f"No clear answer: {finding}", rates, losses, smoothed)

    start = steps // _START
    if len(losses) <= 2 * start:
        return without(
            f"the loss exploded after {len(losses)} steps: scale X and y, or give a lower low than {rates[0]:g}."
        )
    smoothed = _smooth(losses, steps / _SMOOTH)
    at_start, lowest = float(np.median(losses[:start])), int(np.argmin(smoothed))
    fall = at_start - float(smoothed[lowest])
    noise = float(np.std(losses[: lowest + 1] - smoothed[: lowest + 1]))
    tried = f"from {rates[0]:.1e} to {rates[-1]:.1e}"
    if lowest < start or fall <= max(_NOISE * noise, 1e-3 * abs(at_start)):
        return without(
            f"the loss began at {at_start:.4g} and did not fall at any rate {tried} by more than its noise. Take more "
            "steps, a larger batch_size or a larger high, or see what cr.diagnose says.",
            smoothed,
        )

    def falls_by(share: float) -> float:
        """The rate from which on this share of the fall is done."""
        before = np.nonzero(smoothed[: lowest + 1] > at_start - share * fall)[0]
        return _rounded(rates[before[-1]] if len(before) else rates[0])

    begins, rate, done = map(falls_by, (_BEGUN, _FALL, _DONE))
    finding = (
        f"Take {_written(optimizer, rate)}: four fifths of the fall of the loss are done there. A cyclical schedule "
        f"goes from {begins:g} to {done:g}."
    )
    if len(rates) == steps and 10.0 * rate > rates[-1]:
        finding += f" It is close to the highest rate that was tried: give a higher high than {rates[-1]:g}."
    return RangeTest(rate, begins, done, replace(optimizer, learning_rate=rate), finding, rates, losses, smoothed)


def _smooth(x: np.ndarray, width: float) -> np.ndarray:
    """Means with the weights of a normal distribution around each number: they lag behind in no direction."""
    i = np.arange(len(x))
    weights = np.exp(-0.5 * ((i[:, None] - i) / width) ** 2)
    smoothed: np.ndarray = weights @ x / weights.sum(axis=1)
    return smoothed


def _decades(rates: np.ndarray, besides: Sequence[float]) -> Iterator[float]:
    """The powers of ten among the rates, but for those that are close to the ones ``besides``."""
    ends = (math.ceil(math.log10(rates[0]) - 1e-9), math.floor(math.log10(rates[-1]) + 1e-9)) if len(rates) else (0, -1)
    for rate in (10.0**k for k in range(ends[0], ends[1] + 1)):
        if all(abs(math.log(rate / other)) > 0.5 for other in besides):
            yield rate


def _rounded(rate: float) -> float:
    return float(f"{rate:.1e}")


def _written(optimizer: Any, rate: float) -> str:
    """The optimizer as a user writes it."""
    own = [
        f", {f.name}={getattr(optimizer, f.name)!r}"
        for f in dataclasses.fields(optimizer)
        if f.init and f.name != "learning_rate" and getattr(optimizer, f.name) != f.default
    ]
    ours = "cr." if type(optimizer).__module__.startswith("chainrule.") else ""
    return f"{ours}{type(optimizer).__name__}({rate:g}{''.join(own)})"
