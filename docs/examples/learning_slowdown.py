"""A saturated sigmoid neuron that is badly wrong: squared error hardly moves it, cross-entropy does at once.

The neuron starts at w = 2, b = 2 and shall answer 0 to the input 1; its slope g'(z) = a (1 - a) is 0.018 there.
Squared error multiplies its gradient by that slope, (a - y) g'(z); with cross-entropy it cancels, a - y.

Run ``python learning_slowdown.py [FOLDER]``; it writes learning-slowdown.png into FOLDER, by default here.
"""

import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

import chainrule as cr
from chainrule.batch import Batch
from chainrule.network import without_link
from chainrule.training import Problem, initial_state, make_step

X, Y = np.asarray([[1.0]]), np.asarray([[0.0]])
COSTS = {"squared error": cr.SquaredError(), "cross-entropy": cr.SigmoidCrossEntropy()}
SHOWN = (0, 50, 100, 300)


def main(folder="."):
    curves = {name: train(loss) for name, loss in COSTS.items()}
    print("epoch" + "".join(f"{name:>16}" for name in curves))
    for epoch in SHOWN:
        print(f"{epoch:>5}" + "".join(f"{outputs[epoch]:>16.4f}" for outputs, _ in curves.values()))
    draw(curves).savefig(Path(folder) / "learning-slowdown.png")


def train(loss, *, w=2.0, b=2.0, rate=0.15, epochs=300):
    """(the output, the cost) before the first epoch and after each; an epoch is one step, there is one example."""
    backend = cr.backend("numpy", dtype="float64")
    neuron = cr.Sequential(cr.Dense(1, 1), cr.Sigmoid())
    # a last sigmoid is left to the cross-entropy, which is computed from z
    problem = Problem(without_link(neuron, loss), loss, cr.SGD(rate))
    # theta in order: W, b
    state = initial_state(backend, problem, seed=0)._replace(theta=backend.asarray([w, b]))
    step, outputs, costs = make_step(backend, problem), [], []
    for _ in range(epochs + 1):
        outputs.append(neuron.apply(backend, state.theta, state.buffers, X)[0, 0])
        state, cost = step(state, Batch(X, Y))  # the cost is that of the weights it started from
        costs.append(cost)
    return np.asarray(outputs), np.asarray(costs)


def draw(curves):
    figure = Figure(figsize=(9, 3.4), dpi=150, layout="constrained")
    panels = figure.subplots(1, 2)
    for (name, series), colour in zip(curves.items(), ("#D55E00", "#0072B2"), strict=True):
        for axes, values in zip(panels, series, strict=True):
            axes.plot(values, color=colour, label=name)
    for axes, label in zip(panels, ("output a (the target is 0)", "cost"), strict=True):
        axes.set(xlabel="epoch", ylabel=label, ylim=(0.0, None))
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].legend(frameon=False)
    return figure


if __name__ == "__main__":
    main(*sys.argv[1:])
