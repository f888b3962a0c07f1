"""Usage in: `POST /v1/events` and OTLP's `POST /v1/traces`. Answered only when durable."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from meterbridge.adapters.intake import shapes
from meterbridge.adapters.intake.api_keys import ApiKey
from meterbridge.adapters.intake.recorder import CONFLICT, Recorded, Submission
from meterbridge.adapters.intake.shapes import BadBody, Body, Refused, TooManyEvents, UnknownMediaType
from meterbridge.domain.errors import MeterbridgeError
from meterbridge.entrypoints.api import examples
from meterbridge.entrypoints.api.deps import Deps, deps_of, ingest_key
from meterbridge.entrypoints.api.otlp import documented_refusals, refusal
from meterbridge.entrypoints.api.problems import Problem, documented, problem_of

router = APIRouter(tags=["usage in"])
_INLINE_BYTES: Final = 16_384
"""Smaller bodies are read at once; larger ones on another thread, so that nobody waits behind them."""
_SHOWN: Final = 1_000
Prepared = TypeVar("Prepared")
_SOURCE_MAX: Final = 256


class Accepted(BaseModel):
    """What became of a request's events; all of it is durable.

    `accepted` counts what is new, `repeated` what was stored before with the same content.
    """

    accepted: int = Field(ge=0)
    repeated: int = Field(ge=0)


class RefusedOut(BaseModel):
    """One event that was not taken: its index in the request, from 0."""

    index: int
    problem: str
    reason: str
    id: str | None = None


class PartlyRefused(BaseModel):
    """A problem document that also says what was taken: repeating the request changes nothing."""

    type: str
    title: str
    status: int
    detail: str
    request_id: str
    accepted: int = 0
    repeated: int = 0
    errors: list[RefusedOut] = []


_REFUSALS: Final = documented(400, 401, 403, 404, 413, 415, 429, 503)
_PARTLY: Final[dict[int | str, dict[str, Any]]] = {
    status: {
        "description": words,
        "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/PartlyRefused"}}},
    }
    for status, words in (
        (409, "Events contradict stored ones; both versions are in quarantine. The others are stored."),
        (422, "Events cannot be used; the others are stored."),
    )
}


@router.post(
    "/v1/events",
    response_model=Accepted,
    responses={**_REFUSALS, **_PARTLY},
    openapi_extra={**examples.INGEST, "requestBody": examples.EVENTS_BODY},
)
async def post_events(request: Request) -> Response:
    """Take usage events: CloudEvents (structured, binary, batched), NDJSON or plain JSON records.

    A 200 means that every event is durable and counted once, however often it is sent. Any other status may
    be repeated safely.
    """
    media_type = _media_type(request)

    def read(body: bytes, source: str, most: int) -> Body:
        return shapes.read_body(body, media_type, request.headers, source, most)

    return _answer(*await _take(request, "api", read))


@router.post(
    "/v1/traces",
    responses={
        **documented_refusals(400, 401, 403, 404, 413, 415, 422, 429, 503),
        200: {"description": "ExportTraceServiceResponse", "content": examples.TRACES_ANSWER},
    },
    openapi_extra={**examples.INGEST, "requestBody": examples.TRACES_BODY},
)
async def post_traces(request: Request) -> Response:
    """Take an OTLP/HTTP trace export: spans with GenAI usage attributes count, all others are left out.

    Refused spans are reported as OTLP's partial success, since an exporter must not repeat them. A request
    that is refused as a whole is answered with OTLP's `Status`, in the encoding of the request.
    """
    media_type = _media_type(request)

    def read(body: bytes, source: str, most: int) -> Body:
        return shapes.read_traces(body, media_type, source, most)

    try:
        _, result = await _take(request, "opentelemetry", read)
    except Problem as problem:
        return refusal(media_type, problem)
    except MeterbridgeError as error:
        return refusal(media_type, problem_of(error))
    return examples.traces_answer(media_type, len(result.refused), _summary(result.refused))


async def _take(
    request: Request, default_source: str, read: Callable[[bytes, str, int], Body]
) -> tuple[Body, Recorded]:
    deps, key = deps_of(request), await ingest_key(request)
    query = request.query_params
    known = deps.tariff_of(key, query.get("tariff"))
    source = query.get("source", default_source)
    if not 1 <= len(source) <= _SOURCE_MAX:
        raise Problem(
            422, "invalid", f"`source` has {len(source)} characters; it must have 1 to {_SOURCE_MAX}"
        )

    def prepare(raw: bytes) -> tuple[Body, Submission]:
        body = read(raw, source, deps.settings.batch_events)
        return body, deps.recorder.prepare(known, body)

    async with deps.bodies.body(request) as raw:
        body, submission = await _run(deps, len(raw), prepare, raw)
        _require_rate(deps, key, len(body))
        result = await asyncio.wrap_future(deps.recorder.submit(submission))
    counted = {"accepted": result.accepted, "repeated": result.repeated, "refused": len(result.refused)}
    for outcome, count in counted.items():
        if count:
            deps.metrics.events.labels(outcome).inc(count)
    return body, result


async def _run(deps: Deps, size: int, prepare: Callable[[bytes], Prepared], raw: bytes) -> Prepared:
    try:
        if size <= _INLINE_BYTES:
            return prepare(raw)
        return await asyncio.get_running_loop().run_in_executor(deps.parsing, prepare, raw)
    except UnknownMediaType as error:
        raise Problem(415, "unknown-media-type", str(error)) from error
    except TooManyEvents as error:
        raise Problem(413, "too-many-events", str(error)) from error
    except BadBody as error:
        raise Problem(400, "bad-body", str(error)) from error


def _require_rate(deps: Deps, key: ApiKey, events: int) -> None:
    wait = deps.rate.take(key.key_id, events)
    if wait:
        raise Problem(
            429,
            "too-fast",
            f"this key may send {deps.rate.rate} events a second; wait {wait:.1f} s",
            headers={"Retry-After": str(math.ceil(wait))},
        )


def _media_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def _answer(body: Body, result: Recorded) -> Response:
    counts = {"accepted": result.accepted, "repeated": result.repeated}
    if not result.refused:
        return Response(json.dumps(counts, separators=(",", ":")), media_type="application/json")
    conflicts = all(refused.slug == CONFLICT for refused in result.refused)
    detail = result.refused[0].reason if body.single else _summary(result.refused)
    slug = result.refused[0].slug if body.single else "partly-refused"
    errors = [
        {"index": r.index, "problem": r.slug, "reason": r.reason, "id": r.id} for r in result.refused[:_SHOWN]
    ]
    # Not a 2xx: whoever looks only at the status must not believe that everything was counted.
    return Problem(409 if conflicts else 422, slug, detail, extra={**counts, "errors": errors}).response()


def _summary(refused: Sequence[Refused]) -> str:
    if not refused:
        return ""
    first = refused[0]
    more = f" (and {len(refused) - 1} more)" if len(refused) > 1 else ""
    return f"event {first.index} was refused: {first.reason}{more}"
