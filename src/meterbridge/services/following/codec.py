"""A chain event taken apart for storing, money here and usage there, and put together again."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import cache
from typing import Any, Final

from meterbridge.domain.addresses import Address
from meterbridge.domain.splits import Split
from meterbridge.domain.tariffs import Tariff
from meterbridge.domain.units import AssetAmount, UsageVector
from meterbridge.services import chain_events
from meterbridge.services.chain_events import ChainEvent, LogPlace
from meterbridge.services.json_fields import Fields, canonical_json
from meterbridge.services.struct_json import (
    PARTY_KEYS,
    party_to_json,
    read_party,
    split_from_json,
    split_to_json,
    tariff_from_json,
    tariff_to_json,
)

_SUBJECTS: Final = ("tariff_id", "split_id", "provider")
_ACCOUNTS: Final = ("payer", "account", "signer")


@dataclass(frozen=True, slots=True)
class EventParts:
    """An event as the ledger keeps it.

    Attributes:
        name: of its class.
        subject: the tariff's or split's id, or the provider's 20 bytes.
        account: 20 bytes of the payer, party or signer; None where there is none.
        rest: the other values as canonical JSON, none of them money or usage.
        amount: the one amount of the event, or None.
        usage: the cumulative usage of a settled line, or None.
    """

    at: LogPlace
    name: str
    subject: bytes
    account: bytes | None
    rest: str
    amount: AssetAmount | None
    usage: UsageVector | None


def take_apart(event: ChainEvent) -> EventParts:
    """Return an event's parts."""
    rest: dict[str, object] = {}
    parts: dict[str, Any] = {"amount": None, "usage": None}
    for name in _annotations(type(event).__name__):
        value = getattr(event, name)
        if isinstance(value, AssetAmount):
            parts["amount"] = value
        elif isinstance(value, UsageVector):
            parts["usage"] = value
        elif name not in (*_SUBJECTS, *_ACCOUNTS):
            rest[name] = _to_json(value)
    subject = next(getattr(event, name) for name in _SUBJECTS if hasattr(event, name))
    account = next((getattr(event, name) for name in _ACCOUNTS if hasattr(event, name)), None)
    return EventParts(
        at=event.at,
        name=type(event).__name__,
        subject=subject.raw if isinstance(subject, Address) else subject,
        account=None if account is None else account.raw,
        rest=canonical_json(rest).decode(),
        **parts,
    )


def put_together(parts: EventParts) -> ChainEvent:
    """Return the event that parts were taken from."""
    kind = _classes()[parts.name]
    rest: Mapping[str, Any] = json.loads(parts.rest)
    values: dict[str, Any] = {"at": parts.at}
    for name, annotation in _annotations(parts.name).items():
        if annotation == "AssetAmount":
            values[name] = parts.amount
        elif annotation == "UsageVector":
            values[name] = parts.usage
        elif name in _SUBJECTS:
            values[name] = Address(parts.subject) if annotation == "Address" else parts.subject
        elif name in _ACCOUNTS:
            values[name] = Address(parts.account or b"")
        else:
            values[name] = _READERS[annotation](rest[name])
    return kind(**values)


def _to_json(value: object) -> object:
    match value:
        case bytes():
            return value.hex()
        case Address():
            return str(value)
        case Tariff():
            return tariff_to_json(value)
        case Split():
            return split_to_json(value)
        case tuple():
            return [party_to_json(party) for party in value]
        case int():
            return str(value)
    return value


def _split(value: object) -> Split:
    return split_from_json(Fields("event", {"split": value}, ["split"]), "split")


_READERS: Final[Mapping[str, Callable[[Any], object]]] = {
    "bytes": bytes.fromhex,
    "int": int,
    "str": str,
    "Address": Address.parse,
    "Tariff": lambda value: tariff_from_json(Fields("event", {"tariff": value}, ["tariff"]), "tariff"),
    "Split": _split,
    "Split | None": lambda value: None if value is None else _split(value),
    "tuple[Party, ...]": lambda value: tuple(
        map(read_party, Fields("event", {"parties": value}, ["parties"]).objects("parties", PARTY_KEYS))
    ),
}


@cache
def _classes() -> dict[str, type[ChainEvent]]:
    return {
        name: kind
        for name, kind in vars(chain_events).items()
        if isinstance(kind, type) and issubclass(kind, ChainEvent) and kind is not ChainEvent
    }


@cache
def _annotations(name: str) -> dict[str, str]:
    return {field.name: str(field.type) for field in fields(_classes()[name]) if field.name != "at"}
