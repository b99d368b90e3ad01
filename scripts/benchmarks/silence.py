"""A TCP proxy on loopback that falls silent when it is told to, in one of the ways in which services do."""

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Literal

_PIECE = 256 * 1024
_END_OF_HEAD = b"\r\n\r\n"

Way = Literal["accepts", "after the head", "in the body", "refused"]
WAYS: tuple[Way, ...] = ("accepts", "after the head", "in the body", "refused")


class Line:
    """The way to a service. ``port`` is the one to use."""

    def __init__(self, upstream: int, loop: asyncio.AbstractEventLoop) -> None:
        self.port = 0
        self._upstream = upstream
        self._loop = loop
        self._way: Way | None = None
        self._passes = asyncio.Event()
        self._passes.set()
        self._connections: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    @contextlib.contextmanager
    def silent(self, way: Way) -> Iterator[None]:
        """Nothing that begins within the block is answered; what is held up goes on at its end."""
        self._run(self._fall_silent(way))
        try:
            yield
        finally:
            self._run(self._go_on())

    async def listen(self) -> None:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        assert self._server is not None
        self._server.close()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def _run(self, work: "asyncio.Future[None] | object") -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result()  # type: ignore[arg-type]

    async def _fall_silent(self, way: Way) -> None:
        self._way = way
        self._passes.clear()
        if way == "refused":
            await self.close()

    async def _go_on(self) -> None:
        if self._way == "refused":
            await self.listen()
        self._way = None
        self._passes.set()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)
        with suppress(ConnectionError, asyncio.CancelledError):
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._upstream)
            await asyncio.gather(self._requests(reader, far_writer), self._answers(far_reader, writer))
        writer.close()

    async def _requests(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while piece := await reader.read(_PIECE):
            if self._way == "accepts":
                await self._passes.wait()
            writer.write(piece)
            await writer.drain()
        writer.close()

    async def _answers(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while piece := await reader.read(_PIECE):
            if self._way in ("after the head", "in the body"):
                head, end, body = piece.partition(_END_OF_HEAD)
                shown = len(head + end) + (len(body) // 2 if self._way == "in the body" else 0)
                writer.write(piece[:shown])
                piece = piece[shown:]
                await self._passes.wait()
            writer.write(piece)
            await writer.drain()
        writer.close()


@contextlib.contextmanager
def line(upstream: int) -> Iterator[Line]:
    """A line to a port of loopback."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="line")
    thread.start()
    made = Line(upstream, loop)
    asyncio.run_coroutine_threadsafe(made.listen(), loop).result()
    try:
        yield made
    finally:
        asyncio.run_coroutine_threadsafe(made.close(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
