"""Listings applied to the tree: what the service says is shown, and what this mount knows better stays."""

from containerfs.fs.namespace.application import FileListing, apply_containers, apply_files
from containerfs.fs.namespace.attributes import Attributes, directory_key, file_key
from containerfs.fs.namespace.nodes import ContainerDirectory, Directory
from containerfs.fs.namespace.tree import Tree
from tests.fs.namespace.trees import LATER, file, node_at, show, shown


def test_paths_make_directories(tree: Tree, directory: ContainerDirectory) -> None:
    show(tree, directory, file("a/b/c"), file("a/d"), file("e"))
    assert set(shown(directory)) == {"a/b/c", "a/d", "e"}
    show(tree, directory, file("e"))
    assert list(directory.children) == ["e"]


def test_a_directory_that_becomes_a_file_and_a_file_that_becomes_a_directory(
    tree: Tree, directory: ContainerDirectory
) -> None:
    show(tree, directory, file("d/a", "1"), file("f", "2"))
    show(tree, directory, file("d", "3"), file("f/a", "4"), file("f", "5"))
    assert shown(directory) == {"d": "3", "f/a": "4", "f (5)": "5"}


def test_what_is_open_stays_as_it_is_until_it_is_closed(tree: Tree, directory: ContainerDirectory) -> None:
    show(tree, directory, file("a", "1"), file("b", "2"))
    a, b = node_at(tree, "a"), node_at(tree, "b")
    a.opens = b.opens = 1
    show(tree, directory, file("a", "3"))
    assert shown(directory) == {"a": "1", "b": "2"}
    a.opens = b.opens = 0
    tree.apply_pending(a)
    tree.apply_pending(b)
    assert shown(directory) == {"a": "3"}
    assert a is node_at(tree, "a")


def test_what_comes_back_while_it_is_open_stays(tree: Tree, directory: ContainerDirectory) -> None:
    show(tree, directory, file("a", "1"))
    node = node_at(tree, "a")
    node.opens = 1
    show(tree, directory)
    show(tree, directory, file("a", "1"))
    node.opens = 0
    tree.apply_pending(node)
    assert shown(directory) == {"a": "1"}


def test_a_listing_from_before_a_change_says_nothing_about_it(tree: Tree, directory: ContainerDirectory) -> None:
    show(tree, directory, file("a", "1"))
    node = node_at(tree, "a")
    node.touch()
    show(tree, directory, started=node.changed_at - 1)
    assert shown(directory) == {"a": "1"}
    show(tree, directory, started=node.changed_at + 1)
    assert shown(directory) == {}


def test_what_is_being_deleted_is_shown_by_no_listing(tree: Tree, directory: ContainerDirectory) -> None:
    show(tree, directory, file("a", "1"))
    tree.hide_ids(directory.remote.id, ["1"])
    show(tree, directory, file("a", "1"), file("a", "2"))
    assert shown(directory) == {"a": "2"}


def test_an_overwritten_file_is_the_same_node_with_new_content(tree: Tree, directory: ContainerDirectory) -> None:
    show(tree, directory, file("a", "1", created=5))
    before = node_at(tree, "a")
    show(tree, directory, file("a", "2", created=9))
    assert node_at(tree, "a") is before
    assert (before.remote and before.remote.id, before.mtime) == ("2", 9_000_000_000)


def test_a_file_that_was_renamed_elsewhere_moves(tree: Tree, directory: ContainerDirectory) -> None:
    show(tree, directory, file("d/a", "1"))
    ino = node_at(tree, "d/a").ino
    show(tree, directory, file("e/b", "1"))
    assert shown(directory) == {"e/b": "1"}
    assert list(directory.children) == ["e"]
    assert node_at(tree, "e/b").ino == ino


def test_sizes_are_learned_from_listings_and_from_what_is_kept(tree: Tree, directory: ContainerDirectory) -> None:
    show(
        tree, directory, file("a", "1", size=None), file("b", "2", size=None), kept={file_key("2"): Attributes(size=7)}
    )
    assert [node_at(tree, name).known_size for name in "ab"] == [None, 7]
    show(tree, directory, file("a", "1", size=5), file("b", "2", size=None))
    assert [node_at(tree, name).known_size for name in "ab"] == [5, 7]


def test_what_was_set_here_is_shown(tree: Tree, directory: ContainerDirectory) -> None:
    kept = {
        file_key("1"): Attributes(mode=0o600, uid=5, gid=6, atime=1, mtime=2, path="asked/for"),
        directory_key("empty/inside"): Attributes(mode=0o700),
    }
    show(tree, directory, file("hash-for", "1", size=3), kept=kept)
    node = node_at(tree, "asked/for")
    attr = node.attr()
    assert (attr.mode & 0o777, attr.uid, attr.gid, attr.atime, attr.mtime) == (0o600, 5, 6, 1, 2)
    assert node.known_size == 3
    inside = tree.find_in(tree.root, "box/empty/inside")
    assert isinstance(inside, Directory)
    assert inside.attr().mode & 0o777 == 0o700
    assert inside.attributes().mode == 0o700


def test_directories_that_are_kept_stay_while_they_are_empty(tree: Tree, directory: ContainerDirectory) -> None:
    show(tree, directory, file("d/a"), kept={directory_key("d"): Attributes()})
    show(tree, directory, kept={directory_key("d"): Attributes()})
    assert list(directory.children) == ["d"]


def test_a_container_that_expires_goes_unless_somebody_reads_in_it(tree: Tree, directory: ContainerDirectory) -> None:
    show(tree, directory, file("a", "1"))
    node = node_at(tree, "a")
    node.opens = 1
    apply_containers(tree, [], LATER)
    assert directory.gone
    assert tree.find_in(directory, "a") is node
    assert tree.root.visible() == []
    node.opens = 0
    tree.apply_pending(node)
    assert tree.root.children == {}
    assert tree.containers() == []


def test_a_container_that_was_made_after_the_listing_was_begun_stays(tree: Tree, directory: ContainerDirectory) -> None:
    directory.touch()
    apply_containers(tree, [], directory.changed_at - 1)
    assert list(tree.root.children) == ["box"]


def test_what_is_listed_again_as_it_was_is_kept_once(tree: Tree, directory: ContainerDirectory) -> None:
    show(tree, directory, file("a"))
    node = node_at(tree, "a")
    known = node.remote
    listing = FileListing(LATER, [file("b"), file("a")])
    apply_files(tree, directory, listing)
    assert listing.files[1] is known
    assert node.remote is known


def test_nodes_have_no_room_for_more_than_they_need(tree: Tree, directory: ContainerDirectory) -> None:
    show(tree, directory, file("d/a"))
    for node in (directory, directory.children["d"], node_at(tree, "d/a")):
        assert not hasattr(node, "__dict__")
