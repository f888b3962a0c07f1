"""Several endpoints of one chain: the next one is asked where one fails, lags behind, or is another chain.

What was learned of an endpoint is remembered: one that failed rests, twice as long each time; one whose head
is older than a head that was seen comes last; one on another chain, or without the contract's code, is left
out until it is looked at again. Where something must not rest on one node's word, all of them are asked.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from web3 import Web3
from web3.providers import BaseProvider
from web3.types import RPCEndpoint, RPCResponse

from meterbridge.adapters.chain.rpc import TIMEOUT_SECONDS, Endpoint, NoAnswer, NodeError
from meterbridge.domain.keccak import keccak256
from meterbridge.domain.statements import Domain
from meterbridge.services.chain_errors import ChainError, ChainUnavailable, WrongChain

REST_SECONDS: Final = 0.5
REST_SECONDS_MAX: Final = 60.0
_PASSED_ON: Final = (
    *("header not found", "missing trie node", "unknown block", "block not found", "rate limit"),
    *("too many requests", "limit exceeded", "not supported", "does not exist", "not available"),
    *("method not found", "timeout", "timed out", "internal error", "try again", "not synced", "syncing"),
)
"""Words by which a node says that it cannot answer now, or at all, while another one might."""


@dataclass
class _Known:
    """What is known of an endpoint."""

    endpoint: Endpoint
    place: int
    failures: int = 0
    rests_until: float = 0.0
    head: int = -1
    checked: bool = False
    wrong: str = ""


@dataclass
class Endpoints:
    """Nodes of one chain, asked in the order in which they are given as far as they are well.

    Attributes:
        quorum: how many must agree before a transaction counts as final.
    """

    urls: Sequence[str] = field(repr=False)
    quorum: int = 1
    timeout: float = TIMEOUT_SECONDS
    clock: Callable[[], float] = time.monotonic
    _known: list[_Known] = field(init=False, repr=False)
    _highest: int = field(init=False, default=-1)
    _wanted: tuple[Domain, bytes] | None = field(init=False, default=None, repr=False)

    def __post_init__(self) -> None:
        if not self.urls:
            raise ChainUnavailable("name at least one RPC URL")
        if not 1 <= self.quorum <= len(self.urls):
            raise ChainUnavailable(
                f"{self.quorum} endpoints cannot agree where {len(self.urls)} are named", self.quorum
            )
        made = (Endpoint(url, timeout=self.timeout) for url in self.urls)
        self._known = [_Known(endpoint, place) for place, endpoint in enumerate(made)]

    def __len__(self) -> int:
        return len(self._known)

    @property
    def where(self) -> str:
        """Name them all, without what may be secret."""
        return ", ".join(known.endpoint.where for known in self._known)

    def close(self) -> None:
        """Close all connections."""
        for known in self._known:
            known.endpoint.close()

    def require(self, domain: Domain) -> None:
        """From now on use only endpoints that are on a chain and have the same contract there.

        Which code is the contract's, most of those that answer decide, and among equals the first.

        Raises:
            ChainUnavailable: when none answers.
            WrongChain: when those that answer are on another chain, or have no contract there.
        """
        codes = [self._code_of(known, domain) for known in self._known]
        found = Counter(code for code in codes if code)
        if not found:
            wrong = [known.wrong for known in self._known if known.wrong]
            if wrong:
                raise WrongChain("; ".join(wrong), domain)
            raise ChainUnavailable(f"none of them answers: {self.where}")
        self._wanted = (domain, found.most_common(1)[0][0])
        for known, code in zip(self._known, codes, strict=True):
            if code:
                self._judge(known, code)

    def ask(self, method: str, params: Sequence[Any] = ()) -> Any:
        """Return the result of the first endpoint that gives one.

        Raises:
            NodeError: when an endpoint answers with an error that another would give, too.
            ChainUnavailable: when none answers.
        """
        return self._first(lambda endpoint: self._answered(endpoint, method, params))

    def ask_each(self, method: str, params: Sequence[Any] = ()) -> list[Any]:
        """Return what each endpoint gives: a result, or the `ChainError` in its place."""
        return [self._try(known, method, params) for known in self._in_order()]

    def head(self) -> int:
        """Return the number of the newest block, from an endpoint that does not lag behind what was seen.

        Where all of them are behind, the chain has gone back, and their highest is the newest.
        """
        best: _Known | None = None
        for known in self._in_order():
            number = self._try(known, "eth_blockNumber", ())
            if not isinstance(number, str):
                continue
            known.head = int(number, 16)
            if best is None or known.head > best.head:
                best = known
            if known.head >= self._highest:
                break
        if best is None:
            raise ChainUnavailable(f"none of them answers: {self.where}")
        self._highest = best.head
        return best.head

    def health(self) -> list[tuple[str, str]]:
        """Return each endpoint with what is wrong with it; nothing where it is well."""
        now, found = self.clock(), []
        for known in self._known:
            rests = f"failed {known.failures} times in a row" if known.rests_until > now else ""
            lags = f"is at block {known.head}, {self._highest - known.head} behind"
            behind = lags if 0 <= known.head < self._highest else ""
            found.append((known.endpoint.where, known.wrong or rests or behind))
        return found

    def _first(self, question: Callable[[Endpoint], Any]) -> Any:
        told: ChainError | None = None
        for known in self._in_order():
            try:
                return self._asked(known, question)
            except NodeError as error:
                if not _another_might(error):
                    raise
                told = error
            except ChainError as error:
                told = error
        raise told or ChainUnavailable(f"none of them can be asked: {self.where}")

    def _try(self, known: _Known, method: str, params: Sequence[Any]) -> Any:
        try:
            return self._asked(known, lambda endpoint: self._answered(endpoint, method, params))
        except ChainError as error:
            return error

    def _answered(self, endpoint: Endpoint, method: str, params: Sequence[Any]) -> Any:
        """Return an endpoint's answer, unless it is one that only a node gives that lacks some of its state.

        All views of the contract return something; only what is to be sent, with a sender, may not.
        """
        answer = endpoint.ask(method, params)
        if answer == "0x" and method == "eth_call" and self._wanted is not None:
            asked, contract = params[0], self._wanted[0].verifying_contract
            if "from" not in asked and str(asked.get("to")).lower() == str(contract).lower():
                raise NoAnswer(f"{endpoint.where} answers a view of the contract with no bytes")
        return answer

    def _asked(self, known: _Known, question: Callable[[Endpoint], Any]) -> Any:
        try:
            self._check(known)
            answer = question(known.endpoint)
        except NoAnswer:
            known.failures += 1
            known.checked = False  # what answers next may be another node
            rest = min(REST_SECONDS * 2 ** min(known.failures - 1, 10), REST_SECONDS_MAX)
            known.rests_until = self.clock() + rest
            raise
        known.failures, known.rests_until = 0, 0.0
        return answer

    def _in_order(self) -> Iterable[_Known]:
        """Those that are well first; one that rests is still asked where all others fail."""
        now = self.clock()

        def rank(known: _Known) -> tuple[bool, bool, bool, float, int]:
            resting = known.rests_until > now
            return bool(known.wrong), resting, known.head < self._highest, known.rests_until, known.place

        return sorted(self._known, key=rank)

    def _check(self, known: _Known) -> None:
        """Look at an endpoint before it is used, and again after it failed or was found wrong."""
        if self._wanted is None or known.checked:
            return
        domain, wanted = self._wanted
        code = self._code_of(known, domain)
        if code is not None:
            self._judge(known, code)
        if known.wrong:
            raise WrongChain(known.wrong, domain)
        if code != wanted:
            raise NoAnswer(f"{known.endpoint.where} does not answer")

    def _judge(self, known: _Known, code: bytes) -> None:
        wanted = self._wanted[1] if self._wanted else code
        known.checked = code == wanted
        known.wrong = (
            "" if known.checked else f"{known.endpoint.where} has other code at the contract's address"
        )

    def _code_of(self, known: _Known, domain: Domain) -> bytes | None:
        """Return the hash of the contract's code there; None where it cannot be had."""
        where = known.endpoint.where
        try:
            found = int(known.endpoint.ask("eth_chainId"), 16)
            if found != domain.chain_id:
                known.wrong = f"{where} is on chain {found}; {domain.chain_id} is meant"
                return None
            code = known.endpoint.ask("eth_getCode", [str(domain.verifying_contract), "latest"])
            if not isinstance(code, str) or code in ("", "0x"):
                known.wrong = f"{where} has no contract at {domain.verifying_contract}"
                return None
            return keccak256(bytes.fromhex(code[2:]))
        except (ChainError, TypeError, ValueError):
            return None


def _another_might(error: NodeError) -> bool:
    said = error.said.lower()
    return any(words in said for words in _PASSED_ON)


class EndpointsProvider(BaseProvider):
    """Lets web3 ask several endpoints as if they were one."""

    def __init__(self, endpoints: Endpoints) -> None:
        """Keep the endpoints."""
        super().__init__()
        self.endpoints: Final = endpoints
        self.endpoint_uri: Final = endpoints.where.removeprefix("the node at ").split(",", maxsplit=1)[0]

    def make_request(self, method: RPCEndpoint, params: Any) -> RPCResponse:
        """Answer one request; an error of the node is an answer, too."""
        encoded = _plain(params)
        try:
            return {"jsonrpc": "2.0", "id": 0, "result": self.endpoints.ask(method, encoded)}
        except NodeError as error:
            stated = {"code": error.code, "message": error.said}
            if error.data is not None:
                stated["data"] = error.data
            return {"jsonrpc": "2.0", "id": 0, "error": stated}  # type: ignore[typeddict-item]  # it lacks `data`

    def is_connected(self, show_traceback: bool = False) -> bool:  # noqa: ARG002  # web3 asks with it
        """Tell whether any of them answers."""
        try:
            self.endpoints.head()
        except ChainError:
            return False
        return True


def _plain(value: Any) -> Any:
    """Return what JSON can hold: web3 hands bytes over as they are."""
    if isinstance(value, bytes | bytearray):
        return "0x" + bytes(value).hex()
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def connect_all(urls: Sequence[str], *, quorum: int = 1, timeout: float = TIMEOUT_SECONDS) -> Web3:
    """Return a client of several endpoints of one chain; the first that is well is asked."""
    return Web3(EndpointsProvider(Endpoints(urls, quorum, timeout)))
