"""What holds for all tests."""

import os
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import HealthCheck, settings

from tests.server.postgres import Postgres, running_postgres
from tests.server.s3 import ObjectStorage, running_object_storage

settings.register_profile(
    "any machine",
    deadline=None,  # a machine under load is slow, and what hangs is ended by pytest's limit
    suppress_health_check=[
        HealthCheck.too_slow,
        HealthCheck.function_scoped_fixture,  # one server serves all examples of a test
    ],
)
settings.load_profile("any machine")

_LONG = 60  # characters or bytes


def pytest_make_parametrize_id(val: object) -> str | None:
    """Name long arguments after their length. Some versions of pytest make the whole content a part of the test's name,
    which every report carries: 36 MB each, and 11 GB in all."""
    return f"{len(val)} long" if isinstance(val, bytes | str) and len(val) > _LONG else None


@pytest.fixture(scope="session", autouse=True)
def own_directories(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nothing is read from the directories of the user who runs the tests, nor written there."""
    places: dict[str, Path] = {
        f"XDG_{name}_HOME": tmp_path_factory.mktemp(name.lower()) for name in ("CACHE", "CONFIG", "DATA", "STATE")
    }
    with mock.patch.dict(os.environ, {name: str(place) for name, place in places.items()}):
        yield


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A server, in which a test makes a database of its own."""
    with running_postgres() as server:
        yield server


@pytest.fixture(scope="session")
def object_storage() -> Iterator[ObjectStorage]:
    """A server, in which a test makes a place of its own; this process and its children may use it."""
    with running_object_storage() as server, pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment.items():
            patch.setenv(name, value)
        yield server
