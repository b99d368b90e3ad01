"""What the mount tells about itself and its entries, as extended attributes ``user.containerfs.*``. Source: xattr(7).

This is the control surface: no port, no socket. What is told of a file is known here; nothing is asked of the service.
"""

import json
import os
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial

from containerfs.fs import state, types
from containerfs.fs.namespace.nodes import ContainerDirectory, Directory, FileNode, Node
from containerfs.fs.reading.cache import ContentCache
from containerfs.fs.state import Hidden, Local, Outdated, Staged, Stored, Torn, Unlinked
from containerfs.fs.writing.backlog import Backlog

PREFIX = "user.containerfs."
_PAGE_BYTES = 60_000  # of lines in one attribute, which Linux limits to 64 KiB. Source: limits.h, XATTR_SIZE_MAX


class ControlSurface:
    """Attributes of nodes.

    Args:
        service: what the mount talks to, as people read it.
    """

    def __init__(self, service: str, backlog: Backlog, cache: ContentCache) -> None:
        self._service = service
        self._backlog = backlog
        self._cache = cache

    def get(self, node: Node, name: str) -> bytes:
        """One attribute, as UTF-8. Raises NoAttribute."""
        value = self._values(node).get(name.removeprefix(PREFIX), _none)() if name.startswith(PREFIX) else None
        if value is None:
            raise types.NoAttribute(name)
        return value.encode()

    def _values(self, node: Node) -> dict[str, Callable[[], str | None]]:
        if isinstance(node, FileNode):
            return {
                "id": lambda: node.remote.id if node.remote else None,
                "container_id": lambda: node.container.remote.id if node.parent else None,
                "state": lambda: _word(node.state),
                "error": lambda: _error(node.state),
            }
        if isinstance(node, ContainerDirectory):
            return {
                "id": lambda: node.remote.id,
                "name": lambda: node.remote.name,
                "expires_at": lambda: _time(node.remote.expires_at),
            }
        if isinstance(node, Directory) and node.parent is None:
            further = {f"failed.{page}": partial(self._failed, page) for page in range(1, len(self._failed_pages()))}
            return {"status": self._status, **further}
        return {}

    def _status(self) -> str:
        first, *further = self._failed_pages()
        return json.dumps(
            {
                "pid": os.getpid(),
                "service": self._service,
                "uploads": {
                    "pending": self._backlog.pending(),
                    "failed": first,
                    "set_aside": len(self._backlog.set_aside()),
                },
                "further_pages": len(further),
                "cache": self._cache.usage(),
            }
        )

    def _failed(self, page: int) -> str:
        """A further page of what the status lists as failed."""
        return json.dumps(self._failed_pages()[page])

    def _failed_pages(self) -> list[list[str]]:
        """A line for each upload that failed, in pages that fit into an extended attribute; one page at least."""
        pages: list[list[str]] = [[]]
        room = _PAGE_BYTES
        for line in map(str, self._backlog.failed()):
            size = len(json.dumps(line)) + 2
            if size > room:
                pages.append([])
                room = _PAGE_BYTES
            pages[-1].append(line)
            room -= size
        return pages


def _word(value: state.State) -> str:
    """``clean``: on the service. ``dirty``, ``uploading``, ``failed``: not yet. ``local``: never to be."""
    match value:
        case Stored() | Outdated():
            return "clean"
        case Local() | Hidden() | Unlinked():
            return "local"
        case Staged() | Torn():
            return "dirty"
        case _ if _error(value) is not None:
            return "failed"
        case _ if state.uploading(value) is not None:
            return "uploading"
        case _:
            return "dirty"


def _error(value: state.State) -> str | None:
    layer = state.due(value)
    return None if layer is None or layer.failure is None else layer.failure.reason


def _time(seconds: int | None) -> str | None:
    if seconds is None:
        return None
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat()
    except (OverflowError, ValueError):  # a time of no calendar
        return str(seconds)


def _none() -> None:
    return None
