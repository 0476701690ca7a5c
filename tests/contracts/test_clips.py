"""The clips bound what they are to bound, and leave the rest as it is."""

from __future__ import annotations

import numpy as np
from completeness import kinds
from conftest import Platform

from chainrule import optimizers
from chainrule._backend import reference_backend as backend

HOST = backend("numpy", dtype="float64")


def test_the_table_of_clips_is_complete() -> None:
    assert {kind for kind in kinds(optimizers, "__call__") if kind.startswith("Clip")} == {"ClipValue", "ClipNorm"}
    assert isinstance(optimizers.ClipNorm(1.0), optimizers.Clip)


def test_clip_value_bounds_each_coordinate(platform: Platform) -> None:
    g = platform.array([[-3.0, 0.5, 2.0], [0.0, -0.5, 7.0]])
    clipped = platform.run(lambda g: optimizers.ClipValue(1.5)(platform.backend, g), g)
    platform.check(clipped, [[-1.5, 0.5, 1.5], [0.0, -0.5, 1.5]])


def test_clip_norm_bounds_each_network_of_a_stack_by_itself(platform: Platform) -> None:
    """Norms 5, 0.5 and 0 under a bound of 1: scaled, left alone bit for bit, and no 0/0."""
    g = platform.array([[3.0, -4.0], [0.3, 0.4], [0.0, 0.0]])
    clipped = platform.run(lambda g: optimizers.ClipNorm(1.0)(platform.backend, g), g)
    platform.check(clipped, [[0.6, -0.8], [0.3, 0.4], [0.0, 0.0]], rtol=2 * platform.eps)
    np.testing.assert_array_equal(platform.host(clipped)[1], platform.host(g)[1])


def test_clip_norm_of_a_gradient_whose_square_overflows(platform: Platform) -> None:
    """It was clipped to 0, so that the training stood still and said nothing."""
    largest = float(np.finfo(platform.spec.dtype).max)
    g = np.asarray([[0.6, -0.8], [1e-3, 0.0], [0.0, 0.0]]) * [[largest], [1.0], [1.0]]
    clipped = platform.run(lambda g: optimizers.ClipNorm(5.0)(platform.backend, g), platform.array(g))
    platform.check(clipped, [[3.0, -4.0], [1e-3, 0.0], [0.0, 0.0]], rtol=4 * platform.eps)


def test_clip_norm_takes_the_norm_over_a_whole_network() -> None:
    np.testing.assert_allclose(
        optimizers.ClipNorm(1.0)(HOST, np.asarray([3.0, -4.0, 12.0])), [3 / 13, -4 / 13, 12 / 13]
    )
