"""A server that the tests of this directory share, each with a service of its own in front of it, and a container."""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.faults.manners import Manner, Piling, Replacing
from tests.faults.service import Service, speaking
from tests.fuse.mounted import Home, released_after
from tests.server.live import LiveServer, running_server

_numbers = itertools.count(1)


@pytest.fixture(autouse=True)
def no_test_hangs() -> Iterator[None]:
    with released_after(80.0):  # before pytest's own limit, which cannot interrupt who waits in the kernel
        yield


@pytest.fixture(scope="package")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    with running_server(
        tmp_path_factory.mktemp("server") / "store", "--max-upload-size", "0", "--no-access-log"
    ) as live:
        yield live


@contextmanager
def shown(server: LiveServer, manner: type[Manner]) -> Iterator[Service]:
    """A service that prints what it was asked, for a test that fails."""
    with speaking(server, manner) as service:
        try:
            yield service
        finally:
            print(*service.proxy.exchanges, sep="\n")


@pytest.fixture(params=[Manner, Replacing, Piling], ids=lambda manner: manner.name)
def every_service(server: LiveServer, request: pytest.FixtureRequest) -> Iterator[Service]:
    """Ours, a foreign one that replaces by path, and one that does not."""
    with shown(server, request.param) as service:
        yield service


@pytest.fixture(params=[Manner, Piling], ids=lambda manner: manner.name)
def any_service(server: LiveServer, request: pytest.FixtureRequest) -> Iterator[Service]:
    """The two that differ most."""
    with shown(server, request.param) as service:
        yield service


@pytest.fixture(params=[Replacing, Piling], ids=lambda manner: manner.name)
def foreign_service(server: LiveServer, request: pytest.FixtureRequest) -> Iterator[Service]:
    with shown(server, request.param) as service:
        yield service


@pytest.fixture
def service(server: LiveServer) -> Iterator[Service]:
    with shown(server, Manner) as service:
        yield service


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


@pytest.fixture
def box() -> str:
    """The name of a container that no other test has."""
    return f"box {next(_numbers)}"
