"""Every activation and its derivative, side by side, and how steep and how flat each is.

Run ``python activations.py [FOLDER]``; it writes activations.png into FOLDER, by default here.
"""

import sys
from pathlib import Path

import numpy as np

import chainrule as cr
from chainrule.activations import ACTIVATIONS
from chainrule.plots import plot_activation


def main(folder="."):
    z = np.linspace(-6.0, 6.0, 1201)
    print(f"{'activation':<14}{'g(-6)':>10}{'g(0)':>10}{'g(6)':>10}{'largest slope':>15}")
    for name, g in ACTIVATIONS.items():
        a = g.value(np, z)
        try:
            slope = f"{np.max(g.derivative(np, z, a)):.4g}"
        except cr.ConfigurationError:
            slope = "none"
        print(f"{name:<14}{a[0]:>10.4g}{a[600]:>10.4g}{a[-1]:>10.4g}{slope:>15}")
    plot_activation(*ACTIVATIONS).savefig(Path(folder) / "activations.png")


if __name__ == "__main__":
    main(*sys.argv[1:])
