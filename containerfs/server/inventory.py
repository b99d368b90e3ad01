"""How much the store holds, and how much space is left, for monitoring.

Counting reads every row. So it is only done when somebody asks, next to other requests, and takes at most a twentieth
of the time. In between, the answer is the last count.
"""

import asyncio
import os
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from containerfs.server.storage.metadata_store import MetadataStore
from containerfs.server.storage.records import Usage

if TYPE_CHECKING:
    from prometheus_client import Metric

_SHARE = 20
"""The pause after a count is this many times as long as the count."""

_PATIENCE_S = 1.0
"""How long to wait for a new count if there is an older one, in seconds."""


class Inventory:
    """Counts what a store holds.

    Args:
        directory: the directory on whose disk the contents are; None if they are elsewhere.
    """

    def __init__(self, metadata: MetadataStore, directory: Path | None) -> None:
        self._metadata, self._directory = metadata, directory
        self._usage: Sequence[Usage] | None = None
        self._counting: asyncio.Task[None] | None = None
        self._not_before = 0.0

    async def gauges(self) -> Iterable["Metric"]:
        """Return the figures as metrics of prometheus_client."""
        from prometheus_client.core import GaugeMetricFamily

        usage = await self._latest()
        figures = {
            "containers": ("Containers.", sum(each.containers for each in usage)),
            "files": ("Files, in containers and of /files.", sum(each.files for each in usage)),
            "stored_bytes": ("Bytes of all files, where each copy counts.", sum(each.bytes for each in usage)),
            "expired_bytes": ("Bytes that are still to be removed.", sum(each.expired_bytes for each in usage)),
        }
        if self._directory is not None:
            disk = os.statvfs(self._directory)
            figures |= {
                "disk_bytes": ("Size of the disk that contents are on.", disk.f_blocks * disk.f_frsize),
                "disk_free_bytes": ("Free space on that disk.", disk.f_bavail * disk.f_frsize),
            }
        return [
            GaugeMetricFamily(f"containerfs_{name}", documentation, value=value)
            for name, (documentation, value) in figures.items()
        ]

    async def _latest(self) -> Sequence[Usage]:
        if self._counting is None and time.monotonic() >= self._not_before:
            self._counting = asyncio.create_task(self._count())
        if self._counting is not None:
            await asyncio.wait([self._counting], timeout=None if self._usage is None else _PATIENCE_S)
        return self._usage or ()

    async def _count(self) -> None:
        began = time.monotonic()
        try:
            self._usage = await self._metadata.survey(lambda tx: tx.usage(int(time.time())))
        finally:
            ended = time.monotonic()
            self._counting, self._not_before = None, ended + _SHARE * (ended - began)
