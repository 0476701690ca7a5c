"""No way to the host while recording: a traced array refuses, and such a step runs as it is."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule._backend import Backend
from chainrule._backend._functions import RECORDER
from chainrule._backend._record import RecordingError, Tape, Traced

TRACED = Traced(Tape(), np.ones((2, 3), np.float32))
HOST_READS: dict[str, Callable[[Traced], Any]] = {
    "float": lambda x: float(x[0, 0]),
    "int": lambda x: int(x[0, 0]),
    "bool": bool,
    "if": lambda x: 1 if x[0, 0] > 0.0 else 2,
    "len": len,
    "iteration": list,
    "np.asarray": np.asarray,
    "np.array": np.array,
    "ufunc": np.exp,
    "function": np.sum,
    "method": lambda x: x.sum(),
    "operand": lambda x: np.ones(3, np.float32).dot(x),
    "index by an array": lambda x: x[np.asarray([0, 1])],
    "index by a list": lambda x: x[[0, 1]],
    "index by a mask": lambda x: x[x > 0.0],
    "assignment": lambda x: x.__setitem__(0, 1.0),
    "as an index": lambda x: [1, 2, 3][x[0, 0]],
    "into a constant": lambda x: np.zeros((2, 3)).__setitem__(0, x),
    "a function that is not listed": lambda x: RECORDER.cumulative_sum(x),
    "from_dlpack": np.from_dlpack,
    "in-place on an argument": lambda x: read_only().__iadd__(1.0),
}


def read_only() -> Traced:
    array = np.ones(3)
    array.flags.writeable = False
    return Traced(Tape(), array)


@pytest.mark.parametrize("name", HOST_READS)
def test_a_traced_array_has_no_way_to_the_host(name: str) -> None:
    with pytest.raises((RecordingError, TypeError, AttributeError, ValueError, RuntimeError)):
        HOST_READS[name](TRACED)


@pytest.mark.parametrize("name", HOST_READS)
def test_a_step_that_reads_on_the_host_is_not_recorded(name: str) -> None:
    def make(on: Backend) -> Callable[[tuple[Any]], Any]:
        def step(state: tuple[Any]) -> tuple[Any]:
            HOST_READS[name](state[0])
            return (state[0] + 1.0,)

        return step

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = cr.backend("numpy").compile(make)
        with contextlib.suppress(Exception):  # the step itself may be wrong as well
            program((np.ones((2, 3), np.float32),))
    assert program._program is None  # type: ignore[attr-defined]


def test_a_constant_that_takes_up_what_changes_is_not_recorded() -> None:
    """``acc += traced`` on an array that was made in the step would carry its sum into the next one."""

    def make(on: Backend) -> Callable[[tuple[Any]], Any]:
        def step(state: tuple[Any]) -> tuple[Any]:
            total = on.zeros((3,))
            total += state[0]
            total *= 2.0
            return (total + 1.0,)

        return step

    program = cr.backend("numpy").compile(make)
    state = (np.ones(3, np.float32),)
    with pytest.warns(RuntimeWarning, match="cannot be recorded"):
        state = program(state)
    for want in (3.0, 7.0, 15.0):
        np.testing.assert_array_equal(state[0], want)
        state = program(state)


def test_a_state_that_changes_places_is_not_recorded() -> None:
    program = cr.backend("numpy").compile(lambda on: lambda state: (state[1], state[0] + 0.0))
    with pytest.warns(RuntimeWarning, match="becomes another"):
        one, two = program((np.zeros(2, np.float32), np.ones(2, np.float32)))
    assert (one.tolist(), two.tolist()) == ([1.0, 1.0], [0.0, 0.0])
