"""Sweeps the store, from time to time, for as long as it is open."""

import asyncio
import contextlib
import itertools
import logging
from collections.abc import AsyncIterator

from containerfs.server.service import Service

_ORPHANS_EVERY = 60
"""In sweeps: orphans come of crashes, so the sweep of a start finds nearly all of them."""

logger = logging.getLogger("containerfs.server")


@contextlib.asynccontextmanager
async def sweeping(service: Service, interval: float) -> AsyncIterator[None]:
    """Sweep now, and again ``interval`` seconds after each sweep, in the background while the context lasts."""
    task = asyncio.create_task(_sweep_on(service, interval))
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def _sweep_on(service: Service, interval: float) -> None:
    for number in itertools.count():
        try:
            await service.sweep()
            if number % _ORPHANS_EVERY == 0:
                await service.sweep_orphans()
        except Exception:  # the next sweep may do better, and the server must go on
            logger.exception("the sweep failed")
        await asyncio.sleep(interval)
