"""Does an activation do what an activation must?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from .._base.errors import ConfigurationError
from .._base.options import whole_number
from .._random import host_generator
from ..activations import Activation, Elementwise, find_activation
from ._backends import HOST
from ._inputs import STEP, Slope, grid
from ._part import Part, locked
from ._report import ContractReport
from ._trial import Answer, Owned, Trial
from ._value import part_of, pickled, unchanged

FAR = np.asarray([[-1000.0, -100.0, 100.0, 1000.0]])


def check_activation(
    activation: str | Elementwise, seed: int = 0, backends: Sequence[str] | None = None
) -> ContractReport:
    """Whether ``activation`` does what an activation must, on every backend that runs here.

    ``derivative`` against the central difference of ``value``, (g(z + h) - g(z - h)) / 2h, h = 1e-6; each number by
    itself, so that stacks are right; no NaN at z = -1000, ..., 1000; nothing written to that it was given, no number
    read on the host; float32 and float64; each library against NumPy; and where it says ``traceable = True``, a
    recorded step against the step as it is, bit for bit. One whose ``derivative`` refuses with a ConfigurationError, as
    the step's does, is checked for its value.

    Args:
        activation: by name or object.
        seed: of the numbers it is tried on, >= 0; default 0.
        backends: the names of those to try, ``["numpy", "torch"]``; None (the default) is every one that runs
            here.

    Returns:
        What was checked and where, to print.

    Raises:
        ContractError: what is broken, in one sentence. ConfigurationError: it is no activation.

    Example:
        >>> import chainrule as cr
        >>> from chainrule.testing import check_activation
        >>> cube = cr.Activation(lambda xp, z: z * z * z, lambda xp, z: 2.0 * z * z, name="cube")
        >>> check_activation(cube)  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        chainrule...ContractError: cube: g'(z) differs from the central difference at z = 5.13: 52.6 against 78.9; ...
    """
    found = find_activation(activation)
    part = part_of(found)
    notes, changed = pickled(part), unchanged(part)
    rng = host_generator(whole_number("seed", seed, least=0), "check activation")
    has_slope = _has_slope(part)
    answers = [Answer("g(z)", "value"), *([Answer("g'(z)", "derivative")] if has_slope else [])]
    batches = [(grid(rng.normal(0.0, 2.0, (3, 3, 4))),) for _ in range(3)]
    tried = Trial(part, lambda part: _passes(part, has_slope), (), batches, answers)
    expected = tried.run(HOST)
    tried.agree(tried.run(HOST), expected, "is another at a second call", 0.0)
    changed()
    _check_elementwise(tried, expected)
    if has_slope:
        _check_slopes(part, batches[0][0], expected[0][1])
    _check_far(tried)
    tried.watched()
    on = tried.everywhere(backends, expected)
    checked = "a value", "each number by itself", *(["slopes"] if has_slope else []), "far out", "no reads on the host"
    # A function in cr.Activation is not recorded: it is called in every step.
    recorded = () if type(found) is Activation else tried.replayed()
    notes += () if has_slope else ("no derivative: it predicts, and nothing trains below it",)
    return ContractReport(part.name, "an activation", (*checked, *recorded), on, notes)


def _has_slope(part: Part) -> bool:
    z = np.ones((1, 1))
    if isinstance(part.thing, Activation):  # which refuses what is no derivative
        return True
    try:
        part.call("derivative", HOST.xp, z, part.call("value", HOST.xp, z))
    except ConfigurationError:
        return False
    return True


def _passes(part: Part, has_slope: bool) -> Any:
    xp = part.backend.xp

    def step(owned: Owned, z: Any) -> Any:
        a = locked(part.array(part.call("value", xp, z), tuple(z.shape), "g(z)", "value"))
        if not has_slope:
            return owned, a
        return owned, a, part.array(part.call("derivative", xp, z, a), tuple(z.shape), "g'(z)", "derivative")

    return step


def _check_slopes(part: Part, z: np.ndarray, derivative: np.ndarray) -> None:
    up, down = (part.call("value", HOST.xp, z + step) for step in (STEP, -STEP))
    numeric = (up - down) / (2.0 * STEP)
    for i in np.ndindex(z.shape):
        one = Slope(i, float(derivative[i]), float(numeric[i]), abs(float(up[i])))
        if not one.agrees:
            where = f"g'(z) differs from the central difference at z = {z[i]:.3g}"
            raise part.broken(f"{where}: {one.got:.3g} against {one.wanted:.3g}", "derivative")


def _check_elementwise(tried: Trial, expected: list[list[np.ndarray]]) -> None:
    """A number's answer is that of its neighbours taken away."""
    ((z,), *_), against = tried.batches, "depends on the other numbers of its array, where it must be of one alone,"
    alone = [np.concatenate(parts) for parts in zip(*(_numbers(tried, n) for n in z.reshape(-1)), strict=True)]
    tried.agree([[a.reshape(-1) for a in expected[0]]], [alone], against, 1e-12)


def _numbers(tried: Trial, z: float) -> list[np.ndarray]:
    return [answer.reshape(-1) for answer in replace(tried, batches=[(np.full((1, 1), z),)]).run(HOST)[0]]


def _check_far(tried: Trial) -> None:
    for (what, method), answer in zip(tried.answers, replace(tried, batches=[(FAR,)]).run(HOST)[0], strict=True):
        for z, number in zip(FAR[0], answer[0], strict=True):
            if np.isnan(number):
                overflow = "an exponential that overflows; write it with exp(-|z|)"
                raise tried.part.broken(f"{what} is NaN at z = {z:.0f}, often {overflow}", method)
