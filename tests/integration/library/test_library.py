"""A provider, a payer and a contributor through the library, on a real node; amounts are worked by hand."""

from __future__ import annotations

import asyncio
import dataclasses
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from meterbridge import (
    AssetAmount,
    AsyncContributor,
    AsyncPayer,
    AsyncProvider,
    Contributor,
    NotPublished,
    Payer,
    Provider,
    UsageEvent,
    UsageRecord,
)
from meterbridge.domain.errors import BadProof, BadSignature, BadTariff
from meterbridge.library.connecting import NoKey
from meterbridge.library.contributor import NotAParty
from meterbridge.library.handing_over import NothingHandedOver
from meterbridge.library.settling import NotSettled
from meterbridge.library.workspace import NoLedger
from meterbridge.services.billing import BadBill
from meterbridge.services.chain_errors import Refusal, SignerNotAuthorized, WrongChain
from meterbridge.services.confirming import NotOnChain

WHEN = datetime(2026, 1, 1, tzinfo=UTC)


def calls(*counts: tuple[int, int], first: int = 0, payer: str = "acme") -> list[UsageRecord]:
    usage = [{"prompt_tokens": prompt, "completion_tokens": answer} for prompt, answer in counts]
    return [UsageRecord(f"call-{i}", payer, one, WHEN) for i, one in enumerate(usage, first)]


def tariff(provider: Provider, market: Any) -> dict[str, Any]:
    return {"contract": market.contract, "tariff": provider.tariff.id, "rpc": market.rpc}


def split(provider: Provider, market: Any) -> dict[str, Any]:
    return {"contract": market.contract, "split": provider.tariff.split_id, "rpc": market.rpc}


@pytest.fixture
def books(market: Any, tmp_path: Path) -> Any:
    with market.publish(tmp_path / "books") as provider:
        provider.open_account(market.acme, customer="acme")
        yield provider


def settled(provider: Provider, market: Any) -> None:
    """Two calls of acme, sealed, signed and drawn: 1,500 in and 300 out, 3,000 + 2,400 base units."""
    with Payer.connect(key=market.acme, **tariff(provider, market)) as payer:
        payer.deposit(payer.currency.amount("1.00"))
    assert provider.record(calls((1000, 100), (500, 200))).added == 2
    provider.seal()
    provider.sign(sealed_at=market.net.gateway().now() - 1)
    (settlement,) = provider.settle()
    assert settlement.drawn == AssetAmount(5_400)


def test_the_whole_way_through_three_objects(books: Provider, market: Any, tmp_path: Path) -> None:
    settled(books, market)
    assert books.settle() == []
    assert books.record(calls((1000, 100), (500, 200))).repeated == 2

    with Payer.connect(key=market.acme, **tariff(books, market)) as payer:
        account = payer.account()
        assert (account.balance, account.settled) == (AssetAmount(994_600), AssetAmount(5_400))
        checked = payer.bill(books.hand_over("acme", tmp_path / "for-acme"))
        assert (checked.bill.receipts, checked.bill.credits, checked.bill.price) == (2, 0, AssetAmount(5_400))
        assert [(use.meter, use.units) for use in checked.bill.meters] == [("input", 1500), ("output", 300)]
        assert (checked.drawn, checked.due) == (AssetAmount(5_400), AssetAmount(0))
        audit = payer.audit()
        assert audit.ok, audit.findings
        assert (audit.arrived, audit.drawn, len(audit.draws)) == (AssetAmount(10**6), AssetAmount(5_400), 1)
        assert payer.verify(books.prove("call-1", source="client")).price == AssetAmount(500 * 2 + 200 * 8)

    before = market.balance(market.lab)
    with Contributor.connect(key=market.lab, **split(books, market)) as me:
        (mine,) = me.claimable()
        assert (mine.amount, mine.registered) == (AssetAmount(3_780), False)
        (claim,) = me.claim()
        assert (claim.paid, claim.first) == (AssetAmount(3_780), True)
        assert me.claim() == ()
        verified = me.verify(books.prove("call-0", source="client", party=0))
        assert verified.part == AssetAmount(2_800 * 70 // 100)
        with pytest.raises(NotAParty, match="the part of"):
            me.verify(books.prove("call-0", source="client", party=1))
    assert market.balance(market.lab) == before + 3_780


def test_publishing_again_changes_nothing_and_a_folder_is_opened_again(market: Any, tmp_path: Path) -> None:
    same = {"terms": market.terms(), "parties": market.parties()}
    with market.publish(tmp_path / "books", **same) as first:
        block = market.net.gateway().newest_block()
        with market.publish(tmp_path / "books", **same) as second:
            assert second.tariff == first.tariff
        assert market.net.gateway().newest_block() == block
        first.open_account(market.acme, customer="acme")
    with Provider.open(tmp_path / "books", rpc=market.rpc) as again:
        assert [account.customer for account in again.accounts()] == ["acme"]
        with pytest.raises(NoKey):
            again.sign()
    with pytest.raises(NoLedger, match="no ledger in"):
        Provider.open(tmp_path / "nowhere", rpc=market.rpc)


def test_prices_in_other_decimals_than_the_tokens_are_refused(market: Any, tmp_path: Path) -> None:
    wrong = market.terms(currency={"symbol": "TUSD", "decimals": 18})
    with pytest.raises(BadTariff, match=r"18 decimals and token .* has 6"):
        market.publish(tmp_path / "books", terms=wrong, scale=0)


def test_a_key_deposits_by_permit_in_one_transaction(books: Provider, market: Any) -> None:
    key = market.funded("5.00")
    with Payer.connect(key=key, **tariff(books, market)) as payer:
        assert payer.wallet() == AssetAmount(5_000_000)
        before = market.net.gateway().newest_block()
        receipt = payer.deposit(payer.currency.amount("2.50"))
        assert receipt.block == before + 1  # an approval would have been a transaction of its own
        assert payer.account().balance == AssetAmount(2_500_000)
        assert payer.wallet() == AssetAmount(2_500_000)


def test_a_signed_deposit_is_submitted_by_somebody_else(books: Provider, market: Any) -> None:
    key = market.funded("5.00")
    with Payer.connect(key=key, **tariff(books, market)) as payer:
        signed = payer.sign_deposit(payer.currency.amount("4.00"))
        books.take_deposit(signed)
        assert payer.account().balance == AssetAmount(4_000_000)
        with pytest.raises(Refusal):
            books.take_deposit(signed)
        assert payer.account().balance == AssetAmount(4_000_000)
    with Payer.connect(key=market.acme, **tariff(books, market)) as payer, pytest.raises(NoKey):
        payer.sign_deposit(AssetAmount(1))


def test_a_payer_takes_back_what_is_left(books: Provider, market: Any) -> None:
    settled(books, market)
    with Payer.connect(key=market.acme, **tariff(books, market)) as payer:
        left = payer.account().balance
        thawing = payer.thaw(left)
        assert thawing.thawing == left
        with pytest.raises(Refusal, match="thaw"):
            payer.withdraw()
        market.net.wait_until(thawing.thaw_end)
        before = market.balance(market.acme)
        assert payer.withdraw() == left
        assert market.balance(market.acme) == before + left.base_units
        audit = payer.audit()
        assert audit.ok, audit.findings
        assert (audit.withdrawn, audit.balance) == (left, AssetAmount(0))


def test_a_bill_that_does_not_follow_from_the_receipts_is_refused(
    books: Provider, market: Any, tmp_path: Path
) -> None:
    settled(books, market)
    folder = books.hand_over(market.acme, tmp_path / "for-acme")
    with Payer.connect(payer=market.acme, **tariff(books, market)) as payer:
        assert payer.bill(folder).bill.receipts == 2
        (segment,) = sorted((folder / "segments").rglob("*.parquet"))
        kept = segment.read_bytes()
        segment.unlink()
        with pytest.raises(BadBill, match="never to what was signed"):
            payer.bill(folder)
        segment.write_bytes(kept)
        (file,) = (folder / "statements").glob("*.json")
        from meterbridge.adapters.json_files import read_json, write_json

        said = dict(read_json(file))  # type: ignore[call-overload]
        said["signature"] = "0x" + "11" * 64 + "1b"
        write_json(file, said)
        with pytest.raises(BadSignature):
            payer.bill(folder)
    with (
        Payer.connect(payer=market.globex, **tariff(books, market)) as other,
        pytest.raises(NothingHandedOver, match="no statement about"),
    ):
        other.bill(folder)


def test_a_bill_is_not_good_where_its_signer_was_revoked(
    books: Provider, market: Any, tmp_path: Path
) -> None:
    settled(books, market)
    folder = books.hand_over("acme", tmp_path / "for-acme")
    books.authorise(market.meter.address, until=0)
    with Payer.connect(payer=market.acme, **tariff(books, market)) as payer, pytest.raises(NotOnChain):
        payer.bill(folder)


def test_a_refused_statement_is_told_and_settles_once_it_may(books: Provider, market: Any) -> None:
    with Payer.connect(key=market.acme, **tariff(books, market)) as payer:
        payer.deposit(payer.currency.amount("1.00"))
    books.authorise(market.meter.address, until=0)
    books.record(calls((1000, 100)))
    books.seal()
    books.sign(sealed_at=market.net.gateway().now() - 1)
    with pytest.raises(NotSettled, match="not authorised") as caught:
        books.settle()
    assert caught.value.settled == ()
    books.authorise(market.meter.address)
    assert [settlement.drawn for settlement in books.settle()] == [AssetAmount(2_800)]
    with Provider.open(books._opened.folder, rpc=market.rpc) as looking, pytest.raises(NoKey):
        looking.settle()


def test_a_statement_ahead_of_the_chains_clock_is_settled_once_the_chain_is_there(
    books: Provider, market: Any
) -> None:
    with Payer.connect(key=market.acme, **tariff(books, market)) as payer:
        payer.deposit(payer.currency.amount("1.00"))
    books.record(calls((1000, 100)))
    books.seal()
    books.sign(sealed_at=market.net.gateway().now() + 4)
    assert [settlement.drawn for settlement in books.settle(timeout=60)] == [AssetAmount(2_800)]


def test_a_second_endpoint_is_asked_where_the_first_does_not_answer(market: Any, tmp_path: Path) -> None:
    with market.publish(tmp_path / "books", rpc=["http://127.0.0.1:1", market.rpc]) as books:
        books.open_account(market.acme, customer="acme")
        settled(books, market)


def test_a_correction_shows_in_the_bill_as_a_credit(books: Provider, market: Any, tmp_path: Path) -> None:
    settled(books, market)
    books.correct("call-1", {"input": 500, "output": 20}, source="client", reason="counted twice")
    books.seal()
    books.sign(sealed_at=market.net.gateway().now())
    with Payer.connect(payer=market.acme, **tariff(books, market)) as payer:
        checked = payer.bill(books.hand_over("acme", tmp_path / "for-acme"))
        assert (checked.bill.receipts, checked.bill.credits) == (3, 1)
        assert checked.bill.price == AssetAmount(1500 * 2 + 120 * 8)
        assert checked.due == AssetAmount(0)  # what was drawn too much nets against later usage


def test_credit_is_what_is_secured_less_what_is_unsettled(books: Provider, market: Any) -> None:
    settled(books, market)
    books.record(calls((1000, 0), first=10))
    found = books.credit("acme", margin=8)
    assert (found.secured, found.unsettled) == (AssetAmount(994_600), AssetAmount(2_000))
    assert (found.remaining, found.allowed) == (AssetAmount(992_600), True)


def test_a_contributor_settles_what_the_provider_does_not(
    books: Provider, market: Any, tmp_path: Path
) -> None:
    with Payer.connect(key=market.acme, **tariff(books, market)) as payer:
        payer.deposit(payer.currency.amount("1.00"))
    books.record(calls((1000, 100)))
    books.seal()
    (signed,) = books.sign(sealed_at=market.net.gateway().now() - 1)
    (file,) = (tmp_path / "books" / "statements").glob("*.json")
    with Contributor.connect(key=market.host, **split(books, market)) as me:
        assert me.submit(file).drawn == AssetAmount(2_800)
        assert me.submit(signed).drawn == AssetAmount(0)
        forged = dataclasses.replace(signed, signer=market.other)
        with pytest.raises(BadSignature):
            me.submit(forged)
        stranger = market.net.fresh_accounts(1)[0]
        other = dataclasses.replace(
            signed, signer=stranger.address, signature=stranger.sign_digest(signed.digest())
        )
        with pytest.raises(SignerNotAuthorized):
            me.submit(other)
        assert [claim.paid for claim in me.claim()] == [AssetAmount(840)]


def test_a_party_pays_its_claim_to_somebody_else(market: Any, tmp_path: Path) -> None:
    from meterbridge import Party, Role

    (key,) = market.net.fresh_accounts(1)
    parties = [
        Party(key.address, Role.MODEL, 1),
        Party(market.host, Role.COMPUTE, 1),
        Party(key.address, Role.DATA, 2),
    ]
    with market.publish(tmp_path / "books", parties=parties) as books:
        books.open_account(market.acme, customer="acme")
        with Contributor.connect(key=key, **split(books, market)) as me:
            # Two places in one split; both are registered before there is anything to claim.
            assert [(claim.paid, claim.first) for claim in me.claim()] == [(AssetAmount(0), True)] * 2
            settled(books, market)
            deadline = market.net.gateway().now() + 600
            signed = me.authorize(market.other, deadline=deadline, place=1)
            with Contributor.connect(account=key.address, key=market.host, **split(books, market)) as relay:
                assert relay.claim_with(signed).paid == AssetAmount(2_700)
                with pytest.raises(Refusal):
                    relay.claim_with(signed)
            before = market.balance(market.globex)
            assert [claim.paid for claim in me.claim_to(market.globex)] == [AssetAmount(1_350)]
            assert market.balance(market.globex) == before + 1_350


def test_who_has_no_share_or_asks_for_what_is_not_there_is_told_so(books: Provider, market: Any) -> None:
    with pytest.raises(NotAParty, match="is no party"):
        Contributor.connect(key=market.globex, **split(books, market))
    with pytest.raises(NotPublished):
        Payer.connect(contract=market.contract, tariff=bytes(32), payer=market.acme, rpc=market.rpc)
    with pytest.raises(NoKey):
        Payer.connect(contract=market.contract, rpc=market.rpc)


def test_a_proof_of_somebody_else_is_no_proof_for_me(books: Provider, market: Any) -> None:
    settled(books, market)
    proof = books.prove("call-0", source="client")
    with Payer.connect(payer=market.globex, **tariff(books, market)) as other:
        with pytest.raises(BadProof, match="is about an account"):
            other.verify(proof)
        moved = dataclasses.replace(
            proof.statement, domain=dataclasses.replace(proof.statement.domain, chain_id=1)
        )
        with pytest.raises((WrongChain, BadSignature)):
            other.verify(dataclasses.replace(proof, statement=moved))


def test_events_in_own_buckets_and_bad_ones_are_told_by_their_place(books: Provider, market: Any) -> None:
    events = [UsageEvent("gateway", str(i), 1_700_000_000_000 + i, "acme", {"input": 1}) for i in range(3)]
    bad = UsageRecord("x", "acme", {"prompt_tokens": -1, "completion_tokens": 0}, WHEN)
    found = books.record([*events, bad, *calls((1, 1), payer="hooli")], skip_bad=True)
    assert (found.added, [row.row_number for row in found.bad]) == (3, [4, 5])


def test_the_same_for_code_that_awaits(market: Any, tmp_path: Path) -> None:
    async def go() -> None:
        options = {
            "contract": market.contract,
            "asset": market.asset,
            "parties": market.parties(),
            "terms": market.terms(),
            "key": market.provider,
            "meter": market.meter,
            "rpc": market.rpc,
        }
        async with AsyncProvider.publish(tmp_path / "books", **options) as provider:
            await provider.open_account(market.acme, customer="acme")
            where = {"contract": market.contract, "rpc": market.rpc}
            async with AsyncPayer.connect(key=market.acme, tariff=provider.tariff.id, **where) as payer:
                await payer.deposit(payer.currency.amount("1.00"))
                reports = await asyncio.gather(
                    *(provider.record(calls((1000, 100), first=i)) for i in range(4))
                )
                assert [report.added for report in reports] == [1] * 4
                await provider.seal()
                await provider.sign(sealed_at=market.net.gateway().now() - 1)
                (settlement,) = await provider.settle()
                assert settlement.drawn == AssetAmount(4 * 2_800)
                checked = await payer.bill(await provider.hand_over("acme", tmp_path / "for-acme"))
                assert checked.bill.receipts == 4
            me = await AsyncContributor.connect(key=market.host, split=provider.tariff.split_id, **where)
            try:
                assert [claim.paid for claim in await me.claim()] == [AssetAmount(4 * 840)]
            finally:
                await me.close()
        with pytest.raises(NoLedger):
            await AsyncProvider.open(tmp_path / "nowhere", rpc=market.rpc)

    asyncio.run(go())
