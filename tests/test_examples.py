"""The examples of the documentation run, and print what the lectures print."""

import importlib.util
from pathlib import Path

import pytest

pytest.importorskip("matplotlib")

FOLDER = Path(__file__).parents[1] / "docs" / "examples"

EXAMPLE_A = """
z1     = (0.3775, 0.3925)
a1     = (0.59326999, 0.59688438)
z2     = (1.10590597, 1.2249214)
a2     = (0.75136507, 0.77292847)
output =
cost   =
delta2 = (0.13849856, -0.03809824)
dW2    = (0.08216704, 0.08266763)
         (-0.02260254, -0.02274024)
db2    = (0.13849856, -0.03809824)
delta1 = (0.00877135, 0.00995425)
dW1    = (0.00043857, 0.00087714)
         (0.00049771, 0.00099543)
db1    = (0.00877135, 0.00995425)
"""
FIRST_PASS = """
pass 1
z1     = (0.58, 0.66)
a1     = (0.64106741, 0.65926039)
z2     = (0.1886385)
output =
cost   =
delta2 = (-0.8113615)
dW2    = (-0.52013742, -0.5348985)
delta1 = (-0.0261372, -0.02733917)
dW1    = (-0.0522744, -0.07841159)
         (-0.05467833, -0.0820175)
after the update
W1     = (0.1361372, 0.1592058)
         (0.23733917, 0.12100875)
W2     = (0.40006871, 0.41744925)
pass 2
"""
# output and cost of example A, then of both passes of example B
OUTPUTS = (0.75136507, 0.1886384951545822, 0.5630805875593119)
COSTS = (0.2983711087600027, 0.32915374577251044, 0.09544928648375806)


def load(name):
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def without_long_numbers(text):
    """The text with the 16 digits of output and cost left out: they may differ in the last on another library."""
    return "\n".join(line[:8] if line.startswith(("output", "cost")) else line for line in text.splitlines())


@pytest.mark.parametrize("library", ["numpy", "torch", "array-api-strict"])
def test_worked_example_prints_the_lectures_numbers(library, capsys):
    pytest.importorskip(library.replace("-", "_"))
    load("worked_example").main(["--backend", library])
    text = capsys.readouterr().out
    assert EXAMPLE_A in without_long_numbers(text)
    assert FIRST_PASS in without_long_numbers(text)
    lines = text.splitlines()
    for name, expected in (("output = ", OUTPUTS), ("cost   = ", COSTS)):
        found = [float(line.removeprefix(name).split(",")[0]) for line in lines if line.startswith(name)]
        assert found[0] == pytest.approx(expected[0], abs=5e-9)
        assert found == pytest.approx(expected, rel=0, abs=5e-9 if name == "output = " else 2e-16)
        assert found[1:] == pytest.approx(expected[1:], rel=0, abs=2e-16)


def test_perceptrons(capsys, tmp_path):
    load("perceptrons").main(tmp_path)
    text = capsys.readouterr().out
    lines = [line.strip() for line in text.splitlines()]
    fires = {line.split(" -> ")[0] for line in lines if line.endswith("-> 1") and line.count(",") == 2}
    assert fires == {"(1, 1, 1)", "(0, 1, 1)", "(1, 0, 1)", "(0, 0, 1)", "(1, 1, 0)"}
    # sigma(-30), sigma(-10), sigma(10), sigma(30)
    assert "(0, 0) -> and 0.000000, or 0.000045" in text
    assert "(0, 1) -> and 0.000045, or 0.999955" in text
    assert "(1, 0) -> and 0.000045, or 0.999955" in text
    assert "(1, 1) -> and 0.999955, or 1.000000" in text
    assert [f"({a}, {b}) -> {a ^ b}" in text for a in (0, 1) for b in (0, 1)] == [True] * 4
    assert "the step function's derivative is 0 wherever it exists" in text
    assert (tmp_path / "xor.png").stat().st_size > 5000


def test_a_stack_of_linear_layers_is_one(capsys):
    load("linear_stack").main()
    linear, curved = [float(line.split()[-1]) for line in capsys.readouterr().out.splitlines() if "difference" in line]
    assert linear < 1e-12
    assert curved > 0.1


def test_activations_are_plotted(capsys, tmp_path):
    example = load("activations")
    example.ACTIVATIONS = {name: example.ACTIVATIONS[name] for name in ("sigmoid", "step")}  # all take long to draw
    example.main(tmp_path)
    text = capsys.readouterr().out
    assert "sigmoid         0.002473       0.5    0.9975           0.25" in text
    assert "none" in text.splitlines()[-1]
    assert (tmp_path / "activations.png").stat().st_size > 5000


def test_initializers_are_judged(capsys, tmp_path):
    example = load("initializers")
    example.SHOWN = (1, 9)
    example.main(tmp_path)
    lines = capsys.readouterr().out.splitlines()
    verdicts = {line[:30].strip(): line.split("   ")[-1] for line in lines if "std of" in line}
    assert "saturated" in verdicts["sigmoid  normal(0, 1)"]
    assert "saturated" in verdicts["tanh     normal(0, 1)"]
    assert "collapsed" in verdicts["tanh     normal(0, 0.01)"]
    assert verdicts["tanh     Xavier"] == verdicts["relu     He"] == "healthy"
    assert (tmp_path / "initializers.png").stat().st_size > 10_000
