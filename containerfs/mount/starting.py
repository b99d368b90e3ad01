"""Starts the process of a mount, and exchanges messages between it and the command that starts it.

A socket connects them. The command sends the settings, pickled, and closes its direction. The process sends one
message: that it is ready, or why it is not. If the command ends earlier, there are no settings, and the process ends
too.

``python -m`` alone puts the working directory first in ``sys.path``, so that a ``token.py`` that happens to be there
would run instead of Python's own. ``-P`` prevents that. PYTHONPATH still applies, because whoever set it chose it, and
it applies to the command too. Source: Python's command line, ``-P``.
"""

import os
import pickle
import socket
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from containerfs.fs.types import NoThread
from containerfs.mount.settings import MountSettings

_LESS_MEMORY = ("-X", "no_debug_ranges")  # saves 0.8 MB; tracebacks do not say which part of a line has failed


@dataclass(frozen=True, slots=True)
class Word:
    """The message of the process.

    Attributes:
        text: what is mounted where, or why nothing is.
        status: 0 if it is mounted; otherwise the exit status of the command.
    """

    text: str
    status: int = 0


class Ended(Exception):
    """The process ended without a message.

    Attributes:
        status: its exit status; negative for the signal that killed it.
    """

    def __init__(self, status: int) -> None:
        super().__init__(f"ended with status {status}")
        self.status = status


class Starting:
    """The process of a mount in the background. It starts at once, and imports what it needs while the settings are
    read.

    It has its own session, and shares only standard error with this process, until it writes to its log.

    Args:
        mountpoint: also shows people which mount the process belongs to.

    Raises:
        NoThread: if no process can be started.
    """

    def __init__(self, mountpoint: Path) -> None:
        self._connection, theirs = socket.socketpair()
        with theirs:
            try:
                self._process = subprocess.Popen(
                    _command(mountpoint, theirs),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    pass_fds=[theirs.fileno()],
                    start_new_session=True,
                )
            except BlockingIOError as error:
                raise NoThread(error) from error

    def give(self, settings: MountSettings) -> Word:
        """Tell it what to mount, and return its answer. Raises Ended."""
        with self._connection:
            with suppress(BrokenPipeError):  # it has ended
                _send(self._connection, settings)
            said = _received(self._connection)
        if not said:
            raise Ended(self._process.wait())
        word: Word = pickle.loads(said)
        self._process.returncode = 0  # it outlives this process, so nobody waits for it
        return word


def become(mountpoint: Path, settings: MountSettings) -> NoReturn:
    """Become the process of a mount, in place of the command."""
    ours, theirs = socket.socketpair()
    with ours:
        _send(ours, settings)
    theirs.set_inheritable(True)
    os.execv(sys.executable, _command(mountpoint, theirs))


class Command:
    """The command as its process sees it: sends the settings, and waits for a message."""

    def __init__(self, descriptor: int) -> None:
        self._connection = socket.socket(fileno=descriptor)
        self._connection.set_inheritable(False)

    def settings(self) -> MountSettings | None:
        """Wait for what to mount; None if the command has given up."""
        given = _received(self._connection)
        settings: MountSettings | None = pickle.loads(given) if given else None
        return settings

    def tell(self, word: Word) -> None:
        """Send the one message. The command may have been interrupted."""
        with self._connection, suppress(OSError):
            _send(self._connection, word)


def _command(mountpoint: Path, connection: socket.socket) -> list[str]:
    arguments = [os.fspath(mountpoint), str(connection.fileno())]
    return [sys.executable, "-P", *_LESS_MEMORY, "-m", "containerfs.mount", *arguments]


def _send(connection: socket.socket, told: MountSettings | Word) -> None:
    connection.sendall(pickle.dumps(told))
    connection.shutdown(socket.SHUT_WR)


def _received(connection: socket.socket) -> bytes:
    """Return everything that arrives until the other end is closed."""
    with connection.makefile("rb") as file, suppress(ConnectionResetError):
        return file.read()
    return b""
