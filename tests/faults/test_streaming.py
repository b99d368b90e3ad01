"""Large files that are uploaded while they are written: there once, and right, whatever becomes of file and service."""

import os
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.faults.exchange import Exchange, Fault
from tests.faults.faults import AFTER_COMMIT, ALWAYS, error, upload_of
from tests.faults.mounting import Task, agrees, close, mounted, uploads
from tests.faults.service import Service
from tests.fuse.mounted import Home, Mount, eventually
from tests.server.live import LiveServer, running_server

MEBIBYTE = 1 << 20
BEGUN, REST = random.Random(1).randbytes(10 * MEBIBYTE), random.Random(2).randbytes(3 * MEBIBYTE + 1)


def write(descriptor: int, content: bytes) -> None:
    """As ``cp`` does."""
    for start in range(0, len(content), MEBIBYTE // 8):
        os.write(descriptor, content[start : start + MEBIBYTE // 8])


def is_streamed(service: Service, name: str = "file", size: int = len(BEGUN)) -> Callable[[], bool]:
    """Whether the service has received so much of an upload, and not its end."""

    def received() -> bool:
        return any(
            len(upload.request.received) >= size and not upload.request.complete
            for upload in service.proxy.uploads(name)
        )

    return received


@contextmanager
def begun(mount: Mount, service: Service, box: str, name: str = "file") -> Iterator[int]:
    """A file of which the first part is written, and has arrived; whoever closes it does so within the block."""
    (mount / box).mkdir(exist_ok=True)
    descriptor = os.open(mount / box / name, os.O_CREAT | os.O_RDWR)
    write(descriptor, BEGUN)
    eventually(is_streamed(service, name), "the service has received what was written")
    yield descriptor


def after(size: int, then: Fault) -> Fault:
    """What befalls an upload once so much of it has come."""

    def fault(exchange: Exchange) -> None:
        while len(exchange.request.received) < size and exchange.request.read():
            pass
        then(exchange)

    return fault


def test_the_service_has_what_was_written_and_lists_no_file_until_it_is_closed(tmp_path: Path, home: Home) -> None:
    with (
        running_server(tmp_path / "store") as server,
        httpx.Client(base_url=server.base_url) as http,
        home.mounted("--url", server.address) as mount,
    ):
        (mount / "box").mkdir()
        (container,) = (each["id"] for each in http.get("/containers").json()["data"])
        descriptor = os.open(mount / "box" / "file", os.O_CREAT | os.O_WRONLY)
        write(descriptor, BEGUN)
        eventually(lambda: received(server) >= 8 * MEBIBYTE, "the server has written most of it to its disk")
        assert http.get(f"/containers/{container}/files").json()["data"] == []
        assert [each["name"] for each in uploads(mount)["streaming"]] == ["box/file"]
        assert "while it is written" in home.run("containerfs", "status", mount.path)
        write(descriptor, REST)
        assert close(descriptor) is None
        (stored,) = http.get(f"/containers/{container}/files").json()["data"]
        assert http.get(f"/containers/{container}/files/{stored['id']}/content").content == BEGUN + REST
        assert uploads(mount)["streaming"] == []


def received(server: LiveServer) -> int:
    """Bytes of what is not a file yet."""
    return sum(path.stat().st_size for path in (server.data_dir / "tmp").rglob("*") if path.is_file())


def test_it_is_one_request_with_the_attributes_that_the_file_has_in_the_end(
    service: Service, home: Home, box: str
) -> None:
    with mounted(service, home) as mount, begun(mount, service, box) as descriptor:
        write(descriptor, REST)
        os.fchmod(descriptor, 0o751)
        os.utime(descriptor, ns=(10**18, 10**18 + 1))
        assert close(descriptor) is None
        service.comes_to_hold(box, {"file": BEGUN + REST})
        assert len(service.proxy.uploads("file")) == 1
        assert b'"mode": 489, ' in service.proxy.uploads("file")[0].request.received[-1000:]
    assert not [each for each in service.proxy.exchanges if each.is_of_attributes]
    with mounted(service, Home(home.path / "other")) as other:
        found = (other / box / "file").stat()
        assert (found.st_mode & 0o777, found.st_mtime_ns) == (0o751, 10**18 + 1)


def test_a_file_that_is_changed_in_another_place(service: Service, home: Home, box: str) -> None:
    with mounted(service, home) as mount:
        with begun(mount, service, box, "written over") as descriptor:
            os.pwrite(descriptor, b"changed", 4 * MEBIBYTE)
            assert close(descriptor) is None
        with begun(mount, service, box, "cut") as descriptor:
            os.ftruncate(descriptor, 4 * MEBIBYTE)
            assert close(descriptor) is None
        start = BEGUN[: 4 * MEBIBYTE]
        wanted = {"written over": start + b"changed" + BEGUN[len(start) + 7 :], "cut": start}
        assert service.holds(box) == sorted(wanted.items())
        agrees(mount, service, box, wanted)


def test_a_file_that_is_renamed_while_it_is_written(service: Service, home: Home, box: str) -> None:
    with mounted(service, home) as mount, begun(mount, service, box) as descriptor:
        (mount / box / "file").rename(mount / box / "other")
        write(descriptor, REST)
        assert close(descriptor) is None
        agrees(mount, service, box, {"other": BEGUN + REST})


def test_a_file_that_is_deleted_while_it_is_written(service: Service, home: Home, box: str) -> None:
    with mounted(service, home) as mount, begun(mount, service, box) as descriptor:
        (mount / box / "file").unlink()
        write(descriptor, REST)
        assert close(descriptor) is None
        agrees(mount, service, box, {})


def test_a_file_that_replaces_one(service: Service, home: Home, box: str) -> None:
    with mounted(service, home) as mount:
        (mount / box).mkdir()
        (mount / box / "file").write_bytes(b"old")
        descriptor = os.open(mount / box / "file", os.O_TRUNC | os.O_WRONLY)
        write(descriptor, BEGUN)
        eventually(is_streamed(service), "the service has received what was written")
        assert service.holds(box) == [("file", b"old")]
        assert close(descriptor) is None
        assert service.holds(box) == [("file", BEGUN)]
        agrees(mount, service, box, {"file": BEGUN})


def test_two_programs_that_write_it(service: Service, home: Home, box: str) -> None:
    with mounted(service, home) as mount, begun(mount, service, box) as first:
        second = os.open(mount / box / "file", os.O_WRONLY | os.O_APPEND)
        write(second, REST)
        assert close(first) is None
        assert service.holds(box) == [("file", BEGUN + REST)]
        write(second, b"the end")
        assert close(second) is None
        agrees(mount, service, box, {"file": BEGUN + REST + b"the end"})


@pytest.mark.parametrize("synced", [False, True], ids=["", "synced"])
def test_a_mount_that_is_killed_while_it_is_written(service: Service, home: Home, box: str, *, synced: bool) -> None:
    with mounted(service, home) as mount, begun(mount, service, box) as descriptor:
        if synced:
            os.fsync(descriptor)
        mount.kill()
        assert close(descriptor) is not None
        assert service.names(box) == []
    wanted = {"file": BEGUN} if synced else {}
    with mounted(service, home) as mount:
        agrees(mount, service, box, wanted)


def cut(exchange: Exchange) -> None:
    exchange.cut()


def refused(status: int) -> Fault:
    """An answer in the middle of the content, of which nothing more is read."""

    def fault(exchange: Exchange) -> None:
        exchange.answer(error(status, headers=[("connection", "close"), ("x-should-retry", "false")]))
        exchange.left()
        exchange.cut()

    return fault


BROKEN = {"cut": cut, "413": refused(413), "503": refused(503), "507": refused(507)}


def test_an_upload_that_breaks_off_in_the_middle_is_made_anew(service: Service, home: Home, box: str) -> None:
    wanted = {}
    with mounted(service, home) as mount:
        (mount / box).mkdir()
        for name, fault in BROKEN.items():
            rule = service.proxy.on(upload_of(name), after(5 * MEBIBYTE, fault))
            descriptor = os.open(mount / box / name, os.O_CREAT | os.O_WRONLY)
            write(descriptor, BEGUN)
            rule.reached()
            write(descriptor, REST)
            assert close(descriptor) is None
            assert (name, BEGUN + REST) in service.holds(box)
            wanted[name] = BEGUN + REST
        agrees(mount, service, box, wanted)


def test_what_the_service_refuses_each_time_is_told_by_close(service: Service, home: Home, box: str) -> None:
    with mounted(service, home) as mount:
        (mount / box).mkdir()
        rule = service.proxy.on(upload_of("file"), after(5 * MEBIBYTE, refused(413)), times=ALWAYS)
        descriptor = os.open(mount / box / "file", os.O_CREAT | os.O_WRONLY)
        write(descriptor, BEGUN)
        assert close(descriptor) is not None
        rule.stop()
        agrees(mount, service, box, {"file": BEGUN})


def test_a_service_that_falls_silent_in_the_middle(service: Service, home: Home, box: str) -> None:
    gate = service.proxy.gate()
    with mounted(service, home) as mount:
        (mount / box).mkdir()
        service.proxy.on(upload_of("file"), after(5 * MEBIBYTE, gate.unread()))
        descriptor = os.open(mount / box / "file", os.O_CREAT | os.O_WRONLY)
        write(descriptor, BEGUN)
        gate.reached()
        write(descriptor, REST)
        closing = Task(lambda: os.close(descriptor))
        assert closing.ended() is not None  # its patience has ended; the upload goes on
        assert service.names(box) == []
        gate.open()
        agrees(mount, service, box, {"file": BEGUN + REST})


def test_an_answer_that_is_lost(service: Service, home: Home, box: str) -> None:
    with mounted(service, home) as mount:
        (mount / box).mkdir()
        for lost, fault in AFTER_COMMIT.items():
            rule = service.proxy.on(upload_of("file"), fault)
            descriptor = os.open(mount / box / "file", os.O_CREAT | os.O_TRUNC | os.O_WRONLY)
            write(descriptor, lost.encode() + BEGUN)
            assert close(descriptor) is None
            assert rule.met == 1
            assert service.holds(box) == [("file", lost.encode() + BEGUN)]
        agrees(mount, service, box, {"file": lost.encode() + BEGUN})


def test_a_server_that_waits_for_no_writer(tmp_path: Path, home: Home) -> None:
    """It answers 408 while the writer pauses."""
    with running_server(tmp_path / "store", "--timeout", "1s", "--access-log") as server:
        with home.mounted("--url", server.address) as mount:
            (mount / "box").mkdir()
            descriptor = os.open(mount / "box" / "file", os.O_CREAT | os.O_WRONLY)
            write(descriptor, BEGUN)
            eventually(lambda: " 408" in server.log.read_text(), "the server has given up")
            write(descriptor, REST)
            assert close(descriptor) is None
            assert (mount.anew(mount / "box") / "file").read_bytes() == BEGUN + REST
        with Home(tmp_path / "other").mounted("--url", server.address) as other:
            assert os.listdir(other / "box") == ["file"]
            assert (other / "box" / "file").read_bytes() == BEGUN + REST


def test_foreign_services_get_files_once_they_are_closed(foreign_service: Service, home: Home, box: str) -> None:
    with mounted(foreign_service, home) as mount:
        (mount / box).mkdir()
        descriptor = os.open(mount / box / "file", os.O_CREAT | os.O_WRONLY)
        write(descriptor, BEGUN)
        assert foreign_service.proxy.uploads("file") == []
        assert close(descriptor) is None
        assert "content-length" in foreign_service.proxy.uploads("file")[0].request.headers
        agrees(mount, foreign_service, box, {"file": BEGUN})


def test_it_can_be_turned_off(service: Service, home: Home, box: str) -> None:
    with mounted(service, home, "--streaming-uploads", "off") as mount:
        (mount / box).mkdir()
        descriptor = os.open(mount / box / "file", os.O_CREAT | os.O_WRONLY)
        write(descriptor, BEGUN)
        assert service.proxy.uploads("file") == []
        assert close(descriptor) is None
        agrees(mount, service, box, {"file": BEGUN})
