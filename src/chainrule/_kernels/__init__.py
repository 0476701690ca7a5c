"""Faster bodies of single operations, by library: the only place for speed above the array libraries themselves.

An operation has its reference body, in the pure standard, in the room that teaches it (``affine`` in layers, ``cost``
in losses). A provider has the reference's signature, may reorder its arithmetic, and leaves the same result. ``equip``
plugs a library's providers into a backend; the rooms below only ask ``backend.run(reference, ...)`` and work without
any provider.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from .._backend import Backend, Provider
from . import _numpy

_PROVIDERS: Mapping[str, Mapping[Provider, Provider]] = MappingProxyType({"numpy": _numpy.PROVIDERS})


def equip(backend: Backend) -> Backend:
    """``backend`` with the providers of its library."""
    return replace(backend, kernels=_PROVIDERS.get(backend.name, {}))
