"""Which mount a part of the journal belongs to, and whether that mount still lives.

Each mount holds a lock on a file of its own for as long as it lives; the kernel drops the lock however it ends.
"""

import fcntl
import os
import uuid
from pathlib import Path

NOBODY = ""
"""Owns what was set aside and is to be tried again, until a mount takes it."""


class Ownership:
    """This mount's identity in a journal.

    Args:
        directory: of the lock files; created if missing.
    """

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.id = uuid.uuid4().hex
        self._directory = directory
        self._fd = os.open(directory / self.id, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._fd, fcntl.LOCK_EX)

    def is_live(self, owner: str) -> bool:
        """Whether the mount of that identity lives; this one does."""
        return owner == self.id or (owner != NOBODY and self._is_locked(owner))

    def forget_dead(self) -> None:
        """Remove the lock files of mounts that are gone. No other mount may begin meanwhile."""
        for path in self._directory.iterdir():
            if not self.is_live(path.name):
                path.unlink(missing_ok=True)

    def release(self) -> None:
        """End: what this mount leaves behind may be taken over."""
        (self._directory / self.id).unlink(missing_ok=True)
        os.close(self._fd)

    def _is_locked(self, owner: str) -> bool:
        try:
            fd = os.open(self._directory / owner, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:  # released meanwhile
            return False
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(fd)
        return False
