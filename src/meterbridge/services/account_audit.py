"""What happened to one payer's money, from the contract's events alone (protocol, sections 7 and 9).

The events are replayed by the rules, and the result is held against the contract's own view: nothing of it
needs anybody's server.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from meterbridge.domain.tariffs import Tariff
from meterbridge.domain.units import AssetAmount
from meterbridge.services.chain_events import ChainEvent, Deposited, Settled, Withdrawn
from meterbridge.services.chain_ports import Escrow

_NOTHING: Final = AssetAmount(0)


@dataclass(frozen=True, slots=True)
class AccountAudit:
    """Where a payer's money went.

    Attributes:
        block: the block at whose end everything was looked at.
        arrived: all that was deposited, by whomever.
        drawn: all that statements drew; `draws` are the single ones.
        withdrawn: all that went back to the payer.
        balance: what is still there.
        findings: what breaks a rule, one sentence each; none where everything holds.
    """

    block: int
    arrived: AssetAmount
    drawn: AssetAmount
    withdrawn: AssetAmount
    balance: AssetAmount
    draws: tuple[Settled, ...]
    findings: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether every rule holds and every base unit is accounted for."""
        return not self.findings


class _Books:
    def __init__(self, tariff: Tariff) -> None:
        self.tariff = tariff
        self.arrived = self.drawn = self.withdrawn = _NOTHING
        self.sealed_at = 0
        self.draws: list[Settled] = []
        self.findings: list[str] = []

    @property
    def balance(self) -> int:
        return self.arrived.base_units - self.drawn.base_units - self.withdrawn.base_units

    def take(self, event: ChainEvent) -> None:
        if isinstance(event, Deposited):
            self.arrived += event.arrived
        elif isinstance(event, Withdrawn):
            self._require(event.amount.base_units <= self.balance, event, "withdraws more than there was")
            self.withdrawn += event.amount
        elif isinstance(event, Settled):
            self._settle(event)

    def _settle(self, event: Settled) -> None:
        due = self.tariff.price_down(event.usage).minus_or_zero(self.drawn).base_units
        allowed = min(due, max(0, self.balance))
        drawn = event.drawn.base_units
        self._require(drawn == allowed, event, f"draws {drawn}; by tariff and balance it is {allowed}")
        self._require(event.sealed_at >= self.sealed_at, event, "settles an older statement than before")
        self.sealed_at = event.sealed_at
        self.drawn += event.drawn
        self.draws.append(event)

    def _require(self, holds: bool, event: ChainEvent, otherwise: str) -> None:
        if not holds:
            self.findings.append(f"block {event.at.block}, log {event.at.log_index}: {otherwise}")

    def compare(self, escrow: Escrow) -> None:
        stated: Sequence[tuple[str, int, int]] = (
            ("balance", escrow.balance.base_units, self.balance),
            ("settled", escrow.settled.base_units, self.drawn.base_units),
            ("time of the newest statement", escrow.sealed_at, self.sealed_at),
        )
        for name, found, expected in stated:
            if found != expected:
                self.findings.append(f"the contract's {name} is {found}; its events give {expected}")


def audit_account(events: Sequence[ChainEvent], tariff: Tariff, escrow: Escrow, block: int) -> AccountAudit:
    """Replay what happened to one account and compare it with what the contract says of it. Pure.

    Args:
        events: all of the account's, in order.
        tariff: under which it is.
        escrow: the contract's view at the end of `block`.
        block: the last block of which the events are known.
    """
    books = _Books(tariff)
    for event in events:
        books.take(event)
    books.compare(escrow)
    return AccountAudit(
        block=block,
        arrived=books.arrived,
        drawn=books.drawn,
        withdrawn=books.withdrawn,
        balance=escrow.balance,
        draws=tuple(books.draws),
        findings=tuple(books.findings),
    )
