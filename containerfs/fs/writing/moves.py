"""Renames of a file, or of everything in a directory: all or nothing, as programs see it.

The API has no renames: a file is stored again under the new name, and deleted under the old one. If the service can
copy to another name, no content is sent; otherwise it is uploaded from here. A rename is recorded in one transaction of
the journal, and shown by one change of the tree. Then every file is stored under its new name, and only after that is
anything deleted. If a file cannot be stored, the rename is undone. After a crash, or if an answer is lost, it is
finished later.
"""

import logging
from contextlib import suppress
from dataclasses import dataclass, replace

from containerfs.fs import state, transitions, types
from containerfs.fs.namespace.attributes import AttributeStore, directory_key, directory_path
from containerfs.fs.namespace.lookup import check_path
from containerfs.fs.namespace.names import NamePolicy
from containerfs.fs.namespace.nodes import ContainerDirectory, Directory, FileNode, Node
from containerfs.fs.namespace.tree import Tree
from containerfs.fs.staged import StagedFile
from containerfs.fs.state import Local, State, Unlinked, Version
from containerfs.fs.types import RemoteFile
from containerfs.fs.writing.attempts import entry_of
from containerfs.fs.writing.attribute_updates import AttributeUpdates
from containerfs.fs.writing.commits import Commits
from containerfs.fs.writing.deletions import Deletions
from containerfs.fs.writing.durability import Durability
from containerfs.fs.writing.journal import Journal
from containerfs.fs.writing.removals import Removals
from containerfs.fs.writing.settlement import Settlement
from containerfs.fs.writing.transaction import Transaction
from containerfs.fs.writing.uploads import Uploader

log = logging.getLogger(__name__)


@dataclass
class _Moved:
    """A file that a rename moves.

    Attributes:
        before: its state before the rename.
        version: what has to be stored under the new name; None if nothing is complete yet.
        added: whether the rename made that version, rather than a program that closed the file.
    """

    node: FileNode
    before: State
    version: Version | None = None
    added: bool = False


@dataclass
class _Rename:
    """One rename.

    Attributes:
        target: the node that had the new name.
        target_before: its state, if it is a file.
        reads_on: whether programs continue to read the target from the service.
    """

    source: Node
    old_parent: Directory
    old_name: str
    parent: Directory
    name: str
    target: Node | None
    target_before: State | None
    reads_on: bool
    moved: list[_Moved]


class Moves:
    """Renames nodes within a container. Every method raises ``FsError``."""

    def __init__(
        self,
        tree: Tree,
        journal: Journal,
        durability: Durability,
        uploader: Uploader,
        deletions: Deletions,
        settlement: Settlement,
        commits: Commits,
        removals: Removals,
        attributes: AttributeStore,
        updates: AttributeUpdates,
        names: NamePolicy,
    ) -> None:
        self._tree = tree
        self._journal = journal
        self._durability = durability
        self._uploader = uploader
        self._deletions = deletions
        self._settlement = settlement
        self._commits = commits
        self._removals = removals
        self._attributes = attributes
        self._updates = updates
        self._names = names

    def rename(self, source: Node, parent: Directory, name: str, target: Node | None, *, lazily: bool) -> None:
        """Move a node to ``name`` in ``parent``, replacing ``target`` if there is one. Source: rename(2).

        Args:
            lazily: whether to return once the rename is safe on this machine; the service follows.

        Raises:
            CrossDevice: if the API cannot do this; programs copy instead.
            FsError: if a file could not be stored under its new name. Everything is as it was.
        """
        if source is target:
            return
        _check(source, parent, target)
        if isinstance(source, Directory) and not lazily:
            self._flush(source)
        if not isinstance(target, FileNode):
            self._rename(source, parent, name, target, reads_on=False, lazily=lazily)
            return
        try:
            reads_on = not self._removals.keep_content(target)
            self._rename(source, parent, name, target, reads_on=reads_on, lazily=lazily)
        except BaseException:
            self._removals.let_go(target)
            raise
        self._removals.discard_unless_held(target)

    def _rename(
        self, source: Node, parent: Directory, name: str, target: Node | None, *, reads_on: bool, lazily: bool
    ) -> None:
        rename = self._begin(source, parent, name, target, reads_on=reads_on, lazily=lazily)
        self._move_kept(rename.source, _path(rename.old_parent, rename.old_name))
        for moved in rename.moved:
            if moved.version is not None:
                self._uploader.submit(moved.node)
        if lazily:
            self._durability.soon(_published(rename))
        else:
            self._wait(rename)
        self._finish(rename, lazily=lazily)

    def _flush(self, directory: Directory) -> None:
        """Upload what is due in a directory first, because undoing its rename could not restore that."""
        with self._tree.lock:
            waiting = [(node, layer.version) for node in directory.files() if (layer := state.due(node.state))]
        for node, _ in waiting:
            self._uploader.submit(node)
        for node, version in waiting:
            self._uploader.wait(node, version)

    # Beginning

    def _begin(
        self, source: Node, parent: Directory, name: str, target: Node | None, *, reads_on: bool, lazily: bool
    ) -> _Rename:
        """Record the rename, and show it."""
        with self._tree.lock:
            if source.parent is None or parent.container is not source.container:
                raise types.NotFound(source.name)
            moved = [_Moved(node, node.state) for node in _files(source)]
            _check_depth(source, parent, name, moved)
            before = target.state if isinstance(target, FileNode) else None
            rename = _Rename(source, source.parent, source.name, parent, name, target, before, reads_on, moved)
            self._place(rename)
            try:
                with self._journal.transaction() as tx:
                    for each in moved:
                        self._move(tx, rename, each, keeps_old=not lazily)
                    if lazily:
                        self._bury_replaced(tx, rename)
            except types.FsError:
                self._put_back(rename)
                for each in moved:
                    self._tree.change(each.node, transitions.undone, each.before)
                    _unseal(each.node)
                if isinstance(target, FileNode) and before is not None:
                    self._tree.change(target, transitions.undone, before)
                raise
            for each in moved:
                if isinstance(each.before, Local) and each.added:
                    each.before.data.promise()
            return rename

    def _place(self, rename: _Rename) -> None:
        if isinstance(rename.target, FileNode):
            self._tree.detach(rename.target)
        elif isinstance(rename.target, Directory):
            self._tree.remove_directory(rename.target)
        self._tree.move(rename.source, rename.parent, rename.name)

    def _move(self, tx: Transaction, rename: _Rename, moved: _Moved, *, keeps_old: bool) -> None:
        """Make the journal and the state of one file follow it to its new path."""
        node = moved.node
        stale = _replaced_ids(rename)
        if isinstance(node.state, Local):
            if node is rename.source and not self._names.is_scratch(node.name):
                self._publish(tx, moved, stale, keeps_old=keeps_old)
            return
        copy = self._follow(tx, node, stale, keeps_old=keeps_old)
        layer = state.due(node.state) or state.uploading(node.state)
        moved.version, moved.added = None if layer is None else layer.version, copy is not None

    def _follow(self, tx: Transaction, node: FileNode, stale: frozenset[str], *, keeps_old: bool) -> Version | None:
        """Send what is due of a file to its new path. Returns the version that was made if nothing was due."""
        remote, copy = state.base(node.state).remote, None
        if remote is not None and state.due(node.state) is None and state.uploading(node.state) is None:
            copy = Version(remote, self._put(tx, node, remote, stale), keeps_old)
        self._tree.change(node, transitions.named, stale, copy, keeps_old=keeps_old)
        for entry in reversed(state.entries(node.state)):
            tx.move(entry, node.stored_path, state.remote_ids(node.state))
        return copy

    def _put(self, tx: Transaction, node: FileNode, content: RemoteFile | StagedFile, stale: frozenset[str]) -> int:
        entry = entry_of(node, content)
        return tx.put(replace(entry, replaces=entry.replaces | stale))

    def _publish(self, tx: Transaction, moved: _Moved, stale: frozenset[str], *, keeps_old: bool) -> None:
        """Handle a scratch file that gets an ordinary name."""
        assert isinstance(moved.node.state, Local)
        data = moved.node.state.data
        version = Version(data, self._put(tx, moved.node, data, stale), keeps_old)
        data.sealed = True
        self._tree.change(moved.node, transitions.published, version, stale)
        moved.version, moved.added = version, True

    # Ending

    def _wait(self, rename: _Rename) -> None:
        """Wait until every file has its new name on the service. If one cannot get it, undo everything.

        If an answer is lost or does not come, the service may have the file under the new name, and may have removed
        what had that name. So that is not undone: the upload goes on in the background.
        """
        try:
            for moved in rename.moved:
                if moved.version is not None:
                    self._wait_for(moved.node, moved.version)
        except BaseException:
            self._undo(rename)
            raise

    def _wait_for(self, node: FileNode, version: Version) -> None:
        try:
            self._uploader.wait(node, version)
        except types.AnswerLost:  # logged, and tried again
            pass
        except types.Unreachable:
            if version.outcome.done():
                raise

    def _finish(self, rename: _Rename, *, lazily: bool) -> None:
        """Remove what was replaced."""
        replaced: set[str] = set()
        container_id = rename.parent.container.remote.id
        if not lazily:
            with self._tree.lock, self._journal.transaction() as tx:
                for moved in rename.moved:
                    replaced |= self._release(tx, moved, container_id)
                self._bury_replaced(tx, rename)
        self._keep_emptied(rename.old_parent)
        self._settlement.take_up()
        self._deletions.carry_out(container_id, replaced)

    def _release(self, tx: Transaction, moved: _Moved, container_id: str) -> frozenset[str]:
        """Give up the old name of a file. Returns the files of the service to delete."""
        bottom = state.base(moved.node.state)
        self._tree.change(moved.node, transitions.released)
        if bottom.entry is None:
            return frozenset()
        tx.drop(bottom.entry)
        tx.delete_later(container_id, bottom.stale)
        return bottom.stale

    def _bury_replaced(self, tx: Transaction, rename: _Rename) -> None:
        """Drop what is due of the file that had the new name."""
        if isinstance(rename.target, FileNode):
            self._removals.bury(tx, rename.target, rename.parent.container.remote.id, reads_on=rename.reads_on)

    def _undo(self, rename: _Rename) -> None:
        """Undo the rename: delete what was stored under new names."""
        container_id = rename.parent.container.remote.id
        with self._tree.lock:
            self._put_back(rename)
            with self._journal.transaction() as tx:
                unwanted = {file.id for moved in rename.moved if (file := self._unmove(tx, moved)) is not None}
                tx.delete_later(container_id, unwanted)
            self._tree.hide_ids(container_id, unwanted)
            self._tree.show_ids(container_id, set().union(*(state.remote_ids(m.node.state) for m in rename.moved)))
        self._move_kept(rename.source, _path(rename.parent, rename.name))
        self._settlement.take_up()
        self._deletions.carry_out(container_id, unwanted)
        for moved in rename.moved:
            if isinstance(moved.before, Local) and moved.before.data not in state.owned_data(moved.node.state):
                self._journal.discard(moved.before.data)  # written to since
        for node in [*(moved.node for moved in rename.moved), rename.target]:
            if isinstance(node, FileNode) and state.due(node.state) is not None:
                self._uploader.submit(node)
        if isinstance(rename.target, FileNode) and not rename.target.opens:
            with suppress(types.FsError):  # listed as failed
                self._commits.let_go(rename.target)  # it may have been closed in the meantime

    def _put_back(self, rename: _Rename) -> None:
        self._tree.move(rename.source, rename.old_parent, rename.old_name)
        if isinstance(rename.target, FileNode):
            self._tree.attach(rename.target, rename.parent, rename.name)
        elif rename.target is not None:
            rename.parent.add(rename.target, rename.name)

    def _unmove(self, tx: Transaction, moved: _Moved) -> RemoteFile | None:
        """Restore the old state of a file, except for what was written since. Returns what the rename stored of it, to
        be deleted."""
        node, version = moved.node, moved.version if moved.added else None
        if isinstance(node.state, Local | Unlinked):
            return None
        now, before = state.base(node.state), state.base(moved.before)
        by_rename = version is not None and version.entry in (now.entry, *state.entries(node.state))
        if now.remote != before.remote and not by_rename:  # closed in the meantime, and only stored under the new name
            self._release(tx, moved, node.container.remote.id)
            self._follow(tx, node, frozenset(), keeps_old=False)
            return None
        if isinstance(moved.before, Local):
            self._unpublish(tx, node)
        self._tree.change(node, transitions.unnamed, moved.before, version)
        _unseal(node)
        if version is not None and version.entry is not None:
            tx.drop(version.entry)
        for entry in reversed(state.entries(node.state)):
            tx.move(entry, node.stored_path, state.remote_ids(node.state))
        return now.remote if now.remote != before.remote else None

    def _unpublish(self, tx: Transaction, node: FileNode) -> None:
        """Make a file scratch again. What is due of it will not be uploaded."""
        self._uploader.forget(node)
        for entry in state.entries(node.state):
            tx.drop(entry)

    def _keep_emptied(self, directory: Directory) -> None:
        """Keep an emptied directory here, across mounts, because the service has no directories without files."""
        with self._tree.lock:
            if directory.children or isinstance(directory, ContainerDirectory) or directory.parent is None:
                return
            container, key, kept = directory.container, directory_key(directory.path), directory.attributes()
            container.kept_attributes[key] = kept
        self._attributes.save(container.remote.id, key, kept)
        self._updates.set(container.remote.id, key, kept)

    def _move_kept(self, source: Node, old: str) -> None:
        """Move what is kept of the directories below a directory from its old path."""
        if not isinstance(source, Directory):
            return
        container = source.container
        with self._tree.lock:
            source.kept = True
            directories = [source, *(node for node in source.below() if isinstance(node, Directory))]
            keys = {
                directory_key(old + each.path.removeprefix(source.path)): directory_key(each.path)
                for each in directories
            }
            gone = [path for key in keys if (path := directory_path(key)) in container.directories]
            moved = {
                directory_key(each.path): each.attributes()
                for key, each in zip(keys, directories, strict=True)
                if each is source or key in container.kept_attributes or directory_path(key) in gone
            }
            for key in keys:
                container.kept_attributes.pop(key, None)
            container.kept_attributes.update(moved)
        for key, kept in moved.items():
            self._attributes.save(container.remote.id, key, kept)
            self._updates.set(container.remote.id, key, kept)
        self._attributes.forget(container.remote.id, keys.keys() - moved.keys())
        for key in keys.keys() - moved.keys():  # the kernel was told, or will be
            if path := directory_path(key):
                self._updates.removed(container, path)


def _unseal(node: FileNode) -> None:
    """Let scratch that keeps its name be written to again."""
    with node.lock:
        if isinstance(node.state, Local):
            node.state.data.sealed = False
            node.state.data.rest()  # a descriptor that was opened for reading in the meantime cannot be written to


def _check(source: Node, parent: Directory, target: Node | None) -> None:
    if isinstance(source, ContainerDirectory) or source.container is not _container_of(parent):
        raise types.CrossDevice("the API cannot move files between containers")
    if isinstance(target, Directory):
        if isinstance(source, FileNode):
            raise types.IsADirectory(target.name)
        if target.children:
            raise types.DirectoryNotEmpty(target.name)
    elif target is not None and isinstance(source, Directory):
        raise types.NotADirectory(target.name)


def _check_depth(source: Node, parent: Directory, name: str, moved: list[_Moved]) -> None:
    """Raise NameTooLong if a file's new path would be longer than services accept."""
    for each in moved:
        check_path(_path(parent, name) + each.node.stored_path.removeprefix(source.path))


def _path(parent: Directory, name: str) -> str:
    return "/".join(filter(None, [parent.path, name]))


def _container_of(directory: Directory) -> ContainerDirectory | None:
    return None if directory.parent is None else directory.container


def _published(rename: _Rename) -> dict[int, StagedFile]:
    """Return the contents that were scratch, whose closing promised nothing."""
    versions = [moved.version for moved in rename.moved if isinstance(moved.before, Local)]
    return {
        version.entry: version.content
        for version in versions
        if version is not None and version.entry is not None and isinstance(version.content, StagedFile)
    }


def _files(source: Node) -> list[FileNode]:
    """Return the files that a rename moves."""
    found = source.files() if isinstance(source, Directory) else [source]
    return [node for node in found if isinstance(node, FileNode)]


def _replaced_ids(rename: _Rename) -> frozenset[str]:
    if rename.reads_on or not isinstance(rename.target, FileNode):
        return frozenset()
    return state.remote_ids(rename.target.state)
