"""`meterbridge seal --from` as a user runs it."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bulk_world import (
    START,
    Call,
    bulk_world,
    expected,
    make_calls,
    write_csv,
    write_ndjson,
    write_parquet,
)
from typer.testing import CliRunner

from meterbridge.entrypoints.cli.app import app
from meterbridge.services.records import LogKey, LogKind

MAP = (
    "source=source id=id time_ms=time payer=customer model?=model "
    "input=input output=output reasoning?=reasoning cache_read=cached"
)
WRITERS: dict[str, Callable[..., Path]] = {"parquet": write_parquet, "csv": write_csv, "ndjson": write_ndjson}


class Commands:
    """Runs commands on one ledger folder with four payers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with bulk_world(folder, payers=4):
            pass

    def run(self, *arguments: str) -> tuple[int, str, str]:
        result = CliRunner().invoke(app, [*arguments, "--ledger", str(self.folder)])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.exit_code, result.stdout, result.stderr

    def json(self, *arguments: str) -> Any:
        code, out, err = self.run(*arguments, "--json")
        assert code == 0, f"{out}\n{err}"
        return json.loads(out.splitlines()[-1])

    def refused(self, *arguments: str) -> str:
        code, _, err = self.run(*arguments)
        assert code == 1
        assert err.startswith("error: ")
        return err

    def roots(self) -> list[Any]:
        with bulk_world(self.folder, payers=4) as world:
            logs = [LogKey(key, LogKind.CHARGES) for key in world.keys]
            return [[(b.size, b.root) for b in world.bulk.ledger.batches(log)] for log in logs]


@pytest.fixture
def commands(tmp_path: Path) -> Commands:
    return Commands(tmp_path / "ledger")


def roots_of(calls: list[Call]) -> list[Any]:
    wanted = expected(calls)
    return [[wanted[f"c{payer}"]] if f"c{payer}" in wanted else [] for payer in range(4)]


@pytest.mark.parametrize("kind", WRITERS)
def test_files_at_once_give_the_roots_of_import_and_seal(
    commands: Commands, tmp_path: Path, kind: str
) -> None:
    calls = make_calls(1200, 4)
    path = str(WRITERS[kind](tmp_path / f"calls.{kind}", calls))
    done = commands.json("seal", "--from", path, "--map", MAP)
    assert (done["sealed"], done["repeated"], done["left_out"]) == (1200, 0, 0)
    slow = Commands(tmp_path / "one by one")
    slow.json("import", path, "--map", MAP)
    batches = slow.json("seal")["batches"]
    assert commands.roots() == slow.roots() == roots_of(calls)
    said = [{key: b[key] for key in b if key != "segment"} for b in done["batches"]]
    assert said == [{key: b[key] for key in b if key != "segment"} for b in batches]


CHAT = {"id": "chat-%d", "created": START // 1000, "model": "m"}
SHAPES: dict[str, tuple[list[str], str]] = {
    "rows without ids": (
        ["--payer", "c1", "--map", "id=#row time_ms=t input=in"],
        f"t,in\n{START},5\n{START},6\n",
    ),
    "no source, all to one payer": (
        ["--payer", "c1", "--map", "id=id time_ms=t payer=who input=in"],
        f"id,t,who,in\na,{START},c0,5\nb,{START},nobody,6\n",
    ),
    "a source of our own": (
        ["--source", "eu", "--map", "id=id time_ms=t payer=who input=in"],
        f"id,t,who,in\na,{START},c0,5\nb,{START},c2,6\n",
    ),
    "shapes of providers": (
        ["--payer", "c2"],
        "".join(
            json.dumps(
                {
                    **CHAT,
                    "id": f"chat-{i}",
                    "usage": {"prompt_tokens": i, "completion_tokens": 2, "total_tokens": i + 2},
                }
            )
            + "\n"
            for i in range(1, 4)
        ),
    ),
    "details that are nested, and of several kinds": (
        ["--map", "id=id time_ms=t payer=who input=in detail=more.a,more.b"],
        json.dumps({"id": "a", "t": START, "who": "c0", "in": 5, "more": {"a": "x", "b": 3}}) + "\n",
    ),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_is_read_as_import_reads_it(commands: Commands, tmp_path: Path, shape: str) -> None:
    options, text = SHAPES[shape]
    path = tmp_path / "calls.log"
    path.write_text(text)
    commands.json("seal", "--from", str(path), *options)
    slow = Commands(tmp_path / "one by one")
    slow.json("import", str(path), *options)
    slow.json("seal")
    assert commands.roots() == slow.roots()
    assert sum(size for batches in slow.roots() for size, _ in batches) > 0
    again = slow.json("seal", "--from", str(path), *options)
    assert again["repeated"] > 0
    assert again["sealed"] == 0


def test_patterns_further_files_and_gzip_are_sealed_once_each(commands: Commands, tmp_path: Path) -> None:
    calls = make_calls(900, 4)
    write_parquet(tmp_path / "a.parquet", calls[:300])
    write_parquet(tmp_path / "b.parquet", calls[300:500])
    write_csv(tmp_path / "c.csv", calls[500:600])
    packed = tmp_path / "d.csv.gz"
    packed.write_bytes(gzip.compress(write_csv(tmp_path / "d.csv", calls[600:]).read_bytes()))
    (tmp_path / "d.csv").unlink()
    files = [str(tmp_path / "*.parquet"), str(tmp_path / "a.parquet"), str(tmp_path / "c.csv")]
    done = commands.json("seal", "--from", files[0], "--from", files[1], "--map", MAP, files[2], str(packed))
    assert (done["sealed"], done["repeated"]) == (900, 0)
    assert commands.roots() == roots_of(calls)


def test_people_are_told_what_became_of_the_files(commands: Commands, tmp_path: Path) -> None:
    path = str(write_csv(tmp_path / "calls.csv", make_calls(50, 4)))
    code, out, _ = commands.run("seal", "--from", path, "--map", MAP)
    assert code == 0
    assert "50 receipts sealed, 0 were there already, rows left out: 0" in out
    assert "0 receipts sealed, 50 were there already" in commands.run("seal", "--from", path, "--map", MAP)[1]


def test_a_bad_row_is_named_and_nothing_is_sealed_unless_it_may_be_left_out(
    commands: Commands, tmp_path: Path
) -> None:
    calls = make_calls(40, 4)
    bad = [calls[0]._replace(id="bad", input=-1), calls[1]._replace(id="who", customer="nobody")]
    path = str(write_csv(tmp_path / "calls.csv", [*calls[:20], *bad, *calls[20:]]))
    said = commands.refused("seal", "--from", path, "--map", MAP)
    assert "row 22" in said
    assert "-1" in said
    assert path in said
    assert commands.roots() == [[], [], [], []]
    done = commands.json("seal", "--from", path, "--map", MAP, "--skip-bad")
    assert (done["sealed"], done["left_out"]) == (40, 2)
    assert [(row["row"], row["id"]) for row in done["bad"]] == [(22, None), (23, "who")]
    assert commands.roots() == roots_of(calls)


def test_a_file_of_nothing_but_bad_rows_is_a_failure(commands: Commands, tmp_path: Path) -> None:
    path = str(write_csv(tmp_path / "calls.csv", [make_calls(1, 1)[0]._replace(customer="nobody")]))
    code, out, _ = commands.run("seal", "--from", path, "--map", MAP, "--skip-bad")
    assert code == 1
    assert "rows left out: 1" in out


def test_another_content_of_a_sealed_event_is_reported(commands: Commands, tmp_path: Path) -> None:
    calls = make_calls(10, 4)
    commands.json("seal", "--from", str(write_csv(tmp_path / "a.csv", calls)), "--map", MAP)
    changed = str(write_csv(tmp_path / "b.csv", [calls[3]._replace(input=calls[3].input + 1)]))
    said = commands.refused("seal", "--from", changed, "--map", MAP)
    assert calls[3].id in said
    assert "another content" in said


def test_the_retention_is_an_option_and_a_variable(
    commands: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    day = 86_400_000
    call = make_calls(1, 1)[0]._replace(time=START)
    old = [call._replace(id=f"old-{n}", time=START - n * day) for n in (36, 60, 900)]
    commands.json("seal", "--from", str(write_csv(tmp_path / "a.csv", [call])), "--map", MAP)
    paths = [str(write_csv(tmp_path / f"{n}.csv", [one])) for n, one in enumerate(old)]
    assert "raise the retention" in commands.refused("seal", "--from", paths[0], "--map", MAP)
    assert commands.json("seal", "--from", paths[0], "--map", MAP, "--retention-days", "40")["sealed"] == 1
    monkeypatch.setenv("METERBRIDGE_RETENTION_DAYS", "61")
    assert commands.json("seal", "--from", paths[1], "--map", MAP)["sealed"] == 1
    last = commands.json("seal", "--from", paths[2], "--map", MAP, "--retention-days", "forever")
    assert last["sealed"] == 1


WRONG = {
    "files without --from": (["x.csv"], "--from"),
    "a map without --from": (["--map", "id=id"], "--map is for files"),
    "batches of a size": (["--from", "{file}", "--max-receipts", "3"], "--max-receipts"),
    "no such file": (["--from", "nowhere/*.csv"], "there is no file nowhere"),
    "a folder": (["--from", "{folder}"], "is a folder"),
    "a retention": (["--from", "{file}", "--retention-days", "a month"], "neither a number of days"),
    "a size": (["--from", "{file}", "--memory", "lots"], "is no size"),
    "too little memory": (["--from", "{file}", "--memory", "3KiB"], "too little"),
    "a payer": (["--from", "{file}", "--payer", "nobody"], "no account 'nobody'"),
    "an empty file": (["--from", "{empty}"], "is empty"),
    "a file without rows": (["--from", "{header}", "--map", "id=id time=t input=in"], "has no rows"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_makes_no_sense_is_refused_in_one_line(commands: Commands, tmp_path: Path, wrong: str) -> None:
    arguments, reason = WRONG[wrong]
    files = {
        "file": str(write_csv(tmp_path / "calls.csv", make_calls(3, 4))),
        "folder": str(tmp_path),
        "empty": str(tmp_path / "empty.csv"),
        "header": str(tmp_path / "header.csv"),
    }
    (tmp_path / "empty.csv").touch()
    (tmp_path / "header.csv").write_text("id,t,in\n")
    said = commands.refused("seal", *(one.format(**files) for one in arguments))
    assert reason in said
    assert said.count("\n") == 1
    assert commands.roots() == [[], [], [], []]


def test_there_must_be_a_ledger(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["seal", "--from", __file__, "--ledger", str(tmp_path / "none")])
    assert result.exit_code == 1
    assert "there is no ledger" in result.stderr
    assert not (tmp_path / "none").exists()


def test_an_interrupted_seal_leaves_nothing_behind(commands: Commands, tmp_path: Path) -> None:
    """Ctrl-C while rows are read: they come through a pipe that stays open."""
    calls = make_calls(2000, 4)
    whole = write_csv(tmp_path / "calls.csv", calls).read_bytes()
    pipe = tmp_path / "pipe.csv"
    os.mkfifo(pipe)
    command = [sys.executable, "-m", "meterbridge", "seal", "--from", str(pipe), "--map", MAP, "--ledger"]
    process = subprocess.Popen([*command, str(commands.folder)], stderr=subprocess.PIPE, text=True)
    with pipe.open("wb") as sink:
        sink.write(whole[: len(whole) // 2])
        sink.flush()
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "interrupted" in err
    assert "Traceback" not in err
    assert commands.roots() == [[], [], [], []]
    left = [path.name for path in commands.folder.rglob("*") if not path.name.startswith("ledger")]
    assert left == []
    done = commands.json("seal", "--from", str(tmp_path / "calls.csv"), "--map", MAP)
    assert done["sealed"] == 2000
