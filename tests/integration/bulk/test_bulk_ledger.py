"""What was sealed at once is stated, proven and corrected like anything else."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bulk_world import START, make_calls, receipt_of, write_parquet
from eth_keys import keys

from meterbridge.adapters.intake.stored import StoredEvents
from meterbridge.adapters.segments import FolderSegments
from meterbridge.domain.addresses import Address
from meterbridge.domain.units import UsageVector
from meterbridge.services.corrections import CorrectionKind, correct
from meterbridge.services.ledger_errors import NotSealed
from meterbridge.services.proofs import verify_proof
from meterbridge.services.proving import prove
from meterbridge.services.records import LogKey, LogKind
from meterbridge.services.sealing import seal
from meterbridge.services.statements import make_statements

World = Callable[..., Any]
TIME = 1_795_000_000


class Key:
    """A statement signer with a key in memory."""

    def __init__(self) -> None:
        self._key = keys.PrivateKey(bytes([7]) * 32)
        self.address = Address(self._key.public_key.to_canonical_address())

    def sign_digest(self, digest: bytes) -> bytes:
        signature = self._key.sign_msg_hash(digest).to_bytes()
        return signature[:64] + bytes([signature[64] + 27])


def segments_of(world: Any) -> FolderSegments:
    return FolderSegments(world.folder / "segments")


def test_a_worked_proof_of_a_receipt_that_was_sealed_at_once(new_bulk: World, tmp_path: Path) -> None:
    calls, world = make_calls(3000, 4), new_bulk(payers=4)
    for number in range(3):
        world.seal(write_parquet(tmp_path / f"{number}.parquet", calls[number::3]))
    ledger, segments = world.bulk.ledger, segments_of(world)
    call = calls[100]
    account = world.keys[int(call.customer[1:])]
    with pytest.raises(NotSealed):
        prove(ledger, segments, account, receipt_of(call).id)
    [signed] = make_statements(ledger, world.record, TIME, Key())
    usage = {line.payer: line.usage for line in signed.statement.lines}
    for call in random.Random(2).sample(calls, 12):
        account = world.keys[int(call.customer[1:])]
        verified = verify_proof(prove(ledger, segments, account, receipt_of(call).id, party=1))
        assert verified.account == account
        assert verified.proven.receipt == receipt_of(call)
        assert verified.proven.event_id == call.id
        assert verified.signer == Key().address
    for number, key in enumerate(world.keys):
        mine = [call.usage() for call in calls if call.customer == f"c{number}"]
        assert usage[key.payer] == sum(mine, UsageVector.zero())


def test_a_receipt_that_was_sealed_at_once_is_corrected(new_bulk: World, tmp_path: Path) -> None:
    calls, world = make_calls(800, 2), new_bulk(payers=2)
    world.seal(write_parquet(tmp_path / "a.parquet", calls))
    ledger, segments = world.bulk.ledger, segments_of(world)
    call = next(call for call in calls if call.input > 10 and call.customer == "c1")
    account, id_ = world.keys[1], receipt_of(call).id
    wanted = {
        "replacement": UsageVector.of([3, 0, 0, 0, 0, 0, 0, 0]),
        "occurred_at": START,
        "reason": "wrong",
    }
    done = correct(ledger, segments, account, id_, **wanted)
    assert done.kind is CorrectionKind.CREDITED
    assert correct(ledger, segments, account, id_, **wanted).kind is CorrectionKind.REPEATED
    seal(ledger, segments, world.record.id)
    totals = [ledger.total(LogKey(account, kind)) for kind in (LogKind.CHARGES, LogKind.CREDITS)]
    mine = sum((c.usage() for c in calls if c.customer == "c1"), UsageVector.zero())
    assert totals[0] - totals[1] == mine - call.usage() + wanted["replacement"]
    again = world.seal(write_parquet(tmp_path / "b.parquet", calls))
    assert (again.sealed, again.repeated) == (0, 800)


def test_sealing_at_once_and_one_by_one_take_turns(new_bulk: World, tmp_path: Path) -> None:
    """After a seal, what waits one by one is sealed on top, and a later seal on top of that."""
    calls, world = make_calls(900, 2), new_bulk(payers=2)
    ledger, segments = world.bulk.ledger, segments_of(world)
    world.seal(write_parquet(tmp_path / "a.parquet", calls[:300]))
    one = next(call for call in calls[:300] if call.customer == "c0")
    correct(
        ledger,
        segments,
        world.keys[0],
        receipt_of(one).id,
        replacement=UsageVector.of([1] * 3 + [0] * 5),
        occurred_at=START,
        reason="again",
    )
    seal(ledger, segments, world.record.id)
    world.seal(write_parquet(tmp_path / "b.parquet", calls[300:]))
    log = LogKey(world.keys[0], LogKind.CHARGES)
    kinds = ["#" in (batch.segment or "") for batch in ledger.batches(log)]
    assert kinds == [True, False, True]
    [signed] = make_statements(ledger, world.record, TIME, Key())
    assert len(signed.statement.lines) == 2


def test_the_service_lists_and_describes_them(new_bulk: World, tmp_path: Path) -> None:
    calls, world = make_calls(500, 2), new_bulk(payers=2)
    report = world.seal(write_parquet(tmp_path / "a.parquet", calls))
    stored = StoredEvents(world.bulk.ledger._database, world.bulk.ledger, segments_of(world))
    call = calls[77]
    described = stored.describe(world.record.id, call.source, call.id)
    assert described["id"] == "0x" + receipt_of(call).id.hex()
    assert described["usage"] == list(call.usage().lanes)
    batch = report.batches[0]
    pages = [stored.rows(batch, after, 100) for after in range(0, batch.size + 100, 100)]
    assert [len(page) for page in pages[:-1]] == [100] * (batch.size // 100) + [batch.size % 100]
    assert pages[-1] == []
    ids = [row["id"] for page in pages for row in page]
    assert ids == sorted(ids)
    assert len(ids) == batch.size
