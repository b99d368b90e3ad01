"""The server as a process: how it starts, what stops it from starting, how it stops."""

import contextlib
import os
import signal
import socket
import sqlite3
import subprocess
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from tests.server.conftest import answered, contents_in, create
from tests.server.live import LiveServer, running_server, start
from tests.server.raw import Connection, connect


def refusal(*options: str, setup: str = "") -> str:
    """The one line that a server says which does not start."""
    with start(options, subprocess.PIPE) as process:
        out, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert out == ""
    assert err.count("\n") == 1, err
    assert err.startswith("containerfs serve: ")
    return err


def test_on_a_free_port_it_says_which(tmp_path: Path) -> None:
    with running_server(tmp_path / "store") as server:
        assert server.address.startswith("http://127.0.0.1:")
        assert httpx.get(server.root_url + "/healthz").json() == {"status": "ok"}
        assert server.stop() == 0


def test_on_ipv6(tmp_path: Path) -> None:
    with running_server(tmp_path / "store", "--host", "::1") as server:
        assert server.address.startswith("http://[::1]:")
        assert httpx.get(server.root_url + "/healthz").status_code == 200


def test_on_a_unix_socket_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with running_server(tmp_path / "store", uds=path) as server:
        assert server.address == f"unix:{path}"
        assert path.stat().st_mode & 0o777 == 0o600
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(path)), base_url=server.base_url) as http:
            assert create(http)["file_count"] == 0
        assert server.stop() == 0
    assert not path.exists()


def test_a_stale_socket_is_replaced_and_a_live_one_is_not(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with running_server(tmp_path / "store", uds=path) as server:
        server.kill()
    assert path.is_socket()
    with running_server(tmp_path / "store", uds=path):
        said = refusal("--uds", str(path), "--data-dir", str(tmp_path / "store"))
        assert "in use" in said
        assert "--uds" in said
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(path))) as http:
            assert http.get("http://server/healthz").status_code == 200


def test_a_file_in_the_place_of_the_socket_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "s"
    path.write_text("precious")
    assert "in use" in refusal("--uds", str(path), "--data-dir", str(tmp_path / "store"))
    assert path.read_text() == "precious"


def test_addresses_that_cannot_be_listened_on(tmp_path: Path) -> None:
    data = ("--data-dir", str(tmp_path / "store"))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        said = refusal("--port", str(taken.getsockname()[1]), *data)
        assert "in use" in said
        assert "--port" in said
    (tmp_path / "keys").write_text('{"keys": []}')
    assert "--host" in refusal("--host", "nowhere.invalid", "--api-keys", str(tmp_path / "keys"), *data)
    assert "too long" in refusal("--uds", str(tmp_path / ("x" * 120)), *data)
    assert "No such file" in refusal("--uds", str(tmp_path / "no" / "s"), *data)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
def test_others_may_connect_only_with_keys(tmp_path: Path, host: str) -> None:
    assert "--api-keys" in refusal("--host", host, "--data-dir", str(tmp_path / "store"))
    assert not (tmp_path / "store").exists()


def test_a_key_file_that_is_not_there(tmp_path: Path) -> None:
    said = refusal("--api-keys", str(tmp_path / "keys"), "--data-dir", str(tmp_path / "store"), "--port", "0")
    assert f"containerfs keys add NAME --api-keys {tmp_path / 'keys'}" in said
    assert not (tmp_path / "store").exists()


def test_a_broken_key_file(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text("nonsense")
    assert str(keys) in refusal("--api-keys", str(keys), "--data-dir", str(tmp_path / "store"))


def test_a_data_directory_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert str(tmp_path / "file") in refusal("--data-dir", str(tmp_path / "file"), "--port", "0")
    assert "/proc" in refusal("--data-dir", "/proc/store", "--port", "0")


def test_a_store_that_is_not_one(tmp_path: Path) -> None:
    store = tmp_path / "store"
    store.mkdir()
    (store / "metadata.sqlite3").write_bytes(b"not a database" * 100)
    assert "metadata.sqlite3" in refusal("--data-dir", str(store), "--port", "0")


def test_a_store_of_a_newer_version_is_refused_and_left_alone(tmp_path: Path) -> None:
    store = tmp_path / "store"
    with running_server(store) as server:
        server.stop()
    with contextlib.closing(sqlite3.connect(store / "metadata.sqlite3")) as database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
        database.commit()
    assert "99" in refusal("--data-dir", str(store), "--port", "0")
    with contextlib.closing(sqlite3.connect(store / "metadata.sqlite3")) as database:
        assert database.execute("SELECT version_num FROM alembic_version").fetchall() == [("9999",)]


def test_it_outlives_the_reader_of_its_log(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    with start(["--port", "0", "--data-dir", str(tmp_path / "store")], writing) as process:
        os.close(writing)
        assert process.stdout is not None
        connection = HTTPConnection(urlsplit(process.stdout.readline().split()[-1]).netloc)
        os.close(reading)
        for _ in range(3):  # on one connection, which a failure would close
            connection.request("GET", "/healthz")
            assert connection.getresponse().read()
        connection.close()
        process.terminate()
        assert process.wait(60) == 0


def test_it_outlives_standard_input(tmp_path: Path) -> None:
    with running_server(tmp_path / "store") as server:
        assert server.process.stdin is not None
        server.process.stdin.close()
        assert httpx.get(server.root_url + "/healthz").status_code == 200


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_lets_uploads_finish(tmp_path: Path, number: signal.Signals) -> None:
    store = tmp_path / "store"
    with running_server(store) as server, httpx.Client(base_url=server.base_url) as http:
        container = create(http)["id"]
        with connect(server) as uploading, connect(server) as idle:
            uploading.begin_upload(container, b"x" * 100_000)
            uploading.send(b"x" * 40_000)
            idle.send(b"GET /healthz HTTP/1.1\r\n")  # half a head is no request
            server.process.send_signal(number)
            assert idle.receive() == b""
            with contextlib.suppress(ConnectionRefusedError):
                while True:  # the last that the kernel accepted are closed unanswered
                    with connect(server) as late:
                        assert late.receive() == b""
            uploading.send(b"x" * 60_000 + uploading.tail)
            assert uploading.receive().startswith(b"HTTP/1.1 200 OK")
        assert server.process.wait(60) == 0
    with running_server(store) as server, httpx.Client(base_url=server.base_url) as http:
        assert answered(http.get(f"/containers/{container}/files"))["data"][0]["bytes"] == 100_000


def test_a_stop_waits_no_longer_than_it_may(tmp_path: Path) -> None:
    with running_server(tmp_path / "store", "--shutdown-timeout", "0.2") as server:
        with httpx.Client(base_url=server.base_url) as http:
            container = create(http)["id"]
        with connect(server) as stalled:
            stalled.begin_upload(container, b"x" * 100_000)
            assert server.stop() == 0
        assert contents_in(tmp_path / "store") == set()
    assert "1 connections" in server.log.read_text()
    assert "Traceback" not in server.log.read_text()


def test_slow_requests_are_ended_and_leave_nothing(tmp_path: Path) -> None:
    with (
        running_server(tmp_path / "store", "--timeout", "0.3") as server,
        httpx.Client(base_url=server.base_url) as http,
    ):
        container = create(http)["id"]
        with connect(server) as silent, connect(server) as half_head, connect(server) as half_body:
            half_head.send(b"GET /v1/containers HTTP/1.1\r\nHost:")
            half_body.begin_upload(container, b"x" * 200_000)
            half_body.send(b"x" * 150_000)
            assert silent.receive() == b""
            assert half_head.receive() == b""
            said = half_body.receive()
            assert said.startswith(b"HTTP/1.1 408 ")
            assert b"connection: close" in said.lower()
        with connect(server) as second:  # a connection that was good once gets no longer
            second.send(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert second.receive_until(b'{"status":"ok"}').startswith(b"HTTP/1.1 200")
            second.send(b"GET /hea")
            assert second.receive() == b""
        assert answered(http.get(f"/containers/{container}"))["file_count"] == 0
        assert contents_in(tmp_path / "store") == set()


def test_a_client_that_leaves_in_the_midst_leaves_nothing(tmp_path: Path) -> None:
    with running_server(tmp_path / "store") as server, httpx.Client(base_url=server.base_url) as http:
        container = create(http)["id"]
        with connect(server) as leaving:
            leaving.begin_upload(container, b"x" * 5_000_000)
            leaving.send(b"x" * 4_000_000)
        assert server.stop() == 0  # by then the server has dealt with it
        assert contents_in(tmp_path / "store") == set()


@pytest.mark.parametrize(
    "head",
    [
        b"nonsense\r\n\r\n",
        b"GET /v1/containers\r\n\r\n",
        b"GET \xff\xfe HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /v1/containers/\xc3\xa9 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"POST /v1/containers HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n",
        b"POST /v1/containers HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        b"GET /v1/containers HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * 200_000 + b"\r\nConnection: close\r\n\r\n",
        b"POST /v1/containers HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n",
    ],
)
def test_what_is_not_http_does_no_harm(noisy: Connection, head: bytes) -> None:
    noisy.send(head)
    said = noisy.receive()
    assert b" 500 " not in said.partition(b"\r\n")[0]
    with connect(noisy.server) as after:
        after.send(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert after.receive().startswith(b"HTTP/1.1 200 OK")


@pytest.fixture(scope="module")
def noisy_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    with running_server(tmp_path_factory.mktemp("noisy") / "store", "--timeout", "1") as server:
        yield server


@pytest.fixture
def noisy(noisy_server: LiveServer) -> Iterator[Connection]:
    with connect(noisy_server) as connection:
        yield connection
