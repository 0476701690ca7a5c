"""The same run everywhere: what a seed means, in numbers that are committed.

fixtures/golden.json is a promise to everyone who has written down a seed. It is not to be made again because a test is
red: a change in it is a breaking change of the library, for a new major version and the changelog. It was written by
``python tests/golden.py > tests/fixtures/golden.json``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import golden
import numpy as np
import pytest
from conftest import find_library

COMMITTED: dict[str, Any] = json.loads((Path(__file__).parent / "fixtures" / "golden.json").read_text())
EXACT = ("initial weights", "orders of two epochs", "dropout masks of two steps")


def check_exact(found: dict[str, Any]) -> None:
    assert found.keys() == set(EXACT)
    for what in EXACT:
        assert found[what] == COMMITTED[what], f"{what} are not those that are committed"


@pytest.mark.parametrize("backend", ["numpy", "torch", "jax"])
def test_a_seed_is_the_same_weights_orders_and_masks_on_every_library_bit_for_bit(backend: str) -> None:
    if backend != "numpy":
        find_library(backend)
    check_exact(golden.exact(backend))


def test_a_seed_is_the_same_in_float64() -> None:
    found = golden.golden()
    assert found["initial weights in float64"] == COMMITTED["initial weights in float64"]


@pytest.mark.parametrize("hash_seed", ["0", "4242"])
def test_a_seed_is_the_same_in_another_process(hash_seed: str) -> None:
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    command = [sys.executable, golden.__file__, "numpy"]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=True)
    check_exact(json.loads(ran.stdout))


def test_a_seed_is_the_same_in_threads() -> None:
    with ThreadPoolExecutor(3) as pool:
        for found in pool.map(golden.exact, ["numpy"] * 3):
            check_exact(found)


def test_a_step_in_float64_is_the_committed_one_to_rounding() -> None:
    found = golden.stepped()
    assert found.keys() == COMMITTED["weights after one step"].keys()
    for name, theta in COMMITTED["weights after one step"].items():
        np.testing.assert_allclose(found[name], theta, rtol=1e-12, atol=1e-12, err_msg=name)


# Sums in another order differ in their last bits, and training carries that on. The bounds are docs/reliability.md's.
@pytest.mark.parametrize(("steps", "bound"), [(1, 1e-6), (100, 1e-5)])
@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_after_steps_libraries_differ_by_rounding(backend: str, steps: int, bound: float) -> None:
    find_library(backend)
    ours, theirs = golden.stepped("numpy", "float32", steps), golden.stepped(backend, "float32", steps)
    for name, theta in ours.items():
        np.testing.assert_allclose(theirs[name], theta, rtol=0, atol=bound, err_msg=name)
