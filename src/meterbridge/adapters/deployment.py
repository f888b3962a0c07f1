"""Deployment at the same address on every chain, and the proof that code at an address is this release's.

The contract takes no constructor arguments, so its creation code is the same everywhere; a factory that
stands at the same address on every chain (the deterministic deployment proxy) creates it with CREATE2 and a
fixed salt. Its runtime code differs from chain to chain only in its immutables: the chain id, the contract's
own address, and what follows from both. What they must be is not looked up but recomputed: the constructor is
run in an EVM in this process, as if on that chain and at that address, and every byte is compared.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from web3.exceptions import Web3Exception, Web3ValidationError

from meterbridge.adapters.chain.abi import load_artifact
from meterbridge.adapters.chain.gateway import Gateway
from meterbridge.domain.addresses import Address
from meterbridge.domain.keccak import keccak256
from meterbridge.domain.statements import DOMAIN_NAME, DOMAIN_VERSION, Domain
from meterbridge.domain.units import pack_word
from meterbridge.services.chain_errors import ChainError

CONTRACT: Final = "SettlementSplitter"
SALT: Final = keccak256(b"Meterbridge SettlementSplitter 1")
CODE_LIMIT: Final = 24_576
"""EIP-170: the largest runtime code, in bytes."""

FACTORY: Final = Address.parse("0x4e59b44847b379578588920cA78FbF26c0B4956C")
FACTORY_RUNTIME: Final = bytes.fromhex(
    "7fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffe03601600081602082378035828234"
    "f58015156039578182fd5b8082525050506014600cf3"
)
# Signed by nobody: r and s were chosen by hand, and the sender is what recovers from them. Any chain that
# takes transactions without a chain id takes this one once that sender has the money.
FACTORY_SENDER: Final = Address.parse("0x3fab184622dc19b6109349b94811493bf2a45362")
FACTORY_COST: Final = 100_000 * 100 * 10**9  # wei: its gas limit at its gas price
FACTORY_TRANSACTION: Final = bytes.fromhex(
    "f8a58085174876e800830186a08080b853604580600e600039806000f350fe"
    "7fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffe03601600081602082378035828234"
    "f58015156039578182fd5b8082525050506014600cf31ba0" + "22" * 32 + "a0" + "22" * 32
)
_GAS: Final = 30_000_000


class NotDeployed(ChainError):
    """There is no code at the address."""


class NoFactory(ChainError):
    """The deterministic deployment proxy is missing, and this chain does not let it be put there."""


class CodeDiffers(ChainError):
    """What stands at an address is not what this source compiles to."""


@dataclass(frozen=True, slots=True)
class Immutable:
    """One place in the runtime code that the constructor filled in.

    Attributes:
        start: offset of its 32 bytes in the code.
        meaning: what the value is, in words.
        expected: what the constructor computes for this chain and address.
        found: what stands on the chain.
    """

    start: int
    meaning: str
    expected: bytes
    found: bytes


@dataclass(frozen=True, slots=True)
class CodeReport:
    """What was compared.

    Attributes:
        code_hash: keccak256 of the code on the chain.
        size: its length in bytes.
        immutables: each place, expected and found.
        difference: offset of the first byte that differs; None where all are the same.
        only_immutables: whether nothing but immutables differs.
    """

    chain_id: int
    address: Address
    code_hash: bytes
    size: int
    immutables: tuple[Immutable, ...]
    difference: int | None
    only_immutables: bool

    @property
    def ok(self) -> bool:
        """Tell whether every byte is this source's."""
        return self.difference is None

    def require_ok(self) -> None:
        """Raise unless every byte is this source's.

        Raises:
            CodeDiffers: saying where, and whether it could be the same source on another chain.
        """
        if self.ok:
            return
        what = (
            "only immutables differ, so it is the same source, initialised for another chain or address"
            if self.only_immutables
            else "it was compiled from another source, or with other settings"
        )
        raise CodeDiffers(
            f"the code at {self.address} on chain {self.chain_id} differs from this release's, "
            f"first at byte {self.difference}: {what}. Do not send money there",
            self.difference,
        )


@dataclass(frozen=True, slots=True)
class DeploymentRecord:
    """What `deployments/<chainId>.json` holds; hashes and addresses in hex.

    Attributes:
        transaction: what created the contract; None where it stood there already.
        block: in which block; None likewise. The first that an audit has to read.
    """

    chainId: int  # noqa: N815  # the names of the file
    address: str
    factory: str
    salt: str
    initCodeHash: str  # noqa: N815
    runtimeCodeHash: str  # noqa: N815
    transaction: str | None
    block: int | None


def predicted_address() -> Address:
    """Return where this release stands on every chain (EIP-1014)."""
    creation = keccak256(load_artifact(CONTRACT).bytecode)
    return Address(keccak256(b"\xff" + FACTORY.to_bytes() + SALT + creation)[12:])


def runtime_code(chain_id: int, address: Address) -> bytes:
    """Run the constructor as if on a chain and at an address; return the code that it leaves there."""
    from eth.constants import BLANK_ROOT_HASH, ZERO_HASH32
    from eth.db.atomic import AtomicDB
    from eth.vm.execution_context import ExecutionContext
    from eth.vm.forks.cancun import CancunVM
    from eth.vm.message import Message
    from eth_typing import Address as RawAddress
    from eth_typing import BlockNumber

    nobody, here = RawAddress(bytes(20)), RawAddress(address.to_bytes())
    context = ExecutionContext(nobody, 1, BlockNumber(1), 0, ZERO_HASH32, _GAS, (), chain_id, 0, 0)
    state = CancunVM.get_state_class()(AtomicDB(), context, BLANK_ROOT_HASH)
    message = Message(_GAS, here, nobody, 0, b"", load_artifact(CONTRACT).bytecode)
    origin = state.get_transaction_context_class()(gas_price=0, origin=nobody)
    done = state.computation_class.apply_computation(state, message, origin)
    done.raise_if_error()
    return bytes(done.output)


def meanings(chain_id: int, address: Address) -> Mapping[bytes, str]:
    """Return what each value that an immutable may have means, by the protocol and not by the code."""
    name, version = DOMAIN_NAME.encode(), DOMAIN_VERSION.encode()
    return {
        pack_word(chain_id): f"chain id {chain_id}",
        address.to_bytes().rjust(32, b"\0"): "the contract's own address",
        Domain(chain_id, address).separator(): "EIP-712 domain separator of chain and address",
        keccak256(name): f'keccak256 of the domain\'s name "{DOMAIN_NAME}"',
        keccak256(version): f'keccak256 of the domain\'s version "{DOMAIN_VERSION}"',
        _short_string(name): f'the domain\'s name "{DOMAIN_NAME}"',
        _short_string(version): f'the domain\'s version "{DOMAIN_VERSION}"',
    }


def check(gateway: Gateway, address: Address | None = None) -> CodeReport:
    """Compare every byte of the code at an address with what this source leaves there.

    Args:
        gateway: the chain.
        address: where; None takes the address that this release has on every chain.

    Raises:
        NotDeployed: when there is no code.
    """
    chain_id, where = gateway.chain_id(), address or predicted_address()
    found = gateway.code(where)
    if not found:
        hint = "; put it there with 'meterbridge deploy'" if address is None else ""
        raise NotDeployed(f"there is no code at {where} on chain {chain_id}{hint}", where)
    expected = runtime_code(chain_id, where)
    places = load_artifact(CONTRACT).immutable_places
    known = meanings(chain_id, where)
    immutables = tuple(
        Immutable(
            start,
            known.get(expected[start : start + length], "computed by the constructor"),
            expected[start : start + length],
            found[start : start + length],
        )
        for start, length in places
    )
    return CodeReport(
        chain_id,
        where,
        keccak256(found),
        len(found),
        immutables,
        _first_difference(found, expected),
        load_artifact(CONTRACT).matches(found),
    )


def deploy(gateway: Gateway) -> DeploymentRecord:
    """Put the contract at its address, unless it is there already, and check every byte of it.

    Puts the factory there first where it is missing; its sender is then given 0.01 of the chain's own money.

    Raises:
        NoFactory: when it is missing and the chain refuses the transaction that puts it there.
        CodeDiffers: when something else stands at the address.
    """
    address, transaction, block = predicted_address(), None, None
    if not gateway.code(address):
        require_factory(gateway)
        sent = gateway.send(FACTORY, SALT + load_artifact(CONTRACT).bytecode)
        mined = gateway.wait(sent)
        transaction, block = f"0x{sent.hex()}", int(mined["blockNumber"])
    report = check(gateway)
    report.require_ok()
    return DeploymentRecord(
        chainId=report.chain_id,
        address=str(address),
        factory=str(FACTORY),
        salt=f"0x{SALT.hex()}",
        initCodeHash=f"0x{keccak256(load_artifact(CONTRACT).bytecode).hex()}",
        runtimeCodeHash=f"0x{report.code_hash.hex()}",
        transaction=transaction,
        block=block,
    )


def require_factory(gateway: Gateway) -> None:
    """Make sure that the deterministic deployment proxy stands at its address.

    Raises:
        NoFactory: when it does not, and cannot be put there.
    """
    if (found := gateway.code(FACTORY)) == FACTORY_RUNTIME:
        return
    if found:
        raise NoFactory(f"something else stands at {FACTORY} on chain {gateway.chain_id()}", found)
    missing = FACTORY_COST - gateway.balance(FACTORY_SENDER)
    if missing > 0:
        gateway.wait(gateway.send_value(FACTORY_SENDER, missing))
    try:
        sent = gateway.w3.eth.send_raw_transaction(FACTORY_TRANSACTION)
    except (Web3Exception, Web3ValidationError) as error:
        raise NoFactory(
            f"this chain has no deterministic deployment proxy at {FACTORY} and refuses the transaction "
            "that puts it there, because that is signed without a chain id. Its operators can allow such "
            "transactions for a moment, or put the proxy into the genesis; all else gives another address",
            FACTORY,
        ) from error
    gateway.wait(bytes(sent))
    if gateway.code(FACTORY) != FACTORY_RUNTIME:
        raise NoFactory(f"the transaction was mined, and {FACTORY} still has no proxy", FACTORY)


def write_record(folder: Path, record: DeploymentRecord) -> Path:
    """Write `<chainId>.json`; what an earlier record says of the same contract's creation is kept.

    Returns:
        The file.
    """
    path = folder / f"{record.chainId}.json"
    values: dict[str, Any] = asdict(record)
    if path.exists() and record.transaction is None:
        earlier = json.loads(path.read_text(encoding="utf-8"))
        if earlier.get("address") == record.address:
            values |= {"transaction": earlier.get("transaction"), "block": earlier.get("block")}
    folder.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
    os.replace(part, path)  # noqa: PTH105  # a reader sees the old file or the new one
    return path


def _short_string(text: bytes) -> bytes:
    """Return a text of up to 31 bytes as one word, its length in the last byte."""
    return text.ljust(31, b"\0") + bytes([len(text)])


def _first_difference(found: bytes, expected: bytes) -> int | None:
    if found == expected:
        return None
    pairs = zip(found, expected, strict=False)
    return next((at for at, (a, b) in enumerate(pairs) if a != b), min(len(found), len(expected)))
