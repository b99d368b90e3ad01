"""One server for the tests of a module, small limits so that they are met; fixtures that answer what a test asks."""

import contextlib
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from tests.server.live import LiveServer, running_server

UPLOAD_MAX = 4 * 1024 * 1024


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    with running_server(tmp_path_factory.mktemp("server") / "store", "--max-upload-size", "4M") as live:
        yield live


@pytest.fixture(scope="module")
def http(server: LiveServer) -> Iterator[httpx.Client]:
    """Raw HTTP below ``/v1``."""
    with httpx.Client(base_url=server.base_url, timeout=30) as client:
        yield client


@pytest.fixture
def container(http: httpx.Client) -> str:
    """The id of a new container."""
    return str(create(http)["id"])


@pytest.fixture
def upload(http: httpx.Client, container: str) -> Callable[..., dict[str, Any]]:
    """Upload into the container: name, content -> the file."""

    def send(name: str = "file.txt", content: bytes = b"content") -> dict[str, Any]:
        return answered(http.post(f"/containers/{container}/files", files={"file": (name, content)}))

    return send


def create(http: httpx.Client, **fields: object) -> dict[str, Any]:
    return answered(http.post("/containers", json={"name": "project", **fields}))


def answered(response: httpx.Response, status: int = 200) -> dict[str, Any]:
    """The JSON of an answer with this status."""
    assert response.status_code == status, response.text
    decoded: dict[str, Any] = response.json()
    return decoded


def refused(response: httpx.Response, status: int, param: str | None = None) -> dict[str, Any]:
    """The error of an answer with this status and parameter."""
    error: dict[str, Any] = answered(response, status)["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["param"] == param, error
    return error


LARGE = b"content" * 10_000
"""A content that has a file of its own."""


def contents_in(data_dir: Path, postgres_url: str | None = None) -> set[str]:
    """The names of all contents: of files that hold bytes, finished or not, and of those that the rows keep.

    Args:
        postgres_url: where the rows are; None for SQLite.
    """
    named = "SELECT name FROM small_blobs"
    files = {path.name for path in blobs_in(data_dir)}
    if postgres_url is not None:
        with psycopg.connect(postgres_url) as rows:
            return files | {name for (name,) in rows.execute(named)}
    with contextlib.closing(sqlite3.connect(data_dir / "metadata.sqlite3")) as database:
        return files | {name for (name,) in database.execute(named)}


def blobs_in(data_dir: Path) -> list[Path]:
    """The files that hold bytes, finished or not."""
    return [path for part in ("blobs", "tmp") for path in (data_dir / part).rglob("*") if path.is_file()]
