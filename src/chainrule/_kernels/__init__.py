"""Faster bodies of single operations, by library: the only place for speed above the array libraries themselves.

An operation has its reference body, in the pure standard, in the room that teaches it (``affine`` in layers, ``cost``
in losses). A provider has the reference's signature, may reorder its arithmetic, and leaves the same result.
``backend`` makes a backend with its library's providers in it; the rooms below only ask ``backend.run(reference, ...)``
and work without any provider.
"""

from __future__ import annotations

import copyreg
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import Any

from .._backend import Backend, Provider, _program, name_and_device, reference_backend
from .._backend._cupy import is_for_amd
from .._backend._mkl import is_taken as mkl_is_taken
from .._base.arguments import names_arguments
from .._base.errors import require
from . import _cupy, _cupy_products, _numba, _numpy, _numpy_bf16, _sparse, _torch, _torch_bf16
from ._numba import loops_are_loaded as loops_are_loaded
from ._worth import shares_of_predictions as shares_of_predictions
from ._worth import training_pays as training_pays

_PROVIDERS: Mapping[str, Mapping[Provider, Provider]] = MappingProxyType(
    {
        "numpy": _numpy.PROVIDERS,
        "cupy": {**_cupy.PROVIDERS, **_cupy_products.PROVIDERS},
        "torch": _torch.PROVIDERS,
    }
)

_BF16: Mapping[str, Mapping[Provider, Provider]] = MappingProxyType(
    {"numpy": _numpy_bf16.PRODUCTS, "torch": _torch_bf16.PRODUCTS}
)

# All of them, by who runs them; in this order the docstring of an operation names its own.
FASTER_BODIES: Mapping[str, Mapping[Provider, Provider]] = MappingProxyType(
    {
        "NumPy": _numpy.PROVIDERS,
        "Numba": _numba.PROVIDERS,
        "SciPy": _sparse.PROVIDERS,
        "CuPy": _PROVIDERS["cupy"],
        "torch": _torch.PROVIDERS,
    }
)

WHEN_THEY_RUN: Mapping[str, str] = MappingProxyType(
    {
        "NumPy": "by default",
        "Numba": "instead of NumPy's in compiled steps of trainings of about a second and more, where it is installed",
        "SciPy": "for sparse rows",
        "CuPy": "with compile=True",
        "torch": "on a CPU without compile=True, and on CUDA",
    }
)


@names_arguments
def backend(
    name: str | Backend = "auto",
    *,
    device: Any = None,
    dtype: Any = None,
    compile: bool | None = None,
    precision: str | None = None,
    kernels: bool | None = None,
    deterministic: bool | None = None,
    like: Any = None,
) -> Backend:
    """Choose an array library, a device and a dtype: where and how a training runs.

    What has a ``backend=`` (``fit``, ``load``, ``Model.to``, the estimators) takes this, or the name alone.

    Args:
        name: ``"numpy"``, ``"cupy"``, ``"torch"``, ``"jax"``, ``"dpnp"``, ``"array-api-strict"``, with a device where
            it is not the library's own choice, ``"torch:cuda"``, ``"torch:cuda:1"``, ``"cupy:1"``, ``"jax:cpu"``;
            ``"auto"``: the library and device of the array ``like``, else NumPy (the default); or a backend: the same,
            but for what is said here.
        device: an index, the library's own string (``"cuda:1"``) or object; default the library's own, or like's.
        dtype: ``"float32"`` (the default) or ``"float64"``.
        compile: whether steps are compiled; default: on NumPy and JAX yes, elsewhere no. See docs/backends.md.
        precision: of the products of ``Dense`` in float32: ``"float32"`` (the default); ``"tf32"`` or ``"bf16"``, on
            CuPy with ``compile=True``; ``"bf16"``, on a CPU that multiplies it: on NumPy with ``chainrule[intel]``, or
            on torch. The rest stays float32.
        kernels: whether operations run by the library's faster bodies where it has some (the default), or, with False,
            each as its equation is written in the source, on every library.
        deterministic: forbid all that would make two training runs on one machine differ (default: no). On a CPU, and
            with the same versions and number of threads, nothing does.
        like: an array to take the library and device of, default none: ``cr.backend(like=X, dtype="float64")`` is where
            X is.

    Raises:
        BackendError: the library or the device cannot run here, or must be told to be deterministic before Python
            starts (torch and JAX on a GPU); the message says why and what to do.
        ConfigurationError: no such backend, or not in this precision; a device that is said twice.
        DTypeError: a dtype that the library has not.

    Example:
        >>> import chainrule as cr
        >>> exact = cr.backend("numpy", dtype="float64")
        >>> exact
        Backend(numpy, device=cpu, dtype=float64, compiled)
        >>> sorted(cr.backend("numpy").info["kernels"])[:3], cr.backend("numpy", kernels=False).info["kernels"]
        (['activate', 'activation_gradient', 'adam'], {})
        >>> cr.backend(exact, compile=False)
        Backend(numpy, device=cpu, dtype=float64)
    """
    said = {"device": device, "dtype": dtype, "compile": compile, "precision": precision}
    found = reference_backend(name, **said, kernels=kernels, deterministic=deterministic, like=like)
    return found if found is name else with_providers(found)


def moved(before: Backend, given: str | Backend, *, dtype: Any = None, like: Any = None) -> Backend:
    """``given``, and what a name does not say as before: all of it in the same library, else what any can have."""
    if isinstance(given, Backend):
        return backend(given, dtype=dtype)
    library, device = name_and_device(given)
    if library in ("auto", before.name):
        return backend(before, device=device, dtype=dtype)
    return backend(given, dtype=dtype, kernels=before.kernels, deterministic=before.deterministic, like=like)


def _pickled(made: Backend) -> tuple[Callable[..., Backend], tuple[()]]:
    return partial(backend, **made.settings), ()


copyreg.pickle(Backend, _pickled)  # here, where a backend gets its providers again


def with_providers(backend: Backend, *, fast: bool | None = None) -> Backend:
    """``backend`` with the providers of its library; ``fast``: in every step with Numba's loops, or in none.

    CuPy's are for a backend that compiles, which is off unless asked for: they have not run on a real GPU yet. torch's
    are for one that does not, but on CUDA.

    Raises ConfigurationError for CuPy without kernels, or on ROCm, where its steps are to be compiled, and for bf16
    without kernels.
    """
    require(
        backend.kernels or backend.precision == "float32",
        f"products in {backend.precision} are kernels, got kernels=False: leave one of them out.",
    )
    require(
        backend.kernels or backend.name != "cupy" or not backend.compiled,
        "a compiled step on CuPy is made of kernels (CuPy's own products cannot be captured), got kernels=False and "
        "compile=True: leave one of them out.",
    )
    require(
        not (backend.name == "cupy" and backend.compiled and is_for_amd()),
        "a compiled step on CuPy is made of CUDA kernels and cuBLASLt's products, got CuPy for AMD's ROCm: leave "
        "compile=True out.",
    )
    if not backend.kernels or (backend.name == "cupy" and not backend.compiled):
        return replace(backend, providers={})
    bf16 = _BF16[backend.name] if backend.precision == "bf16" and backend.name in _BF16 else {}
    own = _torch.bodies_for(backend) if backend.name == "torch" else _PROVIDERS.get(backend.name, {})
    providers = {**own, **bf16}  # no proxy, into which torch.compile does not look
    made = replace(backend, providers=providers, loops=fast)
    return with_loops(made, pays=False)


def for_training(backend: Backend, *, pays: bool) -> Backend:
    """``backend`` as one training runs on it, whatever it was before: ``with_loops``."""
    return with_loops(replace(backend, products=None), pays=pays)


def with_loops(backend: Backend, *, pays: bool) -> Backend:
    """``backend`` on NumPy with Numba's loops where they can run and that ``pays``, and with MKL's products in these.

    One that was told goes by that. Numba and MKL are loaded here and nowhere else, so that ``info`` says what runs.
    """
    own = _PROVIDERS["numpy"]
    if backend.name != "numpy" or not own.keys() <= backend.providers.keys():
        return backend
    wanted = backend.compiled and (pays if backend.loops is None else backend.loops)
    loops = _numba.PROVIDERS if wanted and _numba.load() is not None else {}
    ours = {*own.values(), *_numba.PROVIDERS.values()}
    others = {operation: body for operation, body in backend.providers.items() if body not in ours}
    only_mkl = backend.precision == "bf16"
    products = "mkl" if only_mkl else backend.products or ("mkl" if loops and mkl_is_taken() else "numpy")
    return replace(backend, providers=MappingProxyType({**own, **loops, **others}), products=products)


def with_whole_steps(backend: Backend) -> Backend:
    """``backend`` for a training whose batches may be of many sizes: its bits do not depend on which came before."""
    return replace(backend, providers={**backend.providers, _program.engine: _numba.engine_of_whole_steps})


def has_loops(backend: Backend) -> bool:
    """Whether Numba's loops run in its compiled steps."""
    return not set(_numba.PROVIDERS.values()).isdisjoint(backend.providers.values())


def kept_loops() -> Any:
    """How many of Numba's loops this process has, how many it compiled, and their folder; None without Numba."""
    loops = _numba.load()
    return None if loops is None else loops.kept()


def with_sparse_providers(backend: Backend) -> Backend:
    """A NumPy backend for examples that are rows of a SciPy sparse matrix; it does not compile."""
    return replace(backend, compiled=False, providers=MappingProxyType({**backend.providers, **_sparse.PROVIDERS}))
