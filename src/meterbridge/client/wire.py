"""What goes over the wire between client and service."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Protocol

from meterbridge.client.errors import Refused

BATCH: Final = 500
"""Most events of one request, unless the client is told otherwise."""
NDJSON: Final = "application/x-ndjson"
RETRIED: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Answers after which the same request may succeed; repeating is safe because ingest is idempotent."""
_PARTLY: Final = frozenset({409, 422})
_TOO_LARGE: Final = 413


@dataclass(frozen=True, slots=True)
class UsageRecord:
    """One call.

    Attributes:
        id: unique within the source: a retry of the record has the same one.
        payer: an address, or a customer name that the service knows.
        usage: a provider's usage object in its own shape, or counts by Meterbridge's buckets.
        time: when the call was made; it is part of the record, so a retry must not change it.
        details: what else the receipt says, such as the model; never prompts or answers.
    """

    id: str
    payer: str
    usage: Mapping[str, Any]
    time: datetime
    source: str = "client"
    details: Mapping[str, Any] = field(default_factory=dict)

    def line(self) -> bytes:
        """Return one line of NDJSON."""
        moment = self.time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        record = {
            "id": self.id,
            "source": self.source,
            "time": moment,
            "payer": self.payer,
            "usage": self.usage,
        }
        return json.dumps({**self.details, **record}, separators=(",", ":"), default=_plain).encode() + b"\n"


class Sendable(Protocol):
    """Whatever becomes one line of NDJSON."""

    def line(self) -> bytes:
        """Return the line, with its end."""


@dataclass(frozen=True, slots=True)
class JsonRecord:
    """A record of any shape that the service reads, as its JSON object."""

    fields: Mapping[str, Any]

    def line(self) -> bytes:
        """Return one line of NDJSON."""
        return json.dumps(self.fields, separators=(",", ":"), default=_plain).encode() + b"\n"


@dataclass(frozen=True, slots=True)
class RefusedEvent:
    """One event that the service did not take; repeating it changes nothing."""

    line: bytes
    problem: str
    reason: str


@dataclass(frozen=True, slots=True)
class Receipts:
    """What became of events.

    Attributes:
        accepted: stored now.
        repeated: stored before, with the same content.
        spooled: on this machine's disk, to be sent when the service is back.
        refused: not taken, each with its reason.
    """

    accepted: int = 0
    repeated: int = 0
    spooled: int = 0
    refused: tuple[RefusedEvent, ...] = ()

    def __add__(self, other: Receipts) -> Receipts:
        return Receipts(
            self.accepted + other.accepted,
            self.repeated + other.repeated,
            self.spooled + other.spooled,
            self.refused + other.refused,
        )


@dataclass(frozen=True, slots=True)
class Credit:
    """How far a payer may be served; amounts in base units."""

    allowed: bool
    remaining: int
    until: int
    secured: int
    unsettled: int

    @classmethod
    def of(cls, found: Mapping[str, Any]) -> Credit:
        """Read the service's answer."""
        amounts = {name: int(found[name]) for name in ("remaining", "secured", "unsettled")}
        return cls(allowed=bool(found["allowed"]), until=int(found["until"]), **amounts)


@dataclass(frozen=True, slots=True)
class Retries:
    """How often and how patiently to try.

    Attributes:
        attempts: in all.
        first_seconds, most_seconds: the waits grow from one to the other, each with a random part.
    """

    attempts: int = 5
    first_seconds: float = 0.1
    most_seconds: float = 10.0

    def wait(self, attempt: int, retry_after: str | None) -> float:
        """Return how long to wait after a failed attempt, counted from 0."""
        if retry_after is not None and retry_after.isascii() and retry_after.isdigit():
            return min(float(retry_after), self.most_seconds)
        # Full jitter: many clients that failed together must not come back together.
        return random.uniform(0, min(self.most_seconds, self.first_seconds * 2.0**attempt))


def too_large(status: int, lines: Sequence[bytes]) -> bool:
    """Tell whether a request may succeed in two halves."""
    return status == _TOO_LARGE and len(lines) > 1


def answer_of(status: int, body: bytes, lines: Sequence[bytes]) -> Receipts:
    """Read the answer to a request that was understood, wholly or in part.

    Raises:
        Refused: when nothing of it was taken for a reason that holds for all of it.
    """
    document = document_of(body)
    if status == 200 and "accepted" in document:
        return Receipts(document["accepted"], document["repeated"])
    if (
        status == _TOO_LARGE and len(lines) == 1
    ):  # one event that no request can carry must not hold up others
        return Receipts(refused=(RefusedEvent(lines[0], "too large", str(document.get("detail", ""))),))
    if status not in _PARTLY or "errors" not in document or "accepted" not in document:
        raise Refused(status, document)
    refused = tuple(
        RefusedEvent(lines[error["index"]], error["problem"], error["reason"]) for error in document["errors"]
    )
    return Receipts(document["accepted"], document["repeated"], refused=refused)


def document_of(body: bytes) -> dict[str, Any]:
    """Return the JSON object that an answer holds, or an empty one."""
    try:
        found = json.loads(body)
    except ValueError:
        found = None
    return found if isinstance(found, dict) else {}


def _plain(value: object) -> object:
    """Turn usage objects of SDKs (pydantic models) into JSON."""
    for name in ("model_dump", "to_dict", "dict"):
        dump = getattr(value, name, None)
        if callable(dump):
            return dump()
    raise TypeError(f"{type(value).__name__} is not JSON")
