"""Clients for the service that the settings choose."""

from typing import TYPE_CHECKING

from containerfs.client import Client, Timeout
from containerfs.mount.settings import ServiceSettings

if TYPE_CHECKING:
    from containerfs.mount.embedded import EmbeddedStore

_TIMEOUT = Timeout(60.0, connect=3.0)  # seconds; operations of a mount do not wait as long


def connect(settings: ServiceSettings, embedded: "EmbeddedStore | None") -> tuple[Client, Client]:
    """Return a client that retries temporary failures, and one that does not, over the same connections. Raises
    ContainerFSError."""
    client = Client(
        api_key=settings.key,
        base_url=settings.url,
        organization=settings.organization,
        project=settings.project,
        auth_header=settings.auth_header,
        ca_file=settings.ca_file and settings.ca_file.expanduser(),
        default_headers=settings.default_headers,
        default_query=settings.default_query,
        uds=embedded.uds if embedded else None,
        timeout=_TIMEOUT,
        retry_for=settings.patience,
    )
    return client, client.with_options(retry_for=0.0)
