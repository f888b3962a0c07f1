"""One node: calls, transactions and logs, with everything that can go wrong mapped onto our exceptions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from json import JSONDecodeError
from typing import Any, Final, TypeAlias, cast
from urllib.parse import urlsplit

from hexbytes import HexBytes
from requests.exceptions import HTTPError, RequestException
from web3 import Web3
from web3.exceptions import (
    BadResponseFormat,
    BlockNotFound,
    ContractLogicError,
    ProviderConnectionError,
    TimeExhausted,
    TransactionNotFound,
    Web3Exception,
    Web3RPCError,
)
from web3.types import BlockData, BlockIdentifier, FilterParams, LogReceipt, TxParams, TxReceipt, Wei

from meterbridge.adapters.chain.access import paying_access_list
from meterbridge.adapters.chain.errors import from_revert
from meterbridge.adapters.chain.ranges import LogRanges
from meterbridge.adapters.chain.senders import Sender
from meterbridge.domain.addresses import Address
from meterbridge.services.chain_errors import (
    ChainError,
    ChainUnavailable,
    TransactionReverted,
    TransactionUnresolved,
)

RECEIPT_TIMEOUT: Final = 120.0
Topic: TypeAlias = bytes | Sequence[bytes] | None
"""One value, any of several, or None for whatever it is."""
_VIEW_TRIES: Final = 3

_BUSY: Final = (429, 500, 502, 503)
"""Statuses by which a node says that it cannot answer now, whatever stands beside them."""


class ReadOnly(ChainError):
    """Something is to be sent, and nobody was named to send it."""


class NodeRefuses(ChainError):
    """The node does not take a request: no funds for gas, a nonce in use, a method that it does not offer."""


class NoSuchBlock(NodeRefuses):
    """The node has not the block that is asked for, or not yet."""


class Gateway:
    """A node and, where something is to be sent, who sends it.

    Attributes:
        w3: the node.
        sender: who sends; None for reading only.
    """

    def __init__(
        self,
        w3: Web3,
        sender: Sender | None = None,
        *,
        fixed_gas: int | None = None,
        timeout: float = RECEIPT_TIMEOUT,
    ) -> None:
        """Keep what it works with; nothing is asked of the node yet.

        Args:
            w3: the node.
            sender: who sends.
            fixed_gas: gas limit of every transaction; None asks the node for an estimate each time.
            timeout: seconds to wait for a receipt.
        """
        self.w3: Final = w3
        self.sender: Final = sender
        self._fixed_gas = fixed_gas
        self._timeout = timeout
        self._ranges = LogRanges()

    def chain_id(self) -> int:
        """Return the chain's id."""
        with self._mapped():
            found = self.w3.eth.chain_id
        # A node that answers null passes through web3; nothing may be signed for it.
        if not isinstance(found, int):
            raise ChainUnavailable(f"{self._where()} names no chain", found)
        return found

    def newest_block(self) -> int:
        """Return the number of the newest block."""
        with self._mapped():
            return self.w3.eth.block_number

    def now(self) -> int:
        """Return the time that the next block will at least have."""
        with self._mapped():
            newest, pending = (self.w3.eth.get_block(which) for which in ("latest", "pending"))
            return max(newest["timestamp"], pending["timestamp"])

    def code(self, address: Address, block: int | None = None) -> bytes:
        """Return the code at an address; empty where there is none."""
        with self._mapped():
            return bytes(self.w3.eth.get_code(Web3.to_checksum_address(str(address)), _at(block)))

    def balance(self, account: Address) -> int:
        """Return what an account has for gas, in wei."""
        with self._mapped():
            return self.w3.eth.get_balance(Web3.to_checksum_address(str(account)))

    def managed_accounts(self) -> list[Address]:
        """Return the accounts that the node itself can send for; most nodes have none."""
        try:
            with self._mapped():
                return [Address.parse(account) for account in self.w3.eth.accounts]
        except NodeRefuses:
            return []

    def view(self, to: Address, data: bytes, block: int | None = None) -> bytes:
        """Ask a contract for what it always has an answer to.

        A node that is about to change its chain now and then answers with no bytes, as if there were no
        contract. Where there is one it is asked again; what is empty even then, the caller judges.
        """
        for _ in range(_VIEW_TRIES):
            answer = self.call(to, data, block)
            if answer or not self.code(to, block):
                break
        return answer

    def call(self, to: Address, data: bytes, block: int | None = None) -> bytes:
        """Ask a contract.

        Raises:
            Refusal: when it reverts.
        """
        with self._mapped():
            return self._call({"to": Web3.to_checksum_address(str(to)), "data": data}, _at(block))

    def send(self, to: Address | None, data: bytes, *, listed: bool = False) -> bytes:
        """Send a transaction that would succeed, and return its hash; without `to` it deploys.

        Args:
            to: whom to call.
            data: calldata.
            listed: attach the access list of what it reads, where that is cheaper.

        Raises:
            Refusal: when it would fail; nothing was sent.
        """
        request: TxParams = {"data": data}
        if to is not None:
            request["to"] = Web3.to_checksum_address(str(to))
        return self._send(request, listed)

    def send_value(self, to: Address, wei: int) -> bytes:
        """Send the chain's own money; return the transaction's hash."""
        return self._send({"to": Web3.to_checksum_address(str(to)), "value": Wei(wei), "data": b""})

    def wait(self, tx_hash: bytes) -> TxReceipt:
        """Return the receipt of a transaction that was mined and succeeded.

        Raises:
            Refusal, TransactionReverted: when it was mined and failed.
            TransactionUnresolved: when it was not mined in time.
        """
        with self._mapped():
            receipt = self.w3.eth.wait_for_transaction_receipt(HexBytes(tx_hash), self._timeout)
            if receipt["status"] != 1:
                self._raise_reason(tx_hash, receipt)
            return receipt

    def block(self, which: int | str | bytes) -> BlockData | None:
        """Return a block by its number, tag or hash; None where the node has none."""
        try:
            with self._mapped():
                return self.w3.eth.get_block(HexBytes(which) if isinstance(which, bytes) else which)  # type: ignore[arg-type]
        except NoSuchBlock:
            return None

    def logs(
        self,
        address: Address,
        topics: Sequence[Topic],
        from_block: int,
        to_block: int,
        *,
        span: int | None = None,
    ) -> Iterator[LogReceipt]:
        """Yield a contract's logs of these blocks, both included, in order.

        Args:
            address: the contract.
            topics: what each topic must be: one value, any of several, or None for whatever it is.
            from_block: the first block.
            to_block: the last one.
            span: how many blocks are asked for at once; None asks for as many as the node was found to allow.
        """
        ranges = self._ranges if span is None else LogRanges(span)

        def ask(first: int, last: int) -> list[LogReceipt]:
            return self.logs_at_once(address, topics, first, last)

        for found in ranges.read(ask, from_block, to_block):
            yield from found

    def logs_at_once(
        self, address: Address, topics: Sequence[Topic], from_block: int, to_block: int
    ) -> list[LogReceipt]:
        """Return the same in one request, which the node may refuse for its size."""
        wanted: FilterParams = {"fromBlock": from_block, "toBlock": to_block}
        return self._logs(address, topics, wanted)

    def logs_of(self, address: Address, topics: Sequence[Topic], block_hash: bytes) -> list[LogReceipt]:
        """Return a contract's logs of one block; a node that has not that block refuses."""
        return self._logs(address, topics, {"blockHash": HexBytes(block_hash)})

    def _logs(self, address: Address, topics: Sequence[Topic], where: FilterParams) -> list[LogReceipt]:
        where["address"] = Web3.to_checksum_address(str(address))
        where["topics"] = [_topic_words(topic) for topic in topics]
        with self._mapped():
            found = self.w3.eth.get_logs(where)
        return sorted(found, key=lambda log: (log["blockNumber"], log["logIndex"]))

    def _send(self, request: TxParams, listed: bool = False) -> bytes:
        if self.sender is None:
            raise ReadOnly("this client only reads; name an account to send from")
        with self._mapped():
            if listed:
                sender = Web3.to_checksum_address(str(self.sender.address))
                entries = paying_access_list(self.w3, {**request, "from": sender})
                request |= cast("TxParams", {"accessList": entries} if entries else {})
            request["gas"] = self._gas(request, self.sender.address)
            return self.sender.submit(self.w3, request)

    def _gas(self, request: TxParams, sender: Address) -> int:
        """Find out that a transaction succeeds in the next block, and which gas limit it needs."""
        tried: TxParams = {**request, "from": Web3.to_checksum_address(str(sender))}
        if self._fixed_gas is None:
            # A quarter more: state may change until it is mined, and part of what a call uses is given back.
            return self.w3.eth.estimate_gas(tried, "pending") * 5 // 4
        self._call({**tried, "gas": self._fixed_gas}, "pending")
        return self._fixed_gas

    def _call(self, request: TxParams, block: BlockIdentifier) -> bytes:
        return bytes(self.w3.eth.call(request, block, ccip_read_enabled=False))

    def _raise_reason(self, tx_hash: bytes, receipt: TxReceipt) -> None:
        """Run a failed transaction again on the state before its block, and raise what it says."""
        sent = self.w3.eth.get_transaction(HexBytes(tx_hash))
        again: TxParams = {"from": sent["from"], "data": sent["input"], "gas": sent["gas"]}
        if sent.get("to"):
            again["to"] = sent["to"]
        self._call(again, receipt["blockNumber"] - 1)
        raise TransactionReverted(
            f"transaction 0x{tx_hash.hex()} was mined in block {receipt['blockNumber']} and failed; the same "
            "call succeeds on the state before that block, so something in the block came first",
            tx_hash,
        )

    @contextmanager
    def _mapped(self) -> Iterator[None]:
        """Raise our exceptions instead of those of the libraries below."""
        try:
            yield
        except ContractLogicError as error:
            raise from_revert(error) from error
        except TimeExhausted as error:
            raise TransactionUnresolved(f"no receipt within {self._timeout} seconds: {error}") from error
        except BlockNotFound as error:
            raise NoSuchBlock(f"the node refuses: {error}", error.rpc_response) from error
        except (Web3RPCError, TransactionNotFound) as error:
            raise NodeRefuses(f"the node refuses: {_node_message(error)}", error.rpc_response) from error
        except (RequestException, ProviderConnectionError, BadResponseFormat, JSONDecodeError) as error:
            if refused := _refusal_of(error):
                raise refused from None
            # Without the cause: its text holds the URL, which may hold a key.
            raise ChainUnavailable(f"{self._where()} does not answer: {_failure(error)}") from None
        except Web3Exception as error:
            raise NodeRefuses(f"the request cannot be made: {error}") from error

    def _where(self) -> str:
        """Name the node without what may be secret in its URL: user, password, path and query."""
        url = urlsplit(str(getattr(self.w3.provider, "endpoint_uri", "") or ""))
        return f"the node at {url.scheme}://{url.hostname}:{url.port}" if url.hostname else "the node"


def _topic_words(topic: Topic) -> Any:
    if topic is None or isinstance(topic, bytes):
        return None if topic is None else Web3.to_hex(topic)
    return [Web3.to_hex(one) for one in topic]


def _at(block: int | None) -> BlockIdentifier:
    return "latest" if block is None else block


def _refusal_of(error: Exception) -> NodeRefuses | None:
    """Return what a node says beside a status such as 400, as some do for too long a range of logs."""
    if not isinstance(error, HTTPError) or error.response is None or error.response.status_code in _BUSY:
        return None
    try:
        answer = error.response.json()
        said = str(answer["error"]["message"])
    except (ValueError, TypeError, KeyError):
        return None
    return NodeRefuses(f"the node refuses: {said}", answer)


def _failure(error: Exception) -> str:
    """Say what went wrong without repeating the URL."""
    if isinstance(error, HTTPError) and error.response is not None:
        return f"HTTP status {error.response.status_code}"
    if isinstance(error, (BadResponseFormat, JSONDecodeError)):
        return "its answer is no JSON-RPC; is the URL right?"
    return type(error).__name__


def _node_message(error: Web3RPCError) -> str:
    """Return what the node said, without the JSON around it."""
    response = error.rpc_response or {}
    stated = response.get("error")
    return str(stated["message"]) if isinstance(stated, dict) and "message" in stated else str(error.message)
