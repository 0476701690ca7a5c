"""How many nodes the graph of a step has on CuPy, and what Python costs to launch it again.

Both need CuPy and no GPU: build ci/fake-cuda once, then ``PYTHONPATH=src CUPY_ACCELERATORS= .venv-fake-cuda/bin/python
benchmarks/captured_step.py``. The time is that of the host alone, with the launch itself left out.
"""

import time

import numpy as np

import chainrule as cr
from chainrule._backend._graph import Captured, Graph

CALLS = 20_000


def main():
    for widths in ([64, 64, 64, 64, 10], [64, 64, 64, 64, 64, 10]):
        program, state, inputs, graph = captured(widths)
        nodes = graph._captured[0].debug_dot_str().count("label=")
        graph._again = lambda stream: None
        again = host_time(program, state, inputs)
        print(f"{len(widths) - 1} layers of weights: {nodes} nodes, {again * 1e6:.2f} us of Python a launch")


def captured(widths):
    """What training this network was captured as, and what it was called with last."""
    made, call, launch = {}, Captured.__call__, Graph.launch

    def noted(self, state, *inputs):
        made["call"] = self, call(self, state, *inputs), inputs
        return made["call"][1]

    def noted_graph(self, inputs):
        made["graph"] = self
        return launch(self, inputs)

    Captured.__call__, Graph.launch = noted, noted_graph
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(256, widths[0])).astype("f4"), rng.integers(0, widths[-1], 256)
    on = cr.backend("cupy", compile=True)
    cr.fit(cr.mlp(widths), X, y, loss="softmax_cross_entropy", epochs=1, batch_size=64, backend=on)
    Captured.__call__, Graph.launch = call, launch
    return *made["call"], made["graph"]


def host_time(program, state, inputs):
    best = float("inf")
    for _ in range(5):
        start = time.perf_counter()
        for _ in range(CALLS):
            program(state, *inputs)
        best = min(best, (time.perf_counter() - start) / CALLS)
    return best


if __name__ == "__main__":
    main()
