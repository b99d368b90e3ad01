"""Which mount a part of the journal belongs to, and whether that mount is still running.

Each mount holds a lock on its own file while it runs. The kernel releases the lock however the mount ends. No mount may
begin while somebody looks at the locks of others.
"""

import fcntl
import os
import uuid
from contextlib import suppress
from pathlib import Path

NOBODY = ""
"""The owner of entries that were set aside and should be tried again, until a mount takes them."""


class Owners:
    """The mounts that a journal knows.

    Args:
        directory: of their lock files, each of which contains a process id.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def is_live(self, owner: str) -> bool:
        """Tell whether the mount with that identity is running."""
        if owner == NOBODY:
            return False
        try:
            fd = os.open(self._directory / owner, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:  # it has ended
            return False
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(fd)
        return False

    def live(self) -> set[str]:
        """Return the identities of all running mounts."""
        return {path.name for path in self._files() if self.is_live(path.name)}

    def pid(self, owner: str) -> int | None:
        """Return the process id of a mount; None if it is not known."""
        with suppress(OSError, ValueError):
            return int((self._directory / owner).read_text())
        return None

    def forget_dead(self) -> None:
        """Remove the lock files of mounts that are gone."""
        for path in self._files():
            if not self.is_live(path.name):
                path.unlink(missing_ok=True)

    def _files(self) -> list[Path]:
        return [path for path in self._directory.iterdir() if path.is_file()] if self._directory.is_dir() else []


class Ownership(Owners):
    """This mount's identity in a journal. Raises OSError.

    Args:
        directory: of the lock files; created if it is missing.
    """

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.id = uuid.uuid4().hex
        self._fd = os.open(directory / self.id, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._fd, fcntl.LOCK_EX)
        with suppress(OSError):  # the disk is full; the process id will not be shown to anybody
            os.write(self._fd, str(os.getpid()).encode())

    def others_live(self) -> bool:
        """Tell whether another mount uses the journal."""
        return bool(self.live() - {self.id})

    def release(self) -> None:
        """Release the identity, so that what this mount leaves may be taken over."""
        (self._directory / self.id).unlink(missing_ok=True)
        os.close(self._fd)
