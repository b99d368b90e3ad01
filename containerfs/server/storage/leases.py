"""Names for new blobs, which are recorded before anything is stored under them.

Several are leased at a time, because recording them is a transaction. If a name is not used, or its upload fails, it is
removed when the lease ends.
"""

import asyncio
import secrets
import time
from collections.abc import Collection

from containerfs.server.storage.metadata_store import LEASE_S, MetadataStore

_AT_ONCE = 16

_RESERVE_S = LEASE_S / 2
"""The time that is left of a lease at least when its name is taken, in seconds: to store the blob and insert a row."""


class Leases:
    """The leases of one server process."""

    def __init__(self, metadata: MetadataStore) -> None:
        self._metadata = metadata
        self._names: list[str] = []
        self._good_until = 0.0
        self._leasing = asyncio.Lock()

    async def take(self) -> str:
        """Return the name of a new blob. It must be stored, and named by a row, within half an hour."""
        async with self._leasing:
            if not self._names or time.time() >= self._good_until:
                names = [new_name() for _ in range(_AT_ONCE)]
                self._good_until = time.time() + LEASE_S - _RESERVE_S
                await self.record(names)
                self._names = names
            return self._names.pop()

    async def record(self, names: Collection[str]) -> None:
        """Lease names that ``new_name`` returned."""
        until = int(time.time()) + LEASE_S
        await self._metadata.write(lambda tx: tx.lease_blobs(names, until))


def new_name() -> str:
    """Return a name that no blob ever had."""
    return secrets.token_hex(16)
