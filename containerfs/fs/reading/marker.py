"""The mark of a mount that uses the cache: an empty file whose name says in which boot of the machine it was created.

A mark from an earlier boot means that the machine went down while the cache was in use, so parts of the cache may never
have reached the disk. All information is in the name, so that a mark is never found half written.
"""

import os
import threading
import time
from contextlib import suppress
from pathlib import Path

from containerfs.fs import types
from containerfs.fs.disk import boot_id, sync_disk

_PATIENCE = 5.0  # seconds that the end of a mount waits for the disk


class UseMarker:
    """The mark of one mount in the cache's directory.

    The caller of ``enter`` must hold a lock that excludes other mounts; ``leave`` needs none.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._boot = boot_id()
        self._path = directory / f"in-use-{self._boot}-{os.getpid()}-{time.monotonic_ns()}"

    def enter(self) -> bool:
        """Create the mark, and return whether the machine went down while the cache was in use."""
        before = [other for other in self._all() if _boot_of(other) != self._boot]
        self._path.touch(0o600)
        return bool(before)

    def forget_earlier_boots(self) -> None:
        """Remove the marks of earlier boots, after the content of their mounts is deleted."""
        for other in self._all():
            if _boot_of(other) != self._boot:
                other.unlink(missing_ok=True)

    def leave(self, *, used: bool) -> None:
        """Remove the mark once everything that was written is on the disk. If the disk is too busy for that, the mark
        stays.

        The marks of mounts that were killed are removed too, because what they had written is on the disk by then as
        well.

        Args:
            used: whether this mount may have changed anything. If not, there is nothing to wait for.
        """
        if not used:
            self._path.unlink(missing_ok=True)
            return
        syncing = threading.Thread(target=self._sync, daemon=True)
        syncing.start()
        syncing.join(_PATIENCE)
        if syncing.is_alive():
            return
        for marker in self._all():
            if marker == self._path or not Path("/proc", marker.name.rsplit("-", 2)[1]).exists():
                marker.unlink(missing_ok=True)

    def _sync(self) -> None:
        with suppress(types.FsError):  # checksums reveal what is damaged
            sync_disk(self._directory)

    def _all(self) -> list[Path]:
        return list(self._directory.glob("in-use-*"))


def _boot_of(marker: Path) -> str:
    return marker.name.removeprefix("in-use-").rpartition("-")[0].rpartition("-")[0]
