"""Removes what has expired or was deleted, rows first and then their bytes, as long as the store is open.

Transactions are short, because others wait for them. All servers of a store sweep, and none repeats the work of
another.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable

from containerfs.server.service import ANSWERS_KEPT_S
from containerfs.server.storage.failures import StoreUnavailableError
from containerfs.server.storage.metadata_store import Transaction
from containerfs.server.storage.open import Stores
from containerfs.server.storage.records import Removal

CURSORS_KEPT_S = 24 * 3600
"""How long a deleted item may be used as a cursor, in seconds."""

_TRANSACTION_S = 0.025
"""How long a transaction goes on removing rows, in seconds. Others that write to SQLite wait for it."""

_ROWS_AT_ONCE = 100
"""Rows that are removed between two looks at the clock, which takes about 5 ms."""

_ROWS_AT_MOST = 500
"""Rows that are removed in one transaction. On a full disk, the reserve must have space for it."""

_DUE_AT_ONCE = 500
"""Contents that are deleted between two transactions."""

logger = logging.getLogger("containerfs.server")


class Sweeper:
    """Sweeps a pair of stores."""

    def __init__(
        self,
        stores: Stores,
        *,
        clock: Callable[[], float] = time.time,
        count: Callable[[str, float], None] = lambda name, amount: None,
        transaction_s: float = _TRANSACTION_S,
    ) -> None:
        """Prepare to sweep; nothing is removed yet.

        Args:
            clock: returns the time in Unix seconds.
            count: called with the name of a metric and an amount, for what sweeps have done.
            transaction_s: how long a transaction goes on removing rows, in seconds.
        """
        self._transaction_s = transaction_s
        self._metadata, self._blobs = stores.metadata, stores.blobs
        self._clock, self._count = clock, count
        self._due = asyncio.Event()

    def wake(self) -> None:
        """Start the next sweep now, because a request left something to remove."""
        self._due.set()

    @contextlib.asynccontextmanager
    async def sweeping(self, interval: float) -> AsyncIterator[None]:
        """Sweep in the background until the context ends: now, and ``interval`` seconds after each sweep."""
        sweeping = asyncio.create_task(self._repeat(interval))
        try:
            yield
        finally:
            sweeping.cancel()
            await asyncio.gather(sweeping, return_exceptions=True)

    async def sweep(self) -> None:
        """Remove everything that is due."""
        while await self._remove_expired() or await self._forget() or await self._delete_blobs():
            pass
        await self._blobs.sweep_unfinished()

    async def _remove_expired(self) -> bool:
        """Remove some expired rows, and then their bytes; return whether there were any."""
        began = time.monotonic()
        removal = await self._metadata.write(self._remove_some, frees=True)
        turn = time.monotonic() - began
        await self._blobs.discard(removal.garbage)
        self._count("expired_rows", removal.rows)
        await asyncio.sleep(began + 2 * turn - time.monotonic())  # as much time for others to write
        return removal.rows > 0

    def _remove_some(self, tx: Transaction) -> Removal:
        """Remove rows until that has taken long enough, and at least some."""
        now, end = self._now(), time.monotonic() + self._transaction_s
        rows, garbage = 0, list[str]()

        def may_go_on() -> bool:
            return not rows or (rows < _ROWS_AT_MOST and time.monotonic() < end)

        for id in tx.expired_files(now, _ROWS_AT_ONCE):
            if may_go_on():
                garbage += tx.delete_file(id, now)
                rows += 1
        for id in tx.expired_containers(now, _ROWS_AT_ONCE):
            is_left = True
            while is_left and may_go_on():
                removal = tx.remove_container(id, now, _ROWS_AT_ONCE)
                garbage += removal.garbage
                rows += removal.rows
                is_left = removal.rows == _ROWS_AT_ONCE
        return Removal(rows, garbage)

    async def _forget(self) -> bool:
        now = self._now()
        cursors, answers = now - CURSORS_KEPT_S, now - ANSWERS_KEPT_S
        removal = await self._metadata.write(lambda tx: tx.forget(cursors, answers, _DUE_AT_ONCE), frees=True)
        return removal.rows > 0

    async def _delete_blobs(self) -> bool:
        """Delete some of the contents that are due; return whether there may be more."""
        now = self._now()
        due = await self._metadata.write(lambda tx: tx.due_blobs(now, _DUE_AT_ONCE), frees=True)
        if not await self._blobs.delete(due):
            return False
        await self._metadata.write(lambda tx: tx.forget_blobs(due), frees=True)
        self._count("deleted_blobs", len(due))
        return len(due) == _DUE_AT_ONCE

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
                logger.error("the sweep failed because the store does not answer: %s", error)
                self._count("sweep_failures", 1)
            except Exception:  # the server must go on, and the next sweep may succeed
                logger.exception("the sweep failed")
                self._count("sweep_failures", 1)
            await self._wait(interval)

    def _now(self) -> int:
        return int(self._clock())
