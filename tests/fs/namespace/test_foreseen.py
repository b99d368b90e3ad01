"""Names that are shown while a listing is under way: all of them are there in the end, whatever it brings."""

from hypothesis import given
from hypothesis import strategies as st

from containerfs.api.paths import relative_path
from containerfs.fs.namespace.foreseen import foreseen
from containerfs.fs.namespace.nodes import ContainerDirectory, Directory
from containerfs.fs.namespace.tree import Tree
from containerfs.fs.types import RemoteFile
from tests.fs.namespace.trees import LATER, file, new_container, show

DIRECTORY = Directory.kind

segments = st.sampled_from(["a", "b", "a (1)", "b (1)", "é" * 130, "a.rclonelink", "b.rclonelink"])
paths = st.lists(segments, min_size=1, max_size=3).map("/".join).map(relative_path)
files = st.builds(file, path=paths, file_id=st.sampled_from("1234567"), size=st.sampled_from([0, 1, None]))
listings = st.lists(files, max_size=8, unique_by=lambda each: each.id)


def names(tree: Tree, directory: Directory, arrived: list[RemoteFile]) -> dict[str, int]:
    """The kinds of what is foreseen in a directory, by name."""
    return {name: known.kind for name, known, _ in foreseen(tree, directory, arrived, (), LATER)}


@given(listings, st.lists(listings, max_size=2), st.data())
def test_what_is_foreseen_is_there_in_the_end_and_is_what_it_was(
    listing: list[RemoteFile], before: list[list[RemoteFile]], data: st.DataObject
) -> None:
    tree = Tree()
    container = new_container(tree)
    for earlier in before:
        show(tree, container, *earlier)
    arrived = [each for each in listing if data.draw(st.booleans())]
    early = list(foreseen(tree, container, arrived, (), LATER))
    show(tree, container, *listing)
    for name, known, _ in early:
        assert name in container.children
        if known.kind:
            there = container.children[name]
            assert (there.kind, there.ino) == (known.kind, known.ino)


@given(listings)
def test_all_names_but_those_that_are_made_distinct_are_foreseen(listing: list[RemoteFile]) -> None:
    tree = Tree()
    container = new_container(tree)
    early = names(tree, container, listing)
    show(tree, container, *listing)
    late = container.children.keys() - early.keys()
    assert all("(" in name or name.endswith(".rclonelink") for name in late)


def test_what_is_in_a_directory_is_foreseen_there(tree: Tree, directory: ContainerDirectory) -> None:
    show(tree, directory, file("d/a"))
    below = directory.children["d"]
    assert isinstance(below, Directory)
    arrived = [file("d/b"), file("d/e/f"), file("dd/g"), file("h")]
    assert names(tree, below, arrived) == {"b": 0, "e": DIRECTORY}
    assert names(tree, directory, arrived) == {"d": DIRECTORY, "dd": DIRECTORY, "h": 0}


def test_inode_numbers_are_those_that_stay(tree: Tree, directory: ContainerDirectory) -> None:
    show(tree, directory, file("replaced", "old"), file("kept"))
    listing = [file("replaced", "new"), file("kept"), file("other"), file("d/e")]
    early = list(foreseen(tree, directory, listing, (), LATER))
    show(tree, directory, *listing)
    assert {name: known.ino for name, known, _ in early} == {
        name: node.ino for name, node in directory.children.items()
    }


def test_what_is_deleted_here_or_stands_for_something_else_is_not_foreseen(
    tree: Tree, directory: ContainerDirectory
) -> None:
    tree.hide_ids("cntr_1", ["id-deleted"])
    arrived = [file("deleted"), file("replaced"), file("there")]
    assert [name for name, _, _ in foreseen(tree, directory, arrived, {"id-replaced"}, LATER)] == ["there"]


def test_a_directory_that_nobody_holds_is_not_kept(tree: Tree, directory: ContainerDirectory) -> None:
    names(tree, directory, [file("d/e")])
    show(tree, directory, file("f"))
    assert list(directory.children) == ["f"]
