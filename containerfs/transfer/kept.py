"""What mounts keep on this machine besides the files of a service, such as the names under which files were
uploaded."""

import sqlite3
import threading
from pathlib import Path

from containerfs.fs.namespace.attributes import Attributes, AttributeStore, file_key
from containerfs.fs.types import RemoteFile


class Names:
    """The names and other attributes that mounts on this machine keep. Thread-safe.

    Names are worth less than the work that uses them. So if the database cannot be used, nothing is kept.

    Args:
        database: created when there is something to keep.
        service: names the service, as mounts do.
    """

    def __init__(self, database: Path, service: str) -> None:
        self._database = database
        self._service = service
        self._lock = threading.Lock()  # guards the store
        self._store: AttributeStore | None = None

    def load(self, container_id: str) -> dict[str, Attributes]:
        """Return everything kept for a container, by key."""
        store = self._opened() if self._database.exists() else None
        return {} if store is None else store.load(container_id)

    def keep(self, stored: RemoteFile, path: str) -> None:
        """Remember that the service stored a file under another path than ``path``."""
        store = self._opened()
        if store is not None:
            store.save(stored.container_id, file_key(stored.id), Attributes(path=path))

    def close(self) -> None:
        """Close the database, if it was opened."""
        with self._lock:
            if self._store is not None:
                self._store.close()

    def _opened(self) -> AttributeStore | None:
        with self._lock:
            if self._store is None:
                try:
                    self._store = AttributeStore(self._database, self._service)
                except (OSError, sqlite3.Error):
                    return None
            return self._store
