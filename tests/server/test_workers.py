"""Several processes over one store and one address: none is missed, and none is left over."""

import contextlib
import os
import select
import signal
import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from containerfs.server.tally import Tally
from tests.server.conftest import answered, contents_in, create
from tests.server.live import LiveServer, eventually, running_server
from tests.server.raw import connect
from tests.server.test_operations import counted
from tests.server.test_process import refusal

CLIENTS = 8


def children_of(pid: int) -> list[int]:
    return sorted(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))


def ended(pidfd: int) -> bool:
    """Whether a process has ended, within a time that is ample."""
    return bool(select.select([pidfd], [], [], 60)[0])


def accepts(server: LiveServer) -> bool:
    try:
        with connect(server):
            return True
    except ConnectionRefusedError:
        return False


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LiveServer]:
    with running_server(tmp_path / "store", "--workers", "2", "--sweep-interval", "0.5") as live:
        yield live


def test_each_of_them_answers_for_all(server: LiveServer) -> None:
    one, two = children_of(server.process.pid)
    with httpx.Client(base_url=server.base_url) as http:
        container = create(http)["id"]
    for other in (one, two):
        os.kill(other, signal.SIGSTOP)
        try:
            answered(httpx.get(f"{server.base_url}/containers/{container}", timeout=60))
        finally:
            os.kill(other, signal.SIGCONT)
    assert counted(server, method="POST") == 1
    assert counted(server, method="GET", route="/v1/containers/{container_id}") == 2
    assert server.stop() == 0
    assert "Traceback" not in server.log.read_text()


def test_one_that_dies_is_replaced_and_nothing_acknowledged_is_lost(server: LiveServer) -> None:
    with httpx.Client(base_url=server.base_url, timeout=60) as http:
        container = create(http)["id"]
    path = f"/containers/{container}/files"
    acknowledged: dict[str, bytes] = {}
    progress, over = threading.Semaphore(0), threading.Event()

    def work(number: int) -> None:
        step = 0
        while not over.is_set():
            with contextlib.suppress(httpx.TransportError), httpx.Client(base_url=server.base_url, timeout=60) as http:
                while not over.is_set():
                    step += 1
                    content = f"{number}/{step}".encode() * 1000
                    file = answered(http.post(path, files={"file": (f"{number}-{step}", content)}))
                    acknowledged[file["id"]] = content
                    progress.release()

    with ThreadPoolExecutor(CLIENTS) as pool:
        working = [pool.submit(work, number) for number in range(CLIENTS)]
        for _ in range(3):
            for _ in range(20):
                assert progress.acquire(timeout=60)
            before = children_of(server.process.pid)
            os.kill(before[0], signal.SIGKILL)
            eventually(lambda before=before: len(set(children_of(server.process.pid)) - set(before)) == 1)  # type: ignore[misc]
        over.set()
        for each in working:
            each.result()
    with httpx.Client(base_url=server.base_url, timeout=60) as http:
        for id, content in acknowledged.items():
            assert http.get(f"{path}/{id}/content").content == content
    assert counted(server, method="POST", status="200") >= len(acknowledged)
    assert server.log.read_text().count("ended with status -9 and is replaced") == 3
    assert server.stop() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_lets_uploads_finish(server: LiveServer, number: signal.Signals) -> None:
    with httpx.Client(base_url=server.base_url) as http:
        container = create(http)["id"]
    pidfds = [os.pidfd_open(pid) for pid in children_of(server.process.pid)]
    with connect(server) as connection:
        connection.begin_upload(container, b"x" * 1000)
        server.process.send_signal(number)
        eventually(lambda: not accepts(server))
        connection.send(b"x" * 1000 + connection.tail)
        assert connection.receive().startswith(b"HTTP/1.1 200 ")
    assert server.process.wait(60) == 0
    assert all(map(ended, pidfds))
    assert len(contents_in(server.data_dir)) == 1


def test_none_outlives_its_parent(server: LiveServer) -> None:
    pidfds = [os.pidfd_open(pid) for pid in children_of(server.process.pid)]
    server.kill()
    assert all(map(ended, pidfds))


def test_on_a_unix_socket_whose_file_is_removed_by_the_last(tmp_path: Path) -> None:
    with running_server(tmp_path / "store", "--workers", "2", uds=tmp_path / "s") as server:
        os.kill(children_of(server.process.pid)[0], signal.SIGTERM)
        transport = httpx.HTTPTransport(uds=str(tmp_path / "s"))
        with httpx.Client(transport=transport, base_url=server.base_url, timeout=60) as http:
            create(http)
        eventually(lambda: len(children_of(server.process.pid)) == 2)
        assert (tmp_path / "s").is_socket()
        assert server.stop() == 0
    assert not (tmp_path / "s").exists()


def test_a_store_that_cannot_be_opened_is_told_of_once(tmp_path: Path) -> None:
    store = tmp_path / "store"
    with running_server(store) as server:
        server.stop()
    with contextlib.closing(sqlite3.connect(store / "metadata.sqlite3")) as database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
        database.commit()
    assert "99" in refusal("--workers", "3", "--data-dir", str(store), "--port", "0")


def test_a_tally_goes_on_where_another_process_ended() -> None:
    tally = Tally(2)
    tally.add(1, "a", "b")
    for _ in range(2):
        if not (pid := os.fork()):
            tally.take(1)
            tally.add(0.5, "a", "b")
            tally.add(2, "c")
            os._exit(0)
        os.waitpid(pid, 0)
    tally.add(1, "d\0\n")
    assert tally.sums() == {("a", "b"): 2.0, ("c",): 4.0, ("d\0\n",): 1.0}


def test_a_tally_has_room_for_so_many_keys() -> None:
    tally = Tally()
    for number in range(10_000):
        tally.add(1, "x" * 90, str(number))
    assert sum(tally.sums().values()) == 10_000
