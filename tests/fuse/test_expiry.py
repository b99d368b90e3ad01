"""Containers that end, as a mount makes them, tells of them, and keeps them alive."""

import os
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import httpx
import pytest

from tests.fuse.mounted import Home, eventually
from tests.server.hosted import Clock, application, hosted, opened
from tests.server.live import LiveServer

IDLE = {"anchor": "last_active_at", "minutes": 1}


def test_what_mkdir_makes_ends_when_the_mount_was_told_to(server: LiveServer, home: Home) -> None:
    with home.mounted("--url", server.address, "--expires-after", "7d") as mount:
        (mount / "for a week").mkdir()
        told = os.getxattr(mount / "for a week", "user.containerfs.expires_at").decode()
        container = os.getxattr(mount / "for a week", "user.containerfs.id").decode()
    made = httpx.get(f"{server.base_url}/containers/{container}").json()
    assert made["expires_after"] == {"anchor": "created_at", "days": 7}
    assert datetime.fromisoformat(told).timestamp() == made["created_at"] + 7 * 86400
    said = home.refused_mount("--url", server.address, "--expires-after", "soon")
    assert said == "expires_after: 'soon' is not a time like 20m, 12h or 7d"


@pytest.fixture
def clock() -> Clock:
    return Clock(time.time() - 50)


@pytest.fixture
def url(tmp_path: Path, clock: Clock) -> Iterator[str]:
    """A service whose clock is behind, so that what ends by it ends soon by ours."""
    with opened(tmp_path / "store") as stores, hosted(application(stores, clock)) as url:
        yield url


def create(url: str, name: str) -> str:
    """A container with a file, that ends a minute after its last use."""
    answer = httpx.post(f"{url}/containers", json={"name": name, "expires_after": IDLE}).raise_for_status()
    container = str(answer.json()["id"])
    httpx.post(f"{url}/containers/{container}/files", files={"file": ("file", b"content")}).raise_for_status()
    return container


def test_a_container_that_ends_soon_is_in_the_log(url: str, home: Home) -> None:
    create(url, "ends soon")
    with home.mounted("--url", url) as mount:
        assert os.listdir(mount / "ends soon") == ["file"]
        log = home.cache_dir / "mount.log"
        eventually(lambda: "The container 'ends soon' ends at " in log.read_text(), "the warning is in the log")


def test_a_container_that_is_named_for_it_is_kept_alive(url: str, home: Home, clock: Clock) -> None:
    kept, other = (httpx.URL(f"{url}/containers/{create(url, name)}") for name in ("kept", "other"))
    begun = httpx.get(kept).json()["last_active_at"]
    clock.now += 11  # else the use is too soon after the last to be noted
    with home.mounted("--url", url, "--keep-alive", "kept"):
        eventually(lambda: httpx.get(kept).json()["last_active_at"] > begun, "it is used")
    assert httpx.get(other).json()["last_active_at"] == begun
