"""What can be seen of a running service: request ids, structured logs, metrics."""

from __future__ import annotations

import json
import logging
import os
import random
import re
import sys
import time
from contextvars import ContextVar
from typing import Any, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, multiprocess
from starlette.types import ASGIApp, Message, Receive, Scope, Send

logger: Final = logging.getLogger("meterbridge.serve")
_request_id: ContextVar[str] = ContextVar("request_id", default="")
_GIVEN: Final = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_dice: Final = (
    random.Random()
)  # ids are no secrets; the system's dice would hand over the GIL for each request
_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


def request_id() -> str:
    """Return the id of the request that is being answered, or an empty text outside of one."""
    return _request_id.get()


class JsonLines(logging.Formatter):
    """One JSON object a line; fields come in through `extra={"fields": {...}}`."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line: dict[str, Any] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
            + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "event": record.getMessage(),
        }
        if request_id():
            line["request_id"] = request_id()
        line.update(getattr(record, "fields", {}))
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str, separators=(",", ":"))


def configure_logging(level: str = "INFO") -> None:
    """Send the service's log lines to stderr as JSON."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logger.handlers[:] = [handler]
    logger.setLevel(level)
    logger.propagate = False


class Metrics:
    """The Prometheus metrics of one service. With PROMETHEUS_MULTIPROC_DIR set, all workers' are summed."""

    def __init__(self) -> None:
        """Make a registry of its own: two services in one process do not share counts."""
        self.registry = registry = CollectorRegistry()
        self.requests = Histogram(
            "meterbridge_request_seconds",
            "Time to answer, by route and status.",
            ("method", "route", "status"),
            buckets=_SECONDS,
            registry=registry,
        )
        self.events = Counter(
            "meterbridge_events_total", "Events by what became of them.", ("outcome",), registry=registry
        )
        self.waiting = Gauge(
            "meterbridge_events_waiting",
            "Events that wait to be written.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self.pending = Gauge(
            "meterbridge_receipts_pending",
            "Receipts that await sealing.",
            registry=registry,
            multiprocess_mode="mostrecent",
        )
        self.sealed = Counter("meterbridge_receipts_sealed_total", "Receipts sealed.", registry=registry)
        self.statements = Counter("meterbridge_statements_total", "Statements signed.", registry=registry)
        self.failures = Counter(
            "meterbridge_worker_failures_total", "Failed rounds of the worker.", ("step",), registry=registry
        )
        self.last_round = Gauge(
            "meterbridge_worker_last_round_seconds",
            "When the worker last finished a round, seconds since 1970.",
            registry=registry,
            multiprocess_mode="mostrecent",
        )

    def render(self) -> bytes:
        """Return the text format."""
        if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
            merged = CollectorRegistry()
            multiprocess.MultiProcessCollector(merged)  # type: ignore[no-untyped-call]
            return generate_latest(merged)
        return generate_latest(self.registry)


class Observed:
    """ASGI middleware: gives each request an id, counts and logs it, and turns a crash into a 500."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        """Wrap an application."""
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = time.perf_counter()
        identity = _given_id(scope) or f"{_dice.getrandbits(64):016x}"
        token = _request_id.set(identity)
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", identity.encode())]
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except Exception:
            logger.exception("crashed", extra={"fields": {"path": scope["path"]}})
            if status:
                raise
            await _crash(send_with_id)
        finally:
            self._note(scope, status, time.perf_counter() - begun)
            _request_id.reset(token)

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "unknown")  # the template: made-up paths make no series
        self._metrics.requests.labels(scope["method"], route, str(status)).observe(seconds)
        if logger.isEnabledFor(logging.INFO):
            fields = {
                "method": scope["method"],
                "route": route,
                "status": status,
                "ms": round(seconds * 1000, 2),
            }
            key = scope.get("meterbridge.key")
            logger.info("request", extra={"fields": fields if key is None else {**fields, "key": key}})


def _given_id(scope: Scope) -> str | None:
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _GIVEN.fullmatch(value):
            return str(value, "ascii")
    return None


async def _crash(send: Send) -> None:
    body = json.dumps(
        {
            "type": "urn:meterbridge:problem:internal",
            "title": "Internal Server Error",
            "status": 500,
            "detail": "The service failed; what was not acknowledged may be sent again.",
            "request_id": request_id(),
        }
    ).encode()
    headers = [(b"content-type", b"application/problem+json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 500, "headers": headers})
    await send({"type": "http.response.body", "body": body})
