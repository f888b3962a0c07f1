"""Calldata, results, logs and revert data, translated by a contract's ABI from and into domain values.

What a parameter becomes is told by its `internalType`, the name that the Solidity source gives its type:
`Assets` is an `AssetAmount`, `UsageLanes[2]` a `UsageVector`, `struct Tariff` a `Tariff`. Names become
snake_case. No network here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any, Final

from eth_abi.abi import decode, encode
from eth_abi.exceptions import DecodingError

from meterbridge.domain.addresses import Address
from meterbridge.domain.errors import MeterbridgeError
from meterbridge.domain.keccak import keccak256
from meterbridge.domain.splits import Party, Split
from meterbridge.domain.tariffs import Tariff
from meterbridge.domain.units import AssetAmount, Rates, UsageVector
from meterbridge.services.chain_errors import ChainUnavailable
from meterbridge.services.chain_ports import Escrow, Stake, Thaw

Json = Mapping[str, Any]
SELECTOR_BYTES: Final = 4
_PYTHON_NAMES: Final = {"from": "giver"}  # keywords


class Packed(dict[str, Any]):
    """Several values that an event carries in one word, by Python name."""


def python_name(solidity: str) -> str:
    """Return a parameter's name as Python writes it; `from` is a keyword, and becomes `giver`."""
    snake = re.sub(r"(?<=[a-z0-9])([A-Z])", r"_\1", solidity).lower().lstrip("_")
    return _PYTHON_NAMES.get(snake, snake)


def _canonical(parameter: Json) -> str:
    """Return the type as selectors and eth-abi write it, structs as tuples."""
    kind = str(parameter["type"])
    if not kind.startswith("tuple"):
        return kind
    return f"({','.join(map(_canonical, parameter['components']))}){kind.removeprefix('tuple')}"


def _decoded_as(parameter: Json) -> str:
    """Return the type to decode by: texts as bytes, since anyone may put anything but UTF-8 into an event."""
    return re.sub(r"\bstring\b", "bytes", _canonical(parameter))


def _split_or_none(raw: Any) -> Split | None:
    """An announced split is not checked by the contract; what is none must not stop whoever reads events."""
    try:
        return _split(raw)
    except MeterbridgeError:
        return None


def _split(raw: Any) -> Split:
    asset, root, total_shares = raw
    return Split(Address.parse(asset), root, total_shares)


def _tariff(raw: Any) -> Tariff:
    provider, split_id, rates, scale, thaw_period, terms = raw
    return Tariff(Address.parse(provider), split_id, Rates.from_words(rates), scale, thaw_period, terms)


def _party(raw: Any) -> Party:
    account, role, share = raw
    return Party(Address.parse(account), role, share)


def _escrow(raw: Any) -> Escrow:
    balance, settled, sealed_at = raw
    return Escrow(AssetAmount(balance), AssetAmount(settled), sealed_at)


_CONVERTERS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "address": Address.parse,
    "string": lambda raw: raw.decode("utf-8", "replace"),
    "Assets": AssetAmount,
    "UsageLanes[2]": UsageVector.from_words,
    "SealedDraw": lambda raw: Packed({"sealed_at": raw >> 224, "drawn": AssetAmount(raw % 2**112)}),
    "StakePayment": lambda raw: Packed({"offset": raw >> 128, "amount": AssetAmount(raw % 2**128)}),
    "struct Split": _split,
    "struct Tariff": _tariff,
    "struct Party[]": lambda raw: tuple(map(_party, raw)),
    "struct Account": _escrow,
    "struct Thaw": lambda raw: Thaw(AssetAmount(raw[0]), raw[1]),
    "struct Stake": lambda raw: Stake(raw[0], AssetAmount(raw[1])),
}


@dataclass(frozen=True, slots=True)
class Parameters:
    """The inputs or outputs of something in an ABI."""

    entries: tuple[Json, ...]
    types: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "types", tuple(map(_canonical, self.entries)))

    def names(self) -> list[str]:
        """Return the Python names."""
        return [python_name(entry["name"]) for entry in self.entries]

    def encode(self, values: Sequence[object]) -> bytes:
        """Return the ABI encoding of raw values."""
        return encode(self.types, values)

    def decode(self, data: bytes, *, owner: str = "") -> list[Any]:
        """Return domain values.

        Raises:
            DecodingError: when the data is not an encoding of these parameters.
        """
        raw = decode([_decoded_as(entry) for entry in self.entries], data, strict=False)
        return [self._convert(owner, *pair) for pair in zip(self.entries, raw, strict=True)]

    @staticmethod
    def _convert(owner: str, entry: Json, raw: Any) -> Any:
        kind = str(entry.get("internalType", entry["type"]))
        if owner == "SplitAnnounced" and kind == "struct Split":
            return _split_or_none(raw)
        if kind not in _CONVERTERS and entry["type"] == "address":
            kind = "address"  # contract types, say `contract IERC20`
        return _CONVERTERS.get(kind, lambda same: same)(raw)


@dataclass(frozen=True, slots=True)
class Function:
    """One function: its selector and what goes in and out."""

    name: str
    selector: bytes
    inputs: Parameters
    outputs: Parameters

    def encode(self, *values: object) -> bytes:
        """Return calldata from raw values, structs as tuples."""
        return self.selector + self.inputs.encode(values)

    def decode(self, data: bytes) -> Any:
        """Return the one result, or several as a list.

        Raises:
            ChainUnavailable: when the answer is no such result, as where the contract is not there.
        """
        try:
            results = self.outputs.decode(data)
        except DecodingError as error:
            raise ChainUnavailable(
                f"'{self.name}' answers with {len(data)} bytes that are no result of it; "
                "is this the right contract on the right chain?",
                data,
            ) from error
        return results[0] if len(results) == 1 else results


@dataclass(frozen=True, slots=True)
class Event:
    """One event: its topic, and which parameters stand in topics and in data."""

    name: str
    topic: bytes
    indexed: Parameters
    unindexed: Parameters

    def decode(self, topics: Sequence[bytes], data: bytes) -> dict[str, Any]:
        """Return the values by Python name."""
        from_topics = self.indexed.decode(b"".join(topics[1:]), owner=self.name)
        from_data = self.unindexed.decode(data, owner=self.name)
        names = self.indexed.names() + self.unindexed.names()
        found: dict[str, Any] = {}
        for name, value in zip(names, from_topics + from_data, strict=True):
            found |= value if isinstance(value, Packed) else {name: value}
        return found


@dataclass(frozen=True, slots=True)
class CustomError:
    """One error: its selector and what it carries."""

    name: str
    selector: bytes
    inputs: Parameters

    def decode(self, data: bytes) -> dict[str, Any]:
        """Return the values by Python name, from revert data after the selector."""
        return dict(zip(self.inputs.names(), self.inputs.decode(data), strict=True))


class Abi:
    """What a contract understands, by name; events by topic and errors by selector as well."""

    def __init__(self, entries: Sequence[Json]) -> None:
        """Index an ABI.

        Raises:
            ValueError: when a function is overloaded, since names could not tell which is meant.
        """
        self.functions: Final = {e["name"]: _function(e) for e in entries if e["type"] == "function"}
        if len(self.functions) != sum(e["type"] == "function" for e in entries):
            raise ValueError("the ABI has overloaded functions")
        events = [_event(e) for e in entries if e["type"] == "event"]
        self.events: Final = {event.topic: event for event in events}
        errors = [_error(e) for e in entries if e["type"] == "error"]
        self.errors: Final = {error.selector: error for error in errors}

    def encode(self, function: str, *values: object) -> bytes:
        """Return the calldata of a call."""
        return self.functions[function].encode(*values)

    def decode(self, function: str, data: bytes) -> Any:
        """Return what a call answered."""
        return self.functions[function].decode(data)


def _signature_hash(entry: Json) -> bytes:
    return keccak256(f"{entry['name']}({','.join(map(_canonical, entry['inputs']))})".encode())


def _function(entry: Json) -> Function:
    selector = _signature_hash(entry)[:SELECTOR_BYTES]
    return Function(
        entry["name"], selector, Parameters(tuple(entry["inputs"])), Parameters(tuple(entry["outputs"]))
    )


def _event(entry: Json) -> Event:
    indexed = tuple(parameter for parameter in entry["inputs"] if parameter["indexed"])
    unindexed = tuple(parameter for parameter in entry["inputs"] if not parameter["indexed"])
    return Event(entry["name"], _signature_hash(entry), Parameters(indexed), Parameters(unindexed))


def _error(entry: Json) -> CustomError:
    selector = _signature_hash(entry)[:SELECTOR_BYTES]
    return CustomError(entry["name"], selector, Parameters(tuple(entry["inputs"])))


@dataclass(frozen=True, slots=True)
class Artifact:
    """A compiled contract of this release.

    Attributes:
        bytecode: what a deployment sends.
        runtime: what then stands at the address, but for the immutable places.
        immutable_places: (start, length) of what the constructor fills in.
    """

    name: str
    abi: Abi
    bytecode: bytes
    runtime: bytes
    immutable_places: tuple[tuple[int, int], ...]

    def matches(self, code: bytes) -> bool:
        """Tell whether code on a chain is this contract's, immutable values aside."""
        return self._masked(code) == self._masked(self.runtime)

    def _masked(self, code: bytes) -> bytes:
        masked = bytearray(code)
        for start, length in self.immutable_places:
            masked[start : start + length] = bytes(length)
        return bytes(masked)


@cache
def load_artifact(name: str) -> Artifact:
    """Read a contract that scripts/artifacts compiled: `SettlementSplitter` or `TestUSD`."""
    loaded = json.loads((files("meterbridge.contracts") / f"{name}.json").read_text(encoding="utf-8"))
    return Artifact(
        name,
        Abi(loaded["abi"]),
        bytes.fromhex(loaded["bytecode"][2:]),
        bytes.fromhex(loaded["deployedBytecode"][2:]),
        tuple((start, length) for start, length in loaded["immutableReferences"]),
    )
