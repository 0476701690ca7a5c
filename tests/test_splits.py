"""The split of a table: a partition of the asked size, keyed by the seed, stratified."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from small_tables import refusal

from chainrule._base.errors import ConfigurationError, DataError
from chainrule.tables import split


@pytest.mark.parametrize("stratify", [False, True])
@pytest.mark.parametrize(("n", "fraction", "held"), [(10, 0.2, 2), (7, 0.5, 4), (2, 0.9, 1), (5, 0.01, 1), (5, 0.0, 0)])
def test_a_split_is_a_partition_of_the_asked_size(n, fraction, held, stratify):
    train, test = split(n, np.zeros(n, int), fraction=fraction, seed=0, stratify=stratify)
    assert len(test) == held
    assert sorted([*train, *test]) == list(range(n))
    assert train.tolist() == sorted(train)


def test_a_split_is_keyed_by_seed_and_part():
    def test_rows(**options: Any) -> list[int]:
        return split(100, fraction=0.3, **options)[1].tolist()

    assert test_rows(seed=1) == test_rows(seed=1)
    assert test_rows(seed=1) != test_rows(seed=2)
    assert test_rows(seed=1, part="test") != test_rows(seed=1, part="validation")


def test_a_split_is_the_same_on_every_machine():
    # Written down once: a change of the generator or of its key would silently change every user's test part.
    assert split(12, fraction=0.25, seed=0)[1].tolist() == [0, 7, 9]


def test_a_stratified_split_rounds_by_the_largest_remainder():
    # 25 % of 10, 7 and 3 rows: 2.5, 1.75 and 0.75; five in all: 2, 1 and 0 and one more where .75 is left.
    y = np.asarray(["a"] * 10 + ["b"] * 7 + ["c"] * 3, dtype=object)
    _, test = split(20, y, fraction=0.25, seed=3, stratify=True)
    assert [int((y[test] == c).sum()) for c in "abc"] == [2, 2, 1]


def test_every_class_keeps_a_row_in_training():
    y = np.asarray([0] * 20 + [1, 2, 2])
    for seed in range(20):
        train, test = split(len(y), y, fraction=0.9, seed=seed, stratify=True)
        assert set(y[train]) == {0, 1, 2}
        assert 1 not in y[test]


def test_which_rows_of_a_class_are_held_out_is_left_to_chance():
    y = np.repeat([0, 1], 10)
    drawn = {tuple(split(20, y, fraction=0.5, seed=seed, stratify=True)[1]) for seed in range(10)}
    assert len(drawn) == 10


def test_splits_that_cannot_be_are_refused():
    refusal(ConfigurationError, lambda: split(10, fraction=1.0, seed=0), "[0, 1)", "1.0")
    refusal(DataError, lambda: split(1, fraction=0.5, seed=0), "at least 2 rows", "1")
    refusal(DataError, lambda: split(3, fraction=0.5, seed=0, stratify=True), "3 labels", "none")
