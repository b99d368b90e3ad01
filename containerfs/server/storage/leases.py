"""Names for new blobs, each recorded as new before anything is stored under it.

They are leased some at a time, as recording them is a transaction. One that is not used, or whose upload comes to
nothing, is deleted when its lease ends.
"""

import asyncio
import secrets
import time
from collections.abc import Collection

from containerfs.server.storage.base import LEASE_S, MetadataStore

_AT_ONCE = 16

_RESERVE_S = LEASE_S / 2
"""What is left of a lease at least when it is given away: time to store the blob, and to name it."""


class Leases:
    """The leases of one server process."""

    def __init__(self, metadata: MetadataStore) -> None:
        self._metadata = metadata
        self._names: list[str] = []
        self._good_until = 0.0
        self._leasing = asyncio.Lock()

    async def take(self) -> str:
        """The name of a new blob, which has half an hour to be stored, and named by a row."""
        async with self._leasing:
            if not self._names or time.time() >= self._good_until:
                names = [new_name() for _ in range(_AT_ONCE)]
                self._good_until = time.time() + LEASE_S - _RESERVE_S
                await self.record(names)
                self._names = names
            return self._names.pop()

    async def record(self, names: Collection[str]) -> None:
        """Lease names that were chosen by ``new_name``."""
        until = int(time.time()) + LEASE_S
        await self._metadata.write(lambda tx: tx.lease_blobs(names, until))


def new_name() -> str:
    """A name that no blob had before."""
    return secrets.token_hex(16)
