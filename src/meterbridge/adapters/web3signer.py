"""A key behind Web3Signer, or any server that speaks `eth_signTransaction` over JSON-RPC.

It sends transactions. It cannot sign statements: over JSON-RPC such a server signs no bare digest.
"""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import urlsplit

import requests
from eth_account.typed_transactions.typed_transaction import TypedTransaction
from hexbytes import HexBytes
from rlp.exceptions import RLPException
from web3 import Web3
from web3.types import TxParams

from meterbridge.adapters.chain.senders import eip1559_fields, fields_of
from meterbridge.adapters.signers import SignerError
from meterbridge.domain.addresses import Address
from meterbridge.domain.errors import BadSignature
from meterbridge.domain.signatures import encode_signature, recover_signer
from meterbridge.services.settling.ports import Unsigned

TIMEOUT_SECONDS: Final = 30
_DYNAMIC_FEE: Final = 2
_QUANTITIES: Final = ("chainId", "nonce", "gas", "maxFeePerGas", "maxPriorityFeePerGas", "value")


class Web3SignerSender:
    """An account whose key a signing server holds; fits the `Sender` port.

    What the server answers is held against what it was asked before the node sees it: the same fields, signed
    by the account. The URL may hold a secret, so only its host is ever named.
    """

    def __init__(self, url: str, account: Address) -> None:
        """Name the server and one of its accounts; nothing is asked yet.

        Raises:
            SignerError: when the URL is none of http or https.
        """
        if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname:
            raise SignerError("the URL of a signing server begins with http:// or https:// and names a host")
        self._url: Final = url
        self.address: Final = account

    def __repr__(self) -> str:
        return f"Web3SignerSender({self._where()}, {self.address})"

    def submit(self, w3: Web3, transaction: TxParams) -> bytes:
        """See `Sender`.

        Raises:
            SignerError: when the server does not answer, refuses, or signs something else.
        """
        fields = eip1559_fields(w3, self.address, transaction)
        return bytes(w3.eth.send_raw_transaction(HexBytes(self._checked(fields))))

    @property
    def signs(self) -> bool:
        """Yes: the server signs, and hands over what it signed."""
        return True

    def sign(self, transaction: Unsigned) -> bytes:
        """Have a transaction of the outbox signed.

        Raises:
            SignerError: when the server does not answer, refuses, or signs something else.
        """
        return self._checked(fields_of(transaction))

    def _checked(self, fields: dict[str, Any]) -> bytes:
        signed = self._signed(fields)
        _require_same(fields, signed, self.address)
        return signed

    def _signed(self, fields: dict[str, Any]) -> bytes:
        asked = {name: hex(fields[name]) for name in _QUANTITIES}
        asked |= {"from": str(self.address), "data": "0x" + bytes(fields["data"]).hex()}
        if "to" in fields:
            asked["to"] = str(fields["to"])
        answer = self._ask("eth_signTransaction", [asked])
        # Web3Signer answers with the raw transaction, nodes with an object that holds it.
        raw = answer.get("raw") if isinstance(answer, dict) else answer
        try:
            return bytes.fromhex(str(raw).removeprefix("0x"))
        except ValueError:
            raise SignerError(f"{self._where()} answered with no raw transaction") from None

    def _ask(self, method: str, parameters: list[Any]) -> Any:
        request: Any = {"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters}
        try:
            response = requests.post(self._url, json=request, timeout=TIMEOUT_SECONDS)
            answer = response.json()
        except ValueError:
            status = response.status_code
            raise SignerError(f"{self._where()} answers with no JSON (HTTP status {status})") from None
        except requests.RequestException as error:
            raise SignerError(f"{self._where()} does not answer: {type(error).__name__}") from None
        if not isinstance(answer, dict) or "result" not in answer:
            stated = answer.get("error") if isinstance(answer, dict) else None
            why = stated.get("message") if isinstance(stated, dict) else "no reason given"
            raise SignerError(f"{self._where()} refuses {method} for {self.address}: {why}")
        return answer["result"]

    def _where(self) -> str:
        url = urlsplit(self._url)
        return f"the signing server at {url.scheme}://{url.hostname}:{url.port or '(default port)'}"


def _require_same(fields: dict[str, Any], signed: bytes, account: Address) -> None:
    """A server that signs another transaction, or with another key, must not get it sent."""
    unsigned = TypedTransaction.from_dict(fields)
    try:
        if signed[:1] != bytes([_DYNAMIC_FEE]):
            raise ValueError(signed)
        found = TypedTransaction.from_bytes(HexBytes(signed)).as_dict()
        signature = encode_signature(found["r"], found["s"], found["v"])
        same = {**fields, "v": found["v"], "r": found["r"], "s": found["s"]}
        unchanged = TypedTransaction.from_dict(same).encode() == signed
        if unchanged and recover_signer(bytes(unsigned.hash()), signature) == account:
            return
    except (BadSignature, RLPException, ValueError, TypeError, KeyError):
        pass
    raise SignerError(
        f"the signing server signed another transaction than asked, or not as {account}", account
    )
