"""Every event is counted once: within an import, between imports, and against what is sealed."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from metered_world import DOCUMENT, Refused, Row, World, address, event, rows

from meterbridge.domain.events import UsageEvent
from meterbridge.domain.receipts import receipt_id
from meterbridge.domain.units import INT64_MAX, UsageVector
from meterbridge.services.exchange import canonical_json, load_json, proof_from_json, proof_to_json
from meterbridge.services.ledger_errors import BadUsage, Conflict, UnknownTariff, UsageConflict
from meterbridge.services.metering import ensure_account, import_usage
from meterbridge.services.proofs import verify_proof
from meterbridge.services.proving import prove
from meterbridge.services.records import AccountKey, LogKind


def test_events_become_pending_receipts(world: World) -> None:
    events = [event(1, "c0", input=10, reasoning=5), event(2, "c0", output=3), event(3, "c1", cache_read=9)]
    report = world.take(events)
    assert (report.added, report.repeated, report.bad) == (3, 0, [])
    assert report.totals == UsageVector.of([10, 8, 9, 0, 0, 0, 0, 0])
    pending = world.ledger.pending(world.charges(0)).table
    assert pending.event_ids == ("call-000001", "call-000002")
    first = pending.receipts.receipt(0)
    assert first.id == receipt_id(world.blind(0), "gateway", "call-000001")
    assert first.usage == UsageVector.of([10, 5, 0, 0, 0, 0, 0, 0])
    assert first.occurred_at == 1_700_000_000_001
    assert json.loads(pending.details[0]) == {"model": "m1"}
    assert world.ledger.total(world.charges(0)) == UsageVector.of([10, 8, 0, 0, 0, 0, 0, 0])
    assert world.ledger.pending_count(world.record.id) == 3


def test_the_same_event_again_is_success_and_stored_once(world: World) -> None:
    events = world.events(50)
    assert world.take(events + events[:20]).repeated == 20
    again = world.take(events)
    assert (again.added, again.repeated, again.totals) == (0, 50, UsageVector.zero())
    world.seal()
    sealed = world.take(events)
    assert (sealed.added, sealed.repeated) == (0, 50)
    assert world.ledger.pending_count(world.record.id) == 0


@pytest.mark.parametrize("sealed", [False, True])
@pytest.mark.parametrize(
    "change",
    [
        {"buckets": {"input": 11}},
        {"occurred_at": 1_700_000_000_002},
        {"details": {"model": "another"}},
        {"payer": "c1"},
    ],
    ids=["usage", "time", "details", "payer"],
)
def test_other_content_under_a_known_id_is_a_conflict(
    world: World, change: dict[str, Any], sealed: bool
) -> None:
    first = event(1, "c0", input=10)
    world.take([first])
    if sealed:
        world.seal()
    with pytest.raises(UsageConflict, match="row 2: event 'call-000001' of 'gateway'") as caught:
        world.take([event(5, "c0", input=1), replace(first, **change)])
    assert caught.value.row == 2
    assert caught.value.value == "call-000001"
    assert world.ledger.total(world.charges(1)) == UsageVector.zero()


def test_a_conflict_within_one_file_names_the_later_row(world: World) -> None:
    first = event(1, "c0", input=10)
    with pytest.raises(UsageConflict, match="row 3"):
        world.take([first, event(2, "c0", input=1), replace(first, buckets={"input": 12})])
    report = world.take(
        [first, event(2, "c0", input=1), replace(first, buckets={"input": 12})], skip_bad=True
    )
    assert report.added == 2
    assert [(bad.row_number, bad.id) for bad in report.bad] == [(3, "call-000001")]
    assert report.totals.lanes[0] == 11


def test_one_event_is_not_charged_to_two_payers(world: World) -> None:
    world.take([event(1, "c0", input=10)])
    report = world.take([event(1, "c1", input=10)], skip_bad=True)
    assert report.added == 0
    assert str(address(0x1000)) in report.bad[0].reason


def test_the_same_event_id_of_another_source_is_another_event(world: World) -> None:
    first = event(1, "c0", input=10)
    assert (
        world.take([first, replace(first, source="other"), replace(first, source="gatewaycall-0")]).added == 3
    )


def test_source_and_event_id_cannot_be_shifted_into_each_other(world: World) -> None:
    one = UsageEvent("ab", "c", 1, "c0", {"input": 1})
    other = UsageEvent("a", "bc", 1, "c0", {"input": 1})
    assert world.take([one, other]).added == 2


def nested(depth: int) -> list[Any]:
    return [nested(depth - 1)] if depth > 1 else []


def test_details_may_be_nested(world: World) -> None:
    world.take([replace(event(1, "c0", input=1), details={"a": nested(15)})])
    world.seal()
    world.state()
    receipt = receipt_id(world.blind(0), "gateway", "call-000001")
    proof = prove(world.ledger, world.segments, world.accounts[0], receipt)
    shown = verify_proof(proof_from_json(load_json(canonical_json(proof_to_json(proof)))))
    assert shown.proven.details == {"a": nested(15)}


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (event(2, "nobody", input=1), "'nobody' is neither a customer"),
        (replace(event(2, "c0", input=1), payer=None), "does not say who pays"),
        (replace(event(2, "c0", input=1), payer=str(address(0x9999))), "no account of 0x"),
        (event(2, "c0", audio_input=1), "no meter for 1 of 'audio_input'"),
        (event(2, "c0", output=2**53 - 1, reasoning=1), "at most 9007199254740991"),
        (replace(event(2, "c0", input=1), id="a\0b"), "NUL"),
        (replace(event(2, "c0", input=1), id="\ud800"), "not valid Unicode"),
        (replace(event(2, "c0", input=1), details={"n": 2**53}), "canonical"),
        (replace(event(2, "c0", input=1), details={"usage": [{"cost": 0.5}]}), "hold the number 0.5"),
        (replace(event(2, "c0", input=1), details={"a": nested(16)}), "nested deeper than 16"),
        (replace(event(2, "c0", input=1), details={"meterbridge": 1}), "reserved"),
    ],
    ids=[
        "name",
        "silent",
        "address",
        "bucket",
        "absurd",
        "nul",
        "surrogate",
        "details",
        "fraction",
        "deep",
        "reserved",
    ],
)
def test_a_bad_row_is_named_and_left_out_on_request(world: World, bad: UsageEvent, reason: str) -> None:
    events = [event(1, "c0", input=10), bad, event(3, "c1", output=3)]
    with pytest.raises(BadUsage, match=f"row 2: .*{reason}") as caught:
        world.take(events)
    assert caught.value.row == 2
    report = world.take(events, skip_bad=True)
    assert [found.row_number for found in report.bad] == [2]
    assert reason in report.bad[0].reason
    assert report.added + report.repeated == 2
    assert world.ledger.pending_count(world.record.id) == 2


def test_what_a_reader_refused_is_passed_on(world: World) -> None:
    mixed = [
        Row(1, event(1, "c0", input=1)),
        Refused(2, "x", "the count is no number"),
        Row(4, event(4, "c0", input=1)),
    ]
    with pytest.raises(BadUsage, match="row 2: the count is no number") as caught:
        import_usage(world.ledger, world.record, mixed)
    assert caught.value.value == "x"
    report = import_usage(world.ledger, world.record, mixed, skip_bad=True)
    assert [(bad.row_number, bad.value) for bad in report.bad] == [(2, "x")]
    assert report.added == 2


def test_a_payer_may_be_given_for_the_whole_file(world: World) -> None:
    silent = [replace(event(n, "c0", input=1), payer=None) for n in range(4)]
    payer = world.accounts[2].payer
    assert world.take(silent, payer_of=lambda _: payer).added == 4
    assert world.ledger.total(world.charges(2)).lanes[0] == 4


def test_a_payer_may_be_an_address(world: World) -> None:
    world.take([replace(event(1, "c0", input=5), payer=str(world.accounts[1].payer))])
    assert world.ledger.total(world.charges(1)).lanes[0] == 5


def test_an_interrupted_import_goes_on_when_run_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("meterbridge.services.metering.CHUNK_ROWS", 10)
    events = world.events(95)

    def broken() -> Iterator[Row]:
        yield from rows(events[:37])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        import_usage(world.ledger, world.record, broken())
    done: list[int] = []
    report = import_usage(world.ledger, world.record, rows(events), on_progress=done.append)
    assert (report.added, report.repeated) == (65, 30)
    assert done == [10, 20, 30, 40, 50, 60, 70, 80, 90, 95]
    assert world.ledger.pending_count(world.record.id) == 95


def test_headroom_of_the_tariff_is_kept(world: World) -> None:
    world.take([event(1, "c0", cache_read=999_999), event(2, "c1", cache_read=1_000_000)])
    world.seal()
    late = [event(3, "c0", cache_read=1), event(4, "c0", cache_read=1), event(5, "c0", input=1)]
    with pytest.raises(BadUsage, match=r"row 2: .*lane 2 would become 1000001.*headroom ends at 1000000"):
        world.take(late)
    assert world.ledger.total(world.charges(0)).lanes[2] == 999_999
    report = world.take(late, skip_bad=True)
    assert [bad.row_number for bad in report.bad] == [2]
    assert report.added == 2
    assert world.take([event(6, "c0", output=1)]).added == 1, "a full lane blocks no other"


def test_a_source_that_no_id_can_hold_is_one_bad_row(world: World) -> None:
    rows = [event(1, "c0", input=1), replace(event(2, "c0", input=1), source="s" * 65_536)]
    report = world.take(rows, skip_bad=True)
    assert (report.added, [bad.row_number for bad in report.bad]) == (1, [2])
    assert "65536 bytes" in report.bad[0].reason


def test_all_rows_beyond_the_headroom_are_left_out_at_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = 0
    add = world.ledger.add_receipts

    def counted(*arguments: Any, **options: Any) -> Any:
        nonlocal tries
        tries += 1
        return add(*arguments, **options)

    monkeypatch.setattr(world.ledger, "add_receipts", counted)
    rows = [event(n, "c0" if n % 2 else "c1", cache_read=400_000) for n in range(1, 21)]
    report = world.take([*rows, event(21, "c0", cache_read=200_000)], skip_bad=True)
    assert report.added == 5, "two of each payer, and the small one that still fits"
    assert [bad.row_number for bad in report.bad] == list(range(5, 21))
    assert tries == 2


def test_no_lane_can_leave_int64(new_world: Callable[..., World]) -> None:
    meters = [{"name": "n", "buckets": ["input"], "price": "1", "per": 1}]
    world = new_world(document=DOCUMENT | {"meters": meters})
    most = 2**53 - 1
    events = [event(n, "c0", input=most) for n in range(1025)]
    with pytest.raises(BadUsage, match=f"row 1025: .*signed 64-bit integer ends at {INT64_MAX}"):
        world.take(events)
    world.take(events[:1024])
    assert world.ledger.total(world.charges(0)).lanes[0] == 1024 * most
    (batch,) = world.seal()
    assert batch.root.sum.lanes[0] == 1024 * most <= INT64_MAX


def test_usage_that_the_tariff_has_no_lane_for_is_refused_not_dropped(world: World) -> None:
    with pytest.raises(BadUsage, match="no meter for 4 of 'image_output'"):
        world.take([event(1, "c0", input=1, image_output=4)])


def test_an_unknown_tariff_is_refused(world: World, new_world: Callable[..., World]) -> None:
    other = new_world("other", document=DOCUMENT | {"name": "another"})
    with pytest.raises(UnknownTariff):
        import_usage(world.ledger, other.record, rows(world.events(1)))


def test_accounts_get_a_blind_once(world: World) -> None:
    key = AccountKey(world.record.domain, world.record.id, address(0x7777))
    first = ensure_account(world.ledger, key)
    assert ensure_account(world.ledger, key, "late name") == replace(first, customer="late name")
    assert world.ledger.account(key).blind == first.blind
    assert first.blind not in {world.blind(i) for i in range(3)}
    with pytest.raises(Conflict, match="blind"):
        ensure_account(world.ledger, key, blind=bytes(32))
    with pytest.raises(Conflict, match="known as 'late name'"):
        ensure_account(world.ledger, key, "another name")
    with pytest.raises(Conflict, match="customer 'c0' is 0x"):
        ensure_account(world.ledger, AccountKey(key.domain, key.tariff_id, address(0x7778)), "c0")


def test_an_event_is_found_by_source_and_id(world: World) -> None:
    world.take([event(1, "c1", input=1)])
    found = world.ledger.locate(world.record.id, "gateway", "call-000001")
    assert found is not None
    assert found[0].account == world.accounts[1]
    assert found[0].kind is LogKind.CHARGES
    assert found[1] == receipt_id(world.blind(1), "gateway", "call-000001")
    assert world.ledger.locate(world.record.id, "gateway", "call-000002") is None


@pytest.mark.parametrize(
    ("name", "total_in", "total_out"),
    [
        ("AzureLLMInferenceTrace_code.csv", 18_059_974, 245_896),
        ("AzureLLMInferenceTrace_conv.csv", 22_361_870, 4_088_665),
    ],
)
def test_real_traces_add_up_to_their_published_sums(
    world: World, shared_data: Path, name: str, total_in: int, total_out: int
) -> None:
    with (shared_data / name).open(encoding="utf-8") as file:
        calls = [(int(r["ContextTokens"]), int(r["GeneratedTokens"])) for r in csv.DictReader(file)]
    report = world.take([event(n, f"c{n % 3}", input=i, output=o) for n, (i, o) in enumerate(calls)])
    assert report.totals.lanes[:2] == (total_in, total_out)
    batches = world.seal()
    assert sum(batch.size for batch in batches) == len(calls)
    total = sum((batch.root.sum for batch in batches), UsageVector.zero())
    assert total.lanes == (total_in, total_out, 0, 0, 0, 0, 0, 0)
