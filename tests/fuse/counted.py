"""What a server was asked, by its own count."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx
from prometheus_client.parser import text_string_to_metric_families

from tests.server.live import LiveServer

_FILE = "/v1/containers/{container_id}/files/{file_id}"
_OPERATIONS = {
    ("GET", "/v1/containers"): "list containers",
    ("POST", "/v1/containers"): "create container",
    ("DELETE", "/v1/containers/{container_id}"): "delete container",
    ("GET", "/v1/containers/{container_id}/files"): "list files",
    ("POST", "/v1/containers/{container_id}/files"): "upload",
    ("DELETE", _FILE): "delete file",
    ("GET", f"{_FILE}/content"): "content",
}


@dataclass
class Asked:
    """What was asked within a block, once it has ended.

    Attributes:
        requests: how many of each operation.
        sent, received: bytes of contents that left the server, and of requests that came to it.
    """

    requests: Counter[str] = field(default_factory=Counter)
    sent: int = 0
    received: int = 0


@contextmanager
def asked(server: LiveServer) -> Iterator[Asked]:
    """Count what a server is asked within a block."""
    counted = Asked()
    before = _totals(server)
    yield counted
    after = _totals(server)
    counted.requests = after.requests - before.requests
    counted.sent, counted.received = after.sent - before.sent, after.received - before.received


def _totals(server: LiveServer) -> Asked:
    totals = Asked()
    for family in text_string_to_metric_families(httpx.get(f"{server.root_url}/metrics").text):
        for sample in family.samples:
            operation = (sample.labels.get("method", ""), sample.labels.get("route", ""))
            if operation[1] == "/metrics":
                continue
            name = _OPERATIONS.get(operation, " ".join(operation))
            if sample.name == "containerfs_requests_total":
                totals.requests[name] += int(sample.value)
            elif sample.name == "containerfs_sent_bytes_total" and name == "content":
                totals.sent += int(sample.value)
            elif sample.name == "containerfs_received_bytes_total":
                totals.received += int(sample.value)
    return totals
