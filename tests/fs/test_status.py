"""What a mount tells of itself: one moment, whole, however much there is."""

import json
import threading
from pathlib import Path

import pytest

from containerfs.fs import types
from containerfs.fs.rate import Rate, seconds_left
from containerfs.fs.status import _KEPT
from tests.fs import programs
from tests.fs.gates import Gate, eventually, failing
from tests.fs.memory import MemoryRemote, no_fault
from tests.fs.mounts import mounted
from tests.fs.paths import Paths

STATUS = "user.containerfs.status"
MiB = 1 << 20


def told(fs: Paths) -> dict[str, object]:
    found: dict[str, object] = json.loads(fs.getxattr("/", STATUS))
    return found


def names(fs: Paths) -> list[str]:
    outstanding = fs._backlog.outstanding()
    return sorted([each.name for each in outstanding.uploads] + [each.name for each in outstanding.failed])


def test_no_file_is_missing_or_told_of_twice_while_uploads_begin_and_fail(
    remote: MemoryRemote, container: str, tmp_path: Path
) -> None:
    """Every upload fails, and is tried again at once, while somebody looks: each file is in one list all the time."""
    attempts = threading.Semaphore(0)

    def fails(operation: str, subject: str) -> None:
        if operation == "upload":
            attempts.release()
            raise types.Failed("refused for now")

    remote.before = fails
    with mounted(remote, tmp_path / "cache", write_back=True) as fs:
        for number in range(10):
            programs.write(fs, f"/box/{number}", b"content")
        expected = [f"box/{number}" for number in range(10)]
        for _ in range(300):
            assert names(fs) == expected
            fs.setxattr("/", "user.containerfs.sync", b"")
        for _ in range(20):
            assert attempts.acquire(timeout=30)
        remote.before = no_fault
        eventually(lambda: fs.drain(30) == [])
        assert names(fs) == []


def test_a_file_that_waits_and_one_under_way_are_told_apart(memory_fs: Paths, remote: MemoryRemote) -> None:
    gate = Gate("upload")
    remote.before = gate
    writer = threading.Thread(target=programs.write, args=(memory_fs, "/box/a", b"content"))
    writer.start()
    gate.wait()
    (upload,) = memory_fs._backlog.outstanding().uploads
    gate.open()
    writer.join(30)
    assert (upload.name, upload.size) == ("box/a", 7)
    assert upload.sent is not None
    assert memory_fs._backlog.outstanding().uploads == []


@pytest.mark.parametrize(
    ("kind", "retried", "remedy"),
    [
        (types.AccessDenied, False, "check the API key and what it may do"),
        (types.TooLarge, False, "make the file smaller, or move it out of the mount"),
        (types.InvalidName, False, "rename the file"),
        (types.Refused, False, "change the file, or ask for it: 'containerfs sync'"),
        (types.NoSpace, True, "make room, on this machine's disk or on the service"),
        (types.Failed, True, ""),
    ],
)
def test_a_failure_says_whether_it_is_tried_again_and_what_would_help(
    memory_fs: Paths, remote: MemoryRemote, kind: type[types.FsError], retried: bool, remedy: str
) -> None:
    remote.before = failing("upload", 10, kind)
    with pytest.raises(kind):
        programs.write(memory_fs, "/box/a", b"content")
    (failed,) = memory_fs._backlog.outstanding().failed
    assert (failed.name, failed.size, failed.remedy, failed.set_aside) == ("box/a", 7, remedy, False)
    assert failed.reason == "upload of 'a' is refused"
    assert (failed.retry_in is not None) == retried


def test_more_than_an_attribute_holds_is_read_in_parts_that_stay_as_they_are(
    remote: MemoryRemote, container: str, tmp_path: Path
) -> None:
    def refuses(operation: str, subject: str) -> None:
        if operation == "upload":
            raise types.Refused("because " + "of its length " * 40)

    remote.before = refuses
    with mounted(remote, tmp_path / "cache", write_back=True) as fs:
        for number in range(200):
            programs.write(fs, f"/box/{number}", b"content")
        eventually(lambda: not fs._backlog.outstanding().pending)
        parts = told(fs)["parts"]
        assert isinstance(parts, list)
        assert len(parts) > 1
        first = fs.getxattr("/", f"{STATUS}.{parts[0]}")
        fs.unlink("/box/7")
        whole = json.loads(first + b"".join(fs.getxattr("/", f"{STATUS}.{part}") for part in parts[1:]))
        assert sorted(each["name"] for each in whole["uploads"]["failed"]) == sorted(f"box/{n}" for n in range(200))
        for _ in range(_KEPT):
            told(fs)
        with pytest.raises(types.NoAttribute):
            fs.getxattr("/", f"{STATUS}.{parts[0]}")
        for name in ("x.y", "1.99", "99.0", "1", ""):
            with pytest.raises(types.NoAttribute):
                fs.getxattr("/", f"{STATUS}.{name}")


def test_a_download_is_told_of_under_its_name(memory_fs: Paths, remote: MemoryRemote, container: str) -> None:
    remote.put(container, "directory/large", bytes(8 * MiB))
    fh = memory_fs.open("/box/directory/large", 0)[0]
    memory_fs.read(fh, 0, 4096)
    (fetch,) = memory_fs._files._fetcher.under_way()
    (download,) = json.loads(memory_fs.getxattr("/", STATUS))["downloads"]
    assert (download["name"], download["bytes"]) == ("box/directory/large", 8 * MiB)
    assert fetch.present >= 4096
    memory_fs.release(fh)
    eventually(lambda: not memory_fs._files._fetcher.under_way())


def test_a_rate_looks_back_a_few_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    rate = Rate()
    assert rate.per_second() == 0
    for _ in range(10):
        now += 1
        rate.add(1000)
    assert rate.per_second() == pytest.approx(1000, rel=0.3)
    now += 3600
    assert rate.per_second() == 0


@pytest.mark.parametrize(("missing", "rate", "left"), [(100, 50.0, 2.0), (100, 0.0, None), (None, 50.0, None)])
def test_what_is_left(missing: int | None, rate: float, left: float | None) -> None:
    assert seconds_left(missing, rate) == left
