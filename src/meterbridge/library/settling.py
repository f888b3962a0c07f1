"""Settling what a ledger has signed, through its outbox: never lost, never twice, whatever the chain does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from meterbridge.services.chain_errors import ChainError

if TYPE_CHECKING:
    from meterbridge.adapters.ledger import SqlLedger
    from meterbridge.domain.statements import Domain
    from meterbridge.library.settlers import SettleConfig
    from meterbridge.services.settlement import Settlement
    from meterbridge.services.settling.context import Moved
    from meterbridge.services.settling.ports import Account
    from meterbridge.services.settling.records import Delivery
    from meterbridge.services.settling.settler import Settler


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
    report = settler.drain(timeout=timeout)
    settled = [one for one in (_outcome(settler, delivery) for delivery in finals) if one is not None]
    trouble = [*dict.fromkeys(report.refused.values()), *report.errors]
    if report.moving:
        trouble.append(f"{report.moving} statements are still under way; the next call goes on with them")
    if trouble:
        raise NotSettled("; ".join(trouble), settled)
    return settled


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
