"""What a server can be told: by people, as ``settings`` reads it, or as the embedded store by its mount."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from containerfs.server.requests import ExpiryRule

KEYS_IN_DATABASE = Path("database")
"""The value of ``api_keys`` for keys in the database instead of a file."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one request may cost. Sizes are in bytes, times in seconds; None means no limit.

    Attributes:
        max_upload_size: the largest file that is accepted.
        receive_timeout: the longest pause within a request, and the longest time for its head.
        keep_alive: how long a connection may be idle between requests.
        shutdown_timeout: how long a stop waits for requests that are being answered.
    """

    max_upload_size: int | None = 512 * 1024 * 1024
    receive_timeout: float = 60
    keep_alive: float = 75
    shutdown_timeout: float = 60


@dataclass(frozen=True)
class ServerOptions:
    """A server: where it listens, where it keeps things, whom it serves. Sizes are in bytes, times in seconds.

    Attributes:
        host, port: where to listen; port 0 is any free one.
        uds: a Unix socket to listen on instead.
        workers: how many processes serve.
        data_dir: the store, or what of it is not kept elsewhere.
        database: the URL of a PostgreSQL database that has the rows.
        blobs: the URL of what has the contents.
        downloads: whether contents are sent from an object store, or clients redirected to it.
        allowed_hosts: names that a server without keys on a port of this machine may be asked by, besides its own.
        api_keys: the key file, or ``database``; None serves everyone who reaches the server.
        metrics: a host and port on which to serve the metrics, and nothing else, without keys.
        max_upload_size: of a file; 0 is no limit.
        default_expiry: for containers created without ``expires_after``.
        timeout: the longest pause within a request or its answer.
        shutdown_timeout: how long a stop waits for requests under way.
        sweep_interval: between sweeps.
        access_log: write a line of JSON per request to standard error.
        until_stdin_ends: whether the end of standard input is the end of the server.
    """

    data_dir: Path
    host: str = "127.0.0.1"
    port: int = 8080
    uds: Path | None = None
    workers: int = 1
    database: str | None = field(default=None, repr=False)
    blobs: str | None = None
    downloads: Literal["proxy", "redirect"] = "proxy"
    allowed_hosts: tuple[str, ...] = ()
    api_keys: Path | None = None
    metrics: tuple[str, int] | None = None
    max_upload_size: int = 512 << 20
    default_expiry: ExpiryRule | None = None
    timeout: float = 60
    shutdown_timeout: float = 60
    sweep_interval: float = 60
    access_log: bool = True
    until_stdin_ends: bool = False

    @property
    def limits(self) -> Limits:
        return Limits(
            max_upload_size=self.max_upload_size or None,
            receive_timeout=self.timeout,
            shutdown_timeout=self.shutdown_timeout,
        )
