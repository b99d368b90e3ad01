"""Waits for work in threads, which continues even if the task that waits for it is cancelled."""

import asyncio
from typing import TypeVar

T = TypeVar("T")


async def settled(future: asyncio.Future[T]) -> T:
    """Return the result of work in a thread. A cancellation is raised once that work is done."""
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        await asyncio.wait([future])
        raise
