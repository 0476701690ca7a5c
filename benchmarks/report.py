"""Writes docs/performance.md, its pictures and README's sentence from the committed results: ``ci/bench --page``.

Every figure on that page comes from a file in benchmarks/results, which ``ci/bench`` wrote: one for each machine.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from grid import GRID

ROOT = Path(__file__).parent.parent
PAGE, IMAGES, README = ROOT / "docs" / "performance.md", ROOT / "docs" / "images", ROOT / "README.md"
ON_SPEED = "## How fast\n\n"
PEERS = {"sklearn": "scikit-learn", "torch": "torch eager", "torch_compile": "torch.compile", "jax": "jax.jit"}
SERVING = {"onnxruntime": "onnxruntime", "openvino": "OpenVINO"}
STRICT = {"chainrule": "ours", "chainrule_fast": "ours + Numba"} | PEERS | SERVING
ROUNDED = {"chainrule_fast": "ours + Numba, float32", "chainrule_bf16": "ours, bf16", "torch_medium": "torch, medium",
           "torch_bf16": "torch, autocast", "openvino_bf16": "OpenVINO, bf16"}  # fmt: skip
PRODUCTS = {"products_numpy": "NumPy", "products_torch": "torch.mm", "products_mkl_sequential": "MKL, one thread",
            "products_mkl_intel": "MKL, Intel's threads", "products_mkl_tbb": "MKL, TBB"}  # fmt: skip
WAYS = {"plain": "NumPy", "fast": "NumPy + Numba"}

Results = dict[str, Any]

INTRODUCTION = """# How fast

This page is written by `ci/bench --page` from the files in `benchmarks/results`, one for each machine, which `ci/bench
--full`, `--peers` and `--one-path` write: run them on yours. `chainrule bench` answers a smaller question: which of my
backends is fastest for my network?

**The floor** of a training step is what no library can leave out: its matrix products, into memory that is already
there, and one pass of the optimizer over memory (28 bytes a parameter for Adam, at the speed at which the machine
copies). No bias, activation, loss or line of Python is in it. A ratio of 1.2 means that all of these cost a fifth. The
floor's products are whole ones, one after the other: a step that is cut into items of rows and of weights finds more of
what it reads in the cache, and may be below it.

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
best counts. Ours on CuPy is three columns: what runs by default, with `compile=True`, and what no user gets yet; three
more are ours on torch's arrays, without and with `compile=True`, and on JAX's. No figure of a GPU is on this page,
because none has been taken yet.
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

BESIDE = """How many times as fast a step of ours is as one of theirs, in strict float32. All start from the same
weights and see the same batches; a library is timed only if its first twenty losses are ours. torch and JAX are
handed batches that are ready and run at their fastest settings (torch: fused Adam or not, one thread or all;
torch.compile: the gradient or the whole step, called from Python or from C++), ours and scikit-learn gather their
rows from shuffled data. Who gives no answer within a minute, or gets ready within ten, is killed, and the table says
so. `benchmarks/peers.py` has the details."""

LOWER = """Microseconds a step, minimum. These round the operands of their products to bf16 and are not to be compared
with strict float32: torch with `set_float32_matmul_precision("medium")`, torch under `autocast` (forward and loss,
with float32 weights and Adam), and ours with `precision="bf16"`. Their losses are within 3 % of ours in the first
eight steps."""

PREDICTING = """Microseconds a call, minimum: from an array to classes. onnxruntime and OpenVINO run an ONNX file with
the same weights; OpenVINO is told to stay in float32, which on a machine with bf16 it does not by itself. The second
table is of those that round to bf16."""

SHORT = """Seconds of a whole process that imports the library, trains 20-64-64-2 on so many rows in batches of 200
for three epochs, and ends: median [minimum], by the clock and of all its threads. Files and Python's bytecode are in
the system's cache; what Numba compiles is kept from an earlier process, but for the line that says otherwise."""

ACCURACY = """Seconds of training until 97 % (digits: 64-64-64-10) or 93 % (4,000 rows of MNIST: 784-128-128-10) of
the held-out rows are right, scored after every epoch, and the epochs that it took; median [minimum] of three seeds,
each in a new process, imports left out. Everybody has the same initial weights, batches of 64, Adam at 1e-3 and no
penalty; the orders of the rows are their own."""

MEMORY = """MiB by which an epoch on 20,000 rows raises the most that its process holds, whose library is imported and
whose data is there: what is loaded on the way, as Numba is, counts."""

ONE_PATH = """Layers and backpropagation are written once, for every library. This is what that costs: a step in an
epoch of `fit` on a library's arrays over one in an epoch of that library's own code, written by hand for this network;
of the least, in brackets the median over the rounds. Both gather the same shuffled rows of data in memory, from the
same weights, and read the mean loss once an epoch; a figure counts if the first twenty losses are equal. torch runs at
the fastest of its settings (fused Adam or not, one thread or all; compiled: the gradient or the whole step, called from
Python or from C++), `fit` on as many threads. Below 1.0 `fit` is faster. `benchmarks/one_path.py` has the details."""

FLOORS = """The floor is that of NumPy's products, and beside it that of the fastest products on the machine, by
whoever multiplies: what is left to gain."""

MULTIPLYING = """Microseconds of the products of a step alone, minimum: what the floors stand on. MKL is the package
`mkl`, called by ctypes, which is a microsecond a product slower than NumPy's call."""

PREDICTIONS = """`model.predict`, from checking the array to the classes, over the forward products alone. At one row
of a small network these are a few microseconds, and Python's calls are more."""

EPOCHS = """What shuffling, bookkeeping and the epoch's record add: an epoch of `fit` over its steps alone."""

OPERATIONS = """Microseconds, minimum, and the share of the rate that the backend reaches in a product of 2048 x 2048
matrices in the same process. *forward* and *forward+backward* are uncompiled, *epoch* is a whole call of `fit` on
eight batches, the compilation of its step included."""


def table(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def pair(entry: Mapping[str, float]) -> str:
    return f"{entry['min']:.2f} [{entry['median']:.2f}]"


def number(x: float) -> str:
    return f"{x:,.0f}" if x >= 100 else f"{x:.3g}"


def networks() -> str:
    rows = [
        [n.name, str(n.batch), "-".join(map(str, n.sizes)) if len(n.sizes) < 8 else "512 x 11 - 10", f"{n.net.size:,}"]
        for n in GRID.values()
    ]
    return "## The networks\n\n" + table(["name", "batch", "layers", "parameters"], rows)


def machines_table(found: Iterable[Results]) -> str:
    rows = []
    for machine in (results["machine"] for results in found):
        versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
        rows.append(
            [machine["class"], machine["cpu"], machine["system"], machine["blas"], versions or machine.get("note", "")]
        )
    return "## The machines\n\n" + table(["class", "processor", "system", "BLAS", "versions"], rows)


def steps_of(results: Results) -> dict[str, Any]:
    """The race of training steps, by network."""
    return results.get("peers", {}).get("networks", {})


# ----------------------------------------------------------------------------------------- of all machines in one table


def beside_peers(found: Iterable[Results]) -> str:
    """Speed-ups of both ways, machine by machine in one table."""
    parts = [f"## Beside other libraries\n\n{BESIDE}\n"]
    for way, title in reversed(WAYS.items()):
        rows = [
            [results["machine"]["class"], name, *(speedup(steps_of(results).get(n, {}), way, peer) for n in GRID)]
            for results in found
            for peer, name in PEERS.items()
        ]
        shown = [row for row in rows if any(row[2:])]
        parts.append(f"\n**{title}**\n\n{table(['', '', *GRID], shown)}")
    return "".join(parts)


def speedup(entry: Mapping[str, Any], way: str, peer: str) -> str:
    """``2.05 [2.03]``, or why there is none."""
    found = entry.get("speedup", {}).get(way, {}).get(peer)
    return f"{found['min']:.2f} [{found['paired']:.2f}]" if found else unanswered(entry.get("us", {}).get(peer, {}))


def unanswered(row: Mapping[str, Any]) -> str:
    """Who was killed says so in the table, who failed below it."""
    problem = row.get("problem", "")
    return problem if problem.startswith("no answer") else "-" * bool(problem)


def spoken(found: Iterable[Results]) -> str:
    """README's sentence: the least and the largest ratio beside each peer, of all machines."""
    said = []
    for results in found:
        ratios = {p: [e["speedup"].get("fast", {}).get(p) for e in steps_of(results).values()] for p in PEERS}
        least = {PEERS[p]: [one["min"] for one in found if one] for p, found in ratios.items()}
        times = ", ".join(f"{_short(min(r))} to {_short(max(r))} times {name}'s" for name, r in least.items() if r)
        said += [f"{times} on {results['machine']['class']}"] if times else []
    sentence = (
        "In strict float32, with `chainrule[fast]`, the speed of a training step of networks of 5 thousand to 8 "
        f"million parameters, beside libraries at their best settings, is {'; '.join(said)}. Below 1.0 the other is "
        "ahead. [docs/performance.md](docs/performance.md) has the tables of these machines, without Numba too, the "
        f"method, and where we lose; `ci/bench` measures your machine.{spoken_of_one_path(found)}"
    )
    return "\n".join(textwrap.wrap(sentence, 120, break_long_words=False, break_on_hyphens=False))


def spoken_of_one_path(found: Iterable[Results]) -> str:
    """The least and the largest ratio of all libraries and networks, where a file has some."""
    said = []
    for results in found:
        rows = [row for entry in results.get("one path", {}).values() for row in entry.values()]
        shares = [row["ratio"]["min"] for row in rows if "ratio" in row]
        said += [f"{_short(min(shares))} to {_short(max(shares))} on {results['machine']['class']}"] if shares else []
    what = " On torch's and JAX's arrays, eager or compiled, `fit`'s time over that of the library's own hand-written"
    return f"{what} training is {'; '.join(said)}." if said else ""


def _short(ratio: float) -> str:
    return f"{ratio:.2f}" if ratio < 0.995 else f"{ratio:.1f}" if ratio < 9.95 else f"{ratio:.0f}"


# ----------------------------------------------------------------------- of one machine: a section of its file, and all


def lost_steps(found: dict[str, Any], results: Results) -> str:
    """A picture, where we lose, and what the others ran at."""
    lost = [
        f"{title} on {name} against {PEERS[peer]}: {entry['speedup'][way][peer]['min']:.2f}"
        for way, title in WAYS.items()
        for name, entry in found.items()
        for peer in PEERS
        if entry["speedup"].get(way, {}).get(peer, {"min": 1.0})["min"] < 1.0
    ]
    rows = [(PEERS[p], row) for entry in found.values() for p, row in entry["us"].items() if p in PEERS]
    settings = sorted({f"{name}: {row['setting']}" for name, row in rows if "setting" in row})
    parts = [f"![Other libraries](images/peers-{results['stem']}.png)\n", f"**Where we lose.** {listed(lost)}\n"]
    parts += [f"Settings that were best: {'; '.join(settings)}.\n", failures(_us(found), PEERS)]
    parts.append(" ".join(results["peers"].get("left_out", [])))
    return "\n".join(part for part in parts if part)


def listed(lost: list[str]) -> str:
    return ("; ".join(lost) or "Nowhere in these tables") + "."


def _us(found: Mapping[str, Any]) -> dict[str, Any]:
    return {name: entry["us"] for name, entry in found.items()}


def times(found: Mapping[str, Mapping[str, Any]], names: Mapping[str, str], first: str = "") -> str:
    """Microseconds, the minimum, a line for each of ``found`` and a column for each name that has one."""

    def cell(row: Mapping[str, Any]) -> str:
        return number(row["min"]) if "min" in row else unanswered(row)

    columns = {title: [cell(us.get(name, {})) for us in found.values()] for name, title in names.items()}
    shown = {title: cells for title, cells in columns.items() if any(cells)}
    rows = [[label, *cells] for label, *cells in zip(found, *shown.values(), strict=True)]
    return "\n".join(part for part in (table([first, *shown], rows), failures(found, names)) if part)


def failures(found: Mapping[str, Mapping[str, Any]], names: Mapping[str, str]) -> str:
    """Who was not timed and why, once for each reason."""
    why: dict[str, list[str]] = {}
    for label, us in found.items():
        for name, row in us.items():
            if name in names and "problem" in row:
                why.setdefault(f"{names[name]}: {row['problem'].rstrip('.')}", []).append(label)
    said = "; ".join(f"{reason} (at {', '.join(labels)})" for reason, labels in why.items())
    return f"Not timed: {said}.\n" if said else ""


def rounded(found: Mapping[str, Mapping[str, Any]], first: str = "") -> str:
    """What rounds to bf16, beside ours in float32."""
    others = ROUNDED.keys() - {"chainrule_fast"}
    return times(found, ROUNDED, first) if any(others & us.keys() for us in found.values()) else ""


def peers_inference(entries: dict[str, Any], _: Results) -> str:
    found = {f"{name}, {rows}": us for name, by_rows in entries.items() for rows, us in by_rows.items()}
    lost = [
        f"{STRICT[c]} is {best / us[c]['min']:.2f} times as fast on {label} rows"
        for label, us in found.items()
        for best in [min(us[way]["min"] for way in ("chainrule", "chainrule_fast") if "min" in us.get(way, {}))]
        for c in STRICT
        if us.get(c, {}).get("min", best) < best
    ]
    first = "network, rows"
    return "\n".join([times(found, STRICT, first), f"**Where we lose.** {listed(lost)}\n", rounded(found, first)])


def trainings(found: dict[str, Any], _: Results | None = None) -> str:
    """A line for each contender, a column for each case and what is counted there; median [minimum]."""
    columns = {(case, f): None for case, rows in found.items() for row in rows.values() for f in row if f != "problem"}
    names = {name: STRICT.get(name, name) for rows in found.values() for name in rows}
    rows = [[title, *(_training(found[case].get(n, {}), f) for case, f in columns)] for n, title in names.items()]
    return table(["", *(f"{case}, {field}" for case, field in columns)], rows) + "\n" + failures(found, names)


def _training(row: Mapping[str, Any], field: str) -> str:
    return f"{row[field]['median']:.3g} [{row[field]['min']:.3g}]" if field in row else unanswered(row)


def one_path(found: dict[str, Any], _: Results | None = None) -> str:
    """A line for each library, a column for each network: ``fit`` over the library's own."""

    def cell(row: Mapping[str, Any]) -> str:
        return f"{row['ratio']['min']:.2f} [{row['ratio']['paired']:.2f}]" if "ratio" in row else unanswered(row)

    rows = [[title, *(cell(entry.get(name, {})) for entry in found.values())] for name, title in PEERS.items()]
    return table(["", *found], [row for row in rows if any(row[1:])]) + "\n" + failures(found, PEERS)


def steps_over_the_floor(entries: dict[str, Any], results: Results) -> str:
    """Over NumPy's floor, and over that of the fastest products where these were raced."""
    header, *rows = over_the_floor(entries)
    fastest = [fastest_floor(results, name) for name in entries]
    if any(fastest):
        header += ["fastest floor, us", *(f"{title} over it" for title in WAYS.values())]
        for row, entry, lowest in zip(rows, entries.values(), fastest, strict=True):
            us, whose = lowest or (1.0, "")
            row.append(f"{number(us)} ({whose})" if lowest else "")
            row += [f"{entry[way]['us'] / us:.2f}" if lowest and way in entry else "" for way in WAYS]
    return f"![Steps over the floor](images/floor-{results['stem']}.png)\n\n{table(header, rows)}"


def fastest_floor(results: Results, name: str) -> tuple[float, str] | None:
    """Microseconds of the floor if whoever multiplies fastest did, and who that is."""
    raced = results.get("peers", {}).get("products", {}).get(name, {})
    us = {multiplier: row["min"] for multiplier, row in raced.items() if "min" in row}
    if "products_numpy" not in us:
        return None
    best, floor = min(us, key=us.__getitem__), results["ratios"]["steps"][name]["floor"]
    share = us[best] / us["products_numpy"]  # of products in one race; those of the floor are of another
    return floor["us"] - (1 - share) * floor["products_us"], PRODUCTS[best]


def over_the_floor(entries: dict[str, Any]) -> list[list[str]]:
    """The table's rows, the first of which is its head."""
    floor = "floor" in next(iter(entries.values()))
    rows = [["", *(["floor, us"] if floor else []), *WAYS.values()]]
    for name, entry in entries.items():
        us = [number(entry["floor"]["us"])] if floor else []
        rows.append([name, *us, *(pair(entry[way]) if way in entry else "" for way in WAYS)])
    return rows


def ratios(entries: dict[str, Any], _: Results | None = None) -> str:
    header, *rows = over_the_floor(entries)
    return table(header, rows)


def beside_a_busy_process(found: dict[str, Any], _: Results) -> str:
    """What BLAS threads do on a machine with something else to do."""
    columns = [(condition, threads) for condition, by in next(iter(found.values())).items() for threads in by]
    header = ["", *(f"{condition}, BLAS threads: {threads}" for condition, threads in columns)]
    rows = [[name, *(f"{entry[c][threads]:,.0f}" for c, threads in columns)] for name, entry in found.items()]
    return table(header, rows)


def kernels_of_the_blas(found: dict[str, Any], _: Results) -> str:
    """What other kernels of OpenBLAS would be worth."""
    names = list(next(iter(found.values()))["us"])
    rows = [
        [choice, entry["kernels"], *(f"{entry['us'][name]:,.0f}" for name in names)] for choice, entry in found.items()
    ]
    return table(["OPENBLAS_CORETYPE", "kernels", *names], rows)


def suite(rows: list[dict[str, Any]], _: Results | None = None) -> str:
    """The table of the pytest-benchmark suite."""
    backends = list(dict.fromkeys(row["backend"] for row in rows))
    lines = []
    for key in dict.fromkeys((r["operation"], r["network"], r["dtype"]) for r in rows):
        cells = {r["backend"]: r for r in rows if (r["operation"], r["network"], r["dtype"]) == key}
        shown = {b: f"{row['min_us']:,.0f} ({100 * row['share']:.0f} %)" for b, row in cells.items()}
        lines.append([*key, *(shown.get(b, "") for b in backends)])
    return table(["operation", "network", "dtype", *backends], lines)


TOPICS: list[tuple[str, str, str, Callable[[Any, Results], str]]] = [  # title, text, section of the file, table
    ("Machine by machine", "", "peers networks", lost_steps),
    ("Steps in lower precision", LOWER, "peers networks", lambda found, _: rounded(_us(found))),
    ("What one code path costs", ONE_PATH, "one_path", one_path),
    ("Predictions beside other libraries", PREDICTING, "peers inference", peers_inference),
    ("Short fits in a new process", SHORT, "trainings short", trainings),
    ("Time to an accuracy", ACCURACY, "trainings accuracy", trainings),
    ("Memory of an epoch", MEMORY, "trainings memory", trainings),
    ("Steps over the floor", FLOORS, "ratios steps", steps_over_the_floor),
    ("Products", MULTIPLYING, "peers products", lambda found, _: times(found, PRODUCTS)),
    ("Steps over the floor in float64", "", "ratios steps_in_float64", ratios),
    ("Epochs over their steps", EPOCHS, "ratios epochs", ratios),
    ("Predictions over their products", PREDICTIONS, "ratios predictions", ratios),
    ("The kernels of OpenBLAS", KERNELS, "kernels", kernels_of_the_blas),
    ("On a busy machine", BUSY, "busy", beside_a_busy_process),
    ("Operation by operation", OPERATIONS, "suite", suite),
]


def topic(found: Iterable[Results], title: str, text: str, section: str, show: Callable[[Any, Results], str]) -> str:
    """What it shows of each machine whose file has the section, under the machine's class."""
    parts = [f"## {title}\n", *([f"{text}\n"] if text else [])]
    given = len(parts)
    for results in found:
        data: Any = results
        for key in section.split():
            data = data.get(key.replace("_", " "), {})
        if data and (shown := show(data, results).rstrip()):
            parts.append(f"### {results['machine']['class']}: {results['machine']['cpu']}\n\n{shown}\n")
    return "\n".join(parts) if len(parts) > given else ""


def page(found: list[Results]) -> str:
    """All machines, side by side."""
    topics = [topic(found, *one) for one in TOPICS]
    parts = [INTRODUCTION, networks(), machines_table(found), beside_peers(found), *topics]
    return "\n".join(part for part in parts if part).rstrip() + "\n"


def draw_floor(results: Results) -> None:
    """Bars: a step over its floor."""
    entries = results["ratios"]["steps"]
    bars = {title: {n: e[way]["min"] for n, e in entries.items() if way in e} for way, title in WAYS.items()}
    axes = _bars(list(entries), bars, ["#4c72b0", "#dd8452"], "%.2f")
    axes.set_ylabel("step time / floor")
    axes.set_title("A training step over its floor (matrix products and one pass of the optimizer)", fontsize=10)
    axes.figure.savefig(IMAGES / f"floor-{results['stem']}.png", dpi=120)


def draw_peers(results: Results) -> None:
    """Bars: a step of each library in those of ours with Numba, on a logarithmic axis."""
    found = {name: entry["speedup"].get("fast", {}) for name, entry in steps_of(results).items()}
    bars = {title: {n: e[peer]["min"] for n, e in found.items() if peer in e} for peer, title in PEERS.items()}
    axes = _bars(list(found), bars, ["#8172b3", "#c44e52", "#da8bc3", "#55a868"], "%.1f")
    axes.set_yscale("log")
    axes.set_yticks([1, 2, 5, 10], ["1", "2", "5", "10"])
    axes.set_ylabel("their step time / ours")
    axes.set_title("Training steps of other libraries, in those of NumPy + Numba", fontsize=10)
    axes.figure.savefig(IMAGES / f"peers-{results['stem']}.png", dpi=120)


def _bars(groups: list[str], heights: dict[str, dict[str, float]], colours: list[str], label: str) -> Any:
    """Beside each other in each group, over a line at 1."""
    from matplotlib.figure import Figure

    axes, width = Figure(figsize=(8, 3.5), layout="constrained").subplots(), 0.78 / len(heights)
    for k, (title, values) in enumerate(heights.items()):
        places = [groups.index(name) + width * (k - (len(heights) - 1) / 2) for name in values]
        bars = axes.bar(places, list(values.values()), width=0.95 * width, color=colours[k], label=title)
        axes.bar_label(bars, fmt=label, fontsize=7, padding=1)
    axes.axhline(1.0, color="black", linewidth=0.8)
    axes.set_xticks(range(len(groups)), groups)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8)
    return axes


def machines() -> list[Results]:
    """What is committed of machines."""
    files = sorted((ROOT / "benchmarks" / "results").glob("*.json"))
    found = [json.loads(path.read_text()) | {"stem": path.stem} for path in files]
    return [results for results in found if {"ratios", "peers", "one path"} & results.keys()]


def with_sentence(readme: str, found: list[Results]) -> str:
    """README with the sentence on these machines."""
    before, rest = readme.split(ON_SPEED)
    return before + ON_SPEED + spoken(found) + rest[rest.index("\n\n![") :]


def main() -> None:
    """Write the page, its pictures and README's sentence."""
    found = machines()
    PAGE.write_text(page(found))
    README.write_text(with_sentence(README.read_text(), found))
    for results in found:
        for section, draw in (("ratios", draw_floor), ("peers", draw_peers)):
            if section in results:
                draw(results)
    print(f"wrote {PAGE.relative_to(ROOT)} and README's sentence from {len(found)} files")


if __name__ == "__main__":
    main()
