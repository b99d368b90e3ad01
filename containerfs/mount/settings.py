"""All that the process of a mount is told, as one value, which the command has made of its settings."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from containerfs.api.dialect import AuthHeader
from containerfs.fs.options import Options


@dataclass(frozen=True)
class ServiceSettings:
    """How to reach a service.

    Attributes:
        url: up to and including ``/v1``; None means the embedded store.
        data_dir: of the embedded store.
        patience: seconds for which requests are tried again.
        key: how the service knows who asks.
        organization, project, auth_header, ca_file, default_headers, default_query: as the settings of those names.
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
        """What people call it; also tells services apart across mounts."""
        return self.url or f"embedded store in {self.data_dir}"


@dataclass(frozen=True)
class MountSettings:
    """A mount.

    Attributes:
        options: of its file system.
        metadata_expiry: seconds for which a listing is believed, the kernel's memory included.
        inode32: whether inode numbers have 32 bits.
        fuse_options: further ones of mount.fuse(8), separated by commas.
        foreground: whether the process says on the terminal how it gets on, and not to the command that waits for it.
        log_file: None means standard error.
        log_level, syslog: as the settings of those names.
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
