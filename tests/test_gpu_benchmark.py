"""The GPU benchmark without a GPU: its rules on made-up contenders, and a run of all of it on the CPU."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from conftest import cupy_stand_in, find_library

import chainrule as cr
from chainrule._backend import _torch

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
GB = 1e9
LIBRARIES = [("torch_forms", "eager"), ("torch_forms", "compiled_graph")]


@pytest.fixture(scope="module")
def gpu() -> Iterator[SimpleNamespace]:
    names = ("clocks", "equality", "jax_scan", "ladder", "lanes", "ours", "plan", "products", "race", "reference")
    names += ("runners", "table", "torch_forms", "__main__")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        yield SimpleNamespace(**{name: importlib.import_module(f"gpu.{name}") for name in names})


@pytest.fixture
def rung(gpu: SimpleNamespace) -> Any:
    return gpu.ladder.DRY[0]


def results(scale: float = 1.0) -> Any:
    """Of a training in which each of two arrays moves by ones, but for the scale."""
    from gpu.equality import Training

    return Training([scale * np.ones(9), np.ones(3)], [scale * np.ones(9), np.ones(3)])


@dataclass
class Fake:
    """A contender of made-up results and seconds; ``problem`` is what it raises, and where."""

    name: str
    times: list[float] = field(default_factory=lambda: [1e-6])
    results: Any = field(default_factory=results)
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
        return self.results

    def seconds(self, least: float, patience: float) -> float:
        self._do("seconds")
        return self.times[(self.calls.count("seconds") - 1) % len(self.times)]

    def close(self) -> None:
        self.calls.append("close")


def course_of(gpu: SimpleNamespace, *fakes: Fake, seconds: float = 1000.0, memory: float = 150 * GB) -> Any:
    contenders = {fake.name: fake for fake in fakes}
    for name in gpu.lanes.CONTENDERS:
        contenders.setdefault(name, Fake(name))
    return gpu.race.Course(contenders, gpu.race.Budget(seconds), gpu.clocks.Clocks(None), memory)


def raced(gpu: SimpleNamespace, rung: Any, *fakes: Fake, rounds: int = 9, alone: bool = False) -> dict[str, Any]:
    """With a reference whose results are the usual ones."""
    fakes = (Fake(gpu.ladder.REFERENCE), *fakes)
    entry = gpu.plan.Entry(rung, [fake.name for fake in fakes], rounds, alone, 10.0)
    row: dict[str, Any] = gpu.race.race(entry, course_of(gpu, *fakes))
    return row


# ---------------------------------------------------------------------------------------------------------------- a row


def test_a_row_has_a_column_for_what_runs_by_default_and_one_for_compile(gpu: SimpleNamespace, rung: Any) -> None:
    torch = [Fake("torch: eager", [5e-6]), Fake("torch: in a graph", [4e-6, 2e-6, 3e-6])]
    ours = [Fake("ours: default", [9e-6]), Fake("ours: compile=True", [2e-6]), Fake("trial: one kernel", [1e-6])]
    ours += [Fake("on torch: default", [7e-6]), Fake("on torch: compile=True", [6e-6])]
    row = raced(gpu, rung, *ours, *torch)
    assert row["default"]["median_us"] == pytest.approx(9.0)
    assert row["compile=True"] == pytest.approx({"form": "compile=True", "min_us": 2.0, "median_us": 2.0, "spread": 0})
    assert row["trial"]["form"] == "one kernel"
    assert row["torch"]["form"] == "in a graph"
    assert {key: row["torch"][key] for key in ("min_us", "median_us")} == pytest.approx({"min_us": 2, "median_us": 3})
    assert row["torch"]["spread"] == pytest.approx(2 / 3)
    assert row["jax"] is row["floor"] is row["on jax"] is None
    assert row["on torch"] == pytest.approx({"form": "default", "min_us": 7.0, "median_us": 7.0, "spread": 0})
    assert (row["network"], row["batch"], row["precision"]) == ("4x8", 32, "float32")
    assert (row["comparable"], row["reference"], row["steps_a_dispatch"]) == (True, gpu.ladder.REFERENCE, 20)
    assert (row["rounds"], row["in_turn"]) == (9, True)
    line = gpu.table.table({"rows": [row], "not_measured": []}).splitlines()[1]
    assert line.split()[3:13] == ["-", "9.0", "2.0", "1.0", "7.0", "6.0", "-", "3.0", "-", "67%"]


@pytest.mark.parametrize("where", ["begin", "first", "seconds"])
def test_one_that_cannot_is_named_and_the_others_go_on(gpu: SimpleNamespace, rung: Any, where: str) -> None:
    reason = gpu.runners.NotMeasuredError("out of memory.")
    row = raced(gpu, rung, Fake("ours: default", problem=(where, reason)), Fake("torch: eager", [2e-6]))
    assert row["not_measured"]["ours: default"] == "out of memory."
    assert row["not_measured"]["jax: scan"] == "left out by the plan."
    assert row["default"] is None
    assert row["torch"]["min_us"] == pytest.approx(2.0)
    assert list(row["forms"]) == ["torch: eager"]


def test_who_does_other_work_is_timed_but_counts_for_nothing(gpu: SimpleNamespace, rung: Any) -> None:
    other, broken = Fake("torch: in a graph", [1e-6], results(2.0)), Fake("jax: scan", results=results(np.nan))
    row = raced(gpu, rung, Fake("torch: eager", [2e-6]), Fake("floor: torch.mm", results=None), other, broken)
    assert not row["comparable"]
    assert row["torch"]["form"] == "eager"
    assert row["floor"]["min_us"] == pytest.approx(1.0)
    assert row["forms"][other.name]["differences"] == pytest.approx({"gradient": 1, "direction": 0, "length": 1})
    assert not row["forms"][other.name]["equal"]
    assert row["jax"] is None
    assert json.loads(json.dumps(row, allow_nan=False)) == row
    assert "NOT COMPARABLE: jax: scan, torch: in a graph" in gpu.table.table({"rows": [row], "not_measured": []})


def test_without_the_reference_nothing_counts_but_all_is_kept(gpu: SimpleNamespace, rung: Any) -> None:
    lost = Fake(gpu.ladder.REFERENCE, problem=("first", gpu.runners.NotMeasuredError("out of memory.")))
    entry = gpu.plan.Entry(rung, [lost.name, "ours: default"], 3, False, 10.0)
    row = gpu.race.race(entry, course_of(gpu, lost))
    assert not row["comparable"]
    assert row["default"] is None
    assert row["forms"]["ours: default"]["min_us"] == pytest.approx(1.0)


def test_every_round_begins_with_another_one(gpu: SimpleNamespace, rung: Any) -> None:
    order: list[str] = []

    class Noted(Fake):
        def seconds(self, least: float, patience: float) -> float:
            assert least == 0.2
            order.append(self.name)
            return 1e-6

    raced(gpu, rung, Noted("ours: default"), Noted("torch: eager"), Noted("jax: scan"), rounds=3)
    assert [name[0] for name in order] == list("otjtjojot")


def test_one_after_the_other_leaves_before_the_next_comes(gpu: SimpleNamespace, rung: Any) -> None:
    order: list[tuple[str, str]] = []

    class Noted(Fake):
        def _do(self, what: str) -> None:
            order.append((self.name, what))

        def close(self) -> None:
            order.append((self.name, "close"))

    row = raced(gpu, rung, Noted("ours: default"), Noted("torch: eager"), rounds=3, alone=True)
    each = ["begin", "first", "seconds", "seconds", "seconds", "close"]
    assert order == [(name, what) for name in ("ours: default", "torch: eager") for what in each]
    assert (row["in_turn"], row["comparable"]) == (False, True)


# ------------------------------------------------------------------------------------------------------------- equality


def tampered(gpu: SimpleNamespace, rung: Any, change: Callable[[list[Any]], list[Any]], monkeypatch: Any) -> Any:
    """The results of a training in float32 whose gradients somebody changes."""
    right = gpu.reference.gradient
    monkeypatch.setattr(gpu.reference, "gradient", lambda *given: change(right(*given)))
    weights = gpu.runners.pieces(rung.network)
    return gpu.reference.trained(rung, weights, np)


def none(g: list[Any]) -> list[Any]:
    return [0 * part for part in g]


def all_but_the_first_two_layers(g: list[Any]) -> list[Any]:
    return [*none(g[:4]), *g[4:]]


def doubled(g: list[Any]) -> list[Any]:
    return [2 * part for part in g]


def all_but_one_bias(g: list[Any]) -> list[Any]:
    return [g[0], 0 * g[1], *g[2:]]


def not_a_number(g: list[Any]) -> list[Any]:
    return [*g[:-1], np.nan * g[-1]]


@pytest.mark.parametrize("precision", ["float32", "tf32", "bf16"])
@pytest.mark.parametrize("change", [none, all_but_the_first_two_layers, doubled, all_but_one_bias, not_a_number])
def test_other_gradients_are_found(
    gpu: SimpleNamespace, precision: str, change: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The losses of a hundred steps at a rate of 1e-5 do not show it: see the docstring of ``equality``."""
    rung = gpu.ladder.Rung(gpu.ladder.deep(64, 256), "training", precision)
    right = gpu.reference.float64(rung, "cpu").first()
    limits = gpu.equality.allowed(rung)
    assert gpu.equality.is_equal(gpu.equality.differences(tampered(gpu, rung, list, monkeypatch), right), limits)
    assert not gpu.equality.is_equal(gpu.equality.differences(tampered(gpu, rung, change, monkeypatch), right), limits)


def test_what_a_gradient_cannot_show_is_found_in_the_movement(gpu: SimpleNamespace, monkeypatch: Any) -> None:
    rung = gpu.ladder.Rung(gpu.ladder.deep(64, 256))
    right = gpu.reference.float64(rung, "cpu").first()

    def found() -> dict[str, float]:
        changed: dict[str, float] = gpu.equality.differences(gpu.reference.float64(rung, "cpu").first(), right)
        return changed

    limits = gpu.equality.allowed(rung)
    assert gpu.equality.is_equal(found(), limits)
    changes = [(gpu.reference, "COMPARED", 19), (gpu.reference, "EPSILON", 1e-3), (gpu.reference, "B1", 0.5)]
    for where, name, value in [*changes, (gpu.ladder.Rung, "rate", 1.1e-3)]:
        with monkeypatch.context() as patch:
            patch.setattr(where, name, value)
            assert found()["gradient"] == 0
            assert not gpu.equality.is_equal(found(), limits), name


def test_the_bound_holds_for_operands_that_are_rounded(gpu: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    """To so many bits, toward zero, as tensor cores may; the sums are float64's, which this bound knows nothing of."""

    class Rounded(np.ndarray):
        bits = 0

        def __matmul__(self, other: Any) -> Any:
            return (self.cut() @ other.view(Rounded).cut()).view(Rounded)

        def cut(self) -> np.ndarray:
            whole = np.asarray(self, np.float32).view(np.uint32) >> (23 - self.bits) << (23 - self.bits)
            return whole.astype(np.uint32).view(np.float32).astype(np.float64)

    for network in (gpu.ladder.deep(64, 1024), gpu.ladder.GRID["tabular"]):
        for precision, bits in (("tf32", 10), ("bf16", 7)):
            rung = gpu.ladder.Rung(network, "training", precision)
            monkeypatch.setattr(Rounded, "bits", bits)
            weights = [tuple(part.astype(float).view(Rounded) for part in p) for p in gpu.runners.pieces(network)]
            right = gpu.reference.float64(rung, "cpu").first()
            found = gpu.equality.differences(gpu.reference.trained(rung, weights, np), right)
            assert gpu.equality.is_equal(found, gpu.equality.allowed(rung)), found
            assert found["gradient"] > gpu.equality.allowed(rung)["gradient"] / 20


def test_the_reference_is_what_torch_differentiates(gpu: SimpleNamespace) -> None:
    torch = find_library("torch")
    network = gpu.ladder.deep(16, 64)
    X, y = network.data(1, "float64")
    weights = [(W.astype(float), b.astype(float)) for W, b in gpu.runners.pieces(network)]
    parameters = [torch.from_numpy(part.copy()).requires_grad_() for layer in weights for part in layer]
    z = torch.from_numpy(X)
    for i, (W, b) in enumerate(zip(parameters[::2], parameters[1::2], strict=True), 1):
        z = z @ W + b if i == len(weights) else torch.relu(z @ W + b)
    theirs = torch.autograd.grad(torch.nn.functional.cross_entropy(z, torch.from_numpy(y)), parameters)
    for mine, other in zip(gpu.reference.gradient(weights, X, y, np), theirs, strict=True):
        np.testing.assert_allclose(mine, other.numpy(), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize(
    ("module", "form", "precision"),
    [
        ("ours", "steps_in_one_graph", "float32"),  # NumPy has no products in bf16
        ("ours", "on_torch", "float32"),
        ("ours", "on_jax", "float32"),
        ("jax_scan", "scan", "bf16"),
        *((module, form, p) for module, form in LIBRARIES for p in ("float32", "bf16")),
    ],
)
def test_everybody_takes_the_steps_of_the_reference(
    gpu: SimpleNamespace, rung: Any, module: str, form: str, precision: str
) -> None:
    """And begins anew after others, as where a graph is captured. JAX's in float32 are compared in the dry run."""
    if "torch" in module + form:
        find_library("torch").set_num_threads(1)
    elif "jax" in module + form:
        find_library("jax")
    rung = replace(rung, precision=precision)
    runner = getattr(getattr(gpu, module), form)(rung, "cpu")
    right = gpu.reference.float64(rung, "cpu").first()
    for _ in range(2):
        found = gpu.equality.differences(runner.first(), right)
        assert gpu.equality.is_equal(found, gpu.equality.allowed(rung)), found
        assert precision == "bf16" or max(found.values()) < 1e-4
        assert 0 < runner.seconds(1e-3) < 1


def test_ours_on_compiled_torch_takes_the_steps_of_the_reference(
    gpu: SimpleNamespace, rung: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is captured for compiling; kernels are generated on a device alone."""
    find_library("torch").set_num_threads(1)
    compile_ = _torch.compile
    monkeypatch.setattr(_torch, "compile", lambda *given: compile_(*given, compiler="eager"))
    monkeypatch.setattr(gpu.ours, "_backend", partial(backend_on_the_cpu, gpu.ours._backend))
    runner = gpu.ours.on_torch_compiled(rung, "cuda")
    right = gpu.reference.float64(rung, "cpu").first()
    for _ in range(2):
        assert max(gpu.equality.differences(runner.first(), right).values()) < 1e-4
    assert 0 < runner.seconds(1e-3) < 1
    with pytest.raises(gpu.runners.NotMeasuredError, match="for a CUDA device"):
        gpu.ours.on_torch_compiled(rung, "cpu")


def backend_on_the_cpu(made: Callable[..., Any], rung: Any, library: str, *, compile: bool | None) -> Any:
    assert (library, compile) == ("torch:cuda", True)
    return made(rung, "torch:cpu", compile=compile)


@pytest.mark.parametrize(
    ("form", "precision"),
    [
        ("default", "float32"),
        ("compiled", "bf16"),
        ("steps_in_one_graph", "float32"),
        ("steps_in_one_graph", "tf32"),
        ("epilogues", "float32"),
        ("epilogues", "bf16"),
    ],
)
def test_ours_takes_the_steps_of_the_reference_on_cupy(
    gpu: SimpleNamespace, rung: Any, form: str, precision: str
) -> None:
    rung = replace(rung, precision=precision)
    right = gpu.reference.float64(rung, "cpu").first()
    with cupy_stand_in():
        runner = getattr(gpu.ours, form)(rung, "cuda")
        for _ in range(2):
            found = gpu.equality.differences(runner.first(), right)
            assert gpu.equality.is_equal(found, gpu.equality.allowed(rung)), found
            assert (found["gradient"] > 1e-5) is (precision != "float32")
        there = gpu.reference.float64(rung, "cuda").first()
        assert max(gpu.equality.differences(there, right).values()) < 1e-9
        del runner  # whose graph gives its memory back while CuPy is there


def test_fit_is_compared_with_fit_on_numpy(gpu: SimpleNamespace) -> None:
    (rung,) = gpu.ladder.crossover((8,), (16,))
    numpy, device = (form(rung, "cpu") for form in (gpu.ours.fit_on_numpy, gpu.ours.fit_on_device))
    found = gpu.equality.differences(device.first(), numpy.first())
    assert found == {"gradient": 0.0, "direction": pytest.approx(0.0, abs=1e-12), "length": 0.0}
    assert 0 < device.seconds(0.01) < 0.01
    still = numpy.first()._replace(movement=[0 * part for part in numpy.first().movement])
    assert not gpu.equality.is_equal(gpu.equality.differences(still, numpy.first()), gpu.equality.allowed(rung))


def test_predictions_are_compared_from_the_first_row_to_the_last(gpu: SimpleNamespace) -> None:
    assert list(gpu.equality.classes_compared(np.arange(5000))[[0, 1, -1]]) == [0, 4, 4996]
    rung = gpu.ladder.Rung(gpu.ladder.deep(8, 1500), "inference")
    right = gpu.reference.float64(rung, "cpu").first()
    assert len(right) == 1500
    np.testing.assert_array_equal(gpu.ours.compiled(rung, "cpu").first(), right)
    find_library("torch").set_num_threads(1)
    np.testing.assert_array_equal(gpu.torch_forms.compiled_graph(rung, "cpu").first(), right)
    wrong = right.copy()
    wrong[-1000:] = 0
    assert not gpu.equality.is_equal(gpu.equality.differences(wrong, right), gpu.equality.allowed(rung))


# --------------------------------------------------------------------------------------------------- timing and clocks


def test_a_timing_is_as_long_as_asked_after_a_dispatch_that_warms_up(gpu: SimpleNamespace) -> None:
    taken: list[str] = []

    def dispatch() -> None:
        taken.append("dispatch")
        time.sleep(0.001)

    each = gpu.runners.timed(dispatch, lambda: taken.append("wait"), 10)(0.02)
    assert 1e-4 <= each < 1e-3
    assert taken[:4] == ["dispatch", "wait", "dispatch", "wait"]
    *_, before, last = [i for i, what in enumerate(taken) if what == "wait"]
    assert (last - before - 1) * 10 * each >= 0.02


def samples(gpu: SimpleNamespace) -> list[Any]:
    return [gpu.clocks.Sample(*row) for row in ((345, 2619, 90.0, 40, 0x1), (1980, 2619, 690.5, 60, 0x24))]


def test_what_the_card_does_is_sampled_while_a_contender_is_timed(gpu: SimpleNamespace, rung: Any) -> None:
    given = iter(samples(gpu))

    def read() -> Any:
        try:
            return next(given)
        except StopIteration:
            raise OSError("the card fell off the bus") from None

    class Slow(Fake):
        def seconds(self, least: float, patience: float) -> float:
            time.sleep(0.1 if "seconds" not in self.calls else 0)
            return super().seconds(least, patience)

    contender = Slow("ours: default")
    course = course_of(gpu, contender)
    entry = gpu.plan.Entry(rung, [gpu.ladder.REFERENCE, contender.name], 3, False, 10.0)
    with gpu.clocks.Clocks(read) as course.clocks:
        row = gpu.race.race(entry, course)
    clocks = row["forms"][contender.name]["clocks"]
    assert clocks["samples"] == 2
    assert clocks["sm_mhz"] == [345, 1162.5, 1980]
    assert clocks["power_w"] == pytest.approx([90, 390.25, 690.5])
    assert clocks["throttled"] == ["power cap", "software thermal slowdown"]
    assert "67%" not in gpu.table.table({"rows": [row], "not_measured": []})
    assert "0%!" in gpu.table.table({"rows": [row], "not_measured": []})


NVML = """
int nvmlInit_v2(void) { return 0; }
int nvmlDeviceGetHandleByPciBusId_v2(const char *at, void **card) { *card = (void *)at; return at[0] == '0' ? 0 : 6; }
int nvmlDeviceGetClockInfo(void *card, int which, unsigned *mhz) { *mhz = which == 1 ? 1980 : 2619; return 0; }
int nvmlDeviceGetPowerUsage(void *card, unsigned *mw) { *mw = 690500; return 0; }
int nvmlDeviceGetTemperature(void *card, int which, unsigned *c) { *c = 60 + which; return 0; }
int nvmlDeviceGetCurrentClocksThrottleReasons(void *card, unsigned long long *bits) { *bits = 0x24; return 0; }
"""


def test_nvml_is_read_as_its_header_says(gpu: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, library = tmp_path / "nvml.c", tmp_path / "libnvml.so"
    source.write_text(NVML)
    try:
        subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source], check=True)
    except OSError:
        pytest.skip("there is no C compiler")
    assert gpu.clocks.NVML("0000:1A:00.0", str(library))() == samples(gpu)[1]
    with pytest.raises(OSError, match="nvmlDeviceGetHandleByPciBusId_v2 returned 6"):
        gpu.clocks.NVML("elsewhere", str(library))
    with cupy_stand_in() as cupy:  # where CUDA gives no address, there are no samples

        def refused(device: int) -> str:
            raise cupy.cuda.runtime.CUDARuntimeError("cudaErrorNotSupported")

        monkeypatch.setattr(cupy.cuda.runtime, "deviceGetPCIBusId", refused, raising=False)
        assert gpu.clocks.of_card("cuda") is None
    assert gpu.clocks.of_card("cpu") is gpu.clocks.summary([]) is None


# ----------------------------------------------------------------------------------------------------------------- plan


def planned(gpu: SimpleNamespace, minutes: float, known: Any = None, memory: float = 150 * GB) -> list[Any]:
    entries: list[Any] = gpu.plan.plan(gpu.ladder.LADDER, 60 * minutes, known or {}, memory)
    return entries


@pytest.mark.parametrize("minutes", [13, 8, 3])
def test_a_plan_fits_and_begins_with_the_narrow_and_middle_ladder(gpu: SimpleNamespace, minutes: float) -> None:
    entries = planned(gpu, minutes)
    assert 0.5 * 60 * minutes < sum(entry.seconds for entry in entries) <= 60 * minutes - gpu.plan.START
    assert [entry.rung.network.name for entry in entries[:5]] == ["4x64", "4x128", "4x32", "4x256", "4x1024"]
    assert entries[0].left_out == []  # torch's strongest form is there, at the least
    assert all(set(entry.left_out) <= {*gpu.ladder.COMPILE_LONG} for entry in entries)
    assert {entry.rounds for entry in entries} == {3}


def test_what_was_measured_decides_instead_of_what_is_stated(gpu: SimpleNamespace) -> None:
    slow, ladder = gpu.ladder.COMPILED_TORCH, gpu.ladder.LADDER
    row = {"rung": str(ladder[0]), "preparation_s": {slow: 1000.0, "jax: scan": 3.0}}
    known = gpu.plan.measured([row])
    assert planned(gpu, 8, known)[0].left_out == [gpu.ladder.ON_COMPILED_TORCH, slow]
    assert gpu.plan.preparation(ladder[1], slow, known) == 1000.0  # nor will it be quicker with another
    fast = gpu.plan.measured({"rung": str(rung), "preparation_s": {slow: 2.0, "jax: scan": 1.0}} for rung in ladder)
    assert len(planned(gpu, 8, fast)) > len(planned(gpu, 8)) + 10
    assert planned(gpu, 60, fast)[0].rounds == 9


def test_memory_that_all_hold_at_once_is_planned(gpu: SimpleNamespace) -> None:
    (huge,) = (rung for rung in gpu.ladder.training(gpu.ladder.LARGE[1:], "float32"))
    (entry,) = gpu.plan.plan([huge], 3600, {}, 150 * GB)
    assert not entry.alone
    assert set(entry.left_out) == {*gpu.ladder.ON_LIBRARIES}
    assert entry.groups[0] == [gpu.ladder.REFERENCE]  # its pool is gone before the others come
    (entry,) = gpu.plan.plan([huge], 3600, {}, 80 * GB)
    assert entry.alone
    assert entry.groups == [[name] for name in entry.contenders]
    assert "one contender after the other" in gpu.plan.describe([entry], [huge], 60)
    (entry,) = gpu.plan.plan([huge], 3600, {}, 18 * GB)
    assert "trial: steps in one graph" in entry.left_out
    assert gpu.plan.plan([huge], 3600, {}, 4 * GB) == []
    assert "4x8192" in gpu.plan.describe([], [huge], 60)
    small = gpu.ladder.LADDER[0]
    assert gpu.plan.plan([small], 3600, {}, 20 * GB)[0].groups == [gpu.ladder.take_part(small)]
    (entry,) = gpu.plan.plan([small], 3600, {}, 16 * GB)
    assert (entry.alone, set(entry.left_out)) == (False, {*gpu.ladder.ON_LIBRARIES})


def test_a_plan_is_printed_without_a_gpu(
    gpu: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cr, "backend", None)
    monkeypatch.setattr(gpu.__main__, "WARMED_UP", tmp_path / "none")
    assert gpu.__main__.main(["--plan", "8", "--out", str(tmp_path)]) == 0
    first = capsys.readouterr().out
    assert first.startswith("The plan for 8 minutes")
    assert "training 4x64 at 4096 rows in float32\n" in first
    slow = {gpu.ladder.COMPILED_TORCH: 12.0}
    warmed = [{"rung": str(rung), "preparation_s": slow} for rung in gpu.ladder.LADDER]
    (tmp_path / "warmed-up.json").write_text(json.dumps({"rows": warmed}))
    monkeypatch.setattr(gpu.__main__, "WARMED_UP", tmp_path / "warmed-up.json")
    monkeypatch.setenv("CHAINRULE_RESULTS", str(tmp_path))
    assert gpu.__main__.main(["--plan", "8", "--only", "bf16", "tf32"]) == 0
    second = capsys.readouterr().out
    assert "float32" not in second
    assert "without" not in second


# --------------------------------------------------------------------------------------------------------- many of them


def test_each_rung_is_saved_and_what_does_not_fit_is_listed(gpu: SimpleNamespace, rung: Any) -> None:
    saved: list[tuple[list[Any], list[Any]]] = []

    def save(rows: list[Any], left_out: list[Any]) -> None:
        saved.append((list(rows), list(left_out)))

    (other,) = gpu.ladder.crossover((8,), (16,))
    gpu.race.measure([rung, other], course_of(gpu), save)
    assert [(len(rows), len(left_out)) for rows, left_out in saved] == [(0, 2), (1, 1), (2, 0), (2, 0)]

    class Long(Fake):
        def first(self, patience: float) -> Any:
            self.preparation = 1e4
            return super().first(patience)

    saved.clear()
    gpu.race.measure([rung, replace(rung, precision="tf32")], course_of(gpu, Long("jax: scan")), save)
    ((row,), (left_out,)) = saved[-1]
    assert row["preparation_s"] == {"jax: scan": 1e4}
    assert left_out["why"] == "it does not fit into the 1000 s, or into the device's memory."
    assert left_out["rung"] == "training 4x8 at 32 rows in tf32"


def test_nobody_is_waited_for_until_the_time_is_up(gpu: SimpleNamespace, rung: Any) -> None:
    waited: list[float] = []

    class Waited(Fake):
        def first(self, patience: float) -> Any:
            waited.append(patience)
            return super().first(patience)

    for seconds, planned_seconds in ((20.0, 10.0), (1000.0, 10.0), (1000.0, 100.0)):
        entry = gpu.plan.Entry(rung, ["ours: default"], 3, False, planned_seconds)
        gpu.race.race(entry, course_of(gpu, Waited("ours: default"), seconds=seconds))
    assert waited == pytest.approx([15.0, 45.0, 150.0], abs=1.0)


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
    monkeypatch.setattr(driver, "Lane", lambda name, place: Killed(name))
    rungs = [rung, replace(rung, precision="tf32")]
    with pytest.raises(KeyboardInterrupt):
        driver.run({}, rungs, "cpu", gpu.race.Budget(1000.0), path)
    for record in (*written, json.loads(path.read_text())):
        assert [row["network"] for row in record["rows"]] == ["4x8"]
        assert [one["why"] for one in record["not_measured"]] == ["the run has not come to it."]


def test_what_was_compiled_beside_the_tests_is_noted(
    gpu: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = gpu.runners.NotMeasuredError("no compiler")
    fakes: dict[str, Fake] = {}

    def lane(name: str, device: str) -> Fake:
        return fakes.setdefault(name, Fake(name, problem=("first", lost) if "torch" in name else None))

    monkeypatch.setattr(gpu.__main__, "Lane", lane)
    monkeypatch.setattr(gpu.__main__.signal, "signal", lambda *ignored: None)
    monkeypatch.setattr(gpu.__main__, "WARMED_UP", tmp_path / "warmed-up.json")
    gpu.__main__.warm(gpu.ladder.DRY, "cpu")
    noted = gpu.__main__.known(None)
    assert noted == {("jax: scan", str(rung)): gpu.plan.PREPARATION["jax: scan"] for rung in gpu.ladder.DRY}
    assert [fake.calls for fake in fakes.values()] == 3 * [[*2 * ["begin"], *2 * ["first"], *2 * ["close"]]]


def test_the_crossover_is_where_the_device_is_faster_from_then_on(gpu: SimpleNamespace) -> None:
    def row(width: int, rows: int, numpy: float | None, ours: float) -> dict[str, Any]:
        numpys = None if numpy is None else {"median_us": numpy}
        return {"layers": [width, 10], "batch": rows, "numpy": numpys, "fit": {"median_us": ours}}

    rows = [row(8, 64, 3, 1), row(8, 16, 2, 1), row(8, 32, 1, 2), row(16, 16, 2, 1), row(16, 32, 2, 2)]
    rows += [row(32, 16, 9, 1), row(32, 32, 1, 2), row(64, 16, None, 1), row(64, 32, 2, 1)]
    assert gpu.table.crossovers(rows) == {8: 64, 16: 16, 32: None, 64: 32}


# ----------------------------------------------------------------------------------------------------- what is measured


def test_the_ladder_is_what_it_says(gpu: SimpleNamespace) -> None:
    ladder = gpu.ladder
    assert ladder.deep(64, 4096).sizes == (64, 64, 64, 64, 64, 10)
    assert len(set(map(str, ladder.LADDER))) == len(ladder.LADDER)
    for rung in (*ladder.LADDER, *ladder.DRY):
        assert set(ladder.take_part(rung)) <= set(gpu.lanes.CONTENDERS)
        assert ladder.COMPARED % rung.steps == 0
        assert rung.kind != "training" or rung.batches % rung.steps == 0
    raced = {rung.precision: {*ladder.take_part(rung)} for rung in ladder.LADDER if rung.kind == "training"}
    assert raced["float32"] >= {*ladder.ON_LIBRARIES}
    assert not (raced["tf32"] | raced["bf16"]) & {*ladder.ON_LIBRARIES}
    measured = {(rung.kind, rung.precision) for rung in ladder.LADDER}
    assert measured == {("training", p) for p in ("float32", "tf32", "bf16")} | {
        ("inference", "float32"),
        ("crossover", "float32"),
    }
    names = {name for column in ladder.COLUMNS.values() for name in column}
    assert names | {ladder.REFERENCE} == set(gpu.lanes.CONTENDERS) == set(gpu.plan.PREPARATION)


def test_the_floor_is_all_products_of_a_step_and_28_bytes_a_parameter(gpu: SimpleNamespace, rung: Any) -> None:
    products, copies = gpu.products.work(rung, np.asarray)
    assert sum(2 * a.shape[0] * a.shape[1] * b.shape[1] for a, b, _ in products) == rung.network.flop
    assert all((a @ b).shape == out.shape for a, b, out in products)
    assert 2 * sum(target.nbytes for target, _ in copies) == 28 * rung.network.net.size


def test_a_large_floor_copies_in_parts_that_no_cache_holds(gpu: SimpleNamespace, monkeypatch: Any, rung: Any) -> None:
    monkeypatch.setattr(gpu.products, "_CHUNK", 100)
    _, copies = gpu.products.work(rung, np.asarray)
    assert 2 * sum(target.nbytes for target, _ in copies) == 28 * rung.network.net.size
    assert max(target.size for target, _ in copies) == 100


def test_the_floor_is_timed_by_torch_as_well(gpu: SimpleNamespace, rung: Any) -> None:
    find_library("torch").set_num_threads(1)
    runner = gpu.products.torch_mm(rung, "cpu")
    assert runner.first() is None
    assert 0 < runner.seconds(1e-3) < 1


def test_a_contender_lives_in_a_process_that_may_be_lost(gpu: SimpleNamespace, rung: Any) -> None:
    lane, NotMeasuredError = gpu.lanes.Lane("ours: default", "cpu"), gpu.runners.NotMeasuredError
    try:
        lane.begin(rung)
        found = gpu.equality.differences(lane.first(60.0), gpu.reference.float64(rung, "cpu").first())
        assert gpu.equality.is_equal(found, gpu.equality.allowed(rung))
        assert 0 < lane.seconds(0.001, 60.0) < 1
        assert lane.preparation == 0  # imports are not held against it
        lane.begin(rung)
        lane.first(60.0)
        assert lane.preparation > 0
        lane._process.kill()
        lane._process.join()
        with pytest.raises(NotMeasuredError, match="its process has ended"):
            lane.seconds(0.001, 60.0)
        lane.begin(rung)
        time.sleep(0.01)
        with pytest.raises(NotMeasuredError, match="had not answered after 0 s"):
            lane.first(-1.0)  # others were waited for until the deadline
        assert lane._process is None
        assert lane.preparation > 0
    finally:
        lane.close()


def test_a_contender_says_why_it_takes_no_part_and_ends_with_its_parent(gpu: SimpleNamespace, rung: Any) -> None:
    lane = gpu.lanes.Lane("trial: one kernel", "cpu")
    try:
        lane.begin(rung)
        with pytest.raises(gpu.runners.NotMeasuredError, match="on a CUDA device"):
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
    committed = BENCHMARKS / "results"
    before = {path: path.stat().st_mtime_ns for path in committed.iterdir()}
    command = [sys.executable, "-m", "gpu", "--dry-run", "--minutes", "5"]
    environment = os.environ | {"PYTHONPATH": str(BENCHMARKS), "CHAINRULE_RESULTS": str(tmp_path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=400)
    assert done.returncode == 0, done.stderr
    assert {path: path.stat().st_mtime_ns for path in committed.iterdir()} == before
    (path,) = tmp_path.iterdir()
    record = json.loads(path.read_text())
    assert {"device", "driver", "commit", "versions", "clocks", "minutes", "only", "crossover"} <= set(record)
    assert record["not_measured"] == []
    training, inference = record["rows"]
    for column in ("floor", "default", "compile=True", "trial", "on torch", "on jax", "torch", "jax"):
        assert 0 < training[column]["min_us"] <= training[column]["median_us"]
    assert training["not_measured"] == {
        "torch: in a graph": "a CUDA graph needs a CUDA device.",
        "on torch: compile=True": "its kernels are for a CUDA device.",
        "trial: epilogues": "cuBLASLt's products are for a CUDA device.",
    }
    assert all(row["comparable"] for row in record["rows"])
    assert max(training["forms"]["jax: scan"]["differences"].values()) < 1e-5
    assert inference["forms"]["jax: scan"]["differences"] == {"classes": 0.0}
    assert "The plan for 5 minutes" in done.stdout
    assert str(path) in done.stdout


@pytest.mark.gpu
@pytest.mark.alone
def test_every_library_on_a_device(gpu: SimpleNamespace) -> None:
    find_library("cupy")
    if not (find_library("torch").cuda.is_available() and find_library("jax").default_backend() == "gpu"):
        pytest.skip("torch or jax has no CUDA device")
    lanes = {name: gpu.lanes.Lane(name, "cuda") for name in gpu.lanes.CONTENDERS if name not in gpu.ladder.COMPILE_LONG}
    try:
        with gpu.clocks.Clocks(gpu.clocks.of_card("cuda")) as clocks:
            course = gpu.race.Course(lanes, gpu.race.Budget(120.0), clocks, 16 * GB)
            for rung in (gpu.ladder.Rung(gpu.ladder.deep(32, 256), kind) for kind in ("training", "inference")):
                names = [name for name in gpu.ladder.take_part(rung) if name in lanes]
                row = gpu.race.race(gpu.plan.Entry(rung, names, 1, False, 60.0), course)
                row["not_measured"].pop("trial: epilogues", None)  # which a device need not have
                assert set(row["not_measured"]) <= {*gpu.ladder.COMPILE_LONG}
                assert row["comparable"], row["forms"]
    finally:
        for lane in lanes.values():
            lane.close()
