"""Perceptrons with given weights: what one neuron can say, what it cannot, and why it is not trained by gradients.

A perceptron answers 1 if w.x + b > 0, else 0, where the bias b is minus its threshold (Rosenblatt, 1958).

Run ``python perceptrons.py [FOLDER]``; it writes xor.png into FOLDER, by default here.
"""

import sys
from itertools import product
from pathlib import Path

import numpy as np

import chainrule as cr
from chainrule.plots import plot_decision_regions

PAIRS = np.asarray(list(product([0.0, 1.0], repeat=2)))


def main(folder="."):
    football()
    logic()
    xor(Path(folder))
    training()


def football():
    print("Go to the match? Weather counts 3, company 1, the team 5; the threshold is 3.")
    perceptron = cr.Sequential(cr.Dense(3, 1), cr.Step())
    inputs = np.asarray(list(product([0.0, 1.0], repeat=3)))
    for x, fires in zip(inputs, answers(perceptron, [3, 1, 5, -3], inputs), strict=True):
        print(f"  {tuple(map(int, x))} -> {int(fires[0])}")


def logic():
    print("AND and OR are one sigmoid neuron each, weights (20, 20), bias -30 and -10:")
    neuron = cr.Sequential(cr.Dense(2, 1), cr.Sigmoid())
    both, either = (answers(neuron, [20, 20, bias], PAIRS) for bias in (-30, -10))
    for x, p, q in zip(PAIRS, both, either, strict=True):
        print(f"  {tuple(map(int, x))} -> and {p[0]:.6f}, or {q[0]:.6f}")


def xor(folder):
    print("XOR needs a second layer: OR and NAND, then AND of the two.")
    network = cr.Sequential(cr.Dense(2, 2), cr.Step(), cr.Dense(2, 1), cr.Step())
    # theta in order: W1 (inputs x units), b1, W2, b2
    theta = [1, -1, 1, -1, -0.5, 1.5, 1, 1, -1.5]
    truth = answers(network, theta, PAIRS)
    for x, out in zip(PAIRS, truth, strict=True):
        print(f"  {tuple(map(int, x))} -> {int(out[0])}")
    figure = plot_decision_regions(lambda points: answers(network, theta, points), PAIRS, truth)
    figure.savefig(folder / "xor.png")


def training():
    print("Gradients do not pass a step:")
    try:
        cr.fit(cr.Sequential(cr.Dense(2, 1), cr.Step()), PAIRS, PAIRS[:, 0], loss="squared_error", epochs=1)
    except cr.ConfigurationError as error:
        print(f"  {error}")


def answers(network, theta, X):
    """What the network says to each row of X, with these parameters."""
    backend = cr.backend("numpy", dtype="float64")
    return network.apply(backend, backend.asarray(theta), backend.zeros((0,)), backend.asarray(X))


if __name__ == "__main__":
    main(*sys.argv[1:])
