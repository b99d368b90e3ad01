"""How the parts of the file system come together, and end."""

from dataclasses import dataclass
from pathlib import Path

from containerfs.client import Client
from containerfs.fs import types
from containerfs.fs.attributes import AttributeStore
from containerfs.fs.control import ControlSurface
from containerfs.fs.filesystem import FileSystem
from containerfs.fs.journal import Journal
from containerfs.fs.metadata import MetadataCache
from containerfs.fs.reading.cache import ContentCache
from containerfs.fs.reading.fetch import Fetcher
from containerfs.fs.reading.prefetch import Prefetcher
from containerfs.fs.remote import ApiRemote, Remote
from containerfs.fs.scratch import NamePolicy
from containerfs.fs.tree import Tree
from containerfs.fs.types import digest
from containerfs.fs.writeback import Uploader


@dataclass(frozen=True)
class Options:
    """What a mount can be told.

    Attributes:
        cache_dir: holds the content cache, the journal and the local attributes.
        cache_size: bytes of content to keep at most.
        metadata_expiry: seconds for which a listing is believed.
        write_back: whether close() returns once a file is safe on this machine.
        read_only: whether changes are refused.
        prefetch: whether to fetch what will probably be read next.
    """

    cache_dir: Path
    cache_size: int = 10 << 30
    metadata_expiry: float = 10.0
    write_back: bool = False
    read_only: bool = False
    prefetch: bool = True


def open_filesystem(client: Client, single_shot: Client, service: str, options: Options) -> FileSystem:
    """A file system over a service; what earlier mounts left undone is being uploaded.

    Args:
        client, single_shot: the service, with and without retries.
        service: names it, for people and across mounts.

    Raises:
        FsError: the service does not answer as the API should, or the disk is full.
    """
    return open_over(ApiRemote(client, single_shot, service), options)


def open_over(remote: Remote, options: Options) -> FileSystem:
    """The same, over any implementation of what the file system needs of a service."""
    names, tree, service = NamePolicy(), Tree(), remote.service
    attributes = AttributeStore(options.cache_dir / "attributes.db", service)
    cache = ContentCache(options.cache_dir / "content", options.cache_size, service)
    journal = Journal(options.cache_dir / "journal" / digest(service))
    metadata = MetadataCache(remote, tree, attributes, options.metadata_expiry)
    fetcher = Fetcher(remote, cache)
    prefetcher = Prefetcher(fetcher, cache)
    uploader = Uploader(remote, tree, journal, cache, attributes, names)
    filesystem = FileSystem(
        remote,
        tree,
        metadata,
        attributes,
        fetcher,
        journal,
        uploader,
        names,
        ControlSurface(service, uploader, cache),
        prefetcher=prefetcher if options.prefetch else None,
        write_back=options.write_back,
        read_only=options.read_only,
        on_close=[uploader.close, prefetcher.close, journal.close, cache.close, attributes.close],
    )
    try:
        remote.check()
        metadata.refresh_containers()
    except types.FsError as error:
        hint = ": check the API key" if isinstance(error, types.AccessDenied) else ""
        raise type(error)(f"{service}: {error}{hint}") from error
    filesystem.replay()
    return filesystem
