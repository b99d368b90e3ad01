"""A TCP proxy on loopback that makes a connection long: what passes arrives half a round trip later, at full rate.

A connection costs one round trip more at its beginning, as TCP's handshake would.
"""

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from contextlib import suppress

_PIECE = 256 * 1024
_IN_FLIGHT = 1024  # pieces under way at most


@contextlib.contextmanager
def delayed(port: int, round_trip: float) -> Iterator[int]:
    """A port of loopback that leads to ``port``, ``round_trip`` seconds away. Without a delay it is ``port`` itself."""
    if not round_trip:
        yield port
        return
    loop = asyncio.new_event_loop()
    proxy = _Proxy(port, round_trip)
    server = loop.run_until_complete(asyncio.start_server(proxy.connected, "127.0.0.1", 0))
    thread = threading.Thread(target=loop.run_forever, name="delay")
    thread.start()
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        asyncio.run_coroutine_threadsafe(proxy.close(server), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


class _Proxy:
    def __init__(self, port: int, round_trip: float) -> None:
        self._port = port
        self._round_trip = round_trip
        self._connections: set[asyncio.Task[None]] = set()

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)
        with suppress(ConnectionError, asyncio.CancelledError):
            await asyncio.sleep(self._round_trip)
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._port)
            await asyncio.gather(self._carry(reader, far_writer), self._carry(far_reader, writer))
        writer.close()

    async def close(self, server: asyncio.Server) -> None:
        server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One direction, in order; an empty piece ends it."""
        pieces: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_IN_FLIGHT)
        delivering = asyncio.ensure_future(self._deliver(pieces, writer))
        try:
            while True:
                piece = await reader.read(_PIECE)
                await pieces.put((asyncio.get_running_loop().time() + self._round_trip / 2, piece))
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
