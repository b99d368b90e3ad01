"""Walks a long listing from both of its ends at once, which takes half the round trips.

Each walk covers one stretch of the order of creation without a gap: a file that exists all the time is on one of its
pages, or beyond its position. So once a page of one walk has a file that the other walk has brought, every such file
was on a page of one of them, whatever was created or deleted meanwhile. If they never meet, the walk from the newest
file reaches the end by itself.

A service may ignore ``order``. Then both walks begin with the newest files, and the second meets the first on its first
page. Or it returns the files that they share in the same order, while walks that really meet return them in opposite
orders. Such a walk is given up, and the listing is walked from one end, as it is if a service refuses ``order``.
"""

import logging
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from itertools import islice
from typing import TypeAlias

from containerfs.api import errors
from containerfs.api.models import ContainerFile, Order
from containerfs.client.pages import SyncCursorPage
from containerfs.fs.remote import Arriving, ignored
from containerfs.fs.types import RemoteFile

log = logging.getLogger(__name__)

_ALONE = 5  # pages; a second walk costs one or two requests, which shorter listings save

Page: TypeAlias = "SyncCursorPage[ContainerFile]"
Pages = Callable[[Order], Iterator[Page]]
"""Returns the pages of a listing in an order. Each is requested when it is needed."""


class Stretches:
    """What two walks have brought. Decisions only.

    Args:
        arriving: called with each page that more pages follow.

    Attributes:
        met: whether they have met, and so brought everything.
        opposed: whether the second walk may really begin with the oldest file, as far as is known.
    """

    def __init__(self, arriving: Arriving = ignored) -> None:
        self._arriving = arriving
        self.met = False
        self.opposed = True
        self._newest: dict[str, RemoteFile] = {}
        self._oldest: dict[str, RemoteFile] = {}
        self._first_page: frozenset[str] = frozenset()

    def add_newest(self, files: list[RemoteFile], *, more: bool = True) -> None:
        """Add a page of the walk from the newest file. ``more`` tells whether more pages follow."""
        self._first_page = self._first_page or frozenset(file.id for file in files)
        self._newest |= {file.id: file for file in files}
        self.met = self.met or any(file.id in self._oldest for file in files)
        if more and not self.met:
            self._arriving(files)

    def add_oldest(self, files: list[RemoteFile]) -> None:
        """Add a page of the walk from the oldest file."""
        shared = [file.id for file in files if file.id in self._newest]
        if shared and not self._is_opposite(shared):
            self.opposed = False
            self._oldest.clear()
            return
        self._oldest |= {file.id: file for file in files}
        self.met = self.met or bool(shared)
        if not self.met:
            self._arriving(files)

    def files(self) -> list[RemoteFile]:
        """Return all files, newest first, once the walks have met or the first is at its end."""
        if not self.met:
            return list(self._newest.values())
        upwards = list(reversed(self._oldest.values()))
        meeting = next(place for place, file in enumerate(upwards) if file.id in self._newest)
        created_since, older = upwards[:meeting], upwards[meeting:]
        return [*created_since, *self._newest.values(), *(file for file in older if file.id not in self._newest)]

    def _is_opposite(self, shared: list[str]) -> bool:
        among = frozenset(shared)
        downwards = [file_id for file_id in self._newest if file_id in among]
        return among.isdisjoint(self._first_page) and shared == downwards[::-1]


class Walker:
    """Lists files from both ends, if the service allows it. Thread-safe."""

    def __init__(self) -> None:
        self._ascends = True  # as far as is known

    def files(
        self, pages: Pages, convert: Callable[[ContainerFile], RemoteFile], arriving: Arriving = ignored
    ) -> list[RemoteFile]:
        """Return all files of a listing, newest first. Raises what requesting the pages from the newest on raises.

        Args:
            arriving: called with the files that have arrived, while more will follow.
        """
        stretches, more = Stretches(arriving), False
        newest = pages("desc")
        for page in islice(newest, _ALONE if self._ascends else None):
            more = page.has_next_page()
            stretches.add_newest(_converted(page, convert), more=more)
        if more:
            self._walk_both(stretches, newest, pages("asc"), convert)
        return stretches.files()

    def _walk_both(
        self,
        stretches: Stretches,
        newest: Iterator[Page],
        oldest: Iterator[Page],
        convert: Callable[[ContainerFile], RemoteFile],
    ) -> None:
        """Request a page at each end, and the next two once both have arrived."""
        pool = ThreadPoolExecutor(1, "listing")
        going = True
        try:
            while not stretches.met:
                other = _begin(pool, oldest) if going else None
                page = next(newest, None)
                if page is None:
                    return
                stretches.add_newest(_converted(page, convert), more=page.has_next_page())
                going = other is not None and not stretches.met and self._take(stretches, other, convert)
        finally:
            pool.shutdown(wait=False)

    def _take(
        self, stretches: Stretches, answer: "Future[Page | None]", convert: Callable[[ContainerFile], RemoteFile]
    ) -> bool:
        """Add the result of the walk from the oldest file, and return whether it continues."""
        try:
            page = answer.result()
        except errors.APIError as error:
            log.info("The listing is walked from one end: %s", error)
            self._ascends = self._ascends and not isinstance(error, errors.BadRequestError)
            return False
        if page is None:
            return False
        stretches.add_oldest(_converted(page, convert))
        self._ascends = self._ascends and stretches.opposed
        return stretches.opposed


def _begin(pool: ThreadPoolExecutor, pages: Iterator[Page]) -> "Future[Page | None] | None":
    """Request the next page on another thread, as part of the same task; None if there is none."""
    context = copy_context()
    try:
        return pool.submit(lambda: context.run(lambda: next(pages, None)))
    except RuntimeError:
        return None


def _converted(page: Page, convert: Callable[[ContainerFile], RemoteFile]) -> list[RemoteFile]:
    return [convert(file) for file in page.data]
