"""Small blobs, which are kept with the rows, and others, which are kept in another store.

A small blob is stored in the transaction of the first row that names it, and removed in that of the last. So it needs
neither a lease nor a file of its own, and one flush of the database makes both of them durable.

While servers of an older version may run, which do not look there, small blobs are not kept with the rows.
"""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Collection

from containerfs.server.storage.blob_store import BlobReader, BlobStore, BlobWriter
from containerfs.server.storage.leases import new_name
from containerfs.server.storage.metadata_store import MetadataStore, Transaction

SMALL_MAX = 16 * 1024
"""The largest small blob, in bytes. Never lower it, because larger ones would not be found any more."""


class TieredBlobStore:
    """The BlobStore that keeps small blobs with the rows."""

    def __init__(self, metadata: MetadataStore, large: BlobStore) -> None:
        """Keep blobs in two stores.

        Args:
            large: keeps larger blobs, and small ones of older versions. It is closed with this store, and the metadata
                are not.
        """
        self._metadata, self._large = metadata, large
        self._keeps_small = False

    @contextlib.asynccontextmanager
    async def writer(self) -> AsyncIterator["TieredBlobWriter"]:
        async with self._large.writer() as large:
            yield TieredBlobWriter(large, self._may_keep_small)

    def recorded(self, tx: Transaction, blob: str, size: int) -> BlobReader | None:
        content = tx.small_blob(blob) if size <= SMALL_MAX else None
        return None if content is None else SmallBlobReader(blob, content, size)

    async def open(self, blob: str, size: int) -> BlobReader:
        return await self._large.open(blob, size)

    async def discard(self, blobs: Collection[str]) -> None:
        await self._large.discard(blobs)

    async def delete(self, blobs: Collection[str]) -> bool:
        return await self._large.delete(blobs)

    async def sweep_unfinished(self) -> None:
        await self._large.sweep_unfinished()

    async def close(self) -> None:
        await self._large.close()

    async def _may_keep_small(self) -> bool:
        if not self._keeps_small:
            self._keeps_small = await self._metadata.read(lambda tx: tx.keeps_small_blobs())
        return self._keeps_small


class TieredBlobWriter:
    """Gathers bytes as long as they are few, and then passes them on."""

    def __init__(self, large: BlobWriter, may_keep_small: Callable[[], Awaitable[bool]]) -> None:
        self._large, self._may_keep_small = large, may_keep_small
        self._gathered: list[bytes | memoryview] | None = []
        """None once the blob is not small any more."""
        self._gathered_size = 0
        self._small_name = ""

    @property
    def name(self) -> str | None:
        return self._large.name

    @property
    def size(self) -> int:
        return self._large.size if self._gathered is None else self._gathered_size

    def expect(self, size: int) -> None:
        self._large.expect(size)

    async def write(self, data: bytes | memoryview) -> None:
        if self._gathered is None:
            await self._large.write(data)
            return
        self._gathered.append(data)
        self._gathered_size += len(data)
        if self._gathered_size > SMALL_MAX:
            await self._pass_on(self._gathered)

    async def commit(self) -> str:
        if self._gathered is not None and not await self._may_keep_small():
            await self._pass_on(self._gathered)
        if self._gathered is None:
            return await self._large.commit()
        self._small_name = new_name()
        return self._small_name

    def publish(self) -> None:
        if self._gathered is None:
            self._large.publish()

    def record(self, tx: Transaction) -> None:
        if self._gathered is not None:
            tx.insert_small_blob(self._small_name, b"".join(self._gathered))

    async def _pass_on(self, gathered: list[bytes | memoryview]) -> None:
        self._gathered = None
        for piece in gathered:
            await self._large.write(piece)


class SmallBlobReader:
    """A small blob, in memory."""

    def __init__(self, blob: str, content: bytes, size: int) -> None:
        """Read a content.

        Raises:
            OSError: if it has another size.
        """
        if len(content) != size:
            raise OSError(f"the stored content {blob} has {len(content)} bytes instead of {size}")
        self._content, self.size = content, size

    async def seek(self, start: int, stop: int) -> None: ...

    async def address(self, seconds: float) -> str | None:
        return None

    async def read(self, offset: int, size: int) -> bytes:
        return self._content[offset : offset + size]

    async def close(self) -> None: ...
