"""How many functions of ours X passes through between the call of fit and the first step: fewer are easier to follow.

A visit is a call with X among its arguments: X itself, an array of its shape, or a tuple or record that has one.
python benchmarks/visits.py [--list]
"""

import sys
from collections import Counter
from dataclasses import is_dataclass
from pathlib import Path

import numpy as np

import chainrule as cr

HERE = str(Path(cr.__file__).parent)
X = np.random.default_rng(0).normal(size=(97, 5)).astype("float32")
Y = (X[:, 0] > 0).astype(int)


def visits(train):
    """The functions that were given X before the first step, and how often."""
    seen, going = Counter(), True

    def is_x(value):
        inside = (
            getattr(value, "__dict__", {}).values()
            if is_dataclass(value) and not isinstance(value, type)
            else value
            if isinstance(value, tuple)
            else ()
        )
        return getattr(value, "shape", None) == X.shape or any(map(is_x, inside))

    def look(frame, event, _):
        nonlocal going
        code = frame.f_code
        if event == "call" and going and code.co_filename.startswith(HERE):
            going = code.co_name != "step"
            names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
            if going and any(is_x(frame.f_locals.get(name)) for name in names if name != "self"):
                seen[f"{code.co_filename.removeprefix(HERE)}:{code.co_qualname}"] += 1

    sys.setprofile(look)
    train()
    sys.setprofile(None)
    return seen


if __name__ == "__main__":
    net = cr.mlp([5, 4, 2])
    for name, train in {
        "fit": lambda: cr.fit(net, X, Y, loss="softmax_cross_entropy", epochs=1, batch_size=32),
        "MLPClassifier.fit": lambda: cr.MLPClassifier(hidden_layer_sizes=(4,), max_iter=1, batch_size=32).fit(X, Y),
    }.items():
        seen = visits(train)
        print(f"{name}: {len(seen)} functions, {seen.total()} visits")
        if "--list" in sys.argv:
            print(*(f"{n:6} {what}" for what, n in seen.items()), sep="\n")
