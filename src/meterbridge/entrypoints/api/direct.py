"""The shortest way to a handler that needs nothing of the framework but the request."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from types import SimpleNamespace

from fastapi import FastAPI, Request, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from meterbridge.domain.errors import MeterbridgeError
from meterbridge.entrypoints.api.problems import Problem, problem_of

Handler = Callable[[Request], Awaitable[Response]]


class Direct:
    """ASGI middleware: hands POST requests for some paths to their handlers.

    The routes are the framework's as well, for its document. Matching them and solving dependencies that they
    do not have would take as long as all the rest of a request with one event.
    """

    def __init__(self, app: ASGIApp, *, owner: FastAPI, handlers: Mapping[str, Handler]) -> None:
        """Stand in front of an application; `handlers` are those of the owner's routes, by path."""
        self._app, self._owner = app, owner
        self._handlers = {path: (handler, SimpleNamespace(path=path)) for path, handler in handlers.items()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or pass it on."""
        found = self._handlers.get(scope["path"]) if scope["type"] == "http" else None
        if found is None or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        handler, scope["route"] = found
        scope["app"] = self._owner
        try:
            response = await handler(Request(scope, receive))
        except Problem as problem:
            response = problem.response()
        except MeterbridgeError as error:
            response = problem_of(error).response()
        await response(scope, receive, send)
