"""One implementation for both colours: a coroutine whose transport blocks never suspends, and so runs like a function.

Code that awaits is written once, as a coroutine over a transport. The asynchronous client awaits it. The synchronous
client's transport does its work before it returns, so that a single step runs the coroutine to its end.
"""

from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import suppress
from typing import TypeVar

T = TypeVar("T")


def run(coroutine: Coroutine[object, None, T]) -> T:
    """Run a coroutine that never suspends.

    Raises:
        RuntimeError: if it does.
    """
    try:
        coroutine.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    coroutine.close()
    raise RuntimeError("a coroutine over a blocking transport must not suspend")


def iterate(source: AsyncIterator[T]) -> Iterator[T]:
    """Iterate over an asynchronous iterator that never suspends. It must be an instance of a class, because async
    generators belong to an event loop."""
    with suppress(StopAsyncIteration):
        while True:
            yield run(_next(source))


async def _next(source: AsyncIterator[T]) -> T:
    return await anext(source)
