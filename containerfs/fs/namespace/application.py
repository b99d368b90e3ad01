"""Listings applied to the tree: what the service says, except where this mount knows better.

A listing never touches a file that is open or written here. What it says about such a file is a transition of its
state, and takes effect once the file is closed. Changes made here after a listing was started are not undone by it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from containerfs.fs import state, transitions
from containerfs.fs.namespace.attributes import Attributes, directory_key, shown_attributes
from containerfs.fs.namespace.nodes import ContainerDirectory, Directory, FileNode, inode, nanoseconds
from containerfs.fs.namespace.shown import Shown, free_name, shown_paths
from containerfs.fs.namespace.tree import Tree
from containerfs.fs.types import RemoteContainer, RemoteFile


@dataclass
class FileListing:
    """One listing of a container's files, and what is kept for them here.

    Attributes:
        started: monotonic time at which it was asked for.
        files: newest first.
        kept: attributes, by key.
        keeps_directories: whether the service keeps directories without files, so that what it does not list is gone.
    """

    started: float
    files: list[RemoteFile]
    kept: dict[str, Attributes] = field(default_factory=dict)
    keeps_directories: bool = False


def apply_containers(
    tree: Tree,
    listed: Sequence[RemoteContainer],
    started: float,
    kept: Mapping[str, Attributes] = MappingProxyType({}),
    held: Sequence[RemoteContainer] = (),
) -> None:
    """Take over a listing of containers, newest first, that was asked for at ``started``.

    Args:
        kept: what was set here for the containers themselves, by id.
        held: those that are not listed and of which this machine holds content.
    """
    oldest_first = list(reversed(listed))
    oldest_first.sort(key=lambda remote: remote.created_at)  # stable: many are of one second
    seen = {remote.id for remote in oldest_first}
    held_ids = {remote.id for remote in held}
    for directory in tree.containers():
        if directory.remote.id not in seen and directory.changed_at < started:
            tree.expire(directory, held=directory.remote.id in held_ids)
    for remote in held:
        if tree.container(remote.id) is None:
            tree.expire(tree.add_container(remote, listed=False), held=True)
    for remote in oldest_first:
        known = tree.container(remote.id)
        if known is not None:
            _take_over(tree, known, remote, started)
        directory = tree.add_container(remote)
        if remote.id in kept and directory.changed_at < started:
            directory.apply(kept[remote.id])


def _take_over(tree: Tree, known: ContainerDirectory, remote: RemoteContainer, started: float) -> None:
    if known.remote.name == remote.name:
        known.remote = remote
    elif known.changed_at < started:  # it was renamed elsewhere
        known.remote = remote
        if not known.gone:
            tree.root.remove(known)


def apply_files(tree: Tree, container: ContainerDirectory, listing: FileListing) -> None:
    """Take over a listing of a container's files."""
    container.kept_attributes = listing.kept
    _share_known(container, listing.files)
    replaced = tree.replaced(container)
    there = [
        remote
        for remote in listing.files
        if remote.id not in replaced and tree.is_shown(container, remote, listing.started)
    ]
    container.directories = _kept_directories(tree, container, there, listing.started)
    files = [remote for remote in there if not remote.is_directory]
    shown = shown_paths(files, listing.kept, container.directories)
    _drop_absent(tree, container, shown, listing.started)
    for file_id, place in shown.items():
        node = container.by_id.get(file_id)
        if node is not None and not node.local and not place.is_at(node):
            tree.remove_with_empty_parents(node)  # its place may be another's before it gets the new one
            if type(node) is not place.kind:
                del container.by_id[file_id]
    for file_id, place in shown.items():
        _show(tree, container, place)
        tree.apply_kept(container, file_id)
    _apply_directories(tree, container)
    if listing.keeps_directories:
        _drop_directories(tree, container, listing.started)
    container.pages = max(1, -(-len(listing.files) // 100))
    tree.forget_deleted(container.remote.id, listing.started)


def _share_known(container: ContainerDirectory, files: list[RemoteFile]) -> None:
    """Replace listed values by known ones that are equal: a million of them take a third of a GB."""
    for place, remote in enumerate(files):
        node = container.by_id.get(remote.id)
        known = None if node is None else node.remote
        if known is not None and known == remote and known.attributes == remote.attributes:
            files[place] = known


def _drop_absent(tree: Tree, container: ContainerDirectory, shown: Mapping[str, Shown], started: float) -> None:
    """Remove what a listing does not have, unless it came after the listing was started, or something replaced it."""
    places = {(place.path, place.kind) for place in shown.values()}
    for file_id in container.by_id.keys() - shown.keys():
        node = container.by_id[file_id]
        if (node.path, type(node)) in places or node.changed_at > started:
            continue
        if tree.is_being_deleted(container.remote.id, file_id):
            continue
        if node.local:
            tree.change(node, transitions.left_out)
        else:
            del container.by_id[file_id]
            tree.remove_with_empty_parents(node)


def _show(tree: Tree, container: ContainerDirectory, place: Shown) -> None:
    """Have a node stand for what is listed, at its place, unless this mount knows better."""
    path, kind, remote = place
    node = container.by_id.get(remote.id)
    if node is not None:
        known = node.remote
        if isinstance(node.state, state.Outdated) or (known is not None and known.size is None):
            tree.change(node, transitions.listed, remote, held=node.opens > 0)
        elif known is not None and known.attributes != remote.attributes:
            tree.change(node, transitions.listed, replace(known, attributes=remote.attributes), held=node.opens > 0)
        if node.local or place.is_at(node):
            return
    parent_path, _, name = path.rpartition("/")
    parent = tree.make_directory(container, parent_path)
    there = parent.children.get(name)
    if isinstance(there, FileNode) and type(there) is not kind:
        return  # what was made here has the name; it is known once that is on the service what both are
    if isinstance(there, FileNode) and there is not node:
        tree.change(there, transitions.listed, remote, held=there.opens > 0)
        if not there.local:
            there.atime = there.mtime = there.ctime = nanoseconds(remote.created_at)
        return
    if isinstance(there, Directory):
        name = free_name(parent, name, remote.id)
    if node is None:
        node = kind(name, inode(remote.id), nanoseconds(remote.created_at), state.Stored(remote))
    container.by_id[remote.id] = node
    parent.add(node, name)


def _kept_directories(
    tree: Tree, container: ContainerDirectory, listed: Sequence[RemoteFile], started: float
) -> dict[str, RemoteFile]:
    """The directories that the service keeps, by path. A listing says nothing of those that were changed here since."""
    found = {remote.path[:-1]: remote for remote in reversed(listed) if remote.is_directory}
    for path, known in container.directories.items():
        there = tree.find_in(container, path)
        if path not in found and there is not None and there.changed_at > started:
            found[path] = known
    return found


def _drop_directories(tree: Tree, container: ContainerDirectory, started: float) -> None:
    """Directories without files are gone once the service does not keep them, and nothing of them is to be sent."""
    for node in [node for node in container.below() if isinstance(node, Directory) and not node.children]:
        is_kept = node.path in container.directories or directory_key(node.path) in container.kept_attributes
        if not is_kept and node.changed_at < started:
            node.kept = False
            tree.remove_with_empty_parents(node)


def _apply_directories(tree: Tree, container: ContainerDirectory) -> None:
    """Show the directories that are kept, by the service or here, and what was set for others."""
    for path, remote in container.directories.items():
        directory = tree.make_directory(container, path)
        directory.kept = True
        shown = shown_attributes(container.kept_attributes.get(directory_key(path)), remote.attributes)
        if shown is not None:
            directory.apply(shown)
    prefix = directory_key("")
    for key, kept in container.kept_attributes.items():
        if key.startswith(prefix):
            directory = tree.make_directory(container, key.removeprefix(prefix))
            directory.kept = True
            directory.apply(kept)
