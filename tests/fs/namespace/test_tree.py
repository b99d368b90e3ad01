"""Names: whatever a service lists, each file has a name of its own, and what this mount knows better stays."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from containerfs.api.paths import relative_path
from containerfs.fs.namespace.attributes import Attributes, directory_key, file_key
from containerfs.fs.tree import ContainerDirectory, Directory, FileListing, FileNode, Tree
from containerfs.fs.types import RemoteContainer, RemoteFile

LATER = 1e12  # monotonic time after all that a test does


def new_container(tree: Tree, name: str = "box", container_id: str = "cntr_1", created: int = 0) -> ContainerDirectory:
    return tree.add_container(RemoteContainer(container_id, name, created))


def file(path: str, file_id: str | None = None, size: int | None = 1, created: int = 0) -> RemoteFile:
    return RemoteFile(file_id or f"id-{path}", "cntr_1", path, size, created)


def show(
    tree: Tree, container: ContainerDirectory, *files: RemoteFile, started: float = LATER, **kept: Attributes
) -> None:
    tree.apply_files(container, FileListing(started, list(files), kept))


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


@pytest.fixture
def tree() -> Tree:
    return Tree()


@pytest.fixture
def container(tree: Tree) -> ContainerDirectory:
    return new_container(tree)


def node_at(tree: Tree, path: str) -> FileNode:
    node = tree.find(f"box/{path}")
    assert isinstance(node, FileNode)
    return node


def test_paths_make_directories(tree: Tree, container: ContainerDirectory) -> None:
    show(tree, container, file("a/b/c"), file("a/d"), file("e"))
    assert set(shown(container)) == {"a/b/c", "a/d", "e"}
    show(tree, container, file("e"))
    assert list(container.children) == ["e"]


def test_of_one_path_the_newest_has_it(tree: Tree, container: ContainerDirectory) -> None:
    show(tree, container, file("a", "new"), file("a", "old"), file("a", "older"))
    assert shown(container) == {"a": "new", "a (old)": "old", "a (older)": "older"}


def test_a_file_steps_aside_for_a_directory_and_stays_aside(tree: Tree, container: ContainerDirectory) -> None:
    for listing in ([file("a"), file("a/b")], [file("a/b"), file("a")]):
        for _ in range(2):
            show(tree, container, *listing)
            assert shown(container) == {"a (id-a)": "id-a", "a/b": "id-a/b"}


def test_names_too_long_for_linux_are_cut_and_stay_apart(tree: Tree, container: ContainerDirectory) -> None:
    long = "é" * 200
    show(tree, container, file(f"{long}1", "1"), file(f"{long}2", "2"), file(f"{long}/{long}", "3"))
    assert sorted(shown(container).values()) == ["1", "2", "3"]
    before = shown(container)
    show(tree, container, file(f"{long}2", "2"), file(f"{long}/{long}", "3"), file(f"{long}1", "1"))
    assert shown(container) == before


def test_a_name_with_an_id_that_is_taken_gets_the_id_twice(tree: Tree, container: ContainerDirectory) -> None:
    listed = [file("a (old)", "other"), file("a", "new"), file("a", "old"), file("d", "d"), file("d/x"), file("d (d)")]
    expected = {"a": "new", "a (old)": "other", "a (old) (old)": "old"}
    for _ in range(2):
        show(tree, container, *listed)
        assert {path: file_id for path, file_id in shown(container).items() if path.startswith("a")} == expected
        assert sorted(shown(container).values()) == sorted(each.id for each in listed)


def test_a_directory_that_becomes_a_file_and_a_file_that_becomes_a_directory(
    tree: Tree, container: ContainerDirectory
) -> None:
    show(tree, container, file("d/a", "1"), file("f", "2"))
    show(tree, container, file("d", "3"), file("f/a", "4"), file("f", "5"))
    assert shown(container) == {"d": "3", "f/a": "4", "f (5)": "5"}


segments = st.sampled_from(["a", "b", "a (1)", "a (2)", "b (1)", "é" * 130, "a (1) (1)"])
paths = st.lists(segments, min_size=1, max_size=3).map("/".join).map(relative_path)
listings = st.lists(st.tuples(st.sampled_from("12345"), paths), max_size=8, unique_by=lambda item: item[0])


@given(st.lists(listings, min_size=1, max_size=4))
def test_every_listed_file_is_shown_once_whatever_the_names(history: list[list[tuple[str, str]]]) -> None:
    tree = Tree()
    container = new_container(tree)
    for listing in history:
        show(tree, container, *(file(path, file_id) for file_id, path in listing))
        assert sorted(shown(container).values()) == sorted(file_id for file_id, _ in listing)
        assert {file_id: node.path for file_id, node in container.by_id.items()} == {
            file_id: path for path, file_id in shown(container).items()
        }


@given(st.lists(listings, min_size=1, max_size=3))
def test_a_listing_that_comes_again_moves_nothing(history: list[list[tuple[str, str]]]) -> None:
    tree = Tree()
    container = new_container(tree)
    for listing in history:
        show(tree, container, *(file(path, file_id) for file_id, path in listing))
        before = shown(container)
        show(tree, container, *(file(path, file_id) for file_id, path in listing))
        assert shown(container) == before


@given(st.lists(st.tuples(st.text(max_size=5) | st.sampled_from(["x", "..", "a/b", "é" * 200])), max_size=8))
def test_every_container_has_a_name_of_its_own(names: list[tuple[str]]) -> None:
    tree = Tree()
    listed = [RemoteContainer(f"cntr_{number}", name, number) for number, (name,) in enumerate(names)]
    tree.apply_containers(listed[::-1], LATER)
    before = {container.remote.id: container.name for container in tree.containers()}
    assert len(tree.root.children) == len(names)
    for name in tree.root.children:
        assert name not in ("", ".", "..")
        assert "/" not in name
        assert len(name.encode()) <= 255
    tree.apply_containers(listed, LATER)
    assert {container.remote.id: container.name for container in tree.containers()} == before


def test_the_oldest_of_two_containers_keeps_the_name(tree: Tree) -> None:
    listed = [RemoteContainer("2", "x", 2), RemoteContainer("1", "x", 1)]
    tree.apply_containers(listed, LATER)
    assert {name: child.remote.id for name, child in tree.root.children.items()} == {"x": "1", "x (2)": "2"}  # type: ignore[attr-defined]
    tree.apply_containers(listed[:1], LATER)
    assert list(tree.root.children) == ["x (2)"], "a container keeps its name while it lives"


def test_what_is_open_stays_as_it_is_until_it_is_closed(tree: Tree, container: ContainerDirectory) -> None:
    show(tree, container, file("a", "1"), file("b", "2"))
    a, b = node_at(tree, "a"), node_at(tree, "b")
    a.opens = b.opens = 1
    show(tree, container, file("a", "3"))
    assert shown(container) == {"a": "1", "b": "2"}
    a.opens = b.opens = 0
    tree.settle(a)
    tree.settle(b)
    assert shown(container) == {"a": "3"}
    assert a is node_at(tree, "a")


def test_what_comes_back_while_it_is_open_stays(tree: Tree, container: ContainerDirectory) -> None:
    show(tree, container, file("a", "1"))
    node = node_at(tree, "a")
    node.opens = 1
    show(tree, container)
    show(tree, container, file("a", "1"))
    node.opens = 0
    tree.settle(node)
    assert shown(container) == {"a": "1"}


def test_a_listing_from_before_a_change_says_nothing_about_it(tree: Tree, container: ContainerDirectory) -> None:
    show(tree, container, file("a", "1"))
    node = node_at(tree, "a")
    node.touch()
    show(tree, container, started=node.changed_at - 1)
    assert shown(container) == {"a": "1"}
    show(tree, container, started=node.changed_at + 1)
    assert shown(container) == {}


def test_what_is_withheld_is_shown_by_no_listing(tree: Tree, container: ContainerDirectory) -> None:
    show(tree, container, file("a", "1"))
    container.withhold(["1"])
    show(tree, container, file("a", "1"), file("a", "2"))
    assert shown(container) == {"a": "2"}


def test_an_overwritten_file_is_the_same_node_with_new_content(tree: Tree, container: ContainerDirectory) -> None:
    show(tree, container, file("a", "1", created=5))
    before = node_at(tree, "a")
    show(tree, container, file("a", "2", created=9))
    assert node_at(tree, "a") is before
    assert (before.remote and before.remote.id, before.mtime) == ("2", 9_000_000_000)


def test_a_file_that_was_renamed_elsewhere_moves(tree: Tree, container: ContainerDirectory) -> None:
    show(tree, container, file("d/a", "1"))
    ino = node_at(tree, "d/a").ino
    show(tree, container, file("e/b", "1"))
    assert shown(container) == {"e/b": "1"}
    assert list(container.children) == ["e"]
    assert node_at(tree, "e/b").ino == ino


def test_sizes_are_learned_from_listings_and_from_what_is_kept(tree: Tree, container: ContainerDirectory) -> None:
    show(tree, container, file("a", "1", size=None), file("b", "2", size=None), **{file_key("2"): Attributes(size=7)})
    assert [node_at(tree, name).known_size for name in "ab"] == [None, 7]
    show(tree, container, file("a", "1", size=5), file("b", "2", size=None))
    assert [node_at(tree, name).known_size for name in "ab"] == [5, 7]


def test_what_was_set_here_is_shown(tree: Tree, container: ContainerDirectory) -> None:
    kept = {
        file_key("1"): Attributes(mode=0o600, uid=5, gid=6, atime=1, mtime=2, path="asked/for"),
        directory_key("empty/inside"): Attributes(mode=0o700),
    }
    show(tree, container, file("hash-for", "1"), **kept)
    attr = node_at(tree, "asked/for").attr(3)
    assert (attr.mode & 0o777, attr.uid, attr.gid, attr.atime, attr.mtime, attr.size) == (0o600, 5, 6, 1, 2, 3)
    inside = tree.find("box/empty/inside")
    assert isinstance(inside, Directory)
    assert inside.attr().mode & 0o777 == 0o700
    assert inside.attributes().mode == 0o700


def test_directories_that_are_kept_stay_while_they_are_empty(tree: Tree, container: ContainerDirectory) -> None:
    show(tree, container, file("d/a"), **{directory_key("d"): Attributes()})
    show(tree, container, **{directory_key("d"): Attributes()})
    assert list(container.children) == ["d"]


def test_a_container_that_expires_goes_unless_somebody_reads_in_it(tree: Tree, container: ContainerDirectory) -> None:
    show(tree, container, file("a", "1"))
    node = node_at(tree, "a")
    node.opens = 1
    tree.apply_containers([], LATER)
    assert container.gone
    assert tree.find("box/a") is node
    node.opens = 0
    tree.settle(node)
    assert tree.root.children == {}
    assert tree.containers() == []


def test_a_container_that_was_made_after_the_listing_was_begun_stays(tree: Tree, container: ContainerDirectory) -> None:
    container.touch()
    tree.apply_containers([], container.changed_at - 1)
    assert list(tree.root.children) == ["box"]


def test_unlisted_containers_are_found_by_id_only(tree: Tree) -> None:
    container = tree.add_container(RemoteContainer("cntr_1", "box", 0), listed=False)
    assert tree.root.children == {}
    assert tree.container("cntr_1") is container
    assert container.path == ""
    tree.add_container(RemoteContainer("cntr_1", "box", 0))
    assert list(tree.root.children) == ["box"]
