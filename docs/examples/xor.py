"""XOR learnt from 40 seeds at once: one stack of 40 networks, trained by one step; and what a stuck one looks like.

It prints how many of the 40 solve it for three networks, the hidden units of one that does and of one that does not,
and draws both.

Run ``python xor.py [FOLDER]``; it writes xor-solved.png and xor-stuck.png into FOLDER, by default here.
"""

import math
import sys
from pathlib import Path

import numpy as np

import chainrule as cr
from chainrule.batch import Batch
from chainrule.plots import plot_decision_regions
from chainrule.training import Problem, initial_state, make_step

X = np.asarray([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
Y = np.asarray([[0.0], [1.0], [1.0], [0.0]])
SEEDS = range(40)
# name: widths, activation, optimizer, steps over all four examples
CASES = {
    "2-4-1 tanh": ([2, 4, 1], "tanh", cr.Adam(0.05), 500),
    "2-4-1 sigmoid": ([2, 4, 1], "sigmoid", cr.SGD(1.0), 3000),
    "2-2-1 sigmoid": ([2, 2, 1], "sigmoid", cr.SGD(1.0), 3000),
}
LATER = (6000, 10_000)


def main(folder="."):
    stacks = {name: Stack(*case) for name, case in CASES.items()}
    for name, stack in stacks.items():
        costs = np.sort(stack.costs()[~stack.solved()])[::-1]
        others = f"; the cost of the others {', '.join(f'{c:.4f}' for c in costs)}" if costs.size else ""
        print(f"{name:<14} {stack.steps:>5} steps: {np.sum(stack.solved())} of {len(stack.seeds)} solve it{others}")

    for name in ("2-4-1 tanh", "2-2-1 sigmoid"):
        differences = [alone(name, seed) - stacks[name].theta[seed] for seed in (0, 1)]
        largest = np.max(np.abs(differences))
        print(f"{name}: seeds 0 and 1 alone, by cr.fit, end at the stack's weights: largest difference {largest:.0e}")

    pair = stacks["2-2-1 sigmoid"]
    solved, stuck = np.flatnonzero(pair.solved()), np.flatnonzero(~pair.solved())
    for name, which in (("solved", solved), ("stuck", stuck)):
        for k in which[:1]:
            describe(pair, k)
            figure = plot_decision_regions(lambda points, k=k: pair.answers(points)[k], X, Y.astype(int))
            figure.savefig(Path(folder) / f"xor-{name}.png")
    if stuck.size:
        go_on(pair, stuck)


def go_on(pair, stuck):
    """Do more steps help? The costs of the stuck ones before and after."""
    print(f"\nThe cost of seeds {', '.join(str(pair.seeds[k]) for k in stuck)}, not solved:")
    report(Stack(*CASES["2-2-1 sigmoid"][:3], steps=1000), stuck)
    report(pair, stuck)
    for steps in LATER:
        pair.train(steps - pair.steps)
        report(pair, stuck)
    print(f"after {pair.steps:,} steps {np.sum(pair.solved())} of {len(pair.seeds)} have solved it.")
    print(f"(ln 2 + ln 2) / 4 is {math.log(2) / 2:.4f}, (2 ln(3/2) + ln 3) / 4 is {math.log(27 / 4) / 4:.4f}.")


class Stack:
    """One network for each seed, side by side in one theta ``(k, p)``, all trained by the same step."""

    def __init__(self, sizes, activation, optimizer, steps, seeds=None):
        self.backend = cr.backend("numpy", dtype="float64")
        self.network, self.loss = cr.mlp(sizes, activation=activation), cr.SigmoidCrossEntropy()
        self.seeds, self.steps = SEEDS if seeds is None else seeds, 0
        problem = Problem(self.network, self.loss, optimizer)
        start = np.stack([self.network.initial_theta(seed) for seed in self.seeds])
        state = initial_state(self.backend, problem, seed=0, members=range(len(self.seeds)))
        self.state = state._replace(theta=self.backend.asarray(start))
        self.step = make_step(self.backend, problem)
        self.train(steps)

    def train(self, steps):
        """Each step is gradient descent on all four examples; it owns the state it is given."""
        batch = Batch(self.backend.asarray(X), self.backend.asarray(Y))
        for _ in range(steps):
            self.state, _ = self.step(self.state, batch)
        self.steps += steps

    @property
    def theta(self):
        return self.state.theta

    def pre_activations(self, points):
        """The output's z, ``(k, points, 1)``."""
        return self.network.apply(self.backend, self.theta, self.state.buffers, self.backend.asarray(points))

    def hidden(self, points):
        """The hidden units' a, ``(k, points, units)``."""
        (W1, b1), _, _ = self.network.layout.split(self.backend, self.theta)
        return self.network.layers[1].activation.value(np, points @ W1 + b1)

    def probabilities(self, points):
        return cr.Sigmoid().value(np, self.pre_activations(points))

    def answers(self, points):
        return (self.pre_activations(points) > 0.0).astype(int)

    def costs(self):
        return np.mean(self.loss.per_example(np, self.pre_activations(X), Y)[0], axis=(-2, -1))

    def solved(self):
        """All four right, and surely: a cost below 0.1."""
        right = np.all(self.answers(X) == Y, axis=(-2, -1))
        return right & (self.costs() < 0.1)


def alone(name, seed):
    """Theta of the same network trained by itself."""
    sizes, activation, optimizer, steps = CASES[name]
    model = cr.fit(
        cr.mlp(sizes, activation=activation), X, Y, loss="sigmoid_cross_entropy", optimizer=optimizer,
        epochs=steps, batch_size=4, shuffle=False, seed=seed, backend=cr.backend("numpy", dtype="float64"),
    )  # fmt: skip
    return model.theta


def describe(stack, k):
    """The hidden units and the answer of the stack's network k on the four examples."""
    print(f"\nseed {stack.seeds[k]}, cost {stack.costs()[k]:.4f}: x, the hidden units, the answer")
    for x, h, p in zip(X, stack.hidden(X)[k], stack.probabilities(X)[k], strict=True):
        print(f"  {tuple(map(int, x))}  ({', '.join(f'{a:.4f}' for a in h)})  {p[0]:.4f}")


def report(stack, chosen):
    largest = np.max(np.abs(stack.theta[chosen]), axis=-1)
    costs = ", ".join(f"{c:.4f}" for c in stack.costs()[chosen])
    print(f"  step {stack.steps:>6,}: {costs}; their largest weights {min(largest):.1f} to {max(largest):.1f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
