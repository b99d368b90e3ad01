"""A tree with one container, for tests of names: what is listed is shown, and what is shown is whole."""

from containerfs.fs.namespace.application import FileListing, apply_files
from containerfs.fs.namespace.attributes import Attributes
from containerfs.fs.namespace.nodes import ContainerDirectory, Directory, FileNode
from containerfs.fs.namespace.tree import Tree
from containerfs.fs.types import RemoteContainer, RemoteFile

LATER = 1e12
"""A monotonic time after all that a test does."""


def new_container(tree: Tree, name: str = "box", container_id: str = "cntr_1", created: int = 0) -> ContainerDirectory:
    return tree.add_container(RemoteContainer(container_id, name, created))


def file(path: str, file_id: str | None = None, size: int | None = 1, created: int = 0) -> RemoteFile:
    return RemoteFile(file_id or f"id-{path}", "cntr_1", path, size, created)


def show(
    tree: Tree,
    directory: ContainerDirectory,
    *files: RemoteFile,
    started: float = LATER,
    kept: dict[str, Attributes] | None = None,
) -> None:
    apply_files(tree, directory, FileListing(started, list(files), kept or {}))


def shown(directory: Directory) -> dict[str, str]:
    """Path -> file id, of all files below; checks that the tree is whole."""
    found = {}
    for name, child in directory.children.items():
        assert child.name == name
        assert child.parent is directory
        assert name not in ("", ".", "..")
        assert "/" not in name
        assert len(name.encode()) <= 255
        if isinstance(child, FileNode):
            assert child.remote is not None
            found[child.path] = child.remote.id
        elif isinstance(child, Directory):
            found.update(shown(child))
    return found


def node_at(tree: Tree, path: str) -> FileNode:
    node = tree.find_in(tree.root, f"box/{path}")
    assert isinstance(node, FileNode)
    return node
