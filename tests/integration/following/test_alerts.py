"""Alerts: each is told at least once, in order, signed, whatever receivers and processes do meanwhile."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from standardwebhooks import Webhook as Standard
from standardwebhooks import WebhookVerificationError

from meterbridge.adapters.ledger import SqlLedger, open_ledger
from meterbridge.adapters.webhooks import BadWebhook, BadWebhookSignature, Webhook, verify_webhook
from meterbridge.domain.units import AssetAmount
from meterbridge.services.following.alerts import (
    Alert,
    Notice,
    NoticeKind,
    NotReceived,
    Severity,
    retry_after,
    send_notices,
)

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
SCOPE = "31337/0x5FbDB2315678afecb367f032d93F642f64180aa3"
WARN = Alert("dry", "0xabc", Severity.WARNING, "little is left", AssetAmount(2**200))
WORSE = Alert("dry", "0xabc", Severity.CRITICAL, "nothing is left", AssetAmount(0))
OTHER = Alert("queue", "0xdef", Severity.CRITICAL, "stalled")


class Endpoint:
    """A real HTTP server that answers as told, and keeps what came."""

    def __init__(self) -> None:
        self.statuses: list[int] = []
        self.came: list[tuple[dict[str, str], bytes]] = []
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                endpoint.came.append((dict(self.headers.items()), body))
                status = endpoint.statuses.pop(0) if endpoint.statuses else 204
                if status == 0:  # as if the machine had died after it took the message
                    self.connection.close()
                    return
                self.send_response(status)
                if status in (301, 308):
                    self.send_header("Location", "http://127.0.0.1:1/elsewhere")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/hook?key=topsecret"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def told(self) -> list[tuple[str, str]]:
        """Return (type, severity) of each message, each id once, verified by somebody else's library."""
        seen: dict[str, tuple[str, str]] = {}
        for headers, body in self.came:
            message = Standard(SECRET).verify(body, {k.lower(): v for k, v in headers.items()})
            seen.setdefault(headers["webhook-id"], (message["type"], message["severity"]))
        return list(seen.values())


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    made = Endpoint()
    yield made
    made.server.shutdown()
    made.server.server_close()


class Clock:
    def __init__(self, now: int = 1_790_000_000) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now


def update(
    ledger: SqlLedger, found: list[Alert], now: int, *hooks: Any, judged: Any = ("dry", "queue")
) -> Any:
    return ledger.update_alerts(SCOPE, found, judged, [hook.name for hook in hooks], now)


def test_an_alert_opens_changes_and_is_resolved_once_each(ledger: SqlLedger, endpoint: Endpoint) -> None:
    hook, clock = Webhook(endpoint.url, SECRET), Clock()
    changes = update(ledger, [WARN, OTHER], clock(), hook)
    assert [stored.alert for stored in changes.opened] == [WARN, OTHER]
    assert update(ledger, [WARN, OTHER], clock(), hook).opened == ()
    send_notices(ledger, [hook], clock)
    clock.now += 60
    assert [c.alert for c in update(ledger, [WORSE, OTHER], clock(), hook).changed] == [WORSE]
    send_notices(ledger, [hook], clock)
    clock.now += 60
    assert [c.alert for c in update(ledger, [OTHER], clock(), hook).resolved] == [WORSE]
    assert [stored.alert for stored in ledger.open_alerts(SCOPE)] == [OTHER]
    assert send_notices(ledger, [hook], clock).waiting == 0
    told = endpoint.told()
    assert sorted(told[:2]) == [("alert.opened", "critical"), ("alert.opened", "warning")]
    assert told[2:] == [("alert.changed", "critical"), ("alert.resolved", "critical")]
    message = next(m for m in (json.loads(body) for _, body in endpoint.came) if m["guard"] == "dry")
    assert message["amount"] == str(2**200)
    assert message["scope"] == SCOPE
    again = update(ledger, [WARN, OTHER], clock(), hook)
    assert len(again.opened) == 1, "what comes back is a new alert"
    assert again.opened[0].id != changes.opened[0].id


def test_a_guard_that_could_not_look_resolves_nothing(ledger: SqlLedger) -> None:
    update(ledger, [WARN, OTHER], 1000)
    assert update(ledger, [], 1001, judged=("queue",)).resolved[0].alert == OTHER
    assert [stored.alert for stored in ledger.open_alerts()] == [WARN]


def test_a_receiver_that_fails_gets_it_later_also_from_another_process(
    ledger: SqlLedger, endpoint: Endpoint
) -> None:
    hook, clock = Webhook(endpoint.url, SECRET), Clock()
    endpoint.statuses = [500, 429, 301, 0, 204]
    update(ledger, [WARN], clock(), hook)
    for waited in (0, 5, 10, 20):
        clock.now += waited
        early = send_notices(ledger, [hook], lambda: clock.now - 1)
        assert (early.received, early.errors) == (0, ()), "not before its time"
        restarted = SqlLedger(ledger._database)
        sent = send_notices(restarted, [hook], clock)
        assert (sent.received, sent.waiting, len(sent.errors)) == (0, 1, 1)
        assert "topsecret" not in sent.errors[0]
    clock.now += 40
    assert send_notices(ledger, [hook], clock).received == 1
    ids = [headers["webhook-id"] for headers, _ in endpoint.came]
    assert (len(ids), len(set(ids))) == (5, 1), "sent five times, known as one"
    assert len({body for _, body in endpoint.came}) == 1
    clock.now += 4000
    send_notices(ledger, [hook], clock)
    assert len(endpoint.came) == 5, "and never again"


def test_nobody_hears_of_an_end_before_the_beginning(ledger: SqlLedger, endpoint: Endpoint) -> None:
    hook, clock = Webhook(endpoint.url, SECRET), Clock()
    endpoint.statuses = [503]
    update(ledger, [WARN], clock(), hook)
    send_notices(ledger, [hook], clock)
    update(ledger, [], clock(), hook)
    clock.now += 1
    assert send_notices(ledger, [hook], clock).received == 0
    clock.now += 10
    while send_notices(ledger, [hook], clock).received:
        pass
    assert endpoint.told() == [("alert.opened", "warning"), ("alert.resolved", "warning")]


def test_one_that_is_down_holds_up_no_other(ledger: SqlLedger, endpoint: Endpoint) -> None:
    down, up, clock = Webhook("http://127.0.0.1:9/", SECRET), Webhook(endpoint.url, SECRET), Clock()
    update(ledger, [WARN, OTHER], clock(), down, up)
    sent = send_notices(ledger, [down, up], clock)
    assert (sent.received, sent.waiting) == (2, 2)
    assert any("ConnectionError" in error for error in sent.errors)


def test_of_two_that_send_at_once_one_does(ledger: SqlLedger) -> None:
    clock = Clock()
    hook = Webhook("http://127.0.0.1:9/", SECRET)
    update(ledger, [WARN, OTHER], clock(), hook)
    first, second = (ledger.take_notices([hook.name], clock(), 10) for _ in range(2))
    assert (len(first), second) == (2, [])
    assert len(ledger.take_notices([hook.name], clock() + 61, 10)) == 2, "it died: another takes over"


def test_a_receiver_that_comes_later_is_told_of_what_is_open(ledger: SqlLedger, endpoint: Endpoint) -> None:
    clock, hook = Clock(), Webhook(endpoint.url, SECRET)
    update(ledger, [WARN], clock())
    update(ledger, [WARN], clock(), hook)
    assert send_notices(ledger, [hook], clock).received == 1
    assert endpoint.told() == [("alert.opened", "warning")]


@pytest.fixture
def notice() -> Notice:
    return Notice("msg_1", "x", NoticeKind.OPENED, '{"type":"alert.opened","severity":"warning"}', 0, 1)


def test_a_message_that_was_changed_or_replayed_is_refused(endpoint: Endpoint, notice: Notice) -> None:
    """Checked by our own function as by the library that others use."""
    Webhook(endpoint.url, SECRET).send(notice)
    headers, body = endpoint.came[0]
    lower = {k.lower(): v for k, v in headers.items()}
    stamp = int(lower["webhook-timestamp"])
    assert verify_webhook(SECRET, headers, body) == "msg_1"
    refused: list[Callable[[], object]] = [
        lambda: verify_webhook(SECRET, headers, body + b" "),
        lambda: verify_webhook(SECRET, lower | {"webhook-id": "msg_2"}, body),
        lambda: verify_webhook(SECRET, lower | {"webhook-timestamp": str(stamp + 1)}, body),
        lambda: verify_webhook(SECRET, lower, body, now=stamp + 301),
        lambda: verify_webhook(SECRET, lower, body, now=stamp - 301),
        lambda: verify_webhook(SECRET, lower | {"webhook-timestamp": "soon"}, body),
        lambda: verify_webhook(SECRET, {}, body),
        lambda: verify_webhook("another secret of some length", headers, body),
    ]
    for attempt in refused:
        with pytest.raises(BadWebhookSignature):
            attempt()
    with pytest.raises(WebhookVerificationError):
        Standard(SECRET).verify(body + b" ", lower)
    signed = Standard(SECRET).sign("msg_9", datetime.now(tz=UTC), body.decode())
    now = str(int(time.time()))
    theirs = {"webhook-id": "msg_9", "webhook-timestamp": now, "webhook-signature": "v1,bad " + signed}
    assert verify_webhook(SECRET, theirs, body) == "msg_9"


def test_each_attempt_is_signed_with_its_own_time(endpoint: Endpoint, notice: Notice) -> None:
    times = iter([1_790_000_000, 1_790_090_000])
    hook = Webhook(endpoint.url, SECRET, clock=lambda: next(times))
    hook.send(notice)
    hook.send(notice)
    stamps = [int(headers["webhook-timestamp"]) for headers, _ in endpoint.came]
    assert stamps == [1_790_000_000, 1_790_090_000]
    for (headers, body), stamp in zip(endpoint.came, stamps, strict=True):
        assert verify_webhook(SECRET, headers, body, now=stamp) == "msg_1"


@pytest.mark.parametrize(
    ("url", "secret"),
    [
        ("ftp://x", SECRET),
        ("http://alerts.example/hook", SECRET),
        ("https://alerts.example/hook", "short"),
        ("https://alerts.example/hook", "whsec_!!!"),
        ("https:///hook", SECRET),
    ],
)
def test_what_cannot_be_a_webhook_is_refused_without_telling_its_secrets(url: str, secret: str) -> None:
    with pytest.raises(BadWebhook) as caught:
        Webhook(url, secret)
    assert "hook" not in str(caught.value).replace("webhook", "")
    assert secret not in str(caught.value) or secret == SECRET
    assert SECRET not in str(caught.value)


def test_a_slow_receiver_is_not_waited_for_long(notice: Notice) -> None:
    import socket

    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        hook = Webhook(f"http://127.0.0.1:{silent.getsockname()[1]}/", SECRET, timeout=0.2)
        with pytest.raises(NotReceived, match="ReadTimeout"):
            hook.send(notice)


def test_retries_slow_down_to_once_an_hour() -> None:
    assert [retry_after(n) for n in (0, 1, 2, 3, 9, 10, 1000)] == [5, 10, 20, 40, 2560, 3600, 3600]


def test_an_alert_survives_a_restart(tmp_path: Any) -> None:
    with open_ledger(tmp_path) as first:
        update(first, [WARN], 1000)
    with open_ledger(tmp_path) as second:
        assert [stored.alert for stored in second.open_alerts(SCOPE)] == [WARN]
        assert update(second, [WARN], 1001).opened == ()
