"""The embedded chain: that it starts fast, keeps quiet, refuses as a node does, and jumps in time."""

from __future__ import annotations

import http.server
import subprocess
import sys
import threading
from typing import Any

import pytest

from meterbridge.adapters.chain import Gateway, KeySender, NodeRefuses, NodeSender, TokenClient
from meterbridge.adapters.devnet import Devnet, NoFaucet, connect, embedded_chain, rpc_chain
from meterbridge.adapters.signers import LocalSigner
from meterbridge.domain.addresses import Address
from meterbridge.domain.units import AssetAmount
from meterbridge.services.chain_errors import (
    ChainUnavailable,
    RefusedWithReason,
    TransactionUnresolved,
    UnknownRefusal,
)

# Creation code by hand: PUSH4 the runtime code (PUSH0 PUSH0 REVERT STOP), MSTORE it, RETURN its four bytes.
REVERTS_BARE = bytes.fromhex("635f5ffd005f526004601cf3")

START = """
import time
began = time.monotonic()
from meterbridge.adapters.devnet import embedded_chain
deployment = embedded_chain().deploy()
print(deployment.splitter.domain.chain_id, deployment.block, time.monotonic() - began)
"""


def test_it_starts_and_deploys_in_seconds_and_without_a_warning() -> None:
    began = subprocess.run(
        [sys.executable, "-W", "error", "-c", START], capture_output=True, text=True, check=False, timeout=120
    )
    assert began.returncode == 0, began.stderr
    assert began.stderr == ""
    chain_id, block, seconds = began.stdout.split()
    assert (chain_id, block) == ("131277322940537", "2")
    # Two to three on an idle machine; the tests run beside others.
    assert float(seconds) < 20


def test_chains_do_not_share_anything() -> None:
    one, other = embedded_chain(), embedded_chain()
    one.deploy()
    assert (one.gateway().newest_block(), other.gateway().newest_block()) == (2, 0)


def test_fresh_accounts_have_money_for_gas(net: Devnet) -> None:
    accounts = net.fresh_accounts(2)
    assert len({account.address for account in accounts}) == 2
    for account in accounts:
        gateway = net.gateway(account)
        assert gateway.balance(account.address) > 0
        deployed = TokenClient.deploy_test_usd(gateway)
        deployed.mint(account.address, AssetAmount(5))
        assert deployed.balance_of(account.address) == AssetAmount(5)


def test_deployment_names_its_first_block(net: Devnet) -> None:
    before = net.gateway().newest_block()
    deployment = net.deploy()
    assert deployment.block > before
    assert net.gateway().code(deployment.splitter.address, deployment.block)
    assert not net.gateway().code(deployment.splitter.address, before)


def test_time_goes_on_and_jumps(net: Devnet) -> None:
    clock = net.gateway()
    target = clock.now() + 90 * 24 * 3600
    net.wait_until(target)
    assert clock.now() >= target
    net.wait_until(target - 100)  # is over already
    assert clock.now() >= target


def test_revert_without_a_reason_says_so(net: Devnet) -> None:
    gateway = net.gateway()
    bare = gateway.wait(gateway.send(None, REVERTS_BARE))["contractAddress"]
    assert bare is not None
    with pytest.raises(UnknownRefusal) as caught:
        gateway.call(Address.parse(bare), b"\x01")
    assert caught.value.value == {"data": b""}


def test_node_s_own_refusals_are_clear(net: Devnet) -> None:
    poor = LocalSigner.generate()
    with pytest.raises(NodeRefuses, match=r"(?i)(cannot afford|insufficient funds)"):
        net.gateway(poor).send_value(Address(b"\x01" * 20), 10**18)
    assert "KeySender(LocalSigner(0x" in repr(KeySender(poor))


def test_unknown_transaction_is_unresolved_not_refused(net: Devnet) -> None:
    impatient = Gateway(net.w3, timeout=0.3)
    with pytest.raises(TransactionUnresolved, match=r"no receipt within 0\.3 seconds"):
        impatient.wait(bytes(32))


class Careless(NodeSender):
    """Sends what it was not asked to: a call that fails when it is mined."""

    def submit(self, w3: Any, transaction: Any) -> bytes:
        return super().submit(w3, transaction | {"data": b"\xff\xff\xff\xff", "gas": 100_000})


def test_transaction_that_fails_in_its_block_raises_why(embedded: Devnet) -> None:
    deployment = embedded.deploy()
    managed = embedded.gateway().managed_accounts()[2]
    careless = embedded.gateway_for(Careless(managed))
    call = b"\x06\xfd\xde\x03"  # name(), which succeeds when it is tried
    tx_hash = careless.send(deployment.token.address, call)
    with pytest.raises(UnknownRefusal):
        careless.wait(tx_hash)


class GasMiser(NodeSender):
    """Gives too little gas for the first unit of a token: two words of storage become used."""

    def submit(self, w3: Any, transaction: Any) -> bytes:
        return super().submit(w3, transaction | {"gas": 60_000})


def test_transaction_without_enough_gas_fails_clearly(embedded: Devnet) -> None:
    deployment = embedded.deploy()
    managed = embedded.gateway().managed_accounts()[3]
    miser = deployment.token.as_sender(embedded.gateway_for(GasMiser(managed)))
    with pytest.raises(RefusedWithReason, match="Out of gas"):
        miser.mint(Address(b"\x05" * 20), AssetAmount(1))


@pytest.mark.parametrize("url", ["", "localhost:8545", "ftp://host", "ws://127.0.0.1:1"])
def test_url_of_another_kind_is_refused(url: str) -> None:
    with pytest.raises(ChainUnavailable, match="begins with http"):
        connect(url)


def test_node_that_does_not_answer_is_named_without_what_is_secret() -> None:
    with pytest.raises(
        ChainUnavailable, match=r"the node at http://127\.0\.0\.1:9 does not answer"
    ) as caught:
        connect("http://user:hunter2@127.0.0.1:9/v3/0123456789abcdef?key=s3cret")
    for secret in ("hunter2", "0123456789abcdef", "s3cret"):
        assert secret not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    ("status", "body", "error", "text"),
    [
        (200, b"<html>welcome</html>", ChainUnavailable, "no JSON-RPC; is the URL right"),
        (200, b"", ChainUnavailable, "no JSON-RPC"),
        (200, b"[]", ChainUnavailable, "no JSON-RPC"),
        (200, b"{}", ChainUnavailable, "no JSON-RPC"),
        (200, b'{"jsonrpc":"2.0","id":0,"result":null}', ChainUnavailable, "names no chain"),
        (200, b'{"jsonrpc":"2.0","id":0,"error":"no"}', ChainUnavailable, "no JSON-RPC"),
        (
            200,
            b'{"jsonrpc":"2.0","id":0,"error":{"code":-32005,"message":"slow"}}',
            NodeRefuses,
            "refuses: slow",
        ),
        (401, b"no key", ChainUnavailable, "HTTP status 401"),
    ],
)
def test_server_that_is_no_node_is_a_clear_error(
    status: int, body: bytes, error: type[Exception], text: str
) -> None:
    class Answer(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        try:
            with pytest.raises(error, match=text) as caught:
                connect(f"http://127.0.0.1:{server.server_port}/s3cret")
        finally:
            server.shutdown()
            serving.join()
    assert "s3cret" not in str(caught.value)


@pytest.mark.node
def test_funded_key_is_the_faucet_of_a_node(anvil_url: str) -> None:
    net = rpc_chain(anvil_url)
    (rich,) = net.fresh_accounts(1)
    net.fund([rich.address], gas=100_000_000)
    by_key = rpc_chain(anvil_url, rich)
    assert by_key.faucet.address == rich.address
    (fresh,) = by_key.fresh_accounts(1)
    assert by_key.gateway().balance(fresh.address) > 0


@pytest.mark.node
def test_key_without_money_is_no_faucet(anvil_url: str) -> None:
    poor = LocalSigner.generate()
    with pytest.raises(NoFaucet, match=f"{poor.address} has no money for gas"):
        rpc_chain(anvil_url, poor)
