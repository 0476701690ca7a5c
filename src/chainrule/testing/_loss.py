"""Does a loss do what a loss must?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, get_args

import numpy as np

from .._base.options import whole_number
from .._random import host_generator
from ..losses import LinkName, Loss, LossFunction, TargetKind, find_loss
from ._backends import HOST
from ._inputs import MEMBERS, ROWS, grid, slopes
from ._part import Part, position
from ._report import ContractReport
from ._trial import Answer, Owned, Trial
from ._value import part_of, pickled, unchanged


def check_loss(
    loss: str | LossFunction, n_out: int = 3, seed: int = 0, backends: Sequence[str] | None = None
) -> ContractReport:
    """Whether ``loss`` does what a loss must, on every backend that runs here.

    dL_i/dz of each row against the central difference of L_i by that row and 0 by the others, h = 1e-6; the shapes
    ``(..., B, 1)`` and ``(..., B, n)``; stacks against each network alone; ``link`` and ``target`` that there are;
    nothing written to that it was given, no number read on the host; float32 and float64; each library against NumPy;
    and where it says ``traceable = True``, a recorded step against the step as it is, bit for bit.

    Args:
        loss: by name or object.
        n_out: how many outputs the network has, >= 1; default 3.
        seed: of the numbers it is tried on, >= 0; default 0. The targets are of the loss's own kind.
        backends: the names of those to try, ``["numpy", "torch"]``; None (the default) is every one that runs
            here.

    Returns:
        What was checked and where, to print.

    Raises:
        ContractError: what is broken, in one sentence. ConfigurationError: it is no loss.

    Example:
        >>> import chainrule as cr
        >>> from chainrule.testing import check_loss
        >>> def fourth(xp, z, y):
        ...     e = z - y
        ...     return xp.sum(e**4, axis=-1, keepdims=True), 4.0 * e**3
        >>> print(check_loss(cr.Loss(fourth), backends=["numpy"]))
        Loss(fourth) does what a loss must.
          checked  a value, link and target, slopes row by row, stacks, no reads on the host
          on       numpy (float32, float64)
          note     cannot be pickled, for other processes: write its class and functions at the top of a
                   module
    """
    found = find_loss(loss)
    part = part_of(found)
    for name, known in (("link", get_args(LinkName)), ("target", get_args(TargetKind))):
        if getattr(found, name) not in known:
            raise part.broken(f"{name} must be one of {', '.join(known)}, got {getattr(found, name)!r}", name)
    notes, changed = pickled(part), unchanged(part)
    rng = host_generator(whole_number("seed", seed, least=0), "check loss")
    tried = _trial(part, whole_number("n_out", n_out, least=1), rng, ())
    expected = tried.run(HOST)
    tried.agree(tried.run(HOST), expected, "is another at a second call", 0.0)
    changed()
    _check_slopes(tried, expected, rng)
    stacked = _trial(part, n_out, rng, (MEMBERS,))
    _check_stack(stacked)
    tried.watched()
    on = stacked.everywhere(backends, stacked.run(HOST))
    checked = "a value", "link and target", "slopes row by row", "stacks", "no reads on the host"
    recorded = () if type(found) is Loss else tried.replayed()  # a function in cr.Loss is called in every step
    return ContractReport(part.name, "a loss", (*checked, *recorded), on, notes)


def _trial(part: Part, n: int, rng: np.random.Generator, lead: tuple[int, ...]) -> Trial:
    rows = MEMBERS if lead else ROWS
    batches = [
        (grid(rng.normal(0.0, 1.5, (*lead, rows, n))), _targets(part.thing.target, rng, rows, n)) for _ in range(3)
    ]
    return Trial(part, _passes, (), batches, [Answer("L", "per_example"), Answer("dL/dz", "per_example")])


def _targets(kind: TargetKind, rng: np.random.Generator, rows: int, n: int) -> np.ndarray:
    if kind == "classes":
        eighths = rng.multinomial(8, np.full(n, 1.0 / n), rows) / 8.0
        return np.concatenate([np.eye(n)[rng.integers(n, size=1)], eighths[1:]])
    if kind == "fractions":
        return np.concatenate([rng.integers(0, 2, (1, n)), rng.integers(0, 9, (rows - 1, n)) / 8.0])
    return (
        grid(rng.normal(0.0, 1.5, (rows, n))) if kind == "numbers" else rng.poisson(3.0, (rows, n)).astype(np.float64)
    )


def _passes(part: Part) -> Any:
    def step(owned: Owned, z: Any, y: Any) -> Any:
        found = part.several(part.call("per_example", part.backend.xp, z, y), 2, "per_example", "(L, dL/dz)")
        values = part.array(found[0], (*z.shape[:-1], 1), "L", "per_example")
        return owned, values, part.array(found[1], tuple(z.shape), "dL/dz", "per_example")

    return step


def _check_slopes(tried: Trial, expected: list[list[np.ndarray]], rng: np.random.Generator) -> None:
    """Rows weigh differently in the sum, so that a row in another's gradient is seen."""
    (z, y), (values, gradient) = tried.batches[0], expected[0]
    part = replace(tried.part, where="numpy")
    if not np.isfinite(values).all():
        raise part.broken("L is not finite for z ~ N(0, 1.5^2)", "per_example")
    weights = np.arange(1.0, 1.0 + len(z))[:, None]

    def total(z: np.ndarray) -> float:
        return math.fsum(np.ravel(weights * part.call("per_example", HOST.xp, z, y)[0]))

    for one in slopes(total, z, weights * gradient, rng):
        if not one.agrees:
            weight = float(weights[one.place[0], 0])
            difference = f"dL/dz differs from the central difference of the row's own L at {position(one.place)}"
            raise part.broken(f"{difference}: {one.got / weight:.3g} against {one.wanted / weight:.3g}", "per_example")


def _check_stack(stacked: Trial) -> None:
    z, y = stacked.batches[0]
    together = replace(stacked, batches=[(z, y)]).run(
        HOST, " for a stack, where nothing may reduce over an axis before -2"
    )[0]
    for i in range(MEMBERS):
        alone = replace(stacked, batches=[(z[i], y)]).run(HOST)
        against = f"of network {i} in a stack of {MEMBERS} differs from that of the network alone"
        stacked.agree([[a[i] for a in together]], alone, against, 1e-12)
