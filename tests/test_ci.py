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
