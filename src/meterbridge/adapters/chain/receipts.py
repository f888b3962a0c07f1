"""Receipts of settling, read from JSON: what each line drew, or why it was skipped."""

from __future__ import annotations

from typing import Any, Final

from meterbridge.adapters.chain.abi import load_artifact
from meterbridge.domain.addresses import ADDRESS_BYTES
from meterbridge.domain.arrays import cells
from meterbridge.domain.statements import Domain
from meterbridge.services.chain_errors import ChainUnavailable
from meterbridge.services.settling.parcels import LineResults
from meterbridge.services.settling.ports import MinedTransaction

_TOPICS: Final = {
    event.name: "0x" + topic.hex() for topic, event in load_artifact("SettlementSplitter").abi.events.items()
}
_SKIPPED: Final = _TOPICS["Skipped"]
_TOLD: Final = frozenset({_TOPICS["Settled"], _SKIPPED})
_WORD: Final = 32
_DRAWN_BYTES: Final = 14


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
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise ChainUnavailable(f"the node answers with no receipt: {error!r}", tx_hash) from error


def _lines(logs: Any, contract: str, tariff_id: str) -> LineResults:
    """Read what the contract told of one tariff's lines; other contracts may log in the same transaction."""
    here = {address for address in {log["address"] for log in logs} if address.lower() == contract}
    ours = [
        (log["data"], topics)
        for log in logs
        if log["address"] in here
        and (topics := log["topics"])
        and topics[0] in _TOLD
        and topics[1] == tariff_id
    ]
    # The last word: of Settled what was drawn (112 bits) below the time; of Skipped the newer time.
    words = _cut([data[-2 * _WORD :] for data, _ in ours], _WORD)
    payers = _cut([topics[2][-2 * ADDRESS_BYTES :] for _, topics in ours], ADDRESS_BYTES)
    drawn: list[int] = [int.from_bytes(word[_WORD - _DRAWN_BYTES :], "big") for word in words]
    skipped_for: list[int | None] = [None] * len(ours)
    for place, (_, topics) in enumerate(ours):
        if topics[0] == _SKIPPED:
            drawn[place], skipped_for[place] = 0, int.from_bytes(words[place], "big")
    return LineResults(tuple(payers), tuple(drawn), tuple(skipped_for))


def _cut(digits: list[str], width: int) -> list[bytes]:
    """Read hexadecimal digits of so many bytes each.

    Raises:
        ValueError: when they are none, or fewer.
    """
    data = bytes.fromhex("".join(digits))
    if len(data) != width * len(digits):
        raise ValueError(f"{len(digits)} values of {width} bytes are {len(data)} bytes")
    return cells(data, width)
