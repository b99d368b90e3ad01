"""The interface of the store of the bytes."""

from collections.abc import Collection
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from containerfs.server.storage.metadata_store import Transaction


class BlobWriter(Protocol):
    """Writes one new blob."""

    @property
    def name(self) -> str | None:
        """The blob's name, once it is stored outside of the rows."""
        ...

    @property
    def size(self) -> int:
        """The number of bytes written so far."""
        ...

    def expect(self, size: int) -> None:
        """Announce how many bytes are to be written at least.

        Raises:
            OutOfSpaceError: if there is not enough space for so many.
        """
        ...

    async def write(self, data: bytes | memoryview) -> None:
        """Append bytes. May return before they are written, so that errors are raised by a later call.

        Raises:
            OutOfSpaceError: if there is no space.
        """
        ...

    async def commit(self) -> str:
        """End the blob and return its name. The blob is stored once ``publish`` has returned and ``record`` is done.

        Raises:
            OutOfSpaceError: if there is no space.
        """
        ...

    def publish(self) -> None:
        """Make the bytes of a committed blob durable, so that ``open`` finds it. May be called in any thread, and may
        take long.

        Raises:
            OutOfSpaceError: if there is no space.
        """
        ...

    def record(self, tx: Transaction) -> None:
        """Store in the rows what is kept there of a committed blob, before a row names it."""
        ...


class BlobReader(Protocol):
    """An open blob. It can be read at least as long as dead blobs are kept."""

    @property
    def size(self) -> int:
        """The number of bytes."""

    async def seek(self, start: int, stop: int) -> None:
        """Announce which bytes will be read, in order.

        Raises:
            BlobNotFoundError: if there is no such blob.
        """
        ...

    async def address(self, seconds: float) -> str | None:
        """Return a URL from which anybody can fetch the blob for so many seconds; None if the store has none."""
        ...

    async def read(self, offset: int, size: int) -> bytes:
        """Return up to ``size`` bytes at ``offset``: at least one, unless ``offset`` is at or after the end."""
        ...

    async def close(self) -> None: ...


class BlobStore(Protocol):
    """Keeps the bytes, for several servers at once. Blobs never change."""

    def writer(self) -> AbstractAsyncContextManager[BlobWriter]:
        """Give a writer for a new blob, until the context ends.

        A blob that is not committed by then is removed. One that is committed stays new, as the rows have it, until a
        row names it.
        """
        ...

    def recorded(self, tx: Transaction, blob: str, size: int) -> BlobReader | None:
        """Open a blob of ``size`` bytes if it is kept in the rows, in the transaction that found its name. If not,
        ``open`` finds it.

        Raises:
            OSError: if the blob has another size.
        """
        ...

    async def open(self, blob: str, size: int) -> BlobReader:
        """Open a blob of ``size`` bytes that is not kept in the rows.

        Raises:
            BlobNotFoundError: if there is no such blob; may also be raised by ``BlobReader.seek``.
            OSError: if the blob has another size; may also be raised by ``BlobReader.seek``.
        """
        ...

    async def discard(self, blobs: Collection[str]) -> None:
        """Free the space of dead blobs now, if those that are reading them can go on."""
        ...

    async def delete(self, blobs: Collection[str]) -> bool:
        """Delete dead blobs; some of them may never have been stored.

        Returns:
            Whether they are gone. If not, they are to be deleted again later.
        """
        ...

    async def sweep_unfinished(self) -> None:
        """Remove what dead writers left of blobs that they did not commit."""
        ...

    async def close(self) -> None: ...
