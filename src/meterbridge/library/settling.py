"""Submitting what a ledger has signed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from meterbridge.adapters.chain import SplitterClient
    from meterbridge.domain.addresses import Address
    from meterbridge.domain.statements import SignedStatement
    from meterbridge.domain.tariffs import Tariff
    from meterbridge.services.chain_ports import Escrow
    from meterbridge.services.ports import Ledger
    from meterbridge.services.records import TariffRecord
    from meterbridge.services.settlement import Settlement


def settle_open(client: SplitterClient, ledger: Ledger, record: TariffRecord) -> list[Settlement]:
    """Submit the statements of a tariff that may still draw something, oldest first."""
    from meterbridge.services.settlement import submit

    return [
        submit(client, ledger, record.tariff, stored.signed)
        for stored in ledger.statements(record.id)
        if may_draw(client, record.tariff, stored.signed)
    ]


def may_draw(client: SplitterClient, tariff: Tariff, signed: SignedStatement) -> bool:
    """Tell whether a statement would change anything: a newer time, or a balance for what is still due."""
    lines = signed.statement.lines
    payers: Sequence[Address] = [line.payer for line in lines]
    escrows: Sequence[Escrow] = client.escrows(tariff.id, payers)
    return any(
        escrow.sealed_at < signed.statement.sealed_at
        or bool(
            escrow.sealed_at == signed.statement.sealed_at
            and escrow.balance
            and tariff.price_down(line.usage) > escrow.settled
        )
        for line, escrow in zip(lines, escrows, strict=True)
    )
