"""What the transitions of a delivery work with, and how they end: moved on, or held up with a reason."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Final

from meterbridge.domain.tariffs import Tariff
from meterbridge.services.settling.parcels import Parcel
from meterbridge.services.settling.policy import Policy
from meterbridge.services.settling.ports import Account, DeliveryChain, MinedTransaction, Outbox, Trial
from meterbridge.services.settling.records import (
    Attempt,
    AttemptState,
    Change,
    Delivery,
    DeliveryState,
    Lease,
)

logger: Final = logging.getLogger("meterbridge.settling")
_REASON_MAX: Final = 500
_KEPT_MAX: Final = 32
"""Statements kept in memory, with calldata at most a third of a megabyte each."""


@dataclass(frozen=True, slots=True)
class Moved:
    """One transition: `before` is the state it left."""

    before: DeliveryState
    delivery: Delivery


@dataclass(slots=True)
class Known:
    """What a process has read before: what was signed never changes."""

    _parcels: OrderedDict[bytes, Parcel] = field(default_factory=OrderedDict)
    _tariffs: dict[bytes, Tariff] = field(default_factory=dict)

    def parcel(self, delivery: Delivery, outbox: Outbox) -> Parcel:
        """Return a delivery's statement; some of those that were asked for last are kept."""
        digest = delivery.digest
        if digest not in self._parcels:
            self._parcels[digest] = outbox.parcel(delivery)
            while len(self._parcels) > _KEPT_MAX:
                self._parcels.popitem(last=False)
        self._parcels.move_to_end(digest)
        return self._parcels[digest]

    def tariff(self, delivery: Delivery, outbox: Outbox) -> Tariff:
        """Return a delivery's tariff."""
        if delivery.tariff_id not in self._tariffs:
            self._tariffs[delivery.tariff_id] = outbox.tariff_of(delivery)
        return self._tariffs[delivery.tariff_id]


@dataclass(slots=True)
class Context:
    """One process's means, for one pass.

    Attributes:
        moved: the transitions of this pass.
        refused: what the contract refuses, by the statement's digest.
        receipt: the one that was just read, for the transition that comes next in the same pass.
        known: statements and tariffs that were read before, in this pass or an earlier one.
        newest: the newest block when the pass began.
    """

    chain: DeliveryChain
    outbox: Outbox
    account: Account
    policy: Policy
    clock: Callable[[], float]
    holder: str
    moved: list[Moved] = field(default_factory=list)
    refused: dict[bytes, str] = field(default_factory=dict)
    on_move: Callable[[Moved], None] | None = None
    receipt: MinedTransaction | None = None
    known: Known = field(default_factory=Known)
    newest: int = 0

    def now(self) -> int:
        """Seconds since 1970."""
        return int(self.clock())

    def lease(self) -> Lease:
        """Return the lease to take, renew or move with, from now on."""
        now = self.now()
        return Lease(self.holder, now, now + self.policy.lease_seconds)

    def parcel(self, delivery: Delivery) -> Parcel:
        """Return a delivery's statement."""
        return self.known.parcel(delivery, self.outbox)

    def tariff(self, delivery: Delivery) -> Tariff:
        """Return a delivery's tariff."""
        return self.known.tariff(delivery, self.outbox)

    def calldata(self, delivery: Delivery) -> bytes:
        """Return the calldata of settling a delivery."""
        return self.chain.settle_data(self.tariff(delivery), self.parcel(delivery))

    def try_settle(self, delivery: Delivery) -> Trial:
        """Run a delivery on the pending block without sending it; see `DeliveryChain`."""
        return self.chain.try_settle(self.account.address, self.tariff(delivery), self.parcel(delivery))

    def move(
        self, before: Delivery, state: DeliveryState, change: Change | None = None, **to: Any
    ) -> Delivery:
        """Make one transition; what is not named in `to` stays, but for the reason and the failures."""
        fields = {"reason": "", "failures": 0, **to}
        after = replace(before, state=state, **fields)
        made = replace(change, after=after) if change is not None else Change(after)
        stored = self.outbox.change(self.lease(), before, made)
        step = Moved(before.state, stored)
        self.moved.append(step)
        names = {
            "statement": f"0x{stored.digest.hex()}",
            "from": before.state.value,
            "to": stored.state.value,
        }
        logger.info("%(statement)s %(from)s -> %(to)s", names, extra={"fields": names})
        if self.on_move is not None:
            self.on_move(step)
        return stored

    def hold(self, delivery: Delivery, reason: str, *, seconds: int, failed: bool = False) -> Delivery | None:
        """Leave a delivery where it is for some seconds, say why, and let go of it.

        Returns nothing to go on with.
        """
        failures = delivery.failures + 1 if failed else 0
        pause = max(seconds, self.policy.pause(failures)) if failed else seconds
        held = replace(delivery, reason=reason[:_REASON_MAX], failures=failures, next_at=self.now() + pause)
        self.outbox.release(self.lease(), held)
        return None

    def live_attempts(self, delivery: Delivery) -> list[Attempt]:
        """Return the transactions that may still be mined for a delivery's nonce, oldest first."""
        return [
            attempt
            for attempt in self.outbox.attempts(delivery)
            if attempt.nonce == delivery.nonce
            and attempt.sender == delivery.sender
            and attempt.state in (AttemptState.SIGNED, AttemptState.SENT)
        ]
