"""Watches for new files. The service sends no notifications, so it is asked at intervals."""

import time
from collections.abc import Callable, Iterator

from containerfs.fs import types
from containerfs.transfer.catalog import Catalog
from containerfs.transfer.plans import Download, Planner


class Watch:
    """New files with names, or matching patterns.

    Args:
        look: makes a catalog of what exists now.
        names: as for ``Planner.downloads``; the container of each exists.
        destination: a directory.
        interval: seconds between checks.
        unanswered: called each time the service stops answering.
    """

    def __init__(
        self,
        look: Callable[[], Catalog],
        names: list[str],
        destination: str,
        interval: float,
        *,
        recursive: bool,
        unanswered: Callable[[types.FsError], object],
    ) -> None:
        self._look = look
        self._names = names
        self._destination = destination
        self._interval = interval
        self._recursive = recursive
        self._unanswered = unanswered
        self._seen: set[tuple[str, str]] = set()

    def __iter__(self) -> Iterator[list[Download]]:
        """Yield the new files of each check, until the containers have ended."""
        names, is_silent = self._names, False
        while True:
            try:
                catalog = self._look()
                names = [name for name in names if _is_there(catalog, name)]
                if not names:
                    return
                yield self._new(catalog, names)
                is_silent = False
            except types.Unreachable as error:
                if not is_silent:
                    self._unanswered(error)
                is_silent = True
            time.sleep(self._interval)

    def retry(self, step: Download) -> None:
        """Treat a file as new again at the next check."""
        self._seen.discard((step.file.container_id, step.file.id))

    def _new(self, catalog: Catalog, names: list[str]) -> list[Download]:
        planner = Planner(catalog, recursive=self._recursive)
        steps = [step for name in names for step in _planned(planner, name, self._destination)]
        new = [step for step in steps if (step.file.container_id, step.file.id) not in self._seen]
        self._seen |= {(step.file.container_id, step.file.id) for step in new}
        return new


def _is_there(catalog: Catalog, name: str) -> bool:
    try:
        catalog.container(name.strip("/").partition("/")[0])
    except types.NotFound:
        return False
    return True


def _planned(planner: Planner, name: str, destination: str) -> list[Download]:
    try:
        return planner.downloads([name], destination)
    except types.NotFound:  # not yet
        return []
