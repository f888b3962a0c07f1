"""Every event is sealed once: within the input, between seals, and beside what comes one by one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bulk_world import START, Call, expected, make_calls, write_csv, write_ndjson, write_parquet

from meterbridge.domain.units import UsageVector
from meterbridge.services.bulk.intake import RECEIPT_MEMORY
from meterbridge.services.ledger_errors import BadUsage, Conflict, UsageConflict
from meterbridge.services.metering import import_usage
from meterbridge.services.records import BadRow, LogKey, LogKind

World = Callable[..., Any]
DAY = 86_400_000


def one_by_one(world: Any, calls: list[Call], **options: Any) -> Any:
    class Row:
        def __init__(self, number: int, call: Call) -> None:
            self.row_number, self.event = number, call.event()

    rows = [Row(number, call) for number, call in enumerate(calls, 1)]
    return import_usage(world.bulk.ledger, world.record, rows, **options)


def call(number: int, customer: str = "c0", *, day: int = 0, tokens: int = 5) -> Call:
    return Call("gateway", f"call-{number}", START + day * DAY, customer, None, tokens, 1, None, 0)


def test_a_seal_leaves_out_what_earlier_seals_hold(new_bulk: World, tmp_path: Path) -> None:
    calls, world = make_calls(6000, 5), new_bulk()
    world.seal(write_parquet(tmp_path / "a.parquet", calls[:2500]))
    world.seal(write_parquet(tmp_path / "b.parquet", calls[2000:4000]))
    report = world.seal(write_csv(tmp_path / "c.csv", calls[1000:]))
    assert world.roots(report) == expected(calls[4000:])
    assert (report.sealed, report.repeated) == (2000, 3000)


@pytest.mark.parametrize("memory", [200, 100_000])
def test_a_few_calls_are_found_among_many(new_bulk: World, tmp_path: Path, memory: int) -> None:
    """The index is probed where the calls are, not read from end to end."""
    calls, world = make_calls(30_000, 5), new_bulk()
    world.seal(write_parquet(tmp_path / "many.parquet", calls))
    new = make_calls(40, 5, seed=2)
    path = write_csv(tmp_path / "few.csv", [*calls[::500], *new])
    report = world.seal(path, memory_bytes=memory * RECEIPT_MEMORY)
    assert (report.sealed, report.repeated) == (40, 60)
    assert world.roots(report) == expected(new)


@pytest.mark.parametrize(
    "change",
    [{"input": 6}, {"time": START + 1}, {"model": "large"}, {"cached": 1}, {"customer": "c1"}],
    ids=lambda change: next(iter(change)),
)
def test_another_content_under_a_sealed_id_is_a_conflict(
    new_bulk: World, tmp_path: Path, change: dict[str, Any]
) -> None:
    world = new_bulk()
    world.seal(write_csv(tmp_path / "a.csv", [call(1), call(2)]))
    path = write_csv(tmp_path / "b.csv", [call(3), call(2)._replace(**change), call(4)])
    with pytest.raises(UsageConflict, match=r"row 3: event 'call-2' of 'gateway' is there .*b\.csv"):
        world.seal(path)
    report = world.seal(path, skip_bad=True)
    assert world.roots(report) == expected([call(3), call(4)])
    [(file, bad)] = report.bad
    assert file == str(path)
    assert (bad.row_number, bad.value, bad.id) == (3, "call-2", "call-2")


@pytest.mark.parametrize("memory", [2, 1000])
def test_contradicting_calls_of_one_input_whatever_their_order(
    new_bulk: World, tmp_path: Path, memory: int
) -> None:
    """One of them counts, the same one in any order; the other is reported."""
    one, other = call(1, tokens=10), call(1, tokens=20)
    kept = []
    for number, calls in enumerate(([one, call(2), other, one], [other, one, call(2), one])):
        world = new_bulk(f"ledger{number}")
        path = write_parquet(tmp_path / f"{number}.parquet", calls, row_group=1)
        with pytest.raises(UsageConflict):
            world.seal(path)
        report = world.seal(path, skip_bad=True, memory_bytes=memory * RECEIPT_MEMORY)
        kept.append(world.roots(report))
        assert report.sealed == 2
        assert report.repeated + len(report.bad) == 2
    assert kept[0] == kept[1]
    assert kept[0] in (expected([one, call(2)]), expected([other, call(2)]))


def test_what_came_one_by_one_is_not_sealed_again(new_bulk: World, tmp_path: Path) -> None:
    calls, world = make_calls(3000, 5), new_bulk()
    one_by_one(world, calls[:1000])
    report = world.seal(write_parquet(tmp_path / "all.parquet", calls))
    assert (report.sealed, report.repeated) == (2000, 1000)
    assert world.roots(report) == expected(calls[1000:])
    few = world.seal(write_csv(tmp_path / "few.csv", calls[:50]))  # few enough to be looked up one by one
    assert (few.sealed, few.repeated) == (0, 50)
    changed = calls[10]._replace(input=calls[10].input + 1)
    with pytest.raises(UsageConflict):
        world.seal(write_csv(tmp_path / "changed.csv", [changed]))


def test_what_is_sealed_at_once_does_not_come_one_by_one_again(new_bulk: World, tmp_path: Path) -> None:
    calls, world = make_calls(600, 5), new_bulk()
    world.seal(write_parquet(tmp_path / "a.parquet", calls[:500]))
    report = one_by_one(world, calls)
    assert (report.added, report.repeated) == (100, 500)
    changed = calls[10]._replace(input=calls[10].input + 1)
    with pytest.raises(UsageConflict, match="there already with another content"):
        one_by_one(world, [changed])


def test_an_event_that_comes_in_while_it_is_sealed_stops_the_seal(new_bulk: World, tmp_path: Path) -> None:
    calls, world = make_calls(300, 3), new_bulk(payers=3)
    path = write_parquet(tmp_path / "a.parquet", calls)
    ledger, frontiers = world.bulk.ledger, world.bulk.ledger.frontiers

    def intrude(tariff_id: bytes) -> Any:  # asked when all is judged and written, before the commit
        one_by_one(world, [calls[7], make_calls(1, 3, seed=9)[0]])
        return frontiers(tariff_id)

    ledger.frontiers = intrude
    with pytest.raises(Conflict, match="came in while it was sealed"):
        world.seal(path)
    del ledger.frontiers
    assert ledger.log_sizes(world.record.id) == {}
    report = world.seal(path)
    assert (report.sealed, report.repeated) == (299, 1)
    assert world.roots(report) == expected(calls[:7] + calls[8:])


def test_other_events_may_come_in_while_sealing(new_bulk: World, tmp_path: Path) -> None:
    calls, others, world = make_calls(300, 3), make_calls(20, 3, seed=5), new_bulk(payers=3)
    ledger, frontiers = world.bulk.ledger, world.bulk.ledger.frontiers
    ledger.frontiers = lambda tariff_id: (one_by_one(world, others), frontiers(tariff_id))[1]
    report = world.seal(write_parquet(tmp_path / "a.parquet", calls))
    assert report.sealed == 300
    for number, key in enumerate(world.keys):
        mine = [c.usage() for c in calls + others if c.customer == f"c{number}"]
        assert ledger.total(LogKey(key, LogKind.CHARGES)) == sum(mine, UsageVector.zero())


def test_events_before_the_horizon_are_refused_and_not_guessed_at(new_bulk: World, tmp_path: Path) -> None:
    world = new_bulk()
    world.seal(write_csv(tmp_path / "a.csv", [call(1, day=-100), call(2, day=-1)]))
    late = write_csv(tmp_path / "late.csv", [call(3, day=-37), call(4, day=-2)])
    with pytest.raises(BadUsage, match=r"row 2: .* is before .* raise the retention"):
        world.seal(late)
    again = world.seal(write_csv(tmp_path / "again.csv", [call(1, day=-100)]), skip_bad=True)
    assert (again.sealed, again.repeated, len(again.bad)) == (0, 0, 1)
    report = world.seal(late, retention_days=40)
    assert (report.sealed, report.repeated) == (2, 0)
    forever = world.seal(
        write_csv(tmp_path / "old.csv", [call(1, day=-100), call(5, day=-900)]), retention_days=None
    )
    assert (forever.sealed, forever.repeated) == (1, 1)


def test_a_time_in_the_future_does_not_move_the_horizon(new_bulk: World, tmp_path: Path) -> None:
    world = new_bulk()
    world.seal(write_csv(tmp_path / "a.csv", [call(1, day=365_000)]))
    now = Call("gateway", "now", world.bulk.seals._now() - DAY, "c0", None, 1, 1, None, 0)
    assert world.seal(write_csv(tmp_path / "b.csv", [now])).sealed == 1


def test_a_later_time_than_allowed_is_refused(new_bulk: World, tmp_path: Path) -> None:
    path = write_ndjson(tmp_path / "a.ndjson", [call(1), call(2, day=3)])
    world = new_bulk()
    with pytest.raises(BadUsage, match=r"row 2: .* lies in the future"):
        world.seal(path, latest=START + DAY)
    report = world.seal(path, latest=START + DAY, skip_bad=True)
    assert report.sealed == 1
    assert [bad.row_number for _, bad in report.bad if isinstance(bad, BadRow)] == [2]
