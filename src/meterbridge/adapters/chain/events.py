"""Logs of the chain, turned into the events of the services."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from typing import Final

from eth_abi.abi import decode
from web3.types import LogReceipt

from meterbridge.adapters.chain.abi import load_artifact
from meterbridge.domain.addresses import Address
from meterbridge.domain.keccak import keccak256
from meterbridge.domain.units import AssetAmount
from meterbridge.services import chain_events
from meterbridge.services.chain_events import ChainEvent, LogPlace, TokenTransfer

TRANSFER_TOPIC: Final = keccak256(b"Transfer(address,address,uint256)")


def decode_events(logs: Iterable[LogReceipt], contract: Address) -> Iterator[ChainEvent]:
    """Yield the contract's events among logs; those of other contracts and unknown ones are left out."""
    by_topic = load_artifact("SettlementSplitter").abi.events
    for log in logs:
        topics = [bytes(topic) for topic in log["topics"]]
        event = by_topic.get(topics[0]) if topics else None
        if event is None or Address.parse(log["address"]) != contract:
            continue
        values = event.decode(topics, bytes(log["data"]))
        if event.name == "Claimed":
            values["recipient"] = values["account"]  # only `ClaimedTo` names another
        if class_name(event.name) in event_classes():
            yield event_classes()[class_name(event.name)](at=log_place(log), **values)


def decode_transfer(log: LogReceipt) -> TokenTransfer:
    """Read an ERC-20 `Transfer`."""
    _, sender, recipient = (bytes(topic) for topic in log["topics"])
    (amount,) = decode(["uint256"], bytes(log["data"]))
    return TokenTransfer(
        log_place(log),
        Address.parse(log["address"]),
        Address(sender[12:]),
        Address(recipient[12:]),
        AssetAmount(amount),
    )


def log_place(log: LogReceipt) -> LogPlace:
    """Return where a log stands."""
    return LogPlace(
        log["blockNumber"], log["logIndex"], bytes(log["transactionHash"]), bytes(log["blockHash"])
    )


def class_name(event: str) -> str:
    """Return the name of an event's class, from its name in the ABI: two of the contract's are one here."""
    return "Claimed" if event == "ClaimedTo" else event


@cache
def event_classes() -> dict[str, type[ChainEvent]]:
    """Return the class of each event by its name."""
    return {
        name: value
        for name, value in vars(chain_events).items()
        if isinstance(value, type) and issubclass(value, ChainEvent) and value is not ChainEvent
    }
