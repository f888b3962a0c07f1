"""Structured logs: one JSON object a line, found again by the id that the answer carries."""

from __future__ import annotations

import io
import json
import logging

import _service as support
import pytest

from meterbridge.entrypoints.api.observed import JsonLines, configure_logging, logger


@pytest.fixture
def lines():
    """What the service writes, with the handler that it sets up itself."""
    before = (logger.handlers[:], logger.level, logger.propagate)
    configure_logging("INFO")
    (handler,) = logger.handlers
    assert isinstance(handler, logging.StreamHandler)
    written = io.StringIO()
    handler.setStream(written)
    yield lambda: [json.loads(line) for line in written.getvalue().splitlines()]
    logger.handlers[:], logger.level, logger.propagate = before


def test_each_request_is_a_line_with_its_id_its_key_and_what_became_of_it(lines, live):
    headers = {"X-Request-Id": "gateway-7"}
    assert live.http.get("/v1/tariffs", headers=headers).status_code == 200
    given = live.http.post("/v1/events", json=support.event("a"))
    missing = live.http.get(live.path("/receipts/0x" + "00" * 32))
    found = {line["request_id"]: line for line in lines() if line["event"] == "request"}
    asked, stored = found["gateway-7"], found[given.headers["x-request-id"]]
    refused = found[missing.json()["request_id"]]
    assert (asked["method"], asked["route"], asked["status"]) == ("GET", "/v1/tariffs", 200)
    assert (stored["method"], stored["route"], stored["status"]) == ("POST", "/v1/events", 200)
    assert refused["status"] == 404
    assert support.PAYER not in refused["route"]  # the template, not what was asked for
    for line in (asked, stored, refused):
        assert line["key"] == live.book.key.split("_")[1]
        assert line["level"] == "info"
        assert line["ms"] >= 0
        assert line["time"].endswith("Z")


def test_no_line_holds_a_secret(lines, live):
    live.http.get("/v1/tariffs")
    live.send(support.event("a"), support.event("a", tokens=5))
    assert live.deps.worker.round()
    secret = live.book.key.split("_", 2)[2]
    assert lines()
    assert not [line for line in lines() if secret in json.dumps(line)]


def test_a_crash_is_a_line_with_its_trace_and_an_answer_without_it(lines, live, monkeypatch):
    def broken(*_arguments):
        raise ZeroDivisionError("a bug of ours")

    monkeypatch.setattr(live.deps.ledger, "tariffs", broken)
    answer = live.http.get("/v1/tariffs")
    assert (answer.status_code, answer.headers["content-type"]) == (500, "application/problem+json")
    assert "bug" not in answer.text
    (crash,) = [line for line in lines() if line["event"] == "crashed"]
    assert crash["request_id"] == answer.json()["request_id"] == answer.headers["x-request-id"]
    assert "ZeroDivisionError: a bug of ours" in crash["exception"]


def test_a_line_break_in_a_value_breaks_no_line():
    record = logging.LogRecord("x", logging.INFO, "x", 1, "first\nsecond", None, None)
    assert "\n" not in JsonLines().format(record)
