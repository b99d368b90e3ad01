"""Servers reach PostgreSQL by way of PgBouncer, which lends its connections for one transaction at a time."""

import contextlib
import os
import socket
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psycopg
import pytest

from containerfs.server.storage.open import database
from containerfs.server.storage.postgres import _engine
from tests.server.conftest import create
from tests.server.live import eventually, running_server
from tests.server.postgres import USER, Postgres
from tests.server.shell import DOCS
from tests.server.test_postgres import migrate

PROGRAM = "/usr/sbin/pgbouncer"
SETTING = "ignore_startup_parameters = options"


@pytest.fixture
def url(postgres: Postgres) -> Iterator[str]:
    """Of a database behind it: a whole one, as it knows nothing of schemas."""
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        connection.execute("CREATE DATABASE pooled")
    with tempfile.TemporaryDirectory(prefix="pgb.") as made, running_pgbouncer(Path(made), postgres) as address:
        yield address
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        connection.execute("DROP DATABASE pooled WITH (FORCE)")


@contextlib.contextmanager
def running_pgbouncer(directory: Path, postgres: Postgres) -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    user = USER.get("user", os.environ.get("USER", ""))
    (directory / "users").write_text(f'"{user}" ""\n')
    (directory / "pgbouncer.ini").write_text(
        f"[databases]\npooled = host={postgres.directory} dbname=pooled user={user}\n"
        f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
        f"auth_type = trust\nauth_file = {directory / 'users'}\n"
        f"pool_mode = transaction\ndefault_pool_size = 5\n{SETTING}\n"
    )
    if USER:
        subprocess.run(["chown", "-R", USER["user"], directory], check=True)
    with subprocess.Popen([PROGRAM, "--quiet", directory / "pgbouncer.ini"], cwd="/", **USER) as process:
        try:
            eventually(lambda: process.poll() is not None or accepts(port))
            assert process.poll() is None
            yield f"postgresql://{user}@127.0.0.1:{port}/pooled"
        finally:
            process.terminate()


def accepts(port: int) -> bool:
    with socket.socket() as asking:
        return asking.connect_ex(("127.0.0.1", port)) == 0


def test_a_database_whose_machine_is_gone_is_given_up_soon(url: str) -> None:
    """The kernel notices, and by default after a quarter of an hour, while every request waits."""
    engine = _engine(database(url))
    try:
        with engine.connect() as connection, socket.socket(fileno=os.dup(connection.connection.fileno())) as stream:
            limit = stream.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
            idle = stream.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE)
            assert stream.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    finally:
        engine.dispose()
    assert 0 < limit / 1000 <= 15
    assert 0 < idle <= 15


def test_transactions_take_turns_on_few_connections(url: str, tmp_path: Path) -> None:
    assert f"`{SETTING}`" in (DOCS / "SCALING.md").read_text()
    migrate(url)
    with (
        running_server(tmp_path / "store", "--database", url, "--workers", "2") as server,
        httpx.Client(base_url=server.base_url, timeout=60) as http,
    ):
        path = f"/containers/{create(http)['id']}/files"

        def work(client: int) -> Iterator[int]:
            for number in range(8):
                uploaded = http.post(path, files={"file": (f"{client}/{number}", b"x")})
                yield uploaded.status_code
                file = uploaded.json()["id"]
                yield http.get(f"{path}/{file}/content").status_code
                yield http.get(path, params={"limit": 100}).status_code
                if number % 2:
                    yield http.delete(f"{path}/{file}").status_code

        with ThreadPoolExecutor(16) as pool:
            statuses = Counter(status for each in pool.map(lambda n: list(work(n)), range(16)) for status in each)
        assert statuses == {200: 16 * 28}
        assert len(http.get(path, params={"limit": 100}).json()["data"]) == 64
    assert "Traceback" not in server.log.read_text()
