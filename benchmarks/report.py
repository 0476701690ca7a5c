"""Writes docs/performance.md and its pictures from the committed results: ``python benchmarks/report.py``.

Every figure on that page comes from a file in benchmarks/results, which ``ci/bench`` wrote.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from grid import GRID
from matplotlib.figure import Figure

ROOT = Path(__file__).parent.parent
PAGE, IMAGES = ROOT / "docs" / "performance.md", ROOT / "docs" / "images"
PEERS = {"sklearn": "scikit-learn", "torch": "torch eager", "torch_compile": "torch.compile", "jax": "jax.jit"}
OURS = ("chainrule", "chainrule_fast")
WAYS = {"plain": "NumPy", "fast": "NumPy + Numba"}

INTRODUCTION = """# How fast

This page is written by `python benchmarks/report.py` from the files in `benchmarks/results`, which `ci/bench` writes:
run it on your machine. `chainrule bench` answers a smaller question: which of my backends is fastest for my network?

**The floor** of a training step is what no library can leave out: its matrix products, into memory that is already
there, and one pass of the optimizer over memory (28 bytes a parameter for Adam, at the speed at which the machine
copies). No bias, activation, loss or line of Python is in it. A ratio of 1.2 means that all of these cost a fifth.

**Method.** float32, ReLU, softmax cross-entropy, Adam, random data. Times are blocks of 30 ms taken in turn, the order
turning every round, in one process for the ratios to the floor, in a process for each library for the others, of which
one works at a time. Ratios are of the minima; in brackets the median over the rounds. Machines drift by tens of per
cent from minute to minute: differences under a tenth are none. *NumPy* is what `pip install chainrule` runs, *NumPy +
Numba* is `chainrule[fast]`.

**On a GPU.** `ci/gpu` runs the tests that need a CUDA device and then a benchmark, in eight minutes or as many as
`--minutes` says, with the Python that `PYTHON` names and what is installed there; `python -m gpu --plan 8` (with
`PYTHONPATH=src:benchmarks`) says without a GPU what they have room for. Everybody starts from the same weights, keeps
the same data on the device and gathers the same rows there. Whose first gradient, or way of theta over 20 steps, is not
that of a reference in float64, within what its precision allows, counts for nothing. torch runs eager, in a CUDA graph
captured by hand, and compiled whole in such a graph, JAX in one `lax.scan`; each dispatch takes as many steps, and the
best counts. Ours is three columns: what runs by default, with `compile=True`, and what no user gets yet. No figure of a
GPU is on this page, because none has been taken yet.
"""

BUSY = """Microseconds a step on NumPy. The threads of the BLAS split a product and wait for each other; if
another process has one's core just then, a small step waits for the scheduler. torch's and scikit-learn's threads do
the same.

So NumPy's BLAS has one thread in the whole process while the products of what is trained or predicted are small: up to
2,097,152 multiplications, as of 128 rows by 128 x 128. At the end it has what it had before. Fewer threads of your own
are never raised, and what you set meanwhile stays. How many there are follows from the network and the batch size
alone, since a product's last bits may depend on it. Only where another thread of the process trains with larger
products do small ones have all threads: such a training keeps them while it lasts. On a busy machine train it on one
thread yourself:

```python
from threadpoolctl import threadpool_limits

with threadpool_limits(1):
    model = cr.fit(net, X, y, loss="softmax_cross_entropy")
```

This is for OpenBLAS with threads of its own, as in NumPy's wheels, and for MKL; others are left as they are.
`chainrule backends` says which one it is."""

KERNELS = """Microseconds of a step's products on NumPy alone. OpenBLAS looks the processor up in a table, and takes an
old one's kernels for a processor that is newer than the table: AVX2, say, where there is AVX-512.
`OPENBLAS_CORETYPE`, set before Python starts, overrules it; `chainrule backends` says which kernels were chosen, and
whether to try others. All other tables of this page are with OpenBLAS's own choice."""

BESIDE = """How many times as fast a step of ours is as one of theirs. All start from the same weights and see the same
batches; a library is timed only if its first twenty losses are ours. torch and JAX are handed batches that are ready
and run at their fastest settings (torch: fused Adam or not, one thread or all; torch.compile: the gradient or the whole
step, called from Python or from C++), ours and scikit-learn gather their rows from shuffled data.
`benchmarks/peers.py` has the details."""


def table(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def pair(entry: dict[str, float]) -> str:
    return f"{entry['min']:.2f} [{entry['median']:.2f}]"


def networks() -> str:
    rows = [
        [n.name, str(n.batch), "-".join(map(str, n.sizes)) if len(n.sizes) < 8 else "512 x 11 - 10", f"{n.net.size:,}"]
        for n in GRID.values()
    ]
    return "## The networks\n\n" + table(["name", "batch", "layers", "parameters"], rows)


def over_the_floor(ratios: dict[str, Any], section: str, title: str, text: str) -> str:
    entries = ratios.get(section)
    if not entries:
        return ""
    ways = [way for way in WAYS if any(way in entry for entry in entries.values())]
    floors = "floor" in next(iter(entries.values()))
    header = ["", *(["floor, us"] if floors else []), *(WAYS[way] for way in ways)]
    rows = []
    for name, entry in entries.items():
        floor = [f"{entry['floor']['us']:,.0f}"] if floors else []
        rows.append([name, *floor, *(pair(entry[way]) if way in entry else "" for way in ways)])
    return f"## {title}\n\n{text}\n\n{table(header, rows)}"


def beside_peers(peers: dict[str, Any]) -> str:
    """Speed-ups, and what was lost."""
    found = peers["networks"]
    names = [peer for peer in PEERS if any(peer in entry["us"] for entry in found.values())]
    parts = [f"## Beside other libraries\n\n{BESIDE}\n"]
    for way, title in WAYS.items():
        rows = []
        for name, entry in found.items():
            cells = [entry["speedup"].get(way, {}).get(peer) for peer in names]
            rows.append([name, *(f"{c['min']:.2f} [{c['paired']:.2f}]" if c else "" for c in cells)])
        parts.append(f"\n**{title}**\n\n{table(['', *(PEERS[peer] for peer in names)], rows)}")
    lost = [
        f"{title} on {name} against {PEERS[peer]}: {entry['speedup'][way][peer]['min']:.2f}"
        for way, title in WAYS.items()
        for name, entry in found.items()
        for peer in names
        if peer in entry["speedup"].get(way, {}) and entry["speedup"][way][peer]["min"] < 1.0
    ]
    parts.append("\n**Where we lose.** " + ("; ".join(lost) + "." if lost else "Nowhere in these tables.") + "\n")
    settings = sorted({f"{PEERS[p]}: {e['us'][p]['setting']}" for e in found.values() for p in names if p in e["us"]})
    return "".join(parts) + "\nSettings that were best: " + "; ".join(settings) + ".\n"


def peers_inference(peers: dict[str, Any]) -> str:
    found = peers.get("inference")
    if not found:
        return ""
    contenders = list(dict.fromkeys(c for by_rows in found.values() for us in by_rows.values() for c in us))
    rows = [
        [f"{name}, {rows}", *(f"{us[c]['min']:,.0f}" if c in us else "" for c in contenders)]
        for name, by_rows in found.items()
        for rows, us in by_rows.items()
    ]
    labels = PEERS | {"chainrule": "ours", "chainrule_fast": "ours + Numba"}
    lost = [
        f"{labels[c]} is {best / us[c]['min']:.2f} times as fast on {name} at {n} rows"
        for name, by_rows in found.items()
        for n, us in by_rows.items()
        for best in [min(us[way]["min"] for way in OURS if way in us)]
        for c in us
        if us[c]["min"] < best
    ]
    title = "## Predictions beside other libraries\n\nMicroseconds a call, minimum: from an array to classes.\n\n"
    where = f"\n**Where we lose.** {'; '.join(lost) or 'Nowhere in this table'}.\n"
    return title + table(["network, rows", *(labels[c] for c in contenders)], rows) + where


def on_a_busy_machine(found: dict[str, Any]) -> str:
    """What BLAS threads do on a machine with something else to do."""
    columns = [(condition, threads) for condition, by in next(iter(found.values())).items() for threads in by]
    header = ["", *(f"{condition}, BLAS threads: {threads}" for condition, threads in columns)]
    rows = [[name, *(f"{entry[c][threads]:,.0f}" for c, threads in columns)] for name, entry in found.items()]
    return f"## On a busy machine\n\n{BUSY}\n\n{table(header, rows)}"


def kernels_of_the_blas(found: dict[str, Any]) -> str:
    """What other kernels of OpenBLAS would be worth."""
    names = list(next(iter(found.values()))["us"])
    rows = [
        [choice, entry["kernels"], *(f"{entry['us'][name]:,.0f}" for name in names)] for choice, entry in found.items()
    ]
    return f"## The kernels of OpenBLAS\n\n{KERNELS}\n\n{table(['OPENBLAS_CORETYPE', 'kernels', *names], rows)}"


def suite(rows: list[dict[str, Any]]) -> str:
    """The table of the pytest-benchmark suite."""
    backends = list(dict.fromkeys(row["backend"] for row in rows))
    lines = []
    for key in dict.fromkeys((r["operation"], r["network"], r["dtype"]) for r in rows):
        cells = {r["backend"]: r for r in rows if (r["operation"], r["network"], r["dtype"]) == key}
        shown = {b: f"{row['min_us']:,.0f} ({100 * row['share']:.0f} %)" for b, row in cells.items()}
        lines.append([*key, *(shown.get(b, "") for b in backends)])
    text = (
        "Microseconds, minimum, and the share of the rate that the backend reaches in a product of 2048 x 2048\n"
        "matrices in the same process. *forward* and *forward+backward* are uncompiled, *epoch* is a whole call of\n"
        "`fit` on eight batches, the compilation of its step included."
    )
    return f"## Operation by operation\n\n{text}\n\n{table(['operation', 'network', 'dtype', *backends], lines)}"


def draw_floor(ratios: dict[str, Any], path: Path) -> None:
    """Bars: a step over its floor."""
    figure = Figure(figsize=(8, 3.4), layout="constrained")
    axes = figure.subplots()
    entries = ratios["steps"]
    for k, (way, colour) in enumerate({"plain": "#4c72b0", "fast": "#dd8452"}.items()):
        places = [i + 0.38 * (k - 0.5) for i in range(len(entries))]
        heights = [entry[way]["min"] if way in entry else 0.0 for entry in entries.values()]
        bars = axes.bar(places, heights, width=0.36, color=colour, label=WAYS[way])
        axes.bar_label(bars, fmt="%.2f", fontsize=8, padding=1)
    axes.axhline(1.0, color="black", linewidth=0.8)
    axes.set_xticks(range(len(entries)), list(entries))
    axes.set_ylabel("step time / floor")
    axes.set_title("A training step over its floor (matrix products and one pass of the optimizer)", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=120)


def draw_peers(peers: dict[str, Any], path: Path) -> None:
    """Bars: microseconds a step, each library, on a logarithmic axis, relative to ours with Numba."""
    found = peers["networks"]
    colours = {"sklearn": "#8172b3", "torch": "#c44e52", "torch_compile": "#da8bc3", "jax": "#55a868"}
    figure = Figure(figsize=(8, 3.6), layout="constrained")
    axes = figure.subplots()
    for k, (peer, colour) in enumerate(colours.items()):
        points = [(i, e["speedup"]["fast"][peer]["min"]) for i, e in enumerate(found.values()) if peer in e["us"]]
        places = [i + 0.2 * (k - 1.5) for i, _ in points]
        bars = axes.bar(places, [y for _, y in points], width=0.19, color=colour, label=PEERS[peer])
        axes.bar_label(bars, fmt="%.1f", fontsize=7, padding=1)
    axes.axhline(1.0, color="black", linewidth=0.8)
    axes.set_yscale("log")
    axes.set_yticks([1, 2, 5, 10], ["1", "2", "5", "10"])
    axes.set_xticks(range(len(found)), list(found))
    axes.set_ylabel("their step time / ours")
    axes.set_title("Training steps of other libraries, in those of NumPy + Numba", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=120)


def page(results: dict[str, Any], stem: str) -> str:
    """The part of one machine."""
    machine, ratios = results["machine"], results["ratios"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    parts = [f"# {machine['cpu']}, {machine['cores']} cores\n\n{machine['system']}, Python {machine['python']}, "]
    parts[0] += f"{machine['blas']}; {versions}.\n"
    draw_floor(ratios, IMAGES / f"floor-{stem}.png")
    parts.append(f"![Steps over the floor](images/floor-{stem}.png)\n")
    parts.append(over_the_floor(ratios, "steps", "Steps over the floor", "float32."))
    parts.append(over_the_floor(ratios, "steps in float64", "Steps over the floor in float64", "The floor in float64."))
    epochs = "What shuffling, bookkeeping and the epoch's record add: an epoch of `fit` over its steps alone."
    parts.append(over_the_floor(ratios, "epochs", "Epochs over their steps", epochs))
    text = (
        "`model.predict`, from checking the array to the classes, over the forward products alone. At one row of a "
        "small network these are a few microseconds, and Python's calls are more."
    )
    parts.append(over_the_floor(ratios, "predictions", "Predictions over their products", text))
    if "peers" in results:
        draw_peers(results["peers"], IMAGES / f"peers-{stem}.png")
        parts.append(f"![Other libraries](images/peers-{stem}.png)\n")
        parts += [beside_peers(results["peers"]), peers_inference(results["peers"])]
    if "kernels" in results:
        parts.append(kernels_of_the_blas(results["kernels"]))
    if "busy" in results:
        parts.append(on_a_busy_machine(results["busy"]))
    if "suite" in results:
        parts.append(suite(results["suite"]))
    return "\n".join(part for part in parts if part)


def main() -> None:
    """Write the page."""
    files = sorted((ROOT / "benchmarks" / "results").glob("*.json"))
    found = {path.stem: json.loads(path.read_text()) for path in files}
    machines = [page(results, stem) for stem, results in found.items() if "ratios" in results]
    PAGE.write_text("\n".join([INTRODUCTION, networks(), *machines]).rstrip() + "\n")
    print(f"wrote {PAGE.relative_to(ROOT)} from {len(machines)} files")


if __name__ == "__main__":
    main()
