"""`meterbridge seal --engine spark` as a user runs it."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from bulk_world import bulk_world, expected, make_calls, write_parquet
from typer.testing import CliRunner

from meterbridge.adapters.spark import session
from meterbridge.adapters.spark.connectors import EXTENSIONS, Connector, connector_of
from meterbridge.entrypoints.cli.app import app
from meterbridge.entrypoints.cli.sealing_spark import Engine, SparkChoice

MAP = (
    "source=source id=id time_ms=time payer=customer model?=model "
    "input=input output=output reasoning?=reasoning cache_read=cached"
)


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    with bulk_world(tmp_path / "ledger", payers=4):
        return tmp_path / "ledger"


def refused(ledger: Path, *arguments: str) -> str:
    result = CliRunner().invoke(app, ["seal", *arguments, "--ledger", str(ledger)])
    assert result.exit_code == 1, result.stdout
    assert result.stderr.startswith("error: ")
    return result.stderr


@pytest.fixture
def calls(tmp_path: Path) -> str:
    return str(write_parquet(tmp_path / "calls.parquet", make_calls(600, 4)))


def test_without_pyspark_it_says_what_to_install(
    ledger: Path, calls: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "pyspark" else real(name))
    assert 'pip install "meterbridge[spark]"' in refused(ledger, "--from", calls, "--engine", "spark")


@pytest.mark.parametrize(("version", "found"), [(None, "there is none"), ("11.0.2", "this is Java 11")])
def test_without_java_17_it_says_what_to_install(
    ledger: Path,
    calls: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    version: str | None,
    found: str,
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: object())
    java = tmp_path / "bin" / "java"
    if version is not None:
        java.parent.mkdir()
        java.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\"' >&2\n")
        java.chmod(0o700)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    told = refused(ledger, "--from", calls, "--engine", "spark")
    assert found in told
    assert "17" in told


def test_old_java_numbers_itself_otherwise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    java = tmp_path / "bin" / "java"
    java.parent.mkdir()
    java.write_text("#!/bin/sh\necho 'java version \"1.8.0_402\"' >&2\n")
    java.chmod(0o700)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    assert session.java_version() == 8


@pytest.mark.parametrize(
    ("arguments", "advice"),
    [
        (["--master", "local[1]"], "add --engine spark"),
        (["--packages", "io.delta:delta-spark_4.1_2.13:4.1.0"], "add --engine spark"),
        (["--engine", "spark", "--format", "Kafka"], "--option subscribe=TOPIC"),
        (["--engine", "spark", "--memory", "2GiB"], "spark.executor.memoryOverhead"),
        (["--engine", "spark", "--option", "a=b"], "--format"),
        (["--engine", "spark", "--format", "orc", "--option", "ab"], "NAME=VALUE"),
        (["--store", "/a/folder"], "--store ledger"),
        (["--store", "nothing://a"], "cannot be opened"),
        (["--engine", "spark", "--store", "memory://a", "--store-options", "{"], "not JSON"),
    ],
)
def test_options_that_make_no_sense_are_refused(
    ledger: Path, calls: str, arguments: list[str], advice: str
) -> None:
    assert advice in refused(ledger, "--from", calls, "--map", MAP, *arguments)


def test_a_connector_is_given_what_it_needs() -> None:
    def settings(kind: str | None, *conf: str) -> dict[str, str]:
        choice = SparkChoice(Engine.SPARK, None, list(conf), None, kind, None, None, "a:b:1", None)
        return choice.settings()

    delta, catalog = "io.delta.sql.DeltaSparkSessionExtension", "spark.sql.catalog.spark_catalog"
    assert settings(None) == settings("orc") == settings("iceberg") == {"spark.jars.packages": "a:b:1"}
    assert settings("Delta")[EXTENSIONS] == delta
    assert settings("delta")[catalog].endswith("DeltaCatalog")
    assert settings("delta", f"{EXTENSIONS}=a.B, c.D", f"{catalog}=e.F") == {
        "spark.jars.packages": "a:b:1",
        EXTENSIONS: f"a.B,c.D,{delta}",
        catalog: "e.F",
    }
    assert settings("delta", f"{EXTENSIONS}=a.B, {delta} ")[EXTENSIONS] == f"a.B,{delta}"


@pytest.mark.parametrize("name", ["ICEBERG", "org.apache.iceberg.spark.source.IcebergSource", "hudi"])
def test_connectors_are_known_by_their_classes_too(name: str) -> None:
    assert connector_of(name).rewrites_files
    assert connector_of("orc") == connector_of("my.format") == Connector()
    assert "VERSION" in connector_of(name).advice("4.1.4")


@pytest.mark.long
def test_the_command_starts_spark_and_seals(ledger: Path, tmp_path: Path) -> None:
    try:
        session.require_spark()
    except session.SparkMissing as error:
        pytest.skip(f"no Spark here: {error}")
    calls = make_calls(900, 4)
    path = write_parquet(tmp_path / "calls.parquet", calls)
    command = [sys.executable, "-m", "meterbridge", "seal", "--from", str(path), "--map", MAP]
    command += [
        "--engine",
        "spark",
        "--master",
        "local[2]",
        "--partitions",
        "3",
        "--ledger",
        str(ledger),
        "--json",
    ]
    found: list[Any] = []
    for _ in range(2):
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=900)
        assert done.returncode == 0, done.stderr
        found.append(json.loads(done.stdout.splitlines()[-1]))
    assert [(f["sealed"], f["repeated"]) for f in found] == [(900, 0), (0, 900)]
    with bulk_world(ledger, payers=4) as world:
        wanted = {str(world.keys[int(c[1:])].payer): root for c, (_, root) in expected(calls).items()}
    assert {b["payer"]: b["root"] for b in found[0]["batches"]} == {
        payer: f"0x{root.hash.hex()}" for payer, root in wanted.items()
    }


_WRITE_TABLE = """
import sys
from meterbridge.adapters.spark.session import spark_session
with spark_session("local[1]") as spark:
    calls = spark.read.parquet(sys.argv[1])
    calls.write.format("jdbc").option("url", sys.argv[2]).option("dbtable", "calls").save()
"""


@pytest.mark.long
def test_a_database_is_sealed_through_jdbc(ledger: Path, tmp_path: Path) -> None:
    """Derby, whose driver comes with Spark."""
    try:
        session.require_spark()
    except session.SparkMissing as error:
        pytest.skip(f"no Spark here: {error}")
    calls = make_calls(700, 4)
    path, url = write_parquet(tmp_path / "calls.parquet", calls), f"jdbc:derby:{tmp_path}/calls;create=true"
    write = [sys.executable, "-c", _WRITE_TABLE, str(path), url]
    subprocess.run(write, check=True, capture_output=True, timeout=900, cwd=tmp_path)
    command = [sys.executable, "-m", "meterbridge", "seal", "--map", MAP, "--engine", "spark"]
    command += ["--master", "local[2]", "--format", "jdbc", "--option", f"url={url}"]
    command += ["--option", "dbtable=calls", "--ledger", str(ledger), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=900, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["sealed"] == 700
    with bulk_world(ledger, payers=4) as world:
        wanted = {str(world.keys[int(c[1:])].payer): root for c, (_, root) in expected(calls).items()}
    assert {b["payer"]: b["root"] for b in found["batches"]} == {
        payer: f"0x{root.hash.hex()}" for payer, root in wanted.items()
    }
