"""The application: `create_app(deps)`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import anyio
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

import meterbridge
from meterbridge.entrypoints.api import health, ingest, operate, reads
from meterbridge.entrypoints.api.deps import Deps
from meterbridge.entrypoints.api.direct import Direct
from meterbridge.entrypoints.api.documents import add_examples
from meterbridge.entrypoints.api.ingest import PartlyRefused, RefusedOut
from meterbridge.entrypoints.api.observed import Observed, logger
from meterbridge.entrypoints.api.problems import ProblemOut, install_handlers

_ABOUT: Final = (
    "Usage in, signed statements out. Every event is counted once, whatever happens: a 200 means durable, "
    "and any request may be repeated."
)


def create_app(deps: Deps) -> FastAPI:
    """Build the service on its dependencies; nothing is opened at import time."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        if deps.worker is not None:
            deps.worker.start()
        logger.info("ready to serve")
        yield
        await anyio.to_thread.run_sync(_stop, deps)

    app = FastAPI(
        title="Meterbridge metering service",
        version=meterbridge.__version__,
        description=_ABOUT,
        lifespan=lifespan,
    )
    app.state.deps = deps
    install_handlers(app)
    for part in (ingest, reads, operate, health):
        app.include_router(part.router)
    app.add_middleware(Direct, owner=app, handlers={"/v1/events": ingest.post_events})
    app.add_middleware(Observed, metrics=deps.metrics)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]  # FastAPI's documented way to extend it
    return app


def _stop(deps: Deps) -> None:
    """Write what was taken, end the worker's round, and say whether all of it was done."""
    if deps.worker is not None:
        deps.worker.stop()
    drained = deps.recorder.close(deps.settings.drain_seconds)
    deps.parsing.shutdown(wait=False)
    deps.close()
    logger.info("stopped", extra={"fields": {"drained": drained}})


def _openapi(app: FastAPI) -> dict[str, Any]:
    """Return the OpenAPI document with the one shape of errors in it."""
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=app.routes
        )
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        for shape in (ProblemOut, RefusedOut, PartlyRefused):
            schemas[shape.__name__] = _shape(shape)
        for unused in ("HTTPValidationError", "ValidationError"):
            schemas.pop(unused, None)
        _replace_validation_errors(document)
        add_examples(document)
        app.openapi_schema = document
    return app.openapi_schema


def _shape(model: type[BaseModel]) -> dict[str, Any]:
    found = model.model_json_schema(ref_template="#/components/schemas/{model}")
    found.pop("$defs", None)
    return found


def _replace_validation_errors(document: dict[str, Any]) -> None:
    """FastAPI documents its own 422; ours is a problem document like all others."""
    for path in document["paths"].values():
        for operation in path.values():
            found = operation["responses"].get("422")
            told = {} if found is None else found.get("content", {}).get("application/json", {})
            if told.get("schema", {}).get("$ref", "").endswith("HTTPValidationError"):
                found["content"] = {
                    "application/problem+json": {"schema": {"$ref": "#/components/schemas/ProblemOut"}}
                }
