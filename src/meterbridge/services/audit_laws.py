"""The laws of the protocol's section 9, as far as they can be checked from outside.

Pure: evidence in, findings out. Books are replayed from the events alone; here they are held against what the
contract, the token and the token's own transfers say.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from meterbridge.domain.addresses import Address
from meterbridge.domain.splits import Party, Split, entitled_down
from meterbridge.domain.units import AssetAmount
from meterbridge.services.audit_books import ZERO, AccountId, Law, PotBook
from meterbridge.services.audit_replay import Books
from meterbridge.services.chain_events import (
    ChainEvent,
    Claimed,
    Deposited,
    Funded,
    TokenTransfer,
    Withdrawn,
)
from meterbridge.services.chain_ports import Escrow, Stake, StakeKey

_NO_ESCROW = Escrow(ZERO, ZERO, 0)
_NO_STAKE = Stake(0, ZERO)


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that an audit looks at, as of the end of one block.

    Attributes:
        contract: whose events these are.
        block: the last block that is looked at.
        events: the contract's, all of them, in order.
        transfers: of each token, into and out of the contract.
        balances: what the contract holds of each token, as the token says.
        escrows, pots, stakes: what the contract's views say.
        claimables: what they say that each registered party of a published split would be paid.
        released_code: whether the contract's code is that of this release.
    """

    contract: Address
    block: int
    events: tuple[ChainEvent, ...]
    transfers: Mapping[Address, tuple[TokenTransfer, ...]]
    balances: Mapping[Address, AssetAmount]
    escrows: Mapping[AccountId, Escrow]
    pots: Mapping[bytes, AssetAmount]
    stakes: Mapping[StakeKey, Stake]
    claimables: Mapping[StakeKey, AssetAmount]
    released_code: bool


def check_laws(evidence: Evidence, books: Books) -> None:
    """Hold the books against the evidence; what does not fit is added to the books' findings."""
    _check_accounts(evidence, books)
    for split_id, pot in books.pots.items():
        _check_pot(evidence, books, split_id, pot)
        _check_shares(evidence, books, split_id, pot)
    for asset in evidence.balances:
        _check_covered(evidence, books, asset)
        _check_moves_out(evidence, books, asset)
        _check_moves_in(evidence, books, asset)
    books.findings.expect(
        Law.CODE, evidence.released_code, "the code of {} is not that of this release", evidence.contract
    )


def owed_in(books: Books, evidence: Evidence, asset: Address) -> AssetAmount:
    """Return what the contract owes in one token: account balances and unclaimed pots, by its own views."""
    balances = AssetAmount.total(
        view.balance
        for account, view in evidence.escrows.items()
        if books.asset_of_tariff(account.tariff_id) == asset
    )
    pots = AssetAmount.total(
        evidence.pots.get(split_id, ZERO).minus_or_zero(pot.claimed)
        for split_id, pot in books.pots.items()
        if books.asset_of(split_id) == asset
    )
    return balances + pots


def _check_accounts(evidence: Evidence, books: Books) -> None:
    for account, book in books.accounts.items():
        view = evidence.escrows.get(account, _NO_ESCROW)
        books.findings.expect(
            Law.ARRIVED,
            book.arrived == view.balance + view.settled + book.withdrawn,
            "{}: {} arrived; {} is there, {} was drawn and {} withdrawn",
            account,
            book.arrived,
            view.balance,
            view.settled,
            book.withdrawn,
        )
        books.findings.expect(
            Law.ORDER,
            (view.settled, view.sealed_at) == (book.settled, book.sealed_at),
            "{}: the contract says that {} was drawn, last at {}; the draws add up to {}, last at {}",
            account,
            view.settled,
            view.sealed_at,
            book.settled,
            book.sealed_at,
        )


def _check_pot(evidence: Evidence, books: Books, split_id: bytes, pot: PotBook) -> None:
    stated = evidence.pots.get(split_id, ZERO)
    books.findings.expect(
        Law.CLAIMS,
        stated == pot.allocated,
        "the contract says that the pot of split {} ever had {}; draws and gifts add up to {}",
        split_id,
        stated,
        pot.allocated,
    )
    books.findings.expect(
        Law.CLAIMS,
        pot.claimed <= stated,
        "{} was claimed of the pot of split {}, which ever had {}",
        pot.claimed,
        split_id,
        stated,
    )
    if split := books.splits.get(split_id):
        _check_claimables(evidence, books, split, pot)
        _check_dust(evidence, books, split, pot)


def _check_claimables(evidence: Evidence, books: Books, split: Split, pot: PotBook) -> None:
    """What the contract would pay each party is its share of the pot less what it claimed."""
    for key, stake in pot.stakes.items():
        entitled = entitled_down(pot.allocated, stake.share, split.total_shares)
        stated = evidence.claimables.get(key, ZERO)
        books.findings.expect(
            Law.CLAIMS,
            stated + stake.claimed == entitled,
            "the contract would pay {} to {}, which claimed {} of {}",
            stated,
            key,
            stake.claimed,
            entitled,
        )


def _check_dust(evidence: Evidence, books: Books, split: Split, pot: PotBook) -> None:
    """Only where the contract has nothing to pay any more: no party of the split waits or is missing."""
    parties = books.parties.get(split.id, ())
    open_claims = [key for key in pot.stakes if evidence.claimables.get(key, ZERO)]
    if not parties or open_claims or len(pot.stakes) < len(parties):
        return
    stays = pot.allocated.minus_or_zero(pot.claimed)
    books.findings.expect(
        Law.DUST,
        stays.base_units < len(parties),
        "all {} parties of split {} are paid, and {} stays in the pot",
        len(parties),
        split.id,
        stays,
    )


def _check_shares(evidence: Evidence, books: Books, split_id: bytes, pot: PotBook) -> None:
    findings, parties = books.findings, books.parties.get(split_id)
    published = _leaves(parties) if parties else None
    end = 0
    for key in sorted(pot.stakes, key=lambda key: key.offset):
        book, view = pot.stakes[key], evidence.stakes.get(key, _NO_STAKE)
        findings.expect(
            Law.SHARES,
            (view.share, view.claimed) == (book.share, book.claimed),
            "{} proved a share of {} and claimed {}; the contract says {} and {}",
            key,
            book.share,
            book.claimed,
            view.share,
            view.claimed,
        )
        findings.expect(Law.SHARES, key.offset >= end, "{} overlaps the party before it", key)
        end = key.offset + book.share
        if published is not None:
            leaf = (key.offset, key.account, book.role, book.share)
            findings.expect(Law.SHARES, leaf in published, "{} is not among the published parties", key)
    if split := books.splits.get(split_id):
        fits = end <= split.total_shares
        findings.expect(
            Law.SHARES, fits, "the parties of split {} end at {} of {}", split_id, end, split.total_shares
        )


def _leaves(parties: Iterable[Party]) -> set[tuple[int, Address, int, int]]:
    offset, leaves = 0, set()
    for party in parties:
        leaves.add((offset, party.account, party.role, party.share))
        offset += party.share
    return leaves


def _check_covered(evidence: Evidence, books: Books, asset: Address) -> None:
    owed, held = owed_in(books, evidence, asset), evidence.balances[asset]
    books.findings.expect(
        Law.COVERED, held >= owed, "the contract holds {} of token {} and owes {}", held, asset, owed
    )


def _check_moves_out(evidence: Evidence, books: Books, asset: Address) -> None:
    """Every transfer out has its withdrawal or claim, and the other way round."""
    booked: Counter[tuple[bytes, Address]] = Counter()
    for event in evidence.events:
        match event:
            case Withdrawn() if books.asset_of_tariff(event.tariff_id) == asset:
                booked[event.at.tx_hash, event.payer] += event.amount.base_units
            case Claimed() if books.asset_of(event.split_id) == asset:
                booked[event.at.tx_hash, event.recipient] += event.amount.base_units
    moved: Counter[tuple[bytes, Address]] = Counter()
    for transfer in evidence.transfers.get(asset, ()):
        if transfer.sender == evidence.contract:
            moved[transfer.at.tx_hash, transfer.recipient] += transfer.amount.base_units
    for event in evidence.events:
        # Anyone may fund a split that no event ever names; which token it holds, only its transfers tell.
        if isinstance(event, Claimed) and books.asset_of(event.split_id) is None:
            place = event.at.tx_hash, event.recipient
            booked[place] += min(event.amount.base_units, max(0, moved[place] - booked[place]))
    for tx_hash, recipient in sorted(booked.keys() | moved.keys()):
        left, accounted = moved[tx_hash, recipient], booked[tx_hash, recipient]
        books.findings.expect(
            Law.MOVES,
            left == accounted,
            "in transaction {} {} of token {} left for {}; withdrawals and claims account for {}",
            tx_hash,
            left,
            asset,
            recipient,
            accounted,
        )


def _check_moves_in(evidence: Evidence, books: Books, asset: Address) -> None:
    """Nothing is credited that did not come; what comes uncredited is a surplus, which is allowed."""
    booked: Counter[bytes] = Counter()
    for event in evidence.events:
        match event:
            case Deposited() if books.asset_of_tariff(event.tariff_id) == asset:
                booked[event.at.tx_hash] += event.arrived.base_units
            case Funded() if books.asset_of(event.split_id) == asset:
                booked[event.at.tx_hash] += event.arrived.base_units
    moved: Counter[bytes] = Counter()
    for transfer in evidence.transfers.get(asset, ()):
        if transfer.recipient == evidence.contract:
            moved[transfer.at.tx_hash] += transfer.amount.base_units
    for tx_hash in sorted(booked):
        books.findings.expect(
            Law.ARRIVED,
            moved[tx_hash] >= booked[tx_hash],
            "in transaction {} {} of token {} came, and {} was credited",
            tx_hash,
            moved[tx_hash],
            asset,
            booked[tx_hash],
        )
