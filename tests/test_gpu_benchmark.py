"""The GPU benchmark without a GPU: its rules on made-up contenders, and a run of all of it on the CPU."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from conftest import find_library

import chainrule as cr

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
LOSSES = np.linspace(2.0, 1.0, 100)


@pytest.fixture(scope="module")
def gpu() -> Iterator[SimpleNamespace]:
    names = ("ladder", "lanes", "products", "race", "runners", "table", "torch_forms", "__main__")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        yield SimpleNamespace(**{name: importlib.import_module(f"gpu.{name}") for name in names})


@pytest.fixture
def rung(gpu: SimpleNamespace) -> Any:
    return gpu.ladder.DRY.rungs[0]


@dataclass
class Fake:
    """A contender of made-up losses and seconds; ``problem`` is what it raises, and where."""

    name: str
    times: list[float]
    losses: Any = field(default_factory=LOSSES.copy)
    problem: tuple[str, Exception] | None = None
    preparation: float = 0.0
    calls: list[str] = field(default_factory=list)

    def _do(self, what: str) -> None:
        self.calls.append(what)
        if self.problem is not None and self.problem[0] == what:
            raise self.problem[1]

    def begin(self, rung: Any) -> None:
        self._do("begin")

    def first(self, patience: float) -> Any:
        self._do("first")
        return self.losses

    def seconds(self, patience: float) -> float:
        self._do("seconds")
        return self.times[(self.calls.count("seconds") - 1) % len(self.times)]

    def close(self) -> None:
        self.calls.append("close")


def raced(gpu: SimpleNamespace, rung: Any, *fakes: Fake, share: float = 60.0) -> dict[str, Any]:
    row: dict[str, Any] = gpu.race.race(rung, fakes, share, gpu.race.Budget(60.0))
    return row


# ---------------------------------------------------------------------------------------------------------------- a row


def test_a_row_has_the_minimum_and_the_median_of_the_best_form(gpu: SimpleNamespace, rung: Any) -> None:
    torch = [Fake("torch: eager", [5e-6]), Fake("torch: graph", [4e-6, 2e-6, 3e-6])]
    row = raced(gpu, rung, Fake("ours: eager", [2e-6, 1e-6, 6e-6]), *torch)
    assert row["ours_us"] == pytest.approx({"min": 1.0, "median": 2.0})
    assert row["torch_us"] == pytest.approx({"min": 2.0, "median": 3.0})
    assert (row["ours_form"], row["torch_form"]) == ("eager", "graph")
    assert row["jax_us"] is row["jax_form"] is row["floor_us"] is None
    assert (row["network"], row["batch"], row["precision"]) == ("4x8", 32, "float32")
    assert (row["comparable"], row["largest_loss_difference"], row["steps_compared"]) == (True, 0.0, 100)
    assert row["rounds"] == gpu.race.ROUNDS
    assert row["not_measured"] == {}


@pytest.mark.parametrize("where", ["begin", "first", "seconds"])
def test_one_that_cannot_is_named_and_the_others_go_on(gpu: SimpleNamespace, rung: Any, where: str) -> None:
    reason = gpu.runners.NotMeasuredError("out of memory.")
    row = raced(gpu, rung, Fake("ours: eager", [1e-6], problem=(where, reason)), Fake("torch: eager", [2e-6]))
    assert row["not_measured"] == {"ours: eager": "out of memory."}
    assert row["ours_us"] is None
    assert row["torch_us"]["min"] == pytest.approx(2.0)
    assert list(row["forms"]) == ["torch: eager"]


@pytest.mark.parametrize(("factor", "comparable"), [(1.0009, True), (1.0011, False), (np.nan, False)])
def test_one_with_other_losses_is_not_timed(gpu: SimpleNamespace, rung: Any, factor: float, comparable: bool) -> None:
    losses = LOSSES.copy()
    losses[70] *= factor
    other = Fake("jax: scan", [2e-6], losses)
    row = raced(gpu, rung, Fake("ours: eager", [1e-6]), Fake("floor: torch.mm", [1e-6], np.zeros(0)), other)
    assert row["comparable"] is comparable
    assert ("seconds" in other.calls) is comparable
    assert (row["jax_us"] is not None) is comparable
    assert row["ours_us"] is not None
    assert row["floor_us"] is not None
    assert row["largest_loss_difference"] == (None if np.isnan(factor) else pytest.approx(factor - 1))
    assert comparable or "not comparable" in row["not_measured"]["jax: scan"]
    assert comparable or "NOT COMPARABLE" in gpu.table.table({"rows": [row], "not_measured": []})


def test_predictions_are_compared_by_the_share_of_other_classes(gpu: SimpleNamespace) -> None:
    (rung,) = (rung for rung in gpu.ladder.DRY.rungs if rung.kind == "inference")
    classes = np.arange(2000) % 10
    near, far = classes.copy(), classes.copy()
    near[:2], far[:3] = 99, 99
    row = raced(gpu, rung, *(Fake(n, [1e-6], c) for n, c in (("ours: eager", classes), ("jax: scan", near))))
    assert row["comparable"]
    row = raced(gpu, rung, *(Fake(n, [1e-6], c) for n, c in (("ours: eager", classes), ("jax: scan", far))))
    assert not row["comparable"]


def test_every_round_begins_with_another_one(gpu: SimpleNamespace, rung: Any) -> None:
    order: list[str] = []

    class Noted(Fake):
        def seconds(self, patience: float) -> float:
            order.append(self.name)
            return 1e-6

    raced(gpu, rung, Noted("ours: eager", []), Noted("torch: eager", []), Noted("jax: scan", []))
    assert [name[0] for name in order[:9]] == list("otjtjojot")


def test_a_share_that_is_used_up_leaves_the_least_rounds(gpu: SimpleNamespace, rung: Any) -> None:
    assert raced(gpu, rung, Fake("ours: eager", [1e-6]), share=0.0)["rounds"] == gpu.race.LEAST_ROUNDS


def test_who_was_slow_to_get_ready_is_left_out_and_tried_again(gpu: SimpleNamespace, rung: Any) -> None:
    slow = Fake("torch: max-autotune", [1e-6], preparation=40.0)
    why = raced(gpu, rung, slow, Fake("ours: eager", [1e-6]), share=25.0)["not_measured"][slow.name]
    assert why == "its last preparation took 40 s, and this rung has 25 s."
    assert slow.calls == []
    assert raced(gpu, rung, slow, share=25.0)["torch_us"] is not None


# --------------------------------------------------------------------------------------------------------- many of them


def stage_of(gpu: SimpleNamespace, *rungs: Any) -> Any:
    return gpu.ladder.Stage(rungs, ["ours: eager"])


def test_what_does_not_fit_is_listed_and_each_rung_is_saved(gpu: SimpleNamespace, rung: Any) -> None:
    saved: list[tuple[list[Any], list[Any]]] = []

    def save(rows: list[Any], left_out: list[Any]) -> None:
        saved.append((list(rows), list(left_out)))

    ours = Fake("ours: eager", [1e-6])
    late = SimpleNamespace(seconds=9.0, left=iter([9.0] * 50).__next__)
    gpu.race.measure(stage_of(gpu, rung, rung), {ours.name: ours}, late, save)
    assert [(len(rows), len(left_out)) for rows, left_out in saved] == [(0, 2), (1, 1), (2, 0), (2, 0)]

    saved.clear()
    late.left = iter([9.0] * 4 + [4.9] * 50).__next__  # up while the first rung's first round is timed
    gpu.race.measure(stage_of(gpu, rung, rung, rung), {ours.name: ours}, late, save)
    rows, left_out = saved[-1]
    assert len(rows) == 1
    assert [one["why"] for one in left_out] == 2 * ["the time, 9 s, was up."]
    assert left_out[0]["network"] == "4x8"


@pytest.mark.parametrize(("share", "left", "patience"), [(1.0, 20.0, 10.0), (1.0, 1000.0, 60.0), (15.0, 20.0, 15.0)])
def test_nobody_is_waited_for_until_the_time_is_up(
    gpu: SimpleNamespace, rung: Any, share: float, left: float, patience: float
) -> None:
    waited: list[float] = []

    class Waited(Fake):
        def first(self, patience: float) -> Any:
            waited.append(patience)
            return super().first(patience)

    gpu.race.race(rung, [Waited("ours: eager", [1e-6])], share, gpu.race.Budget(left))
    assert waited == pytest.approx([patience], abs=1.0)


def test_a_slow_preparation_says_nothing_of_another_kind(gpu: SimpleNamespace, rung: Any) -> None:
    class Slow(Fake):
        def first(self, patience: float) -> Any:
            self.preparation = 1e9
            return super().first(patience)

    (other,) = (rung for rung in gpu.ladder.DRY.rungs if rung.kind == "inference")
    for rungs, begun in (((rung, rung), 1), ((rung, other), 2)):
        ours = Slow("ours: eager", [1e-6])
        gpu.race.measure(stage_of(gpu, *rungs), {ours.name: ours}, gpu.race.Budget(60.0), lambda *found: None)
        assert ours.calls.count("begin") == begun


def test_after_a_large_rung_every_process_ends(gpu: SimpleNamespace, rung: Any) -> None:
    large = gpu.ladder.Rung(gpu.ladder.deep(4096, 4096))
    assert rung.bytes < gpu.race.LARGE < large.bytes
    ours = Fake("ours: eager", [1e-6])
    gpu.race.measure(stage_of(gpu, rung, large), {ours.name: ours}, gpu.race.Budget(60.0), lambda *found: None)
    assert ours.calls.count("close") == 1
    assert ours.calls[-1] == "close"


def test_a_run_that_is_killed_leaves_its_rungs_in_the_file(
    gpu: SimpleNamespace, rung: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver, path = gpu.__main__, tmp_path / "new" / "results.json"

    class Killed(Fake):
        def begin(self, rung: Any) -> None:
            super().begin(rung)
            if self.calls.count("begin") == 2:
                written.append(json.loads(path.read_text()))
                raise KeyboardInterrupt

    written: list[dict[str, Any]] = []
    monkeypatch.setattr(driver, "Lane", lambda name, place: Killed(name, [1e-6]))
    with pytest.raises(KeyboardInterrupt):
        driver.run({}, stage_of(gpu, rung, rung), "cpu", gpu.race.Budget(60.0), path)
    for record in (*written, json.loads(path.read_text())):
        assert [row["network"] for row in record["rows"]] == ["4x8"]
        assert [one["why"] for one in record["not_measured"]] == ["the run has not come to it."]


def test_the_crossover_is_where_the_device_is_faster_from_then_on(gpu: SimpleNamespace) -> None:
    def row(width: int, rows: int, numpy: float | None, ours: float) -> dict[str, Any]:
        numpys = None if numpy is None else {"median": numpy}
        return {"layers": [width, 10], "batch": rows, "numpy_us": numpys, "ours_us": {"median": ours}}

    rows = [row(8, 64, 3, 1), row(8, 16, 2, 1), row(8, 32, 1, 2), row(16, 16, 2, 1), row(16, 32, 2, 2)]
    rows += [row(32, 16, 9, 1), row(32, 32, 1, 2), row(64, 16, None, 1), row(64, 32, 2, 1)]
    assert gpu.table.crossovers(rows) == {8: 64, 16: 16, 32: None, 64: 32}


# ----------------------------------------------------------------------------------------------------- what is measured


def test_the_ladder_is_what_it_says(gpu: SimpleNamespace) -> None:
    ladder = gpu.ladder
    assert {network.name: network.batch for network in ladder.LADDER} == {
        **{f"4x{width}": 4096 for width in (32, 64, 128, 256, 1024, 4096)},
        "4x8192": 8192,
    }
    assert ladder.deep(64, 4096).sizes == (64, 64, 64, 64, 64, 10)
    assert ladder.ROWS == (1, 256, 65_536)
    stages = [*ladder.STAGES.values(), ladder.WHOLE, ladder.DRY]
    for stage in stages:
        assert set(stage.contenders) <= set(gpu.lanes.CONTENDERS)
        for rung in stage.rungs:
            assert rung.compared % rung.steps == 0, rung
            assert stage.take_part(rung), rung
            assert len(set(map(str, stage.rungs))) == len(stage.rungs)
    measured = {(rung.kind, rung.precision) for rung in ladder.WHOLE.rungs}
    assert measured == {("training", p) for p in ("float32", "tf32", "bf16")} | {
        ("inference", "float32"),
        ("crossover", "float32"),
    }


def test_the_floor_is_all_products_of_a_step_and_28_bytes_a_parameter(gpu: SimpleNamespace, rung: Any) -> None:
    products, copies = gpu.products._work(rung, np.asarray)
    assert sum(2 * a.shape[0] * a.shape[1] * b.shape[1] for a, b, _ in products) == rung.network.flop
    assert all((a @ b).shape == out.shape for a, b, out in products)
    assert 2 * sum(target.nbytes for target, _ in copies) == 28 * rung.network.net.size


def test_a_large_floor_copies_in_parts_that_no_cache_holds(gpu: SimpleNamespace, monkeypatch: Any, rung: Any) -> None:
    monkeypatch.setattr(gpu.products, "_CHUNK", 100)
    _, copies = gpu.products._work(rung, np.asarray)
    assert 2 * sum(target.nbytes for target, _ in copies) == 28 * rung.network.net.size
    assert max(target.size for target, _ in copies) == 100


def test_torch_starts_again_after_warming_up_for_a_graph(gpu: SimpleNamespace, rung: Any) -> None:
    find_library("torch").set_num_threads(1)
    step, restart = gpu.torch_forms._training(rung, "cpu")
    first = [float(step()) for _ in range(20)]
    restart()
    assert [float(step()) for _ in range(20)] == first


def test_torch_compiled_whole_takes_the_steps_of_torch_eager(gpu: SimpleNamespace, rung: Any) -> None:
    find_library("torch").set_num_threads(1)
    forms = gpu.torch_forms
    eager, compiled = forms.eager(rung, "cpu").first(), forms.reduce_overhead(rung, "cpu").first()
    np.testing.assert_allclose(compiled, eager, rtol=1e-6)
    (asked,) = (rung for rung in gpu.ladder.DRY.rungs if rung.kind == "inference")
    np.testing.assert_array_equal(forms.max_autotune(asked, "cpu").first(), forms.eager(asked, "cpu").first())


def test_the_floor_is_timed_by_torch_as_well(gpu: SimpleNamespace, rung: Any) -> None:
    find_library("torch").set_num_threads(1)
    runner = gpu.products.torch_mm(rung, "cpu")
    assert len(runner.first()) == 0
    assert 0 < runner.seconds() < 1


def test_a_contender_lives_in_a_process_that_may_be_lost(gpu: SimpleNamespace, rung: Any) -> None:
    lane, NotMeasuredError = gpu.lanes.Lane("ours: eager", "cpu"), gpu.runners.NotMeasuredError
    try:
        lane.begin(rung)
        losses = lane.first(60.0)
        assert losses.shape == (100,)
        assert losses[96] < losses[0]  # on the same batch
        assert 0 < lane.seconds(60.0) < 1
        assert lane.preparation == 0  # imports are not held against it
        lane.begin(rung)
        lane.first(60.0)
        assert lane.preparation > 0
        lane._process.kill()
        lane._process.join()
        with pytest.raises(NotMeasuredError, match="its process has ended"):
            lane.seconds(60.0)
        lane.begin(rung)
        time.sleep(0.01)
        with pytest.raises(NotMeasuredError, match="had not answered after 0 s"):
            lane.first(-1.0)  # others were waited for until the deadline
        assert lane._process is None
        assert lane.preparation > 0
    finally:
        lane.close()


def test_a_contender_says_why_it_takes_no_part_and_ends_with_its_parent(gpu: SimpleNamespace) -> None:
    lane = gpu.lanes.Lane("floor: cupy.matmul", "cpu")
    (tf32,) = (rung for rung in gpu.ladder.DRY.rungs if rung.precision == "tf32")
    try:
        lane.begin(tf32)
        with pytest.raises(gpu.runners.NotMeasuredError, match="no public way to tf32"):
            lane.first(60.0)
        lane._connection.close()  # as when the parent is killed
        lane._process.join(20)
        assert lane._process.exitcode == 0
    finally:
        lane.close()


# ------------------------------------------------------------------------------------------------------ the whole of it


def test_without_a_device_it_says_why_in_one_sentence(
    gpu: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def no_backend(name: str) -> None:
        raise cr.BackendError(f"no CUDA device for {name}.")

    monkeypatch.setattr(cr, "backend", no_backend)
    assert gpu.__main__.main([]) == 1
    assert capsys.readouterr().err == "no CUDA device for cupy.\n"


def test_a_dry_run_on_the_cpu(tmp_path: Path) -> None:
    for name in ("torch", "jax"):
        find_library(name)
    results = BENCHMARKS / "results"
    before = {path: path.stat().st_mtime_ns for path in results.iterdir()}
    command = [sys.executable, "-m", "gpu", "--dry-run", "--out", str(tmp_path), "--seconds", "300"]
    environment = os.environ | {"PYTHONPATH": str(BENCHMARKS)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=400)
    assert done.returncode == 0, done.stderr
    assert {path: path.stat().st_mtime_ns for path in results.iterdir()} == before
    (path,) = tmp_path.iterdir()
    record = json.loads(path.read_text())
    assert {"device", "driver", "commit", "versions", "clocks", "stage", "seconds", "crossover"} <= set(record)
    assert record["not_measured"] == []
    rows = {(row["kind"], row["precision"], row["batch"]): row for row in record["rows"]}
    training = rows["training", "float32", 32]
    for library in ("ours", "torch", "jax", "floor"):
        assert 0 < training[f"{library}_us"]["min"] <= training[f"{library}_us"]["median"]
    assert set(training["forms"]) == {
        "ours: compiled",
        "ours: eager",
        "torch: eager",
        "jax: scan",
        "floor: cupy.matmul",
    }
    assert training["not_measured"] == {"torch: graph": "a CUDA graph needs a CUDA device."}
    assert 0 < training["largest_loss_difference"] < 1e-5
    assert rows["inference", "float32", 1]["comparable"]
    precise = rows["training", "tf32", 32]
    assert precise["ours_us"] is None or precise["comparable"]
    assert len(rows) == 5
    assert "not measured" in done.stdout
    assert str(path) in done.stdout


@pytest.mark.gpu
def test_every_library_on_a_device(gpu: SimpleNamespace) -> None:
    find_library("cupy")
    if not (find_library("torch").cuda.is_available() and find_library("jax").default_backend() == "gpu"):
        pytest.skip("torch or jax has no CUDA device")
    names = ["ours: eager", "torch: eager", "torch: graph", "jax: scan", "floor: torch.mm in a graph"]
    lanes = [gpu.lanes.Lane(name, "cuda") for name in names]
    try:
        for rung in (gpu.ladder.Rung(gpu.ladder.deep(32, 256), kind) for kind in ("training", "inference")):
            row = gpu.race.race(rung, lanes, 30.0, gpu.race.Budget(120.0))
            assert row["not_measured"] == {}
            assert row["comparable"]
    finally:
        for lane in lanes:
            lane.close()
