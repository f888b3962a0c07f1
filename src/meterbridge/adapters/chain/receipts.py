"""Receipts of settling, read from JSON: what each line drew, or why it was skipped."""

from __future__ import annotations

from typing import Any, Final

from meterbridge.adapters.chain.abi import load_artifact
from meterbridge.domain.addresses import Address
from meterbridge.domain.statements import Domain
from meterbridge.domain.units import AssetAmount
from meterbridge.services.chain_errors import ChainUnavailable
from meterbridge.services.settling.ports import LineResult, MinedTransaction

_TOPICS: Final = {
    event.name: "0x" + topic.hex() for topic, event in load_artifact("SettlementSplitter").abi.events.items()
}
_SETTLED: Final = _TOPICS["Settled"]
_SKIPPED: Final = _TOPICS["Skipped"]
_WORD_DIGITS: Final = 64


def read_receipt(found: Any, tx_hash: bytes, domain: Domain, tariff_id: bytes) -> MinedTransaction | None:
    """Read a receipt; None while the transaction is in no block.

    Raises:
        ChainUnavailable: when it is no receipt, or another transaction's.
    """
    try:
        if bytes.fromhex(found["transactionHash"][2:]) != tx_hash:
            raise ChainUnavailable("the node answers with another transaction's receipt", tx_hash)
        if found.get("blockHash") is None:
            return None
        return MinedTransaction(
            tx_hash=tx_hash,
            block=int(found["blockNumber"], 16),
            block_hash=bytes.fromhex(found["blockHash"][2:]),
            succeeded=int(found["status"], 16) == 1,
            gas_used=int(found["gasUsed"], 16),
            lines=_lines(found["logs"], str(domain.verifying_contract).lower(), "0x" + tariff_id.hex()),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ChainUnavailable(f"the node answers with no receipt: {error!r}", tx_hash) from error


def _lines(logs: Any, contract: str, tariff_id: str) -> tuple[LineResult, ...]:
    nothing, lines = AssetAmount.zero(), []
    for log in logs:
        topics = log["topics"]
        if topics[0] not in (_SETTLED, _SKIPPED) or log["address"].lower() != contract:
            continue
        if topics[1] != tariff_id:
            continue
        # The last word: of Settled what was drawn (112 bits) below the time; of Skipped the newer time.
        payer, last = Address(bytes.fromhex(topics[2][-40:])), int(log["data"][-_WORD_DIGITS:], 16)
        settled = topics[0] == _SETTLED
        lines.append(
            LineResult(payer, AssetAmount(last % 2**112)) if settled else LineResult(payer, nothing, last)
        )
    return tuple(lines)
