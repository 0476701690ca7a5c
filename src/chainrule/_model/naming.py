"""The lectures' layers, and the names of the arrays in them: W1 and b1 belong to layer 1.

A lecture's layer is its weights with the normalisation and the activation that follow them, where a network's layers
are these one by one.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import NamedTuple

from .._backend import Backend
from .._base.typing import Array
from .._layout import Layout
from ..layers import Buffer, Parameter
from ..network import Sequential
from .named_arrays import NamedArrays


class Block(NamedTuple):
    """One of the lectures' layers: the indices of the network's layers in it, and of the one with the weights."""

    layers: range
    weights: int


class Name(NamedTuple):
    """An array's name in its layer, ``W``, and in the network, ``W1``; a second one is ``W'``, and ``W'1``."""

    short: str
    full: str


def blocks(network: Sequential) -> list[Block]:
    """The lectures' layers. What comes before the first weights belongs to them."""
    starts = network.weighted or [network.lowest_trained]
    ends = [*starts[1:], len(network.layers)]
    return [Block(range(a, b), i) for (a, b), i in zip(pairwise([0, *ends]), starts, strict=True)]


def parameter_names(network: Sequential) -> list[list[Name]]:
    """The names of the parameters of each of the network's layers."""
    return _names(network, [layer.parameters() for layer in network.layers])


def named_parameters(backend: Backend, network: Sequential, theta: Array) -> NamedArrays:
    """W1, b1, W2, b2, ...: the pieces of theta ``(..., p)``."""
    return _named(backend, parameter_names(network), network.layout, theta)


def named_buffers(backend: Backend, network: Sequential, buffers: Array) -> NamedArrays:
    """mean1, variance1, ...: the pieces of the buffers ``(..., q)``."""
    names = _names(network, [layer.buffers() for layer in network.layers])
    return _named(backend, names, network.buffer_layout, buffers)


def _names(network: Sequential, parts: list[tuple[Parameter, ...]] | list[tuple[Buffer, ...]]) -> list[list[Name]]:
    seen: set[str] = set()
    return [
        [_unused(part.name, number, seen) for part in parts[i]]
        for number, block in enumerate(blocks(network), 1)
        for i in block.layers
    ]


def _unused(name: str, number: int, seen: set[str]) -> Name:
    while f"{name}{number}" in seen:
        name += "'"
    seen.add(f"{name}{number}")
    return Name(name, f"{name}{number}")


def _named(backend: Backend, names: Iterable[Iterable[Name]], layout: Layout, flat: Array) -> NamedArrays:
    pieces = layout.split(backend, flat)
    pairs = [pair for group in zip(names, pieces, strict=True) for pair in zip(*group, strict=True)]
    return NamedArrays({name.full: piece for name, piece in pairs})
