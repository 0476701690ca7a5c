"""Break an equation in the source, and see what that does to a training run.

Ten equations are broken, one at a time, each in a copy of the library. The same network is trained from each copy as
NumPy does by default, where faster bodies take the place of many equations, and as it is written: ``kernels=False``.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import chainrule

# File, where the equation begins, what is written there, and what is put in its place.
EDITS = (
    ("activations/_rectifiers.py", "class ReLU", "return xp.clip(z, min=0.0)", "return z * z"),
    ("activations/_rectifiers.py", "class ReLU", "return xp.astype(z > 0.0, z.dtype)", "return xp.zeros_like(z)"),
    ("activations/_saturating.py", "class Tanh", "1.0 - a * a", "1.0 + a * a"),
    ("layers/_dense.py", "def affine", "y + b", "y - b"),
    ("layers/_dense.py", "def weight_gradient", "return ", "return -"),
    ("layers/_dense.py", "def bias_gradient", "return ", "return 0.0 * "),
    ("layers/_dropout.py", "def dropout_mask", "mask * scale", "mask / scale"),
    ("losses.py", "class SoftmaxCrossEntropy", "e / s * total - y", "e / s * total"),
    ("optimizers/_clip.py", "def clip_norm", "return ", "return -"),
    ("optimizers/_adaptive.py", "def adam", "v *= rule.b2", "v *= 0.0"),
)
TRAINING = """
import chainrule as cr, numpy as np
X = np.random.default_rng(0).normal(size=(60, 2))
net = cr.Sequential(cr.Dense(2, 8), cr.ReLU(), cr.Dropout(0.25), cr.Dense(8, 4), cr.Tanh(), cr.Dense(4, 2))
for kernels in True, False:  # the first one uncompiled, since Numba's loops would be compiled anew in every copy
    on = cr.backend("numpy", dtype="float64", kernels=kernels, compile=not kernels)
    model = cr.fit(net, X, (X[:, 0] * X[:, 1] > 0).astype(int), loss="softmax_cross_entropy", optimizer=cr.Adam(0.02),
                   clip=cr.ClipNorm(0.01), epochs=5, batch_size=20, backend=on)
    print(f"{model.history['loss'][-1]:.6f}")
"""


def losses(edits):
    """The line of the last edit, and the losses with and without kernels, of a copy with the edits in it."""
    line = 0
    with TemporaryDirectory() as folder:
        copy = Path(shutil.copytree(Path(chainrule.__file__).parent, Path(folder, "chainrule")))
        for file, begins, old, new in edits:
            text = (copy / file).read_text(encoding="utf-8")
            start = text.index(old, text.index(f"\n{begins}"))
            line = text.count("\n", 0, start) + 1
            (copy / file).write_text(text[:start] + new + text[start + len(old) :], encoding="utf-8")
        command, settings = [sys.executable, "-c", TRAINING], {**os.environ, "PYTHONPATH": folder}
        return line, *subprocess.check_output(command, env=settings, text=True).split()


if __name__ == "__main__":
    before = losses([])[-1]
    print(f"{'equation':<27}{'written at':<24}{'before':>10}{'kernels on':>12}{'kernels off':>13}")
    for edit in EDITS:
        line, on, off = losses([edit])
        print(f"{edit[1]:<27}{f'{edit[0]}:{line}':<24}{before:>10}{on:>12}{off:>13}")
