"""Steps drawn at random, and those that are easy to get wrong, recorded: the bits of the step itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from conftest import about

import chainrule as cr
from chainrule._backend import Backend


def random_step(seed: int, on: Backend) -> Callable[[tuple[Any, Any]], tuple[Any, Any]]:
    """A step of twenty random calls on (4, 4) matrices: new arrays, views, changes in place, joins."""
    choose, xp = np.random.default_rng(seed), on.xp
    plan = [(int(choose.integers(10)), *map(int, choose.integers(0, 100, 2))) for _ in range(20)]

    def step(state: tuple[Any, Any]) -> tuple[Any, Any]:
        values: list[Any] = [state[0] * 1.0, state[1] + 1.0]
        for kind, i, j in plan:
            a, b = values[i % len(values)], values[j % len(values)]
            match kind:
                case 0:
                    values.append(a * 0.5 - b)
                case 1:
                    values.append(xp.maximum(a, b) if i % 2 else xp.where(a > b, a, b * 0.25))
                case 2:
                    values.append(xp.tanh(xp.matmul(a, b)))
                case 3:
                    values.append(a.mT)
                case 4:
                    values.append(xp.reshape(a[::-1, :], (4, 4)))
                case 5:
                    values.append(a - xp.mean(b, axis=i % 2, keepdims=True))
                case 6 if a is not b:
                    a *= 0.5
                    a += b
                case 7:
                    flat = xp.concat([xp.reshape(a, (-1,)), xp.reshape(b[::-1], (-1,)), xp.reshape(b, (-1,))], axis=-1)
                    flat *= 0.5
                    values.append(xp.reshape(flat[j % 20 : j % 20 + 16], (4, 4)))
                case 8:
                    values.append(xp.clip(a, min=-1.0, max=0.5))
                case _:
                    values.append(a + a.mT)
        left = state[0]
        left += values[-1]
        return left, xp.tanh(values[-2])

    return step


@pytest.mark.parametrize("tens", range(20))
def test_random_programs_give_the_bits_of_their_steps(tens: int) -> None:
    on = cr.backend("numpy")
    for seed in range(10 * tens, 10 * tens + 10):
        step = random_step(seed, on)
        program = on.compile(lambda on, seed=seed: random_step(seed, on))
        start = np.random.default_rng(seed).normal(size=(2, 4, 4)).astype(np.float32)
        want, got = tuple(start.copy()), tuple(start.copy())
        for _ in range(3):
            want, got = step(want), program(got)
            with about(f"seed {seed}"):
                np.testing.assert_array_equal(np.stack(got), np.stack(want))
        assert program._program is not None


def steps_of(body: Callable[[Any, Any], Any], x: np.ndarray, *, times: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """The last state of ``x -> body(xp, x)`` as it is and replayed."""
    ends = []
    for compile in (False, True):
        program = cr.backend("numpy", compile=compile).compile(lambda on: lambda given: (body(on.xp, given[0]),))
        state = (x.copy(),)
        for _ in range(times):
            state = program(state)
        ends.append(state[0].copy())
    return ends[0], ends[1]


BODIES: dict[str, Callable[[Any, Any], Any]] = {
    "a view of itself": lambda xp, x: x * 0.5 + (x + 1.0).mT,
    "a square plus its transpose": lambda xp, x: (lambda y: y + y.mT)(x * 0.5),
    "not a number, clipped": lambda xp, x: xp.clip(x / 0.0 - x / 0.0, min=0.0) + x,
    "an integer and a fraction": lambda xp, x: x + xp.astype(xp.astype(x, xp.int32) * 0.5, x.dtype),
    "a mask and an integer": lambda xp, x: x + xp.astype((x > 0.0) * 3, x.dtype),
    "a piece in reverse": lambda xp, x: xp.reshape(
        xp.concat([xp.reshape(x + 1.0, (-1,))[::-1], xp.reshape(x, (-1,))], axis=-1)[:9], (3, 3)
    ),
    "a column of the right size": lambda xp, x: x + xp.concat([(x * 2.0)[:, 0], x[:, 1]], axis=-1)[:3],
}


@pytest.mark.parametrize("name", BODIES)
def test_what_is_easy_to_get_wrong(name: str) -> None:
    with np.errstate(all="ignore"):
        want, got = steps_of(BODIES[name], np.asarray([[1.0, -2.0, 3.0], [4.0, 5.0, -6.0], [7.0, 8.0, 9.0]]))
    np.testing.assert_array_equal(got, want)


def test_a_piece_that_is_read_after_it_was_joined_keeps_its_numbers() -> None:
    def body(xp: Any, x: Any) -> Any:
        piece = x + 1.0
        flat = xp.concat([piece, piece * 2.0], axis=-1)
        flat *= 10.0
        return piece + flat[:3]

    want, got = steps_of(body, np.asarray([1.0, 2.0, 3.0]))
    np.testing.assert_array_equal(got, want)


def test_a_step_that_writes_to_its_argument_is_not_recorded() -> None:
    """As it is, it does so once a call; a recording would have done so once more."""

    def make(on: Backend) -> Callable[[tuple[Any], Any], Any]:
        def step(state: tuple[Any], x: Any) -> tuple[Any]:
            x *= 2.0
            return (state[0] + x,)

        return step

    program, x = cr.backend("numpy").compile(make), np.ones(3)
    with pytest.warns(RuntimeWarning, match="cannot be recorded"):
        (state,) = program((np.zeros(3),), x)
    np.testing.assert_array_equal(x, 2.0)
    np.testing.assert_array_equal(state, 2.0)
