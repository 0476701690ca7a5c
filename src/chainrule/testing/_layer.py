"""Does a layer do what a layer must?"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from .._base.errors import ConfigurationError, require
from .._base.options import whole_number
from .._random import Key, host_generator
from ..initializers import INITIALIZERS, find_initializer
from ..layers import Layer
from ._backends import HOST
from ._inputs import MEMBERS, ROWS, grid, slopes
from ._part import Part, locked, position
from ._report import ContractReport
from ._trial import Answer, Owned, Trial
from ._value import part_of, pickled, unchanged

PULLBACK = -2  # where dC/dx is among the answers


def check_layer(
    layer: Layer, n_in: int | None = None, seed: int = 0, backends: Sequence[str] | None = None
) -> ContractReport:
    """Whether ``layer`` does what a layer must, on every backend that runs here.

    Its parameters, widths and shapes; ``gradients`` and ``pullback`` against central differences of ``forward``,
    f(x + h) - f(x - h) over 2h, h = 1e-6; the same results from the same key; ``apply`` against ``forward``, unless it
    is random or has buffers; stacks, k networks at once, against each alone; the smallest batch; nothing written to
    that it was given, no number read on the host; float32 and float64; each library against NumPy; and where it says
    ``traceable = True``, a recorded step against the step as it is, bit for bit.

    Args:
        layer: the layer. A small one is checked as well as a large one, and sooner.
        n_in: how many inputs to give it; by default its own ``n_in``, or 4 where it has none.
        seed: of the numbers it is tried on, >= 0; default 0.
        backends: the names of those to try, ``["numpy", "torch"]``; None (the default) is every one that runs
            here.

    Returns:
        What was checked and where, to print.

    Raises:
        ContractError: what is broken, in one sentence. ConfigurationError: no layer, or one of other inputs than n_in.

    Example:
        >>> import chainrule as cr
        >>> from chainrule.testing import check_layer
        >>> print(check_layer(cr.Dropout(0.25), backends=["numpy"]))
        Dropout(0.25) does what a layer must.
          checked  a value, width and parameters, the same key again, slopes, stacks, the smallest batch, no
                   reads on the host, recorded steps
          on       numpy (float32, float64)
          note     random: another key gives another y
    """
    wanted = "expected an object of a class Scale(cr.Layer) with apply and pullback"
    require(
        Layer in type(layer).__mro__, f"check_layer: {wanted}, got {layer!r:.60}; activations have check_activation."
    )
    part = part_of(layer)
    width = _width(part, _n_in(part, n_in))
    notes, changed = pickled(part), unchanged(part)
    rng = host_generator(whole_number("seed", seed, least=0), "check layer")
    tried = _trial(part, *width, rng)
    expected = tried.run(HOST)
    tried.agree(tried.run(HOST), expected, "is another at a second call with the same key", 0.0)
    changed()
    is_random = _is_random(part, *width, rng)
    _check_slopes(tried, rng)
    if not is_random and not layer.buffers():
        _check_prediction(part, expected)
    _check_stack(part, *width, rng)
    _check_smallest_batch(part, *width, rng)
    tried.watched()
    stacked = _trial(part, *width, rng, (MEMBERS,))
    on = stacked.everywhere(backends, stacked.run(HOST))
    recorded = tried.replayed()
    predicts = () if is_random or layer.buffers() else ("prediction",)
    always = "a value", "width and parameters", "the same key again", "slopes", "stacks", "the smallest batch"
    notes += ("random: another key gives another y",) if is_random else ()
    return ContractReport(part.name, "a layer", (*always, *predicts, "no reads on the host", *recorded), on, notes)


def _n_in(part: Part, given: int | None) -> int:
    own = getattr(part.thing, "n_in", None)
    n_in = (own if isinstance(own, int) else 4) if given is None else whole_number("n_in", given, least=1)
    try:
        part.thing.width(n_in)
    except ConfigurationError as error:
        require(given is not None, f"check_layer: give n_in, the number of inputs ({error})")
        raise
    return n_in


def _width(part: Part, n_in: int) -> tuple[int, int]:
    """(inputs, outputs). Raises unless the layer says of itself what can be."""
    width = part.call("width", n_in)
    if not isinstance(width, int) or isinstance(width, bool) or width < 1:
        raise part.broken(f"width({n_in}) must be a whole number >= 1, got {width!r}", "width")
    for kind in ("parameters", "buffers"):
        _check_arrays(part, kind)
    _check_answers(part)
    return n_in, width


def _check_answers(part: Part) -> None:
    """What the house asks a layer besides its arithmetic."""
    products, normal = part.call("multiplications"), part.call("normalizes")
    if not isinstance(products, int) or products < 0:
        raise part.broken(f"multiplications must give a whole number >= 0, got {products!r:.60}", "multiplications")
    if normal not in (None, "columns", "rows"):
        raise part.broken(f"normalizes must give 'columns', 'rows' or None, got {normal!r:.60}", "normalizes")
    weight_init = part.call("usual_weight_init")
    if weight_init not in INITIALIZERS:
        raise part.broken(f"usual_weight_init must name an initializer, got {weight_init!r:.60}", "usual_weight_init")
    if not isinstance(part.call("parts"), Iterable):
        raise part.broken("parts must give something to go through, of activations, or of nothing", "parts")
    if not isinstance(part.call("__str__"), str):
        raise part.broken("str(layer) must be text", "__str__")


def _check_arrays(part: Part, kind: str) -> None:
    """What the layer says of its parameters, or of its buffers."""
    said = part.call(kind)
    if not isinstance(said, tuple):
        raise part.broken(f"{kind} must give a tuple, got a {type(said).__name__}; write (W,) for one", kind)
    names = [one.name for one in said]
    for one in said:
        if names.count(one.name) > 1:
            times = names.count(one.name)
            raise part.broken(f"{kind} has {one.name!r} {times} times, expected names that differ", kind)
        if len(one.shape) != 2:
            raise part.broken(f"{kind}: {one.name} must be a matrix, or a row (1, n), got shape {one.shape}", kind)


def _trial(
    part: Part, n_in: int, n_out: int, rng: np.random.Generator, lead: tuple[int, ...] = (), rows: int = ROWS
) -> Trial:
    """The passes of the layer over three batches, from its first weights moved a little."""
    p = tuple(_weights(part, one, rng, lead) for one in part.thing.parameters())
    q = tuple(one.value + np.abs(grid(rng.uniform(0.0, 0.5, (*lead, *one.shape)))) for one in part.thing.buffers())
    batches = []
    for _ in range(3):
        x, dy = (grid(rng.normal(0.3, 1.0, (*lead, rows, n))) for n in (n_in, n_out))
        words = rng.integers(-(2**31), 2**31, (2, *lead, 1, 1)).astype(np.int32)
        batches.append((p, x, dy, *words))
    return Trial(part, lambda part: _passes(part, n_out), q, batches, list(_answers(part)))


def _weights(part: Part, parameter: Any, rng: np.random.Generator, lead: tuple[int, ...]) -> np.ndarray:
    drawn = find_initializer(parameter.initializer).draw(rng, parameter.shape)
    if getattr(drawn, "shape", None) != parameter.shape:
        raise part.broken(f"parameters: the initializer of {parameter.name} draws another shape", "parameters")
    return grid(drawn + rng.normal(0.0, 0.2, (*lead, *parameter.shape)))


def _answers(part: Part) -> Iterator[Answer]:
    yield from (Answer(f"buffer {one.name}", "forward") for one in part.thing.buffers())
    yield Answer("y", "forward")
    yield from (Answer(f"dC/d{one.name}", "gradients") for one in part.thing.parameters())
    yield Answer("dC/dx", "pullback")
    yield Answer("the prediction", "apply")


class _Found(NamedTuple):
    """The answers of a layer to one batch."""

    buffers: list[np.ndarray]
    y: np.ndarray
    gradients: list[np.ndarray]
    dx: np.ndarray
    prediction: np.ndarray


def _found(part: Part, answers: list[np.ndarray]) -> _Found:
    q, p = len(part.thing.buffers()), len(part.thing.parameters())
    return _Found(answers[:q], answers[q], answers[q + 1 : q + 1 + p], *answers[q + 1 + p :])


def _passes(part: Part, n_out: int) -> Any:
    layer, backend = part.thing, part.backend
    names = [one.name for one in layer.parameters()]

    def step(owned: Owned, p: Any, x: Any, dy: Any, k0: Any, k1: Any) -> Any:
        q, lead = owned.arrays, tuple(dy.shape[:-2])
        # Without parameters and noise, networks that share a batch have one answer.
        y_shapes = [(*lead, x.shape[-2], n_out), (x.shape[-2], n_out)]
        found = part.call("forward", backend, p, q, x, Key(k0, k1))
        y, residual, after = part.several(found, 3, "forward", "(y, residual, buffers)")
        if getattr(y, "ndim", 0) and y.shape[-1] != n_out:
            both = f"{y.shape[-1]} outputs for {x.shape[-1]} inputs, and width says {n_out}"
            raise part.broken(f"forward gives {both}", "forward or width")
        locked(part.array(y, y_shapes, "y", "forward"))
        after = part.several(after, len(q), "forward", "a buffer for each of buffers()")
        for one, new, old in zip(layer.buffers(), after, q, strict=True):
            part.array(new, tuple(old.shape), f"buffer {one.name}", "forward")
        found = part.call("gradients", backend, residual, dy)
        grads = part.several(found, len(p), "gradients", "one for each of parameters()")
        for name, gradient, W in zip(names, grads, p, strict=True):
            locked(part.array(gradient, tuple(W.shape), f"dC/d{name}", "gradients"))
        dx = dy
        if x.ndim == dy.ndim:  # nobody asks for dC/dx of a batch that networks share: it lies below all weights
            dx = part.array(part.call("pullback", backend, p, residual, dy, grads), tuple(x.shape), "dC/dx", "pullback")
        prediction = part.array(part.call("apply", backend, p, q, x), y_shapes, "y", "apply")
        return Owned(after), y, *grads, dx, prediction

    return step


def _is_random(part: Part, n_in: int, n_out: int, rng: np.random.Generator) -> bool:
    """Whether another key gives another y: of so many numbers that one in a thousand is enough."""
    many = _trial(part, n_in, n_out, rng, rows=5000)
    p, x, dy, k0, k1 = many.batches[0]
    a, b = (replace(many, batches=[(p, x, dy, *key)]).run(HOST)[0] for key in ((k0, k1), (k0 ^ 1, k1 ^ 1)))
    return not np.array_equal(_found(part, a).y, _found(part, b).y)


def _check_slopes(tried: Trial, rng: np.random.Generator) -> None:
    part = replace(tried.part, backend=HOST, where="numpy")
    p, x, dy, k0, k1 = tried.batches[0]
    found = _found(part, replace(tried, batches=tried.batches[:1]).run(HOST)[0])
    if not np.isfinite(found.y).all():
        raise part.broken("y is not finite for x ~ N(0.3, 1)", "forward")

    def cost(params: Any, x: np.ndarray) -> float:
        y = part.call("forward", HOST, params, tried.owned, x, Key(k0, k1))[0]
        return math.fsum(np.ravel(dy * y))

    for i, (parameter, gradient) in enumerate(zip(part.thing.parameters(), found.gradients, strict=True)):
        moved = slopes(lambda W, i=i: cost((*p[:i], W, *p[i + 1 :]), x), p[i], gradient, rng)
        _compare(part, moved, f"dC/d{parameter.name}", "gradients")
    _compare(part, slopes(lambda x: cost(p, x), x, found.dx, rng), "dC/dx", "pullback")
    own = part.call("slopes", HOST, part.call("forward", HOST, p, tried.owned, x, Key(k0, k1))[1])
    if own is not None:
        against = "differs from that which slopes says, dC/dy times g'(z),"
        part.same(found.dx, dy * own, "dC/dx", "slopes", against, 1e-9)


def _compare(part: Part, found: Any, what: str, method: str) -> None:
    for one in found:
        if not one.agrees:
            difference = f"{what} differs from the central difference at {position(one.place)}"
            raise part.broken(f"{difference}: {one.got:.3g} against {one.wanted:.3g}", method)


def _check_prediction(part: Part, expected: list[list[np.ndarray]]) -> None:
    found = _found(part, expected[0])
    against = "differs from that in training, though the layer is not random and has no buffers,"
    part.same(found.prediction, found.y, "the prediction", "apply", against, 1e-9)


def _check_stack(part: Part, n_in: int, n_out: int, rng: np.random.Generator) -> None:
    """A stack of k networks is the k networks, with a batch each, and with one that they share."""
    stack = _trial(part, n_in, n_out, rng, (MEMBERS,), MEMBERS)
    p, x, *rest = stack.batches[0]
    note = " for a stack, where nothing may reduce over an axis before -2"
    for shared in (False, True):
        together = replace(stack, batches=[(p, x[0] if shared else x, *rest)]).run(HOST, note)[0]
        for i in range(MEMBERS):
            given = (tuple(W[i] for W in p), x[0] if shared else x[i], *(a[i] for a in rest))
            single = replace(stack, owned=tuple(q[i] for q in stack.owned), batches=[given])
            member, alone = [a[i] if a.ndim > 2 else a for a in together], single.run(HOST)
            if shared:
                member[PULLBACK] = alone[0][PULLBACK]
            against = f"of network {i} in a stack of {MEMBERS} differs from that of the network alone"
            single.agree([member], alone, against, 1e-9)


def _check_smallest_batch(part: Part, n_in: int, n_out: int, rng: np.random.Generator) -> None:
    rows = part.call("least_rows")
    if not isinstance(rows, int) or rows < 1:
        raise part.broken(f"least_rows must be a whole number >= 1, got {rows!r}", "least_rows")
    _trial(part, n_in, n_out, rng, rows=rows).run(HOST, f" for a batch of {rows} row{'s' if rows > 1 else ''}")
