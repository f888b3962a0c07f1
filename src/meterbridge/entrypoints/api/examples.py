"""Examples for the OpenAPI document, and OTLP's own answer."""

from __future__ import annotations

import json
from typing import Any, Final

from fastapi import Response
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

PAYER: Final = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
_DATA: Final = {
    "model": "example-1",
    "usage": {"prompt_tokens": 1200, "completion_tokens": 80, "total_tokens": 1280},
}
EVENT: Final = {
    "specversion": "1.0",
    "id": "chatcmpl-1",
    "source": "gateway-eu-1",
    "type": "com.example.llm.call",
    "subject": PAYER,
    "time": "2026-11-01T12:00:00Z",
    "datacontenttype": "application/json",
    "data": _DATA,
}
RECORD: Final = {"id": "chatcmpl-2", "time": "2026-11-01T12:00:01Z", "payer": PAYER, **_DATA}
SPAN: Final = {
    "traceId": "5b8efff798038103d269b633813fc60c",
    "spanId": "eee19b7ec3c1b174",
    "name": "chat example-1",
    "kind": 3,
    "startTimeUnixNano": "1793534400000000000",
    "endTimeUnixNano": "1793534401000000000",
    "attributes": [
        {"key": "gen_ai.operation.name", "value": {"stringValue": "chat"}},
        {"key": "gen_ai.response.id", "value": {"stringValue": "chatcmpl-3"}},
        {"key": "gen_ai.usage.input_tokens", "value": {"intValue": "1200"}},
        {"key": "gen_ai.usage.output_tokens", "value": {"intValue": "80"}},
        {"key": "enduser.id", "value": {"stringValue": PAYER}},
    ],
}
EXPORT: Final = {"resourceSpans": [{"resource": {"attributes": []}, "scopeSpans": [{"spans": [SPAN]}]}]}
_OBJECT: Final = {"type": "object", "additionalProperties": True}

INGEST: Final[dict[str, Any]] = {
    "security": [{"HTTPBearer": []}],
    "parameters": [
        {
            "name": "tariff",
            "in": "query",
            "required": False,
            "description": "The tariff's id; needed where the provider has several.",
            "schema": {"type": "string", "pattern": "^0x[0-9a-fA-F]{64}$"},
        },
        {
            "name": "source",
            "in": "query",
            "required": False,
            "description": "Who reports events that name no source.",
            "schema": {"type": "string", "minLength": 1, "maxLength": 256},
        },
    ],
}

EVENTS_BODY: Final[dict[str, Any]] = {
    "required": True,
    "description": "`Content-Encoding: gzip` is understood. Binary-mode CloudEvents are `application/json` "
    "with `ce-*` headers.",
    "content": {
        "application/cloudevents+json": {"schema": _OBJECT, "example": EVENT},
        "application/cloudevents-batch+json": {
            "schema": {"type": "array", "items": _OBJECT},
            "example": [EVENT],
        },
        "application/json": {
            "schema": {"anyOf": [_OBJECT, {"type": "array", "items": _OBJECT}]},
            "example": RECORD,
        },
        "application/x-ndjson": {
            "schema": {"type": "string"},
            "example": json.dumps(RECORD) + "\n" + json.dumps(RECORD) + "\n",
        },
    },
}
TRACES_BODY: Final[dict[str, Any]] = {
    "required": True,
    "content": {
        "application/json": {"schema": _OBJECT, "example": EXPORT},
        "application/x-protobuf": {"schema": {"type": "string", "format": "binary"}},
    },
}
TRACES_ANSWER: Final[dict[str, Any]] = {
    "application/json": {
        "schema": {
            "type": "object",
            "properties": {
                "partialSuccess": {
                    "type": "object",
                    "properties": {
                        "rejectedSpans": {
                            "type": "string",
                            "description": "64 bits, as OTLP has it",
                        },
                        "errorMessage": {"type": "string"},
                    },
                }
            },
        },
        "example": {},
    },
    "application/x-protobuf": {"schema": {"type": "string", "format": "binary"}},
}


def traces_answer(media_type: str, refused: int, message: str) -> Response:
    """Return OTLP's ExportTraceServiceResponse in the encoding of the request."""
    if media_type == "application/json":
        partial = (
            {"partialSuccess": {"rejectedSpans": str(refused), "errorMessage": message}} if refused else {}
        )
        return Response(json.dumps(partial), media_type=media_type)
    answer = ExportTraceServiceResponse()
    if refused:
        answer.partial_success.rejected_spans = refused
        answer.partial_success.error_message = message
    return Response(answer.SerializeToString(), media_type=media_type)
