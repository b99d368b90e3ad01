"""What could not be sent: found damaged, set aside, listed, and saved, sent or discarded by name."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.faults import ALWAYS, refuses, upload_of
from tests.faults.mounting import (
    WRITE_BACK,
    agrees,
    failed,
    mounted,
    recover,
    recoverable,
    unmount_in_vain,
    write,
)
from tests.faults.service import Service
from tests.fuse.mounted import Home, eventually

CONTENT = b"content that is to be found again" * 100


def left_behind(service: Service, home: Home, box: str, *names: str) -> None:
    """A mount that was killed with these files to upload."""
    with mounted(service, home, WRITE_BACK) as mount:
        (mount / box).mkdir()
        due = service.proxy.on(upload_of(), refuses(503), times=ALWAYS)
        for name in names:
            assert write(mount / box / name, CONTENT + name.encode()) is None
        due.reached(len(names))
        mount.kill()
    service.proxy.mend()


def staged(home: Home, content: bytes) -> Path:
    """The file of this machine that holds a content."""
    files = (path for path in home.cache_dir.rglob("*") if path.is_file())
    (found,) = (path for path in files if path.read_bytes() == content)
    return found


def flip(path: Path) -> None:
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 0xFF
    path.write_bytes(damaged)


def shorten(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


DAMAGE: dict[str, Callable[[Path], None]] = {"a bit flipped": flip, "cut": shorten, "missing": Path.unlink}


def test_staged_data_damaged_between_mounts(service: Service, home: Home, box: str) -> None:
    """It is not uploaded, and listed; all else is uploaded."""
    left_behind(service, home, box, *DAMAGE, "whole")
    for name, damage in DAMAGE.items():
        damage(staged(home, CONTENT + name.encode()))
    damaged = sorted(f"{box}/{name}" for name in DAMAGE)
    with mounted(service, home) as mount:
        service.comes_to_hold(box, {"whole": CONTENT + b"whole"})
        eventually(lambda: failed(mount) == damaged, "the damage is noticed")
        assert write(mount / box / "later", CONTENT) is None
        said = unmount_in_vain(mount)
        assert all(name in said for name in damaged)
    assert [entry["name"] for entry in recoverable(home)] == damaged
    service.comes_to_hold(box, {"whole": CONTENT + b"whole", "later": CONTENT})


def overwrite_with_noise(path: Path) -> None:
    path.write_bytes(os.urandom(max(path.stat().st_size, 100)))


def empty(path: Path) -> None:
    path.write_bytes(b"")


RECORDS: dict[str, Callable[[Path], None]] = {"noise": overwrite_with_noise, "cut": shorten, "empty": empty}


@pytest.mark.parametrize("garbage", RECORDS)
def test_journal_that_is_garbage(service: Service, home: Home, box: str, garbage: str) -> None:
    """The mount starts and works; what cannot be told any more is kept, and listed as something to look at."""
    left_behind(service, home, box, "file")
    data = staged(home, CONTENT + b"file")
    for path in (home.cache_dir / "journal").rglob("*"):
        if path.is_file() and path != data and path.stat().st_size:
            RECORDS[garbage](path)
    with mounted(service, home) as mount:
        assert write(mount / box / "later", CONTENT) is None
        if ("file", CONTENT + b"file") not in service.holds(box):
            assert staged(home, CONTENT + b"file").exists()
            assert len(failed(mount)) == 1
            unmount_in_vain(mount)
            assert len(recoverable(home)) == 1
    assert ("later", CONTENT) in service.holds(box)


def test_strange_files_in_the_journal(service: Service, home: Home, box: str) -> None:
    left_behind(service, home, box, "file")
    for directory in {path.parent for path in (home.cache_dir / "journal").rglob("*")}:
        (directory / "strange").write_bytes(os.urandom(1000))
        (directory / "strange.data").write_bytes(os.urandom(1000))
        (directory / "strange.json").write_text("[]")
        (directory / "directory").mkdir()
    with mounted(service, home) as mount:
        service.comes_to_hold(box, {"file": CONTENT + b"file"})
        if failed(mount):
            unmount_in_vain(mount)


def refused(service: Service, home: Home, box: str) -> None:
    """A mount that ended with two files that the service does not take."""
    with mounted(service, home) as mount:
        (mount / box / "inner").mkdir(parents=True)
        service.proxy.on(upload_of(), refuses(413, "too large for us"), times=ALWAYS)
        for name in ("one", "inner/two"):
            assert write(mount / box / name, CONTENT + name.encode()) is not None
        unmount_in_vain(mount)


def test_recover_lists_saves_sends_and_discards(service: Service, home: Home, box: str, tmp_path: Path) -> None:
    refused(service, home, box)
    found = recoverable(home)
    assert [entry["name"] for entry in found] == [f"{box}/inner/two", f"{box}/one"]
    assert {entry["container_id"] for entry in found} == {service.container_id(box)}
    assert [entry["size"] for entry in found] == [len(CONTENT) + 9, len(CONTENT) + 3]
    assert all("too large for us" in entry["error"] for entry in found)
    shown = recover(home, "list")
    assert all(name in shown for name in (f"{box}/inner/two", f"{box}/one"))

    recover(home, "save", f"{box}/one", tmp_path / "saved")
    assert (tmp_path / "saved").read_bytes() == CONTENT + b"one"
    assert len(recoverable(home)) == 2
    assert "exists" in home.fails(*save(home, f"{box}/one", tmp_path / "saved")).lower()

    service.proxy.mend()
    recover(home, "discard", f"{box}/one", "--yes")
    recover(home, "send", f"{box}/inner/two")
    with mounted(service, home):
        service.comes_to_hold(box, {"inner/two": CONTENT + b"inner/two"})
    assert recoverable(home) == []
    with mounted(service, home) as mount:
        agrees(mount, service, box, {"inner/two": CONTENT + b"inner/two"})


def save(home: Home, name: str, destination: Path) -> list[str | Path]:
    return ["containerfs", "recover", "save", name, destination, "--cache-dir", home.cache_dir]


def test_recovering_what_is_not_there(service: Service, home: Home, box: str, tmp_path: Path) -> None:
    refused(service, home, box)
    for command in (
        ["save", "no such/name", tmp_path / "saved"],
        ["send", "no such/name"],
        ["discard", "no such/name"],
    ):
        said = home.fails("containerfs", "recover", *command, "--cache-dir", home.cache_dir)
        assert said.startswith("containerfs recover: ")
        assert "no such/name" in said
    assert not (tmp_path / "saved").exists()
    assert len(recoverable(home)) == 2
    recover(home, "send", f"{box}/one")
    with mounted(service, home) as mount:
        unmount_in_vain(mount)
    assert len(recoverable(home)) == 2


def test_recovering_from_a_container_that_is_gone(service: Service, home: Home, box: str, tmp_path: Path) -> None:
    left_behind(service, home, box, "file")
    service.delete(box)
    recover(home, "save", f"{box}/file", tmp_path / "saved")
    assert (tmp_path / "saved").read_bytes() == CONTENT + b"file"
    recover(home, "discard", f"{box}/file", "--yes")
    with mounted(service, home) as mount:
        assert failed(mount) == []
        assert box not in os.listdir(mount.path)


def test_nothing_to_recover(service: Service, home: Home) -> None:
    assert recoverable(home) == []
    with mounted(service, home):
        pass
    assert recoverable(home) == []
