"""Modes, times and empty directories on a service that has no place for them, with ``--keep-attributes``."""

import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conformance.dialects import Foreign, KeepsDuplicates
from tests.fuse.mounted import Home, Mount, eventually
from tests.fuse.test_travel import attributes, source  # noqa: F401
from tests.server.hosted import Clock, application, hosted, opened


@pytest.fixture(params=[Foreign, KeepsDuplicates])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A service that speaks the published API, and no more."""
    with opened(tmp_path / "store") as stores, hosted(request.param(application(stores, Clock()))) as url:
        yield url


@pytest.fixture
def mounts(url: str, tmp_path: Path) -> Iterator[tuple[Mount, Mount]]:
    """Two machines."""
    with ExitStack() as stack:
        yield tuple(
            stack.enter_context(Home(tmp_path / name).mounted("--url", url, "--keep-attributes", *FORGETFUL))
            for name in ("one", "two")
        )


FORGETFUL = ("--metadata-expiry", "1h", "-o", "entry_timeout=0,attr_timeout=0")


def files(url: str, container: Path) -> list[dict[str, Any]]:
    """What the service has in a container."""
    id_ = os.getxattr(container, "user.containerfs.id").decode()
    return list(httpx.get(f"{url}/containers/{id_}/files").raise_for_status().json()["data"])


def kept(url: str, container: Path) -> list[str]:
    """The names of the files of attributes."""
    return [file["path"] for file in files(url, container) if ".containerfs-attributes-" in file["path"]]


def test_a_tree_arrives_as_it_was(url: str, mounts: tuple[Mount, Mount], source: Path) -> None:  # noqa: F811
    one, two = mounts
    (one / "box").mkdir()
    one.home.run("cp", "-a", f"{source}/.", one / "box")
    one.home.run("containerfs", "sync", one.path)
    there = two.anew() / "box"
    assert attributes(there) == attributes(source)
    assert two.home.run(there / "bin" / "hello") == "hello\n"
    assert len(kept(url, one / "box")) == 1, "one small file"


def test_directories_come_and_go(url: str, mounts: tuple[Mount, Mount]) -> None:
    one, two = mounts
    (one / "box" / "a" / "b").mkdir(parents=True)
    one.home.run("containerfs", "sync", one.path)
    there = two.anew() / "box"
    assert [str(each.relative_to(there)) for each in sorted(there.rglob("*"))] == ["a", "a/b"]
    (there / "a" / "b").rmdir()
    eventually(lambda: os.listdir(one.anew(one / "box") / "a") == [], "it is gone")
    (there / "a").rmdir()
    eventually(lambda: os.listdir(one.anew(one / "box")) == [], "all is gone")
    (one / "box").rmdir()
    assert os.listdir(two.anew()) == []


def test_two_that_write_at_the_same_time_lose_nothing(url: str, mounts: tuple[Mount, Mount]) -> None:
    one, two = mounts
    (one / "box").mkdir()
    two.anew()
    rounds, names = 3, [f"{number}" for number in range(10)]

    def write(mount: Mount, mode: int, turn: int) -> None:
        for name in names:
            path = mount / "box" / f"{mode:o}-{turn}-{name}"
            path.write_bytes(b"content")
            path.chmod(mode)
        mount.home.run("containerfs", "sync", mount.path)

    with ThreadPoolExecutor(2) as writers:
        for turn in range(rounds):
            list(writers.map(write, mounts, (0o600, 0o755), (turn, turn)))
            one.anew(one / "box"), two.anew(two / "box")
    for mount in mounts:
        found = {path.name: path.stat().st_mode & 0o777 for path in mount.anew(mount / "box").iterdir()}
        assert found == {f"{m:o}-{turn}-{name}": m for m in (0o600, 0o755) for turn in range(rounds) for name in names}
    (one / "box" / "last").write_bytes(b"")
    one.home.run("containerfs", "sync", one.path)
    assert len(kept(url, one / "box")) == 1, "whoever writes next puts them together"


def test_what_was_not_sent_is_sent_by_the_next_mount(url: str, tmp_path: Path) -> None:
    home, elsewhere = Home(tmp_path / "one"), Home(tmp_path / "two")
    with home.mounted("--url", url) as mount:  # not asked for: it stays here
        (mount / "box" / "empty").mkdir(parents=True)
        (mount / "box" / "run").write_bytes(b"#!/bin/sh\n")
        (mount / "box" / "run").chmod(0o755)
        home.run("containerfs", "sync", mount.path)
        assert kept(url, mount / "box") == []
    with home.mounted("--url", url, "--keep-attributes") as mount:
        home.run("containerfs", "sync", mount.path)
        assert len(kept(url, mount / "box")) == 1
    with elsewhere.mounted("--url", url, "--keep-attributes", "--read-only") as mount:
        assert (mount / "box" / "run").stat().st_mode & 0o777 == 0o755
        assert (mount / "box" / "empty").is_dir()


def test_a_file_of_that_name_that_holds_something_else_is_a_file(url: str, tmp_path: Path) -> None:
    home, name = Home(tmp_path / "one"), ".containerfs-attributes-mine.json"
    with home.mounted("--url", url, "--keep-attributes") as mount:
        (mount / "box").mkdir()
        (mount / "box" / name).write_text(json.dumps({"mine": True}))
        (mount / "box" / "other").write_bytes(b"")
        home.run("containerfs", "sync", mount.path)
        shown = [path for path in os.listdir(mount.anew(mount / "box")) if path.endswith(".json")]
        assert len(shown) == 1
        assert json.loads((mount / "box" / shown[0]).read_text()) == {"mine": True}
