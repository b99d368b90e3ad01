"""An ASGI application over real HTTP within the test's process: for clocks that a test sets, and for dialects."""

import asyncio
import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import uvicorn

from containerfs.server.app import create_app
from containerfs.server.auth import Everyone
from containerfs.server.metrics import Metrics
from containerfs.server.options import Limits
from containerfs.server.service import Service
from containerfs.server.storage.open import Stores, open_stores


class Clock:
    """A clock that goes when it is told to."""

    def __init__(self, now: float = 1_700_000_000) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@contextlib.contextmanager
def hosted(app: Any) -> Iterator[str]:
    """The base URL of an application, up to ``/v1``."""
    listener = socket.create_server(("127.0.0.1", 0))
    # Connections inherit it; asyncio sets it only where a socket names its protocol. Without, answers take 40 ms each.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    ready = threading.Event()

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            ready.set()

        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            yield

    server = Server(uvicorn.Config(app, lifespan="off", log_config=None, ws="none", timeout_graceful_shutdown=5))
    thread = threading.Thread(target=lambda: asyncio.run(server.serve([listener])), name="hosted")
    thread.start()
    try:
        assert ready.wait(30)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
    finally:
        server.should_exit = True
        thread.join(30)
        listener.close()


@contextlib.contextmanager
def opened(data_dir: Path) -> Iterator[Stores]:
    stores = open_stores(data_dir)
    try:
        yield stores
    finally:
        asyncio.run(stores.close())


def application(stores: Stores, clock: Clock) -> Any:
    return create_app(Service(stores, clock=clock), Everyone(), Limits(), Metrics())
