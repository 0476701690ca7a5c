"""Does an optimizer do what an optimizer must?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np

from .._backend import Backend
from .._base.errors import ConfigurationError
from .._base.options import whole_number
from .._random import host_generator
from ..optimizers import Optimizer, find_optimizer
from ..schedules import as_schedule
from ._backends import HOST, opened, words
from ._inputs import MEMBERS, grid
from ._part import Part, locked
from ._report import ContractReport
from ._trial import Answer, Owned, Trial
from ._value import part_of, pickled, unchanged

SIZE, DECAYING, STEPS = 7, 4, 5
RATE = 1.0 / 64.0


def check_optimizer(optimizer: str | Optimizer, seed: int = 0, backends: Sequence[str] | None = None) -> ContractReport:
    """Whether ``optimizer`` does what an optimizer must, on every backend that runs here.

    ``init`` gives the first moments and ``update`` theta and as many, of the same shapes; the gradient, the step and
    the rate are not written to, and no moment is the gradient or theta itself; a rate of 0 moves nothing, and five
    steps from theta with the gradient theta lower |theta|^2; stacks, k thetas at their own rates, against each alone;
    no number read on the host, t = 1, 2, ... among them; float32 and float64; each library against NumPy; and where it
    says ``traceable = True``, a recorded step against the step as it is, bit for bit.

    Args:
        optimizer: by name or object.
        seed: of the numbers it is tried on, >= 0; default 0.
        backends: the names of those to try, ``["numpy", "torch"]``; None (the default) is every one that runs
            here.

    Returns:
        What was checked and where, to print.

    Raises:
        ContractError: what is broken, in one sentence. ConfigurationError: it is no optimizer.

    Example:
        >>> import chainrule as cr
        >>> from chainrule.testing import check_optimizer
        >>> print(check_optimizer(cr.SGD(0.1), backends=["numpy"]))
        SGD(0.1) does what an optimizer must.
          checked  a value, the same again, moments, donation, rate 0, downhill, stacks, no reads on the
                   host, recorded steps
          on       numpy (float32, float64)
    """
    part = part_of(find_optimizer(optimizer))
    try:
        as_schedule(part.thing.learning_rate)
    except ConfigurationError as error:
        raise part.broken(f"learning_rate must be a number or a schedule ({str(error).rstrip('.')})") from error
    notes, changed = pickled(part), unchanged(part)
    rng = host_generator(whole_number("seed", seed, least=0), "check optimizer")
    tried = _trial(part, rng)
    expected = tried.run(HOST)
    tried.agree(tried.run(HOST), expected, "is another at a second call", 0.0)
    changed()
    _check_donation(tried)
    _check_direction(tried)
    stacked = _trial(part, rng, (MEMBERS,))
    _check_stack(stacked)
    tried.watched()
    _check_init(stacked, backends)
    on = stacked.everywhere(backends, stacked.run(HOST))
    checked = "a value", "the same again", "moments", "donation", "rate 0", "downhill", "stacks", "no reads on the host"
    return ContractReport(part.name, "an optimizer", (*checked, *tried.replayed()), on, notes)


def _trial(part: Part, rng: np.random.Generator, lead: tuple[int, ...] = ()) -> Trial:
    """Five steps from random gradients; t counts from 1."""
    theta = grid(rng.normal(size=(*lead, SIZE)))
    eta = RATE * (1.0 + np.arange(MEMBERS)[:, None]) if lead else np.full(1, RATE)
    gradients = [grid(rng.normal(size=(*lead, SIZE))) for _ in range(STEPS)]
    return _from(part, theta, gradients, eta)


def _from(part: Part, theta: np.ndarray, gradients: Sequence[np.ndarray], eta: np.ndarray) -> Trial:
    first = _first_moments(replace(part, backend=HOST, where="numpy"), theta)
    answers = [Answer("theta", "update"), *(Answer(f"moment {i}", "update") for i in range(len(first)))]
    batches = [(g, np.full(1, float(t)), eta) for t, g in enumerate(gradients, 1)]
    when = [f" after step {t}" for t in range(1, len(batches) + 1)]
    return Trial(part, _passes, (theta, *first), batches, answers, when)


def _first_moments(part: Part, theta: np.ndarray) -> tuple[np.ndarray, ...]:
    """What ``init`` gives on the part's backend, on the host."""
    backend: Backend = part.backend
    given = locked(backend.asarray(theta.copy()))
    made = part.call("init", backend, given, backend.asarray(np.arange(SIZE) < DECAYING))
    if not isinstance(made, tuple | list):
        raise part.broken(f"init must give a tuple of moments, got a {type(made).__name__}; write (v,) for one", "init")
    for i, moment in enumerate(made):
        part.array(moment, tuple(getattr(moment, "shape", ())), f"moment {i}", "init")
        if isinstance(moment, np.ndarray) and np.shares_memory(moment, given):
            raise part.broken(f"moment {i} of init is theta itself, which every step overwrites; copy it", "init")
    return tuple(np.array(backend.to_numpy(moment)) for moment in made)


def _check_init(stacked: Trial, backends: Sequence[str] | None) -> None:
    theta, *expected = stacked.owned
    for backend in opened(backends):
        where = words(backend)
        with backend.active():
            found = _first_moments(replace(stacked.part, backend=backend, where=where), theta)
        for i, (moment, wanted) in enumerate(zip(found, expected, strict=True)):
            stacked.part.same(moment, wanted, f"moment {i} of init", "init", f"on {where} differs from NumPy's", 1e-4)


def _passes(part: Part) -> Any:
    def step(owned: Owned, g: Any, t: Any, eta: Any) -> Any:
        theta, *moments = owned.arrays
        shapes = [tuple(moment.shape) for moment in moments]
        found = part.call("update", part.backend, theta, g, tuple(moments), t, eta)
        after, changed = part.several(found, 2, "update", "(theta, moments)")
        part.array(after, tuple(theta.shape), "theta", "update")
        if not isinstance(changed, tuple | list) or len(changed) != len(shapes):
            got = len(changed) if isinstance(changed, tuple | list) else f"a {type(changed).__name__}"
            raise part.broken(
                f"update must give back as many moments as init gives, {len(shapes)}, got {got}", "update"
            )
        for i, (moment, shape) in enumerate(zip(changed, shapes, strict=True)):
            part.array(moment, shape, f"moment {i}", "update")
        return (Owned((after, *changed)),)

    return step


def _check_donation(tried: Trial) -> None:
    """What a step returns may be overwritten by the next: it lies apart from all that others read."""
    part = replace(tried.part, backend=HOST, where="numpy")
    g, t, eta = tried.batches[0]
    given = (g.copy(), t.copy(), eta.copy())
    theta, moments = part.call(
        "update", HOST, tried.owned[0].copy(), given[0], tuple(map(np.array, tried.owned[1:])), *given[1:]
    )
    named = [("theta", theta), *((f"moment {i}", moment) for i, moment in enumerate(moments))]
    for what, array in named:
        for name, other in zip(("g", "t", "eta"), given, strict=True):
            if np.shares_memory(array, other):
                raise part.broken(
                    f"{what} after a step is {name} itself, which the next step overwrites; copy it", "update"
                )
    for (one, a), (other, b) in combinations(named, 2):
        if np.shares_memory(a, b):
            raise part.broken(
                f"{one} and {other} after a step are one array, which the next overwrites; copy it", "update"
            )


def _check_direction(tried: Trial) -> None:
    part = tried.part
    theta, g = tried.owned[0], tried.batches[0][0]
    still = _from(part, theta, [g], np.zeros(1)).run(HOST)[0][0]
    part.same(still, theta, "theta", "update", "moves at a rate of 0 (eta, not learning_rate, is the step's rate)", 0.0)
    moved = _from(part, theta, [theta], np.full(1, RATE)).run(HOST)[0][0]
    if not np.sum(moved * moved) < np.sum(theta * theta):
        sums = f"{np.sum(moved * moved):.6g} after a step, {np.sum(theta * theta):.6g} before"
        raise part.broken(f"a step with the gradient of |theta|^2 / 2 does not lower it: |theta|^2 is {sums}", "update")


def _check_stack(stacked: Trial) -> None:
    together = stacked.run(HOST, " for a stack, where nothing may reduce over an axis before -1")
    for i in range(MEMBERS):
        theta, *_ = stacked.owned
        gradients, eta = [g[i] for g, _, _ in stacked.batches], stacked.batches[0][2][i]
        alone = _from(stacked.part, theta[i], gradients, eta).run(HOST)
        members = [
            [a[i] if a.shape != b.shape else a for a, b in zip(both, one, strict=True)]
            for both, one in zip(together, alone, strict=True)
        ]
        against = f"of network {i} in a stack of {MEMBERS} differs from that of the network alone"
        stacked.agree(members, alone, against, 1e-12)
