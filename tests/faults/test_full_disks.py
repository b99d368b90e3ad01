"""Disks and descriptors run out here: what is not on the service is known to the next mount, or its close() failed."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.faults.faults import ALWAYS, refuses, upload_of
from tests.faults.mounting import WRITE_BACK, agrees, close, failed, mounted, settled, unmount_in_vain, uploads, write
from tests.faults.proxy import Proxy
from tests.faults.service import Service
from tests.fuse.mounted import Home, Mount, eventually
from tests.fuse.namespace import FULL_DISK, namespace

MiB = 1 << 20
SMALL_DISK = 12 * MiB

FILL = """
import os, sys
with open(sys.argv[1], "ab", buffering=0) as filler:
    for size in (1 << 20, 4096, 1):
        try:
            while filler.write(b"x" * size):
                pass
        except OSError:
            pass
"""
"""Fills the disk that its argument is on, to the last byte."""

CLOSE_ON_A_FULL_DISK = """
import os, subprocess, sys
path, filler, fill = sys.argv[1:]
opened = os.open(path, os.O_CREAT | os.O_WRONLY)
os.write(opened, b"content" * 20_000)
subprocess.run([sys.executable, "-c", fill, filler], check=True)
try:
    os.close(opened)
except OSError as error:
    print(error.errno)
else:
    print("closed")
"""
"""Writes a file, fills the disk, and closes the file; prints how that went."""

FAILED_WRITE = """
import os, sys
opened = os.open(sys.argv[1], os.O_WRONLY)
for step in (lambda: [os.pwrite(opened, b"x" * (1 << 20), n << 20) for n in range(64)], lambda: os.fsync(opened),
             lambda: os.close(opened)):
    try:
        step()
    except OSError as error:
        print(error.errno)
    else:
        print(0)
"""
"""Writes more than the disk holds, syncs and closes; prints the error number of each."""


@contextmanager
def on_a_small_disk(service: Service, home: Home, *options: str) -> Iterator[Mount]:
    """A mount in a namespace of its own, whose caches have 12 MiB; its home runs programs there."""
    with (
        namespace(FULL_DISK, home.cache_dir, str(SMALL_DISK)) as prefix,
        mounted(service, Home(home.path, prefix), *options) as mount,
    ):
        yield mount


@pytest.mark.parametrize("options", [(), (WRITE_BACK,), (f"{WRITE_BACK}=strict",)], ids=["", "write-back", "strict"])
def test_the_journal_meets_a_full_disk(service: Service, home: Home, box: str, options: tuple[str, ...]) -> None:
    """The service does not answer, and nothing more can be noted here. Once there is room it is uploaded, once."""
    content = {"file": b"content" * 20_000}
    with on_a_small_disk(service, home, *options) as mount:
        mount.home.run("mkdir", mount / box)
        down = service.proxy.on(upload_of(), refuses(503), times=ALWAYS)
        filler = mount.home.cache_dir / "filler"
        closed = mount.home.python(CLOSE_ON_A_FULL_DISK, mount / box / "file", filler, FILL).strip()
        told = mount.home.run("containerfs", "status", mount.path)
        assert options or closed != "closed"
        assert f"  {box}/file  " in told  # it may be about to be tried again
        mount.home.run("rm", filler)
        down.stop()
        mount.home.run("containerfs", "sync", mount.path)
        service.comes_to_hold(box, content)
        assert "0 waiting, 0 failed" in mount.home.run("containerfs", "status", mount.path)
    assert len([upload for upload in service.proxy.uploads("file") if upload.committed]) == 1


def test_unmounting_what_could_not_be_noted_is_an_error(service: Service, home: Home, box: str) -> None:
    with on_a_small_disk(service, home) as mount:
        mount.home.run("mkdir", mount / box)
        service.proxy.on(upload_of(), refuses(503), times=ALWAYS)
        filler = mount.home.cache_dir / "filler"
        assert mount.home.python(CLOSE_ON_A_FULL_DISK, mount / box / "file", filler, FILL).strip() != "closed"
        assert f"{box}/file" in unmount_in_vain(mount)


def test_a_write_that_failed_is_not_made_good_by_fsync(service: Service, home: Home, box: str) -> None:
    service.create(box)
    with mounted(service, home) as mount:
        (mount / box / "file").write_bytes(b"old" * 1000)
    with on_a_small_disk(service, home) as mount:
        written, synced, closed = mount.home.python(FAILED_WRITE, mount / box / "file").split()
        assert int(written) == errno.ENOSPC
        assert int(synced) in (errno.ENOSPC, errno.EIO)
        assert int(closed) in (errno.ENOSPC, errno.EIO)
        assert mount.home.run("cat", mount / box / "file") == "old" * 1000
        assert mount.home.run("cat", mount / box / "file") == "old" * 1000
        assert "0 waiting, 0 failed" in mount.home.run("containerfs", "status", mount.path)
    service.comes_to_hold(box, {"file": b"old" * 1000})


def with_descriptors(home: Home, soft: int, hard: int) -> Home:
    return Home(home.path, ("prlimit", f"--nofile={soft}:{hard}"))


def told_of(mount: Mount) -> int:
    """How many uploads the status tells of."""
    told = uploads(mount)
    return int(told["pending"]) + len(told["failed"])


def test_more_staged_files_than_descriptors(service: Service, home: Home, box: str) -> None:
    """1,300 files are written while the service refuses connections, and are read; then it is back."""
    wanted = {f"file {number:04}": b"%d" % number for number in range(1300)}
    with mounted(service, with_descriptors(home, 1024, 1024), WRITE_BACK) as mount:
        (mount / box).mkdir()
        with service.proxy.down():
            assert {write(mount / box / name, content) for name, content in wanted.items()} == {None}
            assert {name: (mount / box / name).read_bytes() for name in wanted} == wanted
            # One that changes from one list to the other may be in neither for a moment.
            eventually(lambda: told_of(mount) >= 1300, "the status tells of all uploads")
        settled(mount)
        assert service.names(box) == sorted(wanted)
    assert uploaded_once(service.proxy)


def test_more_staged_files_than_descriptors_at_the_next_mount(service: Service, home: Home, box: str) -> None:
    wanted = {f"file {number:03}": b"%d" % number for number in range(300)}
    with mounted(service, home, WRITE_BACK) as mount:
        (mount / box).mkdir()
        with service.proxy.down():
            assert {write(mount / box / name, content) for name, content in wanted.items()} == {None}
            mount.kill()
    with mounted(service, with_descriptors(home, 128, 128)) as mount:
        agrees(mount, service, box, wanted)


def test_a_low_limit_is_raised_to_the_hard_one(service: Service, home: Home, box: str) -> None:
    with mounted(service, with_descriptors(home, 64, 1024)) as mount:
        (mount / box).mkdir()
        opened = [os.open(mount / box / f"file {number}", os.O_CREAT | os.O_WRONLY) for number in range(300)]
        assert {close(descriptor) for descriptor in opened} == {None}
        agrees(mount, service, box, {f"file {number}": b"" for number in range(300)})


def test_descriptors_that_run_out_do_so_at_open(service: Service, home: Home, box: str) -> None:
    """Programs get EMFILE or ENFILE from open(), and what is open already is written, closed and uploaded."""
    opened: dict[str, int] = {}
    refusals = set()
    with mounted(service, with_descriptors(home, 128, 128)) as mount:
        (mount / box).mkdir()
        for number in range(200):
            try:
                opened[f"file {number}"] = os.open(mount / box / f"file {number}", os.O_CREAT | os.O_WRONLY)
            except OSError as error:
                refusals.add(error.errno)
        assert refusals <= {errno.EMFILE, errno.ENFILE}
        assert len(opened) < 200
        for name, descriptor in opened.items():
            assert os.write(descriptor, name.encode()) == len(name)
        assert {close(descriptor) for descriptor in opened.values()} == {None}
        agrees(mount, service, box, {name: name.encode() for name in opened})


def test_the_service_is_full(service: Service, home: Home, box: str) -> None:
    """ENOSPC from close(); it is tried again, and stored when there is room."""
    with mounted(service, home) as mount:
        (mount / box).mkdir()
        (mount / box / "file").write_bytes(b"old")
        full = service.proxy.on(upload_of(), refuses(507), times=ALWAYS)
        assert write(mount / box / "file", b"new") == errno.ENOSPC
        assert service.holds(box) == [("file", b"old")]
        eventually(lambda: failed(mount) == [f"{box}/file"], "it is listed, but while it is tried again")
        full.stop()
        eventually(lambda: service.holds(box) == [("file", b"new")], "it is tried again by itself")
        agrees(mount, service, box, {"file": b"new"})


def uploaded_once(proxy: Proxy) -> bool:
    stored = [upload.name for upload in proxy.uploads() if upload.committed]
    return len(stored) == len(set(stored))
