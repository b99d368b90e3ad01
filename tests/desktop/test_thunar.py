"""A file manager on a mount: Thunar, as somebody at the screen uses it. Screenshots are kept in build/screenshots."""

import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from containerfs.fs.thumbnails import LARGE
from tests.desktop.desktop import Desktop, desktop
from tests.fuse.mounted import Home, Mount, eventually, released_after, tree
from tests.server.live import LiveServer, running_server

PICTURES = Path(__file__).parents[2] / "build" / "screenshots"
SIDE = 512  # pixels


@pytest.fixture(autouse=True)
def no_test_hangs() -> Iterator[None]:
    with released_after(90):
        yield


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    with running_server(tmp_path_factory.mktemp("server") / "store") as server:
        yield server


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return Home(tmp_path_factory.mktemp("home") / "you")


@pytest.fixture(scope="module")
def mount(server: LiveServer, home: Home) -> Iterator[Mount]:
    options = ("--metadata-expiry", "1s", "--bwlimit", "1M:0")  # so slow that there is a progress to see
    with home.mounted("--url", server.address, *options, at=home.path / "containers") as mount:
        yield mount


@pytest.fixture(scope="module")
def screen(home: Home, mount: Mount) -> Iterator[Desktop]:
    with desktop(home, PICTURES, home.path / "opened") as screen:
        yield screen


@pytest.fixture(scope="module")
def far(server: LiveServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mount]:
    """Another machine."""
    with Home(tmp_path_factory.mktemp("far")).mounted("--url", server.address, "--metadata-expiry", "0s") as far:
        yield far


@pytest.fixture
def results(mount: Mount, far: Mount) -> Path:
    """A container with something in it."""
    made = far / "results"
    if not made.exists():
        (made / "plots").mkdir(parents=True)
        (made / "table.csv").write_text("run,score\n1,0.93\n")
        (made / "notes.txt").write_text("as planned\n")
    return mount.anew() / "results"


def picture_of(color: tuple[int, int, int], padding: int = 0) -> bytes:
    """A PNG of a color that gets darker, with bytes that mean nothing. Source: PNG (ISO/IEC 15948)."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    shades = (bytes(value * (2 * SIDE - row) // (2 * SIDE) for value in color) for row in range(SIDE))
    rows = b"".join(b"\0" + shade * SIDE for shade in shades)
    header = struct.pack(">IIBBBBB", SIDE, SIDE, 8, 2, 0, 0, 0)
    chunks = [chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows)), chunk(b"pAdd", bytes(padding))]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks) + chunk(b"IEND", b"")


def test_opening(screen: Desktop, home: Home, results: Path) -> None:
    opened = home.path / "opened"
    screen.until(opened.exists, "the file is opened", lambda: screen.press_on(results / "notes.txt", "Return"))
    eventually(lambda: opened.read_text() == "as planned\n", "the program has the content")


def test_renaming(screen: Desktop, results: Path, far: Mount) -> None:
    table = results / "table.csv"

    def rename() -> None:
        screen.press_on(table, "F2")
        with suppress(pytest.fail.Exception):  # newer versions of Thunar ask in place, and not in a window
            eventually(lambda: bool(screen.windows('^Rename "')), "a window asks for the name", 2.0)
        screen.press("ctrl+a")
        screen.type("scores.csv")
        screen.press("Return")

    names = {"scores.csv", "table.csv"}
    screen.until(lambda: names & set(os.listdir(far / "results")) == {"scores.csv"}, "it is renamed", rename)


def test_a_new_folder_is_a_container_that_can_be_named(screen: Desktop, mount: Mount, far: Mount) -> None:
    screen.show(mount.path)
    asked = "^Create New Folder$|^New Folder"
    screen.until(lambda: bool(screen.windows(asked)), "a name is asked for", lambda: screen.press("ctrl+shift+n"))
    screen.press("ctrl+a")
    screen.type("made in Thunar")
    screen.press("Return")
    eventually((far / "made in Thunar").is_dir, "there is a container")


def test_deleting_asks_and_deletes_for_good(screen: Desktop, results: Path, far: Mount) -> None:
    (far / "results" / "old.txt").write_text("old")
    old = results / "old.txt"
    screen.until(lambda: bool(screen.windows("^Attention$")), "it asks", lambda: screen.press_on(old, "Delete"))
    screen.picture("deleting")
    screen.press("Return")
    eventually(lambda: not (far / "results" / "old.txt").exists(), "it is deleted")
    assert [name for name in os.listdir(far.path) if name.startswith(".Trash")] == []


def test_copying_in_shows_its_progress(screen: Desktop, home: Home, results: Path, far: Mount) -> None:
    report = home.path / "report"
    report.mkdir()
    for number in range(6):
        (report / f"model-{number}.bin").write_bytes(os.urandom(1_000_000))
    copied = far / "results" / "model-0.bin"

    def copy() -> None:
        screen.show(report)
        screen.press("ctrl+a", "ctrl+c")
        screen.show(results)
        screen.press("ctrl+v")

    progress = "^File Operation Progress$"
    screen.until(lambda: bool(screen.windows(progress)), "it shows its progress", copy)
    eventually(copied.exists, "a file is there")
    screen.picture("copying")
    eventually(lambda: not screen.windows(progress), "it is done", 60)
    assert tree(report).items() <= tree(far / "results").items()


def test_thumbnails_of_what_is_small(screen: Desktop, home: Home, mount: Mount, far: Mount) -> None:
    photos = far / "photos"
    photos.mkdir()
    (photos / "sunset.png").write_bytes(picture_of((230, 120, 40)))
    (photos / "forest.png").write_bytes(picture_of((40, 120, 60)))
    (photos / "poster.png").write_bytes(picture_of((90, 60, 160), padding=LARGE))
    before = mount.status()["cache"]["bytes"]
    screen.show(mount.anew() / "photos")
    thumbnails = home.path / ".cache" / "thumbnails"

    def made(where: str) -> int:
        return len(list(thumbnails.glob(f"{where}/**/*.png")))

    eventually(lambda: made("normal") + made("large") >= 2, "the photos have thumbnails")
    log = home.cache_dir / "mount.log"
    eventually(lambda: "'poster.png' is not downloaded for a thumbnail" in log.read_text(), "the poster was asked for")
    assert mount.status()["cache"]["bytes"] - before < LARGE
    screen.picture("photos")
