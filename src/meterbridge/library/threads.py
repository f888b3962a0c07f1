"""One thread for one object: blocking work that code with an event loop can await."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Generic, Protocol, Self, TypeVar


class Closable(Protocol):
    """Whatever is closed at its end."""

    def close(self) -> None:
        """Close it."""


class AsyncClosable(Protocol):
    """Whatever is closed at its end, by code that awaits."""

    async def close(self) -> None:
        """Close it."""


T = TypeVar("T")
C = TypeVar("C", bound=Closable)
A = TypeVar("A", bound=AsyncClosable)


class InThread(Generic[C]):
    """An object that is made, used and closed in a thread of its own, one call after the other."""

    def __init__(self, inner: C, thread: ThreadPoolExecutor) -> None:
        """Use the class methods instead."""
        self._inner, self._thread = inner, thread

    async def _call(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def close(self) -> None:
        """Wait for what runs, and close."""
        try:
            await self._call(self._inner.close)
        finally:
            self._thread.shutdown(wait=False)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


class Opening(Generic[A]):
    """What a class method of an asynchronous class returns: `await` it, or use it in `async with`."""

    def __init__(self, kind: Callable[[C, ThreadPoolExecutor], A], make: Callable[[], C]) -> None:
        """Make the inner object with `make`, in a thread of its own, once somebody awaits it."""

        async def open_() -> A:
            thread = ThreadPoolExecutor(1, thread_name_prefix="meterbridge")
            try:
                inner = await asyncio.get_running_loop().run_in_executor(thread, make)
            except BaseException:
                thread.shutdown(wait=False)
                raise
            return kind(inner, thread)

        self._open = open_
        self._opened: A | None = None

    def __await__(self) -> Generator[object, None, A]:
        return self._open().__await__()

    async def __aenter__(self) -> A:
        self._opened = await self._open()
        return self._opened

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._opened is not None:
            await self._opened.close()
