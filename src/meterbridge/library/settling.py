"""Settling what a ledger has signed, through its outbox: never lost, never twice, whatever the chain does."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from meterbridge.services.chain_errors import ChainError, SealedInFuture

if TYPE_CHECKING:
    from meterbridge.adapters.ledger import SqlLedger
    from meterbridge.domain.statements import Domain
    from meterbridge.library.settlers import SettleConfig
    from meterbridge.services.settlement import Settlement
    from meterbridge.services.settling.context import Moved
    from meterbridge.services.settling.ports import Account
    from meterbridge.services.settling.records import Delivery
    from meterbridge.services.settling.settler import Settler, StepReport

_AHEAD: Final = SealedInFuture.message.partition("{")[0]
"""How the reason of a statement begins that is ahead of the chain's clock, as any fresh one may be."""


class NotSettled(ChainError):
    """Some statements are refused, or not final in time; what is under way goes on with the next call.

    Attributes:
        settled: what has become final meanwhile.
    """

    def __init__(self, message: str, settled: Sequence[Settlement]) -> None:
        """Keep what was settled."""
        super().__init__(message, message)
        self.settled = tuple(settled)


def settle_open(
    config: SettleConfig, ledger: SqlLedger, domain: Domain, sender: Account, *, timeout: float
) -> list[Settlement]:
    """Deliver the statements of a ledger on one contract until nothing is under way any more.

    Args:
        config: the endpoints, and what is decided otherwise than the chain's profile does.
        ledger: keeps statements and outbox.
        domain: the contract.
        sender: pays the gas.
        timeout: seconds to wait for what is under way.

    Raises:
        NotSettled: when a statement is refused, or not final in time.
    """
    from meterbridge.library.settlers import make_settlers
    from meterbridge.services.settling.records import DeliveryState

    finals: list[Delivery] = []

    def note(moved: Moved) -> None:
        if moved.delivery.state is DeliveryState.FINAL:
            finals.append(moved.delivery)

    (settler,) = make_settlers(config, ledger, [domain], sender, note)
    report = _drain(settler, time.monotonic() + timeout)
    settled = [one for one in (_outcome(settler, delivery) for delivery in finals) if one is not None]
    trouble = [*dict.fromkeys(report.refused.values()), *report.errors]
    if report.moving:
        trouble.append(f"{report.moving} statements are still under way; the next call goes on with them")
    if trouble:
        raise NotSettled("; ".join(trouble), settled)
    return settled


def _drain(settler: Settler, deadline: float) -> StepReport:
    """Drain, and again while the chain's clock is about to reach a statement that was signed just now."""
    from meterbridge.services.settling.records import DeliveryState

    while True:
        report = settler.drain(timeout=max(0.0, deadline - time.monotonic()))
        waiting = settler.ledger.deliveries(settler.chain.domain, (DeliveryState.WAITING,))
        ahead = any(delivery.reason.startswith(_AHEAD) for delivery in waiting)
        if not ahead or report.refused or time.monotonic() >= deadline:
            return report
        time.sleep(settler.policy.poll_seconds)


def _outcome(settler: Settler, delivery: Delivery) -> Settlement | None:
    """Return what a final statement drew; None where a later one covered it."""
    from meterbridge.services.settling.outcome import outcome

    if delivery.mined is None:
        return None
    mined = settler.chain.mined(delivery.mined.tx_hash, delivery.tariff_id)
    if mined is None:
        return None
    signed, tariff = settler.ledger.signed_statement(delivery), settler.ledger.tariff_of(delivery)
    return outcome(settler.chain, tariff, signed, mined)
