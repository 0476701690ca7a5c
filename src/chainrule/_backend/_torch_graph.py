"""A step as one CUDA graph of torch's, as ``_graph.py`` has it for CuPy. Not yet run on a GPU.

torch keeps what is made while a graph is captured in memory of the graph's own (``torch.cuda.graph``), so only the
state and the step's other arguments need addresses that stay.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ._graph import Inputs
from ._trees import leaves, overwrite, tree_map


class TorchGraph:
    """One step on arrays of fixed addresses; its arguments are those of ``_graph.Graph``."""

    def __init__(self, step: Callable[..., Any], state: Any, inputs: tuple[Any, ...]) -> None:
        import torch

        self._step, self._state, self._inputs = step, state, Inputs(inputs, self.copy)
        self._device = next(leaves(state)).device
        self._stream = torch.cuda.Stream(device=self._device)
        with torch.cuda.device(self._device):
            self._warm_up()
            self._capture()

    @staticmethod
    def copy(x: Any) -> Any:
        return x.clone()

    def launch(self, inputs: tuple[Any, ...]) -> Any:
        """Take the step with these arguments, on the current stream."""
        import torch

        if self._inputs.take(inputs):
            with torch.cuda.device(self._device):
                self._capture()
        self._graph.replay()
        return (self._state, *map(self.copy, self._results)) if self._results else self._state

    def launch_again(self) -> Any:
        """The same with all arguments as they were; for a step without other results."""
        self._graph.replay()
        return self._state

    def _warm_up(self) -> None:
        """Take the step once, on a copy and on another stream: libraries are started, which no capture allows."""
        import torch

        current = torch.cuda.current_stream()
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            self._step(tree_map(self.copy, self._state), *self._inputs.read())
        current.wait_stream(self._stream)

    def _capture(self) -> None:
        import torch

        graph = torch.cuda.CUDAGraph()
        # What another thread asks of the device meanwhile, to bring the next rows over, is no part of the graph.
        with torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"):
            made = self._step(self._state, *self._inputs.read())
            after, *results = (made,) if type(made) is type(self._state) else made
            overwrite(self._state, after, copy=self.copy)
        self._graph: Any = graph
        self._results: list[Any] = results
