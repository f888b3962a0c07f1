"""Request bodies: read with a bound on memory, unpacked, never buffered beyond what the limits allow."""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from fastapi import Request

from meterbridge.adapters.intake.group_commit import Overloaded
from meterbridge.entrypoints.api.problems import Problem

_GZIP_WINDOW: Final = 31  # zlib's largest window, with a gzip header


class Bodies:
    """Admits bodies as long as those in memory stay below a budget."""

    def __init__(self, body_bytes: int, inflight_bytes: int) -> None:
        """Take the limits: of one body, unpacked, and of all together."""
        self._body_bytes = body_bytes
        self._inflight_bytes = inflight_bytes
        self._held = 0

    @asynccontextmanager
    async def body(self, request: Request) -> AsyncIterator[bytes]:
        """Read a body and count it against the budget until the request is answered.

        Raises:
            Problem: 413 when it is too long, 415 for an unknown encoding, 400 for broken gzip.
            Overloaded: when other bodies fill the budget.
        """
        self._require_length(request)
        unpack = _unpacker(request)
        parts: list[bytes] = []
        size = 0
        try:
            async for chunk in request.stream():
                part = unpack.take(chunk, self._body_bytes - size)
                size += len(part)
                self._held += len(part)
                parts.append(part)
                if size > self._body_bytes:
                    raise self._too_long()
                if self._held > self._inflight_bytes and self._held > size:
                    raise Overloaded(
                        "other requests fill the memory for bodies; send this one again later", size
                    )
            unpack.require_end()
            yield b"".join(parts)
        finally:
            self._held -= size

    def _require_length(self, request: Request) -> None:
        stated = request.headers.get("content-length", "")
        if stated.isascii() and stated.isdigit() and int(stated[:20]) > self._body_bytes:
            raise self._too_long()

    def _too_long(self) -> Problem:
        return Problem(
            413,
            "too-large",
            f"a body has at most {self._body_bytes} bytes, unpacked; send it in several requests",
        )


class _Plain:
    def take(self, chunk: bytes, _room: int) -> bytes:
        return chunk

    def require_end(self) -> None:
        return


class _Gzip:
    def __init__(self) -> None:
        self._stream = zlib.decompressobj(_GZIP_WINDOW)
        self._begun = False

    def take(self, chunk: bytes, room: int) -> bytes:
        """Unpack at most one byte more than there is room for: a bomb never unfolds."""
        self._begun = self._begun or bool(chunk)
        parts: list[bytes] = []
        try:
            while chunk and room >= 0:
                part = self._stream.decompress(chunk, room + 1)
                parts.append(part)
                room -= len(part)
                chunk = self._stream.unconsumed_tail
                if self._stream.eof and self._stream.unused_data:  # gzip members may follow one another
                    chunk, self._stream = self._stream.unused_data, zlib.decompressobj(_GZIP_WINDOW)
        except zlib.error as error:
            raise Problem(400, "bad-gzip", f"the body is no valid gzip: {error}") from error
        return b"".join(parts)

    def require_end(self) -> None:
        if self._begun and not self._stream.eof:
            raise Problem(400, "bad-gzip", "the gzip stream breaks off")


def _unpacker(request: Request) -> _Plain | _Gzip:
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding in {"gzip", "x-gzip"}:
        return _Gzip()
    if encoding in {"identity", ""}:
        return _Plain()
    raise Problem(
        415, "unknown-encoding", f"content encoding {encoding!r} is not supported; use gzip or none"
    )
