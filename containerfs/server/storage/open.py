"""Opens the pair of stores that a server uses.

Files are accessible to their owner only, whatever the umask, and whatever the mode of an existing data directory.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from containerfs.server.storage.blob_store import BlobStore
from containerfs.server.storage.failures import StoreError
from containerfs.server.storage.leases import Leases
from containerfs.server.storage.local import LocalBlobStore
from containerfs.server.storage.metadata_store import MetadataStore
from containerfs.server.storage.migration import FINISHED
from containerfs.server.storage.reserve import Reserve
from containerfs.server.storage.small import TieredBlobStore
from containerfs.server.storage.sqlite import SqliteMetadataStore

DATABASE = "metadata.sqlite3"


@dataclass(frozen=True, slots=True)
class Stores:
    """A pair of stores."""

    metadata: MetadataStore
    blobs: BlobStore

    @classmethod
    def open(cls, database_url: str, blobs_url: str) -> "Stores":
        """Open a pair of stores.

        Args:
            database_url: ``sqlite:////PATH``, a file that is created or migrated if necessary, or
                ``postgresql://USER:PASSWORD@HOST/DATABASE``, a database that was migrated.
            blobs_url: ``file:///PATH``, a directory that is created if it is missing, or ``s3://BUCKET/PREFIX``,
                ``gs://…`` or ``az://…``.

        Raises:
            StoreError: if a store cannot be opened. The message is one line.
        """
        metadata = open_metadata(database_url)
        return cls(metadata, TieredBlobStore(metadata, _open_blobs(blobs_url, Leases(metadata))))

    async def close(self) -> None:
        await self.blobs.close()
        await self.metadata.close()


def open_stores(data_dir: Path, database_url: str | None = None, blobs_url: str | None = None) -> Stores:
    """Open the stores in a directory, which is created if necessary, or at the given URLs. Raises as ``Stores.open``
    does."""
    return Stores.open(database_url or sqlite_url(data_dir), blobs_url or data_dir.absolute().as_uri())


def sqlite_url(data_dir: Path) -> str:
    """Return the URL of the database in a store's directory."""
    return URL.create("sqlite", database=str(data_dir.absolute() / DATABASE)).render_as_string()


def holds_store(data_dir: Path) -> bool:
    """Tell whether there is a store in a directory."""
    return (data_dir / DATABASE).is_file()


def contents_directory(data_dir: Path, blobs_url: str | None = None) -> Path | None:
    """Return the directory that holds the contents of these stores; None if they are in an object store."""
    url = urlsplit(blobs_url or data_dir.absolute().as_uri())
    return Path(unquote(url.path)) if url.scheme == "file" else None


def open_metadata(database_url: str) -> MetadataStore:
    """Open the rows alone. Raises as ``Stores.open`` does."""
    url = database(database_url)
    if url.get_backend_name() == "postgresql":
        from containerfs.server.storage.postgres import PostgresMetadataStore  # few servers need this driver

        return PostgresMetadataStore(url)
    return _open_sqlite(Path(url.database or ""))


def migrate_database(database_url: str, *, finish: bool) -> str:
    """Create or migrate the tables of a store.

    Args:
        finish: whether no server of an older version is to be used any more. Otherwise running ones can go on.

    Returns:
        The revision that it has then. It is ``migration.FINISHED`` once no server of an older version can be used.

    Raises:
        StoreError: as ``Stores.open`` does, or if servers of an older version run.
    """
    url = database(database_url)
    if url.get_backend_name() == "postgresql":
        from containerfs.server.storage.postgres import migrate

        return migrate(url, finish=finish)
    open_metadata(database_url)
    return FINISHED


def database(database_url: str) -> URL:
    """Parse the URL of a database.

    Raises:
        StoreError: if it is not the URL of a database that can be used.
    """
    try:
        url = make_url(database_url)
    except ArgumentError as error:
        raise StoreError("invalid database URL: give postgresql://HOST/NAME") from error
    if url.drivername in ("postgresql", "postgres"):
        return url.set(drivername="postgresql+psycopg")
    if url.drivername == "sqlite" and url.database:
        return url
    raise StoreError(f"databases of {url.drivername} are not supported: give postgresql://HOST/NAME")


def _open_sqlite(path: Path) -> MetadataStore:
    with _usable(path.parent):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _make_private(path)
    with _alone(path.parent):
        return SqliteMetadataStore(path, Reserve(path.parent))


def _open_blobs(blobs_url: str, leases: Leases) -> BlobStore:
    if urlsplit(blobs_url).scheme != "file":
        from containerfs.server.storage.objects import ObjectBlobStore  # few servers need this library

        return ObjectBlobStore(blobs_url, leases)
    directory = contents_directory(Path(), blobs_url)
    if directory is None or not directory.is_absolute():
        raise StoreError(f"{blobs_url} does not name a directory: give file:///DIRECTORY")
    with _usable(directory):
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        return LocalBlobStore(directory, Reserve(directory), leases)


@contextlib.contextmanager
def _usable(directory: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(f"cannot use the data directory {directory}: {error.strerror}") from error


def _make_private(database: Path) -> None:
    """Create the database's file, whose mode SQLite uses for further files, and correct the modes of existing ones."""
    os.close(os.open(database, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    for suffix in ("", "-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            os.chmod(f"{database}{suffix}", 0o600)


@contextlib.contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """Keep others from opening this store, because SQLite does not wait while a new file becomes a WAL database."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)
