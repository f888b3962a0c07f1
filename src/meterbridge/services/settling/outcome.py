"""What a final delivery did, line by line, for people and for whoever asks."""

from __future__ import annotations

from meterbridge.domain.addresses import Address
from meterbridge.domain.statements import Line, SignedStatement
from meterbridge.domain.tariffs import Tariff
from meterbridge.domain.units import AssetAmount
from meterbridge.services.chain_ports import Escrow
from meterbridge.services.settlement import LineOutcome, Settlement
from meterbridge.services.settling.parcels import LineResult
from meterbridge.services.settling.ports import DeliveryChain, MinedTransaction


def outcome(
    chain: DeliveryChain, tariff: Tariff, signed: SignedStatement, mined: MinedTransaction
) -> Settlement:
    """Return what a mined statement drew, and what its payers still owe after that block.

    Raises:
        ChainError: when the chain cannot be asked.
    """
    lines = signed.statement.lines
    escrows = chain.escrows(tariff.id, [line.payer for line in lines], block=mined.block)
    told: dict[Address, LineResult] = {result.payer: result for result in mined.lines}
    outcomes = tuple(
        _line(tariff, line, escrow, told[line.payer])
        for line, escrow in zip(lines, escrows, strict=True)
        if line.payer in told
    )
    return Settlement(mined.tx_hash, mined.block, mined.gas_used, outcomes)


def _line(tariff: Tariff, line: Line, escrow: Escrow, told: LineResult) -> LineOutcome:
    price, nothing = tariff.price_down(line.usage), AssetAmount.zero()
    if told.skipped_for is not None:
        return LineOutcome(line.payer, price, nothing, nothing, told.skipped_for)
    return LineOutcome(line.payer, price, told.drawn, price.minus_or_zero(escrow.settled), None)
