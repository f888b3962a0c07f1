"""Is it alive, is it ready, how is it doing."""

from __future__ import annotations

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from meterbridge.entrypoints.api.deps import DepsHere

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
    """Return the metrics in Prometheus' text format."""
    deps.metrics.waiting.set(deps.recorder.waiting)
    return Response(deps.metrics.render(), media_type="text/plain; version=0.0.4; charset=utf-8")
