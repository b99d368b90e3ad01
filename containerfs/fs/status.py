"""What a mount is doing, as one document. No request is sent for it.

What is not on the service is reported as of one moment. An extended attribute holds 64 KiB. A larger document is read
in parts, which stay the same while other documents are made.
"""

import itertools
import json
import os
import threading
import time
from collections import OrderedDict
from typing import Any

from containerfs.fs.endings import Endings
from containerfs.fs.namespace.nodes import ContainerDirectory, Directory
from containerfs.fs.namespace.tree import Tree
from containerfs.fs.rate import seconds_left
from containerfs.fs.reading.cache import ContentCache
from containerfs.fs.reading.fetch import Fetch, Fetcher
from containerfs.fs.types import STATUS_FORM
from containerfs.fs.writing.backlog import Backlog, FailedUpload, Upload

_PART = 60_000  # bytes. Source: limits.h, XATTR_SIZE_MAX
_KEPT = 8  # number of documents whose parts can still be read


class Status:
    """Documents and their parts. Thread-safe.

    Args:
        service: the name of the service, for people.
        top: the root of the mount.
    """

    def __init__(
        self,
        service: str,
        tree: Tree,
        top: Directory,
        backlog: Backlog,
        cache: ContentCache,
        fetcher: Fetcher,
        endings: Endings,
    ) -> None:
        self._service = service
        self._tree = tree
        self._top = top
        self._backlog = backlog
        self._cache = cache
        self._fetcher = fetcher
        self._endings = endings
        self._since = time.time()
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()  # guards _documents
        self._documents: OrderedDict[int, list[str]] = OrderedDict()

    def read(self) -> str:
        """Return a new document as JSON. If it is too large, return ``{"parts": [...]}``, the names to pass to
        ``part``."""
        text = json.dumps(self._document())  # in ASCII, a character is a byte
        if len(text) <= _PART:
            return text
        parts = [text[start : start + _PART] for start in range(0, len(text), _PART)]
        number = next(self._numbers)
        with self._lock:
            self._documents[number] = parts
            while len(self._documents) > _KEPT:
                self._documents.popitem(last=False)
        return json.dumps({"parts": [f"{number}.{place}" for place in range(len(parts))]})

    def part(self, name: str) -> str | None:
        """Return a part of a document; None if it is no longer kept, or never existed."""
        number, _, place = name.partition(".")
        with self._lock:
            parts = self._documents.get(int(number), []) if number.isdecimal() else []
        return parts[int(place)] if place.isdecimal() and int(place) < len(parts) else None

    def _document(self) -> dict[str, Any]:
        outstanding = self._backlog.outstanding()
        with self._tree.lock:
            containers = [node for node in self._tree.containers() if not node.gone]
            files = sum(len(node.by_id) for node in containers)
            container = self._container()
        now = self._endings.now()
        return {
            "form": STATUS_FORM,
            "pid": os.getpid(),
            "service": self._service,
            "container": container,
            "since": self._since,
            "entries": {"containers": len(containers), "files": files},
            "cache": self._cache.usage(),
            "uploads": {
                "pending": outstanding.pending,
                "files": [_upload(each) for each in outstanding.uploads],
                "streaming": [_upload(each) for each in outstanding.streaming],
                "failed": [_failed(each) for each in outstanding.failed],
                "set_aside": len(outstanding.set_aside),
                "elsewhere": [
                    {"name": each.name, "bytes": each.size, "pid": each.pid} for each in outstanding.elsewhere
                ],
            },
            "downloads": [self._download(each) for each in self._fetcher.under_way()],
            "endings": [
                {
                    "container": ending.name,
                    "ends_at": ending.ends_at,
                    "soon": ending.is_soon(now),
                    "unless_used": ending.avoidable,
                }
                for ending in self._endings.known()
            ],
        }

    def _container(self) -> dict[str, Any] | None:
        """Return the container that is the root of the mount, if one is. The tree's lock must be held."""
        if not isinstance(self._top, ContainerDirectory):
            return None
        is_there = self._tree.container(self._top.remote.id) is self._top and not self._top.gone
        return {"name": self._top.remote.name or self._top.remote.id, "ended": not is_there}

    def _download(self, fetch: Fetch) -> dict[str, Any]:
        with self._tree.lock:
            container = self._tree.container(fetch.file.container_id)
            node = None if container is None else container.by_id.get(fetch.file.id)
            path = fetch.file.path if node is None else node.path
            name = f"{fetch.file.container_id if container is None else container.name}/{path}"
        missing = None if fetch.size is None else fetch.size - fetch.present
        return {
            "name": name,
            "bytes": fetch.size,
            "received": fetch.present,
            "rate": round(fetch.rate),
            "seconds_left": seconds_left(missing, fetch.rate),
        }


def _upload(upload: Upload) -> dict[str, Any]:
    missing = None if upload.size is None or upload.sent is None else upload.size - upload.sent
    return {
        "name": upload.name,
        "bytes": upload.size,
        "sent": upload.sent,
        "rate": round(upload.rate),
        "seconds_left": seconds_left(missing, upload.rate),
    }


def _failed(failed: FailedUpload) -> dict[str, Any]:
    return {
        "name": failed.name,
        "bytes": failed.size,
        "reason": failed.reason,
        "retry_in": failed.retry_in,
        "remedy": failed.remedy,
        "set_aside": failed.set_aside,
    }
