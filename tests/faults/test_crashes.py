"""kill -9 at the worst moments: what was said to be safe comes to the service, the latest of it, once."""

import os
from pathlib import Path

import pytest

from tests.faults.faults import (
    ALWAYS,
    cuts_body,
    deletion,
    look,
    loses_answer,
    loses_request,
    refuses,
    upload_of,
)
from tests.faults.mounting import DEAD, WRITE_BACK, agrees, close, mounted, settled, shows, stays, write
from tests.faults.proxy import Fault
from tests.faults.service import Service
from tests.fuse.mounted import Home, errno_of

V1, V2, V3 = b"11111111" * 500, b"22222222" * 500, b"333" * 700

BEGUN: dict[str, Fault] = {"stored": loses_answer, "not stored": loses_request, "body cut": cuts_body}
"""What may have become of an upload that was under way."""


@pytest.mark.parametrize("fate", BEGUN)
def test_a_newer_version_of_the_same_size(every_service: Service, home: Home, box: str, fate: str) -> None:
    """The first version is under way, the second is closed; the mount is killed."""
    with mounted(every_service, home, WRITE_BACK) as mount:
        (mount / box).mkdir()
        held = every_service.proxy.gate()
        if fate == "stored":
            every_service.proxy.on(upload_of("file"), held.after())
        else:
            every_service.proxy.on(upload_of("file"), held.before(BEGUN[fate]))
        assert write(mount / box / "file", V1) is None
        held.reached()
        assert write(mount / box / "file", V2) is None
        mount.kill()
        held.open()
    with mounted(every_service, home) as mount:
        agrees(mount, every_service, box, {"file": V2})
    stays(every_service, home, box, {"file": V2})


@pytest.mark.parametrize("stored", ["before the crash", "after the append"])
def test_appended_to_after_a_crash_in_the_middle_of_an_upload(
    any_service: Service, home: Home, box: str, stored: str
) -> None:
    with mounted(any_service, home, WRITE_BACK) as mount:
        (mount / box).mkdir()
        held = any_service.proxy.gate()
        any_service.proxy.on(upload_of("file"), held.after() if stored == "before the crash" else held.before())
        assert write(mount / box / "file", V1) is None
        held.reached()
        mount.kill()
    down = any_service.proxy.on(upload_of(), refuses(503), times=ALWAYS)
    with mounted(any_service, home, WRITE_BACK) as mount:
        with (mount / box / "file").open("ab") as appended:
            appended.write(V3)
        held.open()
        assert any_service.proxy.uploads()[0].ended.wait(30)
        down.stop()
        agrees(mount, any_service, box, {"file": V1 + V3})
    stays(any_service, home, box, {"file": V1 + V3})


def test_killed_again_and_again_while_its_upload_is_under_way(any_service: Service, home: Home, box: str) -> None:
    """Each mount appends, begins to upload, and is killed; some of the uploads are stored."""
    content = b""
    any_service.create(box)
    for number, fate in enumerate(["stored", "not stored", "stored"]):
        with mounted(any_service, home, WRITE_BACK) as mount:
            any_service.proxy.on(upload_of("file"), BEGUN[fate])
            with (mount / box / "file").open("ab") as appended:
                appended.write(b"%d" % number * 100)
            content += b"%d" % number * 100
            any_service.proxy.on(look, refuses(503), times=2)
            mount.kill()
        any_service.proxy.mend()
    with mounted(any_service, home) as mount:
        agrees(mount, any_service, box, {"file": content})


def test_deleted_before_a_crash(any_service: Service, home: Home, box: str) -> None:
    """The deletion could not be sent; what rm said is what the next mount makes true."""
    with mounted(any_service, home) as mount:
        (mount / box).mkdir()
        (mount / box / "file").write_bytes(V1)
        (mount / box / "kept").write_bytes(V1)
        any_service.proxy.on(deletion, refuses(503), times=ALWAYS)
        removed = errno_of((mount / box / "file").unlink) is None
        mount.kill()
    any_service.proxy.mend()
    wanted = {"kept": V1} if removed else {"file": V1, "kept": V1}
    with mounted(any_service, home) as mount:
        agrees(mount, any_service, box, wanted)


def test_an_overwrite_whose_old_file_could_not_be_deleted(any_service: Service, home: Home, box: str) -> None:
    """A deletion that fails makes no close() fail, and outlives a crash."""
    with mounted(any_service, home) as mount:
        (mount / box).mkdir()
        (mount / box / "file").write_bytes(V1)
        any_service.proxy.on(deletion, refuses(503), times=ALWAYS)
        assert write(mount / box / "file", V2) is None
        mount.kill()
    any_service.proxy.mend()
    with mounted(any_service, home) as mount:
        agrees(mount, any_service, box, {"file": V2})
    stays(any_service, home, box, {"file": V2})


@pytest.mark.parametrize("end", ["unlink", "overwritten by mv"])
def test_an_open_file_that_is_deleted(any_service: Service, home: Home, box: str, end: str) -> None:
    """It goes from the service when it is closed, if the deletion fails at first, too."""
    wanted = {} if end == "unlink" else {"file": V2}
    with mounted(any_service, home) as mount:
        remove_while_open(mount / box, any_service, end)
        agrees(mount, any_service, box, wanted)


def test_an_open_file_that_is_deleted_before_a_crash(any_service: Service, home: Home, box: str) -> None:
    with mounted(any_service, home) as mount:
        remove_while_open(mount / box, any_service, "unlink", times=ALWAYS)
        mount.kill()
    any_service.proxy.mend()
    with mounted(any_service, home) as mount:
        agrees(mount, any_service, box, {})


def remove_while_open(top: Path, service: Service, end: str, times: float = 1) -> None:
    top.mkdir()
    (top / "file").write_bytes(V1)
    opened = os.open(top / "file", os.O_RDONLY)
    service.proxy.on(deletion, refuses(503), times=times)
    if end == "unlink":
        (top / "file").unlink()
    else:
        (top / "other").write_bytes(V2)
        (top / "other").rename(top / "file")
    assert os.pread(opened, len(V1), 0) == V1
    assert close(opened) is None


def test_what_was_never_closed_nor_synced_leaves_the_old_file(any_service: Service, home: Home, box: str) -> None:
    with mounted(any_service, home) as mount:
        (mount / box).mkdir()
        (mount / box / "file").write_bytes(V1)
        opened = os.open(mount / box / "file", os.O_WRONLY | os.O_TRUNC)
        os.write(opened, V3)
        mount.kill()
        assert close(opened) in DEAD | {None}
    with mounted(any_service, home) as mount:
        agrees(mount, any_service, box, {"file": V1})


def two_mounts(service: Service, home: Home, box: str, first: bytes, second: bytes) -> None:
    """Two mounts on one cache directory write one path, ``first`` and then ``second``, and are both killed."""
    service.create(box)
    service.proxy.on(upload_of("file"), refuses(503), times=ALWAYS)
    with (
        mounted(service, home, WRITE_BACK, at=home.path / "one") as one,
        mounted(service, home, WRITE_BACK, at=home.path / "two") as two,
    ):
        assert write(one / box / "file", first) is None
        assert write(two / box / "file", second) is None
        for mount in (one, two):
            mount.kill()
    service.proxy.mend()


@pytest.mark.parametrize("round", range(3))  # where chance decides, it is seldom right three times
def test_of_two_journals_the_later_write_wins(service: Service, home: Home, box: str, round: int) -> None:
    two_mounts(service, home, box, V1, V2)
    with mounted(service, home) as mount:
        agrees(mount, service, box, {"file": V2})
    stays(service, home, box, {"file": V2})


def test_of_two_journals_the_later_write_wins_where_uploads_pile_up(any_service: Service, home: Home, box: str) -> None:
    two_mounts(any_service, home, box, V2, V1)
    with mounted(any_service, home) as mount:
        agrees(mount, any_service, box, {"file": V1})


def test_many_files_in_every_state(every_service: Service, home: Home, box: str) -> None:
    """Stored, overwritten, being uploaded, renamed, deleted, and open, when the mount is killed."""
    with mounted(every_service, home, WRITE_BACK) as mount:
        top = mount / box
        top.mkdir()
        for name in ("stored", "overwritten", "deleted", "renamed"):
            (top / name).write_bytes(V1)
        settled(mount)
        every_service.proxy.on(upload_of(), loses_request, times=ALWAYS)
        every_service.proxy.on(lambda exchange: exchange.is_copy, refuses(503), times=ALWAYS)
        (top / "overwritten").write_bytes(V2)
        (top / "new").write_bytes(V3)
        (top / "deleted").unlink()
        moved = errno_of(lambda: (top / "renamed").rename(top / "elsewhere")) is None
        opened = os.open(top / "synced", os.O_CREAT | os.O_WRONLY)
        os.write(opened, V2)
        os.fsync(opened)
        mount.kill()
        assert close(opened) in DEAD | {None}
    every_service.proxy.mend()
    wanted = {"stored": V1, "overwritten": V2, "new": V3, "synced": V2, "elsewhere" if moved else "renamed": V1}
    with mounted(every_service, home) as mount:
        shows(mount, box, wanted)
        agrees(mount, every_service, box, wanted)
