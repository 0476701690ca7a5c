"""The first call of a process: Numba is imported where it pays, which the problem says, and its loops are kept."""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import find_library

import chainrule as cr
from chainrule import _kernels
from chainrule._kernels import _numba, _worth, has_loops, with_loops, with_providers
from chainrule._model import serialization
from chainrule.cli import main
from chainrule.layers import activate, affine
from chainrule.links import largest

NET = cr.mlp([4, 64, 64, 3])
X = np.random.default_rng(0).normal(size=(300, 4)).astype(np.float32)
Y = np.argmax(X @ np.random.default_rng(1).normal(size=(4, 3)), axis=1)
FIT: dict[str, Any] = {"loss": "softmax_cross_entropy", "batch_size": 30, "verbose": False}

numba = pytest.mark.skipif(not _numba.is_installed(), reason="Numba is not installed: pip install 'chainrule[fast]'")


@pytest.fixture
def threshold(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Put it where it divides short trainings from shorter ones."""
    return lambda seconds: monkeypatch.setattr(_worth, "_TRAINING", seconds)


def in_new_process(script: str, *words: str, **environment: str) -> str:
    command = [sys.executable, "-c", textwrap.dedent(script), *words]
    done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


# ----------------------------------------------------------------------------------------------- whether Numba is there

CALLS = """
    import sys
    import numpy as np
    import chainrule as cr
    X = np.random.default_rng(0).normal(size=(300, 4)).astype(np.float32)
    y = np.arange(300) % 3
    given = cr.mlp([4, 64, 64, 3]), X, y
    how = {"loss": "softmax_cross_entropy", "batch_size": 30, "verbose": False}
    def short():
        return cr.fit(*given, **how, epochs=3)
    def there():
        print("numba" in sys.modules)
"""


@numba
def test_a_short_training_and_its_predictions_do_without_numba() -> None:
    script = (
        CALLS
        + """
    model = short()
    for _ in range(50):
        model.predict(X)
    model.evaluate(X, y)
    model.to("numpy", dtype="float64").predict(X)
    many = np.tile(X, (20, 1)), np.tile(y, 20)
    cr.find_rate(given[0], *many, loss="softmax_cross_entropy", batch_size=30)
    cr.find_rate(given[0], lambda: iter([(X, y)] * 99), loss="softmax_cross_entropy")
    cr.MLPClassifier((64, 64), max_iter=3, tol=0.0, n_iter_no_change=5).fit(X, y).predict(X)
    cr.MLPClassifier((64, 64), max_iter=3, solver="lbfgs").fit(X, y).predict(X)
    there()
    print(model.backend.info["kernels"]["adam"], "affine" in model.backend.info["kernels"])
    """
    )
    assert in_new_process(script).split() == ["False", "numpy", "False"]


@numba
def test_a_long_training_has_numba() -> None:
    """What is asked for counts, whatever ends it early."""
    script = (
        CALLS
        + """
    class Stop(cr.Callback):
        def on_epoch_end(self, run, record):
            run.stop("enough")
    models = [
        cr.fit(*given, **how, epochs=10_000, callbacks=[Stop()]),
        cr.fit(given[0], lambda: iter([(X, y)]), loss="softmax_cross_entropy", epochs=1),  # nobody knows how many
        cr.MLPClassifier((64, 64), max_iter=10_000, batch_size=30, callbacks=[Stop()]).fit(X, y).model_,
        cr.MLPClassifier((64, 64), max_iter=10_000, solver="lbfgs", tol=10.0).fit(X, y).model_,
    ]
    there()
    print(*(model.backend.info["kernels"]["affine"] for model in models))
    print(cr.backend("numpy").info["kernels"]["adam"])
    """
    )
    assert in_new_process(script).split() == ["True", *["numba"] * 4, "numpy"]


@numba
def test_a_model_that_is_asked_for_long_has_numba_in_the_end() -> None:
    script = (
        CALLS
        + """
    from chainrule._kernels import _worth
    _worth._PREDICTIONS = 1e-3
    model = short()
    first = model.predict_proba(X)
    there()
    for _ in range(20):
        assert np.array_equal(model.predict_proba(X), first)
    there()
    """
    )
    assert in_new_process(script).split() == ["False", "True"]


@numba
def test_a_prediction_is_the_same_with_numbas_loops_and_without() -> None:
    """Which it has depends on what was asked for before."""
    rng = np.random.default_rng(0)
    for sizes in ((5, 7, 3), (20, 64, 64, 2), (3, 300, 40, 1)):
        for activation in ("relu", "tanh"):
            network, rows = cr.mlp(list(sizes), activation=activation), rng.integers(1, 5000)
            made = cr.Model(network, network.initial_theta(1), np.zeros(0), cr.SquaredError(), cr.backend("numpy"))
            given = rng.normal(size=(rows, sizes[0])) * 10.0 ** rng.integers(-20, 20)
            told = [with_providers(made.backend, fast=fast) for fast in (False, True)]
            assert list(map(has_loops, told)) == [False, True]
            plain, fast = (replace(made, backend=on) for on in told)
            for _ in range(3):  # as it is, recorded, replayed
                assert np.array_equal(plain.predict(given), fast.predict(given))


# -------------------------------------------------------------------------------------------------------- which one ran


@numba
def test_the_choice_is_one_of_the_problem(threshold: Callable[[float], None]) -> None:
    steps = 10 * 5
    threshold(0.9 * steps * 30e-6)
    pays = [_worth.training_pays(NET, 30, steps * by) for by in (0.1, 1, 10)]
    assert pays == [False, True, True]
    for by in (0.1, 1, 10):
        model = cr.fit(NET, X, Y, epochs=int(5 * by) or 1, **FIT)
        assert has_loops(model.backend) == _worth.training_pays(NET, 30, 10 * (int(5 * by) or 1))
    # Neither what the model had before nor what a backend that is handed on has: the same problem, the same bits.
    short = cr.fit(model, X, Y, epochs=1, batch_size=30)
    assert has_loops(model.backend)
    assert not has_loops(short.backend)
    assert not has_loops(cr.fit(NET, X, Y, epochs=1, **FIT, backend=model.backend).backend)


@numba
def test_partial_fit_counts_all_its_calls(threshold: Callable[[float], None]) -> None:
    net = cr.MLPClassifier((64, 64), batch_size=30, random_state=0)
    threshold(1.01 * 30 * (_worth._seconds(cr.mlp([4, 64, 64, 3]), 30, passes=3) + 2e-9 * cr.mlp([4, 64, 64, 3]).size))
    plain = cr.MLPClassifier(**net.get_params()).set_params(backend=with_providers(cr.backend("numpy"), fast=False))
    for loops in (False, False, False, True, True):
        for one in (net, plain):
            one.partial_fit(X, Y, classes=[0, 1, 2])
        assert has_loops(net.model_.backend) == loops
        assert np.array_equal(net.model_.theta, plain.model_.theta) != loops  # what is compiled is not kept


@numba
@pytest.mark.parametrize("began", [False, True], ids=["numpy", "numba"])
def test_a_training_that_is_gone_on_with_has_what_it_began_with(
    began: bool, tmp_path: Path, threshold: Callable[[float], None]
) -> None:
    """Also where more epochs, asked for from the start, would have had the other."""
    threshold(0.0 if began else 1e9)
    cr.fit(NET, X, Y, epochs=2, **FIT, checkpoint=tmp_path)
    whole = cr.fit(NET, X, Y, epochs=4, **FIT)
    threshold(1e9 if began else 0.0)
    other = cr.fit(NET, X, Y, epochs=4, **FIT)
    gone_on = cr.fit(NET, X, Y, epochs=4, **FIT, checkpoint=cr.Checkpoint(tmp_path, resume=True))
    assert has_loops(gone_on.backend) == began != has_loops(other.backend)
    assert np.array_equal(gone_on.theta, whole.theta)
    assert not np.array_equal(gone_on.theta, other.theta)  # the two can be told apart


@numba
def test_a_divergence_is_replayed_on_what_ran(threshold: Callable[[float], None]) -> None:
    threshold(0.0)
    rate = cr.SGD(1e25)
    with pytest.raises(cr.DivergenceError) as caught:
        cr.fit(NET, X, Y, optimizer=rate, epochs=4, **FIT)
    assert has_loops(caught.value.model.backend)
    assert "the replay stayed finite" not in str(caught.value)


@numba
def test_a_checkpoint_of_before_goes_on_with_numba_where_it_is(
    tmp_path: Path, threshold: Callable[[float], None]
) -> None:
    threshold(0.0)
    cr.fit(NET, X, Y, epochs=2, **FIT, checkpoint=tmp_path)
    (path,) = tmp_path.glob("epoch*")
    arrays, description = serialization.read(path)
    del description["training"]["loops"], description["format"], description["versions"]
    serialization.write(path, arrays, description)
    threshold(1e9)
    assert has_loops(cr.fit(NET, X, Y, epochs=3, **FIT, checkpoint=cr.Checkpoint(tmp_path, resume=True)).backend)


@numba
def test_where_numba_is_gone_a_training_that_had_it_is_not_gone_on_with(
    tmp_path: Path, threshold: Callable[[float], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    threshold(0.0)
    cr.fit(NET, X, Y, epochs=2, **FIT, checkpoint=tmp_path)
    monkeypatch.setattr(_numba, "load", lambda: None)
    with pytest.raises(cr.BackendError, match=r"ran with Numba's loops, .* pip install 'chainrule\[fast\]', or start"):
        cr.fit(NET, X, Y, epochs=3, **FIT, checkpoint=cr.Checkpoint(tmp_path, resume=True))


@pytest.mark.parametrize("on", [{"compile": False}, {"kernels": False}], ids=str)
def test_where_nothing_is_recorded_numba_is_not_said_to_run(
    on: dict[str, bool], threshold: Callable[[float], None]
) -> None:
    threshold(0.0)
    model = cr.fit(NET, X, Y, epochs=1, **FIT, backend=cr.backend("numpy", **on))
    assert "numba" not in model.backend.info["kernels"].values()


def test_bodies_that_others_put_in_stay() -> None:
    mine = {affine: lambda *_: NotImplemented, largest: lambda *_: NotImplemented}
    on = replace(cr.backend("numpy"), providers={**cr.backend("numpy").providers, **mine})
    for pays in (True, False, True):
        on = with_loops(on, pays=pays)
        assert {operation: on.providers[operation] for operation in mine} == mine
    assert _kernels._numba.is_installed() == (on.info["kernels"]["activate"] == "numba")
    bare = replace(on, providers={activate: mine[affine]})
    assert with_loops(bare, pays=True) is bare


# -------------------------------------------------------------------------------------------------- where they are kept

TWO_LOOPS = """
    import numpy as np
    from chainrule._kernels import _compiled, kept_loops
    for dtype in ("float32", "float64"):
        _compiled.add_row(np.ones((2, 3), dtype), np.ones((1, 3), dtype))
        _compiled.column_sums(np.ones((2, 3), dtype), np.ones((1, 3), dtype))
    print(*kept_loops(), sep=", ")
"""


@numba
def test_what_two_processes_compile_at_once_a_third_one_reads(tmp_path: Path) -> None:
    command, environment = [sys.executable, "-W", "error", "-c", textwrap.dedent(TWO_LOOPS)], {**os.environ}
    environment["NUMBA_CACHE_DIR"] = str(tmp_path)
    both = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    for process in both:
        said = process.communicate(timeout=120)[0]
        assert process.returncode == 0
        assert f", {tmp_path}" in said
    in_new_process(TWO_LOOPS, NUMBA_CACHE_DIR=str(tmp_path))  # may find what one of them put in the other's place
    assert in_new_process(TWO_LOOPS, NUMBA_CACHE_DIR=str(tmp_path)).startswith(f"4, 0, {tmp_path}")


@numba
def test_a_loop_under_the_name_of_another_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes that write at once may leave it there: the index of one, the file of the other."""
    numba, compiled = importlib.import_module("numba"), importlib.import_module("chainrule._kernels._compiled")
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))

    def halved(x: Any, out: Any) -> None:
        for i in range(x.size):
            out[i] = x[i] / 2

    def run(dtype: str) -> Any:
        loop, out = compiled.compiled(halved), np.zeros(3, dtype)
        loop(np.arange(3, dtype=dtype), out)
        assert out.tolist() == [0.0, 0.5, 1.0]
        return loop

    run("float32")
    (first,) = tmp_path.rglob("*.nbc")
    kept = first.read_bytes()
    run("float64")
    (second,) = set(tmp_path.rglob("*.nbc")) - {first}
    second.write_bytes(kept)
    assert not run("float64").stats.cache_hits
    assert run("float64").stats.cache_hits


@numba
def test_an_installation_that_is_read_only_and_has_no_home_keeps_nothing_and_says_so(tmp_path: Path) -> None:
    """As a container's may be. The folder of a user that has none cannot be made, by root neither: a file is there."""
    root = tmp_path / "installed"
    shutil.copytree(Path(cr.__file__).parent, root / "chainrule", ignore=shutil.ignore_patterns("__pycache__"))
    (root / "chainrule" / "_kernels" / "__pycache__").write_text("")
    (tmp_path / "home").write_text("")
    environment = {"PYTHONPATH": str(root), "HOME": str(tmp_path / "home"), "PYTHONDONTWRITEBYTECODE": "1"}
    environment |= {"XDG_CACHE_HOME": str(tmp_path / "home" / "cache"), "NUMBA_CACHE_DIR": ""}
    command = [sys.executable, "-W", "always", "-c", textwrap.dedent(TWO_LOOPS)]
    done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, timeout=120)
    assert done.stdout == "4, 4, None\n", done.stderr
    assert done.stderr.count("let NUMBA_CACHE_DIR name a folder that can be written to") == 1
    (root / "chainrule" / "_kernels" / "__pycache__").unlink()
    assert f"4, 4, {root}" in in_new_process(TWO_LOOPS, **environment)


def test_the_command_says_what_was_compiled(capsys: pytest.CaptureFixture[str]) -> None:
    find_library("numba")
    assert main(["warm-up"]) == 0
    assert main(["warm-up"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert " loops of Numba for float32 and float64, " in first
    assert ", 0 compiled now, kept in " in second


def test_without_numba_the_command_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(_numba, "load", lambda: None)
    assert main(["warm-up"]) == 1
    assert "pip install 'chainrule[fast]'" in capsys.readouterr().err
