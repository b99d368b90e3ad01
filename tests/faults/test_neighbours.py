"""Faults beside the usual ones: another call, an interruption instead of a failure, a crash between two steps."""

import errno
import os
import signal
import subprocess
import sys

import pytest

from tests.faults.exchange import Match
from tests.faults.faults import ALWAYS, change, content, copy, deletion, loses_answer, refuses, upload_of
from tests.faults.mounting import (
    WRITE_BACK,
    Task,
    agrees,
    close,
    failed,
    mounted,
    settled,
    stays,
    write,
)
from tests.faults.service import Service
from tests.fuse.mounted import Home, Mount, errno_of, eventually

TREE = {"one": b"1" * 100, "two": b"2" * 200, "deeper/three": b"3" * 300, "deeper/four": b"4" * 400}
RENAMES = "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); os.rename(*sys.argv[1:])"


def below(directory: str) -> dict[str, bytes]:
    return {f"{directory}/{path}": held for path, held in TREE.items()}


def make_tree(service: Service, box: str, directory: str) -> None:
    container_id = service.create(box)
    for path, held in below(directory).items():
        service.put(container_id, path, held)


@pytest.mark.parametrize("number", [0, 2, 5])
def test_a_rename_of_a_directory_that_is_interrupted(service: Service, home: Home, box: str, number: int) -> None:
    """Ctrl-C while the kth request is under way: one whole directory, under one of its names."""
    make_tree(service, box, "DIR")
    with mounted(service, home) as mount:
        top = mount / box
        held = service.proxy.gate()
        service.proxy.on(change, held.before(), skip=number)
        with subprocess.Popen([sys.executable, "-c", RENAMES, top / "DIR", top / "NEW"]) as program:
            held.reached()
            program.send_signal(signal.SIGINT)
            program.wait(30)
        held.open()
        settled(mount)
        name = "NEW" if (top / "NEW").exists() else "DIR"
        agrees(mount, service, box, below(name))
    stays(service, home, box, below(name))


def test_a_rename_whose_content_cannot_be_fetched(foreign_service: Service, home: Home, box: str) -> None:
    """A service without copies: each file is downloaded and uploaded again, and one of them does not come."""
    with mounted(foreign_service, home) as mount:
        (mount / box).mkdir()
        for path, held in below("DIR").items():
            (mount / box / path).parent.mkdir(parents=True, exist_ok=True)
            (mount / box / path).write_bytes(held)
    for cached in (home.cache_dir / "content").glob("??/*"):
        cached.unlink()
    with mounted(foreign_service, home) as mount:
        rule = foreign_service.proxy.on(content, refuses(404), skip=2)
        moved = errno_of(lambda: os.rename(mount / box / "DIR", mount / box / "NEW")) is None
        rule.stop()
        name = "NEW" if moved else "DIR"
        agrees(mount, foreign_service, box, below(name))
        os.rename(mount / box / name, mount / box / "LAST")
        agrees(mount, foreign_service, box, below("LAST"))
    stays(foreign_service, home, box, below("LAST"))


def test_a_file_takes_the_place_of_one_whose_upload_has_lost_its_answer(
    any_service: Service, home: Home, box: str
) -> None:
    any_service.create(box)
    with mounted(any_service, home) as mount:
        top = mount / box
        any_service.proxy.on(upload_of("target"), loses_answer, times=ALWAYS)
        assert write(top / "target", b"old!") in (errno.EIO, None), "where its content can be found it is found"
        is_back(mount, box)
        assert write(top / "source", b"new!") is None
        renamed = errno_of(lambda: os.rename(top / "source", top / "target"))
        mount.kill()
    any_service.proxy.mend()
    wanted = {"target": b"new!"} if renamed is None else {"target": b"old!", "source": b"new!"}
    with mounted(any_service, home) as mount:
        agrees(mount, any_service, box, wanted)
    stays(any_service, home, box, wanted)


def test_a_smaller_content_after_one_that_was_too_large(any_service: Service, home: Home, box: str) -> None:
    any_service.create(box)
    with mounted(any_service, home) as mount:
        path = mount / box / "file"
        rule = any_service.proxy.on(upload_of("file"), refuses(413), times=ALWAYS)
        assert write(path, b"large" * 1000) == errno.EFBIG
        assert failed(mount) == [f"{box}/file"]
        rule.stop()
        os.truncate(path, 5)
        agrees(mount, any_service, box, {"file": b"large"})
    stays(any_service, home, box, {"file": b"large"})


def test_appended_to_after_a_close_that_failed(any_service: Service, home: Home, box: str) -> None:
    any_service.create(box)
    with mounted(any_service, home) as mount:
        path = mount / box / "file"
        any_service.proxy.on(upload_of("file"), loses_answer, times=ALWAYS)
        assert write(path, b"one ") in (errno.EIO, None), "where its content can be found it is found"
        any_service.proxy.mend()
        is_back(mount, box)
        with path.open("ab") as file:
            file.write(b"two")
        agrees(mount, any_service, box, {"file": b"one two"})


def test_an_open_file_that_was_synced_and_renamed_before_a_crash(any_service: Service, home: Home, box: str) -> None:
    any_service.create(box)
    with mounted(any_service, home) as mount:
        top = mount / box
        fd = os.open(top / "old", os.O_CREAT | os.O_WRONLY)
        os.write(fd, b"synced")
        os.fsync(fd)
        assert errno_of(lambda: os.rename(top / "old", top / "new")) is None
        mount.kill()
        close(fd)
    with mounted(any_service, home) as mount:
        agrees(mount, any_service, box, {"new": b"synced"})
    stays(any_service, home, box, {"new": b"synced"})


@pytest.mark.parametrize("request_", [upload_of(), copy, deletion], ids=["upload", "copy", "deletion"])
def test_renamed_over_another_with_write_back_before_a_crash(
    any_service: Service, home: Home, box: str, request_: Match
) -> None:
    """The crash meets the first request of its kind after the server has carried it out."""
    any_service.create(box)
    with mounted(any_service, home, WRITE_BACK) as mount:
        top = mount / box
        assert write(top / "target", b"old!") is None
        assert write(top / "source", b"new!") is None
        settled(mount)
        held = any_service.proxy.gate()
        any_service.proxy.on(request_, held.after(), times=ALWAYS)
        renaming = Task(lambda: os.rename(top / "source", top / "target"))
        renamed = renaming.ended()
        assert renamed is None
        eventually(lambda: bool(held.arrived) or mount.status()["uploads"]["pending"] == 0, "a request, or none")
        mount.kill()
        held.open()
    any_service.proxy.mend()
    with mounted(any_service, home) as mount:
        agrees(mount, any_service, box, {"target": b"new!"})
    stays(any_service, home, box, {"target": b"new!"})


def test_deleted_and_made_anew_with_write_back_before_a_crash(any_service: Service, home: Home, box: str) -> None:
    any_service.create(box)
    with mounted(any_service, home, WRITE_BACK) as mount:
        top = mount / box
        assert write(top / "file", b"old!") is None
        assert write(top / "gone", b"gone") is None
        settled(mount)
        held = any_service.proxy.gate()
        any_service.proxy.on(change, held.before(), times=ALWAYS)
        (top / "file").unlink()
        (top / "gone").unlink()
        assert write(top / "file", b"new!") is None
        mount.kill()
    any_service.proxy.mend()
    with mounted(any_service, home) as mount:
        agrees(mount, any_service, box, {"file": b"new!"})
    stays(any_service, home, box, {"file": b"new!"})


def test_a_container_that_is_removed_while_its_uploads_fail(any_service: Service, home: Home, box: str) -> None:
    any_service.create(box)
    with mounted(any_service, home) as mount:
        top = mount / box
        any_service.proxy.on(upload_of("file"), refuses(503), times=ALWAYS)
        assert write(top / "file", b"content") == errno.EIO
        is_back(mount, box)
        assert (top / "file").read_bytes() == b"content"
        agrees(mount, any_service, box, {"file": b"content"})


def is_back(mount: Mount, box: str) -> None:
    """The service, which its lost answers may have made seem away, is asked whether the container is empty."""
    eventually(lambda: errno_of((mount / box).rmdir) == errno.ENOTEMPTY, "the service is back")
