"""Losing the database loses no receipt; losing everything leaves what the chain has settled."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from metered_world import TIME, Key, World, event

from meterbridge.domain.errors import BadSignature, BadStatement, HeadDoesNotExtend, OutOfBounds
from meterbridge.domain.keccak import keccak256
from meterbridge.domain.receipts import receipt_id
from meterbridge.domain.statements import SignedStatement
from meterbridge.domain.units import INT64_MIN, UsageVector
from meterbridge.services.ledger_errors import BadSegment, Conflict, LedgerBehindSegments, UnknownReceipt
from meterbridge.services.metering import correct, ensure_account
from meterbridge.services.proofs import verify_proof
from meterbridge.services.proving import prove
from meterbridge.services.records import LogKind, Restart
from meterbridge.services.recovery import rebuild, restart

TABLES = (
    "logs",
    "receipt_index",
    "sealed_receipts",
    "batches",
    "tree_nodes",
    "statements",
    "statement_lines",
)


def busy(world: World) -> list[SignedStatement]:
    """Several rounds with corrections in place and by credit; return all statements."""
    made = []
    for i in range(4):
        part = world.events(40, first=40 * i)
        world.take(part)
        if i == 2:
            fix(world, part[0].id, int((part[0].payer or "c0")[1:]), None)
        world.seal(max_receipts=9)
        if i == 1:
            fix(world, part[1].id, int((part[1].payer or "c0")[1:]), UsageVector.of([1] * 3 + [0] * 5))
        made += world.state(TIME + i)
    world.seal()
    return made


def fix(world: World, event_id: str, payer: int, replacement: UsageVector | None) -> None:
    receipt = receipt_id(world.blind(payer), "gateway", event_id)
    correct(
        world.ledger,
        world.segments,
        world.accounts[payer],
        receipt,
        replacement=replacement,
        occurred_at=1,
        reason="test",
    )


def contents(folder: Path) -> dict[str, set[tuple[Any, ...]]]:
    """Return the usage tables row by row, with names in place of row numbers."""
    named = {
        "logs": "SELECT a.payer, l.kind, l.size, l.total FROM logs l JOIN accounts a ON a.id = l.account",
        "receipt_index": "SELECT a.payer, l.kind, r.event_key, r.content "
        "FROM receipt_index r JOIN logs l ON l.id = r.log JOIN accounts a ON a.id = l.account",
        "sealed_receipts": "SELECT a.payer, l.kind, r.receipt_id, r.seq, r.batch_row "
        "FROM sealed_receipts r JOIN logs l ON l.id = r.log JOIN accounts a ON a.id = l.account",
        "batches": "SELECT a.payer, l.kind, b.seq, b.size, b.root, b.sum, b.segment "
        "FROM batches b JOIN logs l ON l.id = b.log JOIN accounts a ON a.id = l.account",
        "tree_nodes": "SELECT a.payer, l.kind, n.level, n.position, n.hash, n.sum "
        "FROM tree_nodes n JOIN logs l ON l.id = n.log JOIN accounts a ON a.id = l.account",
        "statements": "SELECT sealed_at, part, digest, signer, signature FROM statements",
        "statement_lines": "SELECT s.digest, position, a.payer, charges_size, charges_hash, charges_sum, "
        "credits_size, credits_hash, credits_sum FROM statement_lines l "
        "JOIN statements s ON s.id = l.statement JOIN accounts a ON a.id = l.account",
        "accounts": "SELECT payer, blind, customer FROM accounts",
    }
    connection = sqlite3.connect(folder / "ledger.db")
    found = {name: set(connection.execute(query)) for name, query in named.items()}
    connection.close()
    return found


def lose_the_database(folder: Path) -> None:
    for file in folder.glob("ledger.db*"):
        file.unlink()


def test_a_lost_ledger_is_rebuilt_row_by_row(world: World, new_world: Callable[..., World]) -> None:
    statements = busy(world)
    before = contents(world.folder)
    receipts = sum(batch.size for log in world.logs() for batch in world.ledger.batches(log))
    world.close()
    lose_the_database(world.folder)
    found = new_world(fresh=False)
    report = rebuild(found.ledger, found.segments, reversed(statements), signers=[found.key.address])
    assert (report.tariffs, report.receipts, report.statements) == (1, receipts, len(statements))
    after = contents(world.folder)
    assert after == before
    assert all(after[name] for name in TABLES)
    assert found.ledger.tariffs() == [world.record]


def test_a_rebuilt_ledger_goes_on(world: World, new_world: Callable[..., World]) -> None:
    statements = busy(world)
    world.close()
    lose_the_database(world.folder)
    found = new_world(fresh=False)
    rebuild(found.ledger, found.segments, statements, signers=[found.key.address])
    again = found.take(found.events(160))
    assert (again.added, again.repeated) == (0, 160), "every event is known again, corrected ones too"
    found.take([event(900, "c0", input=1)])
    found.seal()
    with pytest.raises(BadStatement, match="is not after"):
        found.state(TIME + 3)
    assert found.state(TIME + 4)
    ids = found.segments.get(next(found.segments.names(found.charges(0)))).table.receipts.ids
    verify_proof(prove(found.ledger, found.segments, found.accounts[0], ids[0].tobytes()))


def test_rebuilding_twice_changes_nothing(world: World) -> None:
    statements = busy(world)
    before = contents(world.folder)
    report = rebuild(world.ledger, world.segments, statements, signers=[world.key.address])
    assert (report.tariffs, report.batches, report.receipts, report.statements) == (0, 0, 0, 0)
    assert contents(world.folder) == before


def test_an_old_backup_catches_up_with_its_segments(world: World, new_world: Callable[..., World]) -> None:
    first = world.events(40)
    world.take(first)
    backup = new_world("backup")
    backup.take(first[:30])  # what the backup still holds as pending
    backup.take([event(500, "c0", input=3)])
    world.seal(max_receipts=7)
    (signed,) = world.state(TIME)
    backup.segments = world.segments
    with pytest.raises(LedgerBehindSegments):
        backup.seal()
    rebuild(backup.ledger, world.segments, [signed], signers=[world.key.address])
    assert backup.ledger.pending_count(backup.record.id) == 1
    for log in world.logs():
        extra = UsageVector.of([3] + [0] * 7) if log == world.charges(0) else UsageVector.zero()
        assert backup.ledger.total(log) == world.ledger.total(log) + extra
    assert backup.take(first).repeated == 40
    assert [batch.size for batch in backup.seal()] == [1]
    assert backup.state(TIME + 1)


def test_a_missing_segment_is_named(world: World, new_world: Callable[..., World]) -> None:
    busy(world)
    second = list(world.segments.names(world.charges(2)))[1]
    world.segments.remove(second)
    other = new_world("other", fresh=False)
    with pytest.raises(BadSegment, match="follows on batch 1, which is missing"):
        rebuild(other.ledger, world.segments)


def test_segments_of_another_history_are_a_conflict(world: World, new_world: Callable[..., World]) -> None:
    other = new_world("other")
    other.take([event(1, "c0", input=9)])
    other.seal()
    world.take([event(1, "c0", input=8)])
    world.seal()
    with pytest.raises(Conflict, match="is not batch 0 of this ledger"):
        rebuild(other.ledger, world.segments)


def test_a_statement_that_the_segments_do_not_bear_out_is_refused(
    world: World, new_world: Callable[..., World]
) -> None:
    *_, last = busy(world)
    lost = list(world.segments.names(world.charges(2)))[-1]
    world.segments.remove(lost)
    other = new_world("other", fresh=False)
    with pytest.raises(HeadDoesNotExtend, match="segments are missing, or another meter has signed"):
        rebuild(other.ledger, world.segments, [last], signers=[world.key.address])


def test_a_forged_statement_is_not_restored(world: World, new_world: Callable[..., World]) -> None:
    first, *_ = busy(world)
    other = new_world("other", fresh=False)
    forged = replace(first, signature=Key(2).sign_digest(first.digest()))
    with pytest.raises(BadSignature):
        rebuild(other.ledger, world.segments, [forged], signers=[world.key.address])


def test_a_strangers_statement_is_not_restored(world: World, new_world: Callable[..., World]) -> None:
    """Anyone can sign what the segments bear out, at a time that would keep the meter from ever signing."""
    first, *_ = busy(world)
    other, stranger = new_world("other", fresh=False), Key(2)
    late = replace(first, statement=replace(first.statement, sealed_at=2**32 - 1))
    late = replace(late, signer=stranger.address, signature=stranger.sign_digest(late.digest()))
    for signers in ([world.key.address], []):
        with pytest.raises(BadSignature, match=str(stranger.address)):
            rebuild(other.ledger, world.segments, [late], signers=signers)
    assert list(other.ledger.statements(other.record.id)) == []


SETTLED = Restart(head=b"\x07" * 32, usage=UsageVector.of([100, -3, 0, 7, 0, 0, 0, 0]), sealed_at=TIME)


def test_lost_logs_begin_again_with_what_was_settled(world: World) -> None:
    account = world.accounts[0]
    elements = restart(world.ledger, account, SETTLED)
    assert [(one.log.kind, one.size, one.segment) for one in elements] == [
        (LogKind.CHARGES, 0, None),
        (LogKind.CREDITS, 0, None),
    ]
    assert elements[0].root.sum == UsageVector.of([100, 0, 0, 7, 0, 0, 0, 0])
    assert elements[1].root.sum == UsageVector.of([0, 3, 0, 0, 0, 0, 0, 0])
    world.take([event(1, "c0", input=5, output=4)])
    world.seal()
    with pytest.raises(BadStatement, match="is not after"):
        world.state(TIME)
    (signed,) = world.state(TIME + 1)
    assert signed.statement.lines[0].usage == UsageVector.of([105, 1, 0, 7, 0, 0, 0, 0])
    proof = prove(world.ledger, world.segments, account, receipt_id(world.blind(0), "gateway", "call-000001"))
    assert verify_proof(proof).account == account
    assert (proof.element.index, proof.element.size) == (1, 2)


def test_an_opaque_element_hashes_by_the_protocol(world: World) -> None:
    usage = UsageVector.of([1, 2, 3, 4, 5, 6, 7, 8])
    restart(world.ledger, world.accounts[0], replace(SETTLED, usage=usage))
    (node,) = world.ledger.tree_nodes(world.charges(0), [(0, 0)])
    assert node.hash == keccak256(b"\x02" + bytes(8) + b"\x07" * 32 + usage.to_bytes())
    assert node.sum == usage
    assert world.ledger.log_size(world.credits(0)) == 0, "no lane is below zero"
    assert world.ledger.total(world.charges(0)) == usage


def test_nothing_can_be_proven_inside_an_opaque_element(world: World) -> None:
    restart(world.ledger, world.accounts[0], SETTLED)
    with pytest.raises(UnknownReceipt):
        prove(world.ledger, world.segments, world.accounts[0], b"\x07" * 32)


def test_only_empty_logs_begin_again(world: World) -> None:
    world.take([event(1, "c0", input=5)])
    world.seal()
    with pytest.raises(Conflict, match="not empty"):
        restart(world.ledger, world.accounts[0], SETTLED)
    restart(world.ledger, world.accounts[1], SETTLED)
    with pytest.raises(Conflict, match="not empty"):
        restart(world.ledger, world.accounts[1], SETTLED)
    ensure_account(world.ledger, world.accounts[1])


@pytest.mark.parametrize(
    "bad", [{"head": b"\x07" * 31}, {"usage": UsageVector.of([INT64_MIN] + [0] * 7)}], ids=["head", "lane"]
)
def test_a_restart_out_of_bounds_is_refused(world: World, bad: dict[str, Any]) -> None:
    with pytest.raises(OutOfBounds):
        restart(world.ledger, world.accounts[0], replace(SETTLED, **bad))
    assert world.ledger.log_size(world.charges(0)) == 0
