"""`meterbridge --help` answers at once because nothing heavy is imported for it."""

from __future__ import annotations

import subprocess
import sys

HEAVY = (
    "numpy",
    "numba",
    "pyarrow",
    "sqlalchemy",
    "sqlmodel",
    "web3",
    "eth_account",
    "eth",
    "fastapi",
    "pydantic",
)
SHOW = "import sys; import meterbridge.entrypoints.cli.app; print(*sys.modules)"


def test_help_loads_nothing_heavy() -> None:
    run = subprocess.run([sys.executable, "-c", SHOW], capture_output=True, text=True, check=True)
    loaded = set(run.stdout.split())
    assert "typer" in loaded
    assert sorted(loaded & set(HEAVY)) == []


def test_every_command_shows_an_example() -> None:
    from typer.main import get_command

    from meterbridge.entrypoints.cli.app import app

    def commands(group: object, path: str) -> list[tuple[str, str]]:
        found = []
        for name, command in getattr(group, "commands", {}).items():
            if hasattr(command, "commands"):
                found += commands(command, f"{path} {name}")
            else:
                found.append((f"{path} {name}".strip(), command.help or ""))
        return found

    all_commands = commands(get_command(app), "")
    assert len(all_commands) > 15
    missing = [name for name, text in all_commands if f"meterbridge {name}" not in text]
    assert missing == []
