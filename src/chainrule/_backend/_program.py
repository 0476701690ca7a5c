"""Replaying what was recorded: the second half of NumPy's ``compile``, and what a captured graph is on a GPU.

A step's calls are bound once to fixed arrays and run one after the other: nothing is allocated and nothing looked up.
An array that was read for the last time gives its memory to the next one, and the pieces of a flat vector are written
into their slices of it. The numbers are those of the recorded step, to the last bit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from itertools import accumulate, pairwise
from operator import is_, itemgetter
from typing import Any, cast

import numpy as np

from .._base.errors import warn
from ._blas_threads import leave_threads_to_items
from ._functions import JOIN
from ._items import Engine, Pieces, Plan, check_products, form_of, levels_of, shared_memory
from ._loops import calls_of
from ._record import (
    Kernel,
    Node,
    NotCovered,
    RecordingError,
    Register,
    Tape,
    Traced,
    Work,
    array_of,
    opaque,
    register_of,
)
from ._trees import leaves, overwrite, rebuild, shapes, tree_map

_LINE = 64  # bytes of a cache line, and of the widest vector register
_CACHED = 8  # programs of one step; a training run has one a batch size
_PATIENCE = 32  # steps of other shapes in a row, after which these get a program in the place of the oldest

Assigned = dict[Register, np.ndarray]


def engine(backend: Any) -> Engine | None:
    """What makes one compiled call of a recorded step; None: its calls are made from Python, one after the other.

    Faster bodies take its place on Numba: ``chainrule where engine``.
    """
    return None


class Replayed:
    """A step that is recorded for the shapes it is called with, then replayed; its first argument is donated.

    The state that it returns lies in its own arrays, and is valid until the next call. It belongs to one thread. Steps
    of more shapes than programs are kept for run as they are. Where a step cannot be recorded a warning says why, once.

    Args:
        step: the step itself, which gives the bits of the recorded one.
        recorded: the same step on the recording namespace.
        engine: what runs a step as one compiled call, where there is one.
    """

    def __init__(self, step: Callable[..., Any], recorded: Callable[..., Any], engine: Engine | None = None) -> None:
        self._step, self._engine = step, engine
        self._recorded: Callable[..., Any] | None = recorded
        self._states: dict[Any, Any] = {}  # by their shapes; shared by the programs for several batch sizes
        self._programs: dict[Any, Program | OneCall] = {}
        self._program: Program | OneCall | None = None
        self._state: Any = None
        self._shapes: Any = None
        self._inputs: tuple[Any, ...] = ()
        self._last: Any = None  # the shapes of the last step that had no program, and how many there were in a row
        self._waited = 0

    def __call__(self, state: Any, *inputs: Any) -> Any:
        if state is not self._state or not all(map(is_, inputs, self._inputs)):
            taken = self._prepare(state, inputs)
            if taken is not None:
                return taken
        assert self._program is not None
        for call in self._program.calls:
            call()
        if self._program.results:
            return (self._state, *map(np.array, self._program.results))
        return self._state

    def repeat(self, steps: int, state: Any, *inputs: Any) -> Any:
        """The state after as many steps on these arguments; of a step that returns nothing else."""
        state = self(state, *inputs)
        if isinstance(self._program, OneCall) and state is self._state:
            if steps > 1:
                self._program.run(steps - 1)
            return state
        for _ in range(steps - 1):
            state = self(state, *inputs)
        return state

    def _prepare(self, state: Any, inputs: tuple[Any, ...]) -> Any:
        """Hand these arguments to the program for them: None. Where there is none, take the step and return its result.

        What is recorded runs while it is, so a function of the user's own is called once a step, as uncompiled. Only
        one call, in which there is none, runs again: its products are cut, which may give them other last bits.
        """
        if self._recorded is None:
            return self._step(state, *inputs)
        made_for = self._shapes if state is self._state else shapes(state)
        key = made_for, shapes(inputs)
        if key in self._programs:
            self._take(key, state if state is self._state else self._own(made_for, state), inputs)
            return None
        if not self._is_recorded(key):
            self._state = None  # the step may put other arrays in the place of the program's
            return self._step(state, *inputs)
        own = self._own(made_for, state)
        try:
            program, after, results = _record(self._recorded, own, inputs, self._engine)
        except (RecordingError, TypeError, AttributeError) as error:
            self._give_up(error)
            return self._step(state, *inputs)
        if len(self._programs) == _CACHED:
            del self._programs[next(iter(self._programs))]
        self._programs[key] = program
        self._take(key, own, inputs)
        if isinstance(self._program, OneCall):
            return None
        for mine, new in zip(leaves(own), after, strict=True):
            np.copyto(mine, new)
        return (own, *map(np.array, results)) if results else own

    def _is_recorded(self, key: Any) -> bool:
        """Whether the step is recorded for these shapes: for the first few, and for those that come again and again.

        Recording takes as long as several steps, and for ever new shapes it would be done in each.
        """
        self._waited = self._waited + 1 if key == self._last else 1
        self._last = key
        return len(self._programs) < _CACHED or self._waited > _PATIENCE

    def _take(self, key: Any, own: Any, inputs: tuple[Any, ...]) -> None:
        program, given = self._programs[key], list(leaves(inputs))
        try:
            program.read(given)
        except NotCovered:
            program = self._programs[key] = cast("OneCall", program).call_by_call()
            program.read(given)
        self._program, self._state, self._shapes, self._inputs = program, own, key[0], inputs
        if self.is_one_call and cast("OneCall", program).is_cut:
            leave_threads_to_items()

    @property
    def is_one_call(self) -> bool:
        """Whether the last step was one compiled call."""
        return isinstance(self._program, OneCall)

    def _own(self, made_for: Any, state: Any) -> Any:
        """The programs' own state of these shapes, with the numbers of ``state`` in it."""
        if made_for not in self._states:
            self._states[made_for] = tree_map(_copy, state)
        overwrite(self._states[made_for], state, is_apart=lambda array: array.flags.owndata)
        return self._states[made_for]

    def _give_up(self, error: Exception) -> None:
        self._program = self._recorded = self._state = None
        reason = str(error).strip().splitlines()[0]
        warn(f"the step cannot be recorded, it runs uncompiled: {reason}", RuntimeWarning)


def _record(
    recorded: Callable[..., Any], own: Any, inputs: tuple[Any, ...], engine: Engine | None
) -> tuple[Program | OneCall, list[np.ndarray], list[np.ndarray]]:
    """Run the step once, on a copy of the state and on inputs that cannot be written to; ``own`` is the program's.

    Returns the program, and what the step made of the state and returned besides.
    """
    tape = Tape()
    before = [Traced(tape, _copy(leaf)) for leaf in leaves(own)]
    given = [Traced(tape, _read_only(leaf)) for leaf in leaves(inputs)]
    made = recorded(rebuild(own, iter(before)), *rebuild(inputs, iter(given)))
    after, *results = (made,) if type(made) is type(own) else made
    ends = list(leaves(after))
    arrays = {old.register: new for old, new in zip(before, leaves(own), strict=True)}
    registers = [one.register for one in given], list(map(register_of, ends)), list(map(register_of, results))
    return _program(engine, tape.nodes, arrays, *registers), list(map(array_of, ends)), list(map(array_of, results))


def _program(made_by: Engine | None, nodes: Sequence[Node], *registers: Any) -> Program | OneCall:
    if made_by is not None:
        with suppress(NotCovered):
            return OneCall(made_by, nodes, *registers)
    return Program(nodes, *registers)


class OneCall:
    """The same as ``Program``, in one compiled call; raises NotCovered where that cannot be."""

    def __init__(
        self,
        engine: Engine,
        nodes: Sequence[Node],
        state: Assigned,
        inputs: Sequence[Register],
        after: Sequence[Any],
        results: Sequence[Any],
    ) -> None:
        self._recorded = nodes, state, inputs, after, results
        moved = _moved(state, inputs, after)
        needed = [*(new for _, new in moved), *results]
        live = [part for node in _live(nodes, needed) for part in _side_by_side(node)]
        live += [Node(_MOVE, (own, new), ()) for own, new in moved]
        check_products(live, engine)
        self._inputs: dict[Register, Any] = {register: form_of(register) for register in inputs}
        self._arrays, self._engine = dict(state), engine
        pieces = self._join(live, needed)
        for root in (out.root for node in live for out in node.outputs):
            self._arrays.setdefault(root, form_of(root))
        plan = Plan([node for node in live if node.kernel is not JOIN], self._find, pieces, list(state), inputs)
        self._give_memory(plan, _roots(needed) | set(inputs), state.keys() | pieces.keys())
        self._made = [calls_of(call.node, self._find, engine) for call in plan.calls]
        self._late = [
            (made, call.node)
            for made, call in zip(self._made, plan.calls, strict=True)
            if _roots(call.node.inputs) & self._inputs.keys()
        ]
        levels = levels_of(plan, self._made)
        self.run, self.is_cut = engine.bind(levels), max(map(len, levels)) > 2
        self.calls = [partial(self.run, 1)]
        self._layout: list[Any] = []
        self._addresses: list[tuple[np.ndarray, int, int, int]] = []
        self.results = [self._find(result) for result in results]

    def call_by_call(self) -> Program:
        """The same step, called from Python."""
        return Program(*self._recorded)

    def read(self, inputs: Sequence[np.ndarray]) -> None:
        """Take the step's other arguments from these arrays from now on. Raises NotCovered for some with gaps."""
        self._inputs = dict(zip(self._inputs, inputs, strict=True))
        layout = [(x.shape, x.strides) for x in inputs]
        if layout == self._layout:
            first = [x.ctypes.data for x in inputs]
            for words, place, number, offset in self._addresses:
                words[place] = first[number] + offset
            return
        for made, node in self._late:
            for before, now in zip(made, calls_of(node, self._find, self._engine), strict=True):
                before.take(now)
        self._layout = layout
        self._addresses = [
            (call.words, place, number, offset)
            for made, _ in self._late
            for call in made
            for number, x in enumerate(inputs)
            for place, offset in call.addresses_in(x)
        ]

    def _join(self, live: Sequence[Node], needed: Sequence[Any]) -> Pieces:
        """Give the flat gradient memory; the pieces that are made in it, each with its first place."""
        last = {root: i for i, node in enumerate(live) for root in _roots((*node.inputs, *node.outputs))}
        last |= dict.fromkeys(_roots(needed), len(live))
        pieces: Pieces = {}
        taken = self._arrays.keys() | self._inputs.keys()
        for i, node in enumerate(live):
            if node.kernel is JOIN:
                if _join_in_place(node, i, last, taken, self._arrays):
                    raise NotCovered("a gradient that is read elsewhere too")
                starts = accumulate((piece.size for piece in node.inputs), initial=0)
                pieces |= {piece.root: (node.outputs[0], start) for piece, start in zip(node.inputs, starts)}  # noqa: B905
        return pieces

    def _give_memory(self, plan: Plan, kept: set[Register], have: set[Register]) -> None:
        owner = shared_memory(plan, kept)
        for out in dict.fromkeys(x.root for call in plan.calls for x in call.node.outputs):
            if out not in have:
                memory = self._arrays[owner[out]] if out in owner else _memory(out.nbytes)
                self._arrays[out] = memory.reshape(-1).view(out.dtype).reshape(out.shape)

    def _find(self, x: Any) -> Any:
        return _found(x, self._inputs, self._arrays)


def _side_by_side(node: Node) -> list[Node]:
    """Matrices that are joined: a copy of each into its columns; other calls as they are."""
    if node.kernel is not JOIN or len(node.outputs[0].shape) == 1:
        return [node]
    (joined,) = node.outputs
    edges = accumulate((x.shape[-1] for x in node.inputs), initial=0)
    columns = [(..., slice(*edge)) for edge in pairwise(edges)]
    return [
        Node(_COPY, (x,), (Register(x.shape, joined.dtype, joined, itemgetter(part), whole=False),))
        for x, part in zip(node.inputs, columns, strict=True)
    ]


_COPY = Kernel(np.positive, lambda x: (np.positive(x),), work=Work("elements", np.positive))
_MOVE = Kernel(np.copyto, lambda own, new: (), writes=(0,), work=Work("elements", "move"))


class Program:
    """One step on arrays of fixed shapes: ``calls``, after which the state and ``results`` are those of the step.

    Args:
        nodes: the recorded calls.
        state: the arrays that the step changes, by what they were recorded as.
        inputs: what its other arguments were recorded as.
        after: what each array of the state becomes.
        results: what else the step returns.
    """

    def __init__(
        self,
        nodes: Sequence[Node],
        state: Assigned,
        inputs: Sequence[Register],
        after: Sequence[Any],
        results: Sequence[Any],
    ) -> None:
        moved = _moved(state, inputs, after)
        needed = [*(new for _, new in moved), *results]
        self._inputs: dict[Register, Any] = dict.fromkeys(inputs)
        self._arrays = dict(state)
        nodes = _assign(_live(nodes, needed), self._arrays, self._inputs.keys(), needed)
        self._late = {i: node for i, node in enumerate(nodes) if _roots(node.inputs) & self._inputs.keys()}
        self.calls = [_late if i in self._late else self._bind(node) for i, node in enumerate(nodes)]
        self.calls += [partial(np.copyto, state[own], self._find(new)) for own, new in moved]
        self.results = [self._find(result) for result in results]

    def read(self, inputs: Sequence[np.ndarray]) -> None:
        """Take the step's other arguments from these arrays from now on."""
        self._inputs = dict(zip(self._inputs, inputs, strict=True))
        for i, node in self._late.items():
            self.calls[i] = self._bind(node)

    def _bind(self, node: Node) -> Callable[[], Any]:
        return node.kernel.call([self._find(x) for x in node.inputs], [self._find(x) for x in node.outputs])

    def _find(self, x: Any) -> Any:
        return _found(x, self._inputs, self._arrays)


def _moved(state: Assigned, inputs: Sequence[Register], after: Sequence[Any]) -> list[tuple[Register, Any]]:
    """The arrays of the state that another array becomes."""
    moved = [(own, new) for own, new in zip(state, after, strict=True) if new is not own]
    if _roots([new for _, new in moved]) & (state.keys() | set(inputs)):
        raise RecordingError("an array of the state becomes another one, or an argument")
    return moved


def _found(x: Any, inputs: dict[Register, Any], arrays: Assigned) -> Any:
    """The array of the program that ``x`` was recorded as; what was not traced is a constant."""
    if not isinstance(x, Register):
        return x
    if x.base is not None and x.view is not None:
        return x.view(_found(x.base, inputs, arrays))
    return inputs[x] if x in inputs else arrays[x]


def _late() -> None:
    """Stands for a call until the arguments that it reads are known."""


def _live(nodes: Sequence[Node], needed: Sequence[Any]) -> list[Node]:
    """The calls whose outputs are read, or which overwrite an array; in their order."""
    read, live = _roots(needed), []
    for node in reversed(nodes):
        if node.kernel.writes or read & set(node.outputs):
            live.append(node)
            read |= _roots(node.inputs)
    return live[::-1]


def _assign(nodes: Sequence[Node], arrays: Assigned, inputs: Any, needed: Sequence[Any]) -> list[Node]:
    """Put an array for each output into ``arrays``; return the calls that are left to make."""
    last = {root: i for i, node in enumerate(nodes) for root in _roots((*node.inputs, *node.outputs))}
    last |= dict.fromkeys(_roots(needed), len(nodes))
    taken = arrays.keys() | inputs
    pieces = {i: _join_in_place(node, i, last, taken, arrays) for i, node in enumerate(nodes) if node.kernel is JOIN}
    owned: Assigned = {}  # the memory of what is still read
    free: dict[int, list[np.ndarray]] = {}  # by its size in bytes
    for i, node in enumerate(nodes):
        for output in node.outputs:
            if output not in arrays:
                heir = _heir(output, node, i, last, owned)
                waiting = free.get(output.nbytes)
                memory = owned.pop(heir) if heir is not None else waiting.pop() if waiting else _memory(output.nbytes)
                owned[output] = memory
                arrays[output] = memory.view(output.dtype).reshape(output.shape)
        for root in _roots((*node.inputs, *node.outputs)) & owned.keys():
            if last[root] == i:
                free.setdefault(owned[root].nbytes, []).append(owned.pop(root))
    return [part for i, node in enumerate(nodes) for part in pieces.get(i, [node])]


def _heir(output: Register, node: Node, i: int, last: dict[Register, int], owned: Assigned) -> Register | None:
    """An input of the call that nothing reads later, and whose memory ``output`` may lie in."""
    if not node.kernel.elementwise:
        return None
    for x in node.inputs:
        if (
            isinstance(x, Register)
            and x in owned
            and last[x] == i
            and (x.shape, x.dtype) == (output.shape, output.dtype)
            and not any(y is not x and isinstance(y, Register) and y.root is x for y in node.inputs)
        ):
            return x
    return None


def _join_in_place(node: Node, i: int, last: dict[Register, int], taken: Any, arrays: Assigned) -> list[Node]:
    """Let what is joined into a flat vector be made in its slice of it; return the copies that are still needed."""
    (joined,) = node.outputs
    if len(joined.shape) != 1:
        return [node]
    flat = arrays[joined] = _memory(joined.nbytes).view(joined.dtype)
    copies = []
    for piece, stop in zip(node.inputs, accumulate(piece.size for piece in node.inputs), strict=True):
        part = slice(stop - piece.size, stop)
        if (
            isinstance(piece, Register)
            and piece.whole
            and piece.root not in taken | arrays.keys()
            and last[piece.root] == i
        ):
            arrays[piece.root] = flat[part].reshape(piece.root.shape)
        else:
            target = Register((piece.size,), joined.dtype, joined, itemgetter(part), whole=False)
            copies.append(Node(opaque(_same), (piece,), (target,)))
    return copies


def _same(x: np.ndarray) -> np.ndarray:
    return x


def _memory(nbytes: int) -> np.ndarray:
    """Bytes that begin at a cache line."""
    raw = np.empty(nbytes + _LINE, np.uint8)
    start = -raw.ctypes.data % _LINE
    return raw[start : start + nbytes]


def _copy(x: np.ndarray) -> np.ndarray:
    made = _memory(x.nbytes).view(x.dtype).reshape(x.shape)
    np.copyto(made, x)
    return made


def _read_only(x: np.ndarray) -> np.ndarray:
    view = x.view()
    view.flags.writeable = False
    return view


def _roots(values: Sequence[Any]) -> set[Register]:
    return {value.root for value in values if isinstance(value, Register)}
