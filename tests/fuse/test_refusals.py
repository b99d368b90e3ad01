"""What cannot be mounted is refused: one clear line, a status that is not zero, and nothing left behind."""

import os
import shutil
import signal
import socket
import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.client.service import Reply, Request, Service, page
from tests.fuse.mounted import FUSERMOUNT, Home, Mount, eventually, is_dead
from tests.fuse.namespace import WITHOUT_FUSE, namespace
from tests.server.live import LiveServer, running_server

NOWHERE = ("--url", "http://127.0.0.1:9/v1")
"""A service that is not asked: machine and mountpoint are looked at first."""

NO_LIBFUSE = """
import ctypes
class Library(ctypes.CDLL):
    def __init__(self, name, *rest, **options):
        if "fuse" in str(name):
            raise OSError(f"{name}: cannot open shared object file: No such file or directory")
        super().__init__(name, *rest, **options)
ctypes.CDLL = Library
"""

OUT_OF_DESCRIPTORS = """
import ctypes, resource
class Library(ctypes.CDLL):
    def __init__(self, name, *rest, **options):
        if "fuse" in str(name):
            resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))
        super().__init__(name, *rest, **options)
ctypes.CDLL = Library
"""


@pytest.fixture
def service() -> Iterator[Service]:
    with Service() as service:
        yield service


def test_no_libfuse_names_the_package_to_install(home: Home, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(NO_LIBFUSE)
    said = home.refused_mount(*NOWHERE, env={"PYTHONPATH": str(tmp_path)})
    assert said.startswith("libfuse 3 is missing. Install it: ")


def test_no_descriptors_to_look_for_libfuse(home: Home, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(OUT_OF_DESCRIPTORS)
    said = home.refused_mount(*NOWHERE, env={"PYTHONPATH": str(tmp_path)})
    assert said == "cannot look for libfuse: Too many open files"


def test_no_fusermount_names_the_package_to_install(home: Home, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    for program in ("containerfs", "env", "sh", "ldconfig", "ld", "gcc"):  # the latter find libraries
        found = shutil.which(program, path=f"{home.environment['PATH']}:/usr/sbin:/sbin")
        if found:
            (tmp_path / "bin" / program).symlink_to(found)
    said = home.refused_mount(*NOWHERE, env={"PATH": str(tmp_path / "bin")})
    assert said.startswith("fusermount is missing. Install it: ")


def test_no_dev_fuse(home: Home, tmp_path: Path) -> None:
    with namespace(WITHOUT_FUSE, tmp_path / "dev") as prefix:
        said = Home(home.path, prefix).refused_mount(*NOWHERE)
    assert said.startswith("/dev/fuse is missing: ")


def test_a_mountpoint_whose_parent_is_missing(home: Home, tmp_path: Path) -> None:
    missing = tmp_path / "missing" / "new"
    said = home.refused_mount(*NOWHERE, at=missing)
    assert said == f"{missing} cannot be created: {tmp_path / 'missing'} does not exist"


def test_a_mountpoint_that_is_not_empty(home: Home, tmp_path: Path) -> None:
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "file").touch()
    said = home.refused_mount(*NOWHERE, at=tmp_path / "used")
    assert said == f"{tmp_path / 'used'} is not empty: mount on an empty directory"


def test_a_mountpoint_that_is_a_file(home: Home, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    said = home.refused_mount(*NOWHERE, at=tmp_path / "file")
    assert said == f"{tmp_path / 'file'} is not a directory"


def test_a_mountpoint_that_is_mounted_already(mount: Mount, container: Path, home: Home) -> None:
    said = home.refused_mount(*NOWHERE, at=mount.path)
    assert said == f"{mount.path} is already mounted; to unmount it: containerfs unmount {mount.path}"
    assert container.name in os.listdir(mount.path)


def test_a_mountpoint_left_over_from_a_dead_mount_is_cleaned_up(
    server: LiveServer, container: Path, home: Home
) -> None:
    with home.mounted("--url", server.address) as dead:
        dead.kill()
        assert is_dead(dead.path)
        with home.mounted("--url", server.address) as again:
            assert container.name in os.listdir(again.path)
        assert os.listdir(dead.path) == []


@pytest.mark.parametrize("below", [".", "box/mnt"])
def test_a_mountpoint_where_something_hangs(server: LiveServer, home: Home, below: str) -> None:
    with home.mounted("--url", server.address) as hanging:
        (hanging / "box" / "mnt").mkdir(parents=True, exist_ok=True)
        os.kill(hanging.pid, signal.SIGSTOP)
        try:
            at = hanging / below
            said = home.refused_mount(*NOWHERE, at=at)
        finally:
            os.kill(hanging.pid, signal.SIGCONT)
        assert said == f"{at} does not answer: what is mounted there, or above it, hangs; 'umount -l' detaches it"
        with hanging.ended():  # once the process that looked has had its answer
            eventually(lambda: not home.attempt(FUSERMOUNT, "-u", hanging.path).returncode, "it is unmounted")


def test_a_rejected_key(home: Home, tmp_path: Path) -> None:
    key = home.attempt("containerfs", "keys", "add", "tester", "--api-keys", tmp_path / "keys").stdout.strip()
    with running_server(tmp_path / "store", "--api-keys", str(tmp_path / "keys")) as server:
        url = ("--url", server.address)
        for wrong in ({"OPENAI_API_KEY": "sk-wrong-and-secret"}, {}):
            said = home.refused_mount(*url, env=wrong)
            assert "401" in said
            assert "sk-wrong" not in said
        assert "sk-wrong" not in (home.cache_dir / "mount.log").read_text()
        with home.mounted(*url, env={"OPENAI_API_KEY": key}) as mount:
            (mount / "container").mkdir()
            assert key not in Path(f"/proc/{mount.pid}/cmdline").read_text()
        assert key not in (home.cache_dir / "mount.log").read_text()


def test_a_mountpoint_is_made_and_caches_are_for_their_owner_alone(server: LiveServer, home: Home) -> None:
    assert not (home.path / "mnt").exists()
    with home.mounted("--url", server.address):
        assert stat.S_IMODE(home.cache_dir.stat().st_mode) == 0o700


def test_a_service_that_refuses_connections(home: Home) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        said = home.refused_mount("--url", f"http://127.0.0.1:{unused.getsockname()[1]}/v1")
    assert "Connection refused" in said or "connect" in said.lower()


def test_a_service_that_cannot_be_found(home: Home) -> None:
    assert home.refused_mount("--url", "http://no-such-host.invalid/v1")


def test_a_service_that_never_answers(home: Home) -> None:
    """It gives up long before the limit of a program here: a connection that is taken, and nothing more."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
        said = home.refused_mount("--url", url, timeout=30)
    assert "time" in said.lower()


def test_a_service_that_cannot_be_connected_to(home: Home) -> None:
    """Packets that vanish: nobody accepts from a full queue."""
    with socket.socket() as listener, socket.socket() as first, socket.socket() as second:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for filler in (first, second):
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
        said = home.refused_mount("--url", url, timeout=30)
    assert "time" in said.lower()


@pytest.mark.parametrize("url", ["nonsense", "ftp://example.com/v1", "http://", "http://[::1/v1"])
def test_a_url_that_is_none(home: Home, url: str) -> None:
    assert home.refused_mount("--url", url)


@pytest.mark.parametrize(
    ("flag", "value"), [("--cache-size", "much"), ("--metadata-expiry", "soon"), ("--prefetch", "perhaps")]
)
def test_a_setting_that_cannot_be_is_named(home: Home, flag: str, value: str) -> None:
    said = home.refused_mount("--local", flag, value)
    assert said.startswith(flag.removeprefix("--").replace("-", "_") + ": ")


def test_a_store_made_by_a_newer_version(home: Home, tmp_path: Path) -> None:
    with home.mounted("--local", "--data-dir", tmp_path / "store") as mount:
        (mount / "container").mkdir()
    (database,) = (path for path in (tmp_path / "store").iterdir() if path.suffix in (".db", ".sqlite", ".sqlite3"))
    with sqlite3.connect(database) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '0999'")
    connection.close()
    said = home.refused_mount("--local", "--data-dir", tmp_path / "store")
    assert "schema version 0999" in said


def test_a_store_that_cannot_be_used(home: Home, tmp_path: Path) -> None:
    (tmp_path / "store").write_text("not a directory")
    assert home.refused_mount("--local", "--data-dir", tmp_path / "store")


def test_a_cache_that_cannot_be_used(home: Home, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("not a directory")
    options = ("--data-dir", tmp_path / "store", "--cache-dir", tmp_path / "cache")
    assert home.refused_mount("--local", *options) == f"cache_dir: {tmp_path / 'cache'}: File exists"


NONSENSE = {
    "a web page": Reply(b"<html><body>Welcome</body></html>", headers={"Content-Type": "text/html"}),
    "nothing": Reply(b""),
    "half of it": Reply(b'{"object": "list", "data": ['),
    "other JSON": Reply({"hello": "world"}),
    "a list": Reply([1, 2, 3]),
    "no ids": Reply({"object": "list", "data": [{"name": "a"}], "has_more": False}),
    "numbers for containers": Reply({"object": "list", "data": [1, 2], "has_more": False}),
    "not found": Reply(b"404 page not found", status=404),
    "an error without a reason": Reply(b"", status=418),
    "bytes that are no text": Reply(b"\xff\xfe\x00", headers={"Content-Type": "application/json"}),
}


@pytest.mark.parametrize("nonsense", NONSENSE.values(), ids=NONSENSE.keys())
def test_a_service_that_answers_nonsense(home: Home, service: Service, nonsense: Reply) -> None:
    service.replies(*[nonsense] * 10)
    home.refused_mount("--url", service.url)
    assert not os.path.ismount(home.path / "mnt")


@pytest.mark.parametrize("nonsense", [NONSENSE["a web page"], NONSENSE["no ids"], NONSENSE["other JSON"]])
def test_a_container_that_answers_nonsense_spoils_no_other(home: Home, service: Service, nonsense: Reply) -> None:
    def respond(request: Request) -> Reply:
        if request.path == "/v1/containers":
            return page([{"id": "cntr_good", "name": "good"}, {"id": "cntr_bad", "name": "bad"}])
        if request.path == "/v1/containers/cntr_good/files":
            return page([{"id": "cfile_1", "path": "/mnt/data/file", "bytes": 7}])
        if request.path == "/v1/containers/cntr_good/files/cfile_1/content":
            return Reply(b"content")
        return nonsense

    service.respond = respond
    with home.mounted("--url", service.url) as mount:
        assert "Input/output error" in home.fails("ls", mount / "bad")
        assert "Input/output error" in home.fails("cat", mount / "bad" / "file")
        assert (mount / "good" / "file").read_text() == "content"
