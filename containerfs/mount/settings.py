"""Everything that the process of a mount is told, as one value, which the command makes from its settings."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from containerfs.api.dialect import AuthHeader
from containerfs.fs.options import Options


@dataclass(frozen=True)
class ServiceSettings:
    """How to reach a service.

    Attributes:
        url: up to and including ``/v1``; None for the embedded store.
        data_dir: of the embedded store.
        patience: for how many seconds requests are retried.
        key: the API key.
        organization: as the setting with this name.
        project: as the setting with this name.
        auth_header: as the setting with this name.
        ca_file: as the setting with this name.
        default_headers: as the setting with this name.
        default_query: as the setting with this name.
    """

    url: str | None
    data_dir: Path
    patience: float
    key: str | None = field(repr=False)
    organization: str | None
    project: str | None
    auth_header: AuthHeader
    ca_file: Path | None
    default_headers: Mapping[str, str] = field(repr=False)
    default_query: Mapping[str, str]

    @property
    def name(self) -> str:
        """The name of the service for people, which also tells services apart across mounts."""
        return self.url or f"embedded store in {self.data_dir}"


@dataclass(frozen=True)
class MountSettings:
    """A mount.

    Attributes:
        options: of its file system.
        metadata_expiry: how long a listing is believed in seconds, including the kernel's cache.
        inode32: whether inode numbers have 32 bits.
        fuse_options: further ones of mount.fuse(8), separated by commas.
        foreground: whether the process reports on the terminal, instead of to the command that waits for it.
        log_file: None for standard error.
        log_level: as the setting with this name.
        syslog: as the setting with this name.
    """

    service: ServiceSettings
    options: Options
    metadata_expiry: float
    inode32: bool
    fuse_options: str
    foreground: bool
    log_file: Path | None
    log_level: str
    syslog: bool
