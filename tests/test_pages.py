"""The code on the pages runs as it stands there, one page from top to bottom."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import find_library

import chainrule as cr
from chainrule.cli import main

ROOT = Path(__file__).parent.parent
# What a machine without a GPU, and a test without a minute, take in place of what stands there.
INSTEAD = {'"torch:cuda"': '"torch"', '"cupy"': '"numpy"', "device=1, ": "", "epochs=100": "epochs=3"}


def code_of(page: str) -> str:
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / page).read_text(), re.DOTALL | re.MULTILINE)
    code = "\n".join(blocks)
    for there, here in INSTEAD.items():
        code = code.replace(there, here)
    return code


@pytest.fixture
def names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What a page takes for granted: digits, a table of houses with a model of it, a pipeline, and where they lie."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import GridSearchCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    torch = find_library("torch")
    monkeypatch.chdir(tmp_path)
    X, y = load_digits(return_X_y=True)
    X, y = X[:400] / 16.0, y[:400]
    frame = houses(tmp_path)
    assert main(["train", "houses.csv", "--target", "price", "--epochs", "2", "--out", "runs/houses", "--quiet"]) == 0
    pipeline = make_pipeline(StandardScaler(), cr.MLPClassifier(max_iter=5)).fit(X, y)
    net = cr.mlp([64, 16, 10])
    return {
        "cr": cr,
        "np": np,
        "torch": torch,
        "dataclass": dataclass,
        "MLPClassifier": cr.MLPClassifier,
        "GridSearchCV": GridSearchCV,
        "make_pipeline": make_pipeline,
        "StandardScaler": StandardScaler,
        "X": X,
        "y": y,
        "X_test": X[:50],
        "y_test": y[:50],
        "frame": frame,
        "pipeline": pipeline,
        "net": net,
        "model": cr.fit(net, X, y, loss="softmax_cross_entropy", epochs=1),
        "torch_data_loader": [(torch.asarray(X[i : i + 50]), torch.asarray(y[i : i + 50])) for i in range(0, 400, 50)],
    }


def houses(folder: Path) -> Any:
    """The frame, which is also houses.csv, new.csv and a folder of Parquet files."""
    import pandas as pd

    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"rooms": rng.integers(1, 9, 120).astype(float), "area": rng.uniform(30, 200, 120)})
    frame["price"] = 2.0 * frame["area"] + 10.0 * frame["rooms"]
    frame.to_csv(folder / "houses.csv", index=False)
    frame.to_csv(folder / "new.csv", index=False)
    (folder / "houses").mkdir()
    frame.to_parquet(folder / "houses" / "a.parquet")
    return frame


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
@pytest.mark.parametrize(
    "page", ["README.md", *(f"docs/{name}.md" for name in ("backends", "reliability", "performance", "xor"))]
)
def test_the_code_of_a_page_runs(page: str, names: dict[str, Any]) -> None:
    if page == "docs/performance.md":
        find_library("threadpoolctl")
    exec(compile(code_of(page), page, "exec"), names)


GIVEN = """
import warnings, numpy as np, torch
warnings.simplefilter("ignore")
X = np.random.default_rng(0).normal(size=(60, 4)).astype("float32")
y, X_test = (X[:, 0] > 0).astype(int), X[:5]
"""
THEIRS = """
from chainrule import MLPClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
"""


def test_the_code_of_the_page_on_scikit_learn_runs() -> None:
    """In processes: what the last block sets must be set before SciPy and scikit-learn are imported."""
    find_library("torch")
    code = code_of("docs/scikit-learn.md").replace("(512, 512)", "(8,)")
    code = code.replace("MLPClassifier()", "MLPClassifier(max_iter=2)")
    first, last = code.split("import os\n")
    last = f"import os\n{GIVEN}{last}".replace("search = ", f"{THEIRS}search = ")
    for script in (GIVEN + first, last):
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
