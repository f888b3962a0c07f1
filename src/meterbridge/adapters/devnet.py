"""Chains to try things on: one inside this process, or a node with a funded account.

Both give the same: gateways for the accounts that send, fresh accounts with money for gas, freshly deployed
contracts, and a way to wait for a later time.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from web3 import HTTPProvider, Web3

from meterbridge.adapters.chain.gateway import Gateway
from meterbridge.adapters.chain.senders import KeySender, NodeSender, Sender
from meterbridge.adapters.chain.splitter import SplitterClient
from meterbridge.adapters.chain.token import TokenClient
from meterbridge.adapters.signers import LocalSigner
from meterbridge.domain.addresses import Address
from meterbridge.services.chain_errors import ChainError, ChainUnavailable
from meterbridge.services.ports import StatementSigner

GAS_OF_A_FRESH_ACCOUNT: Final = 3_000_000
"""How much gas a fresh account is given money for: some tens of deposits or claims."""

PLENTY: Final = 10**20  # wei: the embedded faucet has ten thousand times as much


class NoFaucet(ChainError):
    """There is no account with money on the chain."""


@dataclass(frozen=True, slots=True)
class Deployment:
    """Freshly deployed contracts.

    Attributes:
        splitter: client of the SettlementSplitter, sending for whoever deployed.
        token: client of the test token, likewise.
        block: the first block that an audit has to read.
    """

    splitter: SplitterClient
    token: TokenClient
    block: int


class Devnet:
    """A chain, and a faucet: an account on it that has money for gas.

    Attributes:
        w3: the node.
        faucet: who pays for fresh accounts.
    """

    def __init__(self, w3: Web3, faucet: Sender, *, embedded: bool) -> None:
        """Use `embedded_chain` or `rpc_chain` instead."""
        self.w3: Final = w3
        self.faucet: Final = faucet
        self._embedded: Final = embedded

    def gateway(self, signer: StatementSigner | None = None) -> Gateway:
        """Return a gateway that sends for a key; without one, for the faucet."""
        return self.gateway_for(self.faucet if signer is None else KeySender(signer))

    def gateway_for(self, sender: Sender) -> Gateway:
        """Return a gateway that sends for any sender."""
        if not self._embedded:
            return Gateway(self.w3, sender)
        from meterbridge.adapters.embedded import GAS_LIMIT

        # An estimate runs a call a dozen times over in py-evm, and gas costs nothing here.
        return Gateway(self.w3, sender, fixed_gas=GAS_LIMIT)

    def fresh_accounts(self, count: int) -> list[LocalSigner]:
        """Make keys, and give each money for gas."""
        signers = [LocalSigner.generate() for _ in range(count)]
        self.fund([signer.address for signer in signers])
        return signers

    def fund(self, accounts: Sequence[Address], *, gas: int = GAS_OF_A_FRESH_ACCOUNT) -> None:
        """Give each account money for so much gas at twice the price, or plenty where it costs nothing."""
        amount = PLENTY if self._embedded else gas * 2 * self._gas_price()
        gateway = self.gateway()
        for tx_hash in [gateway.send_value(account, amount) for account in accounts]:
            gateway.wait(tx_hash)

    def deploy(self, signer: StatementSigner | None = None) -> Deployment:
        """Deploy the test token and the splitter."""
        gateway = self.gateway(signer)
        token = TokenClient.deploy_test_usd(gateway)
        splitter = SplitterClient.deploy(gateway)
        return Deployment(splitter, token, gateway.newest_block())

    def wait_until(self, timestamp: int) -> None:
        """Return when the next block will be at `timestamp` (seconds since 1970) or later.

        The embedded chain and anvil jump there; any other node is waited for.
        """
        if self._embedded:
            from meterbridge.adapters.embedded import travel_to

            travel_to(self.w3, timestamp)
        elif not self._jump(timestamp):
            gateway = self.gateway()
            while (left := timestamp - gateway.now()) > 0:
                time.sleep(min(left, 2))

    def _jump(self, timestamp: int) -> bool:
        """Let a test node set its clock; tell whether it could."""
        if timestamp <= self.gateway().now():
            return True
        answer = self.w3.provider.make_request("evm_setNextBlockTimestamp", [timestamp])  # type: ignore[arg-type]
        if "error" in answer:
            return False
        self.w3.provider.make_request("evm_mine", [])  # type: ignore[arg-type]
        return True

    def _gas_price(self) -> int:
        return self.w3.eth.get_block("latest")["baseFeePerGas"] + self.w3.eth.max_priority_fee


def embedded_chain() -> Devnet:
    """Start a chain inside this process; it is gone when the process ends."""
    from meterbridge.adapters.embedded import embedded_web3

    w3 = embedded_web3()
    return Devnet(w3, NodeSender(Address.parse(w3.eth.accounts[0])), embedded=True)


def rpc_chain(url: str, funded: StatementSigner | None = None) -> Devnet:
    """Use a node.

    Args:
        url: its JSON-RPC endpoint, http or https.
        funded: a key with money for gas; None takes the first account that the node itself manages.

    Raises:
        ChainUnavailable: when nothing answers there.
        NoFaucet: when the account has no money, or there is none.
    """
    w3 = connect(url)
    gateway = Gateway(w3)
    if funded is not None:
        faucet: Sender = KeySender(funded)
    elif managed := gateway.managed_accounts():
        faucet = NodeSender(managed[0])
    else:
        raise NoFaucet("this node manages no accounts; give a key with money for gas")
    if not gateway.balance(faucet.address):
        raise NoFaucet(f"{faucet.address} has no money for gas on this chain; fund it first", faucet.address)
    return Devnet(w3, faucet, embedded=False)


def connect(url: str) -> Web3:
    """Return a client of a JSON-RPC endpoint.

    Raises:
        ChainUnavailable: when the URL is none, or nothing answers there. The URL may hold a secret, so only
            its host is named.
    """
    if not url.startswith(("http://", "https://")):
        raise ChainUnavailable("an RPC URL begins with http:// or https://")
    w3 = Web3(HTTPProvider(url, request_kwargs={"timeout": 30}))
    Gateway(w3).chain_id()
    return w3
