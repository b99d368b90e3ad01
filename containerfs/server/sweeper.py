"""Removes, for as long as the store is open, what has expired or is no longer asked for: rows first, then their bytes.

Each transaction is short, since others wait for it. All servers on a store sweep, and none does what another is doing.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable

from containerfs.server.service import ANSWERS_KEPT_S
from containerfs.server.storage.base import Removal, StoreUnavailableError, Transaction
from containerfs.server.storage.open import Stores

CURSORS_KEPT_S = 24 * 3600
"""How long a deleted item is good as a cursor."""

_ROWS_AT_ONCE = 500
"""Deleted in one transaction: other writers wait for it, some 50 ms with its commit, and several times that on a busy
machine."""

_ITEMS_AT_ONCE = 100
"""Expired containers, and files, that one transaction looks at: each takes some statements."""

_BLOBS_AT_ONCE = 500

logger = logging.getLogger("containerfs.server")


class Sweeper:
    """What there is to sweep in a pair of stores."""

    def __init__(
        self,
        stores: Stores,
        *,
        clock: Callable[[], float] = time.time,
        count: Callable[[str, float], None] = lambda name, amount: None,
    ) -> None:
        """``count`` is told what sweeps have done, by the names of metrics."""
        self._metadata, self._blobs = stores.metadata, stores.blobs
        self._clock, self._count = clock, count
        self._due = asyncio.Event()

    def wake(self) -> None:
        """Have what a request left done soon."""
        self._due.set()

    @contextlib.asynccontextmanager
    async def sweeping(self, interval: float) -> AsyncIterator[None]:
        """Sweep now, and again ``interval`` seconds after each sweep, in the background while the context lasts."""
        sweeping = asyncio.create_task(self._repeat(interval))
        try:
            yield
        finally:
            sweeping.cancel()
            await asyncio.gather(sweeping, return_exceptions=True)

    async def sweep(self) -> None:
        """Remove what has expired or was deleted, and what no one asks for any more."""
        while await self._remove_expired() or await self._forget() or await self._delete_blobs():
            pass
        await self._blobs.sweep_unfinished()

    async def _remove_expired(self) -> bool:
        """Remove some of what has expired, first rows, then bytes; whether there was anything."""

        def work(tx: Transaction) -> Removal:
            now = self._now()
            files = tx.expired_files(now, _ITEMS_AT_ONCE)
            rows, garbage = len(files), [blob for id in files for blob in tx.delete_file(id, now)]
            for id in tx.expired_containers(now, _ITEMS_AT_ONCE):
                if rows < _ROWS_AT_ONCE:
                    removal = tx.remove_container(id, now, _ROWS_AT_ONCE - rows)
                    rows += removal.rows
                    garbage += removal.garbage
            return Removal(rows, garbage)

        removal = await self._metadata.write(work, frees=True)
        await self._blobs.discard(removal.garbage)
        self._count("expired_rows", removal.rows)
        return removal.rows > 0

    async def _forget(self) -> bool:
        now = self._now()
        cursors, answers = now - CURSORS_KEPT_S, now - ANSWERS_KEPT_S
        removal = await self._metadata.write(lambda tx: tx.forget(cursors, answers, _ROWS_AT_ONCE), frees=True)
        return removal.rows > 0

    async def _delete_blobs(self) -> bool:
        """Delete some of the blobs that are due; whether there are more to be asked for."""
        now = self._now()
        due = await self._metadata.write(lambda tx: tx.due_blobs(now, _BLOBS_AT_ONCE), frees=True)
        if not await self._blobs.delete(due):
            return False
        await self._metadata.write(lambda tx: tx.forget_blobs(due), frees=True)
        self._count("deleted_blobs", len(due))
        return len(due) == _BLOBS_AT_ONCE

    async def _wait(self, interval: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(interval):
                await self._due.wait()
        self._due.clear()

    async def _repeat(self, interval: float) -> None:
        while True:
            try:
                await self.sweep()
                self._count("sweeps", 1)
            except StoreUnavailableError as error:
                logger.error("the sweep failed, as the store does not answer: %s", error)
                self._count("sweep_failures", 1)
            except Exception:  # the next sweep may do better, and the server must go on
                logger.exception("the sweep failed")
                self._count("sweep_failures", 1)
            await self._wait(interval)

    def _now(self) -> int:
        return int(self._clock())
