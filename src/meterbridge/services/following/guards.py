"""Guards: what a provider's on-call engineer should know before it costs money.

Each guard looks at the ledger, which holds what was metered, signed, sent and followed; none asks a node.
What a guard finds is the same alert as long as it is about the same subject.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, Protocol

from meterbridge.domain.addresses import Address
from meterbridge.domain.errors import OutOfBounds
from meterbridge.domain.statements import Domain
from meterbridge.domain.units import AssetAmount, UsageVector
from meterbridge.services.following.alerts import Alert, Severity
from meterbridge.services.following.ports import FollowingLedger
from meterbridge.services.following.states import EscrowState
from meterbridge.services.ports import Ledger
from meterbridge.services.records import SignedHead, TariffRecord
from meterbridge.services.settling.ports import Outbox
from meterbridge.services.settling.records import MOVING, OPEN, Delivery, DeliveryState

ZERO: Final = AssetAmount.zero()
THAW, DRY, SIGNER, QUEUE, UNSETTLED, FOLLOWING = "thaw", "dry", "signer", "queue", "unsettled", "following"
_FAILURES: Final = 3
LEDGER_GUARDS: Final = (THAW, DRY, SIGNER, QUEUE, UNSETTLED)


class GuardedLedger(Ledger, FollowingLedger, Outbox, Protocol):
    """What guards read of a ledger beyond its usual ports."""

    def usage_totals(self, tariff_id: bytes) -> Mapping[Address, UsageVector]:
        """Return the usage of each account, charges less credits, sealed or not."""

    def usage_stated_at(self, tariff_id: bytes, at: int) -> Mapping[Address, UsageVector]:
        """Return what the last statement before a time said of each account that had one."""

    def newest_signer(self, tariff_id: bytes) -> Address | None:
        """Return who signed the newest statement; None where there is none."""

    def newest_deliveries(self, tariff_id: bytes) -> tuple[int, int]:
        """Return the times of the newest statement that was taken up, and that was settled; 0 for none."""

    def samples(self, tariff_id: bytes) -> list[tuple[int, AssetAmount]]:
        """Return what was unsettled at each time that is kept, the oldest first."""

    def add_sample(self, tariff_id: bytes, at: int, amount: AssetAmount, keep_since: int) -> None:
        """Keep what was unsettled at a time; forget what is older than `keep_since`."""


@dataclass(frozen=True, slots=True)
class Limits:
    """When a guard speaks up. All times are in seconds.

    Attributes:
        thaw_margin_seconds: a thaw that ends within this, with money still due, is critical; until then the
            settler should have settled (its own margin must not be shorter).
        dry_ahead_seconds: warn when an account lasts no longer than this at the pace of the last such time.
        signer_ahead_seconds: warn when a signer expires within this.
        stalled_seconds: a statement that is worth sending and gets no further for this long is stalled.
        unsettled_most: a sum beyond this is critical, in base units of the tariff's asset; None for no limit.
        growing_seconds: warn when what is unsettled has only grown for this long.
        behind_seconds: a newest followed block older than this is critical.
    """

    thaw_margin_seconds: int = 1_800
    dry_ahead_seconds: int = 86_400
    signer_ahead_seconds: int = 7 * 86_400
    stalled_seconds: int = 900
    unsettled_most: AssetAmount | None = None
    growing_seconds: int = 86_400
    behind_seconds: int = 300

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.type == "int" and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise OutOfBounds(f"{field.name} is {value!r}; it must be a whole number above 0", value)


@dataclass(frozen=True, slots=True)
class Standing:
    """One account as it stands.

    Attributes:
        usage: all of it, charges less credits, sealed or not.
        due: the price of all usage, sealed or not, that was not drawn yet.
    """

    payer: Address
    name: str
    escrow: EscrowState
    usage: UsageVector
    due: AssetAmount

    @property
    def remaining(self) -> AssetAmount:
        """What is left once all that is due is drawn."""
        return self.escrow.balance.minus_or_zero(self.due)


class Guards:
    """Looks at all tariffs of one contract."""

    def __init__(
        self,
        ledger: GuardedLedger,
        domain: Domain,
        limits: Limits,
        clock: Callable[[], int],
        signers: Sequence[Address] = (),
    ) -> None:
        """Keep what it works with.

        Args:
            ledger: which has followed the contract.
            domain: the contract.
            limits: when to speak up.
            clock: seconds since 1970.
            signers: keys that will sign, besides those that have signed last.
        """
        self._ledger: Final = ledger
        self._domain: Final = domain
        self._limits: Final = limits
        self._clock: Final = clock
        self._signers: Final = tuple(signers)

    def check(self) -> list[Alert]:
        """Return all that is wrong now."""
        now = self._clock()
        found: list[Alert] = []
        for record in self._ledger.tariffs():
            if record.domain == self._domain:
                standings = self.standings(record)
                found += self._thaws(record, standings, now)
                found += self._dry(record, standings, now)
                found += self._signer(record, now)
                found += self._queue(record, now)
                found += self._unsettled(record, standings, now)
        found += self._behind(now)
        return found

    def standings(self, record: TariffRecord) -> list[Standing]:
        """Return how each account stands that the ledger meters."""
        escrows = self._ledger.followed_escrows(record.domain, record.id)
        totals = self._ledger.usage_totals(record.id)
        found = []
        for account in self._ledger.accounts(record.id):
            payer = account.key.payer
            escrow = escrows.get(payer, EscrowState())
            due = record.tariff.price_down(totals[payer]).minus_or_zero(escrow.settled)
            found.append(Standing(payer, account.customer or str(payer), escrow, totals[payer], due))
        return found

    def _thaws(self, record: TariffRecord, standings: Sequence[Standing], now: int) -> Iterator[Alert]:
        for one in standings:
            risk = min(one.due, one.escrow.thawing)
            if not risk:
                continue
            left = one.escrow.thaw_end - now
            when = f"in {left} s" if left > 0 else "at any moment"
            severity = Severity.CRITICAL if left <= self._limits.thaw_margin_seconds else Severity.WARNING
            yield Alert(
                THAW,
                _subject(record, one.payer),
                severity,
                f"{one.name} can withdraw {one.escrow.thawing} {when}; {one.due} is due and not settled",
                risk,
            )

    def _dry(self, record: TariffRecord, standings: Sequence[Standing], now: int) -> Iterator[Alert]:
        ahead = self._limits.dry_ahead_seconds
        before = self._ledger.usage_stated_at(record.id, now - ahead)
        for one in standings:
            if one.due and one.due >= one.escrow.balance:
                missing = one.due - one.escrow.balance
                message = f"{one.name} owes {one.due} and has {one.escrow.balance}: it has run dry"
                yield Alert(DRY, _subject(record, one.payer), Severity.CRITICAL, message, missing)
                continue
            then = before.get(one.payer, UsageVector.zero())
            spent = record.tariff.price_down(one.usage).minus_or_zero(record.tariff.price_down(then))
            if spent and one.remaining <= spent:
                message = (
                    f"{one.name} spent {spent} in the last {ahead} s and has {one.remaining} left: "
                    "at this pace it runs dry within the same time"
                )
                yield Alert(DRY, _subject(record, one.payer), Severity.WARNING, message, one.remaining)

    def _signer(self, record: TariffRecord, now: int) -> Iterator[Alert]:
        newest = self._ledger.newest_signer(record.id)
        states = self._ledger.followed_signers(record.domain, record.tariff.provider)
        for signer in dict.fromkeys([*self._signers, *([newest] if newest else [])]):
            until = states[signer].until if signer in states else 0
            if until == 0:
                severity, what = (
                    Severity.CRITICAL,
                    "is revoked, or was never named: nothing it signed settles",
                )
            elif until < now:
                severity, what = (
                    Severity.CRITICAL,
                    f"expired {now - until} s ago: what it signs now is refused",
                )
            elif until - now < self._limits.signer_ahead_seconds:
                severity, what = Severity.WARNING, f"expires in {until - now} s"
            else:
                continue
            subject = f"{signer} for {record.tariff.provider}"
            yield Alert(
                SIGNER, subject, severity, f"signer {signer} of provider {record.tariff.provider} {what}"
            )

    def _queue(self, record: TariffRecord, now: int) -> Iterator[Alert]:
        open_or_failed = self._ledger.deliveries(record.domain, (*OPEN, DeliveryState.FAILED))
        deliveries = [one for one in open_or_failed if one.tariff_id == record.id]
        newest, settled = self._ledger.newest_deliveries(record.id)
        problems = [
            *_stalled(deliveries, now - self._limits.stalled_seconds),
            *_failed(deliveries, settled),
            *self._abandoned(record, newest, now),
        ]
        if problems:
            yield Alert(QUEUE, _tariff(record), Severity.CRITICAL, "; ".join(problems))

    def _abandoned(self, record: TariffRecord, newest: int, now: int) -> Iterator[str]:
        """Statements that nobody has taken up: the settler does not run, or does not see them."""
        escrows = self._ledger.followed_escrows(record.domain, record.id)
        waiting = [
            signed.sealed_at
            for account, signed in self._ledger.last_signed(record.id).items()
            if self._is_left(signed, escrows.get(account.payer, EscrowState()), newest, now)
        ]
        if waiting:
            yield (
                f"{len(waiting)} lines signed since {now - min(waiting)} s are neither settled nor taken up: "
                "is the settler running?"
            )

    def _is_left(self, signed: SignedHead, escrow: EscrowState, newest: int, now: int) -> bool:
        old = signed.sealed_at < now - self._limits.stalled_seconds
        return signed.head is not None and old and signed.sealed_at > max(newest, escrow.sealed_at)

    def _unsettled(self, record: TariffRecord, standings: Sequence[Standing], now: int) -> Iterator[Alert]:
        unsettled = AssetAmount.total(one.due for one in standings)
        window = self._limits.growing_seconds
        samples = self._ledger.samples(record.id)
        if not samples or now - samples[-1][0] >= max(1, window // 100):
            self._ledger.add_sample(record.id, now, unsettled, now - 2 * window)
        most = self._limits.unsettled_most
        if most is not None and unsettled > most:
            message = f"{unsettled} is unsettled; the limit is {most}"
            yield Alert(UNSETTLED, _tariff(record), Severity.CRITICAL, message, unsettled)
            return
        before = [amount for at, amount in samples if at <= now - window][-1:]
        run = [*before, *(amount for at, amount in samples if at > now - window), unsettled]
        if before and unsettled > before[0] and all(a <= b for a, b in pairwise(run)):
            message = f"{unsettled} is unsettled; it was {before[0]} {window} s ago and has only grown since"
            yield Alert(UNSETTLED, _tariff(record), Severity.WARNING, message, unsettled)

    def _behind(self, now: int) -> Iterator[Alert]:
        cursor = self._ledger.cursor(self._domain)
        if cursor is not None and now - cursor.timestamp > self._limits.behind_seconds:
            age = now - cursor.timestamp
            message = f"the newest block that was followed, {cursor.block.number}, is {age} s old"
            yield Alert(FOLLOWING, "behind", Severity.CRITICAL, message)


def _stalled(deliveries: Sequence[Delivery], since: int) -> Iterator[str]:
    """Statements that are worth sending or under way, and get no further; a mined one only waits its time."""
    for one in deliveries:
        moving = one.state in MOVING and one.state is not DeliveryState.MINED
        refused = one.state is DeliveryState.WAITING and one.failures >= _FAILURES
        if (moving or refused) and one.since < since:
            reason = one.reason or "no reason is known"
            yield f"the statement of {one.sealed_at} is {one.state.value} since {one.since}: {reason}"


def _failed(deliveries: Sequence[Delivery], settled: int) -> Iterator[str]:
    """Statements that the contract refuses for good, unless a later one was settled instead."""
    for one in deliveries:
        if one.state is DeliveryState.FAILED and one.sealed_at > settled:
            yield f"the statement of {one.sealed_at} can never be settled: {one.reason}"


def _tariff(record: TariffRecord) -> str:
    return f"0x{record.id.hex()}"


def _subject(record: TariffRecord, payer: Address) -> str:
    return f"{payer} under 0x{record.id.hex()}"
