"""An audit from the chain alone: does every law hold, and where is every base unit now (protocol, section 9).

It reads the contract's events from its first block on, replays them by the rules, and holds the result
against the contract's views, the token's balance and the token's transfers, all as of one block.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from meterbridge.domain.addresses import Address
from meterbridge.domain.units import AssetAmount
from meterbridge.services.audit_books import ZERO, AccountId, FunderId, Law, SourceId
from meterbridge.services.audit_laws import Evidence, check_laws, owed_in
from meterbridge.services.audit_replay import Books
from meterbridge.services.chain_errors import Refusal
from meterbridge.services.chain_ports import AuditPort, Escrow, StakeKey


@dataclass(frozen=True, slots=True)
class LawCheck:
    """One law and what was found.

    Attributes:
        law: its number in section 9, and what it says.
        checked: how many single comparisons were made.
        found: what does not fit, one sentence each; none where the law holds.
    """

    law: str
    checked: int
    found: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether it holds."""
        return not self.found


@dataclass(frozen=True, slots=True)
class PaidTo:
    """What a party was paid of one row's money.

    Attributes:
        account: the party.
        offset: where its interval begins; an account may stand in a split more than once.
        role: its role in the split.
    """

    account: Address
    offset: int
    role: int
    amount: AssetAmount


@dataclass(frozen=True, slots=True)
class AuditRow:
    """Where the money of one payer under one tariff, or of one funder of one pot, is now.

    A pot's units cannot be told apart, so a claim counts as taken from everybody's money that was waiting
    then, in proportion.

    Attributes:
        asset: the token; None where nobody ever named the split.
        tariff_id: None for money that was given to a pot directly.
        split_id: whose pot.
        owner: the payer or the funder.
        arrived: all that came; the sum of the following.
        withdrawn: what went back.
        in_escrow: what is still in the account.
        in_pot: what waits in the pot to be claimed.
        paid: what parties claimed.
    """

    asset: Address | None
    tariff_id: bytes | None
    split_id: bytes | None
    owner: Address
    arrived: AssetAmount
    withdrawn: AssetAmount
    in_escrow: AssetAmount
    in_pot: AssetAmount
    paid: tuple[PaidTo, ...]

    @property
    def claimed(self) -> AssetAmount:
        """What parties claimed of it."""
        return AssetAmount.total(paid.amount for paid in self.paid)

    def adds_up(self) -> bool:
        """Tell whether every base unit is somewhere."""
        return self.arrived == self.withdrawn + self.in_escrow + self.in_pot + self.claimed


@dataclass(frozen=True, slots=True)
class AssetTotals:
    """All rows of one token together.

    Attributes:
        deposited, funded: what came into accounts, and into pots directly.
        drawn: what moved from accounts into pots.
        claimed, withdrawn: what went out.
        escrow_left, pot_left: what is still here.
        surplus: what the contract holds beyond that: sent to it without a deposit, and nobody's.
    """

    asset: Address
    deposited: AssetAmount
    funded: AssetAmount
    drawn: AssetAmount
    claimed: AssetAmount
    withdrawn: AssetAmount
    escrow_left: AssetAmount
    pot_left: AssetAmount
    surplus: AssetAmount


@dataclass(frozen=True, slots=True)
class AuditReport:
    """What an audit found.

    Attributes:
        block: the block at whose end everything was looked at.
        laws: one check a law.
        rows: where every base unit of every deposit is now.
        totals: one a token.
    """

    block: int
    laws: tuple[LawCheck, ...]
    rows: tuple[AuditRow, ...]
    totals: tuple[AssetTotals, ...]

    @property
    def ok(self) -> bool:
        """Whether every law holds and every row adds up."""
        return all(check.ok for check in self.laws) and all(row.adds_up() for row in self.rows)


def audit(chain: AuditPort, *, from_block: int = 0, assets: Collection[Address] | None = None) -> AuditReport:
    """Audit a contract.

    Args:
        chain: the contract; nothing is sent.
        from_block: the block that deployed it, or any earlier one; with a later one nothing adds up.
        assets: the tokens to look at; None for all that the contract ever held. Anyone can bring a token of
            their own, which may say what it likes.
    """
    return judge(gather(chain, from_block=from_block, assets=assets))


def gather(chain: AuditPort, *, from_block: int = 0, assets: Collection[Address] | None = None) -> Evidence:
    """Read all that an audit looks at, as of the newest block; see `audit`."""
    block = chain.newest_block()
    events = chain.events(from_block, block)
    books = Books(events)
    wanted = sorted(books.assets() if assets is None else books.assets() & set(assets))
    stakes = [key for pot in books.pots.values() for key in pot.stakes]
    return Evidence(
        contract=chain.domain.verifying_contract,
        block=block,
        events=events,
        transfers={asset: chain.transfers(asset, from_block, block) for asset in wanted},
        balances={asset: _balance(chain, asset, block) for asset in wanted},
        escrows=dict(_read_escrows(chain, books, block)),
        pots={split_id: chain.pot(split_id, block=block) for split_id in books.pots},
        stakes=dict(zip(stakes, chain.stakes(stakes, block=block), strict=True)),
        claimables=dict(_read_claimables(chain, books, block)),
        released_code=chain.runs_released_code(block=block),
    )


def judge(evidence: Evidence) -> AuditReport:
    """Check every law on given evidence, and say where the money is. Pure."""
    books = Books(evidence.events)
    check_laws(evidence, books)
    findings = books.findings
    laws = tuple(LawCheck(law.value, findings.checked(law), findings.found(law)) for law in Law)
    rows = tuple(_account_rows(books)) + tuple(_funder_rows(books))
    totals = tuple(_totals(asset, rows, books, evidence) for asset in evidence.balances)
    return AuditReport(evidence.block, laws, rows, totals)


def _read_escrows(chain: AuditPort, books: Books, block: int) -> Iterator[tuple[AccountId, Escrow]]:
    by_tariff: dict[bytes, list[Address]] = {}
    for account in books.accounts:
        by_tariff.setdefault(account.tariff_id, []).append(account.payer)
    for tariff_id, payers in by_tariff.items():
        found = chain.escrows(tariff_id, payers, block=block)
        yield from ((AccountId(tariff_id, payer), view) for payer, view in zip(payers, found, strict=True))


def _read_claimables(chain: AuditPort, books: Books, block: int) -> Iterator[tuple[StakeKey, AssetAmount]]:
    for split_id, pot in books.pots.items():
        if split := books.splits.get(split_id):
            keys = list(pot.stakes)
            yield from zip(keys, chain.claimables(split, keys, block=block), strict=True)


def _balance(chain: AuditPort, asset: Address, block: int) -> AssetAmount:
    try:
        return chain.token_balance(asset, block=block)
    except Refusal:
        return ZERO  # a token that does not answer is worth nothing, and whoever holds it is told so


def _account_rows(books: Books) -> Iterator[AuditRow]:
    for account, book in books.accounts.items():
        if not book.arrived and not book.settled:
            continue  # a statement named a payer that never deposited
        tariff = books.tariffs.get(account.tariff_id)
        split_id = tariff.split_id if tariff else None
        in_pot, paid = _in_pot(books, split_id, account)
        yield AuditRow(
            asset=books.asset_of_tariff(account.tariff_id),
            tariff_id=account.tariff_id,
            split_id=split_id,
            owner=account.payer,
            arrived=book.arrived,
            withdrawn=book.withdrawn,
            in_escrow=book.balance,
            in_pot=in_pot,
            paid=paid,
        )


def _funder_rows(books: Books) -> Iterator[AuditRow]:
    for split_id, pot in books.pots.items():
        for source, given in pot.given.items():
            if not isinstance(source, FunderId):
                continue
            in_pot, paid = _in_pot(books, split_id, source)
            yield AuditRow(
                asset=books.asset_of(split_id),
                tariff_id=None,
                split_id=split_id,
                owner=source.giver,
                arrived=given,
                withdrawn=ZERO,
                in_escrow=ZERO,
                in_pot=in_pot,
                paid=paid,
            )


def _in_pot(books: Books, split_id: bytes | None, source: SourceId) -> tuple[AssetAmount, tuple[PaidTo, ...]]:
    """Return what of a source's money waits in its pot, and what was paid to whom."""
    if split_id is None or split_id not in books.pots:
        return ZERO, ()
    pot = books.pots[split_id]
    paid = tuple(
        PaidTo(key.account, key.offset, stake.role, pot.paid[source, key])
        for key, stake in sorted(pot.stakes.items(), key=lambda item: item[0].offset)
        if pot.paid.get((source, key))
    )
    return pot.waiting.get(source, ZERO), paid


def _totals(asset: Address, rows: tuple[AuditRow, ...], books: Books, evidence: Evidence) -> AssetTotals:
    mine = [row for row in rows if row.asset == asset]
    deposits = [row for row in mine if row.tariff_id is not None]
    return AssetTotals(
        asset=asset,
        deposited=AssetAmount.total(row.arrived for row in deposits),
        funded=AssetAmount.total(row.arrived for row in mine if row.tariff_id is None),
        drawn=AssetAmount.total(row.in_pot + row.claimed for row in deposits),
        claimed=AssetAmount.total(row.claimed for row in mine),
        withdrawn=AssetAmount.total(row.withdrawn for row in mine),
        escrow_left=AssetAmount.total(row.in_escrow for row in mine),
        pot_left=AssetAmount.total(row.in_pot for row in mine),
        surplus=evidence.balances[asset].minus_or_zero(owed_in(books, evidence, asset)),
    )
