"""The options of a file system."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Options:
    """The options of a mount.

    Attributes:
        cache_dir: holds the content cache, the journal and the local attributes.
        cache_size: how much content to keep, in bytes.
        metadata_expiry: how long a listing is trusted, in seconds.
        patience: how long operations wait for a service that does not answer, in seconds.
        write_back: whether close() returns once a file is safe if the mount crashes, and soon if the machine does.
        strict: with ``write_back``, whether the file is safe at once even if the machine crashes.
        read_only: whether changes are refused.
        streaming_uploads: whether to begin to upload large files while they are written, if close() waits for the
            service and that stores whole uploads only.
        prefetch: whether to fetch files that will probably be read next.
        all_thumbnails: whether thumbnailers may download large files.
        container: name or id of the container that is the root of the mount; None shows all of them below the root.
        new_containers: fields of containers that ``mkdir`` creates, as the API takes them.
        keep_attributes: whether to store modes, owners, times and empty directories in a file of each container, if the
            service has no other place for them.
        keep_alive: names or ids of containers to keep alive while they are mounted.
        account: tells accounts of one service apart, each of which has its own journal; a digest of the API key.
        up_limit: how much content is sent, in bytes per second; 0 for no limit.
        down_limit: how much content is fetched, in bytes per second; 0 for no limit.
    """

    cache_dir: Path
    cache_size: int = 10 << 30
    metadata_expiry: float = 10.0
    patience: float = 13.0
    write_back: bool = False
    strict: bool = False
    read_only: bool = False
    streaming_uploads: bool = True
    prefetch: bool = True
    all_thumbnails: bool = False
    container: str | None = None
    new_containers: Mapping[str, object] = field(default_factory=dict)
    keep_alive: Sequence[str] = ()
    keep_attributes: bool = False
    account: str = ""
    up_limit: int = 0
    down_limit: int = 0
