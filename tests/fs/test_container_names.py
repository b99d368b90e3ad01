"""Containers get other names: by the service where it can, else made again if they are empty."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from containerfs.fs import types
from containerfs.fs.options import Options
from tests.fs.memory import MemoryRemote
from tests.fs.mounts import Opener, mounted
from tests.fs.paths import Paths
from tests.fs.programs import exists, names, opened, read, take, write


@pytest.fixture
def other(opener: Opener, tmp_path: Path) -> Iterator[Paths]:
    """Another machine, which looks anew each time."""
    filesystem = opener(Options(tmp_path / "other", metadata_expiry=0.0))
    yield filesystem
    filesystem.close()


def test_our_server_renames_any(fs: Paths, other: Paths, box: str) -> None:
    write(fs, f"{box}/a", b"content")
    container_id = fs.getxattr(box, "user.containerfs.id")
    ino = fs.getattr(box).ino
    assert read(other, f"{box}/a") == b"content"
    new = f"{box} renamed"
    with opened(fs, f"{box}/a") as fh:
        fs.rename(box, new)
        assert take(fs, fh) == b"content"
    for each in (fs, other):
        assert new.strip("/") in names(each, "/")
        assert box.strip("/") not in names(each, "/")
        assert not exists(each, box)
        assert read(each, f"{new}/a") == b"content"
        assert each.getxattr(new, "user.containerfs.id") == container_id
    assert fs.getattr(new).ino == ino
    write(fs, f"{new}/b", b"more")
    assert read(other, f"{new}/b") == b"more"


def test_the_name_of_another_is_not_taken(fs: Paths, box: str) -> None:
    fs.mkdir(f"{box}-2", 0o755)
    with pytest.raises(types.AlreadyExists):
        fs.rename(f"{box}-2", box)
    with pytest.raises(types.NotPermitted):
        fs.rename(f"{box}-2", "/.Trash-1000")
    fs.rename(box, box)
    assert exists(fs, box)


def test_a_name_that_is_no_file_name_comes_back_as_it_was(fs: Paths, box: str) -> None:
    fs.rename(box, "/a\u29f8b")
    assert fs.getxattr("/a\u29f8b", "user.containerfs.name") == b"a/b"
    fs.rename("/a\u29f8b", box)


def test_elsewhere_an_empty_one_is_made_again(remote: MemoryRemote, container: str, tmp_path: Path) -> None:
    with mounted(remote, tmp_path / "cache") as fs:
        fs.chmod("/box", 0o700)
        fs.rename("/box", "/crate")
        assert names(fs, "/") == ["crate"]
        assert remote.asked("create") == ["crate"]
        assert remote.asked("delete container") == [container]
        assert fs.getattr("/crate").mode & 0o777 == 0o700
        write(fs, "/crate/a", b"content")
        with pytest.raises(types.CrossDevice):
            fs.rename("/crate", "/box")
        assert read(fs, "/crate/a") == b"content"


def test_what_others_put_into_it_a_moment_ago_is_not_lost(remote: MemoryRemote, container: str, tmp_path: Path) -> None:
    with mounted(remote, tmp_path / "cache", metadata_expiry=60.0) as fs:
        assert names(fs, "/box") == []
        remote.put(container, "a", b"content")
        with pytest.raises(types.CrossDevice):
            fs.rename("/box", "/crate")
        assert names(fs, "/") == ["box"]
