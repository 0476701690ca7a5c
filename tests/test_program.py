"""NumPy's compiled steps: a recorded step gives the bits of the step itself, and freezes nothing that changes."""

from __future__ import annotations

import itertools
import tracemalloc
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import pytest
from conftest import about, find_library

import chainrule as cr
from chainrule._backend import Backend, _program
from chainrule._backend import reference_backend as bare
from chainrule._backend._program import Replayed
from chainrule._backend._record import kernel
from chainrule._kernels import with_providers
from chainrule.activations import ACTIVATIONS, Step
from chainrule.batch import Batch, make_window
from chainrule.losses import LOSSES, LossFunction
from chainrule.network import Sequential, mlp
from chainrule.optimizers import OPTIMIZERS
from chainrule.training._step import Problem, State, copy_state, initial_state, make_epoch_step, make_step

ROWS, N_IN, N_OUT = 60, 5, 3
RNG = np.random.default_rng(3)
X, CLASSES, NUMBERS = RNG.normal(size=(ROWS, N_IN)), RNG.integers(0, N_OUT, (ROWS, 1)), RNG.random((ROWS, N_OUT))
WEIGHT = RNG.random((ROWS, 1))
NET, LOSS = mlp([N_IN, 8, 6, N_OUT]), cr.SoftmaxCrossEntropy()


def problems() -> dict[str, Problem]:
    """Every part that the library has, each in some problem."""
    made = {f"optimizer {name}": Problem(NET, LOSS, make()) for name, make in OPTIMIZERS.items()}
    for name in ACTIVATIONS:
        if name != "step":
            made[f"activation {name}"] = Problem(mlp([N_IN, 6, N_OUT], activation=name), LOSS, cr.Adam(0.01))
    for name, loss in LOSSES.items():
        made[f"loss {name}"] = Problem(NET, loss, cr.SGD(0.01))
    for name, layer in {
        "batch norm": cr.BatchNorm(8), "layer norm": cr.LayerNorm(8), "dropout": cr.Dropout(0.3),
        "randomized": cr.RandomizedLeakyReLU(), "softmax": cr.Softmax(),
    }.items():  # fmt: skip
        layers = Sequential(cr.Dense(N_IN, 8, bias=False), layer, cr.Tanh(), cr.Dense(8, N_OUT))
        made[f"layer {name}"] = Problem(layers, LOSS, cr.AdamW(0.01))
    for schedule in (cr.CosineDecay(0.1, warmup=2, steps=9), cr.StepDecay(0.1, every=2), cr.InverseScaling(0.1)):
        made[repr(schedule)] = Problem(NET, LOSS, cr.Momentum(schedule, nesterov=True))
    made["penalty and norm"] = Problem(NET, LOSS, cr.Lion(decay=0.1), cr.Penalty(0.1, 0.1), cr.ClipNorm(0.1))
    made["penalty and value"] = Problem(NET, LOSS, cr.SGD(), cr.Penalty(l2=0.1, over="examples"), cr.ClipValue(0.01))
    hat, every_two = cr.Adam(epsilon=1e-2, epsilon_hat=True), cr.StepDecay(0.1, every=2)
    made["epsilon hat"] = Problem(NET, LOSS, hat)
    made["velocity, nesterov"] = Problem(NET, LOSS, cr.VelocityMomentum(every_two, nesterov=True))
    made["no bias"] = Problem(Sequential(cr.Dense(N_IN, N_OUT, bias=False)), LOSS, cr.Adam())
    made["own"] = Problem(
        mlp([N_IN, 6, N_OUT], activation=cr.Activation(lambda xp, z: xp.sin(z), lambda xp, z: xp.cos(z))),
        cr.Loss(lambda xp, z, y: (0.5 * xp.sum((z - y) ** 2, axis=-1, keepdims=True), z - y)),
        cr.Adam(0.01),
    )
    return made


PROBLEMS = problems()


def batch_of(on: Backend, loss: LossFunction, *, weighted: bool) -> Batch:
    y = CLASSES.astype(np.int32) if loss.target == "classes" else on.asarray(NUMBERS)
    return Batch(on.asarray(X), y, on.asarray(WEIGHT) if weighted else None)


def run(
    on: Backend, problem: Problem, program: Callable[..., State], *, weighted: bool, members: Any, poison: bool = False
) -> State:
    """Six steps, of 16, 16 and 7 rows in two orders."""
    data = batch_of(on, problem.loss, weighted=weighted)
    state = initial_state(on, problem, seed=1, members=members)
    for order in (np.arange(ROWS, dtype=np.int32), np.arange(ROWS, dtype=np.int32)[::-1].copy()):
        state = state._replace(cursor=np.zeros(1, np.int32))
        for rows in (16, 16, 7):
            state = program(state, data, order, make_window(on, rows))
            if poison:
                spoil(program)
    return state


def spoil(program: Any) -> None:
    """NaN in everything that the programs hold but the state."""
    state = {id(array) for array in arrays(program._state)}
    for one in program._programs.values():
        for array in one._arrays.values():
            if id(array) not in state:
                array[...] = -1 if array.dtype.kind == "i" else array.dtype.kind == "f" and np.nan


def arrays(tree: Any) -> list[np.ndarray]:
    return [a for part in tree for a in arrays(part)] if isinstance(tree, tuple) else [] if tree is None else [tree]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("kernels", [True, False], ids=["providers", "references"])
@pytest.mark.parametrize("name", PROBLEMS)
def test_a_recorded_step_gives_the_bits_of_the_step(name: str, kernels: bool) -> None:
    problem = PROBLEMS[name]
    on = with_providers(bare("numpy"), fast=False) if kernels else bare("numpy")
    for weighted, members in itertools.product((False, True), (None, (0, 1, 2))):
        want = run(on, problem, make_epoch_step(on, problem), weighted=weighted, members=members)
        program = on.compile(make_epoch_step, problem)
        got = run(on, problem, program, weighted=weighted, members=members, poison=True)
        assert isinstance(program, Replayed)
        assert program._program is not None
        with about(f"weighted={weighted}, members={members}"):
            for field, ours, theirs in zip(State._fields, got, want, strict=True):
                for a, b in zip(arrays((ours,)), arrays((theirs,)), strict=True):
                    np.testing.assert_array_equal(a, b, err_msg=field)


@pytest.mark.parametrize("name", PROBLEMS)
def test_numbas_bodies_train_as_numpys_do(name: str) -> None:
    pytest.importorskip("numba", reason="Numba is not installed: pip install 'chainrule[fast]'")
    problem, on = PROBLEMS[name], bare("numpy", dtype="float64")
    for weighted, members in itertools.product((False, True), (None, (0, 1, 2))):
        plain, fast = (with_providers(on, fast=fast).compile(make_epoch_step, problem) for fast in (False, True))
        want = run(on, problem, plain, weighted=weighted, members=members)
        got = run(on, problem, fast, weighted=weighted, members=members, poison=True)
        with about(f"weighted={weighted}, members={members}"):
            np.testing.assert_allclose(got.theta, want.theta, rtol=0, atol=1e-10)
            np.testing.assert_allclose(got.cost, want.cost, rtol=1e-12)


@pytest.mark.parametrize("name", ["optimizer adam", "loss softmax_cross_entropy", "activation relu"])
def test_a_stack_has_the_bits_of_its_members_with_numba_too(name: str) -> None:
    pytest.importorskip("numba", reason="Numba is not installed: pip install 'chainrule[fast]'")
    problem, on = PROBLEMS[name], with_providers(bare("numpy"), fast=True)
    stack = run(on, problem, on.compile(make_epoch_step, problem), weighted=False, members=(0, 1, 2))
    for member in range(3):
        one = run(on, problem, on.compile(make_epoch_step, problem), weighted=False, members=(member,))
        np.testing.assert_array_equal(one.theta[0], stack.theta[member])
    alone = run(on, problem, on.compile(make_epoch_step, problem), weighted=False, members=None)
    np.testing.assert_array_equal(alone.theta, stack.theta[0])


@pytest.mark.parametrize("fast", [True, False], ids=["numba", "numpy"])
@pytest.mark.parametrize("name", PROBLEMS)
def test_a_step_of_shapes_without_a_program_gives_the_bits_of_a_recorded_one(
    name: str, fast: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if fast:
        pytest.importorskip("numba", reason="Numba is not installed: pip install 'chainrule[fast]'")
    problem, on = PROBLEMS[name], with_providers(bare("numpy"), fast=fast)
    for weighted, members in itertools.product((False, True), (None, (0, 1))):
        want = run(on, problem, on.compile(make_epoch_step, problem), weighted=weighted, members=members)
        with monkeypatch.context() as patch:
            patch.setattr(_program, "_CACHED", 1)
            program = on.compile(make_epoch_step, problem)
            got = run(on, problem, program, weighted=weighted, members=members)
        assert isinstance(program, Replayed)
        assert len(program._programs) == 1  # of two batch sizes
        for ours, theirs in zip(arrays(got), arrays(want), strict=True):
            np.testing.assert_array_equal(ours, theirs, err_msg=f"weighted={weighted}, members={members}")


class Total(NamedTuple):
    """A state of one array."""

    total: Any


def test_of_many_shapes_a_few_are_recorded_and_one_that_stays() -> None:
    """Nine sizes in turn took five times as long as uncompiled, each recorded again and again."""
    calls: list[int] = []

    def make(on: Backend) -> Callable[[Total, Any], Total]:
        def step(state: Total, x: Any) -> Total:
            calls.append(x.size)
            return Total(state.total + on.xp.sum(x))

        return step

    program, state, want = bare("numpy").compile(make), Total(np.zeros(1)), 0
    assert isinstance(program, Replayed)
    for rows in [*range(1, 81)] * 3:
        state, want = program(state, np.ones(rows)), want + rows
    assert len(program._programs) == _program._CACHED
    assert len(calls) == 80 * 3 - 2 * _program._CACHED  # replayed, a step does not call Python
    for _ in range(_program._PATIENCE + 2):
        state, want = program(state, np.ones(80)), want + 80
    assert calls[-3:] == [80] * 3
    assert len(calls) == 80 * 3 - 2 * _program._CACHED + _program._PATIENCE
    assert len(program._programs) == _program._CACHED
    assert state.total.tolist() == [want]


def test_a_state_may_hold_the_programs_arrays_in_other_places() -> None:
    def make(on: Backend) -> Callable[[tuple[Any, Any]], tuple[Any, Any]]:
        return lambda state: (state[0] + 1.0, state[1] + 10.0)

    one, two = np.asarray([1.0, 5.0]), np.asarray([2.0, 6.0])
    for change, want in (
        (lambda a, b: (b, a), ([13.0, 17.0], [12.0, 16.0])),
        (lambda a, b: (b, b), ([13.0, 17.0], [22.0, 26.0])),
        (lambda a, b: (b[::-1], a[:]), ([17.0, 13.0], [12.0, 16.0])),
    ):
        program = bare("numpy").compile(make)
        for _ in range(2):
            got = program(change(*program((one, two))))
            np.testing.assert_array_equal(got, want)


def test_no_output_lies_in_an_input_of_which_another_input_is_a_view() -> None:
    """NumPy's functions notice the overlap by themselves; a loop would read what it has just written."""

    def add_rows(x: Any, y: Any, out: Any) -> None:
        for i in range(len(x)):
            out[i] = x[i] + y[i]

    plus = kernel(add_rows, lambda x, _: [(x.shape, x.dtype)], elementwise=True)

    def make(on: Backend) -> Callable[[Total], Total]:
        def step(state: Total) -> Total:
            x = state.total * 2.0  # read for the last time below, so its memory is free for the sum
            return Total(plus(x, x.mT))

        return step

    program, matrix = bare("numpy").compile(make), np.arange(9.0).reshape(3, 3)
    for _ in range(2):
        got = program(Total(matrix.copy()))
        np.testing.assert_array_equal(got.total, 2.0 * (matrix + matrix.T))


def test_a_program_takes_another_state_and_another_batch_size_at_once() -> None:
    # As partial_fit does: the state that the program kept had come to the end of a longer order.
    problem, on = Problem(mlp([N_IN, 4, N_OUT]), LOSS, cr.Adam()), bare("numpy")
    program, step = on.compile(make_epoch_step, problem), make_epoch_step(on, problem)
    data, order = batch_of(on, LOSS, weighted=False), np.arange(ROWS, dtype=np.int32)
    state = initial_state(on, problem, seed=0)
    for _ in range(2):
        state = program(state, data, order, make_window(on, 16))
    short, window = np.arange(3, dtype=np.int32), make_window(on, 3)
    got = program(initial_state(on, problem, seed=1), data, short, window)
    want = step(initial_state(on, problem, seed=1), data, short, window)
    np.testing.assert_array_equal(got.theta, want.theta)


def test_every_part_of_the_library_is_recorded_in_some_problem() -> None:
    text = repr(PROBLEMS)
    for kind in (cr.BatchNorm, cr.LayerNorm, cr.Dropout, cr.RandomizedLeakyReLU, cr.Softmax, cr.ClipNorm, cr.ClipValue):
        assert kind.__name__ in text
    assert {f"activation {name}" for name in ACTIVATIONS if ACTIVATIONS[name] != Step()} <= set(PROBLEMS)
    assert {f"loss {name}" for name in LOSSES} | {f"optimizer {name}" for name in OPTIMIZERS} <= set(PROBLEMS)


def test_a_step_makes_no_arrays() -> None:
    problem, on = Problem(mlp([N_IN, 400, 300, N_OUT]), LOSS, cr.Adam()), cr.backend("numpy")
    program, data = on.compile(make_epoch_step, problem), batch_of(on, LOSS, weighted=False)
    order, window, state = np.arange(ROWS, dtype=np.int32), make_window(on, 10), initial_state(on, problem, seed=0)
    for _ in range(2):
        state = program(state, data, order, window)
    tracemalloc.start()
    program(state._replace(), data, order, window)
    program(program._state, data, order, window)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20_000  # one row of activations is 1,600 bytes, theta 490,000


def test_a_program_holds_the_state_the_gradient_and_one_batchs_activations() -> None:
    on, problem = with_providers(bare("numpy"), fast=False), Problem(mlp([N_IN, 1000, 300, N_OUT]), LOSS, cr.Adam())
    data, size = batch_of(on, LOSS, weighted=False), 4 * problem.network.size
    state, order, window = initial_state(on, problem, seed=0), np.arange(ROWS, dtype=np.int32), make_window(on, 8)
    tracemalloc.start()
    program = on.compile(make_epoch_step, problem)
    state = program(state, data, order, window)
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    # theta and two moments, the gradient, Adam's scratch, and of the eight rows at most six times all widths
    assert held < 4 * size + 4 * 65_536 + 6 * 4 * 8 * 1300 + 50_000


def test_recording_holds_no_more_than_the_step_and_its_program() -> None:
    """Every array of the recorded step at once would be several times as much."""
    problem, peaks = Problem(mlp([N_IN, *[64] * 10, N_OUT]), LOSS, cr.Adam()), []
    big = Batch(np.ones((2048, N_IN), np.float32), np.zeros((2048, 1), np.int32))
    for compile in (False, True):
        on = with_providers(bare("numpy", compile=compile), fast=False)
        state, order = initial_state(on, problem, seed=0), np.arange(2048, dtype=np.int32)
        tracemalloc.start()
        on.compile(make_epoch_step, problem)(state, big, order, make_window(on, 2048))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 2 * peaks[0]


def test_memory_does_not_grow_with_the_steps() -> None:
    peaks = []
    for epochs in (1, 20):
        tracemalloc.start()
        cr.fit(NET, X, CLASSES[:, 0], loss="softmax_cross_entropy", epochs=epochs, batch_size=7)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 20 * 2_000  # a record of the history is less than 2,000 bytes


def test_the_gradient_is_made_in_its_place_in_the_flat_vector() -> None:
    on = with_providers(bare("numpy"), fast=False)
    problem = Problem(NET, LOSS, cr.Adam())
    program = on.compile(make_epoch_step, problem)
    run(on, problem, program, weighted=False, members=None)
    names = [call.func.__name__ for call in program._program.calls]  # type: ignore[union-attr]
    assert "_join" not in names
    assert names.count("matmul") == 3 + 3 + 3 + 2  # forward, dW, db, dx


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("own", ["activation", "loss", "both"])
def test_a_function_of_the_users_own_is_called_as_often_as_uncompiled(own: str) -> None:
    """One that counts, or draws its own random numbers, would train on other numbers."""

    def trained(compile: bool) -> tuple[list[str], cr.Model, list[Any]]:
        calls: list[str] = []
        rng = np.random.default_rng(0)

        def noisy(xp: Any, z: Any) -> Any:
            calls.append(f"value {z.shape}")
            noise = rng.random(dtype=np.float32) + len(calls)
            return np.tanh(z) * noise  # NumPy itself, and numbers that change

        def slope(xp: Any, z: Any) -> Any:
            calls.append(f"slope {z.shape}")
            return 1.0 - np.tanh(z) ** 2

        def squares(xp: Any, z: Any, y: Any) -> tuple[Any, Any]:
            calls.append(f"loss {z.shape}")
            return np.square(z - y).sum(axis=1, keepdims=True), (z - y) * np.float32(len(calls) % 3)

        activation = "tanh" if own == "loss" else cr.Activation(noisy, slope)
        loss = "squared_error" if own == "activation" else cr.Loss(squares)
        on = with_providers(bare("numpy", compile=compile), fast=False)
        options: dict[str, Any] = {"loss": loss, "epochs": 3, "batch_size": 25, "backend": on, "validation": (X, X)}
        model = cr.fit(mlp([N_IN, 4, N_IN], activation=activation), X, X, optimizer=cr.SGD(0.001), **options)
        answers = [model.predict(np.tile(X, (times, 1))[:rows]) for times, rows in [(1, 3)] * 4 + [(99, 5000)] * 3]
        return calls, model, answers

    (calls, model, answers), (wanted, plain, expected) = trained(True), trained(False)
    assert model.backend.compiled
    assert calls == wanted
    np.testing.assert_array_equal(model.theta, plain.theta)
    assert model.history["val_loss"] == plain.history["val_loss"]
    for got, want in zip(answers, expected, strict=True):
        np.testing.assert_array_equal(got, want)


class Noisy(cr.Layer):
    """A layer of a user's own, whose noise comes from outside of its arrays."""

    def __init__(self) -> None:
        self.noises: list[float] = []
        self.rng = np.random.default_rng(0)

    def width(self, n_in: int) -> int:
        return n_in

    def parameters(self) -> tuple[()]:
        return ()

    def buffers(self) -> tuple[()]:
        return ()

    def forward(self, backend: Any, params: Any, buffers: Any, x: Any, key: Any) -> Any:
        return self.apply(backend, params, buffers, x), None, buffers

    def apply(self, backend: Any, params: Any, buffers: Any, x: Any) -> Any:
        noise = self.rng.random()
        self.noises.append(noise)
        return x + noise

    def gradients(self, backend: Any, residual: Any, dy: Any) -> tuple[()]:
        return ()

    def pullback(self, backend: Any, params: Any, residual: Any, dy: Any, grads: Any) -> Any:
        return dy


class Counting:
    """A schedule of a user's own that counts for itself."""

    calls = 0

    def rate(self, xp: Any, t: Any) -> Any:
        self.calls += 1
        return xp.full_like(t, 1.0 / self.calls)

    def planned(self, steps: int) -> Any:
        return self


def test_trainings_in_several_threads_do_not_meet() -> None:
    options: dict[str, Any] = {"loss": "softmax_cross_entropy", "epochs": 15, "batch_size": 7}
    want = [cr.fit(NET, X, CLASSES[:, 0], seed=seed, **options).theta for seed in range(4)]
    with ThreadPoolExecutor(4) as pool:
        jobs = [pool.submit(cr.fit, NET, X, CLASSES[:, 0], seed=seed, **options) for seed in range(4)]
        for job, theta in zip(jobs, want, strict=True):
            np.testing.assert_array_equal(job.result().theta, theta)


OWN: dict[str, Any] = {"loss": "squared_error", "epochs": 3, "batch_size": 5}


@pytest.mark.filterwarnings("error")
def test_a_layer_of_the_users_own_is_called_in_every_step_and_prediction() -> None:
    """Traced, its noise would be a constant: the same in every step, and nobody would know."""
    noisy = Noisy()
    model = cr.fit(Sequential(cr.Dense(N_IN, 4), noisy, cr.Dense(4, 1)), X, X[:, 0], **OWN)
    assert len(set(noisy.noises)) == 3 * 12
    assert not model.backend.info["compiled"]  # what ran is on view
    for moved in (model, model.to("numpy")):
        for rows in (3, 5000):
            answers = {float(moved.predict(np.ones((rows, N_IN)))[0]) for _ in range(4)}
            assert len(answers) == 4


@pytest.mark.filterwarnings("error")
def test_a_schedule_of_the_users_own_is_called_in_every_step() -> None:
    schedule = Counting()
    model = cr.fit(mlp([N_IN, 4, 1]), X, X[:, 0], optimizer=cr.SGD(schedule), **OWN)
    assert schedule.calls >= 3 * 12
    assert not model.backend.info["compiled"]
    assert cr.fit(mlp([N_IN, 4, 1]), X, X[:, 0], **OWN).backend.info["compiled"]


def test_what_cannot_be_recorded_says_so_once_and_runs_as_it_is() -> None:
    def make(on: Backend) -> Callable[[tuple[Any]], Any]:
        return lambda state: (state[0] + (1.0 if state[0][0] > 0.0 else 2.0),)

    program, state = cr.backend("numpy").compile(make), (np.ones(2),)
    with pytest.warns(RuntimeWarning, match=r"^the step cannot be recorded, it runs uncompiled: "):
        state = program(state)
    with warnings.catch_warnings(action="error"):
        for _ in range(2):
            state = program(state)
    np.testing.assert_array_equal(state[0], 4.0)


def test_a_user_may_ask_for_steps_as_they_are() -> None:
    on = cr.backend("numpy", compile=False)
    assert not on.info["compiled"]
    assert not isinstance(on.compile(make_step, PROBLEMS["no bias"]), Replayed)
    assert cr.backend("numpy").info["compiled"]


def test_neither_data_nor_the_given_state_is_written_to() -> None:
    on, problem = cr.backend("numpy"), PROBLEMS["layer batch norm"]
    program, data = on.compile(make_epoch_step, problem), batch_of(on, LOSS, weighted=True)
    for array in arrays(data):
        array.flags.writeable = False
    state = initial_state(on, problem, seed=0)
    kept = copy_state(on, state)
    program(state, data, np.arange(ROWS, dtype=np.int32), make_window(on, 16))
    for ours, theirs in zip(arrays(state), arrays(kept), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_network_that_is_too_small_for_its_layer_says_so_as_ever() -> None:
    problem = PROBLEMS["layer batch norm"]
    on = cr.backend("numpy")
    data = batch_of(on, LOSS, weighted=False)
    with pytest.raises(cr.ConfigurationError, match="one row"):
        on.compile(make_epoch_step, problem)(
            initial_state(on, problem, seed=0), data, np.arange(ROWS, dtype=np.int32), make_window(on, 1)
        )


def test_torch_compiles_a_step_for_a_few_shapes_and_runs_it_as_it_is_for_others() -> None:
    """A ninth batch size, or the ninth training of a process, ended in torch's own error."""
    torch = find_library("torch")
    traced: list[Any] = []

    def make(on: Backend, factor: float) -> Callable[[Total, Any], Total]:
        def step(state: Total, x: Any) -> Total:
            return Total(state.total + factor * x.sum())

        return step

    def backend(graph: Any, inputs: Any) -> Any:
        traced.append(graph)
        return graph.forward

    on, limit = bare("torch", compile=True), torch._dynamo.config.recompile_limit
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for factor in range(limit + 3):  # trainings of one process
            run = on.library.compile(make, on, float(factor), compiler=backend)
            assert run(Total(torch.zeros(1)), torch.ones(3)).total.item() == 3.0 * factor
    run = on.library.compile(make, on, 1.0, compiler=backend)
    traced.clear()

    def in_turn() -> float:
        state = Total(torch.zeros(1))
        for rows in [*range(1, 30)] * 2:
            state = run(state, torch.ones(rows))
        return float(state.total.item())

    with pytest.warns(RuntimeWarning, match=f"recompile_limit is {limit}") as caught:
        assert in_turn() == 2.0 * sum(range(1, 30))
    assert len(caught) == 1
    assert len(traced) == limit
