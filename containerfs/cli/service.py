"""The service that the settings choose."""

from typing import TYPE_CHECKING

from containerfs.mount.settings import ServiceSettings

if TYPE_CHECKING:
    from containerfs.config import Settings


def service_settings(settings: "Settings") -> ServiceSettings:
    """Return how to reach the service. Raises SettingsError if the key cannot be read."""
    return ServiceSettings(
        url=settings.service_url,
        data_dir=settings.data_dir,
        patience=settings.patience,
        key=settings.key,
        organization=settings.organization,
        project=settings.project,
        auth_header=settings.auth_header,
        ca_file=settings.ca_file,
        default_headers=settings.default_headers,
        default_query=settings.default_query,
    )
