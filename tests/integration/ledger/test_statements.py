"""What is signed extends what was signed, and is in the ledger before it leaves."""

from __future__ import annotations

from typing import Any

import pytest
from eth_account import Account
from eth_account.messages import encode_typed_data
from metered_world import TIME, Key, World, event
from sqlalchemy import text

from meterbridge.domain.errors import BadSignature, BadStatement, HeadDoesNotExtend
from meterbridge.domain.sum_tree import EMPTY, Head, LogState, SumTree, log_element
from meterbridge.services.ledger_errors import Conflict, NothingToState, TooManyLines
from meterbridge.services.metering import correct
from meterbridge.services.statements import make_statement


def head_by_hand(world: World, payer: int) -> Head:
    """Build a head from the batches alone, whole trees at a time."""
    states = []
    for kind in (world.charges, world.credits):
        elements = [log_element(batch.size, batch.root) for batch in world.ledger.batches(kind(payer))]
        states.append(LogState(len(elements), SumTree.of(elements).root if elements else EMPTY))
    return Head(*states)


def test_a_statement_has_a_line_for_each_account_that_changed(world: World) -> None:
    world.take([event(1, "c0", input=5), event(2, "c1", output=7)])
    world.seal()
    (signed,) = world.state(TIME)
    assert signed.statement.sealed_at == TIME
    assert [line.payer for line in signed.statement.lines] == [a.payer for a in world.accounts[:2]]
    for payer, line in enumerate(signed.statement.lines):
        head = head_by_hand(world, payer)
        assert (line.head, line.usage) == (head.hash(), head.usage())
    world.take([event(3, "c1", output=1), event(4, "c2", output=1)])
    world.seal()
    (second,) = world.state(TIME + 1)
    assert [line.payer for line in second.statement.lines] == [a.payer for a in world.accounts[1:]]
    assert second.statement.lines[0].usage.lanes[1] == 8


def test_another_library_recovers_the_signer(world: World) -> None:
    world.take(world.events(30))
    world.seal()
    (signed,) = world.state()
    line_type = [
        {"name": "payer", "type": "address"},
        {"name": "usage", "type": "uint256[2]"},
        {"name": "head", "type": "bytes32"},
    ]
    message = encode_typed_data(
        {
            "name": "Meterbridge",
            "version": "1",
            "chainId": 31337,
            "verifyingContract": str(signed.domain.verifying_contract),
        },
        {
            "Statement": [
                {"name": "tariffId", "type": "bytes32"},
                {"name": "sealedAt", "type": "uint64"},
                {"name": "lines", "type": "Line[]"},
            ],
            "Line": line_type,
        },
        {
            "tariffId": signed.statement.tariff_id,
            "sealedAt": signed.statement.sealed_at,
            "lines": [
                {"payer": str(line.payer), "usage": list(line.usage.to_words()), "head": line.head}
                for line in signed.statement.lines
            ],
        },
    )
    assert Account.recover_message(message, signature=signed.signature) == str(world.key.address)


def test_nothing_new_is_nothing_to_state(world: World) -> None:
    assert world.state() == []
    with pytest.raises(NothingToState):
        make_statement(world.ledger, world.record, TIME, world.key)
    world.take(world.events(5))
    assert world.state() == [], "pending receipts are in no head"
    world.seal()
    assert make_statement(world.ledger, world.record, TIME, world.key).statement.lines
    assert world.state(TIME + 1) == []


@pytest.mark.parametrize("sealed_at", [TIME, TIME - 1])
def test_time_strictly_increases_along_a_log(world: World, sealed_at: int) -> None:
    world.take([event(1, "c0", input=1)])
    world.seal()
    world.state(TIME)
    world.take([event(2, "c0", input=1)])
    world.seal()
    with pytest.raises(BadStatement, match=f"sealedAt {sealed_at} is not after"):
        world.state(sealed_at)
    assert len(world.state(TIME + 1)) == 1


@pytest.mark.parametrize("sealed_at", [0, 2**32])
def test_a_time_that_no_account_can_keep_is_refused(world: World, sealed_at: int) -> None:
    world.take([event(1, "c0", input=1)])
    world.seal()
    with pytest.raises(BadStatement, match="sealedAt"):
        world.state(sealed_at)
    assert list(world.ledger.statements(world.record.id)) == []


def test_what_is_stored_is_what_was_signed(world: World) -> None:
    made = []
    for i in range(3):
        world.take(world.events(20, first=20 * i))
        world.seal()
        made += world.state(TIME + i)
    stored = list(world.ledger.statements(world.record.id))
    assert [record.signed for record in stored] == made
    assert stored[-1].heads[0] == head_by_hand(world, 0)
    found, last_lines = world.ledger.signed_line(world.accounts[0]), made[-1].statement.lines
    assert found is not None
    assert (found.sealed_at, found.signer, found.signature) == (TIME + 2, made[-1].signer, made[-1].signature)
    assert found.head == head_by_hand(world, 0)
    assert last_lines[found.position].payer == world.accounts[0].payer
    assert list(found.line_hashes) == [line.struct_hash() for line in last_lines]
    with world.ledger._database.write() as connection:  # as before hashes were stored
        connection.execute(text("DELETE FROM line_hashes"))
    assert world.ledger.signed_line(world.accounts[0]) == found
    last = world.ledger.last_signed(world.record.id)
    assert {account: signed.sealed_at for account, signed in last.items()} == dict.fromkeys(
        world.accounts, TIME + 2
    )


def test_more_payers_than_lines_make_several_statements(new_world: Any) -> None:
    world = new_world(payers=1003)
    world.take([event(n, f"c{n}", input=n + 1) for n in range(1003)])
    world.seal()
    with pytest.raises(TooManyLines, match="1003 accounts"):
        make_statement(world.ledger, world.record, TIME, world.key)
    made = world.state(TIME)
    # 95 % of 16,777,216 gas less 200,000, at 28,100 for a line whose account may be empty
    assert [len(signed.statement.lines) for signed in made] == [560, 443]
    payers = [line.payer for signed in made for line in signed.statement.lines]
    assert len(set(payers)) == 1003
    assert [record.part for record in world.ledger.statements(world.record.id)] == [0, 1]
    assert world.state(TIME + 1) == []


class WrongKey(Key):
    """Says that it is one key and signs with another."""

    def sign_digest(self, digest: bytes) -> bytes:
        return Key(2).sign_digest(digest)


class HighS(Key):
    """Returns the mirrored signature, which is valid mathematics and refused by the contract."""

    def sign_digest(self, digest: bytes) -> bytes:
        order = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
        found = super().sign_digest(digest)
        s = order - int.from_bytes(found[32:64], "big")
        return found[:32] + s.to_bytes(32, "big") + bytes([55 - found[64]])


@pytest.mark.parametrize("key", [WrongKey(), HighS()])
def test_a_signer_that_signs_wrong_leaves_nothing_behind(world: World, key: Key) -> None:
    world.take(world.events(5))
    world.seal()
    world.key, good = key, world.key
    with pytest.raises(BadSignature):
        world.state()
    assert list(world.ledger.statements(world.record.id)) == []
    world.key = good
    assert len(world.state()) == 1


def test_a_failing_signer_can_be_tried_again(world: World) -> None:
    class Outage(Key):
        def sign_digest(self, _: bytes) -> bytes:
            raise ConnectionError("the key service is down")

    world.take(world.events(5))
    world.seal()
    world.key, good = Outage(), world.key
    with pytest.raises(ConnectionError):
        world.state()
    world.key = good
    assert len(world.state()) == 1


def tamper(world: World, statement: str) -> None:
    with world.ledger._database.write() as connection:
        assert connection.execute(text(statement)).rowcount > 0


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE tree_nodes SET hash = zeroblob(32) WHERE level = 0 AND position = 2",
        "UPDATE tree_nodes SET sum = zeroblob(64) WHERE level = 1",
        "UPDATE statement_lines SET charges_hash = zeroblob(32)",
        "UPDATE logs SET size = size - 2",
    ],
    ids=["element", "sum", "signed head", "set back"],
)
def test_a_ledger_that_was_changed_signs_nothing(world: World, change: str) -> None:
    for i in range(3):
        world.take([event(10 * i + n, "c0", input=1) for n in range(3)])
        world.seal()
    world.state(TIME)
    world.take([event(99, "c0", input=1)])
    if "logs" not in change:
        world.seal()
    tamper(world, change)
    with pytest.raises(HeadDoesNotExtend, match="do not extend what was signed last"):
        world.state(TIME + 1)
    assert len(list(world.ledger.statements(world.record.id))) == 1


def test_the_ledger_itself_refuses_a_second_statement_of_the_same_time(world: World) -> None:
    world.take([event(1, "c0", input=1)])
    world.seal()
    world.state(TIME)
    (record,) = world.ledger.statements(world.record.id)
    with pytest.raises(Conflict, match=f"has one of time {TIME}"):
        world.ledger.store_statements([record])


def test_credits_lower_the_usage_of_a_line(world: World) -> None:
    world.take([event(1, "c0", input=5)])
    world.seal()

    receipt = world.segments.get(next(world.segments.names())).table.receipts.receipt(0)
    correct(
        world.ledger,
        world.segments,
        world.accounts[0],
        receipt.id,
        replacement=None,
        occurred_at=1,
        reason="counted twice",
    )
    world.seal()
    (signed,) = world.state()
    assert not signed.statement.lines[0].usage
    assert signed.statement.lines[0].head == head_by_hand(world, 0).hash()
