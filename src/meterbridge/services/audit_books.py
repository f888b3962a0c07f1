"""What an audit keeps book of: accounts, pots, stakes, and what was found under which law."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from enum import StrEnum

from meterbridge.domain.addresses import Address
from meterbridge.domain.units import AssetAmount
from meterbridge.services.chain_ports import StakeKey

ZERO = AssetAmount.zero()


class Law(StrEnum):
    """What is checked; the numbers are those of section 9."""

    COVERED = "1: the contract's tokens cover all balances and unclaimed pots"
    ARRIVED = "2: what arrived in an account is its balance, what was drawn and what was withdrawn"
    DRAWS = "2: each draw is what its usage costs beyond earlier draws, and no more than the balance"
    ORDER = "2: what was settled never falls, and seal times never go back"
    CLAIMS = "3: a party claims what it is entitled to, and all together at most the pot"
    DUST = "3: with every party paid, less than one base unit a party stays in the pot"
    MOVES = "4: tokens leave only to payers that withdraw and to parties that claim"
    SHARES = "5: a party's share is the one it proved, stays as it is, and overlaps no other"
    CODE = "6: the code is that of this release: no owner, upgrade, pause or fee"
    NAMES = "splits and tariffs hash to the ids under which the contract keeps them"


@dataclass(frozen=True, slots=True, order=True)
class AccountId:
    """A payer under a tariff."""

    tariff_id: bytes
    payer: Address


@dataclass(frozen=True, slots=True, order=True)
class FunderId:
    """Somebody who gave to a pot directly."""

    split_id: bytes
    giver: Address


SourceId = AccountId | FunderId
"""Where money in a pot came from."""


@dataclass(slots=True)
class AccountBook:
    """One account as its events tell it."""

    arrived: AssetAmount = ZERO
    withdrawn: AssetAmount = ZERO
    settled: AssetAmount = ZERO
    thawing: AssetAmount = ZERO
    sealed_at: int = 0

    @property
    def balance(self) -> AssetAmount:
        """What is left in escrow; zero where more went out than came in, which is found elsewhere."""
        return self.arrived.minus_or_zero(self.settled + self.withdrawn)


@dataclass(slots=True)
class StakeBook:
    """One registered party."""

    role: int
    share: int
    claimed: AssetAmount = ZERO


@dataclass(slots=True)
class PotBook:
    """One split's pot.

    Attributes:
        allocated: all that ever came in.
        given: the same, by where it came from.
        claimed: all that ever went out.
        waiting: what is still there, by where it came from.
        paid: what went out, by where it came from and who claimed it.
    """

    allocated: AssetAmount = ZERO
    given: dict[SourceId, AssetAmount] = field(default_factory=dict)
    claimed: AssetAmount = ZERO
    waiting: dict[SourceId, AssetAmount] = field(default_factory=dict)
    paid: dict[tuple[SourceId, StakeKey], AssetAmount] = field(default_factory=dict)
    stakes: dict[StakeKey, StakeBook] = field(default_factory=dict)

    def put(self, source: SourceId, amount: AssetAmount) -> None:
        """Enter what came in."""
        self.allocated = self.allocated + amount
        self.given[source] = self.given.get(source, ZERO) + amount
        self.waiting[source] = self.waiting.get(source, ZERO) + amount

    def take(self, key: StakeKey, amount: AssetAmount) -> None:
        """Enter a claim: it takes from what is waiting in proportion to where that came from.

        Cumulative floors make the parts whole numbers that add up to the claim exactly.
        """
        total = AssetAmount.total(self.waiting.values()).base_units
        wanted = min(amount.base_units, total)
        seen = taken = 0
        for source, there in list(self.waiting.items()):
            seen += there.base_units
            part = AssetAmount(seen * wanted // total - taken) if total else ZERO
            taken += part.base_units
            self.waiting[source] = there - part
            self.paid[source, key] = self.paid.get((source, key), ZERO) + part
        self.claimed = self.claimed + amount


class Findings:
    """What was checked, and what did not fit, by law."""

    def __init__(self) -> None:
        """Begin with nothing checked."""
        self._checked: defaultdict[Law, int] = defaultdict(int)
        self._found: defaultdict[Law, list[str]] = defaultdict(list)

    def expect(self, law: Law, holds: bool, otherwise: str, *values: object) -> None:
        """Count a check; where it fails, keep a sentence with the values in its braces.

        The sentence is only written then: an audit makes several checks for each of many events.
        """
        self._checked[law] += 1
        if not holds:
            self._found[law].append(otherwise.format(*map(_shown, values)))

    def checked(self, law: Law) -> int:
        """Return how often a law was looked at."""
        return self._checked[law]

    def found(self, law: Law) -> tuple[str, ...]:
        """Return what did not fit."""
        return tuple(self._found[law])


def _shown(value: object) -> str:
    match value:
        case bytes():
            return f"0x{value[:4].hex()}…"  # enough of an id to find it
        case AccountId():
            return f"the account of {value.payer} under tariff {_shown(value.tariff_id)}"
        case StakeKey():
            return f"{value.account} at offset {value.offset} of split {_shown(value.split_id)}"
    return str(value)
