"""Is it alive, is it ready, how is it doing."""

from __future__ import annotations

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field
from sqlalchemy.exc import DBAPIError

from meterbridge.entrypoints.api.deps import DepsHere
from meterbridge.entrypoints.api.observed import logger

router = APIRouter(tags=["health"])


class Health(BaseModel):
    """The process answers."""

    status: str = Field(examples=["ok"])


class Readiness(BaseModel):
    """Whether the service does all of its work, and what it does not.

    `failing` names each check that fails with the reason; a load balancer looks at the status code.
    """

    ready: bool
    failing: dict[str, str] = Field(examples=[{"sealing": "the oldest receipt has waited for 912 s"}])


@router.get("/healthz")
async def healthz() -> Health:
    """Tell that the process answers; restart it when it does not."""
    return Health(status="ok")


@router.get("/readyz", responses={503: {"model": Readiness, "description": "Not ready"}})
def readyz(deps: DepsHere, response: Response) -> Readiness:
    """Tell whether writing, sealing and settling keep up; 503 when one has stalled."""
    failing = dict(deps.recorder.failing())
    if deps.worker is not None:
        failing.update(deps.worker.failing())
    if failing:
        response.status_code = 503
    return Readiness(ready=not failing, failing=failing)


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
def metrics(deps: DepsHere) -> Response:
    """Return the metrics of this service, and of the chain as the ledger knows it, as Prometheus reads them.

    What is told of deliveries, following and alerts stands in the ledger, so any process of the service gives
    the same answer. It is left out while the database is away.
    """
    deps.metrics.waiting.set(deps.recorder.waiting)
    own = deps.metrics.render()
    return Response(own + _chain_metrics(deps), media_type="text/plain; version=0.0.4; charset=utf-8")


def _chain_metrics(deps: DepsHere) -> bytes:
    try:
        return deps.chain_metrics().encode()
    except DBAPIError as error:
        fields = {"error": type(error.orig).__name__}
        logger.warning("the ledger cannot be asked for its metrics", extra={"fields": fields})
        return b""
