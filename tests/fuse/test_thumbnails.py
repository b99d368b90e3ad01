"""Thumbnailers download no large files."""

import os
import shutil
from pathlib import Path

import pytest

from containerfs.fs.thumbnails import LARGE
from tests.fuse.mounted import Home, Mount
from tests.server.live import LiveServer


@pytest.fixture
def thumbnailer(tmp_path: Path) -> Path:
    """A program that reads a file to its end, and has the name of a thumbnailer."""
    program = shutil.which("cat")
    assert program
    return Path(shutil.copy(os.path.realpath(program), tmp_path / "gdk-pixbuf-thumbnailer"))


@pytest.fixture
def album(container: Path) -> Path:
    """A container with a photo and a film; other mounts have nothing of them."""
    (container / "photo").write_bytes(b"p" * (LARGE - 1))
    (container / "film").write_bytes(b"f" * LARGE)
    return container


def test_a_thumbnailer_gets_small_files_only(home: Home, other: Mount, album: Path, thumbnailer: Path) -> None:
    there = other.anew(album)
    assert home.fails(thumbnailer, there / "film").endswith("Operation not permitted\n")
    assert len(home.run(thumbnailer, there / "photo")) == LARGE - 1
    assert other.status()["cache"]["bytes"] < LARGE


def test_a_thumbnailer_gets_what_is_here(home: Home, other: Mount, album: Path, thumbnailer: Path) -> None:
    film = other.anew(album) / "film"
    home.run("cp", film, home.path)
    assert len(home.run(thumbnailer, film)) == LARGE


def test_a_thumbnailer_gets_what_was_written_here(home: Home, album: Path, thumbnailer: Path) -> None:
    assert len(home.run(thumbnailer, album / "film")) == LARGE


def test_a_mount_for_all_thumbnails(server: LiveServer, home: Home, album: Path, thumbnailer: Path) -> None:
    with home.mounted("--url", server.address, "--thumbnails", "all") as mount:
        assert len(home.run(thumbnailer, mount / album.name / "film")) == LARGE
