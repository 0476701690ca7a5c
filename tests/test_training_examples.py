"""The training examples of the documentation reach the numbers that their pages state, by their own functions."""

import doctest
import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest

import chainrule as cr

pytest.importorskip("matplotlib")
pytest.importorskip("sklearn")

FOLDER = Path(__file__).parents[1] / "docs" / "examples"


def load(name):
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def is_picture(path):
    return path.stat().st_size > 5000


# ---------------------------------------------------------------------------------------------------------------- xor

XOR = load("xor")


@pytest.mark.parametrize(("name", "enough"), [("2-4-1 tanh", 36), ("2-4-1 sigmoid", 36), ("2-2-1 sigmoid", 12)])
def test_xor_is_learnt_from_most_of_40_seeds(name, enough):
    stack = XOR.Stack(*XOR.CASES[name])
    assert enough <= np.sum(stack.solved()) <= 40


@pytest.mark.parametrize("name", ["2-4-1 tanh", "2-2-1 sigmoid"])
def test_a_stack_of_seeds_is_each_seed_by_itself(name, monkeypatch):
    monkeypatch.setitem(XOR.CASES, name, (*XOR.CASES[name][:3], 300))
    stack = XOR.Stack(*XOR.CASES[name], seeds=(3, 7))
    for k, seed in enumerate(stack.seeds):
        np.testing.assert_allclose(stack.theta[k], XOR.alone(name, seed), rtol=0, atol=1e-12)
    assert np.max(np.abs(stack.theta[0] - stack.theta[1])) > 0.1


def test_the_stuck_networks_see_examples_of_both_classes_as_one():
    stack = XOR.Stack(*XOR.CASES["2-2-1 sigmoid"])
    targets, answers, hidden = XOR.Y[:, 0], stack.probabilities(XOR.X)[..., 0], stack.hidden(XOR.X)
    stuck = 0
    for k in np.flatnonzero(~stack.solved()):
        unsure = np.abs(answers[k] - targets) > 0.1
        h, y, a = hidden[k, unsure], targets[unsure], answers[k, unsure]
        if np.max(h * (1.0 - h)) > 0.01:
            continue  # slow: steep enough to tell them apart yet
        stuck += 1
        assert 0.0 < np.mean(y) < 1.0
        assert np.max(np.ptp(h, axis=0)) < 0.005
        assert a == pytest.approx(np.full(a.shape, np.mean(y)), abs=0.005)
        best = -np.sum(y * np.log(np.mean(y)) + (1.0 - y) * np.log(1.0 - np.mean(y))) / 4.0
        assert best < stack.costs()[k] < best + 0.005
    assert stuck > 0


@pytest.mark.parametrize(("solved", "pictures"), [(0, {"stuck"}), (1, {"solved", "stuck"}), (2, {"solved"})])
def test_xor_is_printed_and_drawn_whichever_are_stuck(solved, pictures, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(XOR, "SEEDS", (0, 1))
    monkeypatch.setattr(XOR, "CASES", {name: (*case[:3], 100) for name, case in XOR.CASES.items()})
    monkeypatch.setattr(XOR, "LATER", (150,))
    monkeypatch.setattr(XOR.Stack, "solved", lambda stack: np.arange(len(stack.seeds)) < solved)
    XOR.main(tmp_path)
    text = capsys.readouterr().out
    assert "alone, by cr.fit, end at the stack's weights" in text
    assert text.count(f"{solved} of 2 solve it") == 3
    assert ("the cost of the others" in text) == ("not solved" in text) == ("stuck" in pictures)
    assert {path.name for path in tmp_path.iterdir()} == {f"xor-{name}.png" for name in pictures}
    assert all(map(is_picture, tmp_path.iterdir()))


# ------------------------------------------------------------------------------------------------- learning slowdown


def test_cross_entropy_learns_at_once_where_squared_error_waits(tmp_path):
    example = load("learning_slowdown")
    curves = {name: example.train(loss) for name, loss in example.COSTS.items()}
    (squared, _), (crossed, costs) = curves.values()
    assert squared[0] == crossed[0] == pytest.approx(0.98201379, abs=1e-8)  # sigma(4)
    assert squared[50] > 0.97
    assert crossed[50] < 0.1
    assert np.all(crossed[1:] < squared[1:])
    assert squared[300] == pytest.approx(0.20, abs=0.005)  # where the lectures' curve ends
    assert costs == pytest.approx(-np.log1p(-crossed), rel=1e-12)
    example.draw(curves).savefig(tmp_path / "learning-slowdown.png")
    assert is_picture(tmp_path / "learning-slowdown.png")


# -------------------------------------------------------------------------------------------------------- overfitting


def test_noise_is_learnt_by_heart_and_less_so_with_a_penalty_or_early_stopping(tmp_path):
    example = load("overfitting")
    data = example.noisy_digits()
    model, curves, kept = example.train(data)
    training, validation = curves[-1]
    assert (training, validation) == tuple(example.accuracy(model, data, part) for part in ("training", "validation"))
    assert training > 0.95
    assert training - validation > 0.15
    assert kept == len(curves) == 200
    found = {"nothing": (curves, kept)}
    for name in ("L2, lambda 0.02", "early stopping", "dropout 0.7"):
        other, *found[name] = example.train(data, **example.REMEDIES[name])
        for part in ("validation", "test"):
            assert example.accuracy(other, data, part) > example.accuracy(model, data, part) + 0.05
    example.draw(found).savefig(tmp_path / "overfitting.png")
    assert is_picture(tmp_path / "overfitting.png")


# ------------------------------------------------------------------------------------------------ choose_architecture


def test_the_width_is_chosen_by_validation_error():
    example = load("choose_architecture")
    parts = example.digits()
    rows = [len(y) for _, y in parts.values()]
    assert rows == [1078, 360, 359]
    errors = {width: example.search(parts, width, (0, 1), epochs=15) for width in (4, 32)}
    assert np.mean(errors[32][:, 1]) < 0.05 < np.mean(errors[4][:, 1])
    assert example.choose(errors, rows[1]) == 32


def test_of_widths_that_chance_cannot_tell_apart_the_smallest_is_chosen():
    # sqrt(0.02 * 0.98 / 360) is 0.0074
    errors = {width: np.asarray([[0.0, e]]) for width, e in {8: 0.028, 16: 0.027, 32: 0.021, 64: 0.02}.items()}
    assert load("choose_architecture").choose(errors, 360) == 16


# ---------------------------------------------------------------------------------------------------------- optimizers


def test_every_optimizer_and_schedule_is_in_the_pictures():
    example = load("optimizers")
    shown = {type(optimizer) for optimizer in example.OPTIMIZERS.values()}
    assert shown == set(cr.optimizers.OPTIMIZERS.values())
    assert any(getattr(optimizer, "nesterov", False) for optimizer in example.OPTIMIZERS.values())
    schedules = {type(schedule).__name__ for schedule in example.SCHEDULES.values()}
    ours = {name for name, kind in vars(cr).items() if isinstance(kind, type) and issubclass(kind, cr.Schedule)}
    assert schedules == ours - {"Schedule"}


def test_the_optimizers_descend_and_the_schedules_end_where_they_say(tmp_path):
    example = load("optimizers")
    found = {name: example.losses(optimizer, epochs=6) for name, optimizer in example.OPTIMIZERS.items()}
    assert all(loss[-1] < 0.6 * loss[0] for loss in found.values())
    assert example.largest_difference(cr.Momentum(0.1), cr.AveragedMomentum(1.0)) < 1e-12
    assert example.largest_difference(cr.Momentum(0.1), cr.VelocityMomentum(0.1)) < 1e-12
    rates = {name: example.rate(schedule) for name, schedule in example.SCHEDULES.items()}
    assert rates["CosineDecay, warmup 20"][[19, 199]] == pytest.approx([0.1, 0.0])
    assert rates["StepDecay, every 60"][[59, 60]] == pytest.approx([0.1, 0.05])
    plateau = example.plateau()
    assert plateau[0] == pytest.approx(0.1)
    assert np.all(np.diff(plateau) <= 0.0)
    assert plateau[-1] < 0.05
    example.draw(found, "epoch", "loss", log=True).savefig(tmp_path / "optimizers.png")
    assert is_picture(tmp_path / "optimizers.png")


# ---------------------------------------------------------------------------------------------------- gradient trouble


def test_a_deep_sigmoid_network_is_told_its_gradients_vanish_and_two_cures_train():
    example = load("gradient_trouble")
    accuracies = {}
    for name, network in example.NETWORKS.items():
        before, after, accuracies[name] = example.train(network, epochs=12)
        found = [finding for diagnosis in (before, after) for row in diagnosis.rows for finding in row.findings]
        assert ("vanishing gradient" in found) == (name == "sigmoid")
        assert before.healthy == (name != "sigmoid")
    assert accuracies["sigmoid"] < 0.2
    assert min(accuracy for name, accuracy in accuracies.items() if name != "sigmoid") > 0.8
    assert example.findings(example.look(example.NETWORKS["sigmoid"])).startswith("vanishing gradient in layer 1, 2")


def test_clipping_keeps_an_exploding_network_finite():
    example = load("gradient_trouble")
    assert "exploding gradient in layer 1" in example.findings(example.look(example.LARGE))
    with pytest.raises(cr.DivergenceError, match="in epoch 1"):
        example.clipped(example.LARGE, None)
    for clip in (cr.ClipNorm(1.0), cr.ClipValue(0.1)):
        first, last, _ = example.clipped(example.LARGE, clip)
        assert last < first / 20.0
    assert example.clipped(example.LARGE, cr.ClipValue(0.1))[2] > 0.8


# -------------------------------------------------------------------------------------------------------------- custom


def test_a_function_and_a_loss_of_ones_own_are_checked_and_trained(tmp_path):
    example = load("custom")
    assert example.check(example.BUMP).passed
    wrong = example.check(example.WRONG)
    assert not wrong.passed
    assert wrong.suspects == ("layer 2 (wrong bump)",)
    X, y, outliers = example.data()
    assert int(np.sum(outliers)) == 8
    models = {loss: example.train(loss, X, y) for loss in (example.LOG_COSH, "squared_error")}
    robust, squared = map(example.distance, models.values())
    assert robust < 0.15 < squared
    named = dict(zip(("log cosh", "squared error"), models.values(), strict=True))
    example.draw(named, X, y, outliers).savefig(tmp_path / "custom.png")
    assert is_picture(tmp_path / "custom.png")


# ------------------------------------------------------------- what the page on the theory states and no example shows

HOST = cr.backend("numpy", dtype="float64")
RNG = np.random.default_rng(5)


def test_softmax_rows_sum_to_1_and_a_shift_changes_nothing():
    z = RNG.normal(0.0, 3.0, (4, 5))
    a = cr.Softmax().apply(HOST, (), (), z)
    np.testing.assert_allclose(a.sum(axis=1), 1.0, rtol=1e-15)
    np.testing.assert_allclose(cr.Softmax().apply(HOST, (), (), z + 1000.0), a, rtol=1e-12)


def test_one_hidden_layer_of_squares_is_a_polynomial_of_degree_2():
    x = np.linspace(-2.0, 2.0, 20).reshape(-1, 1)

    def third_differences(activation):
        network = cr.Sequential(cr.Dense(1, 8), activation, cr.Dense(8, 1))
        theta = np.random.default_rng(0).normal(size=network.size)
        return np.max(np.abs(np.diff(network.apply(HOST, theta, HOST.zeros((0,)), x), n=3, axis=0)))

    assert third_differences(cr.Polynomial((0.5, -1.0, 2.0))) < 1e-12
    assert third_differences(cr.Sine()) > 0.01


@pytest.mark.parametrize("over", ["examples", "cost"])
def test_l2_is_weight_decay_in_plain_gradient_descent(over):
    X, y = RNG.normal(size=(6, 3)), RNG.normal(size=6)
    network, eta, lam = cr.mlp([3, 4, 1], activation="tanh"), 0.1, 0.3
    exact = cr.backend("numpy", dtype="float64")

    def one_step(penalty):
        options = {"optimizer": cr.SGD(eta), "epochs": 1, "batch_size": 6, "backend": exact}
        return cr.fit(network, X, y, loss="squared_error", penalty=penalty, **options).theta

    start, shrunk = network.initial_theta(0), eta * lam / (6 if over == "examples" else 1)
    expected = one_step(None) - shrunk * start * network.decays()  # (1 - shrunk) w - eta dC/dw; biases as they are
    np.testing.assert_allclose(one_step(cr.Penalty(l2=lam, over=over)), expected, rtol=0, atol=1e-15)


def test_batch_normalisation_is_of_the_pre_activations():
    network = cr.mlp([3, 4, 2], normalization="batch")
    assert repr(network) == "Sequential(Dense(3, 4, bias=False), BatchNorm(4), ReLU, Dense(4, 2))"


def test_the_page_on_the_theory_names_tests_and_examples_that_are_there():
    page = (FOLDER.parent / "theory.md").read_text()
    tests = re.findall(r"`((?:\w+/)?test_\w+\.py)::(\w+)`", page)
    assert len(tests) > 50
    for file, name in tests:
        assert f"\ndef {name}(" in (Path(__file__).parent / file).read_text(), f"{file}::{name}"
    linked = re.findall(r"\]\(([\w/.]+)\)", page + (FOLDER.parent / "xor.md").read_text())
    assert not [path for path in linked if not (FOLDER.parent / path).exists()]
    names = re.findall(r"`cr\.(\w+)", page)
    assert not [name for name in names if not hasattr(cr, name)]


def test_the_lines_on_the_page_run():
    found = doctest.testfile(str(FOLDER.parent / "theory.md"), module_relative=False)
    assert found.attempted > 10
    assert found.failed == 0
