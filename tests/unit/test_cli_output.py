"""What is printed cannot steer a terminal or break the markup, whatever files and names say."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from meterbridge.adapters.json_files import BYTES_MAX, BadJsonFile, read_json, write_json
from meterbridge.entrypoints.cli.output import Output, plain


def test_control_characters_are_spelled_out(capsys: pytest.CaptureFixture[str]) -> None:
    output = Output(as_json=False)
    output.say("\x1b[2J\x1b[Hall is well")
    output.table("a\x1b]0;x\x07", ["column"], [["\x1b[31mred"]])
    said = capsys.readouterr().out
    assert "\x1b" not in said
    assert "\\x1b[2J" in said
    assert plain("Grüße, 网关\n") == "Grüße, 网关\n"


def test_square_brackets_are_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    output = Output(as_json=False)
    output.say("calls[/x].csv")
    output.heading("[/bold]")
    output.table("x[bold].json: everything holds", ["c"], [["[red]"]])
    output.warn("[/nothing]")
    said = capsys.readouterr()
    for text in ("calls[/x].csv", "[/bold]", "x[bold].json", "[red]"):
        assert text in said.out
    assert "[/nothing]" in said.err


def test_a_private_file_is_private_whatever_lies_beside_it(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("untouched")
    (tmp_path / ".keys.json.part").symlink_to(victim)
    os.umask(0)
    write_json(tmp_path / "keys.json", {"key": 1}, mode=0o600)
    os.umask(0o022)
    assert (tmp_path / "keys.json").stat().st_mode & 0o777 == 0o600
    assert not (tmp_path / "keys.json").is_symlink()
    assert victim.read_text() == "untouched"


def test_a_failed_write_leaves_what_was_there(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    write_json(file, {"a": 1})
    with pytest.raises(TypeError):
        write_json(file, {"a": object()})
    assert read_json(file) == {"a": 1}
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.json"]


def test_a_file_beyond_all_measure_is_not_read(tmp_path: Path) -> None:
    file = tmp_path / "huge.json"
    with file.open("wb") as out:
        out.truncate(BYTES_MAX + 1)
    with pytest.raises(BadJsonFile, match="at most"):
        read_json(file)
