"""Errors as problem documents (RFC 9457): one shape for every refusal, nothing of the inside shown."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict
from starlette.exceptions import HTTPException

from meterbridge.adapters.intake.api_keys import BadApiKey
from meterbridge.adapters.intake.group_commit import Closed, Overloaded, StorageDown
from meterbridge.adapters.intake.quarantine import AlreadyDecided, UnknownQuarantine
from meterbridge.domain.errors import MeterbridgeError
from meterbridge.entrypoints.api.observed import request_id
from meterbridge.services.ledger_errors import (
    Conflict,
    HeadroomExceeded,
    LedgerBusy,
    NotSealed,
    UnknownAccount,
    UnknownReceipt,
    UnknownTariff,
)

MEDIA_TYPE: Final = "application/problem+json"
TYPE_PREFIX: Final = "urn:meterbridge:problem:"
RETRY_SECONDS: Final = "1"


class ProblemOut(BaseModel):
    """A problem document (RFC 9457)."""

    model_config = ConfigDict(extra="allow")

    type: str
    title: str
    status: int
    detail: str
    request_id: str


class Problem(Exception):  # RFC 9457 calls it so
    """A refusal with all that its document says.

    Attributes:
        slug: what kind, the last part of the document's `type`.
        extra: further members of the document.
    """

    def __init__(
        self,
        status: int,
        slug: str,
        detail: str,
        *,
        headers: Mapping[str, str] | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        """Keep everything for the response."""
        super().__init__(detail)
        self.status, self.slug, self.detail = status, slug, detail
        self.headers, self.extra = dict(headers or {}), dict(extra or {})

    def document(self) -> dict[str, Any]:
        """Return the document."""
        return {
            "type": TYPE_PREFIX + self.slug,
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
            "request_id": request_id(),
            **self.extra,
        }

    def response(self) -> Response:
        """Return the response."""
        body = json.dumps(self.document(), separators=(",", ":"))
        return Response(body, self.status, self.headers, MEDIA_TYPE)


_MAPPED: Final[tuple[tuple[type[MeterbridgeError], int, str], ...]] = (
    (BadApiKey, 401, "unauthorized"),
    (Overloaded, 503, "overloaded"),
    (Closed, 503, "shutting-down"),
    (StorageDown, 503, "storage-down"),
    (LedgerBusy, 503, "busy"),
    (UnknownTariff, 404, "unknown-tariff"),
    (UnknownAccount, 404, "unknown-account"),
    (UnknownReceipt, 404, "unknown-receipt"),
    (UnknownQuarantine, 404, "unknown-quarantine"),
    (NotSealed, 409, "not-sealed"),
    (AlreadyDecided, 409, "already-decided"),
    (Conflict, 409, "conflict"),
    (HeadroomExceeded, 422, "headroom"),
)
_HEADERS: Final = {401: {"WWW-Authenticate": "Bearer"}, 503: {"Retry-After": RETRY_SECONDS}}


def problem_of(error: MeterbridgeError) -> Problem:
    """Turn what Meterbridge refuses into a problem; what is not listed is the request's fault (422)."""
    for kind, status, slug in _MAPPED:
        if isinstance(error, kind):
            return Problem(status, slug, str(error), headers=_HEADERS.get(status))
    return Problem(422, "unusable", str(error))


Handler = Callable[[Request, Any], Awaitable[Response]]


async def _on_problem(_request: Request, problem: Problem) -> Response:
    return problem.response()


async def _on_refusal(_request: Request, error: MeterbridgeError) -> Response:
    return problem_of(error).response()


async def _on_invalid(_request: Request, error: RequestValidationError) -> Response:
    found = [
        {"where": [str(part) for part in fault["loc"]], "reason": str(fault["msg"])}
        for fault in error.errors()
    ]
    first = f"{'.'.join(found[0]['where'])}: {found[0]['reason']}" if found else "the request is malformed"
    return Problem(422, "invalid", first, extra={"errors": found}).response()


async def _on_http(_request: Request, error: HTTPException) -> Response:
    slug = HTTPStatus(error.status_code).phrase.lower().replace(" ", "-")
    return Problem(error.status_code, slug, str(error.detail), headers=error.headers).response()


def install_handlers(app: FastAPI) -> None:
    """Answer every error of the app with a problem document."""
    handlers: dict[type[Exception], Handler] = {
        Problem: _on_problem,
        MeterbridgeError: _on_refusal,
        RequestValidationError: _on_invalid,
        HTTPException: _on_http,
    }
    for kind, handler in handlers.items():
        app.add_exception_handler(kind, handler)


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the `responses` of a route: which refusals it may answer with."""
    return {
        status: {
            "description": HTTPStatus(status).phrase,
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemOut"}}},
        }
        for status in statuses
    }
