"""Tables to numbers and back: the task, the features and the answers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from small_tables import HALVES, TURNS, refusal, table

from chainrule._base.errors import ConfigurationError, DataError
from chainrule.tables import Preprocessing, Table, infer_task, read_table


@pytest.fixture
def write(tmp_path):
    """Writes a CSV from its header and its rows, and gives the path."""

    def write(header: str, *rows: object, name: str = "data.csv") -> Path:
        path = tmp_path / name
        path.write_text("\n".join([header, *map(str, rows)]) + "\n")
        return path

    return write


# ------------------------------------------------------------------------------------------------------------- the task


@pytest.mark.parametrize(
    ("target", "task"),
    [
        (TURNS, "classification"),
        ([True, False] * 5, "classification"),
        ([0, 1] * 10, "classification"),
        ([0.0, 1.0] * 10, "classification"),
        (HALVES, "regression"),
        (list(range(10)) * 2, "classification"),  # 10 different in 20 rows
        (list(range(11)) * 2, "regression"),  # 11 are too many for so few rows
        (list(range(4)), "regression"),  # each stands for one row only
        (list(range(20)) * 20, "classification"),  # 20 are 5 % of 400 rows
        (list(range(20)) * 19, "regression"),  # and more than that of 380
        (list(range(21)) * 100, "regression"),
    ],
)
def test_the_task_is_inferred_from_the_type_and_the_number_of_different_answers(target, task):
    assert infer_task(table(target, a=np.arange(len(target))))[0] == task


def test_the_task_is_said_aloud_with_its_reason_and_its_override():
    assert infer_task(table(HALVES, a=HALVES))[1] == (
        "'y': 20 different numbers in 20 rows: regression (override with --task classification)"
    )
    assert "2 different whole numbers" in infer_task(table([0, 1] * 10, a=HALVES))[1]
    assert "as asked" in infer_task(table([0, 1] * 10, a=HALVES), "regression")[1]
    assert "override" not in infer_task(table(TURNS, a=HALVES))[1]  # text is nothing else


def test_a_task_that_the_target_is_not_for_is_refused():
    refusal(
        ConfigurationError,
        lambda: infer_task(table(TURNS, a=HALVES), "regression"),
        "'y' is text",
        "'a'",
        "--task classification",
    )
    refusal(
        ConfigurationError,
        lambda: infer_task(table(HALVES, a=HALVES), "classification"),
        "not whole",
        "0.5",
        "--task regression",
    )
    refusal(
        DataError, lambda: infer_task(table(list(range(20)), a=HALVES), "classification"), "20 different", "--task reg"
    )
    refusal(ConfigurationError, lambda: infer_task(table(TURNS, a=HALVES), "regresion"), "did you mean 'regression'?")


def test_a_target_without_anything_to_learn_is_refused():
    refusal(DataError, lambda: infer_task(table([2.5] * 4, a=[1, 2, 3, 4])), "'y' is constant", "2.5", "all 4 rows")
    refusal(DataError, lambda: infer_task(table(["u"] * 4, a=[1, 2, 3, 4])), "one class only", "'u'", "two or more")
    refusal(DataError, lambda: infer_task(table([1] * 4, a=[1, 2, 3, 4]), "classification"), "one class only, 1,")
    refusal(DataError, lambda: infer_task(table(a=[1, 2])), "without a target", "--target NAME")


def test_a_training_part_with_one_answer_is_refused():
    made = table(["u", "u", "u", "v", "v", "v"], a=range(6))
    refusal(DataError, lambda: Preprocessing.learn(made, np.arange(3)), "1 different class", "3 training rows")


def test_missing_and_infinite_answers_are_counted():
    nan, inf = float("nan"), float("inf")
    refusal(DataError, lambda: infer_task(table([nan, 1.5, nan], a=[1, 2, 3])), "'y'", "2 missing", "remove these rows")
    refusal(DataError, lambda: infer_task(table(["u", None, "v"], a=[1, 2, 3])), "'y'", "1 missing", "3 rows")
    refusal(DataError, lambda: infer_task(table([1.5, -inf, 2.0], a=[1, 2, 3])), "'y'", "1 infinite")


def test_a_text_target_that_is_an_id_or_a_mixture_is_refused():
    ids = [f"n{i}" for i in range(20)]
    refusal(DataError, lambda: infer_task(table(ids, a=HALVES)), "20 different texts in 20 rows", "another --target")
    mixed = [*(str(i) for i in range(18)), "?", "?"]
    refusal(DataError, lambda: infer_task(table(mixed, a=HALVES)), "18 numbers with 2 texts ('?')", "--categorical y")


# ------------------------------------------------------------------------------------------------------------- features


def test_numbers_are_standardised_with_the_training_rows_alone():
    made = table(HALVES, a=[*([1.0, 3.0] * 5), *([100.0] * 10)])
    X = Preprocessing.learn(made, np.arange(10)).features(made)
    np.testing.assert_array_equal(X[:2, 0], [-1.0, 1.0])  # mean 2, standard deviation 1
    np.testing.assert_array_equal(X[10:, 0], 98.0)


def test_columns_constant_in_training_are_divided_by_one_and_said():
    made = table(HALVES, a=[0.1] * 19 + [2.1], b=range(20))
    learned = Preprocessing.learn(made, np.arange(19))
    np.testing.assert_allclose(learned.features(made)[:, 0], [0.0] * 19 + [2.0])
    assert any("teaches nothing: 'a'" in line for line in learned.describe())


@pytest.mark.parametrize("size", [1e-300, 1e300])
def test_standardising_neither_overflows_nor_underflows(size):
    made = table(HALVES, a=size * np.arange(20))
    X = Preprocessing.learn(made).features(made)
    np.testing.assert_allclose([X.mean(), X.std()], [0.0, 1.0], atol=1e-12)


def test_categories_are_one_hot_in_sorted_order():
    made = table([1.5, 2.5, 3.5], city=["Rome", "Oslo", "Rome"], n=[1, 2, 3])
    learned = Preprocessing.learn(made)
    assert learned.feature_names == ("city=Oslo", "city=Rome", "n")
    np.testing.assert_array_equal(learned.features(made)[:, :2], [[0, 1], [1, 0], [0, 1]])


def test_unseen_categories_are_an_error_that_names_and_counts_them_or_zeros_on_request():
    learned = Preprocessing.learn(table([1.5, 2.5, 3.5], city=["Rome", "Oslo", "Rome"]))
    new = table(city=["Bern", "Rome", "Bern", "Paris"])
    refusal(
        DataError,
        lambda: learned.features(new),
        "'city'",
        "'Bern' (2 rows)",
        "'Paris' (1 row)",
        "never saw",
        "--unseen ignore",
    )
    np.testing.assert_array_equal(learned.features(new, unseen="ignore"), [[0, 0], [0, 1], [0, 0], [0, 0]])
    forgiving = Preprocessing.learn(table([1.5, 2.5, 3.5], city=["Rome", "Oslo", "Rome"]), unseen="ignore")
    np.testing.assert_array_equal(forgiving.features(new), learned.features(new, unseen="ignore"))


def test_categories_of_held_out_rows_are_not_learned_and_said():
    made = table([1.5, 2.5, 3.5, 4.5, 5.5], city=["Rome", "Oslo", "Rome", "Oslo", "Bern"])
    learned = Preprocessing.learn(made, np.arange(4))
    assert learned.feature_names == ("city=Oslo", "city=Rome")
    assert any("held-out rows only" in line and "'Bern' (1 row)" in line for line in learned.describe())


def test_missing_values_are_an_error_that_names_columns_and_counts():
    nan = float("nan")
    made = table([1.5, 2.5, 3.5, 4.5], a=[1, nan, nan, 2], b=["x", None, "x", "z"], c=[1, 2, 3, 4])
    refusal(
        DataError,
        lambda: Preprocessing.learn(made),
        "missing values: 'a' (2 of 4), 'b' (1 of 4).",
        "--impute median",
        "--drop a,b",
    )
    learned = Preprocessing.learn(table([1.5, 2.5], a=[1, 2]))
    refusal(DataError, lambda: learned.features(table(a=[nan, 1])), "'a' (1 of 2)", "without --impute median")


def test_median_imputation_fills_with_the_training_rows_median_and_most_frequent_category():
    nan = float("nan")
    made = table([1.5, 2.5, 3.5, 4.5, 5.5], a=[0, 1, 8, nan, 50], b=["x", "z", "z", None, "x"])
    learned = Preprocessing.learn(made, np.arange(4), impute="median")
    filled = table([1.5, 2.5, 3.5, 4.5, 5.5], a=[0, 1, 8, 1, 50], b=["x", "z", "z", "z", "x"])
    np.testing.assert_array_equal(learned.features(made), learned.features(filled))
    np.testing.assert_allclose(learned.features(made)[:4, 0].mean(), 0.0, atol=1e-15)
    assert any("'a': 1 missing values become the median, 1" in line for line in learned.describe())
    assert any("'b': 1 missing values become the most frequent category, 'z'" in line for line in learned.describe())
    # A column that was complete in training is filled at prediction too.
    new = table(a=[nan], b=["x"])
    np.testing.assert_array_equal(learned.features(new), learned.features(table(a=[1], b=["x"])))


def test_a_column_that_is_empty_in_training_is_refused():
    made = table([1.5, 2.5, 3.5], a=[float("nan"), float("nan"), 1.0], b=[1, 2, 3])
    refusal(
        DataError, lambda: Preprocessing.learn(made, np.arange(2), impute="median"), "'a' (no value)", "2 training rows"
    )


def test_infinities_are_counted():
    made = table([1.5, 2.5, 3.5], a=[np.inf, 1, -np.inf])
    refusal(DataError, lambda: Preprocessing.learn(made), "infinite values: 'a' (2 of 3)", "Correct")
    learned = Preprocessing.learn(table([1.5, 2.5, 3.5], a=[1, 2, 3]))
    refusal(DataError, lambda: learned.features(made), "'a' (2 of 3)")


@pytest.mark.skipif(pd.__version__ < "3", reason="pandas 2 reads numbers beyond its own as text")
def test_numbers_too_large_for_a_float_are_infinite(write):
    made = read_table(write("a,y", "1e400,1.5", "2,2.5"), target="y")
    refusal(DataError, lambda: Preprocessing.learn(made), "infinite values: 'a' (1 of 2)")


@pytest.mark.parametrize(
    ("cells", "parts"),
    [
        ([f"n{i}" for i in range(20)], ("20 different in 20 rows", "An id", "--drop a")),
        ([f"{i}/A" for i in range(20)], ("20 different in 20 rows",)),
        ([f"2024-01-{i + 1:02}" for i in range(20)], ("dates", "'2024-01-01'", "year, month or weekday", "--drop a")),
        ([f"{i + 1}/12/2024" for i in range(20)], ("dates", "'1/12/2024'")),
        ([f'"{i},5"' for i in range(20)], ("commas", "'0,5'", "1234.5")),
        ([*range(18), "?", "n/k"], ("18 numbers with 2 texts ('?', 'n/k')", "--categorical", "leave them empty")),
    ],
)
def test_text_that_is_no_category_is_refused_by_name_with_the_remedy(write, cells, parts):
    path = write("a,y", *(f"{cell},{y}" for cell, y in zip(cells, HALVES, strict=True)))
    refusal(DataError, lambda: Preprocessing.learn(read_table(path, target="y")), "'a'", *parts)


def test_a_hundred_categories_are_taken_and_not_one_more():
    def made(different: int) -> Table:
        n = 4 * different
        return table(np.linspace(0.1, 9.7, n), city=[f"c{i % different}" for i in range(n)])

    assert len(Preprocessing.learn(made(100)).feature_names) == 100
    refusal(DataError, lambda: Preprocessing.learn(made(101)), "'city' (101 different in 404 rows)", "at most 100")


def test_dates_of_a_parquet_file_are_refused_as_dates(tmp_path):
    frame = pd.DataFrame({"day": pd.date_range("2024-01-01", periods=20), "y": HALVES})
    frame.to_parquet(tmp_path / "data.parquet")
    read = read_table(tmp_path / "data.parquet", target="y")
    refusal(DataError, lambda: Preprocessing.learn(read), "'day'", "dates", "2024-01-01")


def test_all_columns_of_one_ailment_are_named_at_once():
    ids = [f"n{i}" for i in range(20)]
    refusal(DataError, lambda: Preprocessing.learn(table(HALVES, a=ids, b=ids)), "'a' (20", "'b' (20", "--drop a,b")


def test_a_mixture_that_was_asked_for_as_categories_is_taken(write):
    path = write("a,y", *(f"{['0', '1', '3+'][i % 3]},{y}" for i, y in enumerate(HALVES)))
    learned = Preprocessing.learn(read_table(path, target="y", categorical=["a"]))
    assert learned.feature_names == ("a=0", "a=1", "a=3+")
    # A later file in which all of them look like numbers is read alike.
    later = write("a", "1", "0", name="later.csv")
    for read in (read_table(later), read_table(later, categorical=learned.categorical)):
        np.testing.assert_array_equal(learned.features(read), [[0, 1, 0], [1, 0, 0]])


def test_labels_that_look_like_numbers_come_back_as_they_stood(write):
    path = write("a,y", *(f"{i},{['01', '02'][i % 2]}" for i in range(20)))
    learned = Preprocessing.learn(read_table(path, target="y", categorical=["y"]))
    assert learned.classes == ("01", "02")
    assert learned.targets(read_table(path, target="y", categorical=learned.categorical)).tolist() == [0, 1] * 10


def test_a_column_to_take_as_categories_must_be_there(write):
    read = read_table(write("a,y", "1,1.5", "2,2.5"), target="y", categorical=["zip"])
    refusal(ConfigurationError, lambda: Preprocessing.learn(read), "'zip'", "'a'")


def test_a_table_without_columns_besides_the_target_is_refused(write):
    read = read_table(write("y", "1.5", "2.5"), target="y")
    refusal(DataError, lambda: Preprocessing.learn(read), "no columns left", "'y'", "--separator")


def test_numbers_that_count_the_rows_are_said_to_be_an_id():
    shuffled = np.random.default_rng(0).permutation(20) + 7
    learned = Preprocessing.learn(table(HALVES, key=shuffled, a=HALVES))
    assert any("'key'" in line and "id" in line and "--drop key" in line for line in learned.describe())
    learned = Preprocessing.learn(table(HALVES, key=2 * shuffled, a=HALVES))
    assert not any("--drop" in line for line in learned.describe())


# ----------------------------------------------------------------------------------------------------------- prediction


def test_columns_are_found_by_name_in_any_order_and_the_target_may_be_there(write):
    learned = Preprocessing.learn(table([1.5, 2.5, 3.5], a=[1, 2, 3], b=[5, 9, 4]))
    one = learned.features(read_table(write("a,b", "1,5", "2,9")))
    other = learned.features(read_table(write("y,b,a", "0,5,1", "0,9,2")))
    np.testing.assert_array_equal(one, other)


def test_columns_missing_at_prediction_are_named():
    learned = Preprocessing.learn(table([1.5, 2.5, 3.5], rooms=[1, 2, 3], area=[5, 9, 4]))
    refusal(DataError, lambda: learned.features(table(area=[1])), "lacks 1 of the 2 columns", "'rooms'")
    refusal(DataError, lambda: learned.features(table(area=[1], room=[1])), "Is 'room' the column 'rooms'? Rename it")
    refusal(DataError, lambda: learned.features(table(AREA=[1], rooms=[1])), "Is 'AREA' the column 'area'? Rename it")
    learned = Preprocessing.learn(table([1.5, 2.5, 3.5], A=[1, 2, 3]))
    refusal(DataError, lambda: learned.features(table(a=[1])), "Is 'a' the column 'A'? Rename it")


def test_columns_unknown_at_prediction_are_named_and_dropped_ones_passed_over(write):
    path = write("a,note,y", "1,u1,1.5", "2,u2,2.5", "3,u3,3.5")
    read = read_table(path, target="y", drop=["note"])
    assert list(read.columns) == ["a"]
    learned = Preprocessing.learn(read)
    assert any("left out: 'note'" in line for line in learned.describe())
    assert learned.features(read_table(path)).shape == (3, 1)
    new = write("a,b", "1,2")
    refusal(DataError, lambda: learned.features(read_table(new)), "not trained on: 'b'", "--drop b")
    assert learned.features(read_table(new, drop=["b"])).shape == (1, 1)


def test_text_where_numbers_were_is_refused():
    learned = Preprocessing.learn(table([1.5, 2.5, 3.5], a=[1, 2, 3]))
    refusal(DataError, lambda: learned.features(table(a=["old", "new"])), "'a'", "'old'", "trained on numbers")
    refusal(DataError, lambda: learned.features(table(a=["1", "new"])), "1 number with 1 text ('new')")


# -------------------------------------------------------------------------------------------------- targets and answers


@pytest.mark.parametrize(
    ("target", "classes"),
    [
        (["v", "u", "v", "u"], ("u", "v")),
        ([5, -1, 5, -1], (-1, 5)),
        ([5.0, -1.0, 5.0, -1.0], (-1, 5)),
        ([True, False, True, False], (False, True)),
    ],
)
def test_labels_become_indices_and_come_back_as_they_were(target, classes):
    made = table(target, a=[1, 2, 3, 4])
    learned = Preprocessing.learn(made)
    assert learned.classes == classes
    assert list(map(type, learned.classes)) == list(map(type, classes))
    y = learned.targets(made)
    assert (y.tolist(), y.dtype) == ([1, 0, 1, 0], np.int64)
    assert learned.decode(y.reshape(-1, 1)).tolist() == target


def test_a_quantity_is_standardised_with_the_training_rows_and_comes_back():
    made = table([1.5, 2.5, 100.5], a=[1, 2, 3])
    learned = Preprocessing.learn(made, np.arange(2))
    y = learned.targets(made)
    np.testing.assert_allclose(y, [-1.0, 1.0, 197.0])  # mean 2, standard deviation 1/2
    np.testing.assert_allclose(learned.decode(y.astype(np.float32)), [1.5, 2.5, 100.5], rtol=1e-6)
    assert (learned.kind, learned.target_name, learned.target_std, learned.classes) == ("regression", "y", 0.5, ())


def test_labels_that_training_never_saw_are_named():
    learned = Preprocessing.learn(table(["u", "v"] * 2, a=[1, 2, 3, 4]))
    refusal(DataError, lambda: learned.targets(table(["u", "w"], a=[1, 2])), "'w' (1 row)", "'u', 'v'")
    refusal(DataError, lambda: learned.decode(np.asarray([0, 2])), "0..1", "2")
    refusal(DataError, lambda: learned.decode(np.asarray([0.5])), "integers")


def test_a_class_of_one_row_is_said():
    learned = Preprocessing.learn(table(["u"] * 4 + ["v"] * 4 + ["w"], a=range(9)))
    assert any("one row only of 'w'" in line for line in learned.describe())
