"""The names that a directory will have, whatever else a listing under way brings.

Which of several files has a name depends on all of them, and so does what it is: a file, a link, a directory. That the
name is there does not, as ``shown.certain_name`` says. So names are shown as they arrive, files without what they are.
What this mount knows better, and what only all files together show, is shown when the listing is complete.
"""

from collections.abc import Container, Iterable, Iterator

from containerfs.fs.namespace.nodes import Directory, FileNode, Foreseen, inode
from containerfs.fs.namespace.shown import certain_name
from containerfs.fs.namespace.tree import Tree
from containerfs.fs.types import RemoteFile


def foreseen(
    tree: Tree, directory: Directory, files: Iterable[RemoteFile], replaced: Container[str], started: float
) -> Iterator[tuple[str, Foreseen, Directory | None]]:
    """The names that files give to a directory; with the directories themselves, which have to be held to stay these.

    Wants the tree's lock held.

    Args:
        files: with the paths and sizes that were set here.
        replaced: ids of files that something else stands for here.
        started: monotonic time at which the listing was asked for.

    Raises:
        NotFound: the directory is gone.
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
