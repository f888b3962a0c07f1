"""Everything that one can ask the contract, in domain values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any, Final

from meterbridge.adapters.chain.abi import load_artifact
from meterbridge.adapters.chain.events import TRANSFER_TOPIC, decode_events, decode_transfer
from meterbridge.adapters.chain.gateway import Gateway
from meterbridge.domain.addresses import Address
from meterbridge.domain.keccak import keccak256
from meterbridge.domain.splits import Split
from meterbridge.domain.statements import DOMAIN_NAME, DOMAIN_VERSION, ClaimAuthorization, Domain, Statement
from meterbridge.domain.tariffs import Tariff
from meterbridge.domain.units import AssetAmount, UsageVector
from meterbridge.services.chain_errors import Refusal, WrongChain
from meterbridge.services.chain_events import ChainEvent, TokenTransfer
from meterbridge.services.chain_ports import Escrow, Stake, StakeKey, Thaw

_ARTIFACT: Final = load_artifact("SettlementSplitter")
_VALID_SIGNATURE: Final = keccak256(b"isValidSignature(bytes32,bytes)")[:4]  # ERC-1271, selector and answer
_BALANCE_OF: Final = keccak256(b"balanceOf(address)")[:4]
VIEWS_PER_CALL: Final = 1000


class SplitterViews:
    """Reads one SettlementSplitter. Every view can be asked as of the end of an earlier block.

    Attributes:
        gateway: the node.
        address: the contract.
    """

    def __init__(self, gateway: Gateway, address: Address) -> None:
        """Keep what it works with; nothing is asked of the node yet."""
        self.gateway: Final = gateway
        self.address: Final = address

    @cached_property
    def domain(self) -> Domain:
        """Chain and contract as signatures name them, from the contract's own answer (ERC-5267).

        Raises:
            ChainUnavailable: when no such contract answers at the address.
            WrongChain: when it answers for another contract or another protocol.
        """
        answer = self._view("eip712Domain", block=None)
        _, name, version, chain_id, contract, _, _ = answer
        if (name, version, contract) != (DOMAIN_NAME, DOMAIN_VERSION, self.address):
            raise WrongChain(
                f"{self.address} is no splitter, it is {name!r} {version!r} at {contract}", answer
            )
        if chain_id != self.gateway.chain_id():
            raise WrongChain(f"{self.address} says that it is on chain {chain_id}, the node is not", chain_id)
        return Domain(chain_id, contract)

    def now(self) -> int:
        """Return the time that the next block will at least have, in seconds since 1970."""
        return self.gateway.now()

    def newest_block(self) -> int:
        """Return the number of the newest block."""
        return self.gateway.newest_block()

    def runs_released_code(self, *, block: int | None = None) -> bool:
        """Tell whether the contract's code is that of this release, immutable values aside."""
        return _ARTIFACT.matches(self.gateway.code(self.address, block))

    # Accounts and signers

    def escrow(self, tariff_id: bytes, payer: Address, *, block: int | None = None) -> Escrow:
        """Return a payer's account under a tariff."""
        found: Escrow = self._view("account", tariff_id, str(payer), block=block)
        return found

    def escrows(
        self, tariff_id: bytes, payers: Sequence[Address], *, block: int | None = None
    ) -> tuple[Escrow, ...]:
        """Return the accounts of many payers, a thousand in one call."""
        return tuple(self._views("account", [(tariff_id, str(payer)) for payer in payers], block))

    def thawing(self, tariff_id: bytes, payer: Address, *, block: int | None = None) -> Thaw:
        """Return a payer's thaw; what can be withdrawn is at most the balance."""
        found: Thaw = self._view("thawing", tariff_id, str(payer), block=block)
        return found

    def secured(self, tariff: Tariff, payer: Address, until: int, *, block: int | None = None) -> AssetAmount:
        """Return how much of a payer's balance cannot be withdrawn before `until` (seconds since 1970)."""
        found: AssetAmount = self._view("secured", tariff.abi_tuple(), str(payer), until, block=block)
        return found

    def signer_until(self, provider: Address, signer: Address, *, block: int | None = None) -> int:
        """Return until when a provider lets a signer sign; 0 for never."""
        found: int = self._view("signerUntil", str(provider), str(signer), block=block)
        return found

    def accepts_signature(self, signer: Address, digest: bytes, signature: bytes) -> bool:
        """Tell whether `signer` is a contract that accepts the signature (ERC-1271)."""
        offset, length = (64).to_bytes(32, "big"), len(signature).to_bytes(32, "big")
        padded = signature + bytes(-len(signature) % 32)
        try:
            answer = self.gateway.call(signer, _VALID_SIGNATURE + digest + offset + length + padded)
        except Refusal:
            return False  # a contract that reverts has not said yes
        return answer == _VALID_SIGNATURE.ljust(32, b"\0")

    # Pots and stakes

    def pot(self, split_id: bytes, *, block: int | None = None) -> AssetAmount:
        """Return all that was ever allocated to a split, claimed or not."""
        found: AssetAmount = self._view("pot", split_id, block=block)
        return found

    def stake(self, key: StakeKey, *, block: int | None = None) -> Stake:
        """Return a party's share and what it claimed; a share of 0 while it is not registered."""
        return self.stakes([key], block=block)[0]

    def stakes(self, keys: Sequence[StakeKey], *, block: int | None = None) -> tuple[Stake, ...]:
        """Return many stakes, a thousand in one call."""
        return tuple(self._views("stake", [(k.split_id, k.offset, str(k.account)) for k in keys], block))

    def entitled(self, split: Split, share: int, *, block: int | None = None) -> AssetAmount:
        """Return what a share of a split is worth so far, claimed or not, rounded down."""
        found: AssetAmount = self._view("entitled", split.abi_tuple(), share, block=block)
        return found

    def claimable(
        self, split: Split, offset: int, account: Address, *, block: int | None = None
    ) -> AssetAmount:
        """Return what a registered party would be paid now; 0 for an unregistered one."""
        found: AssetAmount = self._view("claimable", split.abi_tuple(), offset, str(account), block=block)
        return found

    def claimables(
        self, split: Split, keys: Sequence[StakeKey], *, block: int | None = None
    ) -> tuple[AssetAmount, ...]:
        """Return what many registered parties of one split would be paid, a thousand in one call."""
        values = [(split.abi_tuple(), key.offset, str(key.account)) for key in keys]
        return tuple(self._views("claimable", values, block))

    def nonce(self, account: Address, *, block: int | None = None) -> int:
        """Return the nonce of an account's next claim authorization."""
        found: int = self._view("nonces", str(account), block=block)
        return found

    # Pure functions of the contract: what it computes of the same values

    def price(self, tariff: Tariff, usage: UsageVector) -> AssetAmount:
        """Return what the contract asks for a cumulative usage."""
        found: AssetAmount = self._view("price", tariff.abi_tuple(), usage.to_words(), block=None)
        return found

    def tariff_id(self, tariff: Tariff) -> bytes:
        """Return the key of a tariff as the contract computes it."""
        return bytes(self._view("tariffId", tariff.abi_tuple(), block=None))

    def split_id(self, split: Split) -> bytes:
        """Return the key of a split as the contract computes it."""
        return bytes(self._view("splitId", split.abi_tuple(), block=None))

    def hash_statement(self, statement: Statement) -> bytes:
        """Return the digest that the contract wants signed."""
        lines = [line.abi_tuple() for line in statement.lines]
        raw = (statement.tariff_id, statement.sealed_at, lines)
        return bytes(self._view("hashStatement", raw, block=None))

    def hash_claim_authorization(self, authorization: ClaimAuthorization) -> bytes:
        """Return the digest that the contract wants signed."""
        return bytes(self._view("hashClaimAuthorization", authorization.abi_tuple(), block=None))

    # The past

    def events(self, from_block: int, to_block: int) -> tuple[ChainEvent, ...]:
        """Return the contract's events of these blocks, both included, in order."""
        return tuple(decode_events(self.gateway.logs(self.address, [], from_block, to_block), self.address))

    def transfers(self, token: Address, from_block: int, to_block: int) -> tuple[TokenTransfer, ...]:
        """Return a token's transfers into and out of the contract, in order."""
        mine = self.address.to_bytes().rjust(32, b"\0")
        found: dict[Any, TokenTransfer] = {}
        for topics in ([TRANSFER_TOPIC, None, mine], [TRANSFER_TOPIC, mine]):
            for log in self.gateway.logs(token, topics, from_block, to_block):
                # Four topics are those of a collection of unique tokens; other data is no ERC-20's at all.
                if len(log["topics"]) == 3 and len(log["data"]) == 32:
                    transfer = decode_transfer(log)
                    found[transfer.at] = transfer  # one to itself is found both ways
        return tuple(found[place] for place in sorted(found))

    def token_balance(self, token: Address, *, block: int | None = None) -> AssetAmount:
        """Return what the contract holds of a token."""
        data = _BALANCE_OF + self.address.to_bytes().rjust(32, b"\0")
        return AssetAmount(int.from_bytes(self.gateway.call(token, data, block)[:32], "big"))

    def _view(self, function: str, *values: object, block: int | None) -> Any:
        answer = self.gateway.view(self.address, _ARTIFACT.abi.encode(function, *values), block)
        return _ARTIFACT.abi.decode(function, answer)

    def _views(self, function: str, values: Sequence[tuple[object, ...]], block: int | None) -> Iterator[Any]:
        """Ask the same view of many, through the contract's own multicall."""
        for start in range(0, len(values), VIEWS_PER_CALL):
            calls = [_ARTIFACT.abi.encode(function, *each) for each in values[start : start + VIEWS_PER_CALL]]
            for answer in self._view("multicall", calls, block=block):
                yield _ARTIFACT.abi.decode(function, answer)
