"""Who sends transactions: an account that the node manages, or a key that we hold.

A sender signs and hands in; whether a call would succeed was found out before, and waiting comes after.

The outbox takes an account (`services.settling.ports.Account`): one that signs hands over the raw
transaction, which is stored before it leaves and broadcast as it is after a crash. An account that the node
manages cannot; its transactions are stored as fields with their nonce, and a lost hash is looked up on the
chain by that nonce. That is weaker: a node that signs anew might sign another transaction with the same
nonce. Only one of them can be mined, and settling twice draws nothing twice.
"""

from __future__ import annotations

from typing import Any, Final, Protocol

import rlp
from eth_account.typed_transactions.typed_transaction import TypedTransaction
from web3 import Web3
from web3.types import TxParams

from meterbridge.domain.addresses import Address
from meterbridge.domain.keccak import keccak256
from meterbridge.services.chain_errors import ChainError
from meterbridge.services.ports import StatementSigner
from meterbridge.services.settling.ports import Account, Unsigned

_EIP1559: Final = b"\x02"


class Sender(Account, Protocol):
    """An account that can send transactions."""

    def submit(self, w3: Web3, transaction: TxParams) -> bytes:
        """Hand a transaction in and return its 32-byte hash.

        Args:
            w3: the node.
            transaction: `data`, `gas`, and `to` unless it deploys.
        """


class NodeSender:
    """An account whose key the node itself holds, as on the embedded chain or on anvil."""

    def __init__(self, address: Address) -> None:
        """Name the account."""
        self.address: Final = address

    @property
    def signs(self) -> bool:
        """No: the node does."""
        return False

    def sign(self, transaction: Unsigned) -> bytes:  # noqa: ARG002  # as in the port
        """Refuse: ask the node to send."""
        raise ChainError("the node holds this key and hands out no signed transactions", str(self.address))

    def submit(self, w3: Web3, transaction: TxParams) -> bytes:
        """See `Sender`."""
        return bytes(
            w3.eth.send_transaction(transaction | {"from": Web3.to_checksum_address(str(self.address))})
        )


def eip1559_fields(w3: Web3, sender: Address, transaction: TxParams) -> dict[str, Any]:
    """Complete a transaction with the chain's id, the sender's next nonce and fees for the next blocks."""
    tip = w3.eth.max_priority_fee
    base_fee = w3.eth.get_block("latest")["baseFeePerGas"]
    return {
        "type": 2,
        "chainId": w3.eth.chain_id,
        "nonce": w3.eth.get_transaction_count(Web3.to_checksum_address(str(sender)), "pending"),
        # Twice the base fee lasts for six full blocks, each of which raises it by an eighth.
        "maxFeePerGas": 2 * base_fee + tip,
        "maxPriorityFeePerGas": tip,
        "value": 0,
        **transaction,
    }


def fields_of(transaction: Unsigned) -> dict[str, Any]:
    """Return a transaction of the outbox as the fields that are signed."""
    return {
        "type": 2,
        "chainId": transaction.chain_id,
        "nonce": transaction.nonce,
        "maxFeePerGas": transaction.max_wei,
        "maxPriorityFeePerGas": transaction.tip_wei,
        "gas": transaction.gas,
        "to": Web3.to_checksum_address(str(transaction.to)),
        "value": 0,
        "data": transaction.data,
    }


def _items_of(transaction: Unsigned) -> list[Any]:
    """Return the same in the order of EIP-1559, for RLP.

    By hand: a general encoder goes through a thousand lines of calldata several times.
    """
    fees = (transaction.tip_wei, transaction.max_wei, transaction.gas)
    nothing_paid, nothing_listed = 0, list[Any]()
    to = (transaction.to.raw, nothing_paid, transaction.data, nothing_listed)
    return [transaction.chain_id, transaction.nonce, *fees, *to]


class KeySender:
    """An account whose key a signer holds; the node gets signed transactions only.

    Takes its nonce from the node each time, so one process sends for one key.
    """

    def __init__(self, signer: StatementSigner) -> None:
        """Name the signer."""
        self._signer: Final = signer

    @property
    def address(self) -> Address:
        """See `Sender`."""
        return self._signer.address

    def __repr__(self) -> str:
        return f"KeySender({self._signer!r})"

    def submit(self, w3: Web3, transaction: TxParams) -> bytes:
        """See `Sender`."""
        return bytes(w3.eth.send_raw_transaction(self.signed(w3, transaction)))

    def signed(self, w3: Web3, transaction: TxParams) -> bytes:
        """Return the signed EIP-1559 transaction as the node takes it."""
        return self._signed(eip1559_fields(w3, self.address, transaction))

    @property
    def signs(self) -> bool:
        """Yes."""
        return True

    def sign(self, transaction: Unsigned) -> bytes:
        """Return a signed transaction of the outbox."""
        items = _items_of(transaction)
        signature = self._signer.sign_digest(keccak256(_EIP1559 + rlp.encode(items)))
        r, s = (int.from_bytes(half, "big") for half in (signature[:32], signature[32:64]))
        return _EIP1559 + bytes(rlp.encode([*items, signature[64] - 27, r, s]))

    def _signed(self, fields: dict[str, Any]) -> bytes:
        digest = bytes(TypedTransaction.from_dict(fields).hash())
        signature = self._signer.sign_digest(digest)
        parts = {
            "v": signature[64] - 27,
            "r": int.from_bytes(signature[:32], "big"),
            "s": int.from_bytes(signature[32:64], "big"),
        }
        return bytes(TypedTransaction.from_dict(fields | parts).encode())
