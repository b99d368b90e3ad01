"""Removes, for as long as the store is open, what has expired or is no longer asked for: rows first, then their bytes.

Each transaction is short, since all who write wait for it. What has expired is looked for from time to time, and when a
request has left work; orphans seldom, and beside the other, since looking at all blobs takes long where there are many.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable

from containerfs.server.service import ANSWERS_KEPT_S
from containerfs.server.storage.base import Removal, Transaction
from containerfs.server.storage.open import Stores

CURSORS_KEPT_S = 24 * 3600
"""How long a deleted item is good as a cursor."""

_ROWS_AT_ONCE = 500
"""Deleted in one transaction: other writers wait for it, some 50 ms with its commit, and several times that on a busy
machine."""

_ITEMS_AT_ONCE = 100
"""Expired containers, and files, that one transaction looks at: each takes some statements."""

_ORPHANS_EVERY = 60
"""In intervals: orphans come of crashes, so the sweep of a start finds nearly all of them."""

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
        tasks = [
            asyncio.create_task(self._repeat(self.sweep, lambda: self._wait(interval))),
            asyncio.create_task(self._repeat(self.sweep_orphans, lambda: asyncio.sleep(_ORPHANS_EVERY * interval))),
        ]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def sweep(self) -> None:
        """Remove what has expired or was deleted, and what no one asks for any more."""
        while await self._remove_expired() or await self._forget():
            pass

    async def sweep_orphans(self) -> None:
        """Remove the bytes that no row names; looks at all there are."""
        orphans = await self._blobs.sweep(lambda blobs: self._metadata.read(lambda tx: tx.named_blobs(blobs)))
        self._count("swept_orphans", orphans)

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
        await self._blobs.delete(removal.garbage)
        self._count("expired_rows", removal.rows)
        return removal.rows > 0

    async def _forget(self) -> bool:
        now = self._now()
        cursors, answers = now - CURSORS_KEPT_S, now - ANSWERS_KEPT_S
        removal = await self._metadata.write(lambda tx: tx.forget(cursors, answers, _ROWS_AT_ONCE), frees=True)
        return removal.rows > 0

    async def _wait(self, interval: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(interval):
                await self._due.wait()
        self._due.clear()

    async def _repeat(self, sweep: Callable[[], Awaitable[None]], pause: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await sweep()
                self._count("sweeps", 1)
            except Exception:  # the next sweep may do better, and the server must go on
                logger.exception("the sweep failed")
                self._count("sweep_failures", 1)
            await pause()

    def _now(self) -> int:
        return int(self._clock())
