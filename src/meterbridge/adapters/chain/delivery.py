"""The chain as the outbox sees it (`services.settling.ports.DeliveryChain`), over one or several endpoints.

Values are read from JSON by hand, and each is held against what was asked: an answer to another question, as
a faulty proxy gives it, is no answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from meterbridge.adapters.chain import calls
from meterbridge.adapters.chain.broadcasting import broadcast_answer, refusal_of
from meterbridge.adapters.chain.endpoints import Endpoints
from meterbridge.adapters.chain.multiview import pack_calls, read_words
from meterbridge.adapters.chain.receipts import read_receipt
from meterbridge.adapters.chain.rpc import NodeError
from meterbridge.domain.addresses import Address
from meterbridge.domain.keccak import keccak256
from meterbridge.domain.statements import Domain
from meterbridge.domain.tariffs import Tariff
from meterbridge.domain.units import AssetAmount
from meterbridge.services.chain_errors import ChainError, ChainUnavailable
from meterbridge.services.chain_ports import Escrow, Thaw
from meterbridge.services.settling.parcels import Parcel
from meterbridge.services.settling.ports import (
    Answer,
    Broadcast,
    ChainHead,
    Fees,
    MinedTransaction,
    Trial,
    Unsigned,
)

VIEWS_PER_CALL: Final = 1000
_FEE_BLOCKS: Final = 10
_BEST_ANSWER_FIRST: Final = (
    *(Broadcast.TAKEN, Broadcast.KNOWN, Broadcast.NONCE_USED, Broadcast.UNDERPRICED),
    *(Broadcast.NO_FUNDS, Broadcast.REFUSED, Broadcast.UNKNOWN),
)


class DeliveryClient:
    """One contract on one chain, for sending statements to it."""

    def __init__(self, endpoints: Endpoints, domain: Domain) -> None:
        """Take endpoints; only those on the right chain with the contract on it are used.

        Raises:
            ChainUnavailable: when none answers.
            WrongChain: when they are on another chain, or have no contract at the address.
        """
        endpoints.require(domain)
        self.endpoints: Final = endpoints
        self.domain: Final = domain
        self._contract: Final = str(domain.verifying_contract)

    def head(self, tag: str | None = None) -> ChainHead:
        """See `DeliveryChain`."""
        number = self.endpoints.head()
        if tag is None:
            return ChainHead(number, None)
        try:
            block = self._ask("eth_getBlockByNumber", tag, False)
        except NodeError:
            block = None  # the chain knows no such tag
        return ChainHead(number, _whole(block.get("number")) if isinstance(block, dict) else None)

    def fees(self) -> Fees:
        """See `DeliveryChain`."""
        try:
            history = self._ask("eth_feeHistory", hex(_FEE_BLOCKS), "latest", [50])
            rewards = sorted(
                _whole(reward[0])
                for reward, used in zip(history["reward"], history["gasUsedRatio"], strict=True)
                if used > 0
            )
            tip = rewards[len(rewards) // 2] if rewards else 0
            return Fees(_whole(history["baseFeePerGas"][-1]), tip)
        except (NodeError, KeyError, IndexError, TypeError, ValueError):
            return self._plain_fees()

    def try_settle(self, sender: Address, tariff: Tariff, parcel: Parcel) -> Trial:
        """See `DeliveryChain`."""
        data = "0x" + self.settle_data(tariff, parcel).hex()
        call = {"from": str(sender), "to": self._contract, "data": data}
        try:
            drawn = self._ask("eth_call", call, "pending")
            gas = self._ask("eth_estimateGas", call, "pending")
        except NodeError as error:
            refusal = refusal_of(error)
            if refusal is None:
                raise
            raise refusal from error
        return Trial(AssetAmount(_whole(drawn)), _whole(gas))

    def settle_data(self, tariff: Tariff, parcel: Parcel) -> bytes:
        """See `DeliveryChain`."""
        return parcel.calldata(lambda: calls.settle_parcel(tariff, parcel))

    def used_nonces(self, sender: Address, block: int | None = None) -> int:
        """See `DeliveryChain`."""
        at = "latest" if block is None else hex(max(0, block))
        return _whole(self._ask("eth_getTransactionCount", str(sender), at))

    def pending_nonces(self, sender: Address) -> int:
        """See `DeliveryChain`."""
        return _whole(self._ask("eth_getTransactionCount", str(sender), "pending"))

    def broadcast(self, raw: bytes) -> Answer:
        """See `DeliveryChain`. Every endpoint gets it: one alone might keep it to itself."""
        tx_hash, told = keccak256(raw), []
        for answer in self.endpoints.ask_each("eth_sendRawTransaction", ["0x" + raw.hex()]):
            told.append(broadcast_answer(answer, tx_hash))
        return min(told, key=lambda answer: _BEST_ANSWER_FIRST.index(answer.meaning))

    def send_unsigned(self, sender: Address, transaction: Unsigned) -> Answer:
        """See `DeliveryChain`. Only one endpoint holds the key, so only the first is asked."""
        request = {
            "from": str(sender),
            "to": str(transaction.to),
            "data": "0x" + transaction.data.hex(),
            "nonce": hex(transaction.nonce),
            "gas": hex(transaction.gas),
            "maxFeePerGas": hex(transaction.max_wei),
            "maxPriorityFeePerGas": hex(transaction.tip_wei),
            "value": "0x0",
        }
        try:
            return broadcast_answer(self._ask("eth_sendTransaction", request), None)
        except ChainError as error:
            return broadcast_answer(error, None)

    def mined(self, tx_hash: bytes, tariff_id: bytes) -> MinedTransaction | None:
        """See `DeliveryChain`."""
        found = self._ask("eth_getTransactionReceipt", "0x" + tx_hash.hex())
        return None if found is None else read_receipt(found, tx_hash, self.domain, tariff_id)

    def knows(self, tx_hash: bytes) -> bool:
        """See `DeliveryChain`."""
        found = self._ask("eth_getTransactionByHash", "0x" + tx_hash.hex())
        return isinstance(found, dict) and found.get("hash") == "0x" + tx_hash.hex()

    def hash_of(self, sender: Address, nonce: int, from_block: int) -> bytes | None:
        """See `DeliveryChain`: by halving the blocks in which the account can have used the nonce."""
        low, high = max(0, from_block), self.endpoints.head()
        if self.used_nonces(sender, high) <= nonce:
            return None
        step = 1  # a reorganisation may have put it into an earlier block than the newest when it was made
        while low and self.used_nonces(sender, low - 1) > nonce:
            low, step = max(0, low - step), 2 * step
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if self.used_nonces(sender, middle) > nonce else (middle + 1, high)
        block = self._ask("eth_getBlockByNumber", hex(low), True)
        for sent in block["transactions"] if isinstance(block, dict) else ():
            if Address.parse(sent["from"]) == sender and _whole(sent["nonce"]) == nonce:
                return bytes.fromhex(sent["hash"][2:])
        return None

    def agrees(self, mined: MinedTransaction) -> str | None:
        """See `DeliveryChain`. An endpoint that is behind the block says nothing; the others vote."""
        wanted, votes = "0x" + mined.block_hash.hex(), []
        for block in self.endpoints.ask_each("eth_getBlockByNumber", [hex(mined.block), False]):
            if isinstance(block, dict):
                votes.append(block.get("hash") == wanted and self._holds(block, mined.tx_hash))
        agreeing = votes.count(True)
        if agreeing >= self.endpoints.quorum and agreeing > votes.count(False):
            return None
        return (
            f"{agreeing} of {len(self.endpoints)} endpoints hold block {mined.block} with this transaction, "
            f"{votes.count(False)} hold another; {self.endpoints.quorum} must agree"
        )

    def escrows(
        self, tariff_id: bytes, payers: Sequence[Address], *, block: int | None = None
    ) -> tuple[Escrow, ...]:
        """See `DeliveryChain`."""
        rows = self._views("account", tariff_id, [payer.raw for payer in payers], 3, block)
        return tuple(
            Escrow(AssetAmount(balance), AssetAmount(settled), sealed) for balance, settled, sealed in rows
        )

    def accounts(self, tariff_id: bytes, payers: Sequence[bytes]) -> list[tuple[int, ...]]:
        """See `DeliveryChain`."""
        return self._views("account", tariff_id, payers, 3, None)

    def thaws(self, tariff_id: bytes, payers: Sequence[bytes]) -> tuple[Thaw, ...]:
        """See `DeliveryChain`."""
        rows = self._views("thawing", tariff_id, payers, 2, None)
        return tuple(Thaw(AssetAmount(amount), end) for amount, end in rows)

    def _views(
        self, function: str, tariff_id: bytes, payers: Sequence[bytes], words: int, block: int | None
    ) -> list[tuple[int, ...]]:
        at, key, found = "latest" if block is None else hex(block), tariff_id + bytes(12), []
        for start in range(0, len(payers), VIEWS_PER_CALL):
            part = payers[start : start + VIEWS_PER_CALL]
            data = pack_calls(function, [key + payer for payer in part])
            answer = self._ask("eth_call", {"to": self._contract, "data": "0x" + data.hex()}, at)
            found += read_words(bytes.fromhex(answer[2:]), len(part), words)
        return found

    @staticmethod
    def _holds(block: dict[str, Any], tx_hash: bytes) -> bool:
        return "0x" + tx_hash.hex() in block.get("transactions", ())

    def _plain_fees(self) -> Fees:
        block = self._ask("eth_getBlockByNumber", "latest", False)
        if not isinstance(block, dict) or "baseFeePerGas" not in block:
            raise ChainUnavailable("the newest block names no base fee")
        try:
            tip = _whole(self._ask("eth_maxPriorityFeePerGas"))
        except NodeError:
            tip = 0
        return Fees(_whole(block["baseFeePerGas"]) * 9 // 8, tip)

    def _ask(self, method: str, *params: Any) -> Any:
        return self.endpoints.ask(method, params)


def _whole(value: Any) -> int:
    """Read a quantity or 32 bytes.

    Raises:
        ChainUnavailable: when it is none.
    """
    try:
        return int(value, 16)
    except (TypeError, ValueError):
        raise ChainUnavailable(f"the node answers {str(value)[:80]!r} where a number is due") from None
