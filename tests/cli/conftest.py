"""A server that these tests share, and a user's commands on it."""

import contextlib
import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cli.box import Box
from tests.cli.ready import Ready, ready
from tests.cli.tool import Tool
from tests.conformance.dialects import Dialect
from tests.faults.manners import Manner
from tests.faults.service import Service, speaking
from tests.fuse.mounted import Home
from tests.server.hosted import Clock, application, hosted, opened
from tests.server.live import LiveServer, running_server

Spoken = Callable[..., Tool]

_numbers = itertools.count(1)


@pytest.fixture(scope="package")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    with running_server(
        tmp_path_factory.mktemp("server") / "store", "--max-upload-size", "0", "--no-access-log"
    ) as live:
        yield live


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


@pytest.fixture(scope="package")
def commands() -> Iterator[Ready]:
    with ready() as commands:
        yield commands


@pytest.fixture
def tool(server: LiveServer, home: Home, commands: Ready) -> Tool:
    return Tool(home, commands, server.address)


@pytest.fixture
def box(server: LiveServer) -> Box:
    """A new container, of a name that no other test has."""
    return Box.create(server, f"box-{next(_numbers)}")


@pytest.fixture
def in_front(server: LiveServer) -> Iterator[Callable[[type[Manner]], Service]]:
    """A service of a manner, with a proxy that fails as it is told to."""
    with contextlib.ExitStack() as stack:
        yield lambda manner: stack.enter_context(speaking(server, manner))


@pytest.fixture
def spoken(tmp_path: Path, home: Home, commands: Ready) -> Iterator[Spoken]:
    """Commands on a service that speaks a dialect, or several at once."""
    with contextlib.ExitStack() as stack:

        def tool(*spoken: type[Dialect]) -> Tool:
            app = application(stack.enter_context(opened(tmp_path / "store")), Clock())
            settings = {}
            for dialect in reversed(spoken):
                app = dialect(app)
                settings |= _settings(dialect)
            return Tool(home, commands, stack.enter_context(hosted(app)), settings)

        yield tool


def _settings(dialect: type[Dialect]) -> dict[str, str]:
    words = {name: value if isinstance(value, str) else json.dumps(value) for name, value in dialect.client.items()}
    return {f"CONTAINERFS_{name.upper()}": value for name, value in words.items()}
