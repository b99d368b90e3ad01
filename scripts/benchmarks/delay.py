"""A TCP proxy on loopback that makes a connection long: what passes arrives half a round trip later.

A connection costs one round trip more at its beginning, as TCP's handshake would. What the server sends over it may be
limited to a rate.
"""

import asyncio
import contextlib
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from math import inf

_PIECE = 256 * 1024
_IN_FLIGHT = 1024  # pieces under way at most


@dataclass
class Line:
    """The way to a server.

    Attributes:
        port: the one to use.
        sent: how many pieces each connection has sent to the server, by the connection's number; of requests without
            content, each is one.
    """

    port: int
    sent: Counter[int] = field(default_factory=Counter)

    def round_trips(self, before: "Counter[int]") -> int:
        """How many requests came one after the other, of those sent since ``sent`` was copied."""
        return max((self.sent - before).values(), default=0)


@contextlib.contextmanager
def delayed(port: int, round_trip: float, rate: float = inf) -> Iterator[Line]:
    """A line to ``port`` of loopback. Without a delay it is that port itself.

    Args:
        round_trip: its length in seconds.
        rate: bytes a second that each connection brings from the server.
    """
    if not round_trip:
        yield Line(port)
        return
    loop = asyncio.new_event_loop()
    line = Line(0)
    proxy = _Proxy(port, round_trip, rate, line.sent)
    server = loop.run_until_complete(asyncio.start_server(proxy.connected, "127.0.0.1", 0))
    thread = threading.Thread(target=loop.run_forever, name="delay")
    thread.start()
    try:
        line.port = server.sockets[0].getsockname()[1]
        yield line
    finally:
        asyncio.run_coroutine_threadsafe(proxy.close(server), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


class _Proxy:
    def __init__(self, port: int, round_trip: float, rate: float, sent: "Counter[int]") -> None:
        self._port = port
        self._sent = sent
        self._round_trip = round_trip
        self._rate = rate
        self._connections: set[asyncio.Task[None]] = set()

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)
        with suppress(ConnectionError, asyncio.CancelledError):
            await asyncio.sleep(self._round_trip)
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._port)
            number = len(self._sent)
            self._sent[number] = 0
            await asyncio.gather(self._carry(reader, far_writer, number), self._carry(far_reader, writer))
        writer.close()

    async def close(self, server: asyncio.Server) -> None:
        server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections)

    async def _carry(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int | None = None
    ) -> None:
        """One direction, in order; an empty piece ends it. That of the requests has the connection's number."""
        pieces: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_IN_FLIGHT)
        delivering = asyncio.ensure_future(self._deliver(pieces, writer))
        clock = asyncio.get_running_loop().time
        free = clock()  # when the connection takes the next piece
        try:
            while True:
                piece = await reader.read(_PIECE)
                if number is None:
                    free = max(free, clock()) + len(piece) / self._rate
                    await asyncio.sleep(max(0.0, free - clock()))
                else:
                    self._sent[number] += 1
                await pieces.put((clock() + self._round_trip / 2, piece))
                if not piece:
                    break
            await delivering
        finally:
            delivering.cancel()
            writer.close()

    @staticmethod
    async def _deliver(pieces: "asyncio.Queue[tuple[float, bytes]]", writer: asyncio.StreamWriter) -> None:
        while True:
            due, piece = await pieces.get()
            await asyncio.sleep(max(0.0, due - asyncio.get_running_loop().time()))
            if not piece:
                return
            writer.write(piece)
            await writer.drain()
