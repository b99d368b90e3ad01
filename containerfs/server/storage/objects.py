"""Blobs as objects in a bucket, on S3 or a compatible store, Google Cloud Storage or Azure.

A small blob is one PUT, sent when it is committed. A large one is a multipart upload, which becomes an object when it
is completed, after its lease was recorded. One that is given up is aborted, so that nothing is left of it. There are no
other requests for an upload, and a download is one GET.
"""

import asyncio
import contextlib
import logging
import os
import re
from collections.abc import AsyncIterator, Collection, Iterator
from datetime import timedelta
from typing import TYPE_CHECKING

import obstore
from obstore.exceptions import BaseError
from obstore.store import AzureStore, GCSStore, S3Store, from_url

from containerfs.server.storage.failures import BlobNotFoundError, StoreError, StoreUnavailableError
from containerfs.server.storage.leases import Leases, new_name
from containerfs.server.storage.metadata_store import Transaction

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig

_Bucket = S3Store | GCSStore | AzureStore

logger = logging.getLogger("containerfs.server")

_PART_SIZE = 8 * 1024 * 1024
_PARTS_AT_ONCE = 4
"""Together with the part that is being filled, and what waits to be sent, an upload takes up to 48 MiB."""

_PIECE_SIZE = 1024 * 1024
"""Bytes that are passed on to be sent at a time."""

_PAUSE = timedelta(seconds=30)
"""The longest pause in an answer of the bucket. Taking a part may last twice as long."""

_CONNECT = timedelta(seconds=5)

_NO_LIMIT = timedelta(days=7)
"""For downloads by slow clients."""

_CHUNK_SIZE = 256 * 1024

_DELETIONS_AT_ONCE = 10

_ADDRESS = re.compile(r"https?://([\w.-]+|\[[0-9a-fA-F:.]+\])(:\d{1,5})?(/[!-~]*)?")
_PLACE = re.compile(r"[\w-]+")
_CREDENTIAL = re.compile(r"[!-~]+")
_S3_SETTINGS = {
    **dict.fromkeys(("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT"), _ADDRESS),
    **dict.fromkeys(("AWS_REGION", "AWS_DEFAULT_REGION"), _PLACE),
    **dict.fromkeys(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"), _CREDENTIAL),
}
"""What the environment may contain."""


class ObjectBlobStore:
    """The BlobStore in a bucket, or below a prefix in a bucket."""

    def __init__(self, url: str, leases: Leases) -> None:
        """Prepare to use a bucket; no request is sent.

        Args:
            url: for example ``s3://BUCKET/PREFIX``. Everything else comes from the environment, under the names that
                the tools of each service use.

        Raises:
            StoreError: if the URL or the environment is invalid.
        """
        self._leases = leases
        _check_environment(url)
        writing: ClientConfig = {"timeout": 2 * _PAUSE}
        reading: ClientConfig = {"timeout": _NO_LIMIT, "read_timeout": _PAUSE}
        try:
            self._written, self._read = _bucket(url, writing), _bucket(url, reading)
        except (BaseError, ValueError) as error:
            raise StoreError(f"contents cannot be kept in {url}: {_line(error)}") from error

    @contextlib.asynccontextmanager
    async def writer(self) -> AsyncIterator["ObjectBlobWriter"]:
        writer = ObjectBlobWriter(self._written, self._leases)
        try:
            yield writer
        finally:
            await writer.close()

    def recorded(self, tx: Transaction, blob: str, size: int) -> None:
        """Return None: no blob is kept in the rows."""

    async def open(self, blob: str, size: int) -> "ObjectBlobReader":
        return ObjectBlobReader(self._read, blob, size)

    async def discard(self, blobs: Collection[str]) -> None:
        """Do nothing: dead blobs are kept for those that are reading them."""

    async def delete(self, blobs: Collection[str]) -> bool:
        if blobs:
            try:
                await self._delete(list(blobs))
            except BlobNotFoundError:  # Google and Azure stop there; S3 does not report it
                await self._delete_each(blobs)
        return True

    async def _delete_each(self, blobs: Collection[str]) -> None:
        turns = asyncio.Semaphore(_DELETIONS_AT_ONCE)

        async def delete(blob: str) -> None:
            async with turns:
                with contextlib.suppress(BlobNotFoundError):
                    await self._delete(blob)

        await asyncio.gather(*map(delete, blobs))

    async def _delete(self, blobs: str | list[str]) -> None:
        with _translated("a deletion"):
            await obstore.delete_async(self._written, blobs)

    async def sweep_unfinished(self) -> None:
        """Do nothing: a rule of the bucket removes incomplete uploads (docs/SCALING.md)."""

    async def close(self) -> None: ...


class ObjectBlobWriter:
    """Keeps a small blob until it is complete, and sends a large one while it arrives."""

    def __init__(self, store: _Bucket, leases: Leases) -> None:
        self._store, self._leases = store, leases
        self.name: str | None = None
        self.size = 0
        self._gathered: list[bytes | memoryview] = []
        self._gathered_size = 0
        self._large: _Multipart | None = None

    def expect(self, size: int) -> None:
        """Return, because an object store does not tell how much space it has."""

    async def write(self, data: bytes | memoryview) -> None:
        self._gathered.append(data)
        self._gathered_size += len(data)
        self.size += len(data)
        if self._gathered_size >= (_PIECE_SIZE if self._large else _PART_SIZE):
            self._large = self._large or _Multipart(self._store)
            await self._large.send(self._take())

    async def commit(self) -> str:
        if self._large is None:
            name = await self._leases.take()
            with _translated(name):
                await obstore.put_async(self._store, name, self._take(), use_multipart=False)
        else:
            name = self._large.name
            await self._leases.record([name])
            await self._large.send(self._take())
            await self._large.complete()
        self.name = name
        return name

    def publish(self) -> None:
        """Do nothing: a committed blob is in the bucket."""

    def record(self, tx: Transaction) -> None:
        """Do nothing, as before."""

    async def close(self) -> None:
        if self._large is not None and self.name is None:
            await self._large.abort()

    def _take(self) -> bytes:
        pieces, self._gathered, self._gathered_size = self._gathered, [], 0
        return b"".join(pieces)


class _Aborted(Exception):
    """Raised by the source of an upload that is given up."""


class _Multipart:
    """A multipart upload in progress. Its data comes through a queue of one piece."""

    def __init__(self, store: _Bucket) -> None:
        self.name = new_name()
        self._pieces: asyncio.Queue[bytes | None] = asyncio.Queue(1)
        self._is_aborted = False
        upload = obstore.put_async(
            store,
            self.name,
            self._source(),
            use_multipart=True,
            chunk_size=_PART_SIZE,
            max_concurrency=_PARTS_AT_ONCE,
        )
        self._storing = asyncio.ensure_future(upload)

    async def send(self, piece: bytes) -> None:
        if piece:
            await self._put(piece)

    async def complete(self) -> None:
        await self._put(None)
        with _translated(self.name):
            await self._storing

    async def abort(self) -> None:
        """Make the source of the upload fail, which aborts the upload, and wait until that is done."""
        self._is_aborted = True
        if not self._storing.done():
            await self._put_if_awaited(b"")
        await asyncio.gather(self._storing, return_exceptions=True)

    async def _put(self, piece: bytes | None) -> None:
        await self._put_if_awaited(piece)
        if self._storing.done():  # it ended before it was complete, so with an error
            with _translated(self.name):
                self._storing.result()

    async def _put_if_awaited(self, piece: bytes | None) -> None:
        """Put a piece into the queue, unless the upload ends first."""
        putting = asyncio.ensure_future(self._pieces.put(piece))
        try:
            await asyncio.wait((putting, self._storing), return_when=asyncio.FIRST_COMPLETED)
        finally:
            putting.cancel()

    async def _source(self) -> AsyncIterator[bytes]:
        while (piece := await self._pieces.get()) is not None:
            if self._is_aborted:
                raise _Aborted
            yield piece


class ObjectBlobReader:
    """A blob that is read in order, with one GET for the announced range."""

    def __init__(self, store: _Bucket, blob: str, size: int) -> None:
        self._store, self._blob = store, blob
        self.size = size
        self._chunks: AsyncIterator[bytes] | None = None
        self._left = memoryview(b"")
        self._position = 0

    async def seek(self, start: int, stop: int) -> None:
        with _translated(self._blob):
            found = await obstore.get_async(self._store, self._blob, options={"range": (start, stop)})
        if found.meta["size"] != self.size:
            raise OSError(f"the stored content {self._blob} has {found.meta['size']} bytes instead of {self.size}")
        self._chunks = aiter(found.stream(min_chunk_size=_CHUNK_SIZE))
        self._position, self._left = start, memoryview(b"")

    async def address(self, seconds: float) -> str | None:
        try:
            return await obstore.sign_async(self._store, "GET", self._blob, timedelta(seconds=seconds))
        except BaseError as error:  # some of Google's credentials cannot sign
            logger.warning("cannot sign an address for a content, which is sent instead: %s", _line(error))
            return None

    async def read(self, offset: int, size: int) -> bytes:
        if offset >= self.size:
            return b""
        if self._chunks is None or offset != self._position:
            await self.seek(offset, self.size)
        assert self._chunks is not None
        if not self._left:
            with _translated(self._blob):
                self._left = memoryview(await anext(self._chunks, b""))
        piece, self._left = bytes(self._left[:size]), self._left[size:]
        self._position += len(piece)
        return piece

    async def close(self) -> None:
        self._chunks = None  # this ends the request


def _check_environment(url: str) -> None:
    """Check the settings of S3, because the library accepts invalid ones and then fails at every request.

    Raises:
        StoreError: if a value is invalid.
    """
    for name, allowed in _S3_SETTINGS.items() if url.startswith(("s3:", "s3a:")) else ():
        value = os.environ.get(name)
        if value is not None and not allowed.fullmatch(value):
            raise StoreError(f"contents cannot be kept in {url}: the value of {name} is invalid")


def _bucket(url: str, client: "ClientConfig") -> _Bucket:
    retry: RetryConfig = {"max_retries": 2, "retry_timeout": _PAUSE}
    # The environment may name an endpoint in a private network, without TLS.
    client = {"connect_timeout": _CONNECT, "allow_http": True, **client}
    store = from_url(url, client_options=client, retry_config=retry)
    if not isinstance(store, S3Store | GCSStore | AzureStore):
        raise ValueError("give s3://BUCKET/PREFIX, gs://… or az://…")
    return store


@contextlib.contextmanager
def _translated(blob: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise BlobNotFoundError(blob) from error
    except (BaseError, OSError) as error:
        raise StoreUnavailableError(_line(error)) from error


def _line(error: Exception) -> str:
    """Return the first line of an error, which comes before the details."""
    return str(error).partition("\n")[0]
