"""The services that the suite runs on: our server in each of its forms, and the dialects of others."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from containerfs import Client
from tests.conformance import dialects
from tests.server.hosted import Clock, application, hosted, opened
from tests.server.live import running_server

STORES = ("sqlite and files, over TCP", "sqlite and files, over a Unix socket")

TRANSPARENT: tuple[type[dialects.Dialect], ...] = (
    dialects.BytesMissing,
    dialects.SeedSchema,
    dialects.RenamesUploads,
    dialects.KeepsDuplicates,
    dialects.SameIdOnUpload,
    dialects.StrangeIds,
    dialects.NoRanges,
    dialects.OpaqueCursors,
    dialects.NoHasMore,
    dialects.NoPages,
    dialects.Azure,
    dialects.RateLimited,
    dialects.RefusesTypes,
)
"""Those that a client's program need not know of."""


@pytest.fixture(
    scope="module", params=[*STORES, *TRANSPARENT], ids=lambda service: getattr(service, "__name__", service)
)
def client(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """Our client of each service."""
    directory = tmp_path_factory.mktemp("service")
    if isinstance(request.param, str):
        uds = directory / "socket" if "Unix" in request.param else None
        with (
            running_server(directory / "store", uds=uds) as server,
            Client(base_url=server.base_url, api_key="sk-test", uds=server.uds) as client,
        ):
            yield client
    else:
        with speaking(request.param, directory) as client:
            yield client


@pytest.fixture
def spoken(tmp_path: Path) -> Iterator[Callable[[type[dialects.Dialect]], Client]]:
    """Our client of a dialect."""
    with contextlib.ExitStack() as stack:
        yield lambda dialect: stack.enter_context(speaking(dialect, tmp_path))


@contextlib.contextmanager
def speaking(dialect: type[dialects.Dialect], directory: Path) -> Iterator[Client]:
    settings: dict[str, Any] = {"max_retries": 4, **dialect.client}
    with (
        opened(directory) as stores,
        hosted(dialect(application(stores, Clock()))) as url,
        Client(base_url=url, api_key="sk-test", **settings) as client,
    ):
        yield client
