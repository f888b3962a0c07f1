"""Holds ledger, segments and chain against each other, and ends with nothing or with a list.

Two lists: a *difference* is something that cannot be while everything is in order; an *open item* is usage or
money on its way, which an accountant would call in transit: signed and not settled yet, or settled as far as
the payer's balance went.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol

from meterbridge.domain.addresses import Address
from meterbridge.domain.units import AssetAmount, UsageVector
from meterbridge.services.following.ports import FollowedChain, FollowingLedger, NotFollowed
from meterbridge.services.ports import Ledger, Segments
from meterbridge.services.records import TariffRecord
from meterbridge.services.settling.ports import Outbox

Advance = Callable[[str, int], None]
"""Called with the name of the check and how many comparisons were just made."""


class BooksOfALedger(Ledger, FollowingLedger, Outbox, Protocol):
    """Everything that a reconciliation reads of a ledger."""


class ReconciledChain(FollowedChain, Protocol):
    """The followed chain, and what the contract holds of a token."""

    def token_balance(self, token: Address, *, block: int | None = None) -> AssetAmount:
        """Return what the contract holds of a token."""


@dataclass(frozen=True, slots=True)
class Item:
    """One difference or one open item.

    Attributes:
        name: what kind it is; docs/operations.md says of each what to do.
        where: whose: a payer, a log, a pot, a transaction.
        message: what was found, with both values.
        amount: how much money it is about, in base units; None where it is about none.
        usage: how much usage it is about; None where it is about none.
    """

    name: str
    where: str
    message: str
    amount: AssetAmount | None = None
    usage: UsageVector | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """How many comparisons a check made."""

    check: str
    compared: int


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """What a reconciliation found.

    Attributes:
        block: as of whose end the chain was looked at.
        rows: what was compared.
        differences: what cannot be; none where all is in order.
        open_items: what is on its way.
    """

    block: int
    rows: tuple[Row, ...]
    differences: tuple[Item, ...]
    open_items: tuple[Item, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing differs."""
        return not self.differences


@dataclass(slots=True)
class Findings:
    """What the checks add to."""

    advance: Advance
    compared: dict[str, int] = field(default_factory=dict)
    differences: list[Item] = field(default_factory=list)
    open_items: list[Item] = field(default_factory=list)

    def count(self, check: str, compared: int = 1) -> None:
        """Count comparisons."""
        self.compared[check] = self.compared.get(check, 0) + compared
        self.advance(check, compared)

    def differs(self, item: Item) -> None:
        """Add a difference."""
        self.differences.append(item)

    def open(self, item: Item) -> None:
        """Add an open item."""
        self.open_items.append(item)


def reconcile(
    ledger: BooksOfALedger,
    segments: Segments | None,
    chain: ReconciledChain,
    records: Iterable[TariffRecord] | None = None,
    *,
    on_progress: Advance | None = None,
) -> Reconciliation:
    """Reconcile the tariffs of one contract; bring the ledger up to date with `follow` first.

    Args:
        ledger: the ledger, which has followed the contract.
        segments: its segments; None leaves them out, which takes much less time.
        chain: the contract; asked for its views as of the block up to which it was followed.
        records: the tariffs; None takes all of the ledger that are on this contract.
        on_progress: told what is being compared.

    Raises:
        NotFollowed: when the contract was never followed.
    """
    from meterbridge.services.following import reconcile_chain, reconcile_statements, reconcile_usage

    domain = chain.domain
    cursor = ledger.cursor(domain)
    if cursor is None:
        raise NotFollowed(f"the ledger has not followed {domain.verifying_contract} yet; follow it first")
    wanted = [r for r in (ledger.tariffs() if records is None else records) if r.domain == domain]
    findings = Findings(on_progress or (lambda _check, _compared: None))
    for record in wanted:
        reconcile_usage.check(ledger, segments, record, findings)
    reconcile_chain.check(ledger, chain, wanted, cursor.block.number, findings)
    for record in wanted:
        reconcile_statements.check(ledger, record, cursor.block.number, findings)
    rows = tuple(Row(check, compared) for check, compared in findings.compared.items())
    return Reconciliation(cursor.block.number, rows, tuple(findings.differences), tuple(findings.open_items))


def apart(one: AssetAmount, other: AssetAmount) -> AssetAmount:
    """Return how far two amounts are apart."""
    return max(one, other) - min(one, other)


def shown(digest: bytes) -> str:
    """Return the first digits of an id."""
    return f"0x{digest.hex()[:8]}…"
