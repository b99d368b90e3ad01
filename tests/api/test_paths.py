"""Names and paths: what a server or an id may be, and that it never leads out of its place."""

from urllib.parse import unquote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from containerfs.api.paths import NAME_MAX_BYTES, decode_name, encode_name, relative_path, upload_name, url_path

HOSTILE = "/\0.\u29f7\u29f8\u2400\u2024\u2422 %\\\n"
"""Characters that are illegal, or stand for illegal ones."""

anything = st.text(st.characters(codec="utf-8") | st.sampled_from(HOSTILE))
entries = anything.filter(lambda name: name not in ("", ".", "..") and not {"/", "\0"} & set(name))


@given(anything)
@example("")
@example(".")
@example("..")
@example("\u2024")
@example("\u29f7\u2024\u2024")
def test_any_name_becomes_a_legal_entry_and_comes_back(name: str) -> None:
    entry = encode_name(name)
    assert entry not in ("", ".", "..")
    assert not {"/", "\0"} & set(entry)
    assert decode_name(entry) == name


@given(st.text())
def test_what_is_not_utf8_becomes_a_legal_entry_too(name: str) -> None:
    assert encode_name(name).encode()


@given(st.lists(anything, unique=True, max_size=5))
def test_different_names_have_different_entries(names: list[str]) -> None:
    assert len({encode_name(name) for name in names}) == len(names)


@given(entries)
@example("\u29f7")
@example("\u29f8")
def test_any_entry_stands_for_a_name_or_for_itself(entry: str) -> None:
    name = decode_name(entry)
    assert encode_name(name) == entry or name == entry


@given(st.text(st.characters(codec="ascii", exclude_characters="/\0"), min_size=1).filter(lambda name: name.strip(".")))
def test_ordinary_names_are_kept(name: str) -> None:
    assert encode_name(name) == decode_name(name) == name


@given(anything)
def test_a_servers_path_never_leads_out(path: str) -> None:
    for segment in relative_path(path).split("/"):
        assert segment not in ("", ".", "..")
        assert "\0" not in segment


@given(st.lists(entries, min_size=1, max_size=4).map("/".join))
@example("\u29f7\u29f8/\u29f8")
def test_what_is_uploaded_is_found_under_its_name_or_was_sent_under_it(relative: str) -> None:
    sent = upload_name(relative)
    segments = zip(relative.split("/"), sent.split("/"), relative_path(sent).split("/"), strict=True)
    assert all(entry in (name, shown) for entry, name, shown in segments)


def test_a_slashs_lookalike_is_uploaded_and_listed_as_itself() -> None:
    assert upload_name("a\u29f8b/c") == "a\u29f8b/c"
    assert relative_path("/mnt/data/a\u29f8b/c") == "a\u29f8b/c"


@pytest.mark.parametrize(
    ("path", "relative"),
    [
        ("/mnt/data/a.txt", "a.txt"),
        ("/mnt/data/a/b.txt", "a/b.txt"),
        ("/mnt/data/", "\u2422"),
        ("a.txt", "a.txt"),
        ("/etc/passwd", "\u2422/etc/passwd"),
        ("/mnt/data/../../etc/passwd", "\u2024\u2024/\u2024\u2024/etc/passwd"),
    ],
)
def test_paths_as_services_give_them(path: str, relative: str) -> None:
    assert relative_path(path) == relative


@given(st.text(st.characters(codec="utf-8"), min_size=1).filter(lambda id: id not in (".", "..")))
def test_an_id_stays_in_its_segment(id: str) -> None:
    path = url_path("/containers/{container_id}/files", container_id=id)
    _, containers, segment, files = path.split("/")
    assert (containers, files) == ("containers", "files")
    assert unquote(segment) == id
    assert not set("?# ") & set(segment)


@pytest.mark.parametrize("id", ["", ".", ".."])
def test_an_id_that_leads_elsewhere_is_refused(id: str) -> None:
    with pytest.raises(ValueError, match="`container_id`"):
        url_path("/containers/{container_id}", container_id=id)


def test_the_longest_name_is_that_of_linux() -> None:
    assert NAME_MAX_BYTES == 255
