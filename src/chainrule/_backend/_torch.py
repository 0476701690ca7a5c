"""PyTorch: CPU and CUDA, through array-api-compat."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable
from contextlib import nullcontext
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np

from .._base.errors import BackendError, DataError
from .._base.typing import Array, Device, DType, Namespace
from ._graph import Captured
from ._library import by_index, import_library, installed_version, no_such_device
from ._torch_compile import Compiled, filtered_guards
from ._torch_graph import TorchGraph

NAME = "torch"
COMPILES = False  # the first compilation takes long: only when asked for
COMPILES_SOON = False
RECORDS = False
LOOPS = False
NUMPYS_BLAS = False


def load() -> Namespace:
    import_library("torch", name="PyTorch", extra="torch")
    return _namespace()


def version() -> str:
    return installed_version("torch")


def owns(x: object) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(x, torch.Tensor)


def follows(x: Any) -> bool:  # not a tensor that wants gradients: what is answered is outside of its graph
    return _torch().compiler.is_compiling() or _is_wrapped(x)


def _is_wrapped(x: Any) -> bool:
    """Whether it stands for others, inside of torch.func.vmap or grad."""
    torch = _torch()  # whose compiler does not know the question
    return not torch.compiler.is_compiling() and bool(torch._C._functorch.is_functorch_wrapped_tensor(x))


def devices() -> list[Device]:
    torch = import_library("torch", name="PyTorch", extra="torch")
    found = [torch.device("cuda", i) for i in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        found.append(torch.device("mps"))
    return [*found, torch.device("cpu")]


def find_device(device: Any) -> Device:
    torch = import_library("torch", name="PyTorch", extra="torch")
    if device is None:
        return torch.get_default_device()
    found = devices()
    if isinstance(device, int):
        return by_index(found, device, name="PyTorch")
    try:
        wanted = torch.device(device)
    except (RuntimeError, TypeError):
        raise no_such_device(device, found, name="PyTorch") from None
    if wanted.type == "cuda" and wanted.index is None:
        wanted = torch.device("cuda", 0)
    if wanted.type != "cpu" and wanted not in found:
        raise no_such_device(device, found, name="PyTorch")
    return wanted


def device_name(device: Device) -> str:
    return str(device)


def device_of(x: Array) -> Device:
    return _with_numbers(x).device


def active(device: Device) -> nullcontext[None]:
    return nullcontext()


class _Deterministic:
    """The library's own switch, put back at the end."""

    def __enter__(self) -> None:
        torch = _torch()
        self._before = torch.are_deterministic_algorithms_enabled()
        self._warns = torch.is_deterministic_algorithms_warn_only_enabled()
        torch.use_deterministic_algorithms(True)

    def __exit__(self, *_: object) -> None:
        _torch().use_deterministic_algorithms(self._before, warn_only=self._warns)


def deterministic(device: Device) -> _Deterministic:
    name = "CUBLAS_WORKSPACE_CONFIG"
    if device.type == "cuda" and os.environ.get(name) not in (":4096:8", ":16:8"):
        raise BackendError(f"deterministic=True on CUDA needs {name}=:4096:8 in the environment before Python starts.")
    return _Deterministic()


def is_captured(device: Device) -> bool:
    """Whether a compiled step is one CUDA graph, so that nothing in a step may be read on the host."""
    return bool(device.type == "cuda")


def pieces_from(device: Device) -> float:
    return math.inf if is_captured(device) else 0


def memory(device: Device) -> None:
    return None


def to_device(x: Any, dtype: DType, device: Device) -> Array:
    moved: Array = _with_numbers(x).detach().to(device=device, dtype=dtype)
    return moved


def from_numpy(x: np.ndarray, device: Device) -> Array:
    import torch

    # torch.tensor copies: torch's own memory is aligned, and its products change their last bits with alignment.
    # ascontiguousarray first, since torch refuses swapped bytes and negative strides; of a single row it leaves these.
    x = x.copy() if any(stride < 0 for stride in x.strides) else x
    tensor: Array = torch.tensor(np.ascontiguousarray(x, dtype=x.dtype.newbyteorder("=")), device=device)
    return tensor


def to_numpy(x: Any) -> np.ndarray:
    x = _with_numbers(x).detach().resolve_conj().resolve_neg().cpu()
    short = x.is_floating_point() and x.element_size() < 4 and x.dtype != _torch().float16
    host: np.ndarray = (x.float() if short else x).numpy()  # NumPy has no bfloat16, and no eight bits
    return host


def hand_out(x: Any) -> Array:
    copy: Array = x.clone()
    return copy


def _with_numbers(x: Any) -> Any:
    """The tensor ``x``, where its numbers are all in memory."""
    if x.layout != _torch().strided:
        raise DataError(f"expected a dense tensor, got one of layout {x.layout}: use x.to_dense().")
    if _is_wrapped(x):
        raise DataError(
            "expected a tensor with numbers, got one that torch.func follows (vmap, grad): inside of these, ask a model"
            " that is on torch, model.to('torch'), for predict or predict_proba, and do what needs numbers outside."
        )
    if x.is_meta:
        raise DataError("expected a tensor with numbers, got one on the meta device: make it on one with a memory.")
    return x


@cache
def _namespace() -> Namespace:
    """array-api-compat's, but for its ``sign``, which writes by a mask, so that on CUDA the host waits."""
    compat = import_library("array_api_compat.torch", name="PyTorch", extra="torch")
    namespace = ModuleType("chainrule's namespace of torch")  # of modules torch.compile knows all
    own = ("__name__", "__spec__")
    vars(namespace).update({name: value for name, value in vars(compat).items() if name not in own}, sign=_sign)
    return namespace


def _sign(x: Any, /) -> Any:
    torch = _torch()
    return torch.where(x == x, torch.sign(x), x)  # torch's own answers 0 for NaN


def _torch() -> Any:
    import torch

    return torch


def compile(
    make: Callable[..., Callable[..., Any]], backend: Any, *arguments: Any, compiler: str = "inductor"
) -> Callable[..., Any]:
    """``torch.compile`` of the step; where it fails, the eager step runs and a warning says why, once.

    On a CPU what it makes is called from C++, which halves what a small step costs beside its kernels. On CUDA the step
    is captured as one graph instead.
    """
    step = make(backend, *arguments)
    if is_captured(backend.device):
        return Captured(step, TorchGraph)
    in_cpp = {"cpp_wrapper": True} if compiler == "inductor" and backend.device.type == "cpu" else {}
    return Compiled(step, {"backend": compiler, "options": {**filtered_guards(), **in_cpp}})
