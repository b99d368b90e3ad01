"""How much is in the store, and how much room is left, for monitoring.

Counting looks at every row, so it is done only when someone asks, beside all else, and takes at most a twentieth of the
time: in between the figures are those of the last count.
"""

import asyncio
import os
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from containerfs.server.storage.base import MetadataStore, Usage

if TYPE_CHECKING:
    from prometheus_client import Metric

_SHARE = 20

_PATIENCE_S = 1.0
"""How long to wait for new figures where there are older ones."""


class Inventory:
    """What is in a store whose contents are on the disk of a directory, if they are."""

    def __init__(self, metadata: MetadataStore, directory: Path | None) -> None:
        self._metadata, self._directory = metadata, directory
        self._usage: Sequence[Usage] | None = None
        self._counting: asyncio.Task[None] | None = None
        self._not_before = 0.0

    async def gauges(self) -> Iterable["Metric"]:
        """The figures as prometheus_client has them."""
        from prometheus_client.core import GaugeMetricFamily

        usage = await self._latest()
        figures = {
            "containers": ("Containers.", sum(each.containers for each in usage)),
            "files": ("Files, in containers and of /files.", sum(each.files for each in usage)),
            "stored_bytes": ("Bytes of all files; copies count each.", sum(each.bytes for each in usage)),
            "expired_bytes": ("Bytes that are still to be removed.", sum(each.expired_bytes for each in usage)),
        }
        if self._directory is not None:
            disk = os.statvfs(self._directory)
            figures |= {
                "disk_bytes": ("Size of the disk that contents are on.", disk.f_blocks * disk.f_frsize),
                "disk_free_bytes": ("What of it is free.", disk.f_bavail * disk.f_frsize),
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
