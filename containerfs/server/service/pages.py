"""Pages of listings."""

from collections.abc import Callable
from typing import TypeVar

from containerfs.api.models import Item, ListPage
from containerfs.server.errors import InvalidRequest
from containerfs.server.storage.failures import UnknownCursorError
from containerfs.server.storage.metadata_store import Transaction
from containerfs.server.storage.records import PageQuery

T = TypeVar("T")


def page_of(items: list[Item], limit: int) -> ListPage[Item]:
    """The page with the first ``limit`` items; further ones show that there are more pages."""
    data = items[:limit]
    return ListPage(
        data=data,
        has_more=len(items) > limit,
        first_id=data[0].id if data else None,
        last_id=data[-1].id if data else None,
    )


def from_cursor(query: PageQuery, work: Callable[[Transaction, int], T]) -> Callable[[Transaction, int], T]:
    """``work``, which raises InvalidRequest if the cursor of ``query`` is not in the listing."""

    def checked(tx: Transaction, now: int) -> T:
        try:
            return work(tx, now)
        except UnknownCursorError as error:
            raise InvalidRequest(f"No item with id '{query.after}' in this list.", param="after") from error

    return checked
