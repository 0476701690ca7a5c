"""torch.cuda's graphs on the CPU: a capture notes every operation and leaves memory as it was; a replay does them.

What reads a number on the host, or brings one over, is refused in a capture, as CUDA does.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from chainrule._backend import _torch

# Their results, or the shapes of these, are known to the host only after it has waited; the last brings numbers over.
FORBIDDEN = {
    *("aten::_local_scalar_dense", "aten::is_nonzero", "aten::equal", "aten::nonzero", "aten::masked_select"),
    *("aten::_unique2", "aten::item", "aten::repeat_interleave.Tensor", "aten::bincount", "aten::lift_fresh"),
}


class Capture(TorchDispatchMode):
    """Notes what is done, and what was in the memory that it wrote to."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, ...]] = []
        self.overwritten: list[tuple[Any, Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        by_mask = func.name().startswith("aten::index") and any(
            x.dtype == torch.bool for x in tree_leaves(args[1]) if isinstance(x, torch.Tensor)
        )
        if func.name() in FORBIDDEN or by_mask:
            raise RuntimeError(f"operation not permitted when stream is capturing: {func.name()}\nand more lines")
        for x in written(func, args, kwargs):
            self.overwritten.append((x, x.clone()))
        made = func(*args, **kwargs)
        self.calls.append((func, args, kwargs, made))
        return made

    def undo(self) -> None:
        for x, before in reversed(self.overwritten):
            x.copy_(before)

    def replay(self) -> None:
        for func, args, kwargs, made in self.calls:
            if any(each.alias_info is not None for each in func._schema.returns) and not written(func, args, kwargs):
                continue  # a view, which looks at the same memory as before
            again = func(*args, **kwargs)
            if not written(func, args, kwargs):
                for old, new in zip(tree_leaves(made), tree_leaves(again), strict=True):
                    old.copy_(new)


def written(func: Any, args: Any, kwargs: Any) -> list[Any]:
    """The tensors that an operation writes to."""
    schema = func._schema.arguments
    given = [*zip(schema, args, strict=False), *((a, kwargs[a.name]) for a in schema if a.name in kwargs)]
    return [x for a, value in given if a.alias_info is not None and a.alias_info.is_write for x in tree_leaves(value)]


class Graph:
    replays = 0

    def replay(self) -> None:
        type(self).replays += 1
        self.capture.replay()


class Stream:
    def __init__(self, device: Any = None) -> None:
        self.waited_for: list[Any] = []

    def wait_stream(self, other: Any) -> None:
        self.waited_for.append(other)


@contextmanager
def capturing(graph: Graph, stream: Any, capture_error_mode: str) -> Iterator[None]:
    assert isinstance(stream, Stream)
    graph.capture = Capture()
    try:
        with graph.capture:
            yield
    finally:
        graph.capture.undo()


@contextmanager
def torch_cuda_on_cpu() -> Iterator[None]:
    """``"torch:cpu"`` is taken for CUDA: its bodies run, and compiled steps are captured."""
    stream = Stream()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_torch, "is_captured", lambda device: True)
        patch.setattr(torch.cuda, "CUDAGraph", Graph)
        patch.setattr(torch.cuda, "graph", capturing)
        patch.setattr(torch.cuda, "Stream", Stream)
        patch.setattr(torch.cuda, "current_stream", lambda device=None: stream)
        patch.setattr(torch.cuda, "stream", lambda stream: nullcontext())
        patch.setattr(torch.cuda, "device", lambda device: nullcontext())
        yield
