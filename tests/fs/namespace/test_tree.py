"""The tree of names: every container has a name of its own; and files that are on their way out are not shown."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from containerfs.fs.namespace.application import apply_containers
from containerfs.fs.namespace.nodes import ContainerDirectory
from containerfs.fs.namespace.tree import Suspect, Tree
from containerfs.fs.types import RemoteContainer, RemoteFile
from tests.fs.namespace.trees import LATER, file, show, shown


def test_unlisted_containers_are_found_by_id_only(tree: Tree) -> None:
    directory = tree.add_container(RemoteContainer("cntr_1", "box", 0), listed=False)
    assert tree.root.children == {}
    assert tree.container("cntr_1") is directory
    assert directory.path == ""
    tree.add_container(RemoteContainer("cntr_1", "box", 0))
    assert list(tree.root.children) == ["box"]


def test_the_oldest_of_two_containers_keeps_the_name(tree: Tree) -> None:
    listed = [RemoteContainer("2", "x", 2), RemoteContainer("1", "x", 1)]
    apply_containers(tree, listed, LATER)
    assert {name: child.remote.id for name, child in tree.root.children.items()} == {"x": "1", "x (2)": "2"}  # type: ignore[attr-defined]
    apply_containers(tree, listed[:1], LATER)
    assert list(tree.root.children) == ["x (2)"], "a container keeps its name while it lives"


@given(st.lists(st.tuples(st.text(max_size=5) | st.sampled_from(["x", "..", "a/b", "é" * 200])), max_size=8))
def test_every_container_has_a_name_of_its_own(names: list[tuple[str]]) -> None:
    tree = Tree()
    listed = [RemoteContainer(f"cntr_{number}", name, number) for number, (name,) in enumerate(names)]
    apply_containers(tree, listed[::-1], LATER)
    before = {directory.remote.id: directory.name for directory in tree.containers()}
    assert len(tree.root.children) == len(names)
    for name in tree.root.children:
        assert name not in ("", ".", "..")
        assert "/" not in name
        assert len(name.encode()) <= 255
    apply_containers(tree, listed, LATER)
    assert {directory.remote.id: directory.name for directory in tree.containers()} == before


def test_a_file_that_was_deleted_is_in_no_listing_that_was_begun_before(
    tree: Tree, directory: ContainerDirectory
) -> None:
    before = time.monotonic()
    tree.ids_deleted(directory.remote.id, ["1"])
    show(tree, directory, file("a", "1"), started=before)
    assert shown(directory) == {}
    show(tree, directory, file("a", "1"))
    assert shown(directory) == {"a": "1"}, "a later listing knows better: the service has it"


def test_a_file_that_was_not_deleted_after_all_is_shown_again(tree: Tree, directory: ContainerDirectory) -> None:
    tree.hide_ids(directory.remote.id, ["1", "2"])
    tree.show_ids(directory.remote.id, ["1"])
    show(tree, directory, file("a", "1"), file("b", "2"))
    assert shown(directory) == {"a": "1"}


@pytest.mark.parametrize(
    ("listed", "is_shown"),
    [
        (file("a", size=5, created=100), False),
        (file("a", size=None, created=100), False),
        (file("a", size=5, created=99), True),
        (file("a", size=6, created=100), True),
        (file("b", size=5, created=100), True),
    ],
)
def test_what_a_lost_upload_may_have_left_is_not_shown(
    tree: Tree, directory: ContainerDirectory, listed: RemoteFile, is_shown: bool
) -> None:
    tree.suspects["cntr_1"] = {"key": Suspect("a", 5, since=100)}
    show(tree, directory, listed)
    assert bool(shown(directory)) == is_shown


def test_of_files_that_were_to_go_those_that_are_gone_are_not_shown_again(
    tree: Tree, directory: ContainerDirectory
) -> None:
    tree.hide_ids(directory.remote.id, ["1", "2"])
    tree.ids_deleted(directory.remote.id, ["1"])
    tree.show_ids(directory.remote.id, ["1", "2"])
    show(tree, directory, file("a", "1"), file("b", "2"), started=0.0)
    assert shown(directory) == {"b": "2"}


def test_what_was_shown_before_it_was_suspected_stays(tree: Tree, directory: ContainerDirectory) -> None:
    show(tree, directory, file("a", "1", size=5, created=100))
    tree.suspects["cntr_1"] = {"key": Suspect("a", 5, since=100)}
    show(tree, directory, file("a", "2", size=5, created=100), file("a", "1", size=5, created=100))
    assert shown(directory) == {"a": "1"}
