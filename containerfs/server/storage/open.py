"""Open the pair of stores that a server runs on.

All of it is for its owner alone, whatever the umask and the mode of a data directory that was there before.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from containerfs.server.storage.base import BlobStore, MetadataStore, StoreError
from containerfs.server.storage.local import LocalBlobStore
from containerfs.server.storage.reserve import Reserve
from containerfs.server.storage.sqlite import SqliteMetadataStore

DATABASE = "metadata.sqlite3"


@dataclass(frozen=True, slots=True)
class Stores:
    """The rows and the bytes."""

    metadata: MetadataStore
    blobs: BlobStore


def holds_store(data_dir: Path) -> bool:
    """Whether there is a store in a directory."""
    return (data_dir / DATABASE).is_file()


def open_stores(data_dir: Path) -> Stores:
    """The stores in a directory, which is created if it is missing.

    Raises:
        StoreError: if they cannot be opened, with the reason in one line.
    """
    database = data_dir / DATABASE
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        reserve = Reserve(data_dir)
        blobs = LocalBlobStore(data_dir, reserve)
        _make_private(database)
    except OSError as error:
        raise StoreError(f"cannot use the data directory {data_dir}: {error.strerror}") from error
    with _alone(data_dir):
        return Stores(SqliteMetadataStore(database, reserve), blobs)


def _make_private(database: Path) -> None:
    """Create the database's file, from which SQLite takes the mode of those that it adds; mend those that are there."""
    os.close(os.open(database, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    for suffix in ("", "-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            os.chmod(f"{database}{suffix}", 0o600)


@contextlib.contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """Alone among those who open this store: SQLite waits for no one while it makes a new file a WAL database."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)
