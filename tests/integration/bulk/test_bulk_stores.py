"""Seals in stores behind URLs: found by every command, continued where they are, and never half there."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from bulk_world import bulk_world, expected, make_calls, receipt_of, write_parquet
from moto.server import ThreadedMotoServer
from typer.testing import CliRunner

from meterbridge.adapters.bulk.restoring import LostSeals
from meterbridge.adapters.bulk.stores import OPTIONS_VARIABLE, POINTER, Store, StoreUnreachable
from meterbridge.adapters.segments import FolderSegments
from meterbridge.adapters.signers import LocalSigner
from meterbridge.entrypoints.cli.app import app
from meterbridge.services.ledger_errors import BadSegment, Conflict
from meterbridge.services.proofs import verify_proof
from meterbridge.services.proving import Prover
from meterbridge.services.recovery import rebuild
from meterbridge.services.statements import make_statements

fsspec = pytest.importorskip("fsspec", reason='fsspec is not installed: pip install "meterbridge[spark]"')
World = Callable[..., Any]
TIME = 1_795_000_000
MAP = (
    "source=source id=id time_ms=time payer=customer model?=model "
    "input=input output=output reasoning?=reasoning cache_read=cached"
)


@pytest.fixture(scope="module")
def s3() -> Iterator[tuple[str, dict[str, str]]]:
    """Run an S3 of our own on this machine; yield its bucket and what Arrow's client needs to open it."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    keys = {"aws_access_key_id": "me", "aws_secret_access_key": "secret", "region_name": "us-east-1"}
    boto3.client("s3", endpoint_url=f"http://{host}:{port}", **keys).create_bucket(Bucket="books")
    options = {"access_key": "me", "secret_key": "secret", "region": "us-east-1", "scheme": "http"}
    yield "s3://books", options | {"endpoint_override": f"{host}:{port}"}
    server.stop()


@pytest.fixture(params=["memory", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """Give a store of the test's own."""
    if request.param == "memory":
        monkeypatch.delenv(OPTIONS_VARIABLE, raising=False)
        return Store(f"memory://{tmp_path.name}")
    url, options = request.getfixturevalue("s3")
    monkeypatch.setenv(OPTIONS_VARIABLE, json.dumps(options))
    return Store(f"{url}/{tmp_path.name}")


def names_in(store: Store) -> set[str]:
    fs, base = store.open()
    fs.invalidate_cache()
    found = fs.find(base) if fs.exists(base) else []
    return {str(path).removeprefix(base).lstrip("/") for path in found}


def test_what_is_in_a_store_is_proven_exported_and_continued(
    new_bulk: World, tmp_path: Path, store: Store
) -> None:
    calls, world = make_calls(900, 3), new_bulk(payers=3)
    bulk, record = world.bulk, world.record
    first, second, third = (
        write_parquet(tmp_path / f"{n}.parquet", some)
        for n, some in enumerate((calls[:400], calls[300:700], calls[600:]))
    )
    world.bulk = bulk.onto(store)
    world.seal(first)
    assert world.seal(second).repeated == 100, "what is in the store is known"
    assert bulk.seals.last_store(record.id) == store.url
    world.bulk = bulk.onto(None)
    assert world.seal(third).repeated == 100, "also to a seal that goes elsewhere"
    assert bulk.seals.last_store(record.id) is None
    make_statements(bulk.ledger, record, TIME, LocalSigner(bytes([7]) * 32))
    folder = world.folder / "segments"
    prover = Prover(bulk.ledger, FolderSegments(folder), record.id)
    for call in calls[::50]:
        proof = prover.prove_event(call.source, call.id)
        assert verify_proof(proof).proven.receipt == receipt_of(call)
    local = [path.name for path in sorted(folder.glob("*/bulk/0000000[01]/*"))]
    assert local == [POINTER, POINTER]
    assert len([name for name in names_in(store) if name.endswith("batches.parquet")]) == 2
    assert f"{record.id.hex()[:8]}/tariff.json" in names_in(store)
    roots = {name: root for name, (_, root) in expected(calls[:400]).items()}
    segments = FolderSegments(folder)
    for key, name in zip(world.keys, ("c0", "c1", "c2"), strict=True):
        batch = next(b for b in bulk.ledger.batches(_charges(key)))
        assert segments.get(batch.segment).meta.batch.root == roots[name]


def _charges(key: Any) -> Any:
    from meterbridge.services.records import LogKey, LogKind

    return LogKey(key, LogKind.CHARGES)


def test_a_crash_leaves_nothing_in_a_store_that_the_next_sealing_does_not_remove(
    new_bulk: World, tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls, world = make_calls(200, 2), new_bulk(payers=2)
    bulk = world.bulk
    world.bulk = bulk.onto(store)
    path = write_parquet(tmp_path / "calls.parquet", calls)
    ledger = bulk.ledger
    with monkeypatch.context() as dying:  # the seal is whole, and the ledger never hears of it
        dying.setattr(ledger, "commit_seal", _die)
        with pytest.raises(KeyboardInterrupt):
            world.seal(path)
    assert any(name.endswith("batches.parquet") for name in names_in(store))
    orphan = next(iter((world.folder / "segments").glob("*/bulk/00000000")))
    orphan.rename(orphan.with_name(".00000000.tmp"))  # as if it had died before the seal got its name
    world.bulk = bulk.onto(None)
    world.seal(path)
    assert not [name for name in names_in(store) if "/bulk/" in name]
    assert world.bulk.seals.last_store(world.record.id) is None


def _die(*_: object) -> None:
    raise KeyboardInterrupt


def test_two_ledgers_do_not_write_over_each_other(new_bulk: World, tmp_path: Path, store: Store) -> None:
    path = write_parquet(tmp_path / "calls.parquet", make_calls(100, 2))
    one, other = new_bulk("one", payers=2), new_bulk("other", payers=2)
    one.bulk = one.bulk.onto(store)
    one.seal(path)
    before = names_in(store)
    other.bulk = other.bulk.onto(store)
    with pytest.raises(Conflict, match="use a store for each ledger"):
        other.seal(path)
    assert names_in(store) == before


def test_a_lost_ledger_is_rebuilt_from_a_store(new_bulk: World, tmp_path: Path, store: Store) -> None:
    calls, world = make_calls(300, 2), new_bulk(payers=2)
    world.bulk = world.bulk.onto(store)
    report = world.seal(write_parquet(tmp_path / "calls.parquet", calls))
    segments = world.folder / "segments"
    from meterbridge.adapters.bulk.folder import open_bulk

    (tmp_path / "again").mkdir()
    (tmp_path / "again" / "segments").symlink_to(segments)
    with open_bulk(tmp_path / "again") as opened:
        found = rebuild(
            opened.ledger, FolderSegments(segments), seals_of=lambda: LostSeals(opened.ledger, segments)
        )
        assert (found.batches, found.receipts) == (2, 300)
        for batch in report.batches:
            assert list(opened.ledger.batches(batch.log)) == [batch]


def test_a_store_that_lost_a_file_is_told(new_bulk: World, tmp_path: Path, store: Store) -> None:
    calls, world = make_calls(100, 1), new_bulk(payers=1)
    world.bulk = world.bulk.onto(store)
    report = world.seal(write_parquet(tmp_path / "calls.parquet", calls))
    fs, base = store.open()
    fs.rm_file(f"{base}/{(report.batches[0].segment or '').partition('#')[0]}/part-00000.parquet")
    with pytest.raises(BadSegment, match=r"part-00000\.parquet cannot be read"):
        FolderSegments(world.folder / "segments").get(report.batches[0].segment)


def run(*arguments: str) -> Any:
    result = CliRunner().invoke(app, [arguments[0], "--json", *arguments[1:]])
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout.splitlines()[-1])


def test_commands_find_the_store_again(tmp_path: Path, store: Store) -> None:
    """Sealing, continuing without a word of the store, proving, and exporting a period."""
    ledger, calls = tmp_path / "ledger", make_calls(400, 2)
    with bulk_world(ledger, payers=2) as world:
        record = world.record
    first, second = (
        str(write_parquet(tmp_path / f"{n}.parquet", some))
        for n, some in enumerate((calls[:250], calls[200:]))
    )
    here = ("--ledger", str(ledger))
    assert run("seal", "--from", first, "--map", MAP, "--store", store.url, *here)["sealed"] == 250
    found = run("seal", "--from", second, "--map", MAP, *here)
    assert (found["sealed"], found["repeated"]) == (150, 50)
    assert len([name for name in names_in(store) if name.endswith("batches.parquet")]) == 2
    with bulk_world(ledger, payers=2) as world:
        make_statements(world.bulk.ledger, record, TIME, LocalSigner(bytes([7]) * 32))
    proof = tmp_path / "proof.json"
    run("prove", "--source", calls[7].source, "--out", str(proof), *here, "--", calls[7].id)
    assert run("verify", str(proof))["verified"]
    out = tmp_path / "receipts.ndjson"
    mine = {call.id for call in calls if call.customer == "c0"}
    assert run("receipts", "--payer", "c0", "-o", str(out), *here)["receipts"] == len(mine)
    assert {json.loads(line)["event_id"] for line in out.read_text().splitlines()} == mine
    third = str(write_parquet(tmp_path / "third.parquet", make_calls(20, 2, seed=9)))
    run("seal", "--from", third, "--map", MAP, "--store", "ledger", *here)
    assert (ledger / "segments" / record.id.hex()[:8] / "bulk" / "00000002" / "part-00000.parquet").exists()


def test_a_store_that_cannot_be_opened_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(OPTIONS_VARIABLE, "[1]")
    with pytest.raises(StoreUnreachable, match=f"{OPTIONS_VARIABLE} is not a JSON object"):
        Store("memory://a")
    with pytest.raises(StoreUnreachable, match="nothing://a cannot be opened"):
        Store("nothing://a", {}).open()
    with pytest.raises(StoreUnreachable, match="pip install s3fs"):
        Store("s3://a", {"no_such_option": 1}).open()
