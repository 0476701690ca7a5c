"""A step as one CUDA graph: captured once for the arrays it works on, then launched as a whole. Not yet run on a GPU.

While a stream is captured nothing runs: CUDA notes each launch with its addresses. So everything that a step works on
lies where it lay when it was captured: the state in the graph's own arrays, what the step makes on its way in memory
that no one else is given, its other arguments where they are, until one changes.
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from operator import is_
from typing import Any

from .._base.errors import BackendError, warn
from ._trees import leaves, overwrite, rebuild, shapes, tree_map

_CACHED = 8  # graphs of one step; a training run has one a batch size


class Captured:
    """A step that is captured for the shapes it is called with, then launched; its first argument is donated.

    The state that it returns lies in its own arrays, and is valid until the next call. It belongs to one thread. Where
    the step cannot be captured a warning says why, once, and it runs as it is.
    """

    def __init__(self, step: Callable[..., Any], graph: Any = None) -> None:
        self._step: Callable[..., Any] = step
        self._graph = Graph if graph is None else graph  # CuPy's, or another library's
        self._states: dict[Any, Any] = {}  # by their shapes; shared by the graphs for several batch sizes
        self._graphs: dict[Any, Any] = {}
        self._fails = False
        self._last: tuple[Any, tuple[Any, ...], Any] | None = None  # the state that was returned, and to which inputs

    def __call__(self, state: Any, *inputs: Any) -> Any:
        if self._last is not None and state is self._last[0]:
            _, before, graph = self._last
            if len(inputs) == len(before) and all(map(is_, inputs, before)):
                return graph.launch_again()
        if self._fails:
            return self._step(state, *inputs)
        own, key = self._own(state), (shapes(state), shapes(inputs))
        try:
            if key not in self._graphs:
                self._graphs[key] = self._graph(self._step, own, inputs)
                if len(self._graphs) > _CACHED:
                    del self._graphs[next(iter(self._graphs))]
            graph = self._graphs[key]
            made = graph.launch(inputs)
            self._last = (own, inputs, graph) if made is own else None
            return made
        except BackendError:
            raise  # a kernel or a library that the step needs uncompiled too
        except RuntimeError as error:  # the library's of a call that no capture allows, and CUDA's
            self._give_up(error)
            return self._step(own, *inputs)

    def _own(self, state: Any) -> Any:
        """The graphs' own state of these shapes, with the numbers of ``state`` in it."""
        made_for = shapes(state)
        if made_for not in self._states:
            self._states[made_for] = tree_map(self._graph.copy, state)
        own = self._states[made_for]
        overwrite(own, state, copy=self._graph.copy)
        return own

    def _give_up(self, error: Exception) -> None:
        self._fails, self._last = True, None
        self._graphs.clear()
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        warn(f"the step cannot be captured, it runs uncompiled: {reason}", RuntimeWarning)


class Inputs:
    """The other arguments of a graph: read where they lie, until one changes and gets memory of its own, once."""

    def __init__(self, inputs: tuple[Any, ...], copy: Callable[[Any], Any]) -> None:
        self._tree, self._copy = inputs, copy
        self._given = list(leaves(inputs))  # what each was last taken from
        self._read = list(self._given)  # what the graph reads

    def read(self) -> tuple[Any, ...]:
        """What the step is captured with."""
        inputs: tuple[Any, ...] = rebuild(self._tree, iter(self._read))
        return inputs

    def take(self, inputs: tuple[Any, ...]) -> bool:
        """Bring changed arguments to where the graph reads them; whether it must be captured anew."""
        new = list(leaves(inputs))
        changed = [i for i, old in enumerate(self._given) if new[i] is not old]
        settled = [i for i in changed if self._read[i] is self._given[i]]
        for i in settled:
            self._read[i] = self._copy(new[i])
        for i in set(changed) - set(settled):
            self._read[i][...] = new[i]
        for i in changed:
            self._given[i] = new[i]
        return bool(settled)


class Graph:
    """One step on arrays of fixed addresses, as a CUDA graph of CuPy's.

    Args:
        step: the step.
        state: the arrays that it changes, which are the graph's from now on.
        inputs: its other arguments; they are read where they lie, and never written to.
    """

    def __init__(self, step: Callable[..., Any], state: Any, inputs: tuple[Any, ...]) -> None:
        import cupy

        self._step, self._state, self._inputs = step, state, Inputs(inputs, self.copy)
        # What is made on the way lies in a pool that lives as long as the graph, which writes there at every launch.
        self._stream, self._pool = cupy.cuda.Stream(non_blocking=True), cupy.cuda.MemoryPool()
        self._captured: list[Any] = []  # the graph, then what the step returns beside the state
        end = weakref.finalize(self, _give_back, self._captured, self._pool, cupy.cuda.Device())
        end.atexit = False  # by then the driver may be gone
        self._warm_up()
        self._capture()

    @staticmethod
    def copy(x: Any) -> Any:
        return x.copy()

    def launch(self, inputs: tuple[Any, ...]) -> Any:
        """Take the step with these arguments, on the current stream."""
        import cupy

        if self._inputs.take(inputs):
            self._capture()
        graph, *results = self._captured
        graph.launch(cupy.cuda.get_current_stream())
        self._again, self._current_stream = graph.launch, cupy.cuda.get_current_stream
        return (self._state, *(result.copy() for result in results)) if results else self._state

    def launch_again(self) -> Any:
        """The same with all arguments as they were, in a microsecond or two; for a step without other results."""
        self._again(self._current_stream())
        return self._state

    def _warm_up(self) -> None:
        """Take the step once, on a copy: kernels are compiled and products planned, which no capture allows."""
        state = tree_map(self.copy, self._state)  # not in the graph's pool, which would keep as much for its life
        with self._alone():
            self._step(state, *self._inputs.read())
            self._stream.synchronize()

    def _capture(self) -> None:
        with self._alone():
            self._stream.begin_capture()
            try:
                made = self._step(self._state, *self._inputs.read())
                after, *results = (made,) if type(made) is type(self._state) else made
                overwrite(self._state, after)
            except BaseException:
                with suppress(RuntimeError):  # what went wrong has broken the capture too
                    self._stream.end_capture()
                raise
            self._captured[:] = self._stream.end_capture(), *results

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """On the graph's stream, in the graph's memory, after all that was asked for before."""
        import cupy

        cupy.cuda.get_current_stream().synchronize()
        collects = gc.isenabled()
        gc.disable()  # what it frees in a capture would end it
        try:
            with self._stream, cupy.cuda.using_allocator(self._pool.malloc):
                yield
        finally:
            if collects:
                gc.enable()


def _give_back(captured: list[Any], pool: Any, device: Any) -> None:
    """CuPy's pools keep their blocks for ever when they are dropped."""
    captured.clear()
    with device:
        pool.free_all_blocks()
