"""An answer that is none is never taken for one: the next endpoint is asked, or an error says what came."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from faults.kinds import Fault
from faults.proxy import FaultProxy, Script
from faults.stage import Stage
from meterbridge.adapters.chain.endpoints import Endpoints
from meterbridge.services.chain_errors import ChainError

pytestmark = pytest.mark.node
NO_ANSWER = (
    Fault.LOST_ANSWER,
    Fault.LOST_REQUEST,
    Fault.REORDERED,
    Fault.TOO_MANY,
    Fault.SERVER_ERROR,
    Fault.BAD_GATEWAY,
    Fault.TRUNCATED,
    Fault.CUT_JSON,
    Fault.NULL,
    Fault.RESTART,
    Fault.RATE_LIMITED,
)


@pytest.fixture
def proxy(stage: Stage) -> Iterator[FaultProxy]:
    stage.reset()
    with FaultProxy(stage.url) as found:
        yield found


@pytest.mark.parametrize("fault", NO_ANSWER, ids=lambda fault: fault.name.lower())
def test_what_is_no_answer_is_asked_elsewhere(stage: Stage, proxy: FaultProxy, fault: Fault) -> None:
    method = "eth_blockNumber"
    truth = stage.node.rpc(method)
    both, alone = Endpoints([proxy.url, stage.url]), Endpoints([proxy.url])
    for endpoints in (both, alone):
        endpoints.ask("eth_chainId")  # so that an earlier answer is there to be given again
    proxy.schedule = Script((method, fault))
    assert both.ask(method) == truth
    proxy.calm()
    proxy.schedule = Script((method, fault))
    with pytest.raises(ChainError, match="the node at"):
        alone.ask(method)
    proxy.calm()
    assert alone.ask(method) == truth
    both.close()
    alone.close()
