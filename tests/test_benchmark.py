"""The arithmetic of a benchmark on made-up times, and a tiny real one; no test depends on how fast anything is."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from dataclasses import replace
from itertools import cycle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from conftest import find_library

import chainrule as cr
from chainrule.benchmark import (
    Crossover,
    Measurement,
    _measure,
    _race,
    answer,
    crossovers,
    flop_a_row,
    ladder,
    measure,
    network_name,
    unrest,
    usable_backends,
)
from chainrule.cli import main
from chainrule.plots import plot_benchmark

TINY: dict[str, Any] = {"sizes": [3, 16, 2], "batch_size": 8, "rows": 24, "seconds": 0.01}


def made_up(**times: list[float]) -> list[Measurement]:
    """Seconds an epoch of 1,000 rows along a ladder whose third network is the user's own; 0 is a failure."""
    found = []
    for backend, seconds in times.items():
        for k, (widths, s) in enumerate(zip([(9, 9, 9), (9, 90, 9), (9, 900, 9)], seconds, strict=False)):
            one = Measurement(widths, 10.0 ** (k - 2), 100, 1000, backend, "cpu", s, 1.5 * s, 2 * s, 7)
            found.append(one if s else Measurement(widths, 10.0 ** (k - 2), 100, 1000, backend, problem="too large."))
    return found


# ------------------------------------------------------------------------------------------------------- the arithmetic


def test_a_rows_operations_are_three_products_a_layer_but_two_in_the_first() -> None:
    assert flop_a_row([3, 4, 5]) == 2 * (2 * 3 * 4 + 3 * 4 * 5)
    assert flop_a_row([7, 2]) == 2 * (2 * 7 * 2)


def test_a_measurement_says_its_speed_in_three_units() -> None:
    one = Measurement((3, 4, 5), 1.0, 100, 1050, "numpy", "cpu", seconds=0.5)
    assert one.parameters == cr.mlp(one.widths).size
    assert one.rows_per_second == 2100
    assert one.microseconds_a_step == pytest.approx(0.5e6 / 11)  # ten batches of 100 and one of 50
    assert one.gflops == pytest.approx(2 * (24 + 60) * 2100 / 1e9)
    failed = replace(one, seconds=float("inf"), problem="why")
    assert failed.rows_per_second == failed.gflops == 0


def test_a_ladder_is_centred_on_the_users_network() -> None:
    assert ladder([5, 64, 32, 3]) == {
        (5, 8, 8, 3): 0.125,
        (5, 16, 8, 3): 0.25,
        (5, 32, 16, 3): 0.5,
        (5, 64, 32, 3): 1.0,
        (5, 128, 64, 3): 2.0,
        (5, 256, 128, 3): 4.0,
    }
    assert list(ladder([5, 64, 3], 3).values()) == [0.5, 1.0, 2.0]
    assert ladder([5, 64, 3], 1) == {(5, 64, 3): 1.0}
    assert list(ladder([5, 8, 3])) == [(5, 8, 3), (5, 16, 3), (5, 32, 3)]  # not narrower than 8, and nothing twice
    assert list(ladder([5, 4, 3], 3).items()) == [((5, 4, 3), 1.0), ((5, 8, 3), 2.0)]  # unless the user's own is
    assert ladder([5, 3]) == {(5, 3): 1.0}


def test_equal_widths_in_a_row_are_counted() -> None:
    assert network_name([784, 512, 512, 512, 10]) == "784-512-512-512-10"
    assert network_name([784, *[512] * 11, 10]) == "784-11x512-10"


def test_a_crossover_is_where_the_fastest_changes() -> None:
    small, middle, _ = (one.parameters for one in made_up(numpy=[1, 1, 1]))
    (found,) = crossovers(made_up(numpy=[1, 2, 9], torch=[2, 1, 1]))
    assert (found.before, found.after, found.low, found.high) == ("numpy", "torch", small, middle)
    assert str(found) == f"torch overtakes numpy between {small:,} and {middle:,} parameters"
    assert found.parameters == pytest.approx((small * middle) ** 0.5)  # from half as fast to twice as fast
    assert found.rows_per_second == pytest.approx(1000 / 2**0.5)


def test_each_change_of_the_fastest_is_a_crossover() -> None:
    found = crossovers(made_up(numpy=[1, 2, 3], torch=[2, 1, 4], jax=[9, 9, 1]))
    assert [(one.after, one.before) for one in found] == [("torch", "numpy"), ("jax", "torch")]


@pytest.mark.parametrize(
    "times",
    [
        {"numpy": [1, 1, 1]},
        {"numpy": [1, 1, 1], "torch": [2, 2, 2]},
        {"numpy": [1, 1, 1], "torch": [1.04, 0.97, 0.96]},  # a machine drifts by more
        {"numpy": [1, 1, 0], "torch": [2, 2, 2]},  # who fails is not overtaken
        {"numpy": [0, 2, 2], "torch": [2, 1, 1]},  # nor who was never ahead
        {},
    ],
)
def test_there_is_no_crossover(times: dict[str, list[float]]) -> None:
    assert crossovers(made_up(**times)) == []


def test_a_crossover_is_where_the_lines_cross_even_if_the_lead_is_clear_only_later() -> None:
    measured = made_up(numpy=[1, 1.01, 2], torch=[2, 1, 1])
    (found,) = crossovers(measured)
    assert (found.low, found.high) == (measured[0].parameters, measured[1].parameters)


@pytest.mark.parametrize(
    ("times", "says"),
    [
        ({"numpy": [1, 1, 3], "torch": [1, 1, 2], "jax": [1, 1, 1]}, "jax, 2.0 times as fast as torch"),
        ({"numpy": [1, 1, 123], "torch": [1, 1, 1]}, "torch, 123 times as fast as numpy"),
        ({"numpy": [1, 1, 1.04], "torch": [1, 1, 1]}, "torch and numpy, equally fast within 5%"),
        ({"numpy": [1, 1, 1], "torch": [1, 1, 0]}, "numpy, the only one measured"),
        ({"numpy": [1, 1, 0]}, "no backend could train it"),
    ],
)
def test_the_answer_is_one_sentence(times: dict[str, list[float]], says: str) -> None:
    assert answer(made_up(**times)) == f"for 9-900-9 at batch 100: {says}"
    assert "not measured" in answer(made_up(numpy=[1]))


def test_unrest_is_the_median_in_units_of_the_best() -> None:
    assert unrest(made_up(numpy=[1, 0, 1])) == 1.5
    assert unrest([]) == 1.0


# -------------------------------------------------------------------------------------------------- how it is measured


class Fits:
    """A stand-in for ``fit`` whose epochs take made-up times: a first one of 9 s, then these, forever."""

    def __init__(self, **seconds: list[float]) -> None:
        self.seconds: dict[str, Iterator[float]] = {name: cycle(times) for name, times in seconds.items()}
        self.calls: list[tuple[str, int]] = []

    def __call__(self, network: Any, X: Any, y: Any, **options: Any) -> None:
        name, (clock,) = options["backend"].name, options["callbacks"]
        stopped: list[str] = []
        for epoch in range(1, options["epochs"] + 1):
            run: Any = SimpleNamespace(epoch=epoch, stop=stopped.append)
            clock.on_epoch_end(run, {"seconds": 9.0 if epoch == 1 else next(self.seconds[name])})
            if stopped:
                break
        self.calls.append((name, epoch - 1))


def test_the_first_epoch_is_left_out_and_the_best_of_the_others_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_race, "fit", Fits(numpy=[0.5, 0.25, 1.0]))
    (one,) = measure([3, 16, 2], 8, 24, ["numpy"], count=1, seconds=1.75)
    assert (one.seconds, one.median_seconds, one.first_epoch_seconds, one.epochs) == (0.25, 0.5, 9.0, 3)


def test_backends_take_turns_and_a_slow_one_gets_two(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = find_library("torch").__name__
    fits = Fits(numpy=[0.5], torch=[4.0])
    monkeypatch.setattr(_race, "fit", fits)
    measure([3, 16, 2], 8, 24, ["numpy", torch, "numpy"], count=1, seconds=3.0)
    assert fits.calls == [("numpy", 2), (torch, 1), (torch, 1), ("numpy", 2), ("numpy", 2)]


def test_what_can_run_is_measured_once_a_kind_of_device(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        {"name": "numpy", "devices": ["cpu"], "problem": None},
        {"name": "torch", "devices": ["cuda:0", "cuda:1", "cpu"], "problem": None},
        {"name": "cupy", "devices": [], "problem": "not installed"},
        {"name": "jax", "devices": ["gpu:0", "gpu:1"], "problem": None},
        {"name": "array-api-strict", "devices": ["CPU_DEVICE", "device1"], "problem": None},
    ]
    monkeypatch.setattr(_measure, "available_backends", lambda: rows)
    assert usable_backends() == ["numpy", "torch:cuda:0", "torch:cpu", "jax"]


def test_a_backend_that_cannot_run_or_fails_says_why_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    find_library("torch")

    def fit(network: Any, *arguments: Any, **options: Any) -> Any:
        if options["backend"].name == "torch" and network.size > 100:
            raise MemoryError("not that much\nat all")
        return cr.fit(network, *arguments, **options)

    monkeypatch.setattr(_race, "fit", fit)
    found = measure(**{**TINY, "sizes": [3, 32, 2]}, backends=["torch:cuda:99", "torch", "numpy"], count=2)
    assert [one.backend for one in found] == 2 * ["torch:cuda:99", "torch", "numpy"]
    small, large = [one.problem for one in found[:3]], [one.problem for one in found[3:]]
    assert small[1:] == [None, None]
    assert large[1:] == ["MemoryError: not that much", None]
    assert small[0] == large[0] is not None
    assert [one.rows_per_second > 0 for one in found] == [False, True, True, False, False, True]


def test_ctrl_c_returns_what_was_measured_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def fit(network: Any, *arguments: Any, **options: Any) -> Any:
        if network.layers[0].n_out == 32:
            warnings.warn("interrupted", cr.InterruptedTraining, stacklevel=2)
        return cr.fit(network, *arguments, **options)

    monkeypatch.setattr(_race, "fit", fit)
    with pytest.warns(cr.InterruptedTraining, match="at network 3 of 3"):
        found = measure(**TINY, backends=["numpy"], count=3)
    assert [one.widths[1] for one in found] == [8, 16]


# ------------------------------------------------------------------------------------------------------- the command


def bench(*words: object) -> int:
    return main(["bench", "--hidden", "16", "--features", "3", "--classes", "2", *map(str, words)])


def test_bench_prints_the_answer_and_writes_numbers_and_picture(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    find_library("torch")
    words = ["--hidden", "8", "--rows", 64, "--batch-size", 32, "--seconds", 0.05, "--backends", "numpy,torch"]
    assert bench(*words, "--out", tmp_path) == 0
    printed = capsys.readouterr().out
    record = json.loads((tmp_path / "bench.json").read_text())
    assert (tmp_path / "bench.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert record["answer"] in printed
    assert any(name in record["answer"] for name in ("numpy", "torch"))
    assert [row["widths"] for row in record["measurements"]] == [[3, n, 2] for n in (8, 8, 16, 16, 32, 32)]
    assert [row["factor"] for row in record["measurements"]] == [1, 1, 2, 2, 4, 4]
    for row in record["measurements"]:
        assert row["problem"] is None
        assert row["rows_per_second"] == pytest.approx(64 / row["seconds"], rel=1e-4)
        assert 0 < row["seconds"] <= row["median_seconds"]
        assert row["epochs"] >= 2
    assert record["machine"]["cores"] >= 1
    assert record["machine"]["cpu"]
    assert record["backends"]["numpy"]["version"] == record["machine"]["numpy"]
    assert "affine" in record["backends"]["numpy"]["kernels"]
    assert record["network"] == [3, 8, 2]
    assert "yours" in printed
    assert "drift" in printed
    for name in ("bench.json", "bench.png"):
        assert str(tmp_path / name) in printed


def test_bench_says_what_failed_below_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--rows", 24, "--batch-size", 8, "--seconds", 0.01, "--sizes", 2, "--backends", "numpy,torch:cuda:99"]
    assert bench(*words, "--out", tmp_path) == 0
    printed = capsys.readouterr().out
    assert [line for line in printed.splitlines() if line.startswith("torch:cuda:99: ")]
    assert "failed" in printed
    rows = json.loads((tmp_path / "bench.json").read_text())["measurements"]
    assert [row["rows_per_second"] is None for row in rows] == [False, True, False, True]


def test_bench_interrupted_prints_and_writes_what_there_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*arguments: Any, **options: Any) -> list[Measurement]:
        warnings.warn("interrupted at network 3 of 6.", cr.InterruptedTraining, stacklevel=2)
        return made_up(numpy=[1, 2], torch=[2, 1])

    monkeypatch.setattr("chainrule.cli._bench.measure", interrupted)
    assert bench("--out", tmp_path) == 130
    printed = capsys.readouterr().out
    assert "interrupted at network 3 of 6." in printed
    assert "torch overtakes numpy" in printed
    assert len(json.loads((tmp_path / "bench.json").read_text())["crossovers"]) == 1
    assert (tmp_path / "bench.png").exists()


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["--backends", "numpi"], 1, ["did you mean 'numpy'"]),
        (["--backends", "numpy,auto"], 1, ["unknown backend 'auto'"]),
        (["--hidden", "ten"], 1, ["--hidden", "'ten'"]),
        (["--hidden", "0"], 1, ["whole number >= 1", "0"]),
        (["--rows", "64"], 1, ["64 rows", "batches of 128"]),
        (["--classes", "1"], 1, ["2 or more", "got 1"]),
        (["--sizes", "9"], 1, ["1 to 8 sizes, got 9"]),
        (["--seconds", "0"], 1, ["seconds", "got 0"]),
        (["--dtype", "float16"], 1, ["'float16'"]),
        (["--backends", "torch:cuda:99"], 1, ["none that can", "torch:cuda:99"]),
        (["--out", "/dev/null/x"], 1, ["--out"]),
        (["--sizes", "many"], 2, ["--sizes"]),
    ],
)
def test_wrong_usage_is_one_sentence_and_an_exit_code(
    words: list[str], code: int, says: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench("--out", tmp_path, *words) == code
    captured = capsys.readouterr()
    assert all(part in captured.err for part in says), captured.err
    assert "Traceback" not in captured.err
    assert "measuring" not in captured.out


def test_help_has_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--help"]) == 0
    assert "chainrule bench --hidden" in capsys.readouterr().out


# -------------------------------------------------------------------------------------------------------- the picture


def test_the_picture_has_a_line_a_backend_and_marks_crossovers_and_the_users_own() -> None:
    measured = made_up(numpy=[1, 2, 9], torch=[2, 1, 0])
    figure = plot_benchmark(measured)
    (axes,) = figure.axes
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "numpy on cpu",
        "torch on cpu",
        "yours: 9-900-9",
    ]
    numpy, torch, ring, own = axes.lines
    assert [len(line.get_xdata()) for line in (numpy, torch)] == [3, 2]
    (crossover,) = crossovers(measured)
    assert isinstance(crossover, Crossover)
    assert (ring.get_xdata()[0], ring.get_ydata()[0]) == (crossover.parameters, crossover.rows_per_second)
    assert own.get_xdata()[0] == measured[2].parameters
    with pytest.raises(cr.DataError, match="got none"):
        plot_benchmark(made_up(numpy=[0]))
