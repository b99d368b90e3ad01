"""One process that serves: it opens the stores, reports that it is ready, and stops gracefully.

uvicorn speaks HTTP. On a signal, or when a given descriptor ends, the process stops accepting connections, lets
requests finish within a time limit, and returns.
"""

import asyncio
import contextlib
import logging
import os
import resource
import signal
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import uvicorn
import uvloop

from containerfs.server.app import create_app, create_metrics_app
from containerfs.server.auth import Authenticator
from containerfs.server.inventory import Inventory
from containerfs.server.metrics import Metrics
from containerfs.server.observation import Counts
from containerfs.server.options import Limits, ServerOptions
from containerfs.server.protocol import BoundedConfig, BoundedProtocol
from containerfs.server.service import Service
from containerfs.server.storage.metadata_store import MetadataStore
from containerfs.server.storage.open import contents_directory, open_stores
from containerfs.server.sweeper import Sweeper

_LAST_WORDS_S = 5
"""How long requests may take to end after their clients were disconnected, in seconds."""

_TICK_S, _TICKS = 0.1, 864_000
"""How often uvicorn does what it does from time to time, in seconds, and how often in a day."""

_LOOK_S = 0.005
"""Between two looks at what is still under way while the server stops, in seconds."""

logger = logging.getLogger("containerfs.server")


@dataclass(frozen=True, slots=True)
class Serving:
    """What the processes of a server share.

    Attributes:
        options: of the server.
        authenticator: makes the authenticator for a store.
        counts: count requests.
        listener: a listening socket.
        metrics_listener: a listening socket for the metrics alone, if there is one.
    """

    options: ServerOptions
    authenticator: Callable[[MetadataStore], Authenticator]
    counts: Counts
    listener: socket.socket
    metrics_listener: socket.socket | None

    def stop_accepting(self) -> None:
        """Close the sockets in a process that does not accept connections itself."""
        self.listener.close()
        if self.metrics_listener is not None:
            self.metrics_listener.close()


def serve(serving: Serving, ready: Callable[[], None], lifeline: int | None) -> None:
    """Serve until SIGTERM, SIGINT, or the end of a descriptor.

    Args:
        ready: called once requests are answered.
        lifeline: the descriptor; None for none.

    Raises:
        StoreError: if the store cannot be opened.
    """
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(serving, ready, lifeline))


async def _serve(serving: Serving, ready: Callable[[], None], lifeline: int | None) -> None:
    options = serving.options
    stores = open_stores(options.data_dir, options.database, options.blobs)
    sweeper = Sweeper(stores, count=serving.counts.count)
    service = Service(stores, default_expiry=options.default_expiry, left_work=sweeper.wake)
    metrics = Metrics(serving.counts, Inventory(stores.metadata, contents_directory(options.data_dir, options.blobs)))
    redirects = options.downloads == "redirect"
    authenticator = serving.authenticator(stores.metadata)
    app = create_app(service, authenticator, options.limits, metrics, redirects=redirects)
    server = _Server(app, options.limits, ready)
    _stop_on_signals(server)
    if lifeline is not None:
        _stop_at_the_end_of(lifeline, server)
    try:
        async with (
            sweeper.sweeping(options.sweep_interval),
            _serving_metrics(metrics, options.limits, serving.metrics_listener),
        ):
            await server.serve(sockets=[serving.listener])
    finally:
        await stores.close()


@contextlib.asynccontextmanager
async def _serving_metrics(metrics: Metrics, limits: Limits, listener: socket.socket | None) -> AsyncIterator[None]:
    if listener is None:
        yield
        return
    server = _Server(create_metrics_app(metrics), limits)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield
    finally:
        server.stop()
        await serving


class _Server(uvicorn.Server):
    """uvicorn's server. It reports that it is ready, and leaves signals to this module.

    It stops as soon as it can. uvicorn's own sleeps for a quarter of a second, for which the unmount of an embedded
    store would wait.
    """

    def __init__(self, app: Any, limits: Limits, ready: Callable[[], None] = lambda: None) -> None:
        config = BoundedConfig(
            limits.receive_timeout,
            _descriptors() // 2,  # most requests need a connection and a file
            app,
            http=BoundedProtocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=limits.keep_alive,
        )
        super().__init__(config)
        self._shutdown_timeout, self._ready = limits.shutdown_timeout, ready
        self._stopping = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def main_loop(self) -> None:
        counter = 0
        while not await self.on_tick(counter):
            counter = (counter + 1) % _TICKS
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), _TICK_S)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        for listener in sockets or []:
            listener.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        if not await self._end_within(self._shutdown_timeout):
            self._cut()
            if not await self._end_within(_LAST_WORDS_S):
                for task in self.server_state.tasks:
                    task.cancel()

    async def _end_within(self, seconds: float) -> bool:
        """Wait until all requests and connections have ended, and return whether they have. A second stop ends the
        wait."""
        state = self.server_state
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while (state.connections or state.tasks) and not self.force_exit:  # noqa: ASYNC110 - uvicorn tells nobody
                    await asyncio.sleep(_LOOK_S)
                return True
        return False

    def _cut(self) -> None:
        """Disconnect the remaining clients, which ends their requests."""
        connections = list(self.server_state.connections)
        logger.warning("stopping: %d connections that did not finish in time are closed", len(connections))
        for connection in connections:
            connection.transport.abort()

    def stop(self) -> None:
        """Stop gracefully; when called again, stop at once."""
        self.force_exit = self.should_exit
        self.should_exit = True
        self._stopping.set()


def _descriptors() -> int:
    """Return how many descriptors the process may have."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def _stop_on_signals(server: _Server) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, server.stop)


def _stop_at_the_end_of(lifeline: int, server: _Server) -> None:
    """Stop when the mount or parent process that holds the other end has ended, in whatever way."""
    loop = asyncio.get_running_loop()

    def wait() -> None:
        while os.read(lifeline, 4096):
            pass
        with contextlib.suppress(RuntimeError):  # the loop is closed: stopped already
            loop.call_soon_threadsafe(server.stop)

    threading.Thread(target=wait, name="lifeline", daemon=True).start()
