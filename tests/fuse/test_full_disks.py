"""Full disks, here and at the service: whoever writes is told, and what was there before stays whole."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from openai import OpenAI

from tests.fuse.mounted import Home, Mount
from tests.fuse.namespace import FULL_DISK, namespace
from tests.server.live import LiveServer

MiB = 1 << 20
NO_SPACE = os.strerror(errno.ENOSPC)


@contextmanager
def mounted_on_a_small_disk(home: Home, disk: Path, *options: str | Path) -> Iterator[Mount]:
    """A mount in a namespace of its own, where 8 MiB are at ``disk``; its home runs programs there."""
    with namespace(FULL_DISK, disk, "8M") as prefix, Home(home.path, prefix).mounted(*options) as mount:
        yield mount


@pytest.fixture
def small(tmp_path: Path) -> Path:
    (tmp_path / "small").write_bytes(os.urandom(MiB))
    return tmp_path / "small"


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """More than the small disk holds."""
    (tmp_path / "large").write_bytes(os.urandom(12 * MiB))
    return tmp_path / "large"


def test_a_full_cache(server: LiveServer, sdk: OpenAI, home: Home, small: Path, large: Path) -> None:
    with mounted_on_a_small_disk(home, home.cache_dir, "--url", server.address) as mount:
        container, run, fails = mount / "full cache", mount.home.run, mount.home.fails
        run("mkdir", container)
        for name in ("appended", "replaced", "synced"):
            run("cp", small, container / name)
        assert NO_SPACE in fails("sh", "-c", 'cat "$0" >> "$1"', large, container / "appended")
        assert NO_SPACE in fails("cp", large, container / "replaced")
        assert NO_SPACE in fails("rsync", large, container / "synced")
        assert NO_SPACE in fails("cp", large, container / "new")
        (stored,) = (found for found in sdk.containers.list() if found.name == "full cache")
        for file in sdk.containers.files.list(stored.id):
            content = sdk.containers.files.content.retrieve(file.id, container_id=stored.id).read()
            assert content == small.read_bytes(), file.path
        for name in ("appended", "replaced", "synced"):
            run("cmp", small, container / name)
        assert run("ls", container).split() == ["appended", "replaced", "synced"]
        assert "0 waiting, 0 failed" in run("containerfs", "status", mount.path)
        run("cp", small, container / "fits")
        run("cmp", small, container / "fits")


def test_reading_more_than_the_cache_holds(server: LiveServer, mount: Mount, home: Home, large: Path) -> None:
    """Many files that are larger together."""
    (mount / "much").mkdir()
    for number in range(8):
        (mount / "much" / f"file {number}").write_bytes(large.read_bytes()[number * MiB : (number + 2) * MiB])
    with mounted_on_a_small_disk(home, home.cache_dir, "--url", server.address) as full:
        for number in range(8):
            part = ("--ignore-initial", f"{number * MiB}:0", "--bytes", str(2 * MiB))
            full.home.run("cmp", *part, large, full / "much" / f"file {number}")


def test_reading_a_file_that_is_larger_than_the_disk(server: LiveServer, mount: Mount, home: Home, large: Path) -> None:
    """It passes by the cache, and no descriptor is lost."""
    (mount / "larger").mkdir()
    (mount / "larger" / "file").write_bytes(large.read_bytes())
    with mounted_on_a_small_disk(home, home.cache_dir, "--url", server.address) as full:
        descriptors = Path(f"/proc/{full.pid}/fd")
        counts = []
        for _ in range(6):
            full.home.run("cmp", large, full / "larger" / "file")
            counts.append(len(os.listdir(descriptors)))
        assert max(counts) - counts[0] <= 4, counts  # a connection or two are kept
        full.home.run("cmp", "-i", "7000000", large, full / "larger" / "file")


def test_a_full_store(home: Home, tmp_path: Path, small: Path, large: Path) -> None:
    store = tmp_path / "disk"
    with mounted_on_a_small_disk(home, store, "--local", "--data-dir", store / "store") as mount:
        container, run, fails = mount / "container", mount.home.run, mount.home.fails
        run("mkdir", container)
        run("cp", small, container / "old")
        assert NO_SPACE in fails("cp", large, container / "new")
        assert NO_SPACE in fails("rsync", large, container / "old")
        run("cmp", small, container / "old")
        run("rm", "-f", container / "new")
        run("cp", small, container / "fits")
        run("cmp", small, container / "fits")
        run("containerfs", "sync", mount.path)
