"""The driver behind ``ci/bench``: measures, writes one JSON file a machine, and holds the steps to their ratios.

python benchmarks/run.py            five minutes: ratios to the floor, and the suite on the smaller networks
python benchmarks/run.py --quick    under a minute: every group once, nothing is written
python benchmarks/run.py --full     everything, float64, epochs and predictions as well
python benchmarks/run.py --peers    other libraries beside ours: steps, products, predictions, whole trainings
python benchmarks/run.py --one-path fit on torch and JAX arrays over these libraries' own hand-written training
python benchmarks/run.py --gate     fail if a step's ratio is 25 % above the committed one of this class of machines
python benchmarks/run.py --page     write docs/performance.md and README's sentence from the files of all machines
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import report

HERE = Path(__file__).parent
RESULTS = HERE / "results"
TOLERANCE = 1.25
OPTIONAL = ("onnxruntime", "openvino", "mkl")
VENDORS = {"AuthenticAMD": "AMD", "GenuineIntel": "Intel"}
WIDEST = {"amx_bf16": "AMX", "avx512f": "AVX-512", "avx2": "AVX2", "sve": "SVE", "asimd": "NEON"}  # widest first
SELECTED = ["tiny", "small", "tabular", "mnist"]
ALL = [*SELECTED, "deep", "wide"]


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    versions = {}
    for name in ("numpy", "numba", "torch", "jax", "cupy-cuda13x", "cupy-cuda12x", "scikit-learn", *OPTIONAL):
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "class": machine_class(cpu_fields()),
        "cpu": cpu_name(),
        "cores": len(os.sched_getaffinity(0)),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "blas": numpys_blas(),
        "versions": versions,
    }


def cpu_fields() -> dict[str, str]:
    """What Linux says of a processor."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return {}
    return dict(re.findall(r"^(\w[\w ]*?)\s*:\s*(.+)$", text, flags=re.MULTILINE))


def machine_class(fields: dict[str, str]) -> str:
    """``AMD, AVX-512, 2 cores``: machines whose steps may be held to the same ratios."""
    flags = (fields.get("flags") or fields.get("Features", "")).split()
    vendor = VENDORS.get(fields.get("vendor_id", ""), platform.machine())
    widest = next((name for flag, name in WIDEST.items() if flag in flags), "unknown")
    return f"{vendor}, {widest}, {len(os.sched_getaffinity(0))} cores"


def cpu_name() -> str:
    """The processor's model, with family and model numbers, since virtual machines give a short name."""
    fields = cpu_fields()
    if not fields:
        return platform.processor() or "unknown"
    return f"{fields.get('model name', 'unknown')} (family {fields.get('cpu family')}, model {fields.get('model')})"


def numpys_blas() -> str:
    """NumPy's BLAS, its version and the kernels that it chose."""
    import numpy  # noqa: F401  # loads the BLAS
    from threadpoolctl import threadpool_info

    found = [info for info in threadpool_info() if info["user_api"] == "blas"]
    return ", ".join(f"{i['internal_api']} {i['version']} ({i.get('architecture')})" for i in found)


def results_file() -> Path:
    """One file a kind of machine."""
    name = re.sub(r"[^a-z0-9]+", "-", f"{cpu_name()} {len(os.sched_getaffinity(0))} cores".lower()).strip("-")
    return RESULTS / f"{name}.json"


def update(path: Path, **sections: Any) -> None:
    """Write these sections and the machine, keeping the file's other sections."""
    path.parent.mkdir(exist_ok=True)
    held = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(held | {"machine": machine()} | sections, indent=1) + "\n")
    print(f"wrote {path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path}")


# ------------------------------------------------------------------------------------------------------------ the parts


def backends() -> list[str]:
    """What can run here."""
    import chainrule as cr

    usable = [row["name"] for row in cr.available_backends() if row["problem"] is None]
    fast = ["numpy+numba"] if importlib.util.find_spec("numba") else []
    return ["numpy", *fast, *(str(name) for name in usable if name not in ("numpy", "array-api-strict"))]


def suite(selection: str) -> list[dict[str, Any]]:
    """The rows of the pytest-benchmark suite; each backend in a process of its own."""
    rows: list[dict[str, Any]] = []
    for name in backends():
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "benchmark.json"
            command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--benchmark-disable-gc"]
            command += ["--benchmark-quiet", f"--benchmark-json={out}", str(HERE / "test_operations.py")]
            environment = os.environ | {"CHAINRULE_BENCH": selection, "CHAINRULE_BENCH_BACKENDS": name}
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
            if done.returncode:
                raise SystemExit(f"the suite failed on {name}:\n{done.stdout}\n{done.stderr}")
            for found in json.loads(out.read_text())["benchmarks"]:
                times = found["stats"]
                rows.append(found["extra_info"] | {"min_us": 1e6 * times["min"], "median_us": 1e6 * times["median"]})
    return rows


def ratios(names: list[str], rounds: int, *, everything: bool) -> dict[str, Any]:
    """Ratios to the floor, NumPy alone and with Numba where it is installed."""
    import floor

    ways = floor.WAYS if importlib.util.find_spec("numba") else {"plain": "numpy"}
    found = floor.measure(names, ways, rounds, everything=everything)
    for section, entries in found.items():
        print(f"\n{section}, over the floor: minimum [median]\n{report.ratios(entries)}")
    return found


def committed_ratios(own: Path, kind: str) -> tuple[str, dict[str, Any]] | None:
    """The committed file with ratios of steps, and these: of this very processor, else of its class, else None."""
    files = sorted(own.parent.glob("*.json"), key=lambda path: (path != own, path.name))
    for path in files:
        found = json.loads(path.read_text())
        if "ratios" in found and (path == own or found["machine"].get("class") == kind):
            return path.name, found["ratios"]["steps"]
    return None


def gate() -> int:
    """1 if a step's ratio is more than 25 % above the committed one, measured again once before it is believed."""
    kind = machine_class(cpu_fields())
    chosen = committed_ratios(results_file(), kind)
    if chosen is None:
        print(f"no ratios are committed for this class of machines ({kind}): run ci/bench --full and commit its file.")
        return 2
    name, committed = chosen
    print(f"{kind}: compared with {name}")
    worse = list(committed)
    for rounds in (10, 30):
        found = ratios(worse, rounds, everything=False)["steps"]
        worse = [name for name in worse if _worsened(found[name], committed[name])]
        if not worse:
            print("\nno step's ratio to the floor has worsened by more than 25 %")
            return 0
    for name in worse:
        for way, was in _worsened(found[name], committed[name]).items():
            print(f"{name}, {way}: {found[name][way]['min']:.2f} times the floor, {was:.2f} when it was committed")
    return 1


def _worsened(found: dict[str, Any], committed: dict[str, Any]) -> dict[str, float]:
    """The committed ratios that both the minimum and the paired median now exceed by more than the tolerance."""
    return {
        way: committed[way]["min"]
        for way in found
        if way != "floor"
        and way in committed
        and all(found[way][kind] > TOLERANCE * committed[way][kind] for kind in ("min", "median"))
    }


def main(arguments: list[str] | None = None) -> int:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_mutually_exclusive_group()
    for kind in ("quick", "full", "peers", "one-path", "gate", "page"):
        kinds.add_argument(f"--{kind}", action="store_true")
    asked = parser.parse_args(arguments)
    if asked.gate:
        return gate()
    if asked.page:
        report.main()
        return 0
    if asked.quick:
        print(report.suite(suite("quick")))
        ratios(["tiny"], 3, everything=False)
        return 0
    if asked.peers:
        import peers
        import trainings

        update(results_file(), peers=peers.main(ALL, 10, peers.PREDICTED))
        update(results_file(), trainings=trainings.measure())
        return 0
    if asked.one_path:
        import one_path

        update(results_file(), **{"one path": one_path.measure(ALL)})
        return 0
    found = ratios(ALL if asked.full else SELECTED, 20 if asked.full else 10, everything=asked.full)
    rows = suite("full" if asked.full else "some")
    print(report.suite(rows))
    sections: dict[str, Any] = {"ratios": found, "suite": rows}
    if asked.full:
        import blas
        import busy

        sections |= {"busy": busy.measure(), "kernels": blas.measure()}
    update(results_file(), **sections)
    return 0


if __name__ == "__main__":
    sys.exit(main())
