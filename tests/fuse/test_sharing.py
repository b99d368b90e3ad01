"""Several at once: two mounts of one server, and many processes on one mount."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fuse.mounted import PROGRAM_LIMIT, Home, Mount, errno_of, eventually, tree
from tests.server.live import LiveServer

MiB = 1 << 20

LOOKER = """
import os, sys
while True:
    os.listdir(sys.argv[1])
"""


@pytest.fixture(scope="module")
def neighbour(server: LiveServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mount]:
    """Another mount of the same server, which believes listings for a second."""
    home = Home(tmp_path_factory.mktemp("neighbour"))
    with home.mounted("--url", server.address, "--metadata-expiry", "1s") as mount:
        yield mount


@pytest.fixture
def shared(container: Path, neighbour: Mount) -> Path:
    """``container`` as the neighbour has it."""
    path = neighbour / container.name
    eventually(path.is_dir, "the new container is seen by the other mount")
    return path


def test_what_one_writes_the_other_reads(container: Path, shared: Path) -> None:
    assert os.listdir(shared) == []
    (container / "file").write_text("one")
    eventually(lambda: os.listdir(shared) == ["file"], "the new file is seen by the other mount")
    assert (shared / "file").read_text() == "one"
    (container / "file").write_text("two, and longer")
    eventually(lambda: (shared / "file").read_text() == "two, and longer", "the new content is seen")
    assert (shared / "file").stat().st_size == len("two, and longer")
    (container / "file").write_text("3")
    eventually(lambda: (shared / "file").read_text() == "3", "the shorter content is seen")
    (container / "file").rename(container / "renamed")
    eventually(lambda: os.listdir(shared) == ["renamed"], "the new name is seen")
    (container / "renamed").unlink()
    eventually(lambda: os.listdir(shared) == [], "the deletion is seen")
    assert errno_of((shared / "renamed").read_text)


def test_a_container_made_and_deleted(mount: Mount, neighbour: Mount, container: Path, shared: Path) -> None:
    container.rmdir()
    eventually(lambda: not shared.exists(), "the deleted container has gone")
    assert container.name not in os.listdir(neighbour.path)


def test_an_open_file_stays_as_it_was_opened(container: Path, shared: Path) -> None:
    """Whoever has a file open reads one content to its end, also while the other mount overwrites and deletes it."""
    old, new = os.urandom(MiB), os.urandom(2 * MiB)
    (container / "file").write_bytes(old)
    eventually(lambda: (shared / "file").is_file(), "the new file is seen by the other mount")
    with (shared / "file").open("rb", buffering=0) as opened:
        assert opened.read(10) == old[:10]
        (container / "file").write_bytes(new)
        (container / "marker").touch()
        eventually(lambda: (shared / "marker").exists(), "the listing that has the new content is seen")
        assert opened.readall() == old[10:]
        assert os.fstat(opened.fileno()).st_size == MiB
    # The kernel tells a mount that a file is closed after close() has returned.
    eventually(lambda: (shared / "file").read_bytes() == new, "the new content is seen")
    with (shared / "file").open("rb", buffering=0) as opened:
        assert opened.read(10) == new[:10]
        (container / "file").unlink()
        (container / "marker").unlink()
        eventually(lambda: not (shared / "marker").exists(), "the listing without the file is seen")
        assert opened.readall() == new[10:]
    eventually(lambda: not (shared / "file").exists(), "the file is gone")


WRITER = """
import hashlib, os, sys
top, number = sys.argv[1], int(sys.argv[2])
for round in range(6):
    content = (b"%d %d " % (number, round)) * 20000
    path = f"{top}/{number}-{round}"
    with open(path + ".new", "wb") as file:
        for offset in range(0, len(content), 10000):
            file.write(content[offset:offset + 10000])
    os.rename(path + ".new", path)
    with open(path, "rb") as file:
        assert file.read() == content
"""

READER = """
import os, sys
top, wanted = sys.argv[1], int(sys.argv[2])
read = set()
while len(read) < wanted:
    for name in os.listdir(top):
        if name not in read and not name.endswith(".new"):
            with open(f"{top}/{name}", "rb") as file:
                content = file.read()
            number, round = name.split("-")
            assert content == (b"%s %s " % (number.encode(), round.encode())) * 20000, name
            read.add(name)
"""


def test_eight_writers_and_eight_readers(mount: Mount, other: Mount, container: Path) -> None:
    programs = [(WRITER, str(number)) for number in range(8)] + [(READER, "48")] * 8
    running = [
        subprocess.Popen([sys.executable, "-c", program, container, argument], stderr=subprocess.PIPE, text=True)
        for program, argument in programs
    ]
    try:
        said = [process.communicate(timeout=PROGRAM_LIMIT)[1] for process in running]
    finally:
        for process in running:
            process.kill()
            process.wait()
    assert [(process.returncode, text) for process, text in zip(running, said, strict=True)] == [(0, "")] * 16
    wanted = {
        f"{number}-{round}": hashlib.sha256(f"{number} {round} ".encode() * 20000).hexdigest()
        for number in range(8)
        for round in range(6)
    }
    assert tree(container) == tree(other.anew(container)) == wanted


def test_many_processes_make_one_directory_and_one_file(mount: Mount, container: Path) -> None:
    """Exactly one of those who create the same thing exclusively succeeds."""
    program = """
import os, sys
try:
    os.close(os.open(sys.argv[1] + "/lock file", os.O_CREAT | os.O_EXCL | os.O_WRONLY))
    print("first")
except FileExistsError:
    print("later")
try:
    os.mkdir(sys.argv[1] + "/directory")
    print("made")
except FileExistsError:
    print("there")
"""
    running = [
        subprocess.Popen([sys.executable, "-c", program, container], stdout=subprocess.PIPE, text=True)
        for _ in range(8)
    ]
    said = sorted(process.communicate(timeout=PROGRAM_LIMIT)[0] for process in running)
    assert sum("first" in text for text in said) == 1
    assert sum("made" in text for text in said) == 1


def test_readers_of_one_large_file_share_its_download(mount: Mount, other: Mount, container: Path) -> None:
    content = os.urandom(16 * MiB)
    (container / "file").write_bytes(content)
    path = other.anew(container) / "file"
    running = [subprocess.Popen(["sha256sum", path], stdout=subprocess.PIPE, text=True) for _ in range(8)]
    shown = [process.communicate(timeout=PROGRAM_LIMIT)[0].split()[0] for process in running]
    assert shown == [hashlib.sha256(content).hexdigest()] * 8


def test_what_is_deleted_as_soon_as_it_was_closed_is_gone_for_others(container: Path, other: Mount) -> None:
    """Also where the kernel releases it late, since the mount is busy."""
    reading = [subprocess.Popen([sys.executable, "-c", LOOKER, container], stdout=subprocess.PIPE) for _ in range(2)]
    try:
        for number in range(60):
            path = container / f"file {number}"
            path.write_bytes(b"content")
            path.unlink()
            assert os.listdir(other.anew(container)) == []
    finally:
        for each in reading:
            each.kill()
            each.communicate()
