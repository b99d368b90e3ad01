"""Uploads that hang, fail or come too often: others go on, close() waits for what it closed, and nothing is torn."""

import errno
import json
import os
import threading

import pytest

from tests.faults.faults import (
    ALWAYS,
    LASTING,
    refuses,
    refuses_unread,
    upload_of,
)
from tests.faults.mounting import WRITE_BACK, Task, agrees, close, failed, mounted, settled, unmount_in_vain, write
from tests.faults.service import Service
from tests.fuse.mounted import Home, errno_of, eventually

MiB = 1 << 20


@pytest.mark.parametrize("hanging", [8, 20])
def test_uploads_that_hang_take_no_ones_place(service: Service, home: Home, box: str, hanging: int) -> None:
    with mounted(service, home, WRITE_BACK) as mount:
        (mount / box).mkdir()
        hung = service.proxy.gate()
        service.proxy.on(
            lambda exchange: exchange.is_upload and "hung" in str(exchange.name), hung.before(), times=ALWAYS
        )
        wanted = {f"hung {number}": b"h" * 1000 for number in range(hanging)}
        for name, content in wanted.items():
            assert write(mount / box / name, content) is None
        hung.reached(8)
        others = {f"file {number}": b"f" * 1000 for number in range(4)}
        for name, content in others.items():
            assert write(mount / box / name, content) is None
        service.comes_to_hold(box, others)
        agrees(mount, service, box, wanted | others)


def test_close_waits_for_its_own_upload_while_others_hang(service: Service, home: Home, box: str) -> None:
    with mounted(service, home) as mount:
        (mount / box).mkdir()
        hung = service.proxy.gate()
        service.proxy.on(
            lambda exchange: exchange.is_upload and "hung" in str(exchange.name), hung.before(), times=ALWAYS
        )
        closing = [
            Task(lambda number=number: (mount / box / f"hung {number}").write_bytes(b"h" * 1000))  # type: ignore[misc]
            for number in range(8)
        ]
        hung.reached(8)
        assert Task(lambda: (mount / box / "file").write_bytes(b"content")).ended() is None
        assert service.names(box) == ["file"]
        hung.open()
        assert [task.ended() for task in closing] == [None] * 8
        agrees(mount, service, box, {"file": b"content"} | {f"hung {number}": b"h" * 1000 for number in range(8)})


def test_a_rewrite_in_the_middle_of_an_upload(any_service: Service, home: Home, box: str) -> None:
    """Whatever the service takes is a whole version, and it is never without one."""
    versions = [bytes([65 + number]) * (12 * MiB) for number in range(3)]
    with mounted(any_service, home, WRITE_BACK) as mount:
        (mount / box).mkdir()
        (mount / box / "file").write_bytes(versions[0])
        settled(mount)
        slow = any_service.proxy.gate()
        any_service.proxy.on(upload_of(), slow.unread())
        assert write(mount / box / "file", versions[1]) is None
        slow.reached()
        opened = os.open(mount / box / "file", os.O_WRONLY | os.O_TRUNC)
        os.write(opened, versions[2][: 4 * MiB])
        slow.open()
        assert any_service.proxy.uploads()[1].ended.wait(30)
        os.write(opened, versions[2][4 * MiB :])
        assert close(opened) is None
        agrees(mount, any_service, box, {"file": versions[2]})
    taken = [json.loads(upload.committed.body) for upload in any_service.proxy.uploads() if upload.committed]
    assert {upload["bytes"] for upload in taken} == {12 * MiB}
    deleted = [exchange.number for exchange in any_service.proxy.exchanges if exchange.method == "DELETE"]
    assert len(deleted) < len(taken)


def test_appended_to_while_another_closes(service: Service, home: Home, box: str) -> None:
    """close() waits for what was there, and the service gets one upload of it and at most one more."""
    with mounted(service, home) as mount:
        (mount / box).mkdir()
        (mount / box / "log").write_bytes(b"")
        before = len(service.proxy.uploads())
        one, other = (os.open(mount / box / "log", os.O_WRONLY | os.O_APPEND) for _ in range(2))
        os.write(one, b"first\n")
        stop = threading.Event()
        lines = 0

        def append() -> None:
            nonlocal lines
            while not stop.is_set():
                os.write(other, b"appended\n")
                lines += 1

        held = service.proxy.gate()
        service.proxy.on(upload_of("log"), held.before())
        appending = Task(append)
        closing = Task(lambda: os.close(one))
        held.reached()
        held.open()
        assert closing.ended() is None
        sent = len(service.proxy.uploads()) - before
        stop.set()
        assert (appending.ended(), close(other)) == (None, None)
        assert sent in (1, 2)
        agrees(mount, service, box, {"log": b"first\n" + b"appended\n" * lines})


def test_many_close_one_file_at_once(service: Service, home: Home, box: str) -> None:
    """Every close() comes back, with what it closed on the service, for at most an upload each."""
    with mounted(service, home) as mount:
        (mount / box).mkdir()
        (mount / box / "log").write_bytes(b"")
        before = len(service.proxy.uploads())
        opened = [os.open(mount / box / "log", os.O_WRONLY | os.O_APPEND) for _ in range(8)]
        for number, descriptor in enumerate(opened):
            os.write(descriptor, b"%d" % number)
        closing = [Task(lambda descriptor=descriptor: os.close(descriptor)) for descriptor in opened]  # type: ignore[misc]
        assert [task.ended() for task in closing] == [None] * 8
        assert service.holds(box) == [("log", b"01234567")]
        assert len(service.proxy.uploads()) - before <= 8


def test_what_cannot_pass_is_not_sent_again_until_the_file_changes(service: Service, home: Home, box: str) -> None:
    wanted = {"other": b"other"} | {f"refused {status}": b"changed" for status in LASTING}
    with mounted(service, home) as mount:
        (mount / box).mkdir()
        for status, fault in LASTING.items():
            service.proxy.on(upload_of(f"refused {status}"), fault, times=ALWAYS)
            assert write(mount / box / f"refused {status}", b"content") is not None
        assert failed(mount) == [f"{box}/refused {status}" for status in LASTING]
        service.proxy.on(upload_of("other"), refuses(503), times=3)  # tried again after 1, 2 and 4 seconds
        write(mount / box / "other", b"other")
        service.comes_to_hold(box, {"other": b"other"})
        for status in LASTING:
            assert len(service.proxy.uploads(f"refused {status}")) == 1
            assert (mount / box / f"refused {status}").read_bytes() == b"content"
        service.proxy.mend()
        for status in LASTING:
            assert write(mount / box / f"refused {status}", b"changed") is None
        agrees(mount, service, box, wanted)


def test_close_says_why(service: Service, home: Home, box: str) -> None:
    reasons = {"file 1": (413, errno.EFBIG), "file 2": (507, errno.ENOSPC), "file 3": (403, errno.EACCES)}
    with mounted(service, home) as mount:
        (mount / box).mkdir()
        for name, (status, number) in reasons.items():
            service.proxy.on(upload_of(name), refuses(status, f"reason {status}"), times=ALWAYS)
            assert write(mount / box / name, b"content") == number
        listed = sorted(mount.status()["uploads"]["failed"], key=lambda each: str(each["name"]))
        for told, (name, (status, _)) in zip(listed, reasons.items(), strict=True):
            assert told["name"] == f"{box}/{name}"
            assert f"reason {status}" in told["reason"]
        said = unmount_in_vain(mount)
        assert all(f"{box}/{name}" in said for name in reasons)
    service.proxy.mend()
    with mounted(service, home) as mount:
        agrees(mount, service, box, dict.fromkeys(reasons, b"content"))


def test_a_large_file_is_refused_before_it_is_sent(service: Service, home: Home, box: str) -> None:
    content = os.urandom(MiB) * 24
    with mounted(service, home) as mount:
        (mount / box).mkdir()
        service.proxy.on(upload_of(), refuses_unread(413), times=ALWAYS)
        assert write(mount / box / "large", content) == errno.EFBIG
        assert failed(mount) == [f"{box}/large"]
        service.proxy.mend()
        (mount / box / "large").unlink()
        agrees(mount, service, box, {})


def test_uploads_announce_their_length(service: Service, home: Home, box: str) -> None:
    with mounted(service, home) as mount:
        (mount / box).mkdir()
        for size in (0, 1, MiB, 5 * MiB):
            (mount / box / f"{size}").write_bytes(b"x" * size)
            (upload,) = service.proxy.uploads(f"{size}")
            assert upload.request.length is not None
            assert size < upload.request.length < size + 1000


def test_the_service_asks_to_come_later(service: Service, home: Home, box: str) -> None:
    with mounted(service, home, WRITE_BACK) as mount:
        (mount / box).mkdir()
        service.proxy.on(upload_of(), refuses(429), times=6)
        wanted = {f"file {number}": b"%d" % number for number in range(5)}
        assert {write(mount / box / name, content) for name, content in wanted.items()} == {None}
        agrees(mount, service, box, wanted)


def test_uploads_in_bursts(service: Service, home: Home, box: str) -> None:
    """Whatever runs the uploads may end when idle, and begins again: each close() comes back."""
    with mounted(service, home) as mount:
        (mount / box).mkdir()
        wanted: dict[str, bytes] = {}
        for burst in range(20):
            names = [f"{burst} {number}" for number in range(burst % 3 + 1)]
            tasks = [Task(lambda name=name: (mount / box / name).write_bytes(b"content")) for name in names]  # type: ignore[misc]
            assert {task.ended() for task in tasks} == {None}
            wanted |= dict.fromkeys(names, b"content")
        agrees(mount, service, box, wanted)


def test_ordinary_names_are_on_the_service_when_they_are_closed(service: Service, home: Home, box: str) -> None:
    wanted = {}
    with mounted(service, home) as mount:
        (mount / box).mkdir()
        for name in ("poetry.lock", "Cargo.lock", "uv.lock", ".app.config", ".npmrc.backup"):
            assert write(mount / box / name, b"content") is None
            wanted[name] = b"content"
            assert service.holds(box) == sorted(wanted.items())


def test_errors_of_one_file_are_not_another_ones(service: Service, home: Home, box: str) -> None:
    """A service that answers is not taken for one that is down because some of its answers are 5xx."""
    with mounted(service, home, WRITE_BACK) as mount:
        (mount / box).mkdir()
        service.proxy.on(upload_of("bad"), refuses(500), times=ALWAYS)
        assert write(mount / box / "bad", b"bad") is None
        eventually(lambda: failed(mount) == [f"{box}/bad"], "the failure is listed")
        assert write(mount / box / "good", b"good") is None
        service.comes_to_hold(box, {"good": b"good"})
        assert errno_of((mount / box / "bad").unlink) is None
        agrees(mount, service, box, {"good": b"good"})
