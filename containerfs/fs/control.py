"""What the mount tells about itself and its entries, as extended attributes ``user.containerfs.*``. Source: xattr(7).

This is the control surface: no port, no socket. What is told of a file is known here; nothing is asked of the service.
"""

import json
import os
from collections.abc import Callable
from datetime import UTC, datetime

from containerfs.fs import types
from containerfs.fs.reading.cache import ContentCache
from containerfs.fs.tree import ContainerDirectory, Directory, FileNode, Node
from containerfs.fs.writeback import Upload, Uploader

PREFIX = "user.containerfs."


class ControlSurface:
    """Attributes of nodes.

    Args:
        service: what the mount talks to, as people read it.
    """

    def __init__(self, service: str, uploader: Uploader, cache: ContentCache) -> None:
        self._service = service
        self._uploader = uploader
        self._cache = cache

    def names(self, node: Node) -> list[str]:
        """The attributes that a node has."""
        return [PREFIX + name for name, value in self._values(node).items() if value() is not None]

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
                "state": lambda: self._state(node),
                "error": lambda: node.error,
            }
        if isinstance(node, ContainerDirectory):
            return {
                "id": lambda: node.remote.id,
                "name": lambda: node.remote.name,
                "expires_at": lambda: _time(node.remote.expires_at),
            }
        if isinstance(node, Directory) and node.parent is None:
            return {"status": self._status}
        return {}

    def _state(self, node: FileNode) -> str:
        """``clean``: on the service. ``dirty``, ``uploading``, ``failed``: not yet. ``local``: never to be."""
        if node.scratch:
            return "local"
        if not node.dirty:
            return "clean"
        if any(upload.node is node and upload.running for upload in self._uploader.pending()):
            return "uploading"
        return "failed" if node.error else "dirty"

    def _status(self) -> str:
        uploads = self._uploader.pending()
        return json.dumps(
            {
                "pid": os.getpid(),
                "service": self._service,
                "uploads": {
                    "pending": sum(1 for upload in uploads if upload.pending),
                    "failed": [describe(upload) for upload in uploads if upload.node.error],
                },
                "cache": self._cache.usage(),
            }
        )


def describe(upload: Upload) -> str:
    """One line about an upload that is due: where it belongs, and why it is not there."""
    node = upload.node
    where = f"{node.container.name}/{node.path}" if node.parent is not None else node.name
    return f"{where} ({node.error or 'waiting'})"


def _time(seconds: int | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat()


def _none() -> None:
    return None
