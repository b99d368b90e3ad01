"""The file system: one method for each operation of the kernel.

It coordinates, and stores nothing itself. Locks are taken in this order: the tree's, a node's, then those inside the
journal, the cache and the schedule. None is held across the network. Files and directories are nodes, which the kernel
looks up by name, starting at the root, and knows until it forgets them.
"""

import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, suppress

from containerfs.fs import deadline, types
from containerfs.fs.control import PREFIX, ControlSurface
from containerfs.fs.deadline import Deadline
from containerfs.fs.directories import Directories
from containerfs.fs.files import OpenFiles, Owner
from containerfs.fs.inodes import Inodes
from containerfs.fs.namespace.kernel import Forget, KernelMemory
from containerfs.fs.namespace.listings import MetadataCache
from containerfs.fs.namespace.lookup import Lookup, check_new, check_new_file
from containerfs.fs.namespace.nodes import ContainerDirectory, Directory, Entry, FileNode, Link, Node
from containerfs.fs.namespace.tree import Tree
from containerfs.fs.process import is_killed
from containerfs.fs.types import Attr
from containerfs.fs.writing.backlog import Backlog, Unfinished
from containerfs.fs.writing.moves import Moves
from containerfs.fs.writing.removals import Removals
from containerfs.fs.writing.replay import Replay

_USER = "user."  # the prefix of names that programs may choose. Source: xattr(7)


class FileSystem:
    """Containers and their files. May be called from any thread. Every method raises ``FsError``.

    Args:
        top: the root of the mount: the tree's root, which holds the containers, or one container.
        disk: a directory on the disk where files are staged.
        begin: makes the deadline of a new operation, from a function that tells whether nobody waits for it any more.
        write_back: whether operations return once a change is safe on this machine, rather than on the service.
        read_only: whether all changes are refused.
        on_close: functions that end the parts, in this order.
    """

    def __init__(
        self,
        tree: Tree,
        metadata: MetadataCache,
        lookup: Lookup,
        files: OpenFiles,
        directories: Directories,
        moves: Moves,
        removals: Removals,
        inodes: Inodes,
        backlog: Backlog,
        replay: Replay,
        control: ControlSurface,
        kernel: KernelMemory,
        *,
        top: Directory,
        disk: os.PathLike[str],
        begin: Callable[[Callable[[], bool]], Deadline],
        write_back: bool,
        read_only: bool,
        on_close: Sequence[Callable[[], None]],
    ) -> None:
        self._tree = tree
        self._metadata = metadata
        self._lookup = lookup
        self._files = files
        self._directories = directories
        self._moves = moves
        self._removals = removals
        self._inodes = inodes
        self._backlog = backlog
        self._replay = replay
        self._control = control
        self._kernel = kernel
        self.top = top
        self._disk = disk
        self._begin = begin
        self._write_back = write_back
        self._read_only = read_only
        self._on_close = on_close

    def attach_kernel(self, forget: Forget) -> None:
        """Set the function that makes the kernel forget a file."""
        self._kernel.attach(forget)

    def operation(self, interrupted: Callable[[], bool]) -> AbstractContextManager[None]:
        """Serve an operation on this thread within the context. It ends soon, whatever the service does.

        Args:
            interrupted: returns whether nobody waits for the operation any more. Called on this thread, several times a
                second.

        Returns:
            A context manager. Methods that are called within it may also raise Interrupted.
        """
        return deadline.Operation(self._begin(interrupted))

    # Looking up

    def lookup(self, parent: Directory, name: str) -> Node:
        """Look up a name in a directory. The kernel knows the node from then on, until ``forget``.

        Raises:
            NotFound: if there is no such name.
            Gone: if the directory itself is gone.
        """
        while True:
            node = self._lookup.child(parent, name)
            with self._tree.lock:
                if node.parent is parent:  # otherwise it disappeared between the two lines
                    node.known += 1
                    return node

    def forget(self, node: Node, times: int = 1) -> None:
        """Called when the kernel forgets a node that it was told about ``times`` times."""
        with self._tree.lock:
            node.known -= times
        if isinstance(node, FileNode):
            self._removals.discard_unless_held(node)

    def getattr(self, node: Node) -> Attr:
        """Return the attributes of a node. Source: stat(2).

        The top exists as long as the mount does, so that a mount whose container has ended can be asked for its status.

        Raises:
            Gone: if the node is gone, and no program has it open.
        """
        is_held = isinstance(node, FileNode) and (node.opens > 0 or self._removals.is_kept(node))
        if not is_held and node is not self.top:
            self._lookup.check(node)
        return self._inodes.attr(node)

    def attr(self, node: Node) -> Attr:
        """Return the attributes of a node that was just looked up."""
        return self._inodes.attr(node)

    def opendir(self, directory: Directory) -> int:
        """Open a directory, and return the number of its handle. Source: opendir(3)."""
        return self._directories.open(directory)

    def readdir(self, fh: int) -> Sequence[Entry]:
        """Wait for the next entries of a directory and return them, without "." and ".."; none at its end. Source:
        readdir(3)."""
        return self._directories.entries(fh)

    def rewinddir(self, fh: int) -> None:
        """Read the directory from its beginning. Source: rewinddir(3)."""
        self._directories.rewind(fh)

    def lookup_listed(self, fh: int, nodes: Iterable[Node]) -> dict[Node, Attr]:
        """Look up nodes that were listed in an open directory, together with their attributes.

        Returns:
            The attributes by node. Nodes that are gone, or whose attributes would take a request, are left out; the
            kernel does not know these.
        """
        directory, at_hand = self._directories.directory(fh), self._inodes.attr_at_hand
        attributes = [(node, attr) for node in nodes if (attr := at_hand(node)) is not None]
        with self._tree.lock:
            found = {node: attr for node, attr in attributes if node.parent is directory}
            for node in found:
                node.known += 1
        return found

    def releasedir(self, fh: int) -> None:
        """Close a directory. Source: closedir(3)."""
        self._directories.release(fh)

    def statfs(self) -> os.statvfs_result:
        """Describe the disk on which files are staged, because the service has no known limit. Source: statvfs(3)."""
        return os.statvfs(self._disk)

    # Files

    def open(self, node: FileNode, flags: int, pid: int = 0) -> tuple[int, bool]:
        """Open an existing file. Source: open(2).

        Args:
            flags: as in open(2).
            pid: the thread that opens it.

        Returns:
            The handle's number, and whether the kernel's pages of the file are still valid.

        Raises:
            Gone: if it was deleted or replaced in the meantime; the kernel looks it up again.
        """
        if flags & os.O_ACCMODE != os.O_RDONLY or flags & os.O_TRUNC:
            self._check_writable(node)
        return self._files.open(node, flags, pid)

    def create(
        self, parent: Directory, name: str, flags: int, mode: int, pid: int = 0, owner: Owner | None = None
    ) -> tuple[FileNode, int]:
        """Create a file on this machine, and open it. The service gets it once it is closed. Source: open(2).

        Returns:
            The file, looked up, and the handle's number.
        """
        self._check_writable(parent)
        if parent is self._tree.root:
            raise types.NotPermitted("only containers can be made here: use mkdir")
        check_new_file(parent, name)
        self._lookup.container_of(parent)
        while True:
            made = self._files.create(parent, name, flags, mode, pid, owner)
            if made is not None:
                return made
            if flags & os.O_EXCL:
                raise types.AlreadyExists(name)
            with suppress(types.NotFound):  # gone again
                return self._open_made(parent, name, flags, pid)

    def _open_made(self, parent: Directory, name: str, flags: int, pid: int) -> tuple[FileNode, int]:
        """Open a file that another program created at the same time."""
        node = self.lookup(parent, name)
        try:
            if not isinstance(node, FileNode):
                raise types.IsADirectory(name)
            return node, self.open(node, flags, pid)[0]
        except BaseException:
            self.forget(node)
            raise

    def read(self, fh: int, offset: int, size: int) -> bytes:
        """Read the bytes at ``offset``, fewer than ``size`` only at the end of the file. Source: pread(2)."""
        handle = self._files.handle(fh)
        try:
            return handle.read(offset, size)
        except types.NotFound as error:
            raise self._inodes.vanished(handle.node, error) from error

    def write(self, fh: int, data: memoryview, offset: int) -> int:
        """Write all of ``data`` on this machine. Source: pwrite(2)."""
        return self._files.handle(fh).write(data, offset)

    def truncate(self, node: FileNode, size: int) -> None:
        """Set the size of a file in bytes. Unless a program has it open for writing, the service has it when this
        returns.

        Source: truncate(2).
        """
        self._check_writable(node)
        self._files.truncate(node, size)

    def ftruncate(self, fh: int, size: int) -> None:
        """Set the size of an open file in bytes, on this machine. Source: ftruncate(2)."""
        self._files.ftruncate(fh, size)

    def fallocate(self, fh: int, mode: int, offset: int, size: int) -> None:
        """Allocate, punch out or zero a range of an open file on this machine, as far as its disk supports that.

        Source: fallocate(2).
        """
        self._files.fallocate(fh, mode, offset, size)

    def flush(self, fh: int, pid: int = 0) -> None:
        """Make what was written safe when a program closes the file. Errors become those of close(). Source: close(2).

        If the program inherited the file from another process that still runs, only that one's close counts.
        """
        current = deadline.current()
        if current is not None:  # the kernel does not interrupt the close() of a process that was killed
            current.also_ended_by(lambda: is_killed(pid))
        self._files.flush(fh, pid)

    def fsync(self, fh: int) -> None:
        """Make what was written safe on this machine, even if the machine crashes. Source: fsync(2)."""
        self._files.fsync(fh)

    def release(self, fh: int) -> None:
        """Handle the close of a handle's last descriptor. What no close() waited for is uploaded in the background."""
        handle = self._files.handle(fh)
        self._files.release(fh)
        if handle.moved and handle.node.parent is not None:
            with suppress(types.NotFound):  # its container is gone
                self._inodes.keep_access(handle.node)

    # Names

    def symlink(self, parent: Directory, name: str, target: bytes, owner: Owner | None = None) -> Link:
        """Create a symbolic link. The service has it when this returns, as after ``flush``. Source: symlink(2).

        Returns:
            The link, looked up.
        """
        self._check_writable(parent)
        if parent is self._tree.root:
            raise types.NotPermitted("only containers can be made here: use mkdir")
        check_new_file(parent, name, Link)
        self._lookup.container_of(parent)
        return self._files.link(parent, name, target, owner)

    def readlink(self, link: Link) -> bytes:
        """Return the target of a symbolic link, which the kernel remembers. Source: readlink(2).

        Raises:
            Gone: if the service has none any more; the kernel looks the name up again.
        """
        if link.dropped:
            raise types.Gone(link.name)
        try:
            return self._files.target(link)
        except types.NotFound as error:
            raise self._inodes.vanished(link, error) from error

    def mkdir(self, parent: Directory, name: str, mode: int, owner: Owner | None = None) -> Directory:
        """Create a container in the root, or a directory elsewhere. Some services know a directory only once it has a
        file.

        Source: mkdir(2).

        Returns:
            The directory, looked up.
        """
        self._check_writable(parent)
        check_new(parent, name)
        if self._lookup.find(parent, name) is not None:
            raise types.AlreadyExists(name)
        if parent is self.top:
            self._directories.check_at_top(name)
        directory = self._directories.make(parent, name)
        self._inodes.set_made(directory, mode, owner)
        return directory

    def rmdir(self, parent: Directory, name: str) -> None:
        """Delete an empty container in the root, or remove an empty directory elsewhere. Source: rmdir(2)."""
        self._check_writable(parent)
        directory = self._lookup.directory(parent, name)
        self._check_writable(directory)
        self._directories.remove(directory)
        if parent is not self._tree.root:
            self._keep_emptied(parent)

    def unlink(self, parent: Directory, name: str) -> None:
        """Delete a file, on the service too. Source: unlink(2)."""
        self._check_writable(parent)
        self._removals.unlink(self._lookup.file(parent, name))
        self._keep_emptied(parent)

    def rename(
        self, old_parent: Directory, old_name: str, parent: Directory, name: str, *, replace: bool = True
    ) -> None:
        """Rename a file or directory within its container, or a container. Source: rename(2).

        Args:
            replace: whether it replaces what has the new name.

        Raises:
            AlreadyExists: if the name is taken and not to be replaced.
            CrossDevice: between two containers, or for a container that the service cannot rename; programs copy
                instead.
        """
        self._check_writable(old_parent, parent)
        source = self._lookup.child(old_parent, old_name)
        self._check_writable(source)
        check_new(parent, name)
        if isinstance(source, FileNode):
            check_new_file(parent, name, type(source))
        if parent is self._tree.root and not isinstance(source, ContainerDirectory):
            raise types.NotPermitted("only containers can be at the root")
        target = self._lookup.find(parent, name)
        if target is not None and not replace:
            raise types.AlreadyExists(name)
        if isinstance(source, ContainerDirectory) and parent is self._tree.root:
            if target is source:
                return
            if target is not None:
                raise types.AlreadyExists(name)
            self._directories.rename_container(source, name)
            return
        self._moves.rename(source, parent, name, target, lazily=self._write_back)

    def refuse(self, why: str) -> None:
        """Refuse what the API cannot hold: raises NotPermitted, which programs understand."""
        raise types.NotPermitted(why)

    # Attributes

    def chmod(self, node: Node, mode: int) -> None:
        """Set permission bits, on this machine. Source: chmod(2)."""
        self._set(node, mode=mode & 0o7777)

    def chown(self, node: Node, uid: int, gid: int) -> None:
        """Set the owner on this machine; -1 keeps the user or group. Source: chown(2)."""
        self._set(node, **{name: value for name, value in (("uid", uid), ("gid", gid)) if value != -1})

    def utimens(self, node: Node, atime: int | None, mtime: int | None) -> None:
        """Set times in nanoseconds on this machine; None keeps a time. Source: utimensat(2)."""
        self._set(node, **{name: value for name, value in (("atime", atime), ("mtime", mtime)) if value is not None})

    # Control

    def getxattr(self, node: Node, name: str) -> bytes:
        """Return an extended attribute. Source: getxattr(2).

        Raises:
            NoAttribute: if there is none with that name.
            NotSupported: if there can be none. ``ls -l`` then asks for one file, and not for each.
        """
        if not name.startswith(_USER):
            raise types.NotSupported(name)
        if not name.startswith(PREFIX):
            raise types.NoAttribute(name)
        return self._control.get(node, name)

    def listxattr(self, node: Node) -> list[str]:
        """Return no names, because the attributes describe this mount, and must not be copied along with a file.

        Source: listxattr(2).
        """
        return []

    def setxattr(self, node: Node, name: str, value: bytes) -> None:
        """Carry out a command. Source: setxattr(2).

        ``user.containerfs.refresh`` makes the next look send a request. ``user.containerfs.sync`` tries all uploads now
        that are due or were refused, without waiting for them.

        Raises:
            NotSupported: for all other attributes, which the API cannot hold. Programs that copy files understand that.
        """
        if name == PREFIX + "sync":
            self._replay.run_returned()
            self._backlog.expedite()
        elif name == PREFIX + "refresh":
            self._refresh(node)
        else:
            raise types.NotSupported(name)

    def removexattr(self, node: Node, name: str) -> None:
        """Raise NoAttribute, because there are none to remove. Source: removexattr(2)."""
        raise types.NoAttribute(name)

    def expedite(self) -> None:
        """Retry everything that is due, because the service is back."""
        self._backlog.expedite()

    def sync(self, directory: Directory, timeout: float = 300.0) -> None:
        """Wait until everything below a directory is on the service.

        Args:
            timeout: in seconds.

        Raises:
            Failed: if something is not; names it.
        """
        self._sync(directory, timeout)

    def fsyncdir(self, fh: int) -> None:
        """Wait until everything below an open directory is on the service. Source: fsync(2)."""
        self._sync(self._directories.directory(fh), 300.0)

    def _sync(self, directory: Directory, timeout: float) -> None:
        if directory is self.top:
            self._replay.run_returned()
        left = self._backlog.drain_files(directory, timeout)
        if left:
            raise types.Failed("not on the service: " + ", ".join(map(str, left)))

    def drain(self, timeout: float) -> list[Unfinished]:
        """Wait up to ``timeout`` seconds until everything is on the service, and return what is not."""
        return self._backlog.drain(timeout)

    def replay(self) -> None:
        """Upload what earlier mounts left. Until then, it is shown as it was."""
        self._replay.run()

    def close(self) -> None:
        """Close the file system. What is not on the service stays in the journal for the next mount."""
        for end in self._on_close:
            end()

    def _refresh(self, node: Node) -> None:
        """Send a request at the next look, and make the kernel ask for files that nobody has open."""
        if node in (self._tree.root, self._tree.root.expired):
            self._metadata.expire(None)
            return
        self._metadata.expire(node.container)
        with self._tree.lock:
            known = [file for file in node.container.files() if file.told is not None and not file.opens]
            for file in known:
                file.told = None
        for file in known:
            self._kernel.forget(file)

    def _set(self, node: Node, **values: int) -> None:
        self._check_writable(node)
        self._inodes.set(node, **values)

    def _keep_emptied(self, parent: Directory) -> None:
        """Keep an emptied directory here, across mounts, because the service has no directories without files."""
        with self._tree.lock:
            emptied = not parent.children and parent.parent is not None
            parent.kept = True
            parent.touch()
        if emptied and not isinstance(parent, ContainerDirectory):
            with suppress(types.NotFound):  # removed in the meantime
                self._inodes.keep(parent)

    def _check_writable(self, *places: Node) -> None:
        """Raise ReadOnly if the mount is read-only, or one of these nodes is in a container that has ended."""
        if self._read_only:
            raise types.ReadOnly("mounted read-only")
        with self._tree.lock:
            if any(map(self._tree.has_ended, places)):
                raise types.ReadOnly("the container has ended: what is left of it can only be read")
