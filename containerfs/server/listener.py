"""The socket that a server listens on: TCP, or a Unix socket."""

import contextlib
import errno
import ipaddress
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

_BACKLOG = 2048


class ListenError(Exception):
    """The server cannot listen on the address. The message is one line."""


@contextlib.contextmanager
def listening(host: str, port: int, uds: Path | None) -> Iterator[socket.socket]:
    """Listen until the context ends.

    A Unix socket is accessible to its owner alone, and its file is removed at the end.

    Args:
        host: name or address; ignored if ``uds`` is given.
        port: from 0 to 65535; 0 picks a free one.
        uds: where to create a Unix socket. A socket file that a dead server left behind is replaced.

    Raises:
        ListenError: if the address cannot be used.
    """
    if uds is None:
        with _tcp(host, port) as listener:
            yield listener
        return
    with _unix(uds) as listener:
        ours = uds.stat().st_ino
        try:
            yield listener
        finally:
            with contextlib.suppress(FileNotFoundError):
                if uds.stat().st_ino == ours:
                    uds.unlink()


def is_loopback(host: str) -> bool:
    """Tell whether only this machine can connect to the address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def url(listener: socket.socket, prefix: str) -> str:
    """Return the server's address as shown to people: an http URL with the prefix, or ``unix:PATH``."""
    if listener.family == socket.AF_UNIX:
        return f"unix:{listener.getsockname()}"
    host, port = listener.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}{prefix}"


def _tcp(host: str, port: int) -> socket.socket:
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[
            0
        ]
    except (socket.gaierror, UnicodeError, OverflowError) as error:
        raise ListenError(f"cannot listen on {host}:{port}: unknown address (--host)") from error
    listener = socket.socket(family, kind)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        reason = "the port is in use (--port)" if error.errno == errno.EADDRINUSE else error.strerror
        raise ListenError(f"cannot listen on {host}:{port}: {reason}") from error
    return listener


def _unix(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _remove_stale(path)
        before = os.umask(0o177)
        try:
            listener.bind(str(path))
        finally:
            os.umask(before)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        reason = "the socket is in use (--uds)" if error.errno == errno.EADDRINUSE else error.strerror or error
        raise ListenError(f"cannot listen on {path}: {reason}") from error
    return listener


def _remove_stale(path: Path) -> None:
    """Remove a socket that nobody listens on. Anything else is left, and bind() fails."""
    with contextlib.suppress(FileNotFoundError):
        if stat.S_ISSOCK(path.stat().st_mode) and not _answers(path):
            path.unlink()


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            return False
    return True
