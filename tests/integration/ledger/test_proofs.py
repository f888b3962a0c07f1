"""A proof holds offline, from a receipt to a party's part, and no value in it can be changed."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from metered_world import TIME, World, event

from meterbridge.domain.errors import BadProof, MeterbridgeError
from meterbridge.domain.receipts import credit_id, receipt_id
from meterbridge.domain.sum_tree import LogState
from meterbridge.services.exchange import load_json, proof_from_json, proof_to_json
from meterbridge.services.ledger_errors import NotSealed, UnknownReceipt
from meterbridge.services.metering import correct
from meterbridge.services.proofs import ReceiptProof, verify_proof
from meterbridge.services.proving import prove
from meterbridge.services.records import LogKind


def sealed_world(world: World) -> World:
    """Four charge batches and one credit batch, stated; the proven receipt is in the middle of all."""
    for i in range(4):
        world.take(world.events(60, first=60 * i))
        world.seal()
    corrected = next(iter(receipts_of(world, 0)))
    correct(
        world.ledger,
        world.segments,
        world.accounts[0],
        corrected,
        replacement=None,
        occurred_at=1,
        reason="test",
    )
    world.seal()
    world.state(TIME)
    return world


def receipts_of(world: World, payer: int) -> list[bytes]:
    found = []
    for name in world.segments.names(world.charges(payer)):
        found += [row.tobytes() for row in world.segments.get(name).table.receipts.ids]
    return found


def middle(world: World) -> bytes:
    """Return a receipt in the middle of the first payer's batches."""
    found = receipts_of(world, 0)
    return found[len(found) // 2]


def proof_of(world: World, payer: int, receipt: bytes, party: int = 1) -> ReceiptProof:
    return prove(world.ledger, world.segments, world.accounts[payer], receipt, party=party)


def through_json(proof: ReceiptProof) -> ReceiptProof:
    return proof_from_json(load_json(json.dumps(proof_to_json(proof))))


def test_every_receipt_can_be_proven(world: World) -> None:
    sealed_world(world)
    for payer in range(3):
        for receipt in receipts_of(world, payer)[::7]:
            proof = proof_of(world, payer, receipt)
            assert through_json(proof) == proof
            shown = verify_proof(proof)
            assert shown.account == world.accounts[payer]
            assert shown.proven.receipt.id == receipt
            assert (shown.sealed_at, shown.signer) == (TIME, world.key.address)


def test_a_proof_shows_price_and_part_by_hand_arithmetic(world: World) -> None:
    world.take([event(1, "c0", input=1_000, output=200, cache_read=7)])
    world.seal()
    world.state()
    shown = verify_proof(proof_of(world, 0, receipt_id(world.blind(0), "gateway", "call-000001"), party=2))
    # 1000 * 3 + 200 * 15 + 7 * 0.30 millionths of a dollar, in base units of a millionth
    assert shown.price.base_units == 3_000 + 3_000 + 2
    assert shown.share.party.share == 12
    assert shown.offset == 10 + 11
    assert shown.part.base_units == 6_002 * 12 // 33
    assert shown.proven.details == {"model": "m1"}


def test_a_credit_is_proven_in_the_credit_log(world: World) -> None:
    sealed_world(world)
    credit = credit_id(world.blind(0), receipts_of(world, 0)[0])
    shown = verify_proof(through_json(proof_of(world, 0, credit)))
    assert shown.kind is LogKind.CREDITS
    assert shown.proven.source == "void"


def test_what_is_not_sealed_or_stated_cannot_be_proven(world: World) -> None:
    receipt = receipt_id(world.blind(0), "gateway", "call-000001")
    with pytest.raises(UnknownReceipt):
        proof_of(world, 0, receipt)
    world.take([event(1, "c0", input=1)])
    with pytest.raises(NotSealed, match="no statement covers"):
        proof_of(world, 0, receipt)
    world.seal()
    with pytest.raises(NotSealed, match="no statement covers"):
        proof_of(world, 0, receipt)
    world.state()
    verify_proof(proof_of(world, 0, receipt))
    world.take([event(2, "c0", input=1)])
    world.seal()
    with pytest.raises(NotSealed, match="older than this receipt"):
        proof_of(world, 0, receipt_id(world.blind(0), "gateway", "call-000002"))


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of every scalar in a JSON value."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from leaves(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from leaves(inner, (*path, index))
    else:
        yield path


def at(value: Any, path: tuple[Any, ...]) -> Any:
    for step in path:
        value = value[step]
    return value


def changed(value: Any) -> Iterator[Any]:
    """Yield other values that a forger might put in the place of one, each a small step away."""
    if isinstance(value, bool) or value is None:
        yield from (1, "x")
    elif isinstance(value, int):
        yield from (value + 1, value - 1, str(value), float(value), -value - 1)
    elif value.startswith("0x") and len(value) > 2:
        digit = "1" if value[-1] != "1" else "2"
        yield from (value[:-1] + digit, value[:2] + ("1" if value[2] != "1" else "2") + value[3:])
        yield from (value + "00", value[:-2], value[2:], "0X" + value[2:])
        if value.upper() != value.lower():
            yield value[:2] + value[2:].swapcase()
    elif value.lstrip("-").isdigit():
        yield from (
            str(int(value) + 1),
            str(int(value) - 1),
            "0" + value,
            int(value),
            value + " ",
            f"+{value}",
        )
    else:
        yield from (value + " ", value[:-1], value.swapcase(), "left" if value == "right" else "right")


def refuses(forged: Any) -> bool:
    try:
        verify_proof(proof_from_json(load_json(json.dumps(forged))))
    except MeterbridgeError:
        return True
    return False


@pytest.mark.parametrize("which", ["charge", "credit"])
def test_no_value_of_a_proof_can_be_changed(world: World, which: str) -> None:
    sealed_world(world)
    receipt = receipts_of(world, 0)[0]
    receipt = middle(world) if which == "charge" else credit_id(world.blind(0), receipt)
    genuine = proof_to_json(proof_of(world, 0, receipt))
    assert not refuses(genuine)
    tried = 0
    for path in list(leaves(genuine)):
        for other in changed(at(genuine, path)):
            if other == at(genuine, path) and type(other) is type(at(genuine, path)):
                continue
            forged = copy.deepcopy(genuine)
            at(forged, path[:-1])[path[-1]] = other
            assert refuses(forged), f"{path} can be changed to {other!r}"
            tried += 1
    assert tried > 500


def containers(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if isinstance(value, dict | list):
        yield path
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from containers(inner, (*path, key))


def test_nothing_can_be_left_out_added_or_moved(world: World) -> None:
    sealed_world(world)
    genuine: dict[str, Any] = proof_to_json(proof_of(world, 0, middle(world)))
    for path in list(containers(genuine)):
        found = at(genuine, path)
        for key in list(found) if isinstance(found, dict) else range(len(found)):
            forged = copy.deepcopy(genuine)
            del at(forged, path)[key]
            assert refuses(forged), f"{(*path, key)} can be left out"
        forged = copy.deepcopy(genuine)
        if isinstance(found, dict):
            at(forged, path)["more"] = "x"
        else:
            at(forged, path).append(found[-1] if found else "0x" + "00" * 32)
        assert refuses(forged), f"something can be added to {path}"
        if isinstance(found, list) and len(found) > 1 and found[0] != found[1]:
            forged = copy.deepcopy(genuine)
            moved = at(forged, path)
            moved[0], moved[1] = moved[1], moved[0]
            assert refuses(forged), f"entries of {path} can change places"


def test_a_proof_of_one_receipt_does_not_fit_another(world: World) -> None:
    sealed_world(world)
    one, other = (proof_to_json(proof_of(world, 0, i)) for i in (middle(world), receipts_of(world, 0)[-1]))
    for key in ("receipt", "batch", "element"):
        if one[key] != other[key]:
            assert refuses(one | {key: other[key]}), key


def test_an_old_head_does_not_prove_a_new_receipt(world: World) -> None:
    sealed_world(world)
    proof = proof_of(world, 0, middle(world))
    older = replace(proof.head, charges=LogState(3, proof.head.charges.root))
    with pytest.raises(BadProof):
        verify_proof(replace(proof, head=older))


@pytest.mark.parametrize(
    "text", ['{"a": 1, "a": 2}', '{"a": 1.5}', '{"a": NaN}', "[", "\ud800", "[" * 100_000, "9" * 5000]
)
def test_what_is_no_clean_json_is_refused(text: str) -> None:
    with pytest.raises(MeterbridgeError):
        proof_from_json(load_json(text))
