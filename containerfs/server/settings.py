"""What can be set about a server."""

from dataclasses import dataclass
from pathlib import Path

from containerfs.server.requests import ExpiryRule


@dataclass(frozen=True, slots=True)
class Limits:
    """What a request may cost. Sizes are in bytes, times in seconds; None is without limit.

    Attributes:
        max_upload_size: of a file.
        receive_timeout: the longest pause within a request, and the longest that its headers may take in all.
        keep_alive: how long a connection may be idle between requests.
        shutdown_timeout: how long a stop waits for requests under way.
    """

    max_upload_size: int | None = 512 * 1024 * 1024
    receive_timeout: float = 60
    keep_alive: float = 75
    shutdown_timeout: float = 60


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """A server: where it listens, where it keeps things, whom it serves.

    Attributes:
        host, port: where to listen; port 0 is any free one.
        uds: a Unix socket to listen on instead.
        data_dir: the store.
        allowed_hosts: names that a server without keys on a port of this machine may be asked by, besides its own.
        api_keys: the key file; None serves everyone who reaches the server.
        metrics: a host and port on which to serve the metrics, and nothing else, without keys.
        default_expiry: for containers created without ``expires_after``.
        sweep_interval: seconds between sweeps.
        exit_with_stdin: stop when standard input ends.
        access_log: write a line of JSON per request to standard error.
    """

    data_dir: Path
    host: str = "127.0.0.1"
    port: int = 8080
    uds: Path | None = None
    allowed_hosts: tuple[str, ...] = ()
    api_keys: Path | None = None
    metrics: tuple[str, int] | None = None
    limits: Limits = Limits()
    default_expiry: ExpiryRule | None = None
    sweep_interval: float = 60
    exit_with_stdin: bool = False
    access_log: bool = True
