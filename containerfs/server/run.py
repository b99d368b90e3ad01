"""Run a server in this process: bind, open the stores, say so in one line, serve, stop gracefully.

uvicorn speaks HTTP. A signal, or the end of standard input, stops accepting, lets requests under way finish within a
limit, then returns.
"""

import asyncio
import contextlib
import logging
import os
import resource
import signal
import socket
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import uvicorn
import uvloop

from containerfs.server.app import PREFIX, create_app, create_metrics_app
from containerfs.server.auth import Authenticator, Everyone, KeyFile, ThisMachine
from containerfs.server.listener import ListenError, is_loopback, listening, url
from containerfs.server.observation import Counts, access_log
from containerfs.server.protocol import BoundedConfig, BoundedProtocol
from containerfs.server.service import Service
from containerfs.server.settings import Limits, ServerSettings
from containerfs.server.storage.open import open_stores
from containerfs.server.sweeper import Sweeper

_LAST_WORDS_S = 5
"""How long requests may take to end once their clients have been disconnected, in seconds."""

_SWITCH_INTERVAL_S = 0.0005
"""A thread that comes back from the kernel waits so long for the interpreter while the event loop is busy, and SQLite's
and those that remove files do so for each row and file: at Python's 5 ms, 500 files took 2.8 s instead of 0.6."""

logger = logging.getLogger("containerfs.server")


def run(settings: ServerSettings) -> None:
    """Serve until told to stop by SIGTERM, SIGINT or, for the child of a mount, the end of standard input.

    Raises:
        ListenError: if the address cannot be listened on, or not without API keys.
        KeyFileError: if the key file cannot be read.
        StoreError: if the store cannot be opened.
    """
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    os.umask(0o077)  # one that takes rights from the owner, too, would make files that cannot be opened again
    _log(settings)
    authenticator = _authenticator(settings)
    with (
        listening(settings.host, settings.port, settings.uds) as listener,
        _listening_for_metrics(settings) as metrics_listener,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        runner.run(_serve(settings, authenticator, listener, metrics_listener))
    _forget_unread_log()


def _forget_unread_log() -> None:
    """A log that no one reads any more is no reason to end with an error. Source: Python's note on SIGPIPE."""
    try:
        sys.stderr.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())


def _log(settings: ServerSettings) -> None:
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="containerfs serve: %(message)s")
    if settings.access_log:
        lines = logging.StreamHandler(sys.stderr)
        lines.setFormatter(logging.Formatter("%(message)s"))
        access_log.addHandler(lines)
        access_log.setLevel(logging.INFO)
        access_log.propagate = False


def _authenticator(settings: ServerSettings) -> Authenticator:
    of_this_machine = settings.uds is not None or is_loopback(settings.host)
    if settings.api_keys is not None:
        key_file = KeyFile(settings.api_keys, guards_operations=not of_this_machine)
        key_file.keys()
        return key_file
    if not of_this_machine:
        raise ListenError(f"refusing to listen on {settings.host} without API keys: give a key file with --api-keys")
    return ThisMachine(settings.allowed_hosts) if settings.uds is None else Everyone()


def _listening_for_metrics(settings: ServerSettings) -> contextlib.AbstractContextManager[socket.socket | None]:
    return listening(*settings.metrics, None) if settings.metrics else contextlib.nullcontext()


async def _serve(
    settings: ServerSettings,
    authenticator: Authenticator,
    listener: socket.socket,
    metrics_listener: socket.socket | None,
) -> None:
    stores = open_stores(settings.data_dir)
    sweeper = Sweeper(stores)
    service = Service(stores, default_expiry=settings.default_expiry, left_work=sweeper.wake)
    counts = Counts()
    server = _Server(create_app(service, authenticator, settings.limits, counts), settings.limits)
    _stop_on_signals(server)
    if settings.embedded:
        _stop_with_stdin(server)
    try:
        async with (
            sweeper.sweeping(settings.sweep_interval),
            _serving_metrics(counts, settings.limits, metrics_listener),
        ):
            await server.serve(sockets=[listener])
    finally:
        await stores.metadata.close()


@contextlib.asynccontextmanager
async def _serving_metrics(counts: Counts, limits: Limits, listener: socket.socket | None) -> AsyncIterator[None]:
    if listener is None:
        yield
        return
    server = _Server(create_metrics_app(counts), limits, announced=False)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield
    finally:
        server.stop()
        await serving


class _Server(uvicorn.Server):
    """uvicorn's server, which says when it is ready, and leaves signals to us."""

    def __init__(self, app: Any, limits: Limits, *, announced: bool = True) -> None:
        config = BoundedConfig(
            limits.receive_timeout,
            _descriptors() // 2,  # a request has a connection and, mostly, a file
            app,
            http=BoundedProtocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=limits.keep_alive,
            timeout_graceful_shutdown=limits.shutdown_timeout + _LAST_WORDS_S,
        )
        super().__init__(config)
        self._shutdown_timeout, self._announced = limits.shutdown_timeout, announced

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for listener in (sockets or ()) if self._announced else ():
            print(f"containerfs serve: listening on {url(listener, PREFIX)}", flush=True)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        cut = asyncio.get_running_loop().call_later(self._shutdown_timeout, self._cut)
        await super().shutdown(sockets)
        cut.cancel()

    def _cut(self) -> None:
        """Disconnect the clients that are left. Their requests end like those of clients that have gone."""
        connections = list(self.server_state.connections)
        logger.warning("stopping: %d connections that did not finish in time are closed", len(connections))
        for connection in connections:
            connection.transport.abort()

    def stop(self) -> None:
        """Stop gracefully; at once, if told so again."""
        self.force_exit = self.should_exit
        self.should_exit = True


def _descriptors() -> int:
    """How many the process may have."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def _stop_on_signals(server: _Server) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, server.stop)


def _stop_with_stdin(server: _Server) -> None:
    """Stop when standard input ends: whoever holds its other end, a mount, is gone then, however it went."""
    loop = asyncio.get_running_loop()

    def wait() -> None:
        while os.read(0, 4096):
            pass
        with contextlib.suppress(RuntimeError):  # the loop is closed: stopped already
            loop.call_soon_threadsafe(server.stop)

    threading.Thread(target=wait, name="stdin", daemon=True).start()
