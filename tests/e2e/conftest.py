"""The command line as a user runs it: a process of its own, real files, real chains."""

from __future__ import annotations

import contextlib
import json
import os
import runpy
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from meterbridge.entrypoints.cli.app import app

ROOT = Path(__file__).resolve().parents[2]
ANVIL = ROOT / "tests" / "bench" / "_anvil.py"
PASSWORD = "correct horse"


class Cli:
    """Runs `meterbridge` in a folder, with warnings as errors."""

    def __init__(self, folder: Path, rpc: str | None = None) -> None:
        self.folder = folder
        self.env = {
            **os.environ,
            "METERBRIDGE_PASSWORD": PASSWORD,
            "PYTHONWARNINGS": "error",
            "PYTHONUNBUFFERED": "1",
        }
        self.env.pop("METERBRIDGE_PRIVATE_KEY", None)
        if rpc:
            self.env["METERBRIDGE_RPC"] = rpc

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "meterbridge", *arguments],
            cwd=self.folder,
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str) -> tuple[int, str, str]:
        process = self.start(*arguments)
        out, err = process.communicate(timeout=300)
        return process.returncode, out, err

    def ok(self, *arguments: str) -> str:
        code, out, err = self.run(*arguments)
        assert code == 0, f"{arguments}\n{out}\n{err}"
        return out

    def json(self, *arguments: str) -> Any:
        return json.loads(self.ok(*arguments, "--json").splitlines()[-1])

    def refused(self, *arguments: str) -> str:
        """Run what must be refused; return its one line on stderr."""
        code, out, err = self.run(*arguments)
        assert code == 1, f"{arguments} ended with {code}\n{out}\n{err}"
        lines = [line for line in err.splitlines() if line]
        assert len(lines) == 1, err
        assert lines[0].startswith("error: "), err
        return lines[0]


class InThisProcess(Cli):
    """The same in this process: many commands in a row need not load the libraries each time."""

    def run(self, *arguments: str) -> tuple[int, str, str]:
        with contextlib.chdir(self.folder):
            result = CliRunner().invoke(app, list(arguments), env=self.env)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.exit_code, result.stdout, result.stderr


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    return Cli(tmp_path)


@pytest.fixture(scope="module")
def anvil_rpc() -> Iterator[str]:
    """A node of this module's own; skipped where there is none."""
    tools = runpy.run_path(str(ANVIL))
    try:
        tools["find_anvil"]()
    except tools["NoAnvil"] as error:
        pytest.skip(str(error))
    with tools["anvil"]() as w3:
        yield str(w3.provider.endpoint_uri)
