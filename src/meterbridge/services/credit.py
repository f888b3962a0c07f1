"""How far a gateway may go on serving a payer: what is secured on chain less what is not yet settled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from meterbridge.domain.addresses import Address
from meterbridge.domain.tariffs import Tariff
from meterbridge.domain.units import AssetAmount
from meterbridge.services.chain_ports import Escrow
from meterbridge.services.ports import UsageLedger
from meterbridge.services.records import AccountKey, LogKey, LogKind, TariffRecord


class Escrows(Protocol):
    """What credit reads of the chain, all after one block."""

    def newest_block(self) -> int:
        """Return the number of the newest block."""

    def escrow(self, tariff_id: bytes, payer: Address, *, block: int | None = None) -> Escrow:
        """Return a payer's account."""

    def secured(self, tariff: Tariff, payer: Address, until: int, *, block: int | None = None) -> AssetAmount:
        """Return what can certainly be drawn until a time (protocol, section 7)."""


@dataclass(frozen=True, slots=True)
class Secured:
    """A payer's escrow as it was after one block.

    Attributes:
        until: the time until which `secured` holds, seconds since 1970.
        settled: all that was ever drawn.
    """

    until: int
    secured: AssetAmount
    settled: AssetAmount


@dataclass(frozen=True, slots=True)
class Credit:
    """The answer that a gateway needs.

    Attributes:
        allowed: whether anything remains.
        remaining: what may still be served for, in base units.
        until: until when what is served now must be settled, seconds since 1970.
        secured: what can certainly be drawn until then.
        unsettled: the price of all usage, sealed or not, that was not drawn yet.
    """

    allowed: bool
    remaining: AssetAmount
    until: int
    secured: AssetAmount
    unsettled: AssetAmount


def usual_margin(wanted: int, tariff: Tariff) -> int:
    """Return how far ahead to reckon, in seconds: as wanted, within nine tenths of the thaw period.

    Beyond the thaw period nothing is secured, and the contract's clock is that of the newest block, which
    is always somewhat behind ours.
    """
    return min(wanted, tariff.thaw_period * 9 // 10)


def read_secured(chain: Escrows, record: TariffRecord, payer: Address, now: int, margin: int) -> Secured:
    """Ask the chain what is secured until `now + margin`, both in seconds.

    A margin beyond the tariff's thaw period secures nothing: by then everything could be withdrawn.
    """
    until = now + margin
    block = chain.newest_block()
    escrow = chain.escrow(record.id, payer, block=block)
    return Secured(until, chain.secured(record.tariff, payer, until, block=block), escrow.settled)


def credit(ledger: UsageLedger, record: TariffRecord, payer: Address, found: Secured) -> Credit:
    """Reckon what remains; the ledger is read after the chain, so usage is never missed, only seen early."""
    account = AccountKey(record.domain, record.id, payer)
    charged = ledger.total(LogKey(account, LogKind.CHARGES))
    usage = charged - ledger.total(LogKey(account, LogKind.CREDITS))
    unsettled = record.tariff.price_down(usage).minus_or_zero(found.settled)
    remaining = found.secured.minus_or_zero(unsettled)
    return Credit(bool(remaining), remaining, found.until, found.secured, unsettled)
