"""What can be measured of a server, in the format of Prometheus: what it did, and what is in its store."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from containerfs.server.inventory import Inventory
from containerfs.server.observation import Counts

if TYPE_CHECKING:
    from prometheus_client import Metric


@dataclass(frozen=True, slots=True)
class Metrics:
    """The sources of what is measured."""

    counts: Counts = field(default_factory=Counts)
    inventory: Inventory | None = None

    async def exposition(self) -> tuple[bytes, str]:
        """All of it, and its media type."""
        # Imported when it is asked for: the import takes a tenth of the server's start.
        from prometheus_client import CollectorRegistry
        from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest

        registry = CollectorRegistry()
        registry.register(_Collected([*self.counts.collect(), *(await self._gauges())]))
        return generate_latest(registry), CONTENT_TYPE_PLAIN_0_0_4

    async def _gauges(self) -> Iterable["Metric"]:
        return await self.inventory.gauges() if self.inventory else ()


@dataclass(eq=False, slots=True)
class _Collected:
    metrics: Iterable["Metric"]

    def collect(self) -> Iterable["Metric"]:
        return self.metrics
