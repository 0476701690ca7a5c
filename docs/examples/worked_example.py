"""Forward, backward and update by hand, as the lectures print them: two small networks, every number of every layer.

The lectures write Z = W X + b with examples in columns and W of shape units x inputs. chainrule stacks examples in
rows, y = x W + b, so its W is the transpose; the matrices below are printed as the lectures write them.

Run ``python worked_example.py --backend numpy``, or torch, jax, array-api-strict; always in float64.
"""

import argparse

import numpy as np

import chainrule as cr


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backend", default="numpy", help="numpy, torch, torch:cuda, jax, cupy or array-api-strict")
    chosen = parser.parse_args(arguments)
    if chosen.backend.startswith("jax"):
        import jax

        jax.config.update("jax_enable_x64", True)  # JAX has no float64 unless it is told so first
    backend = cr.backend(chosen.backend, dtype="float64")
    print(backend)
    example_a(backend)
    example_b(backend)


def example_a(backend):
    print("\nExample A: two inputs, two hidden and two output units, sigmoid everywhere, cost 1/2 ||a - y||^2")
    network = cr.Sequential(cr.Dense(2, 2), cr.Sigmoid(), cr.Dense(2, 2), cr.Sigmoid())
    weights = [
        ([[0.15, 0.20], [0.25, 0.30]], [0.35, 0.35]),
        ([[0.40, 0.45], [0.50, 0.55]], [0.60, 0.60]),
    ]
    one_pass(backend, network, parameters(backend, network, weights), x=[[0.05, 0.10]], y=[[0.01, 0.99]])


def example_b(backend):
    print(
        "\nExample B: two inputs, two hidden sigmoid units, a linear output, no biases, learning rate 0.5, two passes"
    )
    network = cr.Sequential(cr.Dense(2, 2, bias=False), cr.Sigmoid(), cr.Dense(2, 1, bias=False))
    theta = parameters(backend, network, [([[0.11, 0.12], [0.21, 0.08]],), ([[0.14, 0.15]],)])
    optimizer, rate, step = cr.SGD(0.5), backend.asarray([0.5]), backend.asarray([1.0])
    for number in (1, 2):
        print(f"pass {number}")
        gradient = one_pass(backend, network, theta, x=[[2.0, 3.0]], y=[[1.0]])
        if number == 1:
            theta, _ = optimizer.update(backend, theta, gradient, (), step, rate)
            print("after the update")
            for k, (W,) in enumerate(pieces for pieces in network.layout.split(backend, theta) if pieces):
                show(backend, f"W{k + 1}", W.mT)


def parameters(backend, network, weights):
    """Theta, the one flat vector of all parameters, from W (units x inputs) and b of each Dense layer."""
    theta = np.zeros(network.size)
    slots = [slots for slots in network.layout.groups if slots]
    for layer, pieces in zip(slots, weights, strict=True):
        for slot, piece in zip(layer, pieces, strict=True):
            theta[slot.start : slot.stop] = np.asarray(piece).T.ravel()
    return backend.asarray(theta)


def one_pass(backend, network, theta, *, x, y):
    """Forward and backward through the layers, printing everything; dC/dtheta."""
    x, y = backend.asarray(x), backend.asarray(y)
    seen = cr.trace(network, x, y, loss="squared_error", theta=theta, backend=backend)
    for layer in seen:
        show(backend, f"z{layer.number}", layer.z)
        if layer.a is not layer.z:
            show(backend, f"a{layer.number}", layer.a)
    print(f"output = {', '.join(str(float(v)) for v in backend.to_numpy(layer.a)[0])}")
    print(f"cost   = {float(seen.cost)}")
    for layer in reversed(seen.layers):
        show(backend, f"delta{layer.number}", layer.delta)
        for name, gradient in layer.gradients.items():
            show(backend, f"d{name}{layer.number}", gradient.mT if name == "W" else gradient)
    gradients = [gradient for layer in seen for gradient in layer.gradients.values()]
    return backend.xp.concat([backend.xp.reshape(gradient, (-1,)) for gradient in gradients])


def show(backend, name, x):
    """``name`` and the numbers of ``x`` to 8 digits, one line a row of the matrix."""
    rows = [", ".join(number(v) for v in row) for row in backend.to_numpy(x)]
    print(f"{name:<6} = ({rows[0]})", *(f"{'':<9}({row})" for row in rows[1:]), sep="\n")


def number(v):
    return f"{v:.8f}".rstrip("0").rstrip(".")


if __name__ == "__main__":
    main()
