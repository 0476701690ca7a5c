"""CuPy's faster bodies: kernels in CUDA C++ (``cuda/*.cu``), one launch where a reference takes one an operation.

NVRTC compiles them, once for a dtype; CuPy loads them on each device and keeps them on disk. A launch goes to the
current stream, reads nothing on the host and allocates nothing but its results: once it has run, a CUDA graph can
capture it. What a kernel does not cover goes to the reference: arrays with gaps or of another dtype, empty ones,
functions of the user's own. None has run on a real GPU yet, so a backend has them only with ``compile=True``.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Any

from .. import _layout, _random, batch, layers, losses, optimizers
from .._backend import Backend, Provider, dtype_name
from .._base.errors import BackendError
from .._random import Key, drop_threshold
from ..activations import ELU, GELU, SELU, Elementwise, GELUTanh, LeakyReLU, ReLU, Sigmoid, SiLU, Tanh
from ..batch import Batch
from ..losses import LossFunction, SoftmaxCrossEntropy
from ..optimizers import (
    OPTIMIZERS,
    Adagrad,
    Adam,
    AdamW,
    AveragedMomentum,
    Lion,
    Momentum,
    Optimizer,
    RMSProp,
    VelocityMomentum,
)

# In the order in which they are compiled, as one module.
_SOURCES = (
    "column_sums",
    "activations",
    "advance",
    "bf16",
    "gather",
    "join",
    "optimizers",
    "softmax_cross_entropy",
    "threefry",
)
_THREADS = 256
_WARPS = 8  # in a block of so many threads
_ROWS = 32  # of a slab, for each of a block's threads that sums a column
_SLABS = 128  # the most
_BLOCKS = 4096  # the most on a grid's first axis; a kernel loops over what is left
_MEMBERS = 65_535  # the most on its other axes

_ACTIVATIONS: Mapping[type, str] = MappingProxyType(
    {
        ReLU: "relu",
        LeakyReLU: "leaky_relu",
        ELU: "elu",
        SELU: "selu",
        Sigmoid: "sigmoid",
        Tanh: "tanh",
        SiLU: "silu",
        GELU: "gelu",
        GELUTanh: "gelu_tanh",
    }
)
_DECAYED = ("adamw", "decayed_lion")  # whose last moment says which parameters decay


def source() -> str:
    """All kernels, for a type ``Real`` that the compiler is told: ``-DReal=float``."""
    folder = files(__package__) / "cuda"
    return "\n".join((folder / f"{name}.cu").read_text(encoding="utf-8") for name in _SOURCES)


@cache
def _module(dtype: str) -> Any:
    real = {"float32": "float", "float64": "double"}[dtype]
    return importlib.import_module("cupy").RawModule(code=source(), options=("-std=c++17", f"-DReal={real}"))


@cache
def _kernel(dtype: str, name: str) -> Any:
    return _module(dtype).get_function(name)


def _launch(backend: Backend, name: str, shape: tuple[Any, Any], *arguments: Any) -> None:
    """Launch on a grid and a block. In a kernel an int is a long long and a float a double."""
    try:
        _kernel(dtype_name(backend.dtype), name)(*shape, arguments)  # compiled at its first launch on a device
    except importlib.import_module("cupy").cuda.compiler.CompileException as error:
        reason = str(error).strip().partition("\n")[0]
        raise BackendError(
            f"the kernel {name} should compile on {backend.device_name}, but NVRTC says {reason!r}: train with "
            "cr.backend('cupy', compile=False), which takes CuPy's own kernels."
        ) from error


def _line(count: int, *others: int) -> tuple[Any, Any]:
    """The grid and the block for ``count`` entries; ``others`` are the grid's other axes."""
    return (min(-(-count // _THREADS), _BLOCKS), *others), (_THREADS,)


def _tile(columns: int, rows: int, members: int) -> tuple[Any, Any]:
    """The grid and the block for stacks of matrices, a block of up to 32 columns."""
    width = _width(columns)
    height = _THREADS // width
    return (-(-columns // width), min(-(-rows // height), _BLOCKS), members), (width, height)


def _width(columns: int) -> int:
    """A power of two up to 32, so that narrow matrices keep a block's threads busy too."""
    return min(32, 1 << (columns - 1).bit_length())


def _covers(backend: Backend, *arrays: Any) -> bool:
    """Whether a kernel can take these matrices, or stacks of them: of the backend's dtype, and without gaps."""
    return all(
        a.dtype == backend.dtype and a.size > 0 and a.flags.c_contiguous and math.prod(a.shape[:-2]) <= _MEMBERS
        for a in arrays
    )


def _integers(backend: Backend, *arrays: Any) -> bool:
    """The same for indices, counters and words of keys."""
    return all(a.dtype == backend.xp.int32 and a.size > 0 and a.flags.c_contiguous for a in arrays)


def _new(backend: Backend, shape: tuple[int, ...], dtype: Any = None) -> Any:
    return backend.xp.empty(shape, dtype=backend.dtype if dtype is None else dtype, device=backend.device)


def _formula(activation: Elementwise) -> tuple[str, float] | None:
    """The activation's kernel and its number; None without, and for an alpha below 0, where a hides the sign of z."""
    name = _ACTIVATIONS.get(type(activation))
    alpha: float = getattr(activation, "alpha", 0.0)
    return None if name is None or alpha < 0 else (name, float(alpha))


def activate(backend: Backend, activation: Elementwise, z: Any) -> Any:
    """ReLU, LeakyReLU, ELU, SELU, Sigmoid, Tanh, SiLU, GELU and GELUTanh, in one pass."""
    formula = _formula(activation)
    if formula is None or not _covers(backend, z):
        return NotImplemented
    name, alpha = formula
    a = _new(backend, z.shape)
    _launch(backend, f"{name}_value", _line(z.size), z, a, z.size, alpha)
    return a


def activation_gradient(backend: Backend, activation: Elementwise, z: Any, a: Any, da: Any) -> Any:
    """ReLU, LeakyReLU, ELU, SELU, Sigmoid, Tanh, SiLU, GELU and GELUTanh, in one pass.

    It leaves z alone where a is enough.
    """
    formula = _formula(activation)
    if formula is None or not z.shape == a.shape == da.shape or not _covers(backend, z, a, da):
        return NotImplemented
    name, alpha = formula
    dz = _new(backend, da.shape)
    _launch(backend, f"{name}_gradient", _line(z.size), z, a, da, dz, z.size, alpha)
    return dz


def bias_gradient(backend: Backend, dy: Any) -> Any:
    """The sums of the columns, in an order that the shape alone decides."""
    return _column_sums(backend, "column_sums", (dy,)) if _covers(backend, dy) else NotImplemented


def _column_sums(backend: Backend, name: str, arrays: tuple[Any, ...], *numbers: float) -> Any:
    """``(..., 1, columns)``, in an order that the shape alone decides."""
    *lead, rows, columns = arrays[0].shape
    width = _width(columns)
    height = _THREADS // width
    slabs = min(_SLABS, -(-rows // (_ROWS * height)))
    sums = _new(backend, (*lead, slabs, columns))
    shape = (-(-columns // width), slabs, math.prod(lead)), (width, height)
    _launch(backend, name, shape, *arrays, sums, rows, columns, *numbers)
    return sums if slabs == 1 else _column_sums(backend, "column_sums", (sums,))


def bf16(backend: Backend, x: Any) -> Any:
    """float32 x, without gaps, rounded to bf16 in 16-bit words."""
    words = _new(backend, x.shape, backend.xp.uint16)
    _launch(backend, "bf16", _line(x.size), x, words, x.size)
    return words


def cost(backend: Backend, loss: LossFunction, z: Any, y: Any, weight: Any) -> Any:
    """SoftmaxCrossEntropy of class indices, without smoothing and weights, in one pass."""
    *lead, rows, columns = z.shape
    classes = y.shape == (rows, 1) and _integers(backend, y)
    if loss != SoftmaxCrossEntropy() or weight is not None or not classes or not _covers(backend, z):
        return NotImplemented
    blocks = min(-(-rows // _WARPS), _BLOCKS)
    dz, sums = _new(backend, z.shape), _new(backend, (*lead, blocks, 1))
    shape = (blocks, math.prod(lead)), (32, _WARPS)
    _launch(backend, "softmax_cross_entropy", shape, z, y, dz, sums, rows, columns)
    return backend.xp.reshape(_column_sums(backend, "column_sums", (sums,)), tuple(lead)), dz


def gather(backend: Backend, source: Batch, order: Any, cursor: Any, window: Any) -> Any:
    """Examples, targets and weights in one launch."""
    x, y, weight = source
    classes = _integers(backend, y)
    numbers = [a for a in (x, weight, None if classes else y) if a is not None]
    if not _covers(backend, *numbers) or not _integers(backend, order, cursor) or any(a.ndim != 2 for a in (x, y)):
        return NotImplemented
    rows, batch = x.shape[0], window.shape[0]
    x_out = _new(backend, (batch, x.shape[1]))
    y_out = _new(backend, (batch, y.shape[1]), y.dtype)
    weight_out = None if weight is None else _new(backend, (batch, 1))
    weights = (x, x_out, 0) if weight is None else (weight, weight_out, 1)  # no column is copied without
    name = "gather_classes" if classes else "gather_numbers"
    shape = (-(-batch // _WARPS),), (32, _WARPS)
    _launch(
        backend, name, shape, x, y, weights[0], order, cursor, x_out, y_out, weights[1],
        rows, order.shape[0], batch, x.shape[1], y.shape[1], weights[2],
    )  # fmt: skip
    return Batch(x_out, y_out, weight_out)


def advance(backend: Backend, counters: Any, value: Any, rows: int, weight: Any) -> Any:
    """All counters in one launch."""
    step, cursor, cost, seen = counters
    weighted = value if weight is None else weight  # a pointer that is not read without weights
    if not (_integers(backend, step, cursor) and _covers(backend, cost, seen, value, weighted)):
        return NotImplemented
    _launch(
        backend, "advance", _line(value.size), step, cursor, cost, seen, value, weighted,
        value.size, rows, int(weight is not None),
    )  # fmt: skip
    return counters


def join(backend: Backend, groups: Any) -> Any:
    """Eight pieces a launch."""
    pieces = [piece for group in groups for piece in group]
    lead = pieces[0].shape[:-2]
    if not _covers(backend, *pieces) or any(piece.shape[:-2] != lead for piece in pieces):
        return _layout.join(backend, [tuple(pieces)])
    members = math.prod(lead)
    sizes = [piece.size // members for piece in pieces]
    flat = _new(backend, (*lead, sum(sizes)))
    for start in range(0, len(pieces), 8):
        some, lengths = pieces[start : start + 8], sizes[start : start + 8]
        absent = 8 - len(some)
        _launch(
            backend, "join", _line(max(lengths), len(some), members), flat, sum(sizes), sum(sizes[:start]),
            *some, *some[:1] * absent, *lengths, *[0] * absent,
        )  # fmt: skip
    return flat


def dropout_mask(backend: Backend, key: Key, rows: int, columns: int, rate: float) -> Any:
    """Four elements for each pair of words, straight in the backend's dtype."""
    threshold = drop_threshold(rate)
    return _random_bits(backend, "dropout_mask", 4, key, rows, columns, threshold, 65536 / (65536 - threshold))


def uniform(backend: Backend, key: Key, rows: int, columns: int) -> Any:
    """Two elements for each pair of words."""
    return _random_bits(backend, "uniform", 2, key, rows, columns)


def _random_bits(backend: Backend, name: str, elements: int, key: Key, rows: int, columns: int, *numbers: float) -> Any:
    k0, k1 = key.words
    members = math.prod(k0.shape)
    if not _integers(backend, k0, k1) or k0.shape != k1.shape or members > _MEMBERS or not rows * columns:
        return NotImplemented
    made = _new(backend, (*k0.shape[:-2], rows, columns))
    shape = _tile(-(-columns // elements), rows, members)
    _launch(backend, name, shape, k0, k1, made, rows, columns, key.first_row, *numbers)
    return made


def update(backend: Backend, rule: Optimizer, theta: Any, g: Any, moments: Any, t: Any, eta: Any) -> Any:
    """Every optimizer of the library, in one pass over theta, the gradient and the moments."""
    if type(rule) not in OPTIMIZERS.values():
        return NotImplemented
    name, numbers = _rule(rule)
    *stack, size = theta.shape
    members = math.prod(stack)
    decays = moments[-1:] if name in _DECAYED else ()
    alike = (g, *moments[: len(moments) - len(decays)])
    if (
        not _covers(backend, theta, *alike, *decays, t, eta)
        or any(a.shape != theta.shape for a in alike)
        or any(a.shape != (size,) for a in decays)
        or members > _MEMBERS
        or eta.size not in (1, members)
    ):
        return NotImplemented
    rates = int(eta.size > 1)  # one for each member, or one for all
    _launch(backend, name, _line(size, members), theta, g, *moments, t, eta, size, rates, *map(float, numbers))
    return theta, moments


def _rule(rule: Optimizer) -> tuple[str, tuple[float, ...]]:
    """The kernel of an optimizer of ours, and its numbers."""
    match rule:
        case Momentum():
            return "momentum", (rule.mu, rule.nesterov)
        case VelocityMomentum():
            return "velocity_momentum", (rule.mu, rule.nesterov)
        case AveragedMomentum():
            return "averaged_momentum", (rule.beta,)
        case Adagrad():
            return "adagrad", (rule.epsilon,)
        case RMSProp():
            return "rmsprop", (rule.rho, rule.epsilon)
        case Adam():
            return "adam", _adams(rule)
        case AdamW():
            return "adamw", (*_adams(rule)[:-1], rule.decay)
        case Lion():
            return ("decayed_lion", (rule.b1, rule.b2, rule.decay)) if rule.decay else ("lion", (rule.b1, rule.b2))
    return "sgd", ()


def _adams(rule: Adam | AdamW) -> tuple[float, ...]:
    """With the logarithms for the bias corrections, which take a GPU long in float64."""
    logs = (math.log(beta) if beta else -math.inf for beta in (rule.b1, rule.b2))
    return rule.b1, rule.b2, *logs, rule.epsilon, rule.epsilon_hat


PROVIDERS: Mapping[Provider, Provider] = MappingProxyType(
    {
        _layout.join: join,
        _random.uniform: uniform,
        batch.advance: advance,
        batch.gather: gather,
        layers.activate: activate,
        layers.activation_gradient: activation_gradient,
        layers.bias_gradient: bias_gradient,
        layers.dropout_mask: dropout_mask,
        losses.cost: cost,
        optimizers.update: update,
    }
)
