"""Mounts that the tests of a module share, each test in a container of its own."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
from openai import OpenAI

from tests.fuse.mounted import Home, Mount, released_after
from tests.server.live import LiveServer, running_server

_numbers = itertools.count(1)


@pytest.fixture(autouse=True)
def no_test_hangs() -> Iterator[None]:
    with released_after(90.0):  # before pytest's own limit, which cannot interrupt who waits in the kernel
        yield


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    with running_server(tmp_path_factory.mktemp("server") / "store", "--max-upload-size", "0") as live:
        yield live


@pytest.fixture(scope="module")
def mount(server: LiveServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mount]:
    with Home(tmp_path_factory.mktemp("home")).mounted("--url", server.address) as mount:
        yield mount


@pytest.fixture(scope="module")
def other(server: LiveServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mount]:
    """Another mount of the same server, with caches of its own, which looks ``anew`` when it is told to."""
    home = Home(tmp_path_factory.mktemp("other"))
    forgetful_kernel = ("-o", "entry_timeout=0,attr_timeout=0")
    with home.mounted("--url", server.address, "--metadata-expiry", "1h", *forgetful_kernel) as mount:
        yield mount


@pytest.fixture
def container(mount: Mount) -> Path:
    """A new container, in ``mount``."""
    path = mount / f"container {next(_numbers)}"
    path.mkdir()
    return path


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


@pytest.fixture(scope="module")
def sdk(server: LiveServer) -> Iterator[OpenAI]:
    """An independent client of the server."""
    with OpenAI(base_url=server.base_url, api_key="-", max_retries=0) as client:
        yield client
