"""A stack of linear layers is one linear layer: x W1 W2 W3 + b, whatever the depth. A curve between them changes that.

Run ``python linear_stack.py``.
"""

import numpy as np

import chainrule as cr


def main():
    generator = np.random.default_rng(0)
    backend = cr.backend("numpy", dtype="float64")
    X = generator.normal(size=(1000, 3))
    stack = cr.Sequential(cr.Dense(3, 50), cr.Dense(50, 20), cr.Dense(20, 2))
    theta = generator.normal(size=stack.size) / 5.0
    deep = stack.apply(backend, theta, backend.zeros((0,)), X)

    (W1, b1), (W2, b2), (W3, b3) = stack.layout.split(backend, theta)
    W, b = W1 @ W2 @ W3, (b1 @ W2 + b2) @ W3 + b3
    print(f"three layers, {stack.size} parameters; one layer made of them, {W.size + b.size} parameters:")
    print(f"  largest difference of their answers {np.max(np.abs(deep - (X @ W + b))):.1e}")

    curved = cr.Sequential(cr.Dense(3, 50), cr.Tanh(), cr.Dense(50, 20), cr.Tanh(), cr.Dense(20, 2))
    answer = curved.apply(backend, theta, backend.zeros((0,)), X)
    ones = np.concatenate([X, np.ones((len(X), 1))], axis=1)
    best = ones @ np.linalg.lstsq(ones, answer, rcond=None)[0]
    print("the same weights with tanh between the layers, and the linear layer nearest to them:")
    print(f"  largest difference of their answers {np.max(np.abs(answer - best)):.2f}")


if __name__ == "__main__":
    main()
