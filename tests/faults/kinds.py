"""The faults, by name, and to which methods each can happen."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request on its way: its number since the proxy started, from 1, and what it asks."""

    number: int
    body: bytes
    calls: tuple[dict[str, Any], ...]

    @property
    def method(self) -> str:
        """The method; of a batch, that of its first call."""
        return str(self.calls[0].get("method", "")) if self.calls else ""


@dataclass(frozen=True, slots=True)
class Reply:
    """What the client is told; `cut` ends the connection after so many bytes of what was announced."""

    body: bytes
    status: int = 200
    cut: int | None = None
    headers: tuple[tuple[str, str], ...] = ()


class Fault(StrEnum):
    """What can happen to one request."""

    LOST_ANSWER = "time-out after the node accepted"
    LOST_REQUEST = "time-out before the node saw it"
    DUPLICATE = "the request reaches the node twice; the second answer counts"
    REORDERED = "the answer to an earlier request"
    TOO_MANY = "HTTP 429"
    RATE_LIMITED = "JSON-RPC limit exceeded"
    SERVER_ERROR = "HTTP 5xx before the node saw it"
    BAD_GATEWAY = "HTTP 502 after the node accepted"
    TRUNCATED = "a body that ends in the middle, and the connection with it"
    CUT_JSON = "a whole answer with half a JSON text"
    NULL = "null instead of the result"
    STALE = "the state of some blocks ago"
    LAGGING = "a node that stays some blocks behind for a while"
    NONCE_LOW = "a transaction count that is too low"
    NONCE_HIGH = "a transaction count that is too high"
    SAYS_NONCE_TOO_LOW = "nonce too low, for no reason"
    ALREADY_KNOWN = "already known, although it was not"
    ALREADY_KNOWN_LIE = "already known, and the node has thrown it away"
    UNDERPRICED = "replacement transaction underpriced, for no reason"
    SWALLOWED = "a hash as if accepted, and it is gone"
    MEMPOOL_LOST = "the whole mempool dropped"
    FEE_SPIKE = "the base fee jumps"
    RESTART = "the node restarts: its mempool is gone, and it answers nothing for a while"


ANY: Final = (
    Fault.LOST_ANSWER,
    Fault.LOST_REQUEST,
    Fault.DUPLICATE,
    Fault.REORDERED,
    Fault.TOO_MANY,
    Fault.RATE_LIMITED,
    Fault.SERVER_ERROR,
    Fault.BAD_GATEWAY,
    Fault.TRUNCATED,
    Fault.CUT_JSON,
    Fault.MEMPOOL_LOST,
    Fault.FEE_SPIKE,
    Fault.RESTART,
    Fault.LAGGING,
)
SENDING: Final = (
    Fault.ALREADY_KNOWN,
    Fault.ALREADY_KNOWN_LIE,
    Fault.UNDERPRICED,
    Fault.SAYS_NONCE_TOO_LOW,
    Fault.SWALLOWED,
)
LOOKING: Final = (Fault.STALE, Fault.NULL)
COUNTING: Final = (Fault.STALE, Fault.NONCE_LOW, Fault.NONCE_HIGH)
LOOKS: Final = frozenset(
    {
        "eth_blockNumber",
        "eth_getBlockByNumber",
        "eth_getTransactionReceipt",
        "eth_getTransactionByHash",
        "eth_call",
        "eth_getLogs",
        "eth_getBalance",
    }
)


def faults_of(method: str) -> tuple[Fault, ...]:
    """Return what can happen to a request with this method."""
    if method in ("eth_sendRawTransaction", "eth_sendTransaction"):
        return ANY + SENDING * 3  # sending is where it matters most, and there are few of these
    if method == "eth_getTransactionCount":
        return ANY + COUNTING * 2
    return ANY + LOOKING if method in LOOKS else ANY
