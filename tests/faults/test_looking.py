"""What programs see while others change what is there, while a listing is under way, and where answers go astray."""

import errno
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.faults.exchange import Exchange, Fault, Gate, passes
from tests.faults.faults import ALWAYS, answers, anything, closes_instead, error, loses_answer, loses_request, making
from tests.faults.mounting import WRITE_BACK, Task, agrees, mounted
from tests.faults.service import Service
from tests.fuse.mounted import REFRESH, Home, errno_of, eventually

PATIENT = ("--metadata-expiry", "1h", "--prefetch", "off")
NO_KERNEL = ("-o", "entry_timeout=0,attr_timeout=0")
WAITING = ("--patience", "60s")  # for as long as the test holds an answer up


def files_of(container: str, service: Service) -> "Listing":
    return Listing(service.container_id(container))


class Listing:
    """Matches the listing of a container's files, or of the containers."""

    def __init__(self, container_id: str | None = None) -> None:
        self._path = f"/containers/{container_id}/files" if container_id else "/containers"

    def __call__(self, exchange: Exchange) -> bool:
        return exchange.method == "GET" and exchange.path.endswith(self._path)


# Others change what is there


def test_a_container_that_is_made_again_has_the_name_and_the_one_that_has_gone_its_id(
    service: Service, home: Home, box: str
) -> None:
    old_id = service.create(box)
    service.put(old_id, "file", b"old")
    with mounted(service, home, *PATIENT, *NO_KERNEL) as mount:
        with (mount / box / "file").open("rb", buffering=0) as opened:
            assert os.pread(opened.fileno(), 10, 0) == b"old"
            service.delete(box)
            assert errno_of((mount.anew() / box).stat) == errno.ENOENT, "the name is free"
            (mount / box).mkdir()
            (mount / box / "file").write_bytes(b"new")
            assert [name for name in os.listdir(mount.path) if name in (box, old_id)] == [box]
            assert os.pread(opened.fileno(), 10, 0) == b"old"
            assert (mount / old_id / "file").read_bytes() == b"old"
        eventually(lambda: errno_of((mount / old_id).stat) == errno.ENOENT, "nobody has it open any more")
        agrees(mount, service, box, {"file": b"new"})


def test_a_container_that_others_make_again_while_its_file_is_written(service: Service, home: Home, box: str) -> None:
    """What is written to the one that has gone does not arrive in the living one, and is not lost without a word."""
    old_id = service.create(box)
    service.put(old_id, "file", b"old")
    with mounted(service, home, *PATIENT, *NO_KERNEL) as mount:
        fd = os.open(mount / box / "file", os.O_RDWR)
        os.pwrite(fd, b"changed", 0)
        service.delete(box)
        service.put(service.create(box), "file", b"living")
        assert box in os.listdir(mount.anew())
        assert (mount / box / "file").read_bytes() == b"living"
        assert os.pread(fd, 10, 0) == b"changed"
        assert errno_of(lambda: os.close(fd)) is not None
        assert (mount / box / "file").read_bytes() == b"living"
        assert service.holds(box) == [("file", b"living")]
        assert "file" in mount.home.run("containerfs", "recover", "list", "--cache-dir", home.cache_dir)
        mount.home.run("containerfs", "recover", "discard", "--yes", f"{box}/file", "--cache-dir", home.cache_dir)


def test_a_thousand_levels_that_others_delete(service: Service, home: Home, box: str) -> None:
    container_id = service.create(box)
    service.put(container_id, "d/" * 1200 + "file", b"deep")
    service.put(container_id, "kept", b"kept")
    with mounted(service, home, *PATIENT) as mount:
        assert sorted(os.listdir(mount / box)) == ["d", "kept"]
        service.delete_file(box, "d/" * 1200 + "file")
        assert os.listdir(mount.anew(mount / box)) == ["kept"]
        service.put(container_id, "d/" * 1200 + "again", b"deep")
        service.delete(box)
        assert box not in os.listdir(mount.anew())


def test_a_container_that_others_have_made_meanwhile(service: Service, home: Home, box: str) -> None:
    with mounted(service, home, *PATIENT) as mount:
        assert box not in os.listdir(mount.path)
        service.create(box)
        assert errno_of((mount / box).mkdir) == errno.EEXIST
        assert os.listdir(mount.anew()).count(box) == 1
        assert service.container_id(box), "there is one of that name"


@pytest.mark.parametrize("fault", [loses_answer, closes_instead, loses_request])
def test_mkdir_whose_answer_is_lost_makes_one_container(service: Service, home: Home, box: str, fault: Fault) -> None:
    with mounted(service, home, *PATIENT) as mount:
        service.proxy.on(making, fault)
        assert errno_of((mount / box).mkdir) is None
        assert service.container_id(box), "there is one of that name"
        (mount / box / "file").write_bytes(b"content")
        agrees(mount, service, box, {"file": b"content"})


# A listing is under way


def test_a_listing_that_was_begun_before_a_refresh_is_not_believed(service: Service, home: Home, box: str) -> None:
    container_id = service.create(box)
    with mounted(service, home, *PATIENT) as mount:
        top = mount / box
        assert errno_of(top.stat) is None
        answered = service.proxy.gate()
        service.proxy.on(files_of(box, service), answered.after())
        listing = Task(lambda: os.listdir(top))
        answered.reached()
        service.put(container_id, "new", b"new")
        os.setxattr(mount.path, REFRESH, b"")
        os.setxattr(top, REFRESH, b"")
        assert os.listdir(top) == ["new"]
        answered.open()
        assert listing.ended() is None
        assert os.listdir(top) == ["new"]


def test_a_container_that_others_fill_during_a_listing_is_not_removed(service: Service, home: Home, box: str) -> None:
    container_id = service.create(box)
    with mounted(service, home, *PATIENT) as mount:
        top = mount / box
        assert errno_of(top.stat) is None
        answered = service.proxy.gate()
        service.proxy.on(files_of(box, service), answered.after())
        listing = Task(lambda: os.listdir(mount / container_id))
        answered.reached()
        service.put(container_id, "new", b"new")
        assert errno_of(top.rmdir) == errno.ENOTEMPTY
        answered.open()
        assert listing.ended() is None
        agrees(mount, service, box, {"new": b"new"})


def test_a_listing_that_gets_on_is_waited_for(service: Service, home: Home, box: str) -> None:
    """A page within the patience, all of them not."""
    container_id = service.create(box)
    for number in range(601):
        service.put(container_id, f"{number}", b"")
    with mounted(service, home, *PATIENT, "--patience", "2s") as mount:
        service.proxy.on(files_of(box, service), slowly, times=ALWAYS)
        assert len(os.listdir(mount / box)) == 601


def test_names_are_shown_as_they_arrive(service: Service, home: Home, box: str) -> None:
    """With the first hundred of 120 names there and the rest on its way."""
    later = many(service, box)
    with mounted(service, home, *PATIENT, *WAITING) as mount, os.scandir(mount / box) as entries:
        later.reached()
        first = {next(entries).name for _ in range(100)}
        assert first == {f"{number:03}" for number in range(20, 120)}
        asked = Task(lambda: (mount / box / "100").stat())
        later.open()
        assert first | {entry.name for entry in entries} == {f"{number:03}" for number in range(120)}
        assert asked.ended() is None
        assert len([each for each in service.proxy.exchanges if files_of(box, service)(each)]) == 2


def test_ls_prints_names_as_they_arrive(service: Service, home: Home, box: str) -> None:
    later = many(service, box)
    with mounted(service, home, *PATIENT, *WAITING) as mount:
        command = ["stdbuf", "-oL", "ls", "-U", "-1", mount / box]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as ls:
            assert ls.stdout is not None
            first = [ls.stdout.readline() for _ in range(100)]
            later.reached()
            assert ls.poll() is None
            later.open()
            assert len({*first, *ls.stdout}) == 120
        assert ls.returncode == 0


def test_a_listing_that_fails_later_is_an_error_at_the_end(service: Service, home: Home, box: str) -> None:
    later = many(service, box, answers(error(400)))
    with mounted(service, home, *PATIENT, *WAITING) as mount:
        command = ["stdbuf", "-oL", "ls", "-U", "-1", mount / box]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as ls:
            assert ls.stdout is not None
            assert len([ls.stdout.readline() for _ in range(100)]) == 100
            later.open()
            names, complaint = ls.communicate()
        assert (ls.returncode, names) == (2, "")
        assert "reading directory" in complaint
        service.proxy.mend()
        assert len(os.listdir(mount / box)) == 120


def test_whoever_stops_waiting_for_names_keeps_nobody_waiting(service: Service, home: Home, box: str) -> None:
    later = many(service, box)
    with mounted(service, home, *PATIENT, *WAITING) as mount:
        command = ["stdbuf", "-oL", "ls", "-U", "-1", mount / box]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as ls:
            assert ls.stdout is not None
            assert len([ls.stdout.readline() for _ in range(100)]) == 100
            ls.send_signal(signal.SIGINT)
            assert ls.wait(30) == -signal.SIGINT
        later.open()
        assert len(os.listdir(mount / box)) == 120


def many(service: Service, box: str, fault: Fault = passes) -> Gate:
    """A container of 120 files, of which a hundred are listed before the gate that is returned, and what comes then."""
    container_id = service.create(box)
    for number in range(120):
        service.put(container_id, f"{number:03}", b"")
    gate = service.proxy.gate()
    service.proxy.on(
        lambda exchange: files_of(box, service)(exchange) and "after=" in exchange.request.target, gate.before(fault)
    )
    return gate


def slowly(exchange: Exchange) -> None:
    threading.Event().wait(0.6)
    passes(exchange)


# What others may see


@contextmanager
def stranger() -> Iterator[tuple[tuple[str, ...], int]]:
    """Whom a directory's mode keeps out: the prefix of his commands, and the mode that does.

    Root makes him another user; any other user is kept out himself by a mode that allows nobody anything.
    """
    if os.geteuid() == 0:
        yield ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"), 0o700
    else:
        yield (), 0o000


def test_the_mode_of_a_container_holds_before_anything_is_answered(service: Service, home: Home, box: str) -> None:
    container_id = service.create(box)
    service.put(container_id, "file", b"secret")
    for parent in (home.path, *home.path.parents):
        if parent.stat().st_uid == os.geteuid():
            parent.chmod(parent.stat().st_mode | 0o011)
    others = ("-o", "allow_other") if os.geteuid() == 0 else ()
    with stranger() as (prefix, mode):
        with mounted(service, home, *PATIENT) as mount:
            (mount / box).chmod(mode)
        for path in (f"{box}/file", f"{container_id}/file"):
            with mounted(service, home, *PATIENT, *others) as mount:
                seen = mount.home.attempt(*prefix, "cat", mount / path)
                assert (seen.stdout, "Permission denied" in seen.stderr) == ("", True), seen
                assert not mount.home.attempt(*prefix, "ls", mount / path.partition("/")[0]).stdout


# Answers that go astray


def twice(exchange: Exchange) -> None:
    """The answer, and the same again on the same connection, which stays."""
    answer = exchange.forward()
    exchange.answered = answer
    exchange.request.stream.send(answer.encoded() * 2)


def test_an_answer_that_comes_twice_is_nobody_elses(any_service: Service, home: Home, box: str) -> None:
    """All files have one size, so that only what is in them tells them apart."""
    wanted = {f"file {number}": bytes([number]) * 5000 for number in range(8)}
    any_service.create(box)
    with mounted(any_service, home, *PATIENT) as mount:
        for name, held in wanted.items():
            (mount / box / name).write_bytes(held)
    shutil.rmtree(home.cache_dir / "content")
    with mounted(any_service, home, *PATIENT) as mount:
        any_service.proxy.on(anything, twice, times=ALWAYS)
        assert {name: (mount / box / name).read_bytes() for name in wanted} == wanted


# Write-back


def test_creating_and_writing_ask_a_service_that_is_silent_for_nothing(service: Service, home: Home, box: str) -> None:
    with mounted(service, home, WRITE_BACK, *PATIENT, *NO_KERNEL) as mount:
        assert errno_of((mount / box).mkdir) is None
        assert os.listdir(mount / box) == []
        silent = service.proxy.gate()
        service.proxy.on(anything, silent.before(), times=ALWAYS)
        asked = len(service.proxy.exchanges)
        wanted = {f"file {number}": b"content %d" % number for number in range(40)}
        for name, held in wanted.items():
            (mount / box / name).write_bytes(held)
        assert not [str(exchange) for exchange in service.proxy.exchanges[asked:] if not exchange.is_change]
        agrees(mount, service, box, wanted)


def test_a_service_that_is_silent_is_waited_for_once_when_its_listing_has_expired(
    service: Service, home: Home, box: str
) -> None:
    """A name that is not there is looked for on the service; after that it is known not to answer."""
    service.put(service.create(box), "there", b"there")
    expired = ("--metadata-expiry", "0s", "--patience", "2s")
    with mounted(service, home, WRITE_BACK, *expired, *NO_KERNEL) as mount:
        assert os.listdir(mount / box) == ["there"]
        silent = service.proxy.gate()
        service.proxy.on(anything, silent.before(), times=ALWAYS)
        asked = len(service.proxy.exchanges)
        wanted = {f"file {number}": b"content %d" % number for number in range(40)}
        for name, held in wanted.items():
            (mount / box / name).write_bytes(held)
        looks = [exchange for exchange in service.proxy.exchanges[asked:] if exchange.path.endswith("/files")]
        assert len([exchange for exchange in looks if not exchange.is_change]) == 1
        agrees(mount, service, box, {"there": b"there"} | wanted)
