"""The client of an ERC-20 token: balances, approvals, and the two kinds of signatures that pay a deposit."""

from __future__ import annotations

import secrets
from functools import cached_property
from typing import Any, Final

from eth_abi.abi import encode

from meterbridge.adapters.chain.abi import load_artifact
from meterbridge.adapters.chain.calls import Permit, TokenSignature, TransferAuthorization
from meterbridge.adapters.chain.gateway import Gateway
from meterbridge.adapters.chain.splitter import deploy
from meterbridge.contracts.typed_data import DOMAIN_TYPE
from meterbridge.domain.addresses import Address
from meterbridge.domain.keccak import keccak256
from meterbridge.domain.units import UINT64_MAX, AssetAmount
from meterbridge.services.chain_errors import ChainUnavailable, Refusal, WrongChain
from meterbridge.services.ports import StatementSigner

_ABI: Final = load_artifact("TestUSD").abi
_VERSION: Final = keccak256(b"version()")[:4]
_PERMIT_TYPE: Final = (
    b"Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)"  # EIP-2612
)
_RECEIVE_TYPE: Final = (  # EIP-3009
    b"ReceiveWithAuthorization(address from,address to,uint256 value,"
    b"uint256 validAfter,uint256 validBefore,bytes32 nonce)"
)
NEVER: Final = UINT64_MAX
"""A deadline that does not come."""


class TokenClient:
    """Reads one ERC-20 token, sends it transactions in the name of the gateway's sender, and signs for it.

    Attributes:
        gateway: the node.
        address: the token.
    """

    def __init__(self, gateway: Gateway, address: Address) -> None:
        """Keep what it works with; nothing is asked of the node yet."""
        self.gateway: Final = gateway
        self.address: Final = address

    @classmethod
    def deploy_test_usd(cls, gateway: Gateway) -> TokenClient:
        """Deploy the test token: 6 decimals, EIP-2612, EIP-3009, and anyone mints."""
        return cls(gateway, deploy(gateway, "TestUSD"))

    def as_sender(self, gateway: Gateway) -> TokenClient:
        """Return a client of the same token for another sender."""
        return TokenClient(gateway, self.address)

    @cached_property
    def decimals(self) -> int:
        """How many decimals people show it with."""
        return int(self._view("decimals"))

    @cached_property
    def symbol(self) -> str:
        """Its short name."""
        return str(self._view("symbol"))

    def balance_of(self, account: Address, *, block: int | None = None) -> AssetAmount:
        """Return what an account holds."""
        return AssetAmount(self._view("balanceOf", str(account), block=block))

    def allowance(self, owner: Address, spender: Address) -> AssetAmount:
        """Return how much `spender` may pull from `owner`."""
        return AssetAmount(self._view("allowance", str(owner), str(spender)))

    def approve(self, spender: Address, amount: AssetAmount) -> bytes:
        """Let `spender` pull so much from the sender; return the transaction's hash."""
        return self._transact("approve", str(spender), amount.base_units)

    def transfer(self, recipient: Address, amount: AssetAmount) -> bytes:
        """Send from the sender; return the transaction's hash."""
        return self._transact("transfer", str(recipient), amount.base_units)

    def mint(self, recipient: Address, amount: AssetAmount) -> bytes:
        """Make new units, as only a test token lets anyone; return the transaction's hash."""
        return self._transact("mint", str(recipient), amount.base_units)

    def sign_permit(
        self, owner: StatementSigner, spender: Address, amount: AssetAmount, *, deadline: int = NEVER
    ) -> Permit:
        """Sign a permit (EIP-2612) with the owner's next nonce.

        Args:
            owner: whose tokens they are.
            spender: who may pull them; for a deposit the splitter.
            amount: exactly what will be pulled.
            deadline: until when it is good, seconds since 1970.
        """
        nonce = self._view("nonces", str(owner.address))
        fields = (str(owner.address), str(spender), amount.base_units, nonce, deadline)
        struct = encode(["address", "address", "uint256", "uint256", "uint256"], fields)
        return Permit(deadline, self._sign(owner, _PERMIT_TYPE, struct))

    def sign_deposit(
        self,
        payer: StatementSigner,
        splitter: Address,
        tariff_id: bytes,
        amount: AssetAmount,
        *,
        valid_after: int = 0,
        valid_before: int = NEVER,
        salt: bytes | None = None,
    ) -> TransferAuthorization:
        """Sign a deposit under one tariff (EIP-3009): its nonce names the tariff (protocol, section 7).

        Args:
            payer: whose tokens they are, and whose account is credited.
            splitter: the contract that receives them.
            tariff_id: 32 bytes.
            amount: exactly what will arrive.
            valid_after: good later than this, seconds since 1970.
            valid_before: good earlier than this.
            salt: 32 bytes that were never used under this tariff; fresh ones by default.
        """
        salt = secrets.token_bytes(32) if salt is None else salt
        nonce = keccak256(tariff_id + salt)
        types = ["address", "address", "uint256", "uint256", "uint256", "bytes32"]
        fields = (str(payer.address), str(splitter), amount.base_units, valid_after, valid_before, nonce)
        signature = self._sign(payer, _RECEIVE_TYPE, encode(types, fields))
        return TransferAuthorization(valid_after, valid_before, salt, signature)

    @cached_property
    def domain_separator(self) -> bytes:
        """The token's EIP-712 domain, computed here and compared with what the token says.

        Not simply what the token says: a lying node could have us sign for another token.

        Raises:
            WrongChain: when the two differ.
        """
        name, version = self._name_and_version()
        types = ["bytes32", "bytes32", "bytes32", "uint256", "address"]
        hashes = [keccak256(text.encode()) for text in (DOMAIN_TYPE, name, version)]
        computed = keccak256(encode(types, [*hashes, self.gateway.chain_id(), str(self.address)]))
        stated = bytes(self._view("DOMAIN_SEPARATOR"))
        if stated != computed:
            raise WrongChain(
                f"token {self.address} signs under another EIP-712 domain than name {name!r} and version "
                f"{version!r} give; deposit by approval instead",
                stated,
            )
        return computed

    def _name_and_version(self) -> tuple[str, str]:
        """Ask by ERC-5267; older tokens have a name, and a version or none."""
        try:
            answer = self._view("eip712Domain")
            return answer[1], answer[2]
        except (Refusal, ChainUnavailable):
            return self._view("name"), self._version()

    def _version(self) -> str:
        try:
            answer = self.gateway.call(self.address, _VERSION)
        except Refusal:
            return "1"
        return str(_ABI.decode("name", answer)) if answer else "1"

    def _sign(self, signer: StatementSigner, type_string: bytes, fields: bytes) -> TokenSignature:
        struct_hash = keccak256(keccak256(type_string) + fields)
        digest = keccak256(b"\x19\x01" + self.domain_separator + struct_hash)
        return TokenSignature.of(signer.sign_digest(digest))

    def _view(self, function: str, *values: object, block: int | None = None) -> Any:
        return _ABI.decode(function, self.gateway.call(self.address, _ABI.encode(function, *values), block))

    def _transact(self, function: str, *values: object) -> bytes:
        tx_hash = self.gateway.send(self.address, _ABI.encode(function, *values))
        self.gateway.wait(tx_hash)
        return tx_hash
