"""The driver of benchmarks/ and its page: which table a machine is held to, who does not answer, what is committed."""

from __future__ import annotations

import importlib
import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from conftest import find_library

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
MODULES = ("run", "peers", "contenders", "one_path", "trainings", "report")


@pytest.fixture(scope="module")
def suite() -> Iterator[SimpleNamespace]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        yield SimpleNamespace(**{name: importlib.import_module(name) for name in MODULES})


# ------------------------------------------------------------------------------------------------------------- the gate


@pytest.mark.parametrize(
    ("vendor", "flags", "kind"),
    [
        ("AuthenticAMD", "sse2 avx2 avx512f avx512_bf16", "AMD, AVX-512"),
        ("GenuineIntel", "avx2 avx512f amx_bf16 amx_tile", "Intel, AMX"),
        ("GenuineIntel", "avx2 fma", "Intel, AVX2"),
    ],
)
def test_a_class_of_machines_is_vendor_widest_instructions_and_cores(
    suite: Any, vendor: str, flags: str, kind: str
) -> None:
    cores = len(os.sched_getaffinity(0))
    assert suite.run.machine_class({"vendor_id": vendor, "flags": flags}) == f"{kind}, {cores} cores"


def results_of(kind: str, ratio: float) -> str:
    return json.dumps({"machine": {"class": kind}, "ratios": {"steps": {"tiny": {"plain": {"min": ratio}}}}})


def test_a_machine_is_held_to_its_own_table_else_to_that_of_its_class(suite: Any, tmp_path: Path) -> None:
    own = tmp_path / "mine.json"
    (tmp_path / "another.json").write_text(results_of("Intel, AMX, 2 cores", 1.0))
    (tmp_path / "brother.json").write_text(results_of("AMD, AVX-512, 2 cores", 2.0))
    (tmp_path / "no-ratios.json").write_text(json.dumps({"machine": {"class": "AMD, AVX-512, 2 cores"}, "peers": {}}))
    (tmp_path / "fuzz.json").write_text("{}")
    name, steps = suite.run.committed_ratios(own, "AMD, AVX-512, 2 cores")
    assert (name, steps["tiny"]["plain"]["min"]) == ("brother.json", 2.0)
    own.write_text(results_of("AMD, AVX-512, 2 cores", 3.0))
    assert suite.run.committed_ratios(own, "AMD, AVX-512, 2 cores")[0] == "mine.json"
    assert suite.run.committed_ratios(tmp_path / "none.json", "Intel, AVX2, 4 cores") is None


def test_the_gate_says_that_there_is_no_table(
    suite: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(suite.run, "RESULTS", tmp_path)
    assert suite.run.gate() == 2
    assert "no ratios are committed for this class of machines (" in capsys.readouterr().out


# ------------------------------------------------------------------------------------------------- who does not answer


class Instant:
    """A contender that is ready."""

    name, setting = "chainrule", "NumPy"

    def prepare(self, task: Any) -> np.ndarray:
        return np.ones(20)

    def block(self, task: Any) -> float:
        return 1e-6


def test_a_contender_that_hangs_is_killed_and_the_table_says_so(suite: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suite.peers, "SECONDS", {"prepare": 0.3, "block": 0.3})
    with suite.peers.contenders(["sklearn"]) as (stuck,):
        os.kill(stuck._process.pid, signal.SIGSTOP)
        started = time.perf_counter()
        us, faster = suite.peers.race(suite.contenders.Task("tiny"), [Instant(), stuck], 2, "a step")
        assert time.perf_counter() - started < 10
        stuck._process.join(10)
        assert not stuck._process.is_alive()
        with pytest.raises(suite.peers.FailedError, match=r"no answer in 0\.3 s"):
            stuck.block(suite.contenders.Task("tiny"))
    assert us["sklearn"] == {"problem": "no answer in 0.3 s"}
    assert (us["chainrule"]["min"], faster) == (1.0, {"plain": {}})
    assert suite.report.speedup({"us": us, "speedup": faster}, "plain", "sklearn") == "no answer in 0.3 s"


def test_a_training_in_a_process_says_why_it_has_no_time(suite: Any) -> None:
    assert suite.trainings.run(["-c", "while True: pass"], limit=0.2) == {"problem": "no answer in 0.2 s"}
    assert suite.trainings.run(["-c", "import nowhere"])["problem"].endswith("No module named 'nowhere'")
    found = suite.trainings.run(["-c", "print('{\"seconds\": 1.0}')"])
    assert found["seconds"] == 1.0
    assert found["wall"] > 0.0


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux says how much a process held at most")
def test_a_training_in_a_process_reaches_its_accuracy(suite: Any) -> None:
    find_library("sklearn")
    found = suite.trainings.run([suite.trainings.__file__, "chainrule", "digits", "0"])
    assert 1 < found["epochs"] < 100


# ------------------------------------------------------------------------------------------- what one code path costs


class Asking:
    """The parent's end of a connection: questions in turn, and the answers."""

    def __init__(self, *questions: Any) -> None:
        self.questions, self.answers = list(questions), []

    def recv(self) -> Any:
        return self.questions.pop(0)

    def send(self, answer: Any) -> None:
        self.answers.append(answer)


@pytest.mark.parametrize("library", ["torch", "jax"])
def test_fit_and_the_librarys_own_training_have_equal_losses(
    suite: Any, library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    find_library(library)
    monkeypatch.setitem(suite.one_path.STEPS, "tiny", 8)  # so that 20 are in three epochs
    task, seconds = suite.contenders.Task("tiny"), []
    noted = suite.one_path.OnDemand.on_epoch_end

    def on_epoch_end(self: Any, run: Any, record: Any) -> None:
        seconds.append(record["seconds"] / 8)
        noted(self, run, record)

    monkeypatch.setattr(suite.one_path.OnDemand, "on_epoch_end", on_epoch_end)
    asking = Asking(*((question, task, 2) for question in ("prepare", "block", "block", "first")))
    suite.one_path.fit(asking, suite.one_path.FIT + library)
    *times, (ours, problem) = asking.answers
    assert problem is None
    assert times == [(("fit", None), None), (seconds[1], None), (seconds[2], None)]  # the first is not counted
    (make, *_) = suite.one_path.OWN[library](suite.contenders.GRID["tiny"], None).values()
    own = make()
    theirs = own.first()
    assert ours.shape == (20,)
    assert suite.peers.difference(task, ours, theirs) is None
    assert suite.peers.difference(task, ours, own.first()) is not None  # of later steps
    assert 0 < own.block(1) < 1


def test_a_fit_that_fails_says_why(suite: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    find_library("torch")
    monkeypatch.setitem(suite.one_path.STEPS, "tiny", 0)
    asking = Asking(("prepare", suite.contenders.Task("tiny"), 2))
    suite.one_path.fit(asking, suite.one_path.FIT + "torch")
    ((value, problem),) = asking.answers
    assert value is None
    assert "Error: " in problem


class Made:
    """A contender of made-up seconds and losses."""

    def __init__(self, name: str, us: float = 1.0, losses: float = 1.0, problem: str = "") -> None:
        self.name, self.setting, self._us, self._losses, self._problem = name, "", us, losses, problem
        self.threads: int | None = None

    def prepare(self, task: Any) -> Any:
        self.setting, self.threads = "fused Adam, 2 threads", task.threads
        return None if self.name.startswith("fit") else self._losses * np.ones(20)

    def block(self, task: Any) -> float:
        return 1e-6 * self._us

    def first(self, task: Any) -> np.ndarray:
        if self._problem:
            raise importlib.import_module("peers").FailedError(self._problem)
        return np.ones(20)


def test_one_path_is_compared_before_it_counts(suite: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = [Made("fit on torch", 3.0), Made("fit on torch_compile"), Made("fit on jax", problem="no answer in 60 s")]
    theirs = [Made("torch", 2.0), Made("torch_compile", losses=1.1), Made("jax")]
    sides = iter([ours, theirs])
    monkeypatch.setattr(suite.one_path, "contenders", lambda names, answer: nullcontext(next(sides)))
    found = suite.one_path.race(suite.contenders.Task("wide"), ["torch", "torch_compile", "jax"])
    assert found["torch"]["ratio"] == {"min": 1.5, "paired": 1.5}
    assert (ours[0].threads, theirs[0].threads) == (2, None)
    assert found["torch_compile"] == {"problem": "its loss in step 1 is 1.1, chainrule's is 1"}
    assert found["jax"] == {"problem": "fit on jax: no answer in 60 s"}
    results = measured("Intel, AMX, 2 cores", 4.0) | {"one path": {"wide": found}}
    page = suite.report.page([measured("AMD, AVX2, 8 cores", 3.0), results])
    section = page.partition("## What one code path costs\n")[2].partition("\n## ")[0]
    assert "### Intel, AMX, 2 cores: a CPU of 4\n" in section
    assert "AMD" not in section
    assert "| torch eager | 1.50 [1.50] |" in section
    assert "Not timed: torch.compile: its loss in step 1 is 1.1, chainrule's is 1 (at wide);" in section
    assert "training is 1.5 to 1.5 on Intel, AMX, 2 cores." in suite.report.spoken([results]).replace("\n", " ")


# ------------------------------------------------------------------------------------------------------------- the page


def test_the_committed_page_and_the_sentence_are_those_of_the_committed_results(suite: Any) -> None:
    report, found = suite.report, suite.report.machines()
    says = "is old: run ci/bench --page"
    assert report.PAGE.read_text() == report.page(found), f"docs/performance.md {says}"
    readme = report.README.read_text()
    assert readme == report.with_sentence(readme, found), f"README.md {says}"
    assert "strict float32" in report.spoken(found)
    for results in found:
        assert results["machine"]["class"] in report.spoken(found)


def measured(kind: str, us: float) -> dict[str, Any]:
    steps = {"plain": {"min": 2.0, "median": 2.0, "us": 200.0}, "floor": {"us": 100.0, "products_us": 80.0}}
    times = {"chainrule": {"min": us, "setting": "NumPy"}, "torch_bf16": {"min": 7.0}, "openvino": {"problem": "no."}}
    machine = {"class": kind, "cpu": f"a CPU of {us:g}", "system": "", "blas": "", "versions": {}}
    product = {"products_numpy": {"min": 10.0}, "products_mkl_tbb": {"min": 5.0}}
    peers = {"networks": {"tiny": {"us": times, "speedup": {"plain": {}}}}, "inference": {"tiny": {"1": times}}}
    peers["left_out"] = ["jax is left out: jax not installed."]
    return {
        "stem": "x",
        "machine": machine,
        "ratios": {"steps": {"tiny": steps}},
        "peers": peers | {"products": {"tiny": product}},
        "trainings": {"short": {"1000": {"sklearn": {"wall": {"min": 1.0, "median": 1.5}}, "us": {"problem": "died"}}}},
    }


def test_every_topic_has_each_machine_under_its_class(suite: Any) -> None:
    page = suite.report.page([measured("AMD, AVX2, 8 cores", 3.0), measured("Intel, AMX, 2 cores", 4.0)])
    topics = {part.splitlines()[0]: part for part in page.split("\n## ")}
    for title in ("Machine by machine", "Predictions beside other libraries", "Steps over the floor", "Products"):
        assert "### AMD, AVX2, 8 cores: a CPU of 3\n" in topics[title]
        assert "### Intel, AMX, 2 cores: a CPU of 4\n" in topics[title]
    assert "jax is left out: jax not installed." in topics["Machine by machine"]
    assert "| tiny | 7 |" in topics["Steps in lower precision"]
    assert "Not timed: OpenVINO: no (at tiny, 1)." in topics["Predictions beside other libraries"]
    assert "| 1.5 [1] |" in topics["Short fits in a new process"]
    assert "Not timed: us: died (at 1000)." in topics["Short fits in a new process"]


def test_the_floor_of_the_fastest_products_is_the_floor_with_their_share(suite: Any) -> None:
    results = measured("AMD, AVX2, 8 cores", 3.0)
    assert suite.report.fastest_floor(results, "tiny") == (100.0 - 80.0 / 2, "MKL, TBB")
    assert "| tiny | 100 | 2.00 [2.00] |  | 60 (MKL, TBB) | 3.33 |  |" in suite.report.steps_over_the_floor(
        results["ratios"]["steps"], results
    )
    del results["peers"]["products"]
    assert suite.report.fastest_floor(results, "tiny") is None


def test_a_product_by_another_library_is_that_of_numpy(suite: Any) -> None:
    module: ModuleType = suite.contenders
    network = module.GRID["tiny"]
    for name in ("products_torch", "products_mkl_sequential"):
        if name not in suite.peers.installed()[0]:
            continue  # torch is on most machines that run this, MKL on few
        (make, *_) = module.CONTENDERS[name](network, None).values()
        np.testing.assert_allclose(make().first(), module.Products(network).first(), rtol=1e-5)
