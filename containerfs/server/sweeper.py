"""Sweeps the store for as long as it is open.

What has expired is looked for from time to time, and when a request has left work; orphans seldom, and beside the
other, since looking at all blobs takes long where there are many.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable

from containerfs.server.service import Service

_ORPHANS_EVERY = 60
"""In intervals: orphans come of crashes, so the sweep of a start finds nearly all of them."""

logger = logging.getLogger("containerfs.server")


@contextlib.asynccontextmanager
async def sweeping(service: Service, interval: float) -> AsyncIterator[None]:
    """Sweep now, and again ``interval`` seconds after each sweep, in the background while the context lasts."""
    tasks = [
        asyncio.create_task(_repeat(service.sweep, lambda: _due(service, interval))),
        asyncio.create_task(_repeat(service.sweep_orphans, lambda: asyncio.sleep(_ORPHANS_EVERY * interval))),
    ]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _due(service: Service, interval: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(interval):
            await service.sweep_due()


async def _repeat(sweep: Callable[[], Awaitable[None]], pause: Callable[[], Awaitable[None]]) -> None:
    while True:
        try:
            await sweep()
        except Exception:  # the next sweep may do better, and the server must go on
            logger.exception("the sweep failed")
        await pause()
