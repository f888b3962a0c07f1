"""What nodes say to a transaction, in the words of the clients that are in use, and what each of it means."""

from __future__ import annotations

from typing import Any, Final

from meterbridge.adapters.chain.errors import refusal_from_data
from meterbridge.adapters.chain.rpc import NodeError
from meterbridge.services.chain_errors import Refusal, RefusedWithReason
from meterbridge.services.settling.ports import Answer, Broadcast

_HASH_DIGITS: Final = 66
_REVERT_CODE: Final = 3  # of geth, and of those that follow it
_SHARED_CODES: Final = (-32603, -32005, -32002, -32001)
"""Internal error, limit exceeded, resource unavailable: whether the transaction was taken is not said."""

# geth and its kin, erigon, nethermind, besu, reth, anvil, the embedded chain; the first that fits counts.
_MEANINGS: Final = (
    (Broadcast.UNDERPRICED, ("underpriced", "max fee per gas less than block base fee", "gas price too low")),
    (Broadcast.UNDERPRICED, ("feetoolow", "fee too low", "tip too low", "below the minimum", "base fee")),
    (Broadcast.KNOWN, ("already known", "alreadyknown", "already imported", "known transaction")),
    (Broadcast.KNOWN, ("already in mempool", "already exists in", "already in the pool")),
    (Broadcast.NONCE_USED, ("nonce too low", "nonce is too low", "oldnonce", "nonce too small")),
    (Broadcast.NO_FUNDS, ("insufficient funds", "insufficient balance", "upfront cost", "not enough funds")),
    (Broadcast.UNKNOWN, ("timeout", "timed out", "rate limit", "too many requests", "limit exceeded")),
    (Broadcast.UNKNOWN, ("internal error", "try again", "txpool is full", "pool is full")),
)


def broadcast_answer(answer: Any, tx_hash: bytes | None) -> Answer:
    """Say what a node's answer to a broadcast means.

    Args:
        answer: its result, or the `ChainError` in place of one.
        tx_hash: what the transaction's hash must be, where that is known.
    """
    if isinstance(answer, NodeError):
        return Answer(_meaning(answer), answer.said)
    if isinstance(answer, Exception):
        return Answer(Broadcast.UNKNOWN, str(answer))
    if not isinstance(answer, str) or len(answer) != _HASH_DIGITS:
        return Answer(Broadcast.UNKNOWN, "the node answers with no hash")
    try:
        found = bytes.fromhex(answer[2:])
    except ValueError:
        return Answer(Broadcast.UNKNOWN, "the node answers with no hash")
    if tx_hash is not None and found != tx_hash:
        return Answer(Broadcast.UNKNOWN, "the node answers with another transaction's hash")
    return Answer(Broadcast.TAKEN, "", found)


def _meaning(error: NodeError) -> Broadcast:
    said = error.said.lower()
    for meaning, words in _MEANINGS:
        if any(word in said for word in words):
            return meaning
    return Broadcast.UNKNOWN if error.code in _SHARED_CODES else Broadcast.REFUSED


def refusal_of(error: NodeError) -> Refusal | None:
    """Return what the contract said through the node; None where it was the node that refused."""
    data = error.data
    if isinstance(data, dict):  # some nodes wrap it once more
        data = data.get("data")
    if isinstance(data, str) and data.startswith("0x") and len(data) > 2:
        try:
            return refusal_from_data(bytes.fromhex(data[2:]))
        except ValueError:
            pass
    if error.code == _REVERT_CODE or "revert" in error.said.lower():
        return RefusedWithReason(reason=error.said)
    return None
