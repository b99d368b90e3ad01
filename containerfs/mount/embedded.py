"""The embedded store: a server in a child of this process, on a Unix socket, for as long as the mount runs.

The child holds the reading end of a pipe whose writing end is ours. However the mount ends, the pipe is closed, and the
child ends gracefully.

It is forked, so that what both need is imported once. That is only safe before any thread has started, because a fork
copies locks that other threads hold, but not the threads that would release them.
"""

import gc
import logging
import os
import sys
import tempfile
import threading
import traceback
from pathlib import Path
from typing import NoReturn

from containerfs.api.errors import ContainerFSError
from containerfs.fs.types import NoThread
from containerfs.mount.descriptors import raise_limit
from containerfs.mount.leaving import leave
from containerfs.mount.statuses import reason

log = logging.getLogger(__name__)

_LONGEST = 70  # bytes of a directory's path; the path of a socket in it must not exceed 107. Source: unix(7)
_READY = "containerfs serve: listening on "


class EmbeddedError(ContainerFSError):
    """The embedded store did not start. The message says why."""


class EmbeddedStore:
    """A server over ``data_dir``. It starts in the background; ``ready`` waits for it."""

    def __init__(self, data_dir: Path) -> None:
        assert threading.active_count() == 1
        self._directory = tempfile.TemporaryDirectory(prefix="containerfs-", dir=_short_directory())  # 0700
        self.uds = Path(self._directory.name, "store.sock")
        (stdin, self._life), (said, stdout), (logged, stderr) = os.pipe(), os.pipe(), os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        try:
            self._process = os.fork()
        except BlockingIOError as error:
            raise NoThread(error) from error
        if not self._process:
            _serve(data_dir, self.uds, (stdin, stdout, stderr))
        for theirs in (stdin, stdout, stderr):
            os.close(theirs)
        self._said, self._logged = (os.fdopen(pipe, encoding="utf-8", errors="replace") for pipe in (said, logged))

    def ready(self) -> None:
        """Wait until it answers. Raises EmbeddedError."""
        with self._said:
            is_ready = self._said.readline().startswith(_READY)
        if not is_ready:
            with self._logged:
                *_, said = ["", *self._logged.read().splitlines()]  # the last line says what is wrong
            raise EmbeddedError(said.removeprefix("containerfs serve: ") or "the embedded store ended without a word")
        threading.Thread(target=self._log, daemon=True).start()  # a full pipe would stop the store

    def _log(self) -> None:
        with self._logged:
            for line in self._logged:
                log.warning("%s", line.rstrip())

    def stop(self) -> None:
        """Stop the server once it has finished its requests."""
        os.close(self._life)
        os.waitpid(self._process, 0)
        self._directory.cleanup()


def _serve(data_dir: Path, uds: Path, files: tuple[int, int, int]) -> NoReturn:
    """Run the server in the child, with these files as standard input, output and error. Never returns."""
    status = 1
    try:
        os.setpgid(0, 0)  # an interrupt on the terminal concerns the mount, which first uploads what is due
        for number, file in enumerate(files):
            os.dup2(file, number)
        os.closerange(3, os.sysconf("SC_OPEN_MAX"))  # whoever reads from the mount's pipes would wait for the store too
        raise_limit()
        status = _run(data_dir, uds)
    except BaseException:
        traceback.print_exc()
    finally:
        leave(status)


def _run(data_dir: Path, uds: Path) -> int:
    """Serve to the end, and return the exit status."""
    gc.disable()  # nothing is left over from imports
    from containerfs.server.listener import ListenError
    from containerfs.server.options import ServerOptions
    from containerfs.server.run import run
    from containerfs.server.storage.failures import StoreError

    gc.freeze()
    gc.enable()
    try:
        run(ServerOptions(data_dir.expanduser(), uds=uds, max_upload_size=0, access_log=False, until_stdin_ends=True))
    except (ListenError, StoreError, RuntimeError) as error:
        print(f"containerfs serve: {reason(error)}", file=sys.stderr)
        return 1
    return 0


def _short_directory() -> str:
    """Return a new directory for the socket, because TMPDIR may be too long."""
    wanted = (tempfile.gettempdir(), os.environ.get("XDG_RUNTIME_DIR", ""), "/tmp")
    short = (path for path in wanted if path and len(os.fsencode(path)) <= _LONGEST)
    return next((path for path in short if os.access(path, os.W_OK | os.X_OK)), tempfile.gettempdir())
