"""The server's metrics, in the format of Prometheus: what it did, and what its store holds."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from containerfs.server.inventory import Inventory
from containerfs.server.observation import Counts

if TYPE_CHECKING:
    from prometheus_client import Metric


@dataclass(frozen=True, slots=True)
class Metrics:
    """The sources of the metrics: the counts of this server, and, if there is one, the inventory of its store."""

    counts: Counts = field(default_factory=Counts)
    inventory: Inventory | None = None

    async def exposition(self) -> tuple[bytes, str]:
        """Return the metrics as text, and the media type of that text."""
        # Imported on first use: the import takes a tenth of the time that the server takes to start.
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
