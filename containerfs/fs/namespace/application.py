"""Applies listings to the tree: shows what the service has, except where this mount knows better.

A listing never touches a file that is open or was written here. What it says about such a file is a transition of the
file's state, which takes effect once the file is closed. Changes that were made here after a listing was requested are
not undone by it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from containerfs.fs import state, transitions
from containerfs.fs.namespace.attributes import Attributes, directory_key, shown_attributes
from containerfs.fs.namespace.nodes import ContainerDirectory, Directory, FileNode, Link, inode, nanoseconds
from containerfs.fs.namespace.shown import Shown, free_name, shown_paths
from containerfs.fs.namespace.tree import Tree
from containerfs.fs.types import RemoteContainer, RemoteFile


@dataclass
class FileListing:
    """A listing of a container's files, and what is kept for them on this machine.

    Attributes:
        started: monotonic time of the request.
        files: the files, newest first.
        kept: their attributes, by key.
        keeps_directories: whether the service keeps directories without files, so that unlisted ones are gone.
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
    """Apply a listing of containers to the tree.

    Args:
        listed: the containers, newest first.
        started: monotonic time of the request.
        kept: the attributes that were set here for the containers themselves, by id.
        held: unlisted containers of which this machine holds content.
    """
    oldest_first = list(reversed(listed))
    oldest_first.sort(key=lambda remote: remote.created_at)  # a stable sort, because many have the same second
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
    elif known.changed_at < started:  # renamed elsewhere
        known.remote = remote
        if not known.gone:
            tree.root.remove(known)


def apply_files(tree: Tree, container: ContainerDirectory, listing: FileListing) -> None:
    """Apply a listing of a container's files to the tree."""
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
            tree.remove_with_empty_parents(node)  # another node may get its place before it gets its new one
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
    """Replace listed values by equal known ones, because a million of them take a third of a GB."""
    for place, remote in enumerate(files):
        node = container.by_id.get(remote.id)
        known = None if node is None else node.remote
        if known is not None and known == remote and known.attributes == remote.attributes:
            files[place] = known


def _drop_absent(tree: Tree, container: ContainerDirectory, shown: Mapping[str, Shown], started: float) -> None:
    """Remove files that are not in a listing, unless they are newer than the listing, or something replaced them."""
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
    """Let a node stand for a listed file, at its place, unless this mount knows better."""
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
        return  # a file made here has the name; both are shown once that file is on the service
    if isinstance(there, Link) and there is not node and not there.local:
        tree.drop_link(there)
    elif isinstance(there, FileNode) and there is not node:
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
    """Return the directories that the service keeps, by path, except those that were changed here since the request."""
    found = {remote.path[:-1]: remote for remote in reversed(listed) if remote.is_directory}
    for path, known in container.directories.items():
        there = tree.find_in(container, path)
        if path not in found and there is not None and there.changed_at > started:
            found[path] = known
    return found


def _drop_directories(tree: Tree, container: ContainerDirectory, started: float) -> None:
    """Remove directories without files that the service no longer keeps, unless something of them is to be sent."""
    for node in [node for node in container.below() if isinstance(node, Directory) and not node.children]:
        is_kept = node.path in container.directories or directory_key(node.path) in container.kept_attributes
        if not is_kept and node.changed_at < started:
            node.kept = False
            tree.remove_with_empty_parents(node)


def _apply_directories(tree: Tree, container: ContainerDirectory) -> None:
    """Show the directories that the service or this machine keeps, and apply what was set for the others."""
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
