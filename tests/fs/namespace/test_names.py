"""Which names stay here, and which become others in a moment."""

import pytest

from containerfs.fs.namespace.names import NamePolicy


@pytest.mark.parametrize(
    "name",
    [".DS_Store", "._photo.jpg", ".a.txt.swp", ".a.txt.swpx", "4913", ".#a", "#a#", ".~lock.a.odt#", "~$a.docx",
     ".nfs000000", ".fuse_hidden0000000100000001", ".goutputstream-ABC", "Thumbs.db", "._new\nline"],
)  # fmt: skip
def test_editors_and_desktops_own_files_are_scratch(name: str) -> None:
    assert NamePolicy().is_scratch(name)
    assert NamePolicy().is_refused_at_top(name)


@pytest.mark.parametrize(
    "name",
    ["a.txt", ".bashrc", "49130", "a~", "swp", "DS_Store", "lock", ".a.swan", "poetry.lock", "Cargo.lock", "uv.lock",
     ".app.config", ".notes.Backup", ".old.README", "d/.git.lock", "not.git/index.lock"],
)  # fmt: skip
def test_other_names_are_not(name: str) -> None:
    assert not NamePolicy().is_scratch(name)
    assert not NamePolicy().is_temporary(name)


@pytest.mark.parametrize("name", [".a.txt.Xy12Ab", "a.tmp", "a.part", "a.crdownload", "tmp_pack_1", ".git/index.lock",
                                  "src/.git/refs/heads/main.lock", "d/.a.b12Xyz"])  # fmt: skip
def test_names_that_become_others_are_temporary(name: str) -> None:
    assert NamePolicy().is_temporary(name)
    assert not NamePolicy().is_scratch(name.rpartition("/")[2])


@pytest.mark.parametrize("name", [".Trash-1000", ".Trash", "autorun.inf"])
def test_what_desktops_make_at_the_top_is_refused_there_only(name: str) -> None:
    assert NamePolicy().is_refused_at_top(name)
    assert not NamePolicy().is_scratch(name)


def test_without_patterns_every_name_is_ordinary() -> None:
    policy = NamePolicy(scratch=(), temporary=())
    assert not policy.is_scratch(".DS_Store")
    assert not policy.is_temporary("a.tmp")
    assert policy.is_refused_at_top(".Trash")
