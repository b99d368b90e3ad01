"""The names that a directory will certainly have, whatever else an incomplete listing brings.

All files of a listing together decide which of several files gets a name, and what is shown under it: a file, a link or
a directory. But that the name exists is certain as soon as one of them has arrived (``shown.certain_name``). So names
are shown as they arrive, files without their type. What this mount knows better, and what only the complete listing
shows, is shown when the listing is complete.
"""

from collections.abc import Container, Iterable, Iterator

from containerfs.fs.namespace.nodes import Directory, FileNode, Foreseen, inode
from containerfs.fs.namespace.shown import certain_name
from containerfs.fs.namespace.tree import Tree
from containerfs.fs.types import RemoteFile


def foreseen(
    tree: Tree, directory: Directory, files: Iterable[RemoteFile], replaced: Container[str], started: float
) -> Iterator[tuple[str, Foreseen, Directory | None]]:
    """Return the names that files give to a directory, and its directories, which stay the same nodes while they are
    held.

    The tree's lock must be held.

    Args:
        files: with the paths and sizes that were set here.
        replaced: ids of files whose names stand for something else here.
        started: monotonic time of the listing's request.

    Raises:
        NotFound: if the directory is gone.
    """
    container, place = directory.container, directory.path
    for remote in files:
        name, leads_on = certain_name(place, remote)
        known = container.by_id.get(remote.id)
        if not name or remote.id in replaced or (known is not None and known.local):
            continue
        if not tree.is_shown(container, remote, started):
            continue
        if leads_on:
            child = tree.foresee_directory(directory, name)
            yield name, Foreseen(child.ino, child.kind), child
        else:
            there = directory.children.get(name, known)
            ino = there.ino if isinstance(there, FileNode) else inode(remote.id)
            yield name, Foreseen(ino, 0), None
