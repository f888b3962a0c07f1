"""One JSON-RPC endpoint over HTTP: an answer that is one, or an exception that says what came instead.

Goes past web3 where many values pass: turning a receipt of a thousand logs into objects takes longer than all
else. The URL may hold a secret: only scheme, host and port are ever shown.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import urlsplit

import requests
from pydantic_core import from_json, to_json
from requests.cookies import extract_cookies_to_jar

from meterbridge.services.chain_errors import ChainError, ChainUnavailable

TIMEOUT_SECONDS: Final = 30.0
_CONNECT_SECONDS: Final = 5.0
_ERROR_TEXT_MAX: Final = 300
_NEVER_NULL: Final = frozenset(
    {
        *("eth_blockNumber", "eth_chainId", "eth_getTransactionCount", "eth_getBalance", "eth_getCode"),
        *("eth_call", "eth_estimateGas", "eth_getLogs", "eth_feeHistory", "eth_maxPriorityFeePerGas"),
        *("eth_sendRawTransaction", "eth_sendTransaction"),
    }
)
"""What every node has an answer to; of other things null says that there is no such thing."""

_HEADERS: Final = {"Content-Type": "application/json"}
_OK, _TOO_MANY, _SERVER_ERROR = 200, 429, 500


class NoAnswer(ChainUnavailable):
    """Nothing came back that answers: the request may or may not have been carried out."""


class NodeError(ChainError):
    """The node answered with an error.

    Attributes:
        code: of JSON-RPC.
        said: the node's own words.
        data: what came with it; of a revert, the contract's bytes.
    """

    def __init__(self, where: str, code: int, said: str, data: Any = None) -> None:
        """Keep what the node said."""
        super().__init__(f"{where} refuses: {said}", said)
        self.code, self.said, self.data = code, said, data


def shown(url: str) -> str:
    """Name a node without what may be secret in its URL: user, password, path and query."""
    parts = urlsplit(url)
    try:
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        port = ""
    return f"{parts.scheme}://{parts.hostname}{port}"


class Endpoint:
    """One node's URL.

    Attributes:
        where: how the node is named in messages.
    """

    def __init__(self, url: str, *, timeout: float = TIMEOUT_SECONDS) -> None:
        """Keep the URL; nothing is asked yet.

        Raises:
            ChainUnavailable: when it is none of http or https.
        """
        if not url.startswith(("http://", "https://")) or not urlsplit(url).hostname:
            raise ChainUnavailable("an RPC URL begins with http:// or https:// and names a host")
        self._url: Final = url
        self._timeout: Final = (min(_CONNECT_SECONDS, timeout), timeout)
        self._session: Final = requests.Session()
        # Made once: proxies, certificates and passwords from the environment are the same for each request.
        self._request: Final = self._session.prepare_request(requests.Request("POST", url, headers=_HEADERS))
        self._options: Final = self._session.merge_environment_settings(url, {}, None, None, None)
        self._adapter: Final = self._session.get_adapter(url)
        self._numbers: Final = itertools.count(1)
        self.where: Final = f"the node at {shown(url)}"

    def __repr__(self) -> str:
        return f"Endpoint({shown(self._url)})"

    def ask(self, method: str, params: Sequence[Any] = ()) -> Any:
        """Return the node's result.

        Raises:
            NoAnswer: when it does not answer, or not in JSON-RPC, or to another request, or with null where
                there always is something.
            NodeError: when it answers with an error.
        """
        number = next(self._numbers)
        body = to_json({"jsonrpc": "2.0", "id": number, "method": method, "params": list(params)})
        try:
            status, content = self._post(body)
        except requests.RequestException as error:
            # Without the cause: its text holds the URL.
            raise NoAnswer(f"{self.where} does not answer: {type(error).__name__}") from None
        result = self._result(number, status, content)
        if result is None and method in _NEVER_NULL:
            raise NoAnswer(f"{self.where} answers {method} with null")
        return result

    def _post(self, body: bytes) -> tuple[int, bytes]:
        request = self._request.copy()
        request.prepare_body(body, None)
        response = self._adapter.send(request, timeout=self._timeout, **self._options)
        status, content = response.status_code, response.content
        if "Set-Cookie" in response.headers:  # a load balancer that wants to keep us at one node
            extract_cookies_to_jar(self._session.cookies, request, response.raw)
            self._request.headers.pop("Cookie", None)  # prepare_cookies adds one only where there is none
            self._request.prepare_cookies(self._session.cookies)
        return status, content

    def _result(self, number: int, status: int, content: bytes) -> Any:
        try:
            answer = from_json(content, allow_inf_nan=False)
        except ValueError:
            answer = None
        if not isinstance(answer, dict) or not ("result" in answer or "error" in answer):
            raise NoAnswer(f"{self.where} answers with no JSON-RPC (HTTP status {status})", status)
        if answer.get("error") is not None:
            if status == _TOO_MANY or status >= _SERVER_ERROR:
                raise NoAnswer(f"{self.where} answers with HTTP status {status}", status)
            raise self._error(answer["error"])
        if answer.get("id") != number or status != _OK:
            raise NoAnswer(f"{self.where} answers to another request (HTTP status {status})", status)
        return answer.get("result")

    def _error(self, stated: Any) -> NodeError:
        fields = stated if isinstance(stated, dict) else {"message": stated}
        code = fields.get("code")
        said = str(fields.get("message", "no reason given"))[:_ERROR_TEXT_MAX]
        return NodeError(self.where, code if isinstance(code, int) else 0, said, fields.get("data"))

    def close(self) -> None:
        """Close its connections."""
        self._session.close()
