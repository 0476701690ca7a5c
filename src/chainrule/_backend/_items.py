"""A recorded step as items of work that threads take from a queue, for an engine with no Python between its calls.

Between the gather of a batch and the gradients of the weights a row of the batch meets no other, so a block of rows
can go through all layers, forward and back, while it lies in a core's cache: an item. An item of another kind takes
some rows of a W through x^T dy, and then these weights through the optimizer. What cannot be cut is an item of its own.

A call has a level, one more than that of what it waits for. Items of one level need nothing of each other, so threads
may take them in any order. What the items are depends on the step alone, never on the number of threads, and so do the
numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any, Literal, NamedTuple, Protocol, cast

import numpy as np

from ._loops import Call, Loops
from ._record import Node, NotCovered, Register, work_of

_ROWS = 64  # of a block, where the batch of a training step is cut
PREDICTED = 512  # of a block, where rows are predicted
_CUT = 2_000_000  # multiplications of a step from which on it is
_PLACES = 65_536  # weights of an item, at most: they, the gradient and two moments stay in a core's cache
_PARTS = 4  # of the weights of a step that is cut, at least
_WIDE = 1_500_000  # weights of one product from which on each block of rows would read them from memory

Kind = Literal["rows", "flat", "once"]
Task = tuple[Call, int, int]  # a part of a call: from here to there of what it is cut along
Item = list[Task]
Pieces = dict[Register, tuple[Register, int]]
Find = Callable[[Any], Any]


class Engine(Loops, Protocol):
    """What runs items: ``loop`` finds a loop of ours, ``bind`` makes the function that takes so many steps.

    Attributes:
        cuts: whether it takes steps that are cut. Products of a block may have other last bits than those of a batch.
        takes_wide: whether also products of more weights than a core's cache has room for.
    """

    cuts: bool
    takes_wide: bool

    def bind(self, levels: Sequence[Sequence[Item]]) -> Callable[[int], None]: ...


class _Use(NamedTuple):
    """An access of an array: by a call of this level and kind, and whether each item has a part of its own of it."""

    level: int
    kind: Kind
    parted: bool

    def earliest(self, kind: Kind, parted: bool) -> int:
        """The lowest level of a call that comes after this."""
        same_item = kind == self.kind and (kind == "once" or (parted and self.parted))
        return self.level if same_item else self.level + 1


class Planned(NamedTuple):
    """A recorded call, how it is cut, and its level."""

    node: Node
    kind: Kind
    level: int


class Plan:
    """What the items of a step are, found from its calls and the form of its arrays. Raises NotCovered.

    Args:
        nodes: the calls of the step in their order, without the joining of the gradient.
        find: the array that a register stands for, or one of its form.
        pieces: of what is made in its place of a flat vector, that vector and the first place. Besides these there
            come to be weights that are rounded, one place after the other, into memory of their own.
        state, inputs: the arguments of the step.
    """

    def __init__(
        self, nodes: Sequence[Node], find: Find, pieces: Pieces, state: Sequence[Register], inputs: Sequence[Register]
    ) -> None:
        self._find, self._joined, self.pieces = find, pieces, dict(pieces)
        self.flat = {register for register in state if len(register.shape) == 1} | {flat for flat, _ in pieces.values()}
        self.size = max((register.size for register in self.flat), default=0)
        self.flat = {register for register in self.flat if register.size == self.size}
        self.of_rows: set[Register] = set()
        self.rows = self._find_rows(nodes, inputs)
        self._uses: dict[Register, list[tuple[_Use, bool]]] = {}
        self.calls = [self._planned(node) for node in nodes]
        self.levels = 1 + max((call.level for call in self.calls), default=0)

    def is_of_rows(self, x: Any) -> bool:
        return isinstance(x, Register) and x.root in self.of_rows

    def has_rows(self, x: Any) -> bool:
        """Whether the rows of ``x`` are those of the batch: all of an array of rows, or some of its columns."""
        if not self.is_of_rows(x):
            return False
        array, root = self._find(x), self._find(x.root)
        within = 0 <= array.ctypes.data - root.ctypes.data < max(root.strides[0], 1)
        return within and (array.ndim, array.shape[0], array.strides[0]) == (root.ndim, root.shape[0], root.strides[0])

    def is_flat(self, x: Any) -> bool:
        return isinstance(x, Register) and x.root in self.flat and x.shape == (self.size,)

    def _find_rows(self, nodes: Sequence[Node], inputs: Sequence[Register]) -> int:
        """How many rows the batch has: those that are gathered, or those of the step's first matrix."""
        gathered = next((node for node in nodes if node.kernel.work and node.kernel.work.function == "gather"), None)
        if gathered is not None:
            return gathered.outputs[0].shape[0]
        rows = next((register.shape[0] for register in inputs if len(register.shape) == 2), 0)
        self.of_rows = {register for register in inputs if register.shape[:1] == (rows,) and len(register.shape) == 2}
        return rows

    def _planned(self, node: Node) -> Planned:
        kind = self._kind(node)
        written = [*node.outputs, *(node.inputs[i] for i in node.kernel.writes)]
        used = [*((x, False) for x in node.inputs), *((x, True) for x in written)]
        accesses = [(x, writes) for x, writes in used if isinstance(x, Register)]
        level = 0
        for x, writes in accesses:
            for use, wrote in self._uses.get(self._memory(x), ()):
                if writes or wrote:
                    level = max(level, use.earliest(kind, self._is_parted(x, kind)))
        for x, writes in accesses:
            use = _Use(level, kind, self._is_parted(x, kind))
            self._uses.setdefault(self._memory(x), []).append((use, writes))
        return Planned(node, kind, level)

    def _memory(self, x: Register) -> Register:
        return self._joined[x.root][0] if x.root in self._joined else x.root

    def _is_parted(self, x: Register, kind: Kind) -> bool:
        if kind == "rows":
            return self.has_rows(x)
        return kind == "flat" and (self.is_flat(x) or x.root in self.pieces)

    def _kind(self, node: Node) -> Kind:
        """How the call can be cut; notes what thereby becomes an array of rows, or flat."""
        work = work_of(node)
        match work.kind:
            case "rows":
                return self._kind_of_ours(node, work.cut)
            case "flat":
                return "flat" if all(self.is_flat(node.inputs[i]) for i in work.cut) else "once"
            case "product":
                return self._kind_of_product(node)
            case "once":
                is_bias_gradient = work.function == "column_sums" and node.outputs[0] in self.pieces
                return "flat" if is_bias_gradient else "once"
            case "reduction":
                each_row = len(node.inputs[0].shape) == 2 and work.axis in (-1, 1)
                return self._kind_of_elements(node) if each_row else "once"
        return self._kind_of_elements(node)

    def _kind_of_ours(self, node: Node, cut: tuple[int, ...]) -> Kind:
        given = [x for i, x in enumerate(node.inputs) if i in cut and isinstance(x, Register) and len(x.shape) == 2]
        whole = [x for i, x in enumerate(node.inputs) if i not in cut]
        if not all(map(self.has_rows, given)) or any(map(self.is_of_rows, whole)):
            return "once"
        self.of_rows |= set(node.outputs)
        return "rows"

    def _kind_of_product(self, node: Node) -> Kind:
        (x, y), out = node.inputs, node.outputs[0]
        if self.has_rows(x) and not self.is_of_rows(y):
            self.of_rows.add(out)
            return "rows"
        return "flat" if out in self.pieces else "once"

    def _is_matrix_of_flat(self, x: Any) -> bool:
        in_flat = isinstance(x, Register) and x.root in self.flat
        return in_flat and len(x.shape) == 2 and self._find(x).flags.c_contiguous

    def _place(self, x: Register) -> int:
        """Of the first number in its flat vector."""
        return (self._find(x).ctypes.data - self._find(x.root).ctypes.data) // int(x.dtype.itemsize)

    def _kind_of_elements(self, node: Node) -> Kind:
        """Of what computes each number from those at its place, or of its row."""
        out = node.outputs[0] if node.outputs else node.inputs[0]
        if work_of(node).function == "bf16" and self._is_matrix_of_flat(node.inputs[0]):
            self.pieces[out] = node.inputs[0].root, self._place(node.inputs[0])
            return "flat"
        registers = [x for x in node.inputs if isinstance(x, Register)]
        rows = [x for x in registers if self.is_of_rows(x)]
        if rows:
            if not all(map(self.has_rows, rows)) or len(out.shape) != 2 or out.root.shape[:1] != (self.rows,):
                return "once"
            self.of_rows.add(out.root)
            return "rows" if self.has_rows(out) else "once"
        parts = all(self.is_flat(x) for x in registers if x.root in self.flat)
        if parts and out.shape == (self.size,) and out is out.root and out not in self.pieces:
            self.flat.add(out)
            return "flat"
        return "once"


def shared_memory(plan: Plan, kept: set[Register]) -> dict[Register, Register]:
    """Of arrays of rows the one in whose memory each may lie: one that only items of the same level read, and no more.

    An item has the same bytes of both, since their rows are of one length.
    """
    ordered = sorted(plan.calls, key=lambda call: call.level)  # stable: within a level as they were
    last: dict[Register, int] = {}
    users: dict[Register, set[tuple[Kind, int]]] = {}
    for place, call in enumerate(ordered):
        for root in _roots(call.node):
            last[root] = place
            users.setdefault(root, set()).add((call.kind, call.level))
    passing = {
        root
        for root, by in users.items()
        if root in plan.of_rows and root not in kept and len(by) == 1 and all(kind == "rows" for kind, _ in by)
    }
    owner: dict[Register, Register] = {}
    free: dict[tuple[int, int], list[Register]] = {}
    made: set[Register] = set()
    for place, call in enumerate(ordered):
        if call.kind != "rows":
            continue
        for out in {out.root for out in call.node.outputs} - made:
            made.add(out)
            if out in kept:
                continue
            heir = _heir(call.node, out, passing, {root for root in passing if last[root] == place})
            waiting = free.get((call.level, out.nbytes))
            if heir is not None:
                owner[out] = owner.get(heir, heir)
                passing.discard(heir)  # its memory is out's from now on
            elif waiting:
                owner[out] = waiting.pop()
        for root in _roots(call.node):
            if root in passing and last[root] == place:
                free.setdefault((call.level, root.nbytes), []).append(owner.get(root, root))
    return owner


def _heir(node: Node, out: Register, passing: set[Register], ending: set[Register]) -> Register | None:
    """An input of the call in whose memory its output may lie."""
    if not node.kernel.elementwise:
        return None
    for x in node.inputs:
        alike = isinstance(x, Register) and x in passing & ending and (x.shape, x.dtype) == (out.shape, out.dtype)
        if alike and not any(y is not x and isinstance(y, Register) and y.root is x for y in node.inputs):
            return cast("Register", x)
    return None


def _roots(node: Node) -> set[Register]:
    return {x.root for x in (*node.inputs, *node.outputs) if isinstance(x, Register)}


def levels_of(plan: Plan, made: Sequence[Sequence[Call]]) -> list[list[Item]]:
    """The items of each level; ``made`` are the calls by address of each call of the plan."""
    blocks, ranges = _blocks(plan), _ranges(plan)
    levels: list[list[Item]] = []
    for level in range(plan.levels):
        by_kind: dict[Kind, list[int]] = {"rows": [], "flat": [], "once": []}
        for i, call in enumerate(plan.calls):
            if call.level == level:
                by_kind[call.kind].append(i)
        items: list[Item] = []
        if by_kind["rows"]:
            items += [[(call, first, stop) for i in by_kind["rows"] for call in made[i]] for first, stop in blocks]
        if by_kind["flat"]:
            parts = [list(_flat_tasks(plan, by_kind["flat"], made, *places)) for places in ranges]
            items += sorted(filter(None, parts), key=lambda item: -sum(stop - first for _, first, stop in item))
        if by_kind["once"]:
            items.append([(call, 0, call.extent) for i in by_kind["once"] for call in made[i]])
        levels.append(items)
    return levels


def _flat_tasks(
    plan: Plan, here: Sequence[int], made: Sequence[Sequence[Call]], first: int, stop: int
) -> Iterator[Task]:
    """The gradients in these places of the flat vector, then what else is done to these places."""
    for i in here:
        node = plan.calls[i].node
        if not node.outputs or node.outputs[0] not in plan.pieces:
            continue
        start, (rows, columns) = plan.pieces[node.outputs[0]][1], node.outputs[0].shape
        if work_of(node).kind in ("product", "elements"):
            row, end = max(0, (first - start) // columns), min(rows, (stop - start) // columns)
            if row < end:
                yield made[i][0], row, end
        elif first <= start < stop:
            yield from ((call, 0, call.extent) for call in made[i])
    for i in here:
        node = plan.calls[i].node
        if not node.outputs or node.outputs[0] not in plan.pieces:
            yield from ((call, first, stop) for call in made[i])


def _is_cut(plan: Plan) -> bool:
    return _multiplications(call.node for call in plan.calls) >= _CUT


def _blocks(plan: Plan) -> list[tuple[int, int]]:
    trains = any(call.kind == "flat" and work_of(call.node).function != "bf16" for call in plan.calls)
    size = _ROWS if _is_cut(plan) else plan.rows
    if not trains:  # predictions, which come in blocks where nothing is cut too
        size = PREDICTED
    edges = list(range(0, plan.rows, max(size, 1)))
    if len(edges) > 1 and plan.rows - edges[-1] < size // 2:
        del edges[-1]
    return list(pairwise([*edges, plan.rows]))


def _ranges(plan: Plan) -> list[tuple[int, int]]:
    """Places of the flat vectors, cut between rows of matrices."""
    edges, places = [0], min(_PLACES, max(1, plan.size // _PARTS))
    matrices = sorted({(start, out.shape) for out, (_, start) in plan.pieces.items()}) or [(0, (plan.size, 1))]
    for start, (rows, columns) in matrices if _is_cut(plan) else ():
        most = max(1, places // columns)
        for row in (*range(most, rows, most), rows):
            if start + row * columns - edges[-1] >= places // 2:
                edges.append(start + row * columns)
    if plan.size - edges[-1] < places // 8 and len(edges) > 1:
        del edges[-1]
    return list(pairwise([*edges, plan.size]))


def check_products(nodes: Sequence[Node], engine: Engine) -> None:
    """Raise NotCovered where one has too many weights for a core's cache, or the step is to be left whole."""
    for node in nodes:
        if not engine.takes_wide and work_of(node).kind == "product" and math.prod(node.inputs[1].shape) > _WIDE:
            raise NotCovered("a product of more weights than a core's cache has room for")
    if not engine.cuts and _multiplications(nodes) >= _CUT:
        raise NotCovered("a step that would be cut, of a training whose batches may be of many sizes")


def _multiplications(nodes: Iterable[Node]) -> int:
    products = (node for node in nodes if work_of(node).kind == "product")
    return sum(math.prod(node.outputs[0].shape) * node.inputs[0].shape[-1] for node in products)


def form_of(register: Register) -> np.ndarray:
    """An array of this shape, with the strides that it will have, and without memory."""
    strides, size = [], int(register.dtype.itemsize)
    for count in reversed(register.shape):
        strides.append(size)
        size *= count
    return np.lib.stride_tricks.as_strided(np.empty(1, register.dtype), register.shape, strides[::-1])
