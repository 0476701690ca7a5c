"""Value and gradient of a narrow network on CuPy in two launches: all layers, forward and back, and a sum over blocks.

The kernel (``cuda/fused_*.cu``) is compiled for a network's widths, so that a block holds weights and activations in
shared memory. Dense layers with bias and one hidden width, ReLU between them, softmax cross-entropy of class indices;
everything else goes to the reference. Products are taken in the backend's precision, as in ``_cupy_products``.

The library has no such provider: nothing says yet that one kernel is faster on a GPU than a captured graph of several.
Stage 5, which is to find out, gives it to its own backend.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from typing import Any

from chainrule._backend import Backend
from chainrule._base.errors import BackendError
from chainrule._kernels import _cupy
from chainrule._random import Key
from chainrule.activations import ReLU
from chainrule.batch import Batch
from chainrule.layers import Activate, Dense
from chainrule.losses import LossFunction, SoftmaxCrossEntropy
from chainrule.network import Sequential

_WIDTHS = frozenset({32, 64, 128})  # of hidden layers
_WIDEST = 128  # of inputs and outputs
_WARPS = 8
_ROWS = 32  # of a block at a time; 64 where that many in every block leave some over
_BLOCKS = 128  # at most: about as many as a large GPU runs at once, and the partial gradients that are added
_TENSOR_CORES = 8  # the major compute capability from which on they take tf32 and bf16


@dataclass(frozen=True)
class Fused:
    """What the kernel is compiled for. ``resident``: the weights of all layers are held, not of one at a time."""

    inputs: int
    width: int
    hidden: int
    outputs: int
    precision: str
    rows: int = _ROWS
    resident: bool = True

    @property
    def shared_bytes(self) -> int:
        """Shared memory of a block; the kernel asserts the same sum."""
        size = 2 if self.precision == "bf16" else 4
        pad = 16 // size
        inputs, outputs = _held(self.inputs), _held(self.outputs)
        columns = max(self.width, outputs)
        first, middle, last = inputs * (self.width + pad), self.width * (self.width + pad), self.width * (outputs + pad)
        weights = first + (self.hidden - 1) * middle + last if self.resident else max(first, middle, last)
        activations = self.rows * (inputs + pad + self.hidden * (self.width + pad))
        numbers = self.rows * (outputs + 8) + (self.hidden + 1 + 2 * _WARPS) * columns + _WARPS
        return size * (weights + activations + 2 * self.rows * (columns + pad)) + 4 * numbers

    @property
    def options(self) -> tuple[str, ...]:
        """The compiler's."""
        names = ("inputs", "width", "hidden", "outputs", "rows")
        constants = {name.upper(): getattr(self, name) for name in names}
        constants |= {"RESIDENT": int(self.resident), "SHARED": self.shared_bytes}
        return ("-std=c++17", *(f"-D{name}={value}" for name, value in constants.items()))


def source(precision: str) -> str:
    """The kernel, whose products are taken in ``precision``."""
    folder = files(__package__) / "cuda"
    names = ("tiles", precision, "backpropagation")
    return "\n".join((folder / f"fused_{name}.cu").read_text(encoding="utf-8") for name in names)


def find(network: Sequential, precision: str, rows: int, limit: int) -> Fused | None:
    """The kernel for a batch of so many rows where a block has ``limit`` bytes; None where there is none."""
    dense, between = network.layers[::2], network.layers[1::2]
    if len(dense) < 2 or any(type(layer) is not Dense or not layer.bias for layer in dense):
        return None
    if len(dense) != len(between) + 1 or any(layer != Activate(ReLU()) for layer in between):
        return None
    widths = {layer.n_out for layer in dense[:-1] if isinstance(layer, Dense)}
    if len(widths) > 1 or not widths <= _WIDTHS or max(network.n_in, network.n_out) > _WIDEST:
        return None
    usual = Fused(network.n_in, widths.pop(), len(between), network.n_out, precision)
    forms: tuple[Fused, ...] = (usual, replace(usual, resident=False))
    if rows > _ROWS * _BLOCKS:
        forms = (replace(usual, rows=2 * _ROWS), *forms)
    return next((form for form in forms if form.shared_bytes <= limit), None)


def value_and_gradient(
    backend: Backend,
    network: Sequential,
    loss: LossFunction,
    theta: Any,
    buffers: Any,
    batch: Batch,
    key: Key,
) -> Any:
    """All of it, for one network; theta and the batch lie on the current device."""
    covered = loss == SoftmaxCrossEntropy() and batch.weight is None and theta.ndim == 1
    if not covered or backend.dtype != backend.xp.float32 or not _cupy._covers(backend, theta, batch.x):
        return NotImplemented
    rows = batch.x.shape[0]
    if batch.x.ndim != 2 or batch.y.shape != (rows, 1) or not _cupy._integers(backend, batch.y):
        return NotImplemented
    fused = find(network, backend.precision, rows, shared_limit())
    if fused is None:
        return NotImplemented
    blocks = min(-(-rows // fused.rows), _BLOCKS)
    partials = _cupy._new(backend, (blocks, network.size + 1))
    arguments = theta, batch.x, batch.y, partials, rows
    _kernel(fused)((blocks,), (32 * _WARPS,), arguments, shared_mem=fused.shared_bytes)
    sums = backend.xp.reshape(_cupy._column_sums(backend, "column_sums", (partials,)), (-1,))
    return backend.xp.reshape(sums[-1:], ()), sums[:-1], buffers


def _held(columns: int) -> int:
    """As padded in shared memory."""
    return -(-columns // 32) * 32


def shared_limit() -> int:
    """Bytes of shared memory that a block may ask for on the current device; 0 without the tensor cores."""
    from cupy.cuda import runtime

    return _device_limit(runtime.getDevice())


@cache
def _device_limit(device: int) -> int:
    from cupy.cuda import runtime

    properties = runtime.getDeviceProperties(device)
    return int(properties["sharedMemPerBlockOptin"]) if properties["major"] >= _TENSOR_CORES else 0


def _kernel(fused: Fused) -> Any:
    from cupy.cuda import runtime

    return _device_kernel(fused, runtime.getDevice())


@cache
def _device_kernel(fused: Fused, device: int) -> Any:
    """On the current device, which is ``device``: CuPy's limit of shared memory is one device's."""
    import cupy

    try:
        module = cupy.RawModule(code=source(fused.precision), options=fused.options)
        kernel = module.get_function("fused_backpropagation")
        kernel.max_dynamic_shared_size_bytes = fused.shared_bytes  # compiles it
    except cupy.cuda.compiler.CompileException as error:
        reason = str(error).strip().partition("\n")[0]
        raise BackendError(
            f"the fused kernel should compile on this device, but NVRTC says {reason!r}: train without it."
        ) from error
    return kernel
