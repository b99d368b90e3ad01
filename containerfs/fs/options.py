"""The options of a file system."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Options:
    """What a mount can be told.

    Attributes:
        cache_dir: holds the content cache, the journal and the local attributes.
        cache_size: most bytes of content to keep.
        metadata_expiry: seconds for which a listing is trusted.
        patience: seconds for which operations wait for a service that does not answer.
        write_back: whether close() returns once a crash of the mount does not lose a file, and one of the machine soon.
        strict: whether no crash of the machine loses it either, with ``write_back``.
        read_only: whether changes are refused.
        streaming_uploads: whether to begin to upload large files while they are written, if close() waits for the
            service, and that stores whole uploads only.
        prefetch: whether to fetch files that will probably be read next.
        all_thumbnails: whether thumbnailers may have large files downloaded.
        container: name or id of the one that is the root of the mount; None shows all of them below it.
        new_containers: fields of containers that ``mkdir`` makes, as the API takes them.
        keep_attributes: whether to store modes, owners, times and empty directories in a file of each container, where
            the service has no other place for them.
        keep_alive: names or ids of containers to keep alive while they are mounted.
        account: tells accounts of one service apart, each of which has a journal of its own; a digest of the API key.
        up_limit, down_limit: bytes of content a second that are sent and fetched at most; 0 is no limit.
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
