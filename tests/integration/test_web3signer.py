"""A key behind a signing server: a real one over HTTP, with a key of another library."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from eth_account import Account

from meterbridge.adapters.chain import Gateway, TokenClient
from meterbridge.adapters.devnet import Devnet, embedded_chain
from meterbridge.adapters.embedded import GAS_LIMIT
from meterbridge.adapters.signers import SignerError
from meterbridge.adapters.web3signer import Web3SignerSender
from meterbridge.domain.addresses import Address
from meterbridge.domain.errors import MeterbridgeError
from meterbridge.domain.units import AssetAmount
from meterbridge.entrypoints.cli.keys import find_sender, open_signer

KEY = bytes.fromhex("b71c71a67e1177ad4e901695e1b4b9ee17ae16c6668d313eac2f96dbcda3f291")
ACCOUNT = Address.parse(Account.from_key(KEY).address)
SECRET = "token-in-the-path"
Change = Callable[[dict[str, Any]], dict[str, Any]]


class Server:
    """Signs what it is asked with eth-account, as Web3Signer does over JSON-RPC."""

    def __init__(self) -> None:
        self.change: Change = lambda transaction: transaction
        self.key = KEY
        self.wrapped = False
        self.raw: str | None = None
        handler = type("Handler", (_Handler,), {"signer": self})
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://user:{SECRET}@127.0.0.1:{self.http.server_address[1]}/{SECRET}"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        assert request["method"] == "eth_signTransaction"
        (asked,) = request["params"]
        if asked["from"] != str(ACCOUNT):
            return {"error": {"code": -32000, "message": "Signing key not found"}}
        numbers = ("chainId", "nonce", "gas", "maxFeePerGas", "maxPriorityFeePerGas", "value")
        transaction = {name: int(asked[name], 16) for name in numbers} | {"type": 2, "data": asked["data"]}
        if "to" in asked:
            transaction["to"] = asked["to"]
        signed = Account.sign_transaction(self.change(transaction), self.key).raw_transaction.to_0x_hex()
        return {"result": {"raw": signed, "tx": {}} if self.wrapped else signed}


class _Handler(BaseHTTPRequestHandler):
    signer: Server

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        answer = self.signer.raw or json.dumps({"jsonrpc": "2.0", "id": 1, **self.signer.answer(request)})
        self.send_response(200)
        self.end_headers()
        self.wfile.write(answer.encode())

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.http.shutdown()
    made.http.server_close()


@pytest.fixture(scope="module")
def net() -> Devnet:
    chain = embedded_chain()
    chain.fund([ACCOUNT])
    return chain


@pytest.fixture(scope="module")
def token(net: Devnet) -> Address:
    return net.deploy().token.address


def client(net: Devnet, token: Address, sender: Any) -> TokenClient:
    return TokenClient(Gateway(net.w3, sender, fixed_gas=GAS_LIMIT), token)


@pytest.mark.parametrize("wrapped", [False, True])
def test_sends_what_the_server_signed(net: Devnet, token: Address, server: Server, wrapped: bool) -> None:
    server.wrapped = wrapped
    sender = find_sender(f"web3signer:{server.url}#{ACCOUNT}", None, None)
    assert sender.address == ACCOUNT
    found = client(net, token, sender)
    before = found.balance_of(ACCOUNT).base_units
    tx_hash = found.mint(ACCOUNT, AssetAmount(7))
    assert found.balance_of(ACCOUNT).base_units == before + 7
    assert net.w3.eth.get_transaction(tx_hash)["from"] == str(ACCOUNT)


def test_deploys(net: Devnet, server: Server) -> None:
    """A transaction without a recipient."""
    gateway = Gateway(net.w3, Web3SignerSender(server.url, ACCOUNT), fixed_gas=GAS_LIMIT)
    made = TokenClient.deploy_test_usd(gateway)
    assert gateway.code(made.address)


@pytest.mark.parametrize("field", ["nonce", "gas", "maxFeePerGas", "value", "data", "to", "chainId"])
def test_another_transaction_is_never_sent(net: Devnet, token: Address, server: Server, field: str) -> None:
    others: dict[str, Any] = {"data": "0x12", "to": "0x" + "11" * 20}
    server.change = lambda asked: {**asked, field: others.get(field) or asked[field] + 1}
    block = net.w3.eth.block_number
    with pytest.raises(SignerError, match="another transaction than asked"):
        client(net, token, Web3SignerSender(server.url, ACCOUNT)).mint(ACCOUNT, AssetAmount(7))
    assert net.w3.eth.block_number == block


def test_another_key_is_found(net: Devnet, token: Address, server: Server) -> None:
    server.key = bytes([1]) * 32
    with pytest.raises(SignerError, match=f"or not as {ACCOUNT}"):
        client(net, token, Web3SignerSender(server.url, ACCOUNT)).mint(ACCOUNT, AssetAmount(7))


@pytest.mark.parametrize(
    ("raw", "said"),
    [("<html>", "no JSON"), ("[]", "refuses"), ('{"result":null}', "no raw"), ('{"result":"0xzz"}', "no raw"),
     ('{"result":"0x"}', "another transaction"), ('{"result":"0x02c0"}', "another transaction")],
)  # fmt: skip
def test_odd_answers_are_refused(net: Devnet, token: Address, server: Server, raw: str, said: str) -> None:
    server.raw = raw
    with pytest.raises(SignerError, match=said):
        client(net, token, Web3SignerSender(server.url, ACCOUNT)).mint(ACCOUNT, AssetAmount(7))


def test_refusals_name_the_host_and_no_secret(net: Devnet, token: Address, server: Server) -> None:
    faucet = Address.parse(net.w3.eth.accounts[0])
    sender = Web3SignerSender(server.url, faucet)
    with pytest.raises(SignerError, match="Signing key not found") as refused:
        client(net, token, sender).mint(ACCOUNT, AssetAmount(7))
    gone = Web3SignerSender(f"http://user:{SECRET}@127.0.0.1:1/{SECRET}", faucet)
    with pytest.raises(
        SignerError, match=r"http://127\.0\.0\.1:1 does not answer: ConnectionError"
    ) as silent:
        client(net, token, gone).mint(ACCOUNT, AssetAmount(7))
    for error in (refused.value, silent.value):
        assert SECRET not in f"{error} {error!r} {error.__cause__!r} {sender!r} {gone!r}"


@pytest.mark.parametrize(
    "named", ["web3signer:", "web3signer:ftp://h#" + str(ACCOUNT), "web3signer:http://h"]
)
def test_a_name_without_server_or_account_is_refused(named: str) -> None:
    with pytest.raises(MeterbridgeError):
        find_sender(named, None, None)


def test_statements_are_not_signed_by_it() -> None:
    with pytest.raises(SignerError, match="sends transactions only"):
        open_signer(f"web3signer:http://127.0.0.1:9000#{ACCOUNT}", None)
