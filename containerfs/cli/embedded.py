"""The embedded store: ``containerfs serve`` as a child on a Unix socket, for as long as the mount lives.

The child holds the reading end of a pipe whose writing end is ours: however the mount ends, the pipe closes, and the
child ends gracefully.
"""

import logging
import os
import subprocess
import tempfile
import threading
from pathlib import Path

from containerfs.api.errors import ContainerFSError
from containerfs.cli import child

log = logging.getLogger(__name__)

_LONGEST = 70  # bytes of the path of a directory: that of a socket below it must not exceed 107. Source: unix(7)
_READY = "containerfs serve: listening on "


class EmbeddedError(ContainerFSError):
    """The embedded store did not start; the message says why."""


class EmbeddedStore:
    """A server over ``data_dir``. It starts in the background; ``ready`` waits for it."""

    def __init__(self, data_dir: Path) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="containerfs-", dir=_short_directory())  # 0700
        self.uds = Path(self._directory.name, "store.sock")
        options = ["--uds", str(self.uds), "--data-dir", str(data_dir), "--max-upload-size", "0"]
        self._process = subprocess.Popen(
            child.command("serve", *options, "--embedded", "--no-access-log"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # an interrupt on the terminal is for the mount, which first sends what is due
        )

    def ready(self) -> None:
        """Wait until it answers. Raises EmbeddedError."""
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        line = self._process.stdout.readline().decode()
        if not line.startswith(_READY):
            *_, said = ["", *self._process.stderr.read().decode().splitlines()]  # the last line says what went wrong
            said = said.removeprefix("containerfs serve: ") or f"it ended with status {self._process.wait()}"
            raise EmbeddedError(said)
        threading.Thread(target=self._log, daemon=True).start()  # a pipe that nobody empties would stop the store

    def _log(self) -> None:
        for line in self._process.stderr or ():
            log.warning("%s", line.decode(errors="replace").rstrip())

    def stop(self) -> None:
        """Stop the server once it has finished its requests."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()
        self._directory.cleanup()


def _short_directory() -> str:
    """A directory for the socket: TMPDIR may be too long."""
    wanted = (tempfile.gettempdir(), os.environ.get("XDG_RUNTIME_DIR", ""), "/tmp")
    short = (path for path in wanted if path and len(os.fsencode(path)) <= _LONGEST)
    return next((path for path in short if os.access(path, os.W_OK | os.X_OK)), tempfile.gettempdir())
