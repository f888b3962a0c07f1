"""The contract's events replayed into books, as somebody would who trusts nothing but the rules.

Every event is checked against the books before it is entered; what does not fit is found under a law of the
protocol's section 9, and the replay goes on.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from functools import singledispatchmethod

from meterbridge.domain.addresses import Address
from meterbridge.domain.errors import BadSplit
from meterbridge.domain.splits import Party, PartyTable, Split, entitled_down
from meterbridge.domain.tariffs import Tariff, terms_hash
from meterbridge.services.audit_books import (
    ZERO,
    AccountBook,
    AccountId,
    Findings,
    FunderId,
    Law,
    PotBook,
    StakeBook,
)
from meterbridge.services.chain_events import (
    AccountOpened,
    ChainEvent,
    Claimed,
    Deposited,
    Funded,
    Registered,
    Settled,
    Skipped,
    SplitAnnounced,
    SplitPublished,
    TariffPublished,
    Thawing,
    Withdrawn,
)
from meterbridge.services.chain_ports import StakeKey


class Books:
    """All accounts and pots of one contract, from its events.

    Attributes:
        tariffs, splits, parties: what the events published, by id.
        accounts, pots: the money, by id.
        findings: what was checked on the way.
    """

    def __init__(self, events: Iterable[ChainEvent]) -> None:
        """Replay events in the order of the chain, from the contract's first block on."""
        self.tariffs: dict[bytes, Tariff] = {}
        self.splits: dict[bytes, Split] = {}
        self.parties: dict[bytes, tuple[Party, ...]] = {}
        self.accounts: defaultdict[AccountId, AccountBook] = defaultdict(AccountBook)
        self.pots: defaultdict[bytes, PotBook] = defaultdict(PotBook)
        self.findings = Findings()
        for event in events:
            self._enter(event)

    def asset_of(self, split_id: bytes) -> Address | None:
        """Return which token a pot holds, where any event has told."""
        split = self.splits.get(split_id)
        return split.asset if split else None

    def asset_of_tariff(self, tariff_id: bytes) -> Address | None:
        """Return which token the accounts under a tariff hold."""
        tariff = self.tariffs.get(tariff_id)
        return self.asset_of(tariff.split_id) if tariff else None

    def assets(self) -> set[Address]:
        """Return the tokens that accounts or pots hold; what was only announced does not count."""
        found = {self.asset_of_tariff(account.tariff_id) for account in self.accounts}
        found |= {self.asset_of(split_id) for split_id in self.pots}
        return {asset for asset in found if asset is not None}

    @singledispatchmethod
    def _enter(self, event: ChainEvent) -> None:
        """Other events move no money and publish nothing."""

    @_enter.register
    def _(self, event: SplitPublished) -> None:
        self._know_split(event.split_id, event.split)
        try:
            root = PartyTable(event.parties).root
            fits = (root.hash, root.shares) == (event.split.root, event.split.total_shares)
        except BadSplit:
            fits = False
        self.findings.expect(
            Law.NAMES, fits, "the parties published for split {} are not its own", event.split_id
        )
        if fits:
            self.parties[event.split_id] = event.parties

    @_enter.register
    def _(self, event: SplitAnnounced) -> None:
        if event.split is not None:  # anyone may announce nonsense; it concerns nobody
            self._know_split(event.split_id, event.split)

    @_enter.register
    def _(self, event: TariffPublished) -> None:
        self._know_tariff(event.tariff_id, event.tariff)
        self.findings.expect(
            Law.NAMES,
            terms_hash(event.document) == event.tariff.terms,
            "the document published for tariff {} is not that of its terms",
            event.tariff_id,
        )

    @_enter.register
    def _(self, event: AccountOpened) -> None:
        self._know_split(event.tariff.split_id, event.split)
        self._know_tariff(event.tariff_id, event.tariff)
        self.accounts.setdefault(AccountId(event.tariff_id, event.payer), AccountBook())

    @_enter.register
    def _(self, event: Deposited) -> None:
        account = AccountId(event.tariff_id, event.payer)
        known = event.tariff_id in self.tariffs
        self.findings.expect(Law.ARRIVED, known, "a deposit into {}, which nothing opened", account)
        book = self.accounts[account]
        book.arrived = book.arrived + event.arrived

    @_enter.register
    def _(self, event: Thawing) -> None:
        self.accounts[AccountId(event.tariff_id, event.payer)].thawing = event.amount

    @_enter.register
    def _(self, event: Withdrawn) -> None:
        account = AccountId(event.tariff_id, event.payer)
        book = self.accounts[account]
        most = min(book.balance, book.thawing)
        self.findings.expect(
            Law.MOVES,
            event.amount == most,
            "{} withdrew {}; thawed and still there was {}",
            account,
            event.amount,
            most,
        )
        book.withdrawn = book.withdrawn + event.amount
        book.thawing = ZERO

    @_enter.register
    def _(self, event: Settled) -> None:
        account = AccountId(event.tariff_id, event.payer)
        book = self.accounts[account]
        self.findings.expect(
            Law.ORDER,
            event.sealed_at >= book.sealed_at,
            "{} settled a statement of {} after one of {}",
            account,
            event.sealed_at,
            book.sealed_at,
        )
        self._check_draw(event, account, book)
        book.settled = book.settled + event.drawn
        book.sealed_at = event.sealed_at
        tariff = self.tariffs.get(event.tariff_id)
        if tariff and event.drawn:
            self.pots[tariff.split_id].put(account, event.drawn)

    @_enter.register
    def _(self, event: Skipped) -> None:
        account = AccountId(event.tariff_id, event.payer)
        last = self.accounts[account].sealed_at
        self.findings.expect(
            Law.ORDER,
            event.sealed_at < last == event.account_sealed_at,
            "{} skipped a statement of {}, for one of {}; its last one is of {}",
            account,
            event.sealed_at,
            event.account_sealed_at,
            last,
        )

    @_enter.register
    def _(self, event: Funded) -> None:
        self.pots[event.split_id].put(FunderId(event.split_id, event.giver), event.arrived)

    @_enter.register
    def _(self, event: Registered) -> None:
        key = StakeKey(event.split_id, event.offset, event.account)
        stakes = self.pots[event.split_id].stakes
        self.findings.expect(Law.SHARES, key not in stakes, "{} registered twice", key)
        stakes[key] = StakeBook(event.role, event.share)

    @_enter.register
    def _(self, event: Claimed) -> None:
        key = StakeKey(event.split_id, event.offset, event.account)
        pot = self.pots[event.split_id]
        self.findings.expect(Law.SHARES, key in pot.stakes, "{} claimed without having proven a share", key)
        stake = pot.stakes.setdefault(key, StakeBook(0, 0))
        stake.claimed = stake.claimed + event.amount
        self._check_claim(key, pot, stake)
        pot.take(key, event.amount)

    def _check_draw(self, event: Settled, account: AccountId, book: AccountBook) -> None:
        tariff = self.tariffs.get(event.tariff_id)
        if tariff is None:
            self.findings.expect(
                Law.DRAWS, not event.drawn, "{} was drawn under a tariff that nothing named", account
            )
            return
        price = tariff.price_down(event.usage)
        due = min(price.minus_or_zero(book.settled), book.balance)
        self.findings.expect(
            Law.DRAWS,
            event.drawn == due,
            "{} was drawn {}; its usage costs {}, {} was settled and {} was there, so {} was due",
            account,
            event.drawn,
            price,
            book.settled,
            book.balance,
            due,
        )

    def _check_claim(self, key: StakeKey, pot: PotBook, stake: StakeBook) -> None:
        split = self.splits.get(key.split_id)
        if split is None:
            return  # funded and claimed without anybody publishing the split: its total is not known
        entitled = entitled_down(pot.allocated, stake.share, split.total_shares)
        self.findings.expect(
            Law.CLAIMS,
            stake.claimed == entitled,
            "{} has claimed {}; of a pot of {} it is entitled to {}",
            key,
            stake.claimed,
            pot.allocated,
            entitled,
        )

    def _know_split(self, split_id: bytes, split: Split) -> None:
        fits = split.id == split_id
        self.findings.expect(Law.NAMES, fits, "what is called split {} hashes to {}", split_id, split.id)
        if fits:
            self.splits[split_id] = split

    def _know_tariff(self, tariff_id: bytes, tariff: Tariff) -> None:
        fits = tariff.id == tariff_id
        self.findings.expect(Law.NAMES, fits, "what is called tariff {} hashes to {}", tariff_id, tariff.id)
        if fits:
            self.tariffs[tariff_id] = tariff
