"""An upload whose length was not announced, and that breaks off wherever it does, never becomes a file."""

import contextlib
import itertools
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import httpx
import pytest

from tests.server.conftest import answered, create
from tests.server.live import LiveServer, running_server
from tests.server.postgres import Postgres
from tests.server.raw import connect
from tests.server.s3 import ObjectStorage

SMALL, LARGE = b"content " * 4, b"content " * 1_200_000  # the latter is several parts in an object store
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: closing sends RST; socket(7)

Serving = Callable[[], AbstractContextManager[LiveServer]]


@pytest.fixture(params=["SQLite and files", "PostgreSQL and S3"])
def serving(request: pytest.FixtureRequest, tmp_path: Path) -> Serving:
    """Starts a server, always on one store."""
    options: list[str] = []
    if request.param == "PostgreSQL and S3":
        postgres: Postgres = request.getfixturevalue("postgres")
        storage: ObjectStorage = request.getfixturevalue("object_storage")
        options = ["--database", postgres.new_database(), "--blobs", storage.new_bucket()]
    return lambda: running_server(tmp_path / "store", *options)


def form(content: bytes) -> list[bytes]:
    """A form with one file, in the pieces in which it is sent."""
    return [b'--B\r\nContent-Disposition: form-data; name="file"; filename="cut"\r\n\r\n', content, b"\r\n--B--\r\n"]


def headers(container: str) -> bytes:
    """Of its upload, in chunks and under a key."""
    return (
        f"POST /v1/containers/{container}/files HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n"
        "Idempotency-Key: key\r\nContent-Type: multipart/form-data; boundary=B\r\n\r\n"
    ).encode()


def chunked(pieces: list[bytes]) -> bytes:
    """Source: RFC 9112, 7.1."""
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in [*pieces, b""])


def break_off(server: LiveServer, sent: bytes, *, reset: bool) -> None:
    """Send a part of a request, and leave."""
    with connect(server) as connection:
        connection.send(sent)
        if reset:
            connection.stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        else:
            connection.stream.shutdown(socket.SHUT_WR)
            connection.receive()


def cuts(body: bytes, content: bytes) -> Iterator[int]:
    """Where a body breaks off: at each byte of all that is not content, and in the middle of that."""
    begin = body.index(content)
    end = begin + len(content)
    return itertools.chain(range(begin), [begin + len(content) // 2], range(end, len(body)))


@contextlib.contextmanager
def begun_anew(serving: Serving) -> Iterator[httpx.Client]:
    """A client of a server that has begun after the one before had ended all its requests."""
    with serving() as server, httpx.Client(base_url=server.base_url, timeout=60) as http:
        yield http


def listed(http: httpx.Client, container: str) -> list[str]:
    found = answered(http.get(f"/containers/{container}/files", params={"limit": 100}))["data"]
    return [file["path"] for file in found]


@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
def test_what_breaks_off_is_no_file(serving: Serving, *, reset: bool) -> None:
    with serving() as server, httpx.Client(base_url=server.base_url, timeout=60) as http:
        container, body = create(http)["id"], chunked(form(SMALL))
        for cut in cuts(body, SMALL):
            break_off(server, headers(container) + body[:cut], reset=reset)
        assert server.stop() == 0
    with begun_anew(serving) as http:
        assert listed(http, container) == []


def test_a_large_one_is_none_either_and_leaves_its_key_free(serving: Serving) -> None:
    with serving() as server, httpx.Client(base_url=server.base_url, timeout=60) as http:
        container, body = create(http)["id"], chunked(form(LARGE))
        for cut in (len(body) // 2, body.rindex(b"\r\n--B--"), body.rindex(b"--\r\n"), len(body) - 5, len(body) - 2):
            break_off(server, headers(container) + body[:cut], reset=False)
        assert server.stop() == 0
    with begun_anew(serving) as http:
        assert listed(http, container) == []
        stored = answered(
            http.post(
                f"/containers/{container}/files",
                headers={"content-type": "multipart/form-data; boundary=B", "idempotency-key": "key"},
                content=iter(form(LARGE)),
            )
        )
        assert http.get(f"/containers/{container}/files/{stored['id']}/content").content == LARGE
