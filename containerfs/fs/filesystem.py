"""The file system: one method for each operation that a kernel asks for.

It coordinates and stores nothing itself. The order in which locks are taken: the tree's, a node's, then those inside
the cache, the journal and the uploader; none is held across the network. Paths are absolute below the mount point, "/"
the root.
"""

import logging
import os
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from containerfs.api.paths import decode_name
from containerfs.fs import types
from containerfs.fs.attributes import Attributes, AttributeStore, directory_key, file_key
from containerfs.fs.control import PREFIX, ControlSurface, describe
from containerfs.fs.handles import DirectoryHandle, HandleTable, ReadHandle, Staging, WriteHandle
from containerfs.fs.journal import Journal
from containerfs.fs.lookup import Lookup, check_length
from containerfs.fs.metadata import MetadataCache
from containerfs.fs.moves import Moves
from containerfs.fs.process import is_other_live_process
from containerfs.fs.reading.fetch import Fetcher
from containerfs.fs.reading.prefetch import Prefetcher
from containerfs.fs.reading.scans import Sibling
from containerfs.fs.remote import Remote
from containerfs.fs.scratch import NamePolicy
from containerfs.fs.tree import ContainerDirectory, Directory, FileNode, Node, Tree
from containerfs.fs.types import Attr, Entry
from containerfs.fs.writeback import Upload, Uploader, stale_ids

log = logging.getLogger(__name__)

Owner = tuple[int, int]
"""User and group id."""


class FileSystem:
    """Containers and their files. Safe to call from any thread; every method raises ``FsError``.

    Args:
        prefetcher: is told what is opened; None if nothing is to be fetched before it is asked for.
        write_back: whether close() returns once a file is safe on this machine, rather than on the service.
        read_only: whether everything that changes something is refused.
        on_close: ends the parts, in this order.
    """

    def __init__(
        self,
        remote: Remote,
        tree: Tree,
        metadata: MetadataCache,
        attributes: AttributeStore,
        fetcher: Fetcher,
        journal: Journal,
        uploader: Uploader,
        names: NamePolicy,
        control: ControlSurface,
        *,
        prefetcher: Prefetcher | None = None,
        write_back: bool = False,
        read_only: bool = False,
        on_close: Sequence[Callable[[], None]] = (),
    ) -> None:
        self._remote = remote
        self._tree = tree
        self._metadata = metadata
        self._attributes = attributes
        self._fetcher = fetcher
        self._journal = journal
        self._uploader = uploader
        self._names = names
        self._control = control
        self._prefetcher = prefetcher
        self._on_close = on_close
        self._write_back = write_back
        self._read_only = read_only
        self._lookup = Lookup(tree, metadata, names)
        self._staging = Staging(journal, fetcher)
        self._moves = Moves(remote, tree, uploader, self._staging, attributes)
        self._files: HandleTable[ReadHandle] = HandleTable()
        self._directories: HandleTable[DirectoryHandle] = HandleTable()

    # Looking

    def getattr(self, path: str) -> Attr:
        """Source: stat(2)."""
        node = self._lookup.node(path)
        if isinstance(node, FileNode):
            return node.attr(self._size(node))
        return node.attr()

    def opendir(self, path: str) -> int:
        """Open a directory and take note of what is in it. Source: opendir(3)."""
        directory = self._lookup.directory(path)
        if directory is self._tree.root:
            self._metadata.refresh_containers()
        else:
            self._lookup.refresh(directory.container)
        with self._tree.lock:
            entries = [
                Entry(name, child.ino, child.kind)
                for name, child in directory.children.items()
                if not (isinstance(child, FileNode) and child.hidden_from)
                and not (isinstance(child, ContainerDirectory) and child.gone)
            ]
        return self._directories.add(DirectoryHandle(entries))

    def readdir(self, fh: int) -> list[Entry]:
        """What was in the directory when it was opened; without "." and "..". Source: readdir(3)."""
        return self._directories[fh].entries

    def releasedir(self, fh: int) -> None:
        self._directories.pop(fh)

    def _size(self, node: FileNode) -> int:
        with node.lock:
            size = node.known_size
        if size is None:
            size = self._learn_size(node)
        return size

    def _learn_size(self, node: FileNode) -> int:
        """Ask for the size that the listing left out; where nobody tells it, download to know it. Never a guess."""
        remote = node.remote
        assert remote is not None
        size = self._remote.size(remote)
        if size is None:
            reader = self._fetcher.open(remote)
            try:
                size = reader.ensure_all()
            finally:
                reader.close()
        with self._tree.lock:
            if node.remote is remote:
                node.remote = replace(remote, size=size)
            container = node.container
            kept = replace(container.kept_attributes.get(file_key(remote.id), Attributes()), size=size)
        self._attributes.save(container.remote.id, file_key(remote.id), kept)
        return size

    # Files

    def open(self, path: str, flags: int, pid: int = 0) -> tuple[int, bool]:
        """Open a file that exists. Source: open(2).

        Args:
            flags: as of open(2).
            pid: the thread that opens it.

        Returns:
            The handle's number, and whether pages that the kernel has of the file are still good.
        """
        writing = flags & os.O_ACCMODE != os.O_RDONLY
        if writing or flags & os.O_TRUNC:
            self._check_writable()
        node = self._lookup.file(path)
        with self._tree.lock:
            keep_pages = node.staged is not None or (node.remote is not None and node.pages == node.remote.id)
            node.pages = node.remote.id if node.remote else None
        fh = self._open(node, flags, pid)
        if flags & os.O_TRUNC:
            try:
                self._truncate(node, 0)
            except BaseException:
                self.release(fh)
                raise
        return fh, keep_pages

    def create(self, path: str, flags: int, mode: int, pid: int = 0, owner: Owner | None = None) -> int:
        """Create a file, on this machine, and open it; the service has it once it is closed. Source: open(2)."""
        self._check_writable()
        parent, name = self._lookup.parent(path)
        if parent is self._tree.root:
            raise types.NotPermitted("only containers can be made here: use mkdir")
        _check_name(name)
        staged = self._journal.stage()
        node = FileNode(name, secrets.randbits(63), time.time_ns())
        node.mode, node.staged, node.scratch = mode & 0o7777, staged, self._names.is_scratch(name)
        node.uid, node.gid = owner or (node.uid, node.gid)
        with self._tree.lock:
            there = parent.children.get(name)
            if there is None:
                parent.add(node, name)
                parent.touch()
                node.touch()
                return self._open(node, flags, pid)
        self._journal.discard(staged)
        if flags & os.O_EXCL:
            raise types.AlreadyExists(path)
        return self.open(path, flags, pid)[0]

    def read_into(self, fh: int, buffer: memoryview, offset: int) -> int:
        """Read into ``buffer``; returns how many bytes, fewer than it holds only at the end. Source: pread(2)."""
        handle = self._files[fh]
        try:
            return handle.read_into(buffer, offset)
        except types.NotFound as error:
            raise self._vanished(handle.node, error) from error

    def write(self, fh: int, data: memoryview, offset: int) -> int:
        """Write all of ``data``, on this machine. Source: pwrite(2)."""
        return self._files[fh].write(data, offset)

    def truncate(self, path: str, size: int) -> None:
        """Set the size of a file; unless a program has it open to write, the service has it when this returns.

        Source: truncate(2).
        """
        self._check_writable()
        node = self._lookup.file(path)
        self._truncate(node, size)
        if not node.writers:
            self._commit(node)

    def ftruncate(self, fh: int, size: int) -> None:
        """Set the size of an open file, on this machine. Source: ftruncate(2)."""
        handle = self._files[fh]
        if not isinstance(handle, WriteHandle):
            raise types.BadHandle("opened for reading only")
        self._truncate(handle.node, size)

    def flush(self, fh: int, pid: int = 0) -> None:
        """A program closes the file: what was written is made safe, and what fails is close()'s error.

        Where the program inherited the file from another that still runs, that one's close counts. Source: close(2).
        """
        handle = self._files[fh]
        if not isinstance(handle, WriteHandle) or not self._is_due(handle.node):
            return
        if self._is_torn(handle.node):
            self._abandon(handle.node)
            raise types.NoSpace(f"{handle.node.name!r} did not fit on this machine's disk, and is as it was before")
        if is_other_live_process(handle.opener, pid):
            self._uploader.record(handle.node, durable=False)
        else:
            self._commit(handle.node)

    def fsync(self, fh: int) -> None:
        """Make what was written safe on this machine, against its crash too. Source: fsync(2)."""
        node = self._files[fh].node
        with node.lock:
            staged = node.staged
            if staged is not None and (node.scratch or node.parent is None):
                staged.sync()
                return
        if node.dirty:
            self._uploader.record(node, durable=True)

    def release(self, fh: int) -> None:
        """The last descriptor of a handle is closed. What no close() has waited for is uploaded in the background."""
        handle = self._files.pop(fh)
        node = handle.node
        handle.close()
        with self._tree.lock:
            node.opens -= 1
            node.writers -= isinstance(handle, WriteHandle)
            orphan = node.opens == 0 and node.parent is None
        if orphan:
            self._staging.discard(node)
        elif node.opens == 0 and self._is_torn(node):
            self._abandon(node)
        elif node.opens == 0 and node.dirty and not node.scratch and node.error is None:
            self._uploader.commit(node, lazily=True)
        elif node.opens == 0 and not node.dirty:
            self._unstage(node)
        with self._tree.lock:
            self._tree.settle(node)

    def _open(self, node: FileNode, flags: int, pid: int) -> int:
        access = flags & os.O_ACCMODE
        if access == os.O_RDONLY:
            handle = ReadHandle(node, self._fetcher)
            handle.prepare()
            if self._prefetcher is not None:
                self._prefetch_after(node)
        else:
            append = bool(flags & os.O_APPEND)
            handle = WriteHandle(node, self._fetcher, self._staging, append=append, opener=pid)
        with self._tree.lock:
            node.opens += 1
            node.writers += isinstance(handle, WriteHandle)
        return self._files.add(handle)

    def _prefetch_after(self, node: FileNode) -> None:
        with self._tree.lock:
            directory = node.parent
            if self._prefetcher is not None and directory is not None and node.remote is not None:
                self._prefetcher.opened(directory, node.ino, lambda: _siblings(directory))

    def _truncate(self, node: FileNode, size: int) -> None:
        with node.lock:
            if node.staged is None and node.known_size == size:
                return
        while True:
            self._staging.stage(node, keep=size)
            with node.lock:
                if node.staged is not None:  # else an upload ended between the two lines
                    node.staged.truncate(size)
                    node.touch()
                    return

    def _commit(self, node: FileNode) -> None:
        if self._is_due(node):
            self._uploader.commit(node, lazily=self._write_back)

    @staticmethod
    def _is_due(node: FileNode) -> bool:
        """Whether the service is to get what is here."""
        return node.dirty and not node.scratch and node.parent is not None

    def _is_torn(self, node: FileNode) -> bool:
        """Whether a write has failed in what is staged, and nobody was told that any of it is safe."""
        return node.staged is not None and node.staged.torn and not self._uploader.recorded(node)

    def _abandon(self, node: FileNode) -> None:
        """Drop what is staged: the file is what the service has; one that it never had is gone."""
        self._staging.discard(node)
        with self._tree.lock:
            if node.remote is None:
                self._tree.detach(node)

    def _unstage(self, node: FileNode) -> None:
        """A file that was staged and not changed is what the service has."""
        with node.lock:
            if node.staged is not None and not (node.dirty or node.scratch or node.replaces):
                self._staging.discard(node)

    def _vanished(self, node: FileNode, error: types.NotFound) -> types.FsError:
        """Why the content of a listed file is not there: it was deleted elsewhere, or never was."""
        try:
            container = node.container
            self._metadata.expire(container)
            self._lookup.refresh(container)
        except types.FsError:
            return types.Gone(str(error))
        listed = node.remote is not None and not node.gone and node.newer is None
        return types.Failed(f"listed, but without content: {error}") if listed else types.Gone(str(error))

    # Names

    def mkdir(self, path: str, mode: int, owner: Owner | None = None) -> None:
        """At the root: create a container. Below: a directory, which only this machine knows while it holds no file.

        Source: mkdir(2).
        """
        self._check_writable()
        parent, name = self._lookup.parent(path)
        _check_name(name)
        if self._exists(path):
            raise types.AlreadyExists(path)
        if parent is self._tree.root:
            directory: Directory = self._create_container(name)
        else:
            directory = Directory(name, secrets.randbits(63), time.time_ns())
            with self._tree.lock:
                parent.add(directory, name)
        with self._tree.lock:
            parent.touch()
            directory.mode, directory.kept = mode & 0o7777, True
            directory.uid, directory.gid = owner or (directory.uid, directory.gid)
        self._keep(directory)

    def rmdir(self, path: str) -> None:
        """At the root: delete a container, which must be empty. Below: a directory. Source: rmdir(2)."""
        self._check_writable()
        directory = self._lookup.directory(path)
        if directory is self._tree.root:
            raise types.NotPermitted("the root of the mount stays")
        container = directory.container
        if directory is container:
            self._metadata.expire(container)  # what others put there a moment ago is not to be lost
        self._lookup.refresh(container)
        with self._tree.lock:
            children = list(directory.children.values())
        scratch = [child for child in children if isinstance(child, FileNode) and child.scratch]
        if len(scratch) < len(children):
            raise types.DirectoryNotEmpty(path)
        for node in scratch:  # among them those that are open and were deleted, which the service still has
            self._unlink(node)
        if isinstance(directory, ContainerDirectory):
            self._delete_container(directory)
            return
        with self._tree.lock:
            key = directory_key(directory.path)
            container.kept_attributes.pop(key, None)
            if directory.parent is not None:
                directory.parent.kept = True
                directory.parent.touch()
                directory.parent.remove(directory)
        self._attributes.forget(container.remote.id, [key])

    def unlink(self, path: str) -> None:
        """Delete a file, on the service too. Source: unlink(2)."""
        self._check_writable()
        self._unlink(self._lookup.file(path))

    def _unlink(self, node: FileNode) -> None:
        due = self._uploader.cancel(node)
        with self._tree.lock:
            container, parent = node.container, node.parent
            before, node.replaces = node.replaces, stale_ids(node)
        try:
            self._uploader.delete_replaced(node)
        except types.FsError:
            with self._tree.lock:
                for file_id in node.replaces:
                    container.removed.pop(file_id, None)
                node.replaces = before
            if due:
                self._uploader.submit(node)
            raise
        with self._tree.lock:
            self._tree.detach(node)
            emptied = parent is not None and not parent.children and not parent.kept
            if parent is not None:
                parent.kept = True
                parent.touch()
        if not node.opens:
            self._staging.discard(node)
        if emptied and isinstance(parent, Directory) and parent is not container:
            self._keep(parent)

    def rename(self, old: str, new: str, *, replace: bool = True) -> None:
        """Give a file or directory another name in its container. Source: rename(2).

        Args:
            replace: whether it takes the place of what has that name.

        Raises:
            AlreadyExists: something has it, and is not to be replaced.
            CrossDevice: for containers, and between two: programs copy instead.
        """
        self._check_writable()
        source = self._lookup.node(old)
        parent, name = self._lookup.parent(new)
        _check_name(name)
        if parent is self._tree.root and not isinstance(source, ContainerDirectory):
            raise types.NotPermitted("only containers can be at the root")
        target = self._lookup.node(new) if self._exists(new) else None
        if target is not None and not replace:
            raise types.AlreadyExists(new)
        self._moves.rename(source, parent, name, target, lazily=self._write_back)

    def _exists(self, path: str) -> bool:
        try:
            self._lookup.node(path)
        except types.NotFound:
            return False
        return True

    def _create_container(self, name: str) -> ContainerDirectory:
        if self._names.is_refused_as_container(name):
            raise types.NotPermitted(f"{name!r} is a desktop's or an editor's own; it is not made a container")
        remote = self._remote.create_container(decode_name(name))
        with self._tree.lock:
            container = self._tree.add_container(remote)
            container.touch()
            container.listed_at = time.monotonic()  # a new one is known to be empty
            return container

    def _delete_container(self, container: ContainerDirectory) -> None:
        self._remote.delete_container(container.remote.id)
        with self._tree.lock:
            self._tree.remove_container(container)
            self._tree.root.touch()
        self._attributes.forget_container(container.remote.id)

    # Attributes

    def chmod(self, path: str, mode: int) -> None:
        """Set permission bits, on this machine. Source: chmod(2)."""
        self._set(path, mode=mode & 0o7777)

    def chown(self, path: str, uid: int, gid: int) -> None:
        """Set the owner, on this machine; -1 leaves one as it is. Source: chown(2)."""
        self._set(path, **{name: value for name, value in (("uid", uid), ("gid", gid)) if value != -1})

    def utimens(self, path: str, atime: int | None, mtime: int | None) -> None:
        """Set times in nanoseconds, on this machine; None leaves one as it is. Source: utimensat(2)."""
        self._set(path, **{name: value for name, value in (("atime", atime), ("mtime", mtime)) if value is not None})

    def _set(self, path: str, **values: int) -> None:
        self._check_writable()
        node = self._lookup.node(path)
        if node is self._tree.root:
            return
        with self._tree.lock:
            for name, value in values.items():
                setattr(node, name, value)
            node.touch(modified=False)
        self._keep(node)

    def _keep(self, node: Node) -> None:
        """Keep a node's attributes across mounts; those of a file that is due are kept when it is uploaded."""
        if isinstance(node, FileNode) and (node.scratch or node.remote is None):
            return
        with self._tree.lock:
            container, kept = node.container, node.attributes()
            key = file_key(node.remote.id) if isinstance(node, FileNode) and node.remote else directory_key(node.path)
            known = container.kept_attributes.get(key, Attributes())
            kept = container.kept_attributes[key] = replace(kept, path=known.path, size=known.size)
        self._attributes.save(container.remote.id, key, kept)

    def statfs(self) -> os.statvfs_result:
        """The disk on which files are staged: the service tells of no limit of its own. Source: statvfs(3)."""
        return os.statvfs(self._journal.directory)

    def refuse(self, why: str) -> None:
        """What the API cannot hold. Raises NotPermitted, which programs take for that."""
        raise types.NotPermitted(why)

    # Control

    def getxattr(self, path: str, name: str) -> bytes:
        """Source: getxattr(2). Raises NoAttribute, for all that is not ours at once: the kernel asks at every write."""
        if not name.startswith(PREFIX):
            raise types.NoAttribute(name)
        return self._control.get(self._lookup.node(path), name)

    def listxattr(self, path: str) -> list[str]:
        """Source: listxattr(2)."""
        return self._control.names(self._lookup.node(path))

    def setxattr(self, path: str, name: str, value: bytes) -> None:
        """Two attributes are commands. Source: setxattr(2).

        ``user.containerfs.refresh`` makes the next look ask the service; ``user.containerfs.sync`` has all uploads that
        are due tried now, and does not wait for them.

        The API holds no attributes: others raise NotSupported, which programs that copy understand.
        """
        if name == PREFIX + "sync":
            self._uploader.hasten()
        elif name == PREFIX + "refresh":
            node = self._lookup.node(path)
            self._metadata.expire(None if node is self._tree.root else node.container)
        else:
            raise types.NotSupported(name)

    def sync(self, path: str, timeout: float = 300.0) -> None:
        """Wait until what is below ``path`` is on the service. Raises Failed, naming what is not."""
        directory = self._lookup.directory(path)
        with self._tree.lock:
            within = set(directory.files())
        left = self._uploader.drain(timeout, within)
        if left:
            raise types.Failed("not on the service: " + ", ".join(map(describe, left)))

    def drain(self, timeout: float) -> list[Upload]:
        """Wait until everything is on the service; returns what is not, after ``timeout`` seconds."""
        return self._uploader.drain(timeout)

    def replay(self) -> None:
        """Upload what earlier mounts left undone; until then it is shown as it was."""
        for record, staged in self._journal.replay():
            log.info("Uploading what an earlier mount left: %s/%s", record.container_name, record.path)
            parent_path, _, name = record.path.rpartition("/")
            with self._tree.lock:
                container = self._tree.container(record.container_id) or self._tree.add_container(
                    types.RemoteContainer(record.container_id, record.container_name, int(time.time())), listed=False
                )
                node = FileNode(name, secrets.randbits(63), time.time_ns())
                node.staged, node.replaces, node.error = staged, set(record.replaces), record.error
                container.withhold(node.replaces)
                node.apply(record.attributes)
                self._tree.make_directory(container, parent_path).add(node, name)
            self._uploader.submit(node, since=record.since)

    def close(self) -> None:
        """End. What is not on the service stays in the journal, for the next mount."""
        for end in self._on_close:
            end()

    def _check_writable(self) -> None:
        if self._read_only:
            raise types.ReadOnly("mounted read-only")


def _check_name(name: str) -> None:
    """Raises InvalidName, NameTooLong for a name that cannot be given."""
    check_length(name)
    try:
        name.encode()
    except UnicodeEncodeError:
        raise types.InvalidName(f"{name!r} is not UTF-8") from None


def _siblings(directory: Directory) -> list[Sibling]:
    """The files of a directory, as listed. Needs the tree's lock held."""
    return [
        Sibling(node.name, node.ino, node.remote if node.staged is None else None)
        for node in directory.children.values()
        if isinstance(node, FileNode)
    ]
