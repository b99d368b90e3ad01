"""Symbolic links: small files of the service, by rclone's convention, shown as links."""

import stat
from pathlib import Path

import pytest

from containerfs.api.dialect import Dialect
from containerfs.fs import types
from tests.fs.gates import down, eventually
from tests.fs.memory import MemoryRemote
from tests.fs.mounts import crash, mounted
from tests.fs.paths import Paths
from tests.fs.programs import exists, names, opened, put, read, write


def kind(fs: Paths, path: str) -> str:
    return {stat.S_IFLNK: "link", stat.S_IFREG: "file", stat.S_IFDIR: "directory"}[stat.S_IFMT(fs.getattr(path).mode)]


def shown(fs: Paths, directory: str = "/box") -> dict[str, str]:
    """Name -> target of a link, content of a file."""
    found = {}
    for name in names(fs, directory):
        path = f"{directory}/{name}"
        found[name] = "-> " + fs.readlink(path).decode() if kind(fs, path) == "link" else read(fs, path).decode()
    return found


def test_a_link_is_a_small_file_of_the_service(memory_fs: Paths, remote: MemoryRemote, container: str) -> None:
    memory_fs.symlink("/box/here", b"../there", (5, 6))
    assert remote.stored(container) == {"here.rclonelink": b"../there"}
    attr = memory_fs.getattr("/box/here")
    assert (stat.S_ISLNK(attr.mode), attr.mode & 0o7777, attr.size) == (True, 0o777, 8)
    assert (attr.uid, attr.gid) == (5, 6)
    assert names(memory_fs, "/box") == ["here"]
    assert not exists(memory_fs, "/box/here.rclonelink")
    remote.requests.clear()
    assert memory_fs.readlink("/box/here") == b"../there"
    assert "content" not in dict(remote.requests)


def test_links_of_others_are_shown(memory_fs: Paths, remote: MemoryRemote, container: str) -> None:
    remote.put(container, "d/x.rclonelink", b"target")
    assert shown(memory_fs, "/box/d") == {"x": "-> target"}
    assert memory_fs.getattr("/box/d/x").size == 6
    remote.requests.clear()
    assert memory_fs.readlink("/box/d/x") == b"target"
    assert "content" not in dict(remote.requests), "it was read before"


def test_links_that_are_read_in_turn_are_fetched_ahead(memory_fs: Paths, remote: MemoryRemote, container: str) -> None:
    for number in range(20):
        remote.put(container, f"{number:02}.rclonelink", b"target")
    for number in range(3):
        memory_fs.readlink(f"/box/{number:02}")
    eventually(lambda: len(remote.asked("content")) > 10)


def test_a_link_is_renamed_and_removed(memory_fs: Paths, remote: MemoryRemote, container: str) -> None:
    memory_fs.symlink("/box/a", b"target")
    memory_fs.mkdir("/box/d", 0o755)
    memory_fs.rename("/box/a", "/box/d/b")
    assert remote.stored(container) == {"d/b.rclonelink": b"target"}
    memory_fs.rename("/box/d", "/box/e")
    assert remote.stored(container) == {"e/b.rclonelink": b"target"}
    assert shown(memory_fs, "/box/e") == {"b": "-> target"}
    memory_fs.unlink("/box/e/b")
    assert remote.stored(container) == {}
    assert names(memory_fs, "/box/e") == []


@pytest.mark.parametrize("copies", [False, True])
def test_links_and_files_take_each_others_place(
    memory_fs: Paths, remote: MemoryRemote, container: str, *, copies: bool
) -> None:
    if copies:
        remote.dialect = Dialect(copies_by_path=True, idempotency=True)
    write(memory_fs, "/box/file", b"content")
    memory_fs.symlink("/box/link", b"target")
    memory_fs.rename("/box/link", "/box/file")
    assert remote.stored(container) == {"file.rclonelink": b"target"}
    assert shown(memory_fs) == {"file": "-> target"}
    write(memory_fs, "/box/new", b"new")
    memory_fs.rename("/box/new", "/box/file")
    assert remote.stored(container) == {"file": b"new"}
    assert shown(memory_fs) == {"file": "new"}


def test_what_has_the_name_of_a_link_has_it(memory_fs: Paths, remote: MemoryRemote, container: str) -> None:
    file_id = remote.put(container, "x", b"a file")
    remote.put(container, "x.rclonelink", b"target")
    remote.put(container, "d/in", b"")
    remote.put(container, "d.rclonelink", b"target")
    assert names(memory_fs, "/box") == ["d", "d.rclonelink", "x", "x.rclonelink"]
    assert [kind(memory_fs, f"/box/{name}") for name in names(memory_fs, "/box")] == ["directory", *["file"] * 3]
    assert (read(memory_fs, "/box/x"), read(memory_fs, "/box/d.rclonelink")) == (b"a file", b"target")
    remote.take_away(file_id)
    assert memory_fs.readlink("/box/x") == b"target"
    assert not exists(memory_fs, "/box/x.rclonelink")
    remote.put(container, "x", b"again")
    assert read(memory_fs, "/box/x") == b"again"
    assert read(memory_fs, "/box/x.rclonelink") == b"target"


@pytest.mark.parametrize("content", [b"", b"x" * 4096])
def test_what_can_be_no_link_is_a_file(memory_fs: Paths, remote: MemoryRemote, container: str, content: bytes) -> None:
    remote.put(container, "x.rclonelink", content)
    remote.put(container, ".rclonelink", b"a")
    assert names(memory_fs, "/box") == [".rclonelink", "x.rclonelink"]
    assert read(memory_fs, "/box/x.rclonelink") == content


@pytest.mark.parametrize("target", [b"/etc/passwd", b"../" * 1000, b"x" * 4095, "é".encode(), b"\xff", b"a\nb", b"."])
def test_any_target_is_shown_as_it_is(memory_fs: Paths, remote: MemoryRemote, container: str, target: bytes) -> None:
    remote.put(container, "x.rclonelink", target)
    assert memory_fs.readlink("/box/x") == target
    memory_fs.symlink("/box/y", target)
    assert remote.stored(container)["y.rclonelink"] == target


def test_a_target_with_nul_is_an_error(memory_fs: Paths, remote: MemoryRemote, container: str) -> None:
    remote.put(container, "x.rclonelink", b"a\0b")
    assert kind(memory_fs, "/box/x") == "link"
    with pytest.raises(types.Failed, match="not one that a symbolic link can have"):
        memory_fs.readlink("/box/x")
    memory_fs.unlink("/box/x")
    assert remote.stored(container) == {}


def test_links_where_listings_have_no_sizes(memory_fs: Paths, remote: MemoryRemote, container: str) -> None:
    remote.tells_sizes = False
    remote.put(container, "x.rclonelink", b"target")
    remote.put(container, "long.rclonelink", bytes(5000))
    assert memory_fs.getattr("/box/x").size == 6
    with pytest.raises(types.Failed):
        memory_fs.readlink("/box/long")
    assert memory_fs.getattr("/box/long").size == 5000
    assert names(memory_fs, "/box") == ["long.rclonelink", "x"], "its size is known by now"


def test_no_file_gets_a_name_that_stands_for_a_link(memory_fs: Paths, remote: MemoryRemote, container: str) -> None:
    memory_fs.symlink("/box/x", b"target")
    write(memory_fs, "/box/file", b"content")
    with pytest.raises(types.NotPermitted, match="ln -s"):
        write(memory_fs, "/box/x.rclonelink", b"other")
    with pytest.raises(types.NotPermitted):
        memory_fs.rename("/box/file", "/box/x.rclonelink")
    assert remote.stored(container) == {"x.rclonelink": b"target", "file": b"content"}
    memory_fs.mkdir("/box/d.rclonelink", 0o755)
    memory_fs.symlink("/box/y.rclonelink", b"z")
    assert shown(memory_fs, "/box/d.rclonelink") == {}
    assert memory_fs.readlink("/box/y.rclonelink") == b"z"


def test_the_name_of_a_link_leaves_room_for_its_end(memory_fs: Paths) -> None:
    memory_fs.symlink("/box/" + "x" * 244, b"target")
    for call in (
        lambda: memory_fs.symlink("/box/" + "x" * 245, b"target"),
        lambda: memory_fs.rename("/box/" + "x" * 244, "/box/" + "x" * 245),
    ):
        with pytest.raises(types.NameTooLong):
            call()


def test_scratch_links_stay_here(memory_fs: Paths, remote: MemoryRemote, container: str) -> None:
    memory_fs.symlink("/box/.#notes", b"me@here.123")
    assert memory_fs.readlink("/box/.#notes") == b"me@here.123"
    assert remote.stored(container) == {}
    memory_fs.rename("/box/.#notes", "/box/notes")
    assert remote.stored(container) == {"notes.rclonelink": b"me@here.123"}


@pytest.mark.parametrize("write_back", [False, True])
def test_a_link_that_the_service_does_not_take_is_sent_by_the_next_mount(
    remote: MemoryRemote, container: str, tmp_path: Path, *, write_back: bool
) -> None:
    with mounted(remote, tmp_path / "cache", write_back=write_back, metadata_expiry=60.0) as fs:
        names(fs, "/box")
        remote.before = down
        if write_back:
            fs.symlink("/box/x", b"target")
        else:
            with pytest.raises(types.Unreachable):
                fs.symlink("/box/x", b"target")
        assert fs.readlink("/box/x") == b"target"
        crash(fs)
    remote.before = lambda *_: None
    with mounted(remote, tmp_path / "cache") as fs:
        assert fs.readlink("/box/x") == b"target"
        assert fs.drain(10) == []
        assert remote.stored(container) == {"x.rclonelink": b"target"}
        assert shown(fs) == {"x": "-> target"}


def test_a_file_that_was_no_link_is_not_one_after_a_crash(remote: MemoryRemote, container: str, tmp_path: Path) -> None:
    """Both names are there: neither is lost, whatever this mount takes the other one for meanwhile."""
    remote.put(container, "x", b"a file")
    remote.put(container, "x.rclonelink", b"other")
    with mounted(remote, tmp_path / "cache", metadata_expiry=60.0) as fs:
        names(fs, "/box")
        read(fs, "/box/x.rclonelink")
        remote.before = down
        with pytest.raises(types.Unreachable), opened(fs, "/box/x.rclonelink", 1) as fh:
            put(fs, fh, b"OTHER")
        crash(fs)
    remote.before = lambda *_: None
    with mounted(remote, tmp_path / "cache") as fs:
        names(fs, "/box")
        assert fs.drain(10) == []
        assert remote.stored(container) == {"x": b"a file", "x.rclonelink": b"OTHER"}
        assert shown(fs) == {"x": "a file", "x.rclonelink": "OTHER"}


def test_a_file_that_is_open_while_a_link_takes_its_name_elsewhere(
    memory_fs: Paths, remote: MemoryRemote, container: str
) -> None:
    file_id = remote.put(container, "x", b"a file")
    with opened(memory_fs, "/box/x") as fh:
        remote.put(container, "x.rclonelink", b"target")
        remote.take_away(file_id)
        names(memory_fs, "/box")
        assert memory_fs.fgetattr(fh).size == 6
    assert shown(memory_fs) == {"x": "-> target"}


def test_a_link_elsewhere_does_not_take_the_place_of_what_is_written_here(
    memory_fs: Paths, remote: MemoryRemote, container: str
) -> None:
    fh = memory_fs.create("/box/x", 2, 0o644)
    put(memory_fs, fh, b"mine")
    remote.put(container, "x.rclonelink", b"target")
    assert names(memory_fs, "/box") == ["x"]
    memory_fs.flush(fh)
    memory_fs.release(fh)
    assert remote.stored(container) == {"x": b"mine", "x.rclonelink": b"target"}
    assert shown(memory_fs) == {"x": "mine", "x.rclonelink": "target"}


def test_attributes_of_links_are_their_own(remote: MemoryRemote, container: str, tmp_path: Path) -> None:
    remote.put(container, "x", b"a file")
    with mounted(remote, tmp_path / "cache") as fs:
        fs.symlink("/box/l", b"x")
        fs.utimens("/box/l", None, 10**18)
        fs.chown("/box/l", 7, -1)
    with mounted(remote, tmp_path / "cache") as fs:
        attr = fs.getattr("/box/l")
        assert (attr.mtime, attr.uid, attr.mode & 0o777) == (10**18, 7, 0o777)
        assert fs.getattr("/box/x").uid != 7


def test_a_read_only_mount_makes_no_link(remote: MemoryRemote, container: str, tmp_path: Path) -> None:
    with mounted(remote, tmp_path / "cache", read_only=True) as fs, pytest.raises(types.ReadOnly):
        fs.symlink("/box/x", b"target")
