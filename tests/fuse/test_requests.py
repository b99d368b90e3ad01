"""What each operation costs, by the server's own count of requests and bytes."""

import os
import re
from pathlib import Path

import pytest
from openai import OpenAI

from containerfs.fs.namespace.names import NamePolicy
from tests.fuse.counted import asked
from tests.fuse.mounted import REFRESH, Home, Mount
from tests.server.live import LiveServer

MiB = 1 << 20


@pytest.fixture
def file(container: Path) -> Path:
    path = container / "file"
    path.write_bytes(os.urandom(MiB))
    return path


@pytest.mark.parametrize(("files", "pages"), [(0, 1), (1, 1), (100, 1), (101, 2), (201, 3)])
def test_listing_a_container(server: LiveServer, other: Mount, container: Path, files: int, pages: int) -> None:
    for number in range(files):
        (container / f"file {number}").touch()
    path = other.anew(container)
    for command in (["ls"], ["ls", "-l"], ["find"]):
        os.setxattr(path, REFRESH, b"")
        with asked(server) as cost:
            other.home.run(*command, path)
        assert cost.requests == {"list files": pages}
    with asked(server) as cost:
        other.home.run("ls", "-lR", path)
        other.home.run("find", path, "-size", "+1M")
    assert cost.requests == {}


def test_mounting(server: LiveServer, home: Home, container: Path) -> None:
    """The check that the service answers and accepts the key lists the containers, too."""
    with asked(server) as cost, home.mounted("--url", server.address) as mount:
        assert container.name in os.listdir(mount.path)
    assert cost.requests == {"list containers": 1}


def test_listing_the_containers(server: LiveServer, other: Mount, container: Path) -> None:
    path = other.anew()
    with asked(server) as cost:
        other.home.run("ls", "-l", path)
    assert cost.requests == {"list containers": 1}


def test_reading(server: LiveServer, other: Mount, file: Path) -> None:
    path = other.anew(file.parent) / "file"
    with asked(server) as cost:
        other.home.run("sha256sum", path)
    assert cost.requests == {"list files": 1, "content": 1}
    assert cost.sent == MiB
    with asked(server) as cost:
        other.home.run("sha256sum", path)
        other.home.run("cp", path, other.home.path)
    assert cost.requests == {}


def test_reading_again_after_a_remount(server: LiveServer, file: Path, home: Home) -> None:
    with home.mounted("--url", server.address) as mount:
        home.run("sha256sum", mount / file.parent.name / "file")
    with home.mounted("--url", server.address) as mount, asked(server) as cost:
        home.run("sha256sum", mount / file.parent.name / "file")
    assert cost.requests == {"list files": 1}


def test_copying_a_new_file_in(server: LiveServer, mount: Mount, container: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(MiB))
    with asked(server) as cost:
        mount.home.run("cp", "-p", tmp_path / "file", container)
        mount.home.run("sha256sum", container / "file")
    assert cost.requests == {"upload": 1}
    assert MiB < cost.received < MiB + 1000


def test_overwriting_is_one_request(server: LiveServer, other: Mount, file: Path) -> None:
    path = other.anew(file.parent) / "file"
    os.stat(path)
    with asked(server) as cost:
        path.write_bytes(b"new")
    assert cost.requests == {"upload": 1}


def test_opening_to_write_and_writing_nothing(server: LiveServer, other: Mount, file: Path) -> None:
    path = other.anew(file.parent) / "file"
    os.stat(path)
    with asked(server) as cost, path.open("r+b"):
        pass
    assert cost.requests == {}


def test_looking_for_what_is_not_there(server: LiveServer, mount: Mount, container: Path) -> None:
    os.listdir(mount.anew())
    with asked(server) as cost:
        for path in (mount / "missing", container / "missing", container / "missing" / "x"):
            assert not path.exists()
            mount.home.fails("cat", path)
    assert cost.requests == {}


def test_renaming_moves_no_bytes(server: LiveServer, mount: Mount, file: Path) -> None:
    with asked(server) as cost:
        mount.home.run("mv", file, file.with_name("renamed"))
    assert cost.requests == {"upload": 1, "delete file": 1}
    assert cost.sent + cost.received < 1000


def test_deleting(server: LiveServer, mount: Mount, file: Path) -> None:
    with asked(server) as cost:
        mount.home.run("rm", file)
    assert cost.requests == {"delete file": 1}


def test_containers(server: LiveServer, mount: Mount) -> None:
    with asked(server) as cost:
        mount.home.run("mkdir", mount / "short-lived")
    assert cost.requests == {"list containers": 1, "create container": 1}
    with asked(server) as cost:
        mount.home.run("rmdir", mount / "short-lived")
    assert cost.requests == {"list files": 1, "delete container": 1}


def test_rsync_uploads_each_file_once(server: LiveServer, mount: Mount, container: Path, tmp_path: Path) -> None:
    (tmp_path / "source" / "inner").mkdir(parents=True)
    for name in ("a", "b", "inner/c"):
        (tmp_path / "source" / name).write_text(name)
    with asked(server) as cost:
        said = mount.home.run("rsync", "-a", "--debug=RECV", f"{tmp_path / 'source'}/", container)
        mount.home.run("containerfs", "sync", container)
    temporary = re.findall(r"^renaming (.+) to ", said, re.MULTILINE)
    assert len(temporary) == 3
    words = [name for name in temporary if not NamePolicy().is_temporary(name)]
    assert cost.requests["upload"] == 4 + len(words), "one for the directory; rsync may have drawn a word"
    assert words or cost.requests == {"upload": 4}
    with asked(server) as cost:
        mount.home.run("rsync", "-a", f"{tmp_path / 'source'}/", container)
        mount.home.run("containerfs", "sync", container)
    assert cost.requests == {}


def test_an_editor_uploads_what_it_saves_and_nothing_else(server: LiveServer, mount: Mount, container: Path) -> None:
    (container / "notes").write_text("one\n")
    with asked(server) as cost:
        mount.home.attempt(
            "vim", "-es", "-u", "NONE", "-c", "set backupskip=", "-c", "%s/one/two/", "-c", "wq", container / "notes"
        )
    assert (container / "notes").read_text() == "two\n"
    assert cost.requests["upload"] <= 2  # the backup that it makes first may count
    mount.home.run("containerfs", "sync", container)


def test_modes_and_times_cost_one_request_for_all(server: LiveServer, mount: Mount, file: Path) -> None:
    with asked(server) as cost:
        mount.home.run("chmod", "700", file)
        mount.home.run("touch", "-d", "2001-02-03", file)
        mount.home.run("containerfs", "sync", file.parent)
    assert cost.requests == {"POST /v1/containers/{container_id}/files/{file_id}": 1}
    with asked(server) as cost:
        mount.home.run("cat", file)
        mount.home.run("ls", "-lR", file.parent)
        mount.home.run("containerfs", "sync", file.parent)
    assert cost.requests == {}


def test_scratch_files_stay_here(server: LiveServer, mount: Mount, container: Path) -> None:
    with asked(server) as cost:
        for name in (".DS_Store", "._resource", ".notes.swp", "4913", ".~lock.sheet.ods#"):
            (container / name).write_text("scratch")
            assert (container / name).read_text() == "scratch"
            assert os.getxattr(container / name, "user.containerfs.state") == b"local"
            (container / name).unlink()
    assert cost.requests == {}


def test_contents_by_id(server: LiveServer, other: Mount, sdk: OpenAI) -> None:
    """A container that no listing has had yet is found by its id, and only what looks like an id is asked for."""
    container = sdk.containers.create(name="by id")
    sdk.containers.files.create(container.id, file=("file", b"content"))
    assert (other / container.id / "file").read_bytes() == b"content"
    with asked(server) as cost:
        assert (other / container.id / "file").read_bytes() == b"content"
    assert cost.requests == {}
