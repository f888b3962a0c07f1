"""What the transitions of a delivery work with, and how they end: moved on, or held up with a reason."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Final

from meterbridge.domain.statements import SignedStatement
from meterbridge.domain.tariffs import Tariff
from meterbridge.services.settling.policy import Policy
from meterbridge.services.settling.ports import Account, DeliveryChain, MinedTransaction, Outbox
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


@dataclass(frozen=True, slots=True)
class Moved:
    """One transition: `before` is the state it left."""

    before: DeliveryState
    delivery: Delivery


@dataclass(slots=True)
class Context:
    """One process's means, for one pass.

    Attributes:
        moved: the transitions of this pass.
        refused: what the contract refuses, by the statement's digest.
        receipt: the one that was just read, for the transition that comes next in the same pass.
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
    _statement: tuple[bytes, SignedStatement] | None = None
    _tariffs: dict[bytes, Tariff] = field(default_factory=dict)

    def now(self) -> int:
        """Seconds since 1970."""
        return int(self.clock())

    def lease(self) -> Lease:
        """Return the lease to take, renew or move with, from now on."""
        now = self.now()
        return Lease(self.holder, now, now + self.policy.lease_seconds)

    def statement(self, delivery: Delivery) -> SignedStatement:
        """Return a delivery's statement; the last one is remembered."""
        if self._statement is None or self._statement[0] != delivery.digest:
            self._statement = (delivery.digest, self.outbox.signed_statement(delivery))
        return self._statement[1]

    def tariff(self, delivery: Delivery) -> Tariff:
        """Return a delivery's tariff."""
        if delivery.tariff_id not in self._tariffs:
            self._tariffs[delivery.tariff_id] = self.outbox.tariff_of(delivery)
        return self._tariffs[delivery.tariff_id]

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
