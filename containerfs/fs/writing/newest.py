"""The newest files of containers, listed once for all lost requests that look for theirs at about the same time."""

import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass, field

from cachetools import TTLCache

from containerfs.fs.remote import Remote
from containerfs.fs.types import RemoteFile

_CONTAINERS = 64
_KEPT = 60.0  # seconds after which nobody needs a listing any more


@dataclass(frozen=True, slots=True)
class _Listing:
    begun: float
    since: int
    files: "Future[list[RemoteFile]]" = field(default_factory=Future)


class NewestFiles:
    """Lists the newest files of containers. Thread-safe."""

    def __init__(self, remote: Remote) -> None:
        self._remote = remote
        self._lock = threading.Lock()  # guards the listings
        self._listings: TTLCache[str, _Listing] = TTLCache(_CONTAINERS, _KEPT)

    def listed(self, container_id: str, since: int, due: float) -> list[RemoteFile]:
        """Return the files that were created at or after ``since``, newest first, from a listing requested at ``due``
        or later.

        Args:
            since: in Unix seconds.
            due: monotonic time.

        Raises:
            FsError: as ``Remote.newest``.
        """
        with self._lock:
            listing = self._listings.get(container_id)
            if listing is not None and listing.begun >= due and listing.since <= since:
                leads = False
            else:
                leads = True
                listing = self._listings[container_id] = _Listing(time.monotonic(), since)
        if leads:
            self._list(container_id, listing)
        return listing.files.result()

    def _list(self, container_id: str, listing: _Listing) -> None:
        try:
            listing.files.set_result(self._remote.newest(container_id, listing.since))
        except BaseException as error:
            listing.files.set_exception(error)
