"""Renames. The API has none: a file gets a new name by being stored again under it, and deleted under the old one.

Where the service can copy under another name, no byte moves; else the content is uploaded from here. As everywhere,
new before old: until the new name is safe on the service, the old one and what it replaces are untouched, and an error
leaves all as it was. What was not uploaded yet is uploaded once, under the name that it ends up with.
"""

import logging

from containerfs.fs import types
from containerfs.fs.attributes import AttributeStore, directory_key
from containerfs.fs.handles import Staging
from containerfs.fs.remote import Remote
from containerfs.fs.scratch import HIDDEN_PREFIX
from containerfs.fs.tree import ContainerDirectory, Directory, FileNode, Node, Tree
from containerfs.fs.writeback import Uploader, stale_ids

log = logging.getLogger(__name__)

_FETCHED_TO_HIDE = 64 << 20  # an open file up to this size is fetched whole before it is deleted on the service


class Moves:
    """Gives nodes other names within a container. Every method raises ``FsError``."""

    def __init__(
        self,
        remote: Remote,
        tree: Tree,
        uploader: Uploader,
        staging: Staging,
        attributes: AttributeStore,
    ) -> None:
        self._remote = remote
        self._tree = tree
        self._uploader = uploader
        self._staging = staging
        self._attributes = attributes

    def rename(self, source: Node, parent: Directory, name: str, target: Node | None, *, lazily: bool) -> None:
        """Move a node to ``name`` in ``parent``, in place of ``target`` if there is one. Source: rename(2).

        Args:
            lazily: return once what is to be uploaded is safe on this machine.

        Raises:
            CrossDevice: the API cannot move this; programs copy instead.
        """
        if source is target:
            return
        self._check(source, parent, target)
        if isinstance(source, Directory):
            self._rename_directory(source, parent, name, target, lazily=lazily)
        elif isinstance(source, FileNode):
            assert target is None or isinstance(target, FileNode)
            try:
                self._rename_file(source, parent, name, target, lazily=lazily)
            except types.FsError:
                self._unhide(parent, name)
                raise

    @staticmethod
    def _check(source: Node, parent: Directory, target: Node | None) -> None:
        if isinstance(source, ContainerDirectory) or source.container is not _container_of(parent):
            raise types.CrossDevice("the API renames no container, and moves nothing between two")
        if isinstance(target, Directory):
            if isinstance(source, FileNode):
                raise types.IsADirectory(target.name)
            if target.children:
                raise types.DirectoryNotEmpty(target.name)
        elif target is not None and isinstance(source, Directory):
            raise types.NotADirectory(target.name)

    def _rename_directory(
        self, source: Directory, parent: Directory, name: str, target: Node | None, *, lazily: bool
    ) -> None:
        """Move what is in a directory, file by file."""
        container = source.container
        with self._tree.lock:
            if target is not None:
                parent.remove(target)
            moved = Directory(name, source.ino, source.ctime)
            moved.mode, moved.mtime, moved.atime, moved.kept = source.mode, source.mtime, source.atime, True
            parent.add(moved, name)
            children = list(source.children.values())
        for child in children:
            self.rename(child, moved, child.name, None, lazily=lazily)
        with self._tree.lock:
            old_key, new_key = directory_key(source.path), directory_key(moved.path)
            if source.parent is not None:
                source.parent.remove(source)
            kept = container.kept_attributes.pop(old_key, moved.attributes())
            container.kept_attributes[new_key] = kept
        self._attributes.save(container.remote.id, new_key, kept)
        self._attributes.forget(container.remote.id, [old_key])

    def _rename_file(
        self, node: FileNode, parent: Directory, name: str, target: FileNode | None, *, lazily: bool
    ) -> None:
        old_parent, old_name = node.parent, node.name
        before = [(each, self._uploader.cancel(each), self._uploader.recorded(each)) for each in (node, target) if each]
        if name.startswith(HIDDEN_PREFIX):
            self._hide(node, parent, name)
            return
        try:
            if node.dirty or node.scratch or not self._copy(node, parent, name, target):
                self._staging.stage(node)
                self._upload_as(node, parent, name, target, lazily=lazily)
        except BaseException:
            if (node.parent, node.name) == (old_parent, old_name):
                for each, due, recorded in before:
                    self._uploader.resume(each, due=due, recorded=recorded)
            raise
        if target is not None:
            self._staging.discard(target)
        if old_parent is not None and not old_parent.children:
            self._keep_emptied(old_parent)

    def _keep_emptied(self, directory: Directory) -> None:
        """The service knows of no directory without files: it is kept here, across mounts."""
        if isinstance(directory, ContainerDirectory):
            return
        with self._tree.lock:
            container, key, kept = directory.container, directory_key(directory.path), directory.attributes()
            container.kept_attributes[key] = kept
        self._attributes.save(container.remote.id, key, kept)

    def _copy(self, node: FileNode, parent: Directory, name: str, target: FileNode | None) -> bool:
        """Let the service copy a file to its new name; False where it cannot."""
        if node.remote is None:
            return False
        directory = parent.path
        copied = self._remote.copy(node.remote, f"{directory}/{name}" if directory else name)
        if copied is None:
            return False
        self._place(node, parent, name, target)
        try:
            self._uploader.stand_for(node, copied)
        except types.FsError:
            self._uploader.submit(node)  # the old name is still to be deleted
            raise
        return True

    def _upload_as(
        self, node: FileNode, parent: Directory, name: str, target: FileNode | None, *, lazily: bool
    ) -> None:
        """Upload what is staged under the new name; if that fails, all is as it was."""
        before = (node.scratch, node.uploaded_version, set(node.replaces))
        old_parent, old_name = node.parent, node.name
        node.scratch, node.uploaded_version = False, None
        self._place(node, parent, name, target)
        try:
            self._uploader.commit(node, lazily=lazily)
        except BaseException:
            if node.uploaded_version is None:
                self._uploader.cancel(node)
                with self._tree.lock:
                    node.scratch, node.uploaded_version, node.replaces = before
                    self._place(node, old_parent or parent, old_name, None)
                    if target is not None:
                        parent.add(target, name)
                        self._tree.set_remote(target, target.remote)
                if not (node.dirty or node.scratch or node.opens):
                    self._staging.discard(node)
            raise

    def _place(self, node: FileNode, parent: Directory, name: str, target: FileNode | None) -> None:
        """Give a node its new place in the tree; the next upload of it also takes the place of the target's files."""
        with self._tree.lock:
            old_parent = node.parent
            if target is not None:
                node.replaces |= stale_ids(target)
                self._tree.detach(target)
            if old_parent is not None:
                old_parent.remove(node)
                old_parent.kept = old_parent.kept or not old_parent.children
                old_parent.touch()
            parent.add(node, name)
            parent.touch()
            node.touch(modified=False)

    def _hide(self, node: FileNode, parent: Directory, name: str) -> None:
        """libfuse gives an open file that is deleted or replaced a name like this, and deletes it when it is closed.

        The service keeps it until then: what is to take its place may yet fail to arrive. Its content is fetched
        now, if that is bearable, since a service may drop it when the other comes.
        """
        if node.remote is not None and (node.remote.size or 0) <= _FETCHED_TO_HIDE:
            self._staging.stage(node)
        node.hidden_from, node.scratch = node.name, True
        self._uploader.resume(node, due=False, recorded=False)  # a crash is not to bring it back
        self._place(node, parent, name, None)

    def _unhide(self, parent: Directory, name: str) -> None:
        """What was to replace an open file did not arrive: the file gets its name back."""
        with self._tree.lock:
            files = [child for child in parent.children.values() if isinstance(child, FileNode)]
            node = next((file for file in files if file.hidden_from == name), None)
            if node is None or name in parent.children:
                return
            node.hidden_from, node.scratch = None, False
            self._place(node, parent, name, None)
        due = node.dirty and not node.writers
        self._uploader.resume(node, due=due, recorded=due)


def _container_of(directory: Directory) -> ContainerDirectory | None:
    return None if directory.parent is None else directory.container
