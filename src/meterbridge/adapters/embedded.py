"""A chain inside this process: py-evm behind eth-tester, answering reverts as a JSON-RPC node does."""

from __future__ import annotations

import ast
from typing import Any, Final

from eth_abi.abi import encode
from eth_tester import EthereumTester, PyEVMBackend
from eth_tester.backends.pyevm.serializers import serialize_log
from eth_tester.exceptions import TransactionFailed
from eth_tester.exceptions import ValidationError as TesterRefuses
from eth_tester.utils.filters import check_if_log_matches
from eth_utils.exceptions import ValidationError as EvmRefuses
from hexbytes import HexBytes
from web3 import Web3
from web3.exceptions import ContractPanicError
from web3.providers.eth_tester import EthereumTesterProvider
from web3.types import RPCEndpoint, RPCResponse

from meterbridge.domain.keccak import keccak256

GAS_LIMIT: Final = 2**24
"""Of each transaction, as on Ethereum (EIP-7825): a thousand lines take 12 million."""

_REVERTED: Final = "execution reverted: "
_REASON_SELECTOR: Final = keccak256(b"Error(string)")[:4]


class EmbeddedTester(EthereumTester):  # type: ignore[misc]  # eth-tester has no type information
    """Reads logs block by block; eth-tester searches the chain from its end again for every transaction."""

    def get_logs(
        self,
        from_block: Any = None,
        to_block: Any = None,
        address: Any = None,
        topics: Any = None,
        blockHash: Any = None,  # noqa: N803  # as web3 passes what eth-tester does not know
    ) -> list[dict[str, Any]]:
        """Return the logs of a range of blocks, or of one block by its hash, that match, in order."""
        if blockHash is not None:
            from_block = to_block = self.get_block_by_hash(HexBytes(blockHash).to_0x_hex())["number"]
        newest = self.get_block_by_number("latest")["number"]
        lower, upper, addresses, wanted = self.normalizer.normalize_inbound_filter_params(
            from_block, to_block, address, topics
        )
        lower, upper = (newest if not isinstance(end, int) else min(end, newest) for end in (lower, upper))
        return [
            self.normalizer.normalize_outbound_log_entry(log)
            for number in range(lower, upper + 1)
            for log in self._logs_of(number)
            if check_if_log_matches(log, lower, upper, addresses, wanted)
        ]

    def _logs_of(self, number: int) -> list[dict[str, Any]]:
        chain = self.backend.chain
        block = chain.get_canonical_block_by_number(number)
        receipts = block.get_receipts(chain.chaindb)
        found = [
            (transaction, index, log)
            for index, (transaction, receipt) in enumerate(zip(block.transactions, receipts, strict=True))
            for log in receipt.logs
        ]
        return [
            serialize_log(block, transaction, index, log, log_index, is_pending=False)
            for log_index, (transaction, index, log) in enumerate(found)
        ]


class EmbeddedProvider(EthereumTesterProvider):
    """Gives revert data as a node does; eth-tester itself puts the `repr` of it into a text."""

    def make_request(self, method: RPCEndpoint, params: Any) -> RPCResponse:
        """Answer one request; a revert is an answer with an error and the revert's data."""
        try:
            return super().make_request(method, params)
        except TransactionFailed as error:
            return _error_response(3, "execution reverted", _revert_data(str(error)))
        except ContractPanicError as error:
            return _error_response(3, "execution reverted", str(error.data))
        except (TesterRefuses, EvmRefuses) as error:
            return _error_response(-32000, str(error))


def _error_response(code: int, message: str, data: str | None = None) -> RPCResponse:
    found: dict[str, Any] = {"code": code, "message": message}
    if data is not None:
        found["data"] = data
    return {"id": 0, "jsonrpc": "2.0", "error": found}  # type: ignore[typeddict-item]  # its type lacks `data`


def _revert_data(text: str) -> str:
    """Return the data in hex: eth-tester shows bytes as Python writes them, and decodes plain reasons."""
    shown = text.removeprefix(_REVERTED)
    if shown[:2] in ("b'", 'b"'):
        data = ast.literal_eval(shown)
    else:
        data = _REASON_SELECTOR + encode(["string"], [shown])
    return "0x" + bytes(data).hex()


def embedded_web3() -> Web3:
    """Start a chain with ten funded accounts, whose first block is at the present time."""
    return Web3(EmbeddedProvider(EmbeddedTester(PyEVMBackend())))


def travel_to(w3: Web3, timestamp: int) -> None:
    """Mine a block at `timestamp` (seconds since 1970), unless the chain is there already."""
    tester = w3.provider.ethereum_tester  # type: ignore[attr-defined]  # of the provider above
    if timestamp > w3.eth.get_block("pending")["timestamp"]:
        tester.time_travel(timestamp)
