"""Pages of a listing, and how to go from one to the next.

Invariants: walking ends, whatever the service says: no cursor is used twice, and a page that brings nothing new ends
the walk; nothing is fetched before it is asked for.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any, Generic, Self, TypeAlias, TypeVar

from containerfs.api.models import Item, ListPage
from containerfs.client.calls import Call
from containerfs.client.coroutines import iterate, run

Fetch: TypeAlias = "Callable[[Call[ListPage[Item]]], Coroutine[object, None, ListPage[Item]]]"


@dataclass(frozen=True, slots=True)
class PageInfo:
    """What to ask for to get the next page: query parameters."""

    params: dict[str, str]


class CursorPage(Generic[Item]):
    """One page of a listing, and the way to the next.

    Attributes:
        data: the objects on this page.
        has_more: whether there are further pages; where the service does not say, whether it is worth asking.
        first_id, last_id: as the service gave them, else None.
    """

    def __init__(
        self, page: ListPage[Item], call: Call[ListPage[Item]], fetch: "Fetch[Item]", used: frozenset[str] = frozenset()
    ) -> None:
        self.data = page.data
        self.first_id = page.first_id
        self.last_id = page.last_id
        self._cursor = _next_cursor(page, used)
        self.has_more = self._cursor is not None if page.has_more is None else page.has_more
        self._call = call
        self._fetch = fetch
        self._used = used

    def __repr__(self) -> str:
        return f"{type(self).__name__}(data={self.data!r}, has_more={self.has_more!r})"

    def has_next_page(self) -> bool:
        """Whether ``get_next_page`` has somewhere to go."""
        return self._cursor is not None

    def next_page_info(self) -> PageInfo | None:
        """How to ask for the next page; None if there is none."""
        return None if self._cursor is None else PageInfo(params={"after": self._cursor})

    async def _next(self) -> Self:
        if self._cursor is None:
            raise RuntimeError("There is no next page; ask has_next_page() before get_next_page()")
        call = self._call.with_query(after=self._cursor)
        return type(self)(await self._fetch(call), call, self._fetch, self._used | {self._cursor})

    async def _next_with_news(self) -> Self | None:
        """The next page; None at the end, and where the service sends what this page holds already."""
        if self._cursor is None:
            return None
        page = await self._next()
        known = {item.id for item in self.data}
        return None if page.data and all(item.id in known for item in page.data) else page


class SyncCursorPage(CursorPage[Item]):
    """A page; iterating over it goes on through the pages that follow."""

    def get_next_page(self) -> Self:
        """Fetch the next page.

        Raises:
            RuntimeError: if there is none.
        """
        return run(self._next())

    def iter_pages(self) -> Iterator[Self]:
        """This page and those that follow."""
        return iterate(PageWalk(self))

    def __iter__(self) -> Iterator[Item]:
        return chain.from_iterable(page.data for page in self.iter_pages())


class AsyncCursorPage(CursorPage[Item]):
    """A page; ``async for`` goes on through the pages that follow."""

    async def get_next_page(self) -> Self:
        """Fetch the next page.

        Raises:
            RuntimeError: if there is none.
        """
        return await self._next()

    def iter_pages(self) -> AsyncIterator[Self]:
        """This page and those that follow."""
        return PageWalk(self)

    async def __aiter__(self) -> AsyncIterator[Item]:
        async for page in self.iter_pages():
            for item in page.data:
                yield item


class AsyncPaginator(Generic[Item]):
    """A listing that was asked for: ``await`` it for its first page, or go through all with ``async for``."""

    def __init__(self, first: Callable[[], Awaitable[AsyncCursorPage[Item]]]) -> None:
        self._first = first

    def __await__(self) -> Generator[object, None, AsyncCursorPage[Item]]:
        return self._first().__await__()

    async def __aiter__(self) -> AsyncIterator[Item]:
        async for item in await self:
            yield item


P = TypeVar("P", bound=CursorPage[Any])


class PageWalk(Generic[P]):
    """The pages from one on, each fetched when it is asked for. Source of both clients' iteration."""

    def __init__(self, first: P) -> None:
        self._first: P | None = first
        self._last: P = first

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> P:
        page, self._first = self._first, None
        page = page or await self._last._next_with_news()
        if page is None:
            raise StopAsyncIteration
        self._last = page
        return page


def _next_cursor(page: ListPage[Item], used: frozenset[str]) -> str | None:
    """Where the next page begins; None if there is none, or the service would send us in a circle."""
    if page.has_more is False or (page.has_more is None and not page.data):
        return None
    cursor = page.last_id or (page.data[-1].id if page.data else None)
    return None if cursor in used else cursor
