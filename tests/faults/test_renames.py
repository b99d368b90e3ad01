"""Renaming while the service fails: all or nothing as programs see it, and no file lost, doubled or under two names."""

import errno
import os
from pathlib import Path

import pytest

from tests.faults.exchange import Fault
from tests.faults.faults import ALWAYS, change, deletion, loses_answer, loses_request, refuses, upload_of
from tests.faults.mounting import (
    DEAD,
    WRITE_BACK,
    Task,
    agrees,
    close,
    mounted,
    settled,
    shows,
    stays,
    write,
)
from tests.faults.service import Service
from tests.fuse.mounted import REFRESH, Home, Mount, errno_of, eventually

OLD, NEW = b"old " * 1000, b"new " * 1000
TREE = {"one": b"1" * 100, "two": b"2" * 200, "deeper/three": b"3" * 300, "deeper/four": b"4" * 400}
KTH: list[tuple[int, Fault]] = [(0, refuses(503)), (2, loses_answer), (3, refuses(503)), (5, loses_request)]
"""The request of a rename that fails, counted from 0, and how."""


def make_tree(top: Path) -> None:
    for path, content in TREE.items():
        (top / path).parent.mkdir(parents=True, exist_ok=True)
        (top / path).write_bytes(content)


def below(directory: str) -> dict[str, bytes]:
    return {f"{directory}/{path}": content for path, content in TREE.items()}


def names(directory: Path) -> list[str]:
    return sorted(os.listdir(directory))


def all_or_nothing(mount: Mount, box: str, moved: bool) -> dict[str, bytes]:
    """What programs see, which is to be the whole directory under one of its names."""
    wanted = below("NEW" if moved else "DIR")
    shows(mount, box, wanted)
    assert names(mount / box) == ["NEW" if moved else "DIR"]
    return wanted


def test_a_directory_while_the_kth_request_fails(any_service: Service, home: Home, box: str) -> None:
    with mounted(any_service, home) as mount:
        for number, fault in KTH:
            make_tree(mount / box / "DIR")
            failing = any_service.proxy.on(change, fault, skip=number)
            moved = errno_of(lambda: os.rename(mount / box / "DIR", mount / box / "NEW")) is None
            failing.stop()
            wanted = all_or_nothing(mount, box, moved)
            agrees(mount, any_service, box, wanted)
            if not moved:
                os.rename(mount / box / "DIR", mount / box / "NEW")
            agrees(mount, any_service, box, below("NEW"))
            home.run("rm", "-r", mount / box / "NEW")


def test_mv_while_the_service_goes_down_in_the_middle(any_service: Service, home: Home, box: str) -> None:
    """The program mv, whose exit status is to tell the truth."""
    with mounted(any_service, home) as mount:
        make_tree(mount / box / "DIR")
        any_service.proxy.on(change, refuses(503), skip=3, times=ALWAYS)
        moved = home.attempt("mv", mount / box / "DIR", mount / box / "NEW").returncode == 0
        all_or_nothing(mount, box, moved)
        any_service.proxy.mend()
        home.run("mv", mount / box / ("NEW" if moved else "DIR"), mount / box / "LAST")
        agrees(mount, any_service, box, below("LAST"))
    stays(any_service, home, box, below("LAST"))


@pytest.mark.parametrize("number", [1, 4])
def test_a_directory_while_the_mount_is_killed_at_the_kth_request(
    any_service: Service, home: Home, box: str, number: int
) -> None:
    with mounted(any_service, home) as mount:
        make_tree(mount / box / "DIR")
        held = any_service.proxy.gate()
        any_service.proxy.on(change, held.after(), skip=number)
        renaming = Task(lambda: os.rename(mount / box / "DIR", mount / box / "NEW"))
        held.reached()
        mount.kill()
        held.open()
        assert renaming.ended() in DEAD | {None}
    with mounted(any_service, home) as mount:
        moved = not (mount / box / "DIR").exists()
        agrees(mount, any_service, box, all_or_nothing(mount, box, moved))
    stays(any_service, home, box, below("NEW" if moved else "DIR"))


def test_a_file_that_is_made_in_a_directory_while_that_is_renamed(any_service: Service, home: Home, box: str) -> None:
    """One that is closed in the middle, one that stays open, and one that is made in the middle: all are moved."""
    with mounted(any_service, home) as mount:
        top = mount / box
        make_tree(top / "DIR")
        inside = os.open(top / "DIR", os.O_RDONLY | os.O_DIRECTORY)
        before, during = (os.open(name, os.O_CREAT | os.O_WRONLY, dir_fd=inside) for name in ("before", "during"))
        os.write(before, OLD)
        os.write(during, OLD)
        held = any_service.proxy.gate()
        any_service.proxy.on(change, held.before())
        renaming = Task(lambda: os.rename(top / "DIR", top / "NEW"))
        held.reached()
        closing = Task(lambda: os.close(during))
        made: list[int] = []
        making = Task(lambda: made.append(os.open("made", os.O_CREAT | os.O_WRONLY, dir_fd=inside)))
        held.open()
        assert (renaming.ended(), making.ended(), closing.ended()) == (None, None, None)
        os.write(made[0], NEW)
        assert (close(made[0]), close(before), close(inside)) == (None, None, None)
        agrees(mount, any_service, box, below("NEW") | {"NEW/before": OLD, "NEW/during": OLD, "NEW/made": NEW})


def test_a_file_over_one_that_is_staged_while_a_deletion_fails(any_service: Service, home: Home, box: str) -> None:
    with mounted(any_service, home, WRITE_BACK) as mount:
        (mount / box).mkdir()
        (mount / box / "b").write_bytes(OLD)
        settled(mount)
        any_service.proxy.on(upload_of(), refuses(503))
        assert write(mount / box / "b", b"staged") is None
        assert write(mount / box / "a", NEW) is None
        any_service.proxy.on(deletion, refuses(503), times=2)
        home.run("mv", mount / box / "a", mount / box / "b")
        assert (mount / box / "b").read_bytes() == NEW
        mount.kill()
    any_service.proxy.mend()
    with mounted(any_service, home) as mount:
        agrees(mount, any_service, box, {"b": NEW})
    stays(any_service, home, box, {"b": NEW}, rounds=2)


def test_a_file_over_another_while_a_deletion_fails(any_service: Service, home: Home, box: str) -> None:
    with mounted(any_service, home) as mount:
        (mount / box).mkdir()
        (mount / box / "a").write_bytes(NEW)
        (mount / box / "b").write_bytes(OLD)
        any_service.proxy.on(deletion, refuses(503), times=2)
        moved = home.attempt("mv", mount / box / "a", mount / box / "b").returncode == 0
        wanted = {"b": NEW} if moved else {"a": NEW, "b": OLD}
        shows(mount, box, wanted)
        agrees(mount, any_service, box, wanted)
    stays(any_service, home, box, wanted, rounds=2)


@pytest.mark.parametrize("stored", ["nothing", "g.tmp", "both"])
def test_temporary_names_in_a_row_and_listings_meanwhile(
    any_service: Service, home: Home, box: str, stored: str
) -> None:
    """``k.tmp`` over ``g.tmp``, and that to ``z.tmp``; what a listing finds in the middle is old soon."""
    with mounted(any_service, home) as mount:
        top = mount / box
        (top / "elsewhere").mkdir(parents=True)
        (top / "g.tmp").write_bytes(OLD)
        if stored == "g.tmp":
            settled(mount)
        (top / "k.tmp").write_bytes(NEW)
        if stored == "both":
            settled(mount)
        os.rename(top / "k.tmp", top / "g.tmp")
        assert names(mount.anew(top)) == ["elsewhere", "g.tmp"]
        held = any_service.proxy.gate()
        any_service.proxy.on(change, held.before(), times=ALWAYS)
        renaming = Task(lambda: os.rename(top / "g.tmp", top / "z.tmp"))
        eventually(lambda: held.arrived > 0 or not renaming.running, "it is being renamed")
        looks = len(any_service.proxy.exchanges)
        os.setxattr(top / "elsewhere", REFRESH, b"")  # ``top`` itself is locked by the kernel
        looking = Task((top / "elsewhere" / "missing").exists)
        eventually(lambda: len(any_service.proxy.exchanges) > looks or not looking.running, "the service is asked")
        held.open()
        assert (looking.ended(), renaming.ended()) == (None, None)
        assert names(top) == ["elsewhere", "z.tmp"]
        assert names(mount.anew(top)) == ["elsewhere", "z.tmp"]
        assert errno_of((top / "g.tmp").stat) == errno.ENOENT
        agrees(mount, any_service, box, {"z.tmp": NEW})


def test_a_file_is_renamed_while_it_is_uploaded(any_service: Service, home: Home, box: str) -> None:
    with mounted(any_service, home, WRITE_BACK) as mount:
        (mount / box).mkdir()
        held = any_service.proxy.gate()
        any_service.proxy.on(upload_of("old"), held.after())
        assert write(mount / box / "old", OLD) is None
        held.reached()
        renaming = Task(lambda: os.rename(mount / box / "old", mount / box / "new"))
        held.open()
        assert renaming.ended() is None
        agrees(mount, any_service, box, {"new": OLD})
    stays(any_service, home, box, {"new": OLD})


def test_one_failed_copy_does_not_end_copying(service: Service, home: Home, box: str) -> None:
    """After it, renames still move no content."""
    with mounted(service, home) as mount:
        (mount / box).mkdir()
        for name in ("one", "two"):
            (mount / box / name).write_bytes(OLD)
        service.proxy.on(lambda exchange: exchange.is_copy, refuses(404))
        errno_of(lambda: os.rename(mount / box / "one", mount / box / "first"))
        settled(mount)
        before = len(service.proxy.uploads())
        os.rename(mount / box / "two", mount / box / "second")
        assert len(service.proxy.uploads()) == before
        assert ("second", OLD) in service.holds(box)


def test_who_has_a_file_open_that_was_not_replaced_after_all_uses_it_on(
    any_service: Service, home: Home, box: str
) -> None:
    with mounted(any_service, home, "-o", "attr_timeout=0") as mount:
        (mount / box).mkdir()
        write(mount / box / "target", OLD)
        write(mount / box / "file", NEW)
        with (mount / box / "target").open("r+b", buffering=0) as opened:
            refused = any_service.proxy.on(change, refuses(403))
            assert errno_of(lambda: os.rename(mount / box / "file", mount / box / "target")) == errno.EACCES
            refused.stop()
            attributes = os.fstat(opened.fileno())
            assert (attributes.st_size, attributes.st_nlink) == (len(OLD), 1)
            assert os.pread(opened.fileno(), len(OLD), 0) == OLD
            opened.write(b"OLD")
        agrees(mount, any_service, box, {"target": b"OLD" + OLD[3:], "file": NEW})
