"""Work in threads, which goes on to its end whether or not the task that waits for it is cancelled."""

import asyncio
from typing import TypeVar

T = TypeVar("T")


async def settled(future: asyncio.Future[T]) -> T:
    """The outcome of work in a thread; a cancellation is raised only when that work is over."""
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        await asyncio.wait([future])
        raise
