"""Every command that a page shows exists, with the options that it shows."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from typer.main import get_command

from meterbridge.entrypoints.cli.app import app

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SHELL = {"", "console", "bash", "sh"}
_COMMAND = re.compile(r"^\$?\s*(?:\.venv/bin/)?meterbridge (.*)$")


def shown(page: Path) -> Iterator[str]:
    """Yield the command lines of a page's blocks, joined where a backslash continues them."""
    for block in _FENCE.finditer(page.read_text(encoding="utf-8")):
        lines = block[2] if block[1] in _SHELL else ""
        for line in lines.replace("\\\n", " ").splitlines():
            if found := _COMMAND.match(line.strip()):
                yield found[1]


def resolve(words: list[str]) -> tuple[click.Command, list[str]]:
    """Return the command that words name, and the words after it."""
    command: click.Command = get_command(app)
    while words and getattr(command, "commands", None) and words[0] in command.commands:  # type: ignore[attr-defined]
        command, words = command.commands[words[0]], words[1:]  # type: ignore[attr-defined]
    return command, words


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_commands_of_a_page_are_those_that_there_are(page: Path) -> None:
    for line in shown(page):
        command, rest = resolve(shlex.split(line, comments=True))
        assert not getattr(command, "commands", None), f"{page.name}: meterbridge {line}"
        known = {name for option in command.params for name in (*option.opts, *option.secondary_opts)}
        used = {word.partition("=")[0] for word in rest if re.fullmatch(r"--?[a-z][a-z-]*(=.*)?", word)}
        assert used <= known | {"--help", "-h"}, f"{page.name}: meterbridge {line}"


def test_the_pages_show_commands_at_all() -> None:
    found = [line for page in PAGES for line in shown(page)]
    assert len(found) > 20
    assert any(line.startswith("deposit") for line in found)
