"""The indexer: all events once, in every state resumable, whatever the chain and the nodes do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event as sql_event

from meterbridge.adapters.chain.gateway import NodeRefuses
from meterbridge.adapters.chain.ranges import LogRanges
from meterbridge.adapters.ledger import SqlLedger, open_ledger
from meterbridge.domain.units import AssetAmount, UsageVector
from meterbridge.services.chain_events import Deposited, Settled, Skipped, SplitAnnounced
from meterbridge.services.following.indexer import NodeBehind, ReorgBeyondFinality, ViewsDisagree, follow
from meterbridge.services.following.ports import CursorMoved, Header
from meterbridge.services.following.states import EscrowKey


def usage(*lanes: int) -> UsageVector:
    return UsageVector.of(lanes + (0,) * (8 - len(lanes)))


def test_every_event_is_in_the_ledger_as_the_chain_has_it(
    world: Any, ledger: SqlLedger, followed: Any, live_a_little: Any, in_agreement: Any
) -> None:
    live_a_little(world)
    chain = followed(world)
    report = follow(chain, ledger)
    in_agreement(world, ledger)
    assert report.added == len(list(ledger.chain_events(world.splitter.domain))) >= 12
    assert report.checked == 5, "two accounts, a pot, a stake and a signer are held against the views"
    assert ledger.cursor(world.splitter.domain).verified == report.cursor.block
    assert report.cursor.first == world.deployment.block, "the contract's first block was found"
    announced = next(ledger.chain_events(chain.domain, names=["SplitAnnounced"]))
    assert isinstance(announced, SplitAnnounced)
    assert announced.uri == "https://parties.example/\0\N{SNOWMAN}"
    again = follow(chain, ledger)
    assert (again.added, again.unwound, again.cursor) == (0, 0, report.cursor)


def test_it_goes_on_where_it_was(
    world: Any, ledger: SqlLedger, followed: Any, live_a_little: Any, in_agreement: Any
) -> None:
    chain = followed(world)
    follow(chain, ledger)
    live_a_little(world)
    follow(chain, ledger)
    payer = world.payers[0]
    world.splitter.settle(world.tariff, world.sign({payer: usage(900, 30)}))
    world.net.wait_until(ledger.followed_escrows(chain.domain, world.tariff.id)[payer.address].thaw_end)
    world.client(payer).withdraw(world.tariff, world.split)
    follow(chain, ledger)
    in_agreement(world, ledger)
    state = ledger.followed_escrows(chain.domain, world.tariff.id)[payer.address]
    assert state.withdrawn == AssetAmount(1000)
    assert (state.thawing, state.thaw_end) == (AssetAmount(0), 0)


def test_what_concerns_one_tariff_is_found_without_the_rest(
    embedded: Any, make_world: Any, sqlite_ledger: SqlLedger, followed: Any, live_a_little: Any
) -> None:
    world = make_world(embedded)
    live_a_little(world)
    follow(followed(world), sqlite_ledger)
    domain = world.splitter.domain
    settled = list(sqlite_ledger.chain_events(domain, names=["Settled"], subject=world.tariff.id))
    assert [(e.payer, e.drawn, e.usage) for e in settled if isinstance(e, Settled)] == [
        (world.payers[0].address, AssetAmount(730 + 30), usage(700, 30)),
        (world.payers[1].address, AssetAmount(500), usage(900)),
    ]
    assert list(sqlite_ledger.chain_events(domain, subject=bytes(32))) == []
    first = settled[0].at.block
    assert list(sqlite_ledger.chain_events(domain, names=["Settled"], up_to=first - 1)) == []


def test_a_node_that_keeps_no_old_states_is_read_from_the_beginning(
    embedded: Any, make_world: Any, sqlite_ledger: SqlLedger, followed: Any, in_agreement: Any
) -> None:
    world = make_world(embedded)
    world.deposit(world.payers[0], 1000)
    chain, newest = followed(world), world.splitter.newest_block()
    code = chain.gateway.code

    def pruned(address: Any, block: int | None = None) -> bytes:
        if block is not None and block < newest:
            raise NodeRefuses(
                "missing trie node", {"error": {"code": -32000, "message": "missing trie node"}}
            )
        return bytes(code(address, block))

    chain.gateway.code = pruned
    follow(chain, sqlite_ledger)
    assert sqlite_ledger.cursor(chain.domain).first == 0
    in_agreement(world, sqlite_ledger)


class Stopped(BaseException):
    """As if the process had died here."""


def test_a_pass_that_dies_at_any_statement_goes_on_without_gap_or_double(
    embedded: Any, make_world: Any, tmp_path: Path, followed: Any, live_a_little: Any, in_agreement: Any
) -> None:
    world = make_world(embedded)
    live_a_little(world)
    chain = followed(world)
    died = 0
    for allowed in range(1, 400, 11):
        with open_ledger(tmp_path / str(allowed)) as ledger:
            left = allowed

            def count(*_: Any) -> None:
                nonlocal left
                left -= 1
                if left < 0:
                    raise Stopped

            engine = ledger._database.engine
            sql_event.listen(engine, "before_cursor_execute", count)
            try:
                follow(chain, ledger)
            except Stopped:
                died += 1
            else:
                break
            finally:
                sql_event.remove(engine, "before_cursor_execute", count)
        with open_ledger(tmp_path / str(allowed)) as ledger:
            follow(chain, ledger)
            in_agreement(world, ledger)
    assert died >= 4


def test_of_two_that_follow_one_stores(
    embedded: Any, make_world: Any, ledger: SqlLedger, followed: Any, live_a_little: Any, in_agreement: Any
) -> None:
    world = make_world(embedded)
    slow, fast = followed(world), followed(world)
    follow(fast, ledger)
    live_a_little(world)
    read = slow.event_ranges

    def overtaken(first: int, last: int) -> Any:
        found = list(read(first, last))
        follow(fast, ledger)
        return iter(found)

    slow.event_ranges = overtaken
    with pytest.raises(CursorMoved, match="another process"):
        follow(slow, ledger)
    in_agreement(world, ledger)


# Nodes that lag behind, leave out or refuse


def test_no_gap_where_the_node_that_gives_logs_lags_behind(
    world: Any, ledger: SqlLedger, followed: Any, live_a_little: Any, in_agreement: Any
) -> None:
    """Headers come from a node that has the blocks, logs by number from one that has not and says so not."""
    chain = followed(world)
    follow(chain, ledger)
    live_a_little(world)
    asked = chain.gateway.logs_at_once
    has = world.splitter.newest_block() - 5
    chain.gateway.logs_at_once = lambda address, topics, first, last: (
        asked(address, topics, first, min(last, has)) if first <= has else []
    )
    follow(chain, ledger)
    in_agreement(world, ledger)


def test_a_node_that_leaves_events_out_everywhere_is_caught_by_the_contract_s_views(
    embedded: Any, make_world: Any, sqlite_ledger: SqlLedger, followed: Any, in_agreement: Any
) -> None:
    world = make_world(embedded)
    payer = world.payers[0]
    world.deposit(payer, 1000)
    chain = followed(world)
    follow(chain, sqlite_ledger)
    before = sqlite_ledger.cursor(chain.domain)
    world.deposit(payer, 5)
    world.splitter.settle(world.tariff, world.sign({payer: usage(10)}))
    asked, by_hash = chain.gateway.logs_at_once, chain.gateway.logs_of
    hidden = world.splitter.newest_block() - 1

    def without(logs: list[Any]) -> list[Any]:
        return [log for log in logs if log["blockNumber"] != hidden]

    chain.gateway.logs_at_once = lambda *a: without(asked(*a))
    chain.gateway.logs_of = lambda *a: without(by_hash(*a))
    with pytest.raises(ViewsDisagree, match=r"balance is 995; the events add up to 990"):
        follow(chain, sqlite_ledger)
    assert sqlite_ledger.cursor(chain.domain) == before, "nothing of it was stored"
    chain.gateway.logs_at_once, chain.gateway.logs_of = asked, by_hash
    follow(chain, sqlite_ledger)
    in_agreement(world, sqlite_ledger)


def test_a_gap_in_old_blocks_is_found_at_the_end_and_read_again(
    embedded: Any, make_world: Any, sqlite_ledger: SqlLedger, followed: Any, in_agreement: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Old blocks are read in ranges without their headers; what is missing there shows against the views."""
    from meterbridge.services.following import indexer

    monkeypatch.setattr(indexer, "RECENT_AT_ONCE", 3)
    world = make_world(embedded)
    payer = world.payers[0]
    chain = followed(world, 0, log_range=4)
    follow(chain, sqlite_ledger)
    verified = sqlite_ledger.cursor(chain.domain)
    world.deposit(payer, 1000)
    gap = world.splitter.newest_block()
    for n in range(1, 9):
        world.deposit(payer, n)
    asked = chain.gateway.logs_at_once
    chain.gateway.logs_at_once = lambda *a: [log for log in asked(*a) if log["blockNumber"] != gap]
    with pytest.raises(ViewsDisagree, match="add up to 36"):
        follow(chain, sqlite_ledger)
    assert sqlite_ledger.cursor(chain.domain).block == verified.block, "back to the last agreement"
    chain.gateway.logs_at_once = asked
    follow(chain, sqlite_ledger)
    in_agreement(world, sqlite_ledger)
    assert sqlite_ledger.followed_escrows(chain.domain, world.tariff.id)[
        payer.address
    ].balance == AssetAmount(1036)


def test_a_node_behind_takes_nothing_back(
    embedded: Any, make_world: Any, sqlite_ledger: SqlLedger, followed: Any, live_a_little: Any
) -> None:
    world = make_world(embedded)
    live_a_little(world)
    chain = followed(world)
    there = follow(chain, sqlite_ledger).cursor
    real, behind = chain.header, there.block.number - 4

    def lagging(number: int | None = None) -> Header | None:
        if number is not None and number > behind:
            return None
        return real(behind if number is None else number)

    chain.header = lagging
    report = follow(chain, sqlite_ledger)
    assert (report.cursor, report.unwound) == (there, 0)
    chain.header = lambda number=None: real(number) if number is None else None
    with pytest.raises(NodeBehind):
        follow(chain, sqlite_ledger)
    assert sqlite_ledger.cursor(chain.domain) == there


REFUSALS = [
    (-32005, "query returned more than 3 results", "results", 3),
    (-32602, "query returned more than 3 results. Try with this block range [{0:#x}, {0:#x}].", "results", 3),
    (-32600, "Log response size exceeded. this block range should work: [{0:#x}, {0:#x}]", "results", 2),
    (-32614, "eth_getLogs is limited to a 2 range", "blocks", 2),
    (-32600, "block range is too wide", "blocks", 1),
    (-32000, "exceed maximum block range: 5", "blocks", 5),
    (-32602, "requested too many blocks from 0 to 16777216, maximum is set to 4", "blocks", 4),
    (-32020, "backend response too large", "results", 3),
    (-32000, "query timeout exceeded", "results", 4),
    (-32701, "block range exceeds limit of 3 blocks", "blocks", 3),
]


def strict(ask: Callable[..., list[Any]], code: int, message: str, what: str, most: int) -> Any:
    """Give logs as a provider does that refuses too many blocks or too many results."""
    asked: list[tuple[int, int]] = []

    def limited(address: Any, topics: Any, first: int, last: int) -> list[Any]:
        asked.append((first, last))
        found = ask(address, topics, first, last)
        beyond = len(found) > most and last > first if what == "results" else last - first + 1 > most
        if beyond:
            error = {"code": code, "message": message.format(first)}
            raise NodeRefuses(f"the node refuses: {error['message']}", {"error": error})
        return found

    limited.asked = asked  # type: ignore[attr-defined]
    return limited


@pytest.mark.parametrize(("code", "message", "what", "most"), REFUSALS)
def test_ranges_split_until_the_node_takes_them(
    embedded: Any, make_world: Any, sqlite_ledger: SqlLedger, followed: Any, live_a_little: Any,
    in_agreement: Any, code: int, message: str, what: str, most: int,
) -> None:  # fmt: skip
    world = make_world(embedded)
    live_a_little(world)
    chain = followed(world)
    limited = strict(chain.gateway.logs_at_once, code, message, what, most)
    chain.gateway.logs_at_once = limited
    follow(chain, sqlite_ledger)
    in_agreement(world, sqlite_ledger)
    granted = [last - first + 1 for first, last in limited.asked]
    assert max(granted[len(granted) // 2 :]) <= max(most, 8), "what is too much was learned"


@pytest.mark.parametrize(
    "message", ["rate limit exceeded", "your app has exceeded its compute units per second capacity"]
)
def test_asking_too_often_is_no_reason_to_ask_for_less(message: str) -> None:
    ranges = LogRanges(1000)

    def ask(first: int, last: int) -> Iterator[int]:
        raise NodeRefuses(message, {"error": {"code": -32005, "message": message}})

    with pytest.raises(NodeRefuses, match=message):
        list(ranges.read(ask, 0, 5000))
    assert ranges.size == 1000


# Reorganisations


def reorganise(world: Any, depth: int, *transactions: tuple[dict[str, Any], int]) -> None:
    request = world.net.w3.provider.make_request
    answer = request("anvil_reorg", [depth, [[tx, place] for tx, place in transactions]])
    assert "error" not in answer, answer


@pytest.fixture
def forking(own_anvil: str, make_world: Any) -> Any:
    from meterbridge.adapters.devnet import rpc_chain

    return make_world(rpc_chain(own_anvil))


@pytest.mark.node
@pytest.mark.parametrize(
    "depths",
    [(1, 2, 3, 7, 20), pytest.param(tuple(range(1, 25)), marks=pytest.mark.long)],
    ids=["some", "all"],
)
def test_reorganisations_of_every_depth_are_followed(
    depths: tuple[int, ...], forking: Any, ledger: SqlLedger, followed: Any, in_agreement: Any
) -> None:
    world, (payer, other, _) = forking, forking.payers
    world.net.w3.provider.make_request("anvil_mine", ["0x30"])
    chain = followed(world)
    follow(chain, ledger)
    for depth in depths:
        world.deposit(payer, 1000 + depth)
        for n in range(depth - 1):
            world.token.mint(other.address, AssetAmount(depth + n))
        world.splitter.settle(world.tariff, world.sign({payer: usage(10 * depth)}))
        before = follow(chain, ledger).cursor
        reorganise(world, depth)
        report = follow(chain, ledger)
        assert (report.reorg_depth, report.unwound >= 1) == (depth, True)
        assert before.block.number == report.cursor.block.number
        in_agreement(world, ledger)


@pytest.mark.node
def test_a_chain_that_is_shorter_for_a_while_is_followed(
    forking: Any, ledger: SqlLedger, followed: Any, in_agreement: Any
) -> None:
    world, payer = forking, forking.payers[0]
    chain = followed(world)
    world.deposit(payer, 100)
    request = world.net.w3.provider.make_request
    snapshot = request("evm_snapshot", [])["result"]
    world.deposit(payer, 10)
    world.client(payer).thaw(world.tariff, AssetAmount(60))
    follow(chain, ledger)
    in_agreement(world, ledger)
    assert request("evm_revert", [snapshot])["result"]
    follow(chain, ledger)  # the newest block is one that we know: the rest may only be late
    world.deposit(payer, 7)
    world.splitter.settle(world.tariff, world.sign({payer: usage(50)}))
    request("anvil_mine", ["0x5"])
    report = follow(chain, ledger)
    assert report.unwound > 0
    in_agreement(world, ledger)
    state = ledger.followed_escrows(chain.domain, world.tariff.id)[payer.address]
    assert (state.balance, state.thawing) == (AssetAmount(57), AssetAmount(0))


@pytest.mark.node
def test_what_was_final_is_never_taken_back_in_silence(
    forking: Any, sqlite_ledger: SqlLedger, followed: Any, in_agreement: Any
) -> None:
    world, payer = forking, forking.payers[0]
    chain = followed(world, confirmations=2)
    world.net.w3.provider.make_request("anvil_mine", ["0xa"])
    world.deposit(payer, 100)
    follow(chain, sqlite_ledger)
    there = sqlite_ledger.cursor(chain.domain)
    reorganise(world, 6)
    with pytest.raises(ReorgBeyondFinality, match="was final"):
        follow(chain, sqlite_ledger)
    assert sqlite_ledger.cursor(chain.domain) == there
    sqlite_ledger.forget_followed(chain.domain)
    follow(chain, sqlite_ledger)
    in_agreement(world, sqlite_ledger)


@pytest.mark.node
def test_only_what_a_reorganisation_may_need_is_kept(
    forking: Any, ledger: SqlLedger, followed: Any, in_agreement: Any
) -> None:
    world, payer = forking, forking.payers[0]
    chain = followed(world, confirmations=3)
    for n in range(12):
        world.deposit(payer, n + 1)
        follow(chain, ledger)
    in_agreement(world, ledger)
    assert 4 <= len(ledger.kept_blocks(chain.domain)) <= 6
    from meterbridge.adapters.sql.chain_states import kind_of

    key = EscrowKey(world.tariff.id, payer.address)
    with ledger._database.read() as connection:
        rows = connection.execute(kind_of(key).table.select()).all()
    assert len(rows) <= 3, "states before the newest final one are forgotten"
    assert (
        sum(e.arrived.base_units for e in ledger.chain_events(chain.domain) if isinstance(e, Deposited)) == 78
    )


def test_a_skipped_line_changes_no_state(
    embedded: Any, make_world: Any, sqlite_ledger: SqlLedger, followed: Any, in_agreement: Any
) -> None:
    world = make_world(embedded)
    payer = world.payers[0]
    world.deposit(payer, 1000)
    now = world.splitter.now()
    world.splitter.settle(world.tariff, world.sign({payer: usage(100)}, sealed_at=now))
    world.splitter.settle(world.tariff, world.sign({payer: usage(900)}, sealed_at=now - 1))
    follow(followed(world), sqlite_ledger)
    in_agreement(world, sqlite_ledger)
    skipped = list(sqlite_ledger.chain_events(world.splitter.domain, names=["Skipped"]))
    assert [e.account_sealed_at for e in skipped if isinstance(e, Skipped)] == [now]
