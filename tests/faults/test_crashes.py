"""kill -9 at the worst moments: what was said to be safe comes to the service, the latest of it, once."""

import os
from pathlib import Path

from tests.faults.exchange import Fault, Gate
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
from tests.faults.proxy import Rule
from tests.faults.service import Service
from tests.fuse.mounted import Home, errno_of

V1, V2, V3 = b"11111111" * 500, b"22222222" * 500, b"333" * 700

BEGUN: dict[str, Fault] = {"stored": loses_answer, "not stored": loses_request, "body cut": cuts_body}
"""What may have become of an upload that was under way."""


def under_way(service: Service, top: Path) -> Gate:
    """First versions are written, and have come as far as ``BEGUN`` says; the gate holds what becomes of them."""
    held = service.proxy.gate()
    for fate, fault in BEGUN.items():
        service.proxy.on(upload_of(fate), held.after() if fate == "stored" else held.before(fault))
        assert write(top / fate, V1) is None
    held.reached(len(BEGUN))
    return held


def test_a_newer_version_of_the_same_size(every_service: Service, home: Home, box: str) -> None:
    """The first version is under way, whatever comes of it, and the second is closed when the mount is killed."""
    with mounted(every_service, home, WRITE_BACK) as mount:
        (mount / box).mkdir()
        held = under_way(every_service, mount / box)
        for fate in BEGUN:
            assert write(mount / box / fate, V2) is None
        mount.kill()
        held.open()
    wanted = dict.fromkeys(BEGUN, V2)
    with mounted(every_service, home) as mount:
        agrees(mount, every_service, box, wanted)
    stays(every_service, home, box, wanted)


def test_appended_to_after_a_crash_in_the_middle_of_an_upload(any_service: Service, home: Home, box: str) -> None:
    """The upload is stored before the crash, or arrives after the next mount has appended."""
    proxy, names = any_service.proxy, ("early", "late 1", "late 2", "late 3")
    with mounted(any_service, home, WRITE_BACK) as mount:
        (mount / box).mkdir()
        held = proxy.gate()
        for pieces, name in enumerate(names):
            proxy.on(upload_of(name), held.before() if pieces else held.after())
            with (mount / box / name).open("wb", buffering=0) as written:
                for piece in range(pieces):
                    written.write(b"%d" % piece)
                written.write(V1[pieces:])
        held.reached(len(names))
        stored = {name: (mount / box / name).read_bytes() for name in names}
        mount.kill()
    down = proxy.on(upload_of(), refuses(503), times=ALWAYS)
    with mounted(any_service, home, WRITE_BACK) as mount:
        for name in names:
            with (mount / box / name).open("ab") as appended:
                appended.write(V3)
        held.open()
        assert all(upload.ended.wait(30) for upload in proxy.uploads()[: len(names)])
        down.stop()
        wanted = {name: content + V3 for name, content in stored.items()}
        agrees(mount, any_service, box, wanted)
    stays(any_service, home, box, wanted)


def test_killed_again_and_again_while_its_upload_is_under_way(any_service: Service, home: Home, box: str) -> None:
    """Each mount appends, begins to upload, and is killed; some of the uploads are stored."""
    content = b""
    any_service.create(box)
    for number, fate in enumerate(["stored", "not stored", "stored"]):
        with mounted(any_service, home, WRITE_BACK) as mount:
            begun = any_service.proxy.on(upload_of("file"), BEGUN[fate])
            with (mount / box / "file").open("ab") as appended:
                appended.write(b"%d" % number * 100)
            content += b"%d" % number * 100
            any_service.proxy.on(look, refuses(503), times=2)
            begun.reached()
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


def test_an_open_file_that_is_deleted(any_service: Service, home: Home, box: str) -> None:
    """It goes from the service when it is closed, also if the deletion fails at first."""
    with mounted(any_service, home) as mount:
        (mount / box).mkdir()
        remove_while_open(mount / box / "removed", any_service, None)
        (mount / box / "other").write_bytes(V2)
        remove_while_open(mount / box / "replaced", any_service, mount / box / "other")
        agrees(mount, any_service, box, {"replaced": V2})


def test_an_open_file_that_is_deleted_before_a_crash(any_service: Service, home: Home, box: str) -> None:
    with mounted(any_service, home) as mount:
        (mount / box).mkdir()
        # close() returns before the mount hears of it; once the deletion is tried, the journal has it.
        remove_while_open(mount / box / "removed", any_service, None, times=ALWAYS).reached()
        mount.kill()
    any_service.proxy.mend()
    with mounted(any_service, home) as mount:
        agrees(mount, any_service, box, {})


def remove_while_open(path: Path, service: Service, other: Path | None, times: float = 1) -> Rule:
    """Make a file, and delete it while it is open, or rename another one over it; deletions fail at the service."""
    path.write_bytes(V1)
    opened = os.open(path, os.O_RDONLY)
    failing = service.proxy.on(deletion, refuses(503), times=times)
    if other is None:
        path.unlink()
    else:
        other.rename(path)
    assert os.pread(opened, len(V1), 0) == V1
    assert close(opened) is None
    return failing


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


def test_of_two_journals_the_later_write_wins(any_service: Service, home: Home, box: str) -> None:
    """Two mounts on one cache directory write the same paths, one after the other, and both are killed."""
    first = {f"file {number}": b"first %d" % number for number in range(6)}
    second = {f"file {number}": b"later %d" % number for number in range(6)}
    any_service.create(box)
    any_service.proxy.on(upload_of(), refuses(503), times=ALWAYS)
    with (
        mounted(any_service, home, WRITE_BACK, at=home.path / "one") as one,
        mounted(any_service, home, WRITE_BACK, at=home.path / "two") as two,
    ):
        for name in first:
            order = (one, two) if name < "file 3" else (two, one)
            assert write(order[0] / box / name, first[name]) is None
            assert write(order[1] / box / name, second[name]) is None
        for mount in (one, two):
            mount.kill()
    any_service.proxy.mend()
    with mounted(any_service, home) as mount:
        agrees(mount, any_service, box, second)
    stays(any_service, home, box, second)


def test_of_two_mounts_the_later_write_stays_once_it_is_stored(every_service: Service, home: Home, box: str) -> None:
    """One mount is killed while its uploads are under way; another has stored later contents for their paths."""
    every_service.create(box)
    with (
        mounted(every_service, home, WRITE_BACK, at=home.path / "one") as one,
        mounted(every_service, home, WRITE_BACK, at=home.path / "two") as two,
    ):
        held = under_way(every_service, one / box)
        for fate in BEGUN:
            assert write(two / box / fate, V2) is None
        settled(two)
        one.kill()
        held.open()
    wanted = dict.fromkeys(BEGUN, V2)
    with mounted(every_service, home) as mount:
        agrees(mount, every_service, box, wanted)
    stays(every_service, home, box, wanted)


def test_many_files_in_every_state(every_service: Service, home: Home, box: str) -> None:
    """Stored, overwritten, being uploaded, renamed, deleted, and open, when the mount is killed."""
    with mounted(every_service, home, WRITE_BACK) as mount:
        top = mount / box
        top.mkdir()
        for name in ("stored", "overwritten", "deleted", "renamed"):
            (top / name).write_bytes(V1)
        settled(mount)
        (top / "deleted").unlink()
        every_service.proxy.on(upload_of(), loses_request, times=ALWAYS)
        every_service.proxy.on(lambda exchange: exchange.is_copy, refuses(503), times=ALWAYS)
        (top / "overwritten").write_bytes(V2)
        (top / "new").write_bytes(V3)
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
