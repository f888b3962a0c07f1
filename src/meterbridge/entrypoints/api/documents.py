"""What the OpenAPI document says beyond what the framework finds out: examples, and one shape of errors."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

from meterbridge.entrypoints.api.problems import MEDIA_TYPE, TYPE_PREFIX

_JSON: Final = "application/json"
_ANSWERS: Final = Path(__file__).with_name("answers.json")
"""Answers as a service gave them, by method and path; a test compares them with what it answers now."""
_PROBLEMS: Final = {
    400: ("bad-body", "this is not JSON: Expecting value: line 1 column 1 (char 0)"),
    401: ("unauthorized", "an API key is missing: Authorization: Bearer mb_…"),
    403: ("forbidden", "this API key lacks the scope 'read'"),
    404: ("unknown-account", "the ledger has no account of this payer under this tariff"),
    409: ("conflict", "event 'a' of 'gateway' is stored with another content; both are kept"),
    413: ("too-many-events", "a request holds at most 10000 events; send them in several"),
    415: ("unknown-media-type", "content type 'text/plain' is not read here"),
    422: ("unusable", "'x' is no id; it takes 0x and 64 hexadecimal digits"),
    429: ("too-fast", "this key may send 100000 events a second; wait 0.4 s"),
    503: ("overloaded", "50000 events wait to be written; send 500 again later"),
}
_PARTLY: Final = {
    "accepted": 1,
    "repeated": 0,
    "errors": [{"index": 1, "problem": "unusable", "reason": "prompt_tokens is -1", "id": "call-2"}],
}
_REQUESTS: Final[dict[str, Any]] = {
    "DecisionIn": {"note": "the gateway counted the retry twice"},
    "CorrectionIn": {
        "tariff": "0x" + "5a" * 32,
        "payer": "0x70997970C51812dc3A010C7d01b50e0d17dc79C8",
        "receipt": "0x" + "c3" * 32,
        "buckets": {"input": 1200, "output": 80},
        "reason": "counted a retry twice",
    },
}
_METRICS: Final = (
    '# TYPE meterbridge_events_total counter\nmeterbridge_events_total{outcome="accepted"} 2.0\n'
)


def add_examples(document: dict[str, Any]) -> None:
    """Give each body of the document an example, where it has none."""
    answers = json.loads(_ANSWERS.read_text(encoding="utf-8"))
    for path, method, operation in _operations(document):
        for status, response in operation["responses"].items():
            for kind, body in response.get("content", {}).items():
                if "example" not in body and (found := _example(kind, int(status), body)) is not None:
                    body["example"] = found
        success = operation["responses"].get("200", {}).get("content", {})
        if _JSON in success and f"{method} {path}" in answers:
            success[_JSON]["example"] = answers[f"{method} {path}"]
        asked = operation.get("requestBody", {}).get("content", {}).get(_JSON, {})
        name = _last_name(asked.get("schema", {}))
        if "example" not in asked and name in _REQUESTS:
            asked["example"] = _REQUESTS[name]


def _operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def _example(kind: str, status: int, body: dict[str, Any]) -> object | None:
    if kind == MEDIA_TYPE:
        slug, detail = _PROBLEMS[status]
        problem = {
            "type": TYPE_PREFIX + slug,
            "title": HTTPStatus(status).phrase,
            "status": status,
            "detail": detail,
            "request_id": "0c1d9f6b7a3e4f52",
        }
        partly = _last_name(body.get("schema", {})) == "PartlyRefused"
        return {**problem, **_PARTLY} if partly else problem
    if kind == "text/plain":
        return _METRICS
    if kind == _JSON and _last_name(body.get("schema", {})) == "Readiness":
        return {"ready": False, "failing": {"sealing": "behind for 912 s: the signer is away"}}
    return None


def _last_name(schema: dict[str, Any]) -> str:
    """Return the name of the model that a schema refers to, also where it may be null."""
    for choice in (schema, *schema.get("anyOf", ())):
        if "$ref" in choice:
            return str(choice["$ref"]).rpartition("/")[2]
    return ""
