"""What was counted wrong is put right once, before sealing and after, and what is sealed never changes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from metered_world import TIME, World, event

from meterbridge.domain.receipts import credit_id, details_hash, receipt_id
from meterbridge.domain.units import UsageVector
from meterbridge.services.corrections import CorrectionKind
from meterbridge.services.ledger_errors import Conflict, UnknownReceipt
from meterbridge.services.metering import Correction, correct

LESS = UsageVector.of([4, 0, 0, 0, 0, 0, 0, 0])


def fix(
    world: World,
    receipt: bytes,
    replacement: UsageVector | None = None,
    *,
    at: int = 5,
    reason: str = "wrong",
) -> Correction:
    return correct(
        world.ledger,
        world.segments,
        world.accounts[0],
        receipt,
        replacement=replacement,
        occurred_at=at,
        reason=reason,
    )


@pytest.fixture
def charged(world: World) -> bytes:
    """One event of ten input tokens, pending; return its receipt's id."""
    world.take([event(1, "c0", input=10)])
    return receipt_id(world.blind(0), "gateway", "call-000001")


def test_before_sealing_a_receipt_is_replaced_in_place(world: World, charged: bytes) -> None:
    assert fix(world, charged, LESS).kind is CorrectionKind.IN_PLACE
    assert world.ledger.pending_count(world.record.id) == 1
    assert world.ledger.total(world.charges()).lanes[0] == 4
    (batch,) = world.seal()
    table = world.segments.get(batch.segment or "").table
    receipt = table.receipts.receipt(0)
    assert (receipt.id, receipt.usage, receipt.occurred_at) == (charged, LESS, 1_700_000_000_001)
    details = json.loads(table.details[0])
    assert details["model"] == "m1"
    assert details["meterbridge"]["reason"] == "wrong"
    assert receipt.details == details_hash(details)


def test_the_original_event_stays_known_after_a_replacement_in_place(world: World, charged: bytes) -> None:
    fix(world, charged, LESS)
    fix(world, charged, None)
    for _ in range(2):
        report = world.take([event(1, "c0", input=10)])
        assert (report.added, report.repeated) == (0, 1)
        world.seal()
    assert world.ledger.total(world.charges()) == UsageVector.zero()
    assert len(world.sealed_receipts()) == 1


def test_a_void_before_sealing_leaves_a_receipt_without_usage(world: World, charged: bytes) -> None:
    fix(world, charged)
    (batch,) = world.seal()
    assert batch.size == 1
    assert not batch.root.sum


def test_the_same_correction_again_changes_nothing(world: World, charged: bytes) -> None:
    fix(world, charged, LESS)
    assert fix(world, charged, LESS, at=77).kind is CorrectionKind.REPEATED
    assert fix(world, charged, None).kind is CorrectionKind.IN_PLACE
    assert world.ledger.total(world.charges()) == UsageVector.zero()


@pytest.mark.parametrize("replacement", [None, LESS])
def test_a_correction_before_sealing_is_known_afterwards(
    world: World, charged: bytes, replacement: UsageVector | None
) -> None:
    fix(world, charged, replacement)
    world.seal()
    assert fix(world, charged, replacement, at=6).kind is CorrectionKind.REPEATED
    assert world.ledger.pending_count(world.record.id) == 0
    assert fix(world, charged, replacement, reason="another").kind is CorrectionKind.CREDITED


@pytest.fixture
def sealed(world: World, charged: bytes) -> bytes:
    world.seal()
    return charged


def test_after_sealing_a_void_is_a_credit(world: World, sealed: bytes) -> None:
    before = world.sealed_receipts()
    made = fix(world, sealed)
    assert made.kind is CorrectionKind.CREDITED
    assert made.credit == credit_id(world.blind(), sealed)
    assert made.replacement is None
    (batch,) = world.seal()
    assert batch.log == world.credits()
    assert batch.root.sum.lanes[0] == 10
    table = world.segments.get(batch.segment or "").table
    assert (table.sources[0], table.event_ids[0]) == ("void", sealed.hex())
    assert before.items() <= world.sealed_receipts().items(), "nothing sealed was changed"


def test_after_sealing_a_replacement_is_a_credit_and_a_new_charge(world: World, sealed: bytes) -> None:
    made = fix(world, sealed, LESS)
    assert made.replacement is not None
    assert [batch.log for batch in world.seal()] == [world.charges(), world.credits()]
    assert world.ledger.total(world.charges()).lanes[0] == 14
    assert world.ledger.total(world.credits()).lanes[0] == 10
    (signed,) = world.state()
    assert signed.statement.lines[0].usage == LESS
    replaced = world.ledger.find(world.charges(), made.replacement)
    assert replaced is not None
    table = world.segments.get(world.ledger.batch(world.charges(), replaced.seq or 0).segment or "").table
    details = json.loads(table.details[replaced.row or 0])
    assert details == {"model": "m1", "meterbridge": {"replaces": "0x" + sealed.hex(), "reason": "wrong"}}


@pytest.mark.parametrize("replacement", [None, LESS])
@pytest.mark.parametrize("sealed_again", [False, True])
def test_a_receipt_is_credited_once(
    world: World, sealed: bytes, replacement: UsageVector | None, sealed_again: bool
) -> None:
    first = fix(world, sealed, replacement, at=5)
    if sealed_again:
        world.seal()
    again = fix(world, sealed, replacement, at=6)
    assert again == Correction(CorrectionKind.REPEATED, first.credit, first.replacement)
    world.seal()
    assert world.ledger.total(world.credits()).lanes[0] == 10


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ((None, "wrong"), (LESS, "wrong")),
        ((LESS, "wrong"), (None, "wrong")),
        ((LESS, "wrong"), (UsageVector.of([5] + [0] * 7), "wrong")),
        ((None, "wrong"), (None, "another reason")),
    ],
)
def test_another_correction_of_the_same_receipt_is_a_conflict(
    world: World, sealed: bytes, first: tuple[Any, str], second: tuple[Any, str]
) -> None:
    fix(world, sealed, first[0], reason=first[1])
    totals = [world.ledger.total(log) for log in world.logs()]
    pending = world.ledger.pending_count(world.record.id)
    with pytest.raises(Conflict, match="corrected already in another way"):
        fix(world, sealed, second[0], reason=second[1])
    assert [world.ledger.total(log) for log in world.logs()] == totals
    assert world.ledger.pending_count(world.record.id) == pending


def test_a_replacement_can_itself_be_corrected(world: World, sealed: bytes) -> None:
    first = fix(world, sealed, LESS)
    assert first.replacement is not None
    assert fix(world, first.replacement, UsageVector.of([3] + [0] * 7)).kind is CorrectionKind.IN_PLACE
    assert fix(world, sealed, LESS).kind is CorrectionKind.REPEATED, "the first correction stays known"
    world.seal()
    second = fix(world, first.replacement, UsageVector.of([2] + [0] * 7))
    assert second.kind is CorrectionKind.CREDITED
    world.seal()
    (signed,) = world.state()
    assert signed.statement.lines[0].usage.lanes[0] == 2


def test_a_correction_after_a_statement_lowers_the_next(world: World, sealed: bytes) -> None:
    (first,) = world.state(TIME)
    fix(world, sealed)
    world.seal()
    (second,) = world.state(TIME + 1)
    assert first.statement.lines[0].usage.lanes[0] == 10
    assert second.statement.lines[0].usage.lanes[0] == 0


def test_an_unknown_receipt_or_a_credit_cannot_be_corrected(world: World, sealed: bytes) -> None:
    with pytest.raises(UnknownReceipt, match="has no charge"):
        fix(world, bytes(32))
    made = fix(world, sealed)
    assert made.credit is not None
    with pytest.raises(UnknownReceipt):
        fix(world, made.credit)


def test_events_cannot_pose_as_corrections(world: World, sealed: bytes) -> None:
    from meterbridge.domain.errors import OutOfBounds
    from meterbridge.domain.events import UsageEvent

    with pytest.raises(OutOfBounds, match="reserved"):
        UsageEvent("void", sealed.hex(), 1, "c0", {"input": 1})
