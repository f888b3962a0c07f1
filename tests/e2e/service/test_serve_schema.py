"""Schemathesis against the running service: no server error, and no answer that is not documented."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import _service as support
import pytest

CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
HOOKS = Path(__file__).with_name("schemathesis_hooks.py")


def run(folder: Path, examples: int) -> subprocess.CompletedProcess[str]:
    book = support.Book(folder)
    with support.running(book, settings={"seal_seconds": 1}) as service:
        events = [support.event("a"), support.event("b"), support.event("a", tokens=77)]
        support.post(service.url + "/v1/events", book.key, events)
        config = folder / "schemathesis.toml"
        config.write_text(
            f'[parameters]\n"path.tariff_id" = "0x{book.record.id.hex()}"\n"path.payer" = "{support.PAYER}"\n'
        )
        command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(config)]
        command += ["run", service.url + "/openapi.json", "--header", f"Authorization: Bearer {book.key}"]
        command += ["--checks", CHECKS, "--max-examples", str(examples), "--request-timeout", "30"]
        found = subprocess.run(
            command,
            cwd=folder,
            env={**os.environ, "SCHEMATHESIS_HOOKS": "schemathesis_hooks", "PYTHONPATH": str(HOOKS.parent)},
            capture_output=True,
            text=True,
            check=False,
        )
        crashes = [line for line in service.log.read_text().splitlines() if '"crashed"' in line]
    book.close()
    assert crashes == []
    return found


def check(found: subprocess.CompletedProcess[str]) -> None:
    assert found.returncode == 0, found.stdout[-6_000:] + found.stderr[-2_000:]
    assert "19 selected" in found.stdout


def test_nothing_undocumented_is_answered(tmp_path):
    pytest.importorskip("schemathesis")
    check(run(tmp_path, examples=3))


@pytest.mark.long
def test_nothing_undocumented_is_answered_at_length(tmp_path):
    pytest.importorskip("schemathesis")
    check(run(tmp_path, examples=100))
