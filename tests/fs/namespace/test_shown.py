"""Under which paths listed files are shown: each has a name of its own, whatever a service lists."""

from hypothesis import given
from hypothesis import strategies as st

from containerfs.api.paths import relative_path
from containerfs.fs.namespace.nodes import ContainerDirectory
from containerfs.fs.namespace.tree import Tree
from tests.fs.namespace.trees import file, new_container, show, shown


def test_of_one_path_the_newest_has_it(tree: Tree, directory: ContainerDirectory) -> None:
    show(tree, directory, file("a", "new"), file("a", "old"), file("a", "older"))
    assert shown(directory) == {"a": "new", "a (old)": "old", "a (older)": "older"}


def test_a_file_steps_aside_for_a_directory_and_stays_aside(tree: Tree, directory: ContainerDirectory) -> None:
    for listing in ([file("a"), file("a/b")], [file("a/b"), file("a")]):
        for _ in range(2):
            show(tree, directory, *listing)
            assert shown(directory) == {"a (id-a)": "id-a", "a/b": "id-a/b"}


def test_names_too_long_for_linux_are_cut_and_stay_apart(tree: Tree, directory: ContainerDirectory) -> None:
    long = "é" * 200
    show(tree, directory, file(f"{long}1", "1"), file(f"{long}2", "2"), file(f"{long}/{long}", "3"))
    assert sorted(shown(directory).values()) == ["1", "2", "3"]
    before = shown(directory)
    show(tree, directory, file(f"{long}2", "2"), file(f"{long}/{long}", "3"), file(f"{long}1", "1"))
    assert shown(directory) == before


def test_a_name_with_an_id_that_is_taken_gets_the_id_twice(tree: Tree, directory: ContainerDirectory) -> None:
    listed = [file("a (old)", "other"), file("a", "new"), file("a", "old"), file("d", "d"), file("d/x"), file("d (d)")]
    expected = {"a": "new", "a (old)": "other", "a (old) (old)": "old"}
    for _ in range(2):
        show(tree, directory, *listed)
        assert {path: file_id for path, file_id in shown(directory).items() if path.startswith("a")} == expected
        assert sorted(shown(directory).values()) == sorted(each.id for each in listed)


segments = st.sampled_from(["a", "b", "a (1)", "a (2)", "b (1)", "é" * 130, "a (1) (1)"])
paths = st.lists(segments, min_size=1, max_size=3).map("/".join).map(relative_path)
listings = st.lists(st.tuples(st.sampled_from("12345"), paths), max_size=8, unique_by=lambda item: item[0])


@given(st.lists(listings, min_size=1, max_size=4))
def test_every_listed_file_is_shown_once_whatever_the_names(history: list[list[tuple[str, str]]]) -> None:
    tree = Tree()
    directory = new_container(tree)
    for listing in history:
        show(tree, directory, *(file(path, file_id) for file_id, path in listing))
        assert sorted(shown(directory).values()) == sorted(file_id for file_id, _ in listing)
        assert {file_id: node.path for file_id, node in directory.by_id.items()} == {
            file_id: path for path, file_id in shown(directory).items()
        }


@given(st.lists(listings, min_size=1, max_size=3))
def test_a_listing_that_comes_again_moves_nothing(history: list[list[tuple[str, str]]]) -> None:
    tree = Tree()
    directory = new_container(tree)
    for listing in history:
        show(tree, directory, *(file(path, file_id) for file_id, path in listing))
        before = shown(directory)
        show(tree, directory, *(file(path, file_id) for file_id, path in listing))
        assert shown(directory) == before
