"""The scripts in ci/ that decide something themselves."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import find_library

ROOT = Path(__file__).parent.parent
pytestmark = pytest.mark.skipif(os.name != "posix", reason="ci/ is written for bash")

CLEAN: dict[str, Any] = {"name": "one", "version": "1", "vulns": []}
HURT = {"name": "two", "version": "2", "vulns": [{"id": "CVE-1", "fix_versions": ["2.1"]}]}
UNKNOWN = {"name": "three", "skip_reason": "three was not found"}
AUDITS: dict[str, tuple[list[Any] | None, int, str]] = {
    "clean": ([CLEAN, UNKNOWN], 0, "1 of 2 packages checked"),
    "vulnerable": ([CLEAN, HURT, UNKNOWN], 1, "two 2: CVE-1, mended in ['2.1']"),
    "nothing known": ([UNKNOWN], 3, "nothing was checked: three was not found"),
    "nobody reached": (None, 3, "nothing was checked: ConnectionError: no route"),
}


@pytest.mark.parametrize(("packages", "code", "says"), AUDITS.values(), ids=AUDITS)
def test_an_audit_fails_for_vulnerabilities_and_says_where_nothing_was_checked(
    packages: list[Any] | None, code: int, says: str, tmp_path: Path
) -> None:
    """A pip-audit of the test's own: the report that it writes is one of the real one's, and so is its exit status."""
    commands = {"ci/setup": "", ".venv/bin/python": f'exec {sys.executable} "$@"\n', ".venv/audit/bin/pip-audit": ""}
    if packages is None:
        commands[".venv/audit/bin/pip-audit"] = "printf 'Traceback:\\nConnectionError: no route\\n' >&2; exit 1\n"
    else:
        (tmp_path / "report").write_text(json.dumps({"dependencies": packages, "fixes": []}))
        commands[".venv/audit/bin/pip-audit"] = f'cp "{tmp_path}/report" "$6"; exit {int(HURT in packages)}\n'
    for name, text in commands.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("#!/bin/sh\n" + text)
        path.chmod(0o755)
    shutil.copy(ROOT / "ci/audit", tmp_path / "ci/audit")
    done = subprocess.run([tmp_path / "ci/audit"], capture_output=True, text=True, timeout=60)
    assert (done.returncode, says in done.stdout + done.stderr) == (code, True), done


def test_on_a_gpu_only_files_with_such_tests_are_imported_and_results_go_where_the_caller_says(tmp_path: Path) -> None:
    files = {
        "ci/gpu": (ROOT / "ci/gpu").read_text(),
        "src/cupy.py": "",
        "python": f'[ "$1" = - ] && exec {sys.executable} "$@"; echo "$@" >> {tmp_path}/calls; [ "$2" != pytest ]\n',
        "tests/test_marked.py": "pytestmark = pytest.mark.gpu\n",
        "tests/contracts/test_platforms.py": "def test_it(\n    one: int,\n    platform: Platform,\n) -> None:\n",
        "tests/test_others.py": "def helper(platform: Platform) -> None:\ndef test_it(open_platform: Any) -> None:\n",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text if name == "ci/gpu" or name.endswith(".py") else "#!/bin/sh\n" + text)
        path.chmod(0o755)
    told = {**os.environ, "PYTHON": str(tmp_path / "python"), "CHAINRULE_RESULTS": "there", "PYTHONPATH": ""}
    done = subprocess.run([tmp_path / "ci/gpu", "--dry-run"], env=told, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1, "the tests failed"
    assert "pytest's exit code is 1" in done.stderr
    calls = (tmp_path / "calls").read_text().splitlines()
    together, alone, benchmark = (call for call in calls if "pytest" in call or "--spent" in call)
    assert sum("--warm" in call for call in calls) == 1
    files_of = [word for word in together.split() if word.startswith("tests/")]
    assert files_of == ["tests/contracts/test_platforms.py", "tests/test_marked.py"]
    assert "--junitxml=there/tests.xml" in together
    assert ("not alone" in together, "not alone" in alone) == (True, False)
    assert "--junitxml=there/tests-alone.xml" in alone
    assert benchmark.startswith("-m gpu --spent")
    assert benchmark.endswith("--dry-run")


def test_what_a_file_of_tests_needs_at_its_import_may_be_missing() -> None:
    with pytest.raises(pytest.skip.Exception) as caught:
        find_library("a library that is nowhere", "no_such_module")
    assert caught.value.allow_module_level


def test_without_a_compiler_nothing_is_tested_on_the_fake_cuda_and_it_says_so(tmp_path: Path) -> None:
    for name in ("ci", "bin"):
        (tmp_path / name).mkdir()
    for tool in ("bash", "dirname", "env"):
        (tmp_path / "bin" / tool).symlink_to(str(shutil.which(tool)))
    for name, text in (("ci/setup", ""), ("bin/uname", "echo Linux x86_64\n")):
        (tmp_path / name).write_text("#!/usr/bin/env bash\n" + text)
        (tmp_path / name).chmod(0o755)
    shutil.copy(ROOT / "ci/fake-cuda", tmp_path / "ci/fake-cuda")
    told = {"PATH": str(tmp_path / "bin")}
    done = subprocess.run([tmp_path / "ci/fake-cuda"], env=told, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (
        3, "ci/fake-cuda: nothing was tested: g++ is not installed, and builds it.\n"
    )  # fmt: skip
