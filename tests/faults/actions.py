"""What each fault does to a request."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from faults.kinds import Exchange, Fault, Reply

if TYPE_CHECKING:
    from faults.proxy import FaultProxy

BEHIND: Final = 2  # blocks that a stale answer is behind
SPIKE_WEI: Final = 400 * 10**9
_TAGGED: Final = {"eth_call": 1, "eth_getTransactionCount": 1, "eth_getBalance": 1, "eth_getBlockByNumber": 0}


def act(proxy: FaultProxy, exchange: Exchange, fault: Fault | None) -> Reply | None:
    """Forward a request, or not, and return what the client is told; None for silence."""
    if fault is None:
        return _reply(_forward(proxy, exchange))
    return _ACTIONS[fault](proxy, exchange)


def _reply(body: bytes, **more: Any) -> Reply:
    return Reply(body, **more)


def _forward(proxy: FaultProxy, exchange: Exchange) -> bytes:
    if proxy.lag > 0 and len(exchange.calls) == 1:
        proxy.lag -= 1
        return _stale(proxy, exchange).body
    return proxy.node.post(exchange.body)


def _error(exchange: Exchange, code: int, message: str) -> Reply:
    answers = [
        {"jsonrpc": "2.0", "id": call.get("id"), "error": {"code": code, "message": message}}
        for call in exchange.calls
    ]
    return _reply(json.dumps(answers if exchange.body.lstrip()[:1] == b"[" else answers[0]).encode())


def _result(exchange: Exchange, result: Any) -> Reply:
    answer = {"jsonrpc": "2.0", "id": exchange.calls[0].get("id"), "result": result}
    return _reply(json.dumps(answer).encode())


def _lost_answer(proxy: FaultProxy, exchange: Exchange) -> None:
    _forward(proxy, exchange)


def _lost_request(proxy: FaultProxy, exchange: Exchange) -> None:
    pass


def _duplicate(proxy: FaultProxy, exchange: Exchange) -> Reply:
    _forward(proxy, exchange)
    return _reply(_forward(proxy, exchange))


def _reordered(proxy: FaultProxy, exchange: Exchange) -> Reply:
    _forward(proxy, exchange)
    return _reply(proxy.last_answer or b"{}")


def _too_many(proxy: FaultProxy, exchange: Exchange) -> Reply:
    return _reply(b'{"error": "slow down"}', status=429, headers=(("Retry-After", "0"),))


def _rate_limited(proxy: FaultProxy, exchange: Exchange) -> Reply:
    return _error(exchange, -32005, "limit exceeded")


def _server_error(proxy: FaultProxy, exchange: Exchange) -> Reply:
    return _reply(b"<html>internal error</html>", status=500 + exchange.number % 5)


def _bad_gateway(proxy: FaultProxy, exchange: Exchange) -> Reply:
    _forward(proxy, exchange)
    return _reply(b"<html>bad gateway</html>", status=502)


def _truncated(proxy: FaultProxy, exchange: Exchange) -> Reply:
    body = _forward(proxy, exchange)
    return _reply(body, cut=len(body) // 2)


def _cut_json(proxy: FaultProxy, exchange: Exchange) -> Reply:
    body = _forward(proxy, exchange)
    return _reply(body[: len(body) // 2])


def _null(proxy: FaultProxy, exchange: Exchange) -> Reply:
    _forward(proxy, exchange)
    return _result(exchange, None)


def _stale(proxy: FaultProxy, exchange: Exchange) -> Reply:
    """Answer from the state of some blocks ago, consistently within one answer."""
    call, node = exchange.calls[0], proxy.node
    method, params = exchange.method, list(call.get("params") or [])
    then = max(0, int(node.rpc("eth_blockNumber"), 16) - BEHIND)
    if method == "eth_blockNumber":
        return _result(exchange, hex(then))
    at = _TAGGED.get(method)
    if at is not None and (len(params) <= at or params[at] in ("latest", "pending")):
        changed = {**call, "params": [*params[:at], hex(then), *params[at + 1 :]]}
        return _reply(node.post(json.dumps(changed).encode()))
    answer = json.loads(node.post(exchange.body))
    if method in ("eth_getTransactionReceipt", "eth_getTransactionByHash"):
        block = (answer.get("result") or {}).get("blockNumber")
        if block is not None and int(block, 16) > then:
            answer["result"] = None
    if method == "eth_getLogs" and "result" in answer:
        answer["result"] = [log for log in answer["result"] if int(log["blockNumber"], 16) <= then]
    return _reply(json.dumps(answer).encode())


def _lagging(proxy: FaultProxy, exchange: Exchange) -> Reply:
    proxy.lag = 6
    return _reply(_forward(proxy, exchange))


def _shifted_count(by: int) -> Callable[[FaultProxy, Exchange], Reply]:
    def shifted(proxy: FaultProxy, exchange: Exchange) -> Reply:
        answer = json.loads(_forward(proxy, exchange))
        return _result(exchange, hex(max(0, int(answer["result"], 16) + by)))

    return shifted


def _says_nonce_too_low(proxy: FaultProxy, exchange: Exchange) -> Reply:
    return _error(exchange, -32000, "nonce too low: next nonce 7, tx nonce 6")


def _already_known(proxy: FaultProxy, exchange: Exchange) -> Reply:
    _forward(proxy, exchange)
    return _error(exchange, -32000, "already known")


def _already_known_lie(proxy: FaultProxy, exchange: Exchange) -> Reply:
    return _error(exchange, -32000, "already known")


def _underpriced(proxy: FaultProxy, exchange: Exchange) -> Reply:
    return _error(exchange, -32000, "replacement transaction underpriced")


def _swallowed(proxy: FaultProxy, exchange: Exchange) -> Reply:
    body = _forward(proxy, exchange)
    _drop(proxy, body)
    return _reply(body)


def _drop(proxy: FaultProxy, body: bytes) -> None:
    """Let the node forget a transaction that it has just accepted."""
    tx_hash = json.loads(body).get("result")
    if isinstance(tx_hash, str):
        proxy.node.rpc("anvil_dropTransaction", tx_hash)


def _mempool_lost(proxy: FaultProxy, exchange: Exchange) -> Reply:
    body = _forward(proxy, exchange)
    proxy.node.rpc("anvil_dropAllTransactions")
    return _reply(body)


def _fee_spike(proxy: FaultProxy, exchange: Exchange) -> Reply:
    proxy.node.rpc("anvil_setNextBlockBaseFeePerGas", hex(SPIKE_WEI))
    return _reply(_forward(proxy, exchange))


def _restart(proxy: FaultProxy, exchange: Exchange) -> None:
    proxy.take_down()


_ACTIONS: Final[dict[Fault, Callable[[FaultProxy, Exchange], Reply | None]]] = {
    Fault.LOST_ANSWER: _lost_answer,
    Fault.LOST_REQUEST: _lost_request,
    Fault.DUPLICATE: _duplicate,
    Fault.REORDERED: _reordered,
    Fault.TOO_MANY: _too_many,
    Fault.RATE_LIMITED: _rate_limited,
    Fault.SERVER_ERROR: _server_error,
    Fault.BAD_GATEWAY: _bad_gateway,
    Fault.TRUNCATED: _truncated,
    Fault.CUT_JSON: _cut_json,
    Fault.NULL: _null,
    Fault.STALE: _stale,
    Fault.LAGGING: _lagging,
    Fault.NONCE_LOW: _shifted_count(-1),
    Fault.NONCE_HIGH: _shifted_count(+3),
    Fault.SAYS_NONCE_TOO_LOW: _says_nonce_too_low,
    Fault.ALREADY_KNOWN: _already_known,
    Fault.ALREADY_KNOWN_LIE: _already_known_lie,
    Fault.UNDERPRICED: _underpriced,
    Fault.SWALLOWED: _swallowed,
    Fault.MEMPOOL_LOST: _mempool_lost,
    Fault.FEE_SPIKE: _fee_spike,
    Fault.RESTART: _restart,
}
