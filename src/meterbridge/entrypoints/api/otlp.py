"""OTLP/HTTP's own words: refusals as `Status` messages, in the encoding of the request.

The specification wants the body of every 4xx and 5xx to be a google.rpc.Status. Who sends neither of its two
encodings speaks no OTLP, and gets a problem document like everybody else.
"""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Any, Final

from fastapi import Response

from meterbridge.adapters.intake.shapes import JSON, PROTOBUF
from meterbridge.entrypoints.api.problems import MEDIA_TYPE, Problem

_CODES: Final = {400: 3, 401: 16, 403: 7, 404: 5, 409: 10, 413: 3, 415: 3, 422: 3, 429: 8, 503: 14}
"""gRPC's codes; clients only record them."""
_UNKNOWN: Final = 2
_CODE_TAG: Final = b"\x08"
_MESSAGE_TAG: Final = b"\x12"
STATUS_SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["code", "message"],
    "properties": {"code": {"type": "integer"}, "message": {"type": "string"}},
}
_EXAMPLES: Final = {
    status: {"code": code, "message": message}
    for status, code, message in (
        (400, 3, "the body is no OTLP trace export: Error parsing message"),
        (401, 16, "an API key is missing: Authorization: Bearer mb_…"),
        (403, 7, "this API key lacks the scope 'ingest'"),
        (404, 5, "the ledger knows no such tariff; add it first"),
        (413, 3, "a request holds at most 10000 events; send them in several"),
        (415, 3, "content encoding 'br' is not supported; use gzip or none"),
        (422, 3, "the provider has 2 tariffs here; name one with ?tariff=0x… or give the key one"),
        (429, 8, "this key may send 100000 events a second; wait 0.4 s"),
        (503, 14, "50000 events wait to be written; send 500 again later"),
    )
}


def refusal(media_type: str, problem: Problem) -> Response:
    """Return the response to a trace export that was refused."""
    if media_type not in (JSON, *PROTOBUF):
        return problem.response()
    code = _CODES.get(problem.status, _UNKNOWN)
    message = f"{problem.detail} ({problem.slug})"
    if media_type == JSON:
        body = json.dumps({"code": code, "message": message}, separators=(",", ":")).encode()
    else:
        body = status_message(code, message)
    return Response(body, problem.status, problem.headers, media_type)


def status_message(code: int, message: str) -> bytes:
    """Return a google.rpc.Status in protobuf: field 1 is the code, field 2 the message."""
    text = message.encode()
    return _CODE_TAG + _varint(code) + _MESSAGE_TAG + _varint(len(text)) + text


def _varint(number: int) -> bytes:
    parts = bytearray()
    while number > 0x7F:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*parts, number])


def documented_refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the `responses` of a route that speaks OTLP."""
    return {
        status: {
            "description": HTTPStatus(status).phrase,
            "content": {
                JSON: {"schema": STATUS_SCHEMA, "example": _EXAMPLES[status]},
                PROTOBUF[0]: {"schema": {"type": "string", "format": "binary"}},
                PROTOBUF[1]: {"schema": {"type": "string", "format": "binary"}},
                MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemOut"}},
            },
        }
        for status in statuses
    }
