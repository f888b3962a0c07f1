"""The embedded chain over HTTP does what a node does for those with little money."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from meterbridge.adapters.devnet import Devnet, rpc_chain
from meterbridge.adapters.embedded_node import EmbeddedNode
from meterbridge.domain.units import AssetAmount
from meterbridge.services.token_errors import ERC20InsufficientBalance


@pytest.fixture
def net(tmp_path: Path) -> Iterator[Devnet]:
    node = EmbeddedNode(0, tmp_path / "chain.db")
    node.start()
    yield rpc_chain(node.url)
    node.stop()


def test_who_can_pay_for_a_call_need_not_afford_the_largest_gas_limit(net: Devnet) -> None:
    deployed = net.deploy()
    (poor,) = net.fresh_accounts(1)
    token = deployed.token.as_sender(net.gateway(poor))
    token.mint(poor.address, AssetAmount(5))
    assert token.balance_of(poor.address) == AssetAmount(5)
    with pytest.raises(ERC20InsufficientBalance, match="has 5 base units of the token, 6 are needed"):
        token.transfer(deployed.splitter.address, AssetAmount(6))
