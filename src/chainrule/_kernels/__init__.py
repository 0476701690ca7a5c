"""Faster bodies of single operations, by library: the only place for speed above the array libraries themselves.

An operation has its reference body, in the pure standard, in the room that teaches it (``affine`` in layers, ``cost``
in losses). A provider has the reference's signature, may reorder its arithmetic, and leaves the same result.
``backend`` makes a backend with its library's providers in it; the rooms below only ask ``backend.run(reference, ...)``
and work without any provider.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from .._backend import Backend, Provider, reference_backend
from . import _cupy, _cupy_products, _numba, _numpy, _sparse

_PROVIDERS: Mapping[str, Mapping[Provider, Provider]] = MappingProxyType(
    {"numpy": _numpy.PROVIDERS, "cupy": {**_cupy.PROVIDERS, **_cupy_products.PROVIDERS}}
)


def backend(
    name: str | Backend = "auto",
    *,
    device: Any = None,
    dtype: Any = None,
    compile: bool | None = None,
    precision: str | None = None,
    like: Any = None,
) -> Backend:
    """Choose an array library, a device and a dtype.

    Args:
        name: ``"numpy"``, ``"cupy"``, ``"torch"``, ``"jax"``, ``"array-api-strict"``, or ``"auto"``: the library and
            device of the array ``like``, else NumPy.
        device: an index, the library's own string (``"cuda:1"``) or object; default the library's own, or like's.
        dtype: ``"float32"`` (the default) or ``"float64"``.
        compile: whether steps are compiled; default: on NumPy and JAX yes, elsewhere no. See docs/backends.md.
        precision: of the products of ``Dense``, on CuPy with ``compile=True`` in float32: ``"float32"`` (the default),
            ``"tf32"`` or ``"bf16"``; the rest stays float32.
        like: an array to take the library and device of.

    Raises:
        BackendError: the library or the device cannot run here; the message says why and how to get it.
        ConfigurationError: no such backend, or not in this precision. DTypeError: a dtype that the library has not.

    Example:
        >>> import chainrule as cr
        >>> cr.backend("numpy", dtype="float64")
        Backend(numpy, device=cpu, dtype=float64, compiled)
    """
    found = reference_backend(name, device=device, dtype=dtype, compile=compile, precision=precision, like=like)
    return found if found is name else with_providers(found)


def with_providers(backend: Backend, *, fast: bool | None = None) -> Backend:
    """``backend`` with the providers of its library; ``fast``: with Numba's, by default where Numba is installed.

    CuPy's are for a backend that compiles, which is off unless asked for: they have not run on a real GPU yet.
    """
    if backend.name == "cupy" and not backend.compiled:
        return replace(backend, providers={})
    providers = _PROVIDERS.get(backend.name, {})
    if backend.name == "numpy" and (_numba.is_installed() if fast is None else fast):
        providers = MappingProxyType({**providers, **_numba.PROVIDERS})
    return replace(backend, providers=providers)


def with_sparse_providers(backend: Backend) -> Backend:
    """A NumPy backend for examples that are rows of a SciPy sparse matrix; it does not compile."""
    return replace(backend, compiled=False, providers=MappingProxyType({**backend.providers, **_sparse.PROVIDERS}))
