"""What the command line says about itself."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import chainrule as cr
from chainrule.cli import main
from chainrule.cli._app import app

WRITTEN = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]["version"]
COMMANDS = [command.callback.__name__.replace("_", "-") for command in app.registered_commands if command.callback]


def test_the_version_is_the_one_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    assert cr.__version__ == WRITTEN
    assert "__version__" in dir(cr)
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"chainrule {WRITTEN}\n"


def test_python_runs_it_by_its_name() -> None:
    command = [sys.executable, "-m", "chainrule", "--version"]
    assert subprocess.check_output(command, text=True, timeout=120) == f"chainrule {WRITTEN}\n"


@pytest.mark.parametrize("command", [None, *COMMANDS])
def test_help_has_a_short_name_too(command: str | None, capsys: pytest.CaptureFixture[str]) -> None:
    words = [] if command is None else [command]
    printed = [(main([*words, option]), capsys.readouterr().out) for option in ("--help", "-h")]
    assert printed[0] == printed[1]
    code, text = printed[0]
    assert code == 0
    assert "Usage: " in text
    assert not command or f" {command} " in text
