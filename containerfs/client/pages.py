"""Pages of a listing, and how to get from one to the next.

Invariants: iteration always ends, whatever the service says. No cursor is used twice, repeating pages end it, and too
many empty pages in a row end it with an error. Nothing is fetched before it is needed.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any, Generic, Self, TypeAlias, TypeVar

from containerfs.api.errors import APIResponseValidationError
from containerfs.api.models import Item, ListPage
from containerfs.client.calls import Call
from containerfs.client.coroutines import iterate, run

MAX_EMPTY_PAGES = 1000
"""Empty pages in a row after which a listing counts as endless. A filter may leave some pages empty."""

Fetch: TypeAlias = "Callable[[Call[ListPage[Item]]], Coroutine[object, None, ListPage[Item]]]"


@dataclass(frozen=True, slots=True)
class PageInfo:
    """How to request the next page: query parameters."""

    params: dict[str, str]


class CursorPage(Generic[Item]):
    """One page of a listing, and the way to the next.

    Attributes:
        data: the objects on this page.
        has_more: whether there are further pages; if the service does not say, whether it is worth asking.
        first_id: as the service gave it, otherwise None.
        last_id: as the service gave it, otherwise None.
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
        """Tell whether ``get_next_page`` has a page to fetch."""
        return self._cursor is not None

    def next_page_info(self) -> PageInfo | None:
        """Return how to request the next page; None if there is none."""
        return None if self._cursor is None else PageInfo(params={"after": self._cursor})

    async def _next(self) -> Self:
        if self._cursor is None:
            raise RuntimeError("There is no next page; ask has_next_page() before get_next_page()")
        call = self._call.with_query(after=self._cursor)
        return type(self)(await self._fetch(call), call, self._fetch, self._used | {self._cursor})


class SyncCursorPage(CursorPage[Item]):
    """A page. Iterating over it continues with the pages that follow."""

    def get_next_page(self) -> Self:
        """Fetch the next page.

        Raises:
            RuntimeError: if there is none.
        """
        return run(self._next())

    def iter_pages(self) -> Iterator[Self]:
        """Yield this page and those that follow."""
        return iterate(PageWalk(self))

    def __iter__(self) -> Iterator[Item]:
        return chain.from_iterable(page.data for page in self.iter_pages())


class AsyncCursorPage(CursorPage[Item]):
    """A page. ``async for`` continues with the pages that follow."""

    async def get_next_page(self) -> Self:
        """Fetch the next page.

        Raises:
            RuntimeError: if there is none.
        """
        return await self._next()

    def iter_pages(self) -> AsyncIterator[Self]:
        """Yield this page and those that follow."""
        return PageWalk(self)

    async def __aiter__(self) -> AsyncIterator[Item]:
        async for page in self.iter_pages():
            for item in page.data:
                yield item


class AsyncPaginator(Generic[Item]):
    """A listing: ``await`` it for its first page, or iterate over everything with ``async for``."""

    def __init__(self, first: Callable[[], Awaitable[AsyncCursorPage[Item]]]) -> None:
        self._first = first

    def __await__(self) -> Generator[object, None, AsyncCursorPage[Item]]:
        return self._first().__await__()

    async def __aiter__(self) -> AsyncIterator[Item]:
        async for item in await self:
            yield item


P = TypeVar("P", bound=CursorPage[Any])


class PageWalk(Generic[P]):
    """The pages from one on, each fetched when it is needed. Both clients iterate with this."""

    def __init__(self, first: P) -> None:
        self._first: P | None = first
        self._last: P = first
        self._circle = Circle()
        self._empty = 0

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> P:
        page, self._first = self._first, None
        if page is None:
            if not self._last.has_next_page():
                raise StopAsyncIteration
            page = await self._last._next()
        if self._is_circling(page):
            raise StopAsyncIteration
        self._last = page
        return page

    def _is_circling(self, page: P) -> bool:
        """Tell whether the pages repeat. Raises APIResponseValidationError after too many empty ones."""
        if page.data:
            self._empty = 0
            return self._circle.closes({item.id for item in page.data})
        self._empty += 1
        if self._empty > MAX_EMPTY_PAGES:
            raise APIResponseValidationError(f"the service sends empty pages without end ({self._empty} in a row)")
        return False


class Circle:
    """Detects repeating pages while holding one of them, with Brent's algorithm for finding cycles.

    The page that it holds is replaced after 1, 2, 4, 8, ... others, so that a cycle of any length is found.
    """

    def __init__(self) -> None:
        self._held: set[str] = set()
        self._power = self._steps = 1

    def closes(self, ids: set[str]) -> bool:
        """Tell whether a page, by the ids on it, has nothing that the held page does not have."""
        if ids <= self._held:
            return True
        if self._steps == self._power:
            self._held, self._power, self._steps = ids, self._power * 2, 0
        self._steps += 1
        return False


def _next_cursor(page: ListPage[Item], used: frozenset[str]) -> str | None:
    """Return where the next page begins; None if there is none, or the cursor was used before."""
    if page.has_more is False or (page.has_more is None and not page.data):
        return None
    cursor = page.last_id or (page.data[-1].id if page.data else None)
    return None if cursor in used else cursor
