"""The trash of desktops is refused, and nothing is left of the attempt. Source: gio(1)."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fuse.mounted import Home, Mount, released_after, tree
from tests.server.live import LiveServer, running_server


@pytest.fixture(autouse=True)
def no_test_hangs() -> Iterator[None]:
    with released_after(90):
        yield


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LiveServer]:
    with running_server(tmp_path / "store") as server:
        yield server


@pytest.fixture(params=["all", "one"])
def mount(request: pytest.FixtureRequest, server: LiveServer, tmp_path: Path) -> Iterator[Mount]:
    """A mount of all containers, or of one, with a file in it."""
    home = Home(tmp_path / "home")
    home.run("containerfs", "create", "results", "--url", server.address)
    options = () if request.param == "all" else ("--container", "results")
    with home.mounted("--url", server.address, *options) as mount:
        (mount / "results" if request.param == "all" else mount.path).joinpath("notes.txt").write_text("kept")
        yield mount


def test_the_trash_is_refused(mount: Mount) -> None:
    before = tree(mount.path)
    (file,) = mount.path.rglob("notes.txt")
    assert "Unable to find or create trash directory" in mount.home.fails("gio", "trash", file)
    assert tree(mount.path) == before
    assert file.read_text() == "kept"
    assert list(mount.path.rglob(".Trash*")) == []
