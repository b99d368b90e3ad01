"""A file is replaced on one machine while another, which knows it, looks: all of the old, or all of the new."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fuse.mounted import PROGRAM_LIMIT, Home, Mount, eventually
from tests.server.live import LiveServer

SIZES = [10, 100_000, 1_000, 3_000_000, 0, 5, 200_000, 199_999]

MAPPED = """
import mmap, os, sys
fd = os.open(sys.argv[1], os.O_RDONLY)
size = os.fstat(fd).st_size
with mmap.mmap(fd, size, prot=mmap.PROT_READ) as mapped:
    sys.stdout.buffer.write(mapped[:])
"""

POLLER = """
import errno, os, sys
path, last = sys.argv[1:]
seen = set()

def read(fd):
    try:
        size, content = os.fstat(fd).st_size, b""
        while piece := os.read(fd, 1 << 20):
            content += piece
        return size, content
    finally:
        os.close(fd)

while last not in seen:
    os.stat(path)
    try:
        size, content = read(os.open(path, os.O_RDONLY))
    except OSError as error:
        if error.errno != errno.ESTALE:  # the service has dropped what was opened: no content, and no mixture
            raise
        continue
    number, length, _ = content.split(b" ", 2)
    assert len(content) == int(length) == size, (number, length, size, len(content))
    assert content == (b"%s %s " % (number, length) + number * int(length))[: int(length)], number
    seen.add(number.decode())
"""


def numbered(number: int, size: int) -> bytes:
    """A content that says what it is to be."""
    digits = b"%d" % number
    return (b"%s %d " % (digits, size) + digits * size)[:size]


@pytest.fixture(scope="module")
def neighbour(server: LiveServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mount]:
    """Another mount, whose kernel remembers what it may, and that looks anew when it is told to."""
    with Home(tmp_path_factory.mktemp("neighbour")).mounted(
        "--url", server.address, "--metadata-expiry", "1h"
    ) as mount:
        yield mount


def test_what_is_read_after_a_refresh_is_the_new_content(neighbour: Mount, container: Path) -> None:
    for number, size in enumerate(SIZES):
        content = os.urandom(size)
        (container / "file").write_bytes(content)
        seen = neighbour.anew(container) / "file"
        assert seen.stat().st_size == size, number
        assert seen.read_bytes() == content


def test_what_is_copied_after_a_refresh_is_whole(neighbour: Mount, container: Path, tmp_path: Path) -> None:
    for size in SIZES:
        content = os.urandom(size)
        (container / "file").write_bytes(content)
        neighbour.home.run("cp", neighbour.anew(container) / "file", tmp_path / "copy")
        assert (tmp_path / "copy").read_bytes() == content


def test_a_file_that_shrinks_elsewhere_can_be_mapped(neighbour: Mount, container: Path) -> None:
    for size in (100_000, 5_000, 70_000, 1):
        content = os.urandom(size)
        (container / "file").write_bytes(content)
        seen = neighbour.anew(container) / "file"
        mapped = subprocess.run([sys.executable, "-c", MAPPED, seen], capture_output=True, timeout=PROGRAM_LIMIT)
        assert (mapped.returncode, mapped.stdout == content) == (0, True), mapped.stderr


def test_what_is_appended_comes_after_the_new_content(neighbour: Mount, container: Path) -> None:
    for size in (10, 5_000, 20, 9_000):
        content = os.urandom(size)
        (container / "file").write_bytes(content)
        seen = neighbour.anew(container) / "file"
        neighbour.home.run("sh", "-c", 'printf more >> "$0"', seen)
        assert seen.read_bytes() == content + b"more"
        os.setxattr(container, "user.containerfs.refresh", b"")
        assert (container / "file").read_bytes() == content + b"more"


def test_a_program_that_polls_sees_no_mixture(server: LiveServer, home: Home, container: Path) -> None:
    sizes = [3_000 + 997 * (number * 7 % 13) for number in range(60)]
    (container / "file").write_bytes(numbered(0, sizes[0]))
    with home.mounted("--url", server.address, "--metadata-expiry", "100ms", "-o", "attr_timeout=1") as polling:
        seen = polling / container.name / "file"
        eventually(seen.exists, "the file is seen")
        pollers = [
            subprocess.Popen([sys.executable, "-c", POLLER, seen, str(len(sizes) - 1)], stderr=subprocess.PIPE)
            for _ in range(3)
        ]
        try:
            for number, size in enumerate(sizes):
                (container / "file").write_bytes(numbered(number, size))
            for poller in pollers:
                said = poller.communicate(timeout=PROGRAM_LIMIT)[1]
                assert (poller.returncode, said) == (0, b"")
        finally:
            for poller in pollers:
                poller.kill()
                poller.communicate()
