"""Every custom error and every event of the contract has one Python name, with the same values."""

from __future__ import annotations

import dataclasses
import json
import re
from importlib.resources import files
from typing import Any, get_type_hints

import pytest
from eth_abi.abi import encode
from web3.exceptions import ContractCustomError, ContractLogicError

from meterbridge.adapters.chain.abi import load_artifact, python_name
from meterbridge.adapters.chain.errors import from_revert, refusal_classes, refusal_from_data
from meterbridge.adapters.chain.events import class_name, event_classes
from meterbridge.domain.addresses import Address
from meterbridge.domain.splits import Party, Split
from meterbridge.domain.tariffs import Tariff
from meterbridge.domain.units import AssetAmount, UsageVector
from meterbridge.services import chain_errors, token_errors
from meterbridge.services.chain_errors import Panicked, Refusal, RefusedWithReason, UnknownRefusal

SAMPLES: dict[str, tuple[Any, Any, str]] = {
    # ABI type: what goes in, what comes out, how a message shows it
    "address": ("0x" + "ab" * 20, Address(b"\xab" * 20), str(Address(b"\xab" * 20))),
    "bytes32": (b"\xcd" * 32, b"\xcd" * 32, "0x" + "cd" * 32),
    "uint256": (123_456, 123_456, "123456"),
    "uint128": (2**128 - 1, 2**128 - 1, str(2**128 - 1)),
    "uint64": (987_654, 987_654, "987654"),
    "uint8": (200, 200, "200"),
    "string": ("long name", "long name", "long name"),
}
PYTHON_TYPES = {"address": "Address", "bytes32": "bytes", "string": "str"}


def abi(contract: str, kind: str) -> list[dict[str, Any]]:
    entries = json.loads((files("meterbridge.contracts") / f"{contract}.json").read_text())["abi"]
    return [entry for entry in entries if entry["type"] == kind]


ERRORS = {error["name"]: error for error in abi("SettlementSplitter", "error")}
TOKEN_ERRORS = {error["name"]: error for error in abi("TestUSD", "error")}
EVENTS = {event["name"]: event for event in abi("SettlementSplitter", "event")}


def test_the_walk_finds_the_contract_s_errors() -> None:
    assert {"SealedInFuture", "SignerNotAuthorized", "StillThawing", "NotRegistered"} <= ERRORS.keys()


@pytest.mark.parametrize("name", sorted(ERRORS))
def test_error_has_one_exception_with_the_same_values(name: str) -> None:
    kind = refusal_classes()[name]
    inputs = ERRORS[name]["inputs"]
    wanted = {python_name(i["name"]): PYTHON_TYPES.get(i["type"], "int") for i in inputs}
    assert list(kind.fields().items()) == list(wanted.items())
    assert (kind.__doc__ or "").strip()


@pytest.mark.parametrize("name", sorted(ERRORS | TOKEN_ERRORS))
def test_revert_data_becomes_that_exception_in_plain_words(name: str) -> None:
    error = (ERRORS | TOKEN_ERRORS)[name]
    types = [i["type"] for i in error["inputs"]]
    contract = "SettlementSplitter" if name in ERRORS else "TestUSD"
    selectors = {e.name: s for s, e in load_artifact(contract).abi.errors.items()}
    data = selectors[name] + encode(types, [SAMPLES[t][0] for t in types])
    found = from_revert(ContractCustomError("0x" + data.hex(), data="0x" + data.hex()))
    if name not in refusal_classes():
        assert type(found) is UnknownRefusal
        assert found.value == {"data": data}
        return
    assert type(found).__name__ == name
    for i in error["inputs"]:
        assert getattr(found, python_name(i["name"])) == SAMPLES[i["type"]][1]
        assert SAMPLES[i["type"]][2] in str(found), f"the message leaves {i['name']} out"
    assert re.match(r"[a-z0-9'{]", str(found), re.IGNORECASE)
    assert "{" not in str(found)


def test_no_exception_stands_for_an_error_that_does_not_exist() -> None:
    assert refusal_classes().keys() <= ERRORS.keys() | TOKEN_ERRORS.keys()
    declared = {
        name
        for module in (chain_errors, token_errors)
        for name, value in vars(module).items()
        if isinstance(value, type) and issubclass(value, Refusal)
    }
    assert declared - refusal_classes().keys() == {
        "Refusal",
        "UnknownRefusal",
        "RefusedWithReason",
        "Panicked",
    }


def test_texts_panics_and_nonsense_become_exceptions_too() -> None:
    text = bytes.fromhex("08c379a0") + encode(["string"], ["ERC20: transfer amount exceeds balance"])
    reason = refusal_from_data(text)
    assert isinstance(reason, RefusedWithReason)
    assert str(reason) == "the call was refused: ERC20: transfer amount exceeds balance"
    panic = refusal_from_data(bytes.fromhex("4e487b71") + (0x11).to_bytes(32, "big"))
    assert isinstance(panic, Panicked)
    assert str(panic) == "the called contract failed with panic code 17"
    not_utf8 = bytes.fromhex("08c379a0") + encode(["bytes"], [b"\xff\xfe"])
    assert isinstance(refusal_from_data(not_utf8), RefusedWithReason)
    for data in (b"", b"\x01", b"\x12\x34\x56\x78", text[:20], bytes.fromhex("08c379a0")):
        found = refusal_from_data(data)
        assert isinstance(found, UnknownRefusal)
        assert found.value == {"data": data}


@pytest.mark.parametrize("data", [None, "no hex", {"data": None}])
def test_node_without_revert_data_leaves_its_own_text(data: Any) -> None:
    found = from_revert(ContractLogicError("execution reverted: because", data=data))
    assert str(found) == "the call was refused: execution reverted: because"


def test_data_that_a_node_wraps_once_more_is_found() -> None:
    selectors = {e.name: s for s, e in load_artifact("SettlementSplitter").abi.errors.items()}
    wrapped = {"data": "0x" + selectors["ZeroPayer"].hex()}
    assert type(from_revert(ContractLogicError("reverted", data=wrapped))).__name__ == "ZeroPayer"


def test_values_must_be_those_of_the_error() -> None:
    with pytest.raises(TypeError, match=r"StillThawing carries \['end'\], not \['until'\]"):
        chain_errors.StillThawing(until=3)


PYTHON_OF_INTERNAL = {
    "Assets": AssetAmount,
    "UsageLanes[2]": UsageVector,
    "struct Split": Split,
    "struct Tariff": Tariff,
    "struct Party[]": tuple[Party, ...],
    "address": Address,
    "bytes32": bytes,
    "bytes": bytes,
    "string": str,
}


# Several values in one word.
PACKED = {
    "SealedDraw": {"sealed_at": int, "drawn": AssetAmount},
    "StakePayment": {"offset": int, "amount": AssetAmount},
}


@pytest.mark.parametrize("name", sorted(EVENTS.keys() - {"EIP712DomainChanged"}))
def test_event_has_one_class_with_the_same_values(name: str) -> None:
    kind = event_classes()[class_name(name)]
    hints = get_type_hints(kind)
    found = {field.name: hints[field.name] for field in dataclasses.fields(kind) if field.name != "at"}
    wanted: dict[str, Any] = {}
    for i in EVENTS[name]["inputs"]:
        single = {python_name(i["name"]): PYTHON_OF_INTERNAL.get(i["internalType"], int)}
        wanted |= PACKED.get(i["internalType"], single)
    if name == "Claimed":
        wanted["recipient"] = Address  # the account itself; another is named by ClaimedTo
    if name == "SplitAnnounced":
        wanted["split"] = Split | None  # anyone announces anything
    assert found == wanted


def test_no_class_stands_for_an_event_that_does_not_exist() -> None:
    assert event_classes().keys() == EVENTS.keys() - {"EIP712DomainChanged", "ClaimedTo"}
