"""The way of a statement to the chain on a real node: each state, and what can go wrong in it."""

from __future__ import annotations

import itertools

import pytest
from books import METER
from chains import Town
from sqlalchemy import insert, update

from meterbridge.adapters.chain import KeySender
from meterbridge.adapters.signers import LocalSigner
from meterbridge.adapters.sql.outbox_statements import ATTEMPTS, DELIVERIES, NONCES
from meterbridge.domain.units import AssetAmount
from meterbridge.services.settling.packing import Packing

pytestmark = pytest.mark.node


def test_statement_goes_all_the_way_in_one_pass(town: Town) -> None:
    town.deposit(town.payer, 1000)
    town.state({town.payer: 100})
    report = town.settler().step()
    assert [moved.delivery.state for moved in report.moved] == ["ready", "signed", "sent", "mined", "final"]
    assert (report.enrolled, report.errors, report.moving) == (1, (), 0)
    assert town.pot() == 100
    [settled] = town.books.ledger.settlements(town.books.record.id)
    assert [(draw.payer, draw.drawn.base_units) for draw in settled.draws] == [(town.payer.address, 100)]
    assert town.settler().step(hurry=True).moved == ()
    assert town.nonce() == 1


def test_statement_is_final_only_at_the_configured_depth(town: Town) -> None:
    town.deposit(town.payer, 1000)
    town.state({town.payer: 100})
    settler = town.settler(confirmations=4)
    settler.step()
    assert town.states() == ["mined"]
    town.mine(2)
    assert settler.step().moved == ()
    town.mine(1)
    settler.step()
    assert town.states() == ["final"]


def test_reorganised_statement_goes_back_and_settles_again(town: Town) -> None:
    town.deposit(town.payer, 1000)
    town.state({town.payer: 100})
    town.tick(60)  # blocks of another history may be earlier than those that they replace
    settler = town.settler(confirmations=5, bump_after_seconds=600)
    settler.step()
    [before] = town.deliveries()
    assert before.mined is not None
    town.mine(2)
    town.rpc("anvil_reorg", 3, [])  # its block and the two after it are replaced by empty ones
    report = settler.step()
    # Back to sent, broadcast again as it was, mined again.
    states = [moved.delivery.state for moved in report.moved]
    assert (states[:2], states[-1]) == (["sent", "sent"], "mined")
    [after] = town.deliveries()
    assert after.mined is not None
    assert after.mined.tx_hash == before.mined.tx_hash
    assert after.mined != before.mined
    town.mine(5)
    settler.step()
    assert (town.states(), town.pot(), town.nonce()) == (["final"], 100, 1)


def test_finality_tag_of_the_chain_decides_where_the_policy_says_so(town: Town) -> None:
    town.deposit(town.payer, 1000)
    town.state({town.payer: 100})
    settler = town.settler(finality="finalized")
    settler.step()
    town.mine(20)
    settler.step()
    assert town.states() == ["mined"]
    town.mine(60)  # anvil holds final what is 64 blocks deep
    settler.step()
    assert town.states() == ["final"]


def test_stuck_transaction_is_replaced_by_one_that_pays_an_eighth_more(town: Town) -> None:
    town.deposit(town.payer, 1000)
    town.state({town.payer: 100})
    settler = town.settler()
    with town.by_hand():
        settler.step()
        assert town.states() == ["sent"]
        settler.step()
        [delivery] = town.deliveries()
        attempts = town.books.ledger.attempts(delivery)
        assert len(attempts) >= 2
        for cheap, dear in itertools.pairwise(attempts):
            assert dear.nonce == cheap.nonce
            assert dear.max_wei * 8 >= cheap.max_wei * 9
            assert dear.tip_wei * 8 >= cheap.tip_wei * 9
        town.mine()
    settler.step()
    assert (town.states(), town.pot(), town.nonce()) == (["final"], 100, 1)


def test_replacement_ends_at_the_ceiling_and_says_so(town: Town) -> None:
    town.deposit(town.payer, 1000)
    town.state({town.payer: 100})
    ceiling = 3 * 10**9
    settler = town.settler(fee_ceiling_wei=ceiling)
    with town.by_hand():
        for _ in range(12):
            settler.step()
        [delivery] = town.deliveries()
        assert "ceiling" in delivery.reason
        assert all(attempt.max_wei <= ceiling for attempt in town.books.ledger.attempts(delivery))
        town.mine()
    settler.step()
    assert (town.states(), town.pot()) == (["final"], 100)


def test_base_fee_above_the_ceiling_is_waited_out(town: Town) -> None:
    town.deposit(town.payer, 1000)
    town.state({town.payer: 100})
    settler = town.settler(fee_ceiling_wei=100 * 10**9)
    town.rpc("anvil_setNextBlockBaseFeePerGas", hex(200 * 10**9))
    town.mine()
    settler.step()
    assert town.states() == ["ready"]
    assert "ceiling" in town.deliveries()[0].reason
    town.rpc("anvil_setNextBlockBaseFeePerGas", hex(10**9))
    town.mine()
    settler.step()
    assert town.states() == ["final"]


def test_dropped_transaction_is_sent_again_as_it_was(town: Town) -> None:
    town.deposit(town.payer, 1000)
    town.state({town.payer: 100})
    settler = town.settler(bump_after_seconds=600)
    with town.by_hand():
        settler.step()
        town.rpc("anvil_dropAllTransactions")
        settler.step()
        [delivery] = town.deliveries()
        [attempt] = town.books.ledger.attempts(delivery)
        assert town.chain().knows(attempt.tx_hash)
        town.mine()
    settler.step()
    assert (town.states(), town.pot(), town.nonce()) == (["final"], 100, 1)


def test_nonce_that_somebody_else_used_is_given_up_for_a_new_one(town: Town) -> None:
    town.deposit(town.payer, 1000)
    town.state({town.payer: 100})
    settler = town.settler(bump_after_seconds=600)
    with town.by_hand():
        settler.step()
        town.rpc("anvil_dropAllTransactions")
        # The same key in another program, which knows nothing of this ledger.
        town.as_sender(town.submitter).gateway.send_value(town.payer.address, 1)
        town.mine()
    settler.drain(timeout=300)
    assert town.states() == ["final"]
    [delivery] = town.deliveries()
    assert [(a.nonce, a.state) for a in town.books.ledger.attempts(delivery)] == [(0, "lost"), (1, "sent")]
    assert (town.pot(), town.nonce()) == (100, 2)


def test_missing_nonce_is_used_up_so_that_what_follows_can_be_mined(town: Town) -> None:
    town.deposit(town.payer, 1000)
    town.state({town.payer: 100})
    # As after a database was set back on another chain's state: nonces 0 and 1 were taken and never used.
    with town.books.ledger._database.write() as connection:
        values = {"chain_id": town.books.record.domain.chain_id, "sender": town.submitter.address.raw}
        connection.execute(insert(NONCES).values(next=2, **values))
    settler = town.settler()
    for _ in range(8):
        settler.step()
    assert (town.states(), town.pot(), town.nonce()) == (["final"], 100, 3)


def test_account_of_the_node_settles_too_and_a_lost_hash_is_found(town: Town) -> None:
    town.deposit(town.payer, 1000)
    town.state({town.payer: 100})
    account = town.node_account()
    settler = town.settler(sender=account)
    used = town.nonce(account.address)
    with town.by_hand():
        settler.step()
        with town.books.ledger._database.write() as connection:  # as if the answer had never come
            connection.execute(update(ATTEMPTS).values(tx_hash=None, state="signed", sent_at=None))
            connection.execute(update(DELIVERIES).values(state="signed"))
        town.mine()
    settler.step()
    assert (town.states(), town.pot(), town.nonce(account.address)) == (["final"], 100, used + 1)


def test_restarted_node_without_its_pool_gets_everything_again(town: Town) -> None:
    town.deposit(town.payer, 1000)
    town.deposit(town.other, 1000)
    town.state({town.payer: 100})
    town.state({town.other: 50})
    settler = town.settler(bump_after_seconds=600)
    with town.by_hand():
        settler.step()
        assert town.states() == ["sent", "sent"]
        town.rpc("anvil_dropAllTransactions")
        settler.step()
        town.mine()
    settler.step()
    assert (town.states(), town.pot(), town.nonce()) == (["final", "final"], 150, 2)


def test_sender_without_money_is_named_and_goes_on_once_it_has_some(town: Town) -> None:
    town.deposit(town.payer, 1000)
    town.state({town.payer: 100})
    poor = LocalSigner.generate()
    settler = town.settler(sender=KeySender(poor))
    settler.step()
    [delivery] = town.deliveries()
    assert delivery.state == "signed"
    assert f"{poor.address} cannot pay the gas" in delivery.reason
    town.net.fund([poor.address], gas=10_000_000)
    settler.step()
    assert (town.states(), town.pot()) == (["final"], 100)


def test_signer_that_is_not_authorised_yet_is_waited_for(town: Town) -> None:
    provider = town.as_sender(town.provider)
    provider.set_signer(METER.address, 0)
    town.deposit(town.payer, 1000)
    town.state({town.payer: 100})
    settler = town.settler()
    settler.step()
    assert town.states() == ["waiting"]
    assert "is not authorised by provider" in town.deliveries()[0].reason
    provider.set_signer(METER.address, 2**32 - 1)
    settler.step()
    assert town.states() == ["final"]


def test_statement_after_its_signer_retired_fails_and_what_it_covered_settles(town: Town) -> None:
    town.deposit(town.payer, 1000)
    town.state({town.payer: 100})
    retired = town.splitter.now()
    town.tick(5)
    town.state({town.payer: 100})
    town.as_sender(town.provider).set_signer(METER.address, retired)
    settler = town.settler()
    settler.step()
    settler.step()
    assert town.states() == ["final", "failed"]
    assert town.pot() == 100


def test_hurried_pass_looks_at_all_that_waits_however_much_it_is(town: Town) -> None:
    payers = town.net.fresh_accounts(70)
    town.books.use({payer.address: 5 for payer in payers})
    town.books.state(town.splitter.now(), packing=Packing(lines_max=1))
    settler = town.settler(minimum=AssetAmount(1), recheck_seconds=900)
    report = settler.step(hurry=True)
    assert (report.enrolled, report.errors, report.moving) == (70, (), 0)
    assert all("draw nothing" in delivery.reason for delivery in town.deliveries())
    town.deposit(payers[69], 100)
    assert settler.step().moved == ()  # none is due yet
    assert [m.delivery.state for m in settler.step(hurry=True).moved][-1] == "final"
    assert sorted(town.states()) == ["final", *["waiting"] * 69]


def test_transaction_is_found_in_an_earlier_block_than_the_newest_when_it_was_made(town: Town) -> None:
    town.deposit(town.payer, 1000)
    town.state({town.payer: 100})
    town.settler().step()
    [settled] = town.deliveries()
    assert settled.mined is not None
    assert settled.sender is not None
    assert settled.nonce is not None
    town.mine(9)
    for newest in range(settled.mined.block + 9, 0, -3):
        found = town.chain().hash_of(settled.sender, settled.nonce, newest)
        assert found == settled.mined.tx_hash
    assert town.chain().hash_of(settled.sender, settled.nonce + 1, 0) is None
