"""One pass over the outbox, which any number of processes may make at once.

A pass takes what is due under a lease, moves each delivery as far as it goes, and lets go of it. A process
that dies leaves its deliveries in a named state with a lease that ends; whoever takes them next goes on.
"""

from __future__ import annotations

import os
import secrets
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from meterbridge.domain.errors import MeterbridgeError
from meterbridge.services.settling.confirming import check_owing, confirm
from meterbridge.services.settling.context import Context, Known, Moved, logger
from meterbridge.services.settling.policy import Policy
from meterbridge.services.settling.ports import Account, DeliveryChain, LeaseLost, Outbox
from meterbridge.services.settling.preparing import prepare
from meterbridge.services.settling.records import MOVING, OPEN, Delivery, DeliveryState
from meterbridge.services.settling.sending import follow, send

_BATCH: Final = 64
_MOVES_MAX: Final = 12
"""Transitions of one delivery in a pass: nodes that contradict each other must not hold up the others."""

_HANDLERS: Final[Mapping[DeliveryState, Callable[[Context, Delivery], Delivery | None]]] = {
    DeliveryState.WAITING: prepare,
    DeliveryState.READY: prepare,
    DeliveryState.SIGNED: send,
    DeliveryState.SENT: follow,
    DeliveryState.MINED: confirm,
    DeliveryState.FINAL: check_owing,
}


@dataclass(frozen=True, slots=True)
class StepReport:
    """What one pass did.

    Attributes:
        enrolled: statements that got a delivery.
        moved: the transitions, in order.
        errors: what went wrong with the chain or a key; the deliveries concerned are tried again.
        refused: what the contract refuses, by the statement's digest; it may be for now only.
        counts: how many deliveries are in each state that occurs, afterwards.
    """

    enrolled: int
    moved: tuple[Moved, ...]
    errors: tuple[str, ...]
    refused: Mapping[bytes, str]
    counts: Mapping[DeliveryState, int]

    @property
    def moving(self) -> int:
        """How many deliveries go on by themselves: they are ready, or under way."""
        return sum(self.counts.get(state, 0) for state in MOVING)


class Settler:
    """Delivers the statements of one contract from one account.

    Any number may work on the same ledger, in one process or several, with the same account or others.
    """

    def __init__(
        self,
        chain: DeliveryChain,
        ledger: Outbox,
        sender: Account,
        policy: Policy | None = None,
        clock: Callable[[], float] = time.time,
        *,
        on_move: Callable[[Moved], None] | None = None,
    ) -> None:
        """Keep what it works with; nothing is asked yet.

        Args:
            chain: the contract.
            ledger: keeps the outbox.
            sender: pays the gas.
            policy: when to send, for how much, and what is final.
            clock: seconds since 1970.
            on_move: is told each transition after it is stored.
        """
        self.chain: Final = chain
        self.ledger: Final = ledger
        self.sender: Final = sender
        self.policy: Final = policy or Policy()
        self._clock: Final = clock
        self._on_move: Final = on_move
        self._known: Final = Known()
        self._holder: Final = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(8)}"

    def step(self, *, hurry: bool = False) -> StepReport:
        """Take what is due, and move each delivery as far as it goes now.

        Args:
            hurry: look also at what was to be looked at later.
        """
        context = self._context()
        enrolled = self.ledger.enroll(self.chain.domain, context.now())
        errors: list[str] = []
        try:
            # An endpoint that is behind is found out before anything is asked of it.
            context.newest = self.chain.head().number
            self._advance_all(context, errors, hurry)
        except MeterbridgeError as error:
            errors.append(str(error))
        counts = self.ledger.counts(self.chain.domain)
        return StepReport(enrolled, tuple(context.moved), tuple(errors), context.refused, counts)

    def drain(
        self,
        *,
        timeout: float | None = None,
        on_step: Callable[[StepReport], None] | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> StepReport:
        """Make passes until nothing is under way any more, or for `timeout` seconds.

        What waits by policy stays; it is looked at once.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        report = self.step(hurry=True)
        while True:
            if on_step is not None:
                on_step(report)
            out_of_time = deadline is not None and time.monotonic() >= deadline
            if out_of_time or not (report.moving or report.errors):
                return report
            if not report.moved:
                sleep(self.policy.poll_seconds)
            report = self.step()

    def _advance_all(self, context: Context, errors: list[str], hurry: bool) -> None:
        """Move what is due: some of it, or with `hurry` all there is, a batch after the other."""
        seen: set[int] = set()
        while True:
            taken_at = context.now()
            taken = self.ledger.take(self.chain.domain, context.lease(), _BATCH, hurry=hurry, passed=seen)
            for delivery in taken:
                trouble = self._advance(context, delivery, taken_at)
                if trouble and trouble not in errors:
                    errors.append(trouble)
            if not hurry or len(taken) < _BATCH:
                return
            seen.update(each.id for each in taken)

    def _context(self) -> Context:
        return Context(
            chain=self.chain,
            outbox=self.ledger,
            account=self.sender,
            policy=self.policy,
            clock=self._clock,
            holder=self._holder,
            on_move=self._on_move,
            known=self._known,
        )

    def _advance(self, context: Context, delivery: Delivery, taken_at: int) -> str:
        """Move one delivery until it rests; return what went wrong, if anything did."""
        current: Delivery | None = delivery
        last = delivery
        try:
            if context.now() - taken_at > self.policy.lease_seconds // 3:
                self.ledger.renew(delivery, context.lease())
            for _ in range(_MOVES_MAX):
                current = _HANDLERS[last.state](context, last)
                if current is None:
                    return ""
                last = current
                if last.state not in OPEN:
                    return ""  # the transition to the end has let go of it
            context.hold(last, last.reason, seconds=self.policy.poll_seconds)
        except LeaseLost:
            pass  # another process has it, and is at least as far
        except MeterbridgeError as error:
            logger.warning("0x%s is held up: %s", delivery.digest.hex(), error)
            context.hold(last, str(error), seconds=self.policy.poll_seconds, failed=True)
            return str(error)
        return ""
