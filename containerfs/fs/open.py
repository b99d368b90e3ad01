"""Puts the parts of the file system together, and ends them."""

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from containerfs.fs import types
from containerfs.fs.attribute_files import AttributeFiles
from containerfs.fs.awaited import AwaitedRemote
from containerfs.fs.control import ControlSurface
from containerfs.fs.deadline import Deadline
from containerfs.fs.directories import Directories
from containerfs.fs.endings import Endings
from containerfs.fs.files import OpenFiles
from containerfs.fs.filesystem import FileSystem
from containerfs.fs.inodes import Inodes
from containerfs.fs.listing_ahead import ListingAhead
from containerfs.fs.namespace.attributes import AttributeStore
from containerfs.fs.namespace.kernel import KernelMemory
from containerfs.fs.namespace.listings import MetadataCache, NoHoldings
from containerfs.fs.namespace.lookup import Lookup
from containerfs.fs.namespace.names import NamePolicy
from containerfs.fs.namespace.nodes import Directory
from containerfs.fs.namespace.tree import Tree
from containerfs.fs.options import Options
from containerfs.fs.pace import Pace
from containerfs.fs.reaching import Reaching
from containerfs.fs.reading.cache import ContentCache
from containerfs.fs.reading.fetch import Fetcher
from containerfs.fs.reading.prefetch import Prefetcher
from containerfs.fs.remote import Remote
from containerfs.fs.service import ApiRemote
from containerfs.fs.status import Status
from containerfs.fs.tasks import Workers
from containerfs.fs.types import digest
from containerfs.fs.writing import legacy
from containerfs.fs.writing.acceptance import Acceptance
from containerfs.fs.writing.attempts import Attempts
from containerfs.fs.writing.attribute_updates import AttributeUpdates
from containerfs.fs.writing.backlog import Backlog
from containerfs.fs.writing.commits import Commits
from containerfs.fs.writing.deletions import Deletions
from containerfs.fs.writing.delivery import Courier
from containerfs.fs.writing.digests import Digests
from containerfs.fs.writing.durability import Durability
from containerfs.fs.writing.journal import Journal
from containerfs.fs.writing.momentary import MomentaryFiles
from containerfs.fs.writing.moves import Moves
from containerfs.fs.writing.removals import Removals
from containerfs.fs.writing.replay import Replay
from containerfs.fs.writing.schedule import Schedule
from containerfs.fs.writing.settlement import Settlement
from containerfs.fs.writing.staging import Staging
from containerfs.fs.writing.streaming import StreamingUploads
from containerfs.fs.writing.uploads import Uploader


def open_filesystem(remote: ApiRemote, options: Options, reaching: Reaching | None = None) -> FileSystem:
    """Open a file system over a service, and begin to upload what earlier mounts left.

    Args:
        reaching: how the service is being reached already; None if it is not.

    Raises:
        NotFound: if there is no such container.
        FsError: if the service does not answer as the API should, or the disk is full.
    """
    filesystem = open_over(remote, options, reaching, on_close=[remote.breaker.close])
    remote.breaker.on_return = filesystem.expedite
    return filesystem


def open_over(
    service_itself: Remote,
    options: Options,
    reaching: Reaching | None = None,
    *,
    on_close: Sequence[Callable[[], None]] = (),
) -> FileSystem:
    """Open a file system over any implementation of ``Remote``, which ``on_close`` ends. Raises as ``open_filesystem``
    does."""
    reaching = reaching or Reaching(service_itself, options.patience)
    workers = Workers()
    if options.keep_attributes:
        service_itself = AttributeFiles(service_itself)
    up, down = (Pace(rate) if rate else None for rate in (options.up_limit, options.down_limit))
    remote = AwaitedRemote(service_itself, workers, up, down)
    kernel = KernelMemory()
    names, tree, service = NamePolicy(), Tree(kernel), remote.service
    attributes = AttributeStore(options.cache_dir / "attributes.db", service)
    cache = ContentCache(
        options.cache_dir / "content", options.cache_size, service, options.account, describe=tree.describe
    )
    journal = Journal(journal_directory(options.cache_dir, service, options.account))
    legacy.take_over(options.cache_dir / "journal" / digest(service), journal)
    schedule = Schedule()
    digests = Digests(journal, schedule)
    durability = Durability(journal, digests, schedule, strict=options.strict or not options.write_back)
    # Reading
    holdings = cache if options.container is None else NoHoldings()  # the latter because there is no place to show them
    metadata = MetadataCache(remote, tree, attributes, options.metadata_expiry, workers, holdings)
    lookup = Lookup(tree, metadata, names)
    fetcher = Fetcher(remote, cache, workers)
    prefetcher = Prefetcher(fetcher, cache)
    listing_ahead = ListingAhead(tree, lookup, metadata)
    # Writing
    streams = options.streaming_uploads and not options.write_back and not options.read_only
    streaming = StreamingUploads(remote, tree, names, enabled=streams)
    staging = Staging(journal, fetcher, tree, streaming)
    deletions = Deletions(remote, tree, journal, cache, attributes, schedule)
    updates = AttributeUpdates(remote, tree, attributes, journal, deletions, schedule)
    settlement = Settlement(remote, tree, journal, attributes, deletions, schedule)
    courier = Courier(remote, journal, settlement, staging, options.patience)
    attempts = Attempts(remote, tree, journal, digests, settlement, streaming)
    acceptance = Acceptance(tree, journal, cache, attributes, updates, deletions, settlement, courier, attempts)
    uploader = Uploader(tree, schedule, courier, attempts, acceptance)
    commits = Commits(tree, journal, durability, uploader, names)
    removals = Removals(tree, journal, durability, uploader, deletions, settlement, fetcher, lazily=options.write_back)
    moves = Moves(
        tree, journal, durability, uploader, deletions, settlement, commits, removals, attributes, updates, names
    )
    backlog = Backlog(remote, tree, journal, uploader, deletions, settlement, updates, schedule, streaming)
    momentary = MomentaryFiles(remote, tree, journal, deletions, settlement)
    endings = Endings(remote, tree, momentary, remote.used_at, options.keep_alive, read_only=options.read_only)
    try:
        metadata.begin(reaching.result())
    except types.FsError as error:
        raise types.naming(service, error) from error
    top = tree.root if options.container is None else _container(lookup, tree, options.container)
    # Operations
    read_ahead = prefetcher if options.prefetch else None
    files = OpenFiles(
        tree,
        names,
        fetcher,
        read_ahead,
        staging,
        journal,
        commits,
        removals,
        kernel,
        lazily=options.write_back,
        read_only=options.read_only,
        all_thumbnails=options.all_thumbnails,
    )
    filesystem = FileSystem(
        tree,
        metadata,
        lookup,
        files,
        Directories(
            remote,
            tree,
            lookup,
            metadata,
            attributes,
            names,
            journal,
            removals,
            updates,
            listing_ahead if options.prefetch else None,
        ),
        moves,
        removals,
        Inodes(remote, tree, lookup, metadata, attributes, fetcher, commits, updates),
        backlog,
        Replay(tree, journal, uploader, deletions, settlement),
        ControlSurface(Status(service, tree, top, backlog, cache, fetcher, endings), top),
        kernel,
        top=top,
        disk=journal.directory,
        begin=lambda interrupted: Deadline(options.patience, interrupted, remote.unanswered, remote.silent_since),
        write_back=options.write_back,
        read_only=options.read_only,
        on_close=[
            endings.close,
            kernel.close,
            schedule.close,
            durability.close,
            uploader.close,
            streaming.close,
            prefetcher.close,
            listing_ahead.close,
            workers.close,
            journal.close,
            cache.close,
            attributes.close,
            *on_close,
        ],
    )
    filesystem.replay()
    if not options.read_only:
        updates.replay()
    endings.start()
    return filesystem


def _container(lookup: Lookup, tree: Tree, name: str) -> Directory:
    """Return the container with a name or id. Raises NotFound, which says what to do."""
    with suppress(types.NotFound):
        return lookup.directory(tree.root, name)
    raise types.NotFound(f"there is no container {name!r}: 'containerfs create' makes one, 'containerfs ls' lists them")


def journal_directory(cache_dir: Path, service: str, account: str) -> Path:
    """Return the directory of the journal of a service's account."""
    return cache_dir / "journal" / digest(json.dumps([service, account]))
