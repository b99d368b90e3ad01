"""Idempotency keys: what is sent twice happens once."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.server.conftest import answered, contents_in, create, refused
from tests.server.live import LiveServer, running_server

Send = Callable[[httpx.Client, str, str], httpx.Response]


def create_container(http: httpx.Client, container: str, what: str) -> httpx.Response:
    return http.post("/containers", json={"name": what}, headers={"idempotency-key": container})


def upload(http: httpx.Client, container: str, what: str) -> httpx.Response:
    # Form boundaries are random: the digest must be of what the form says.
    key = {"idempotency-key": container}
    return http.post(f"/containers/{container}/files", files={"file": ("f", what.encode())}, headers=key)


def create_file(http: httpx.Client, container: str, what: str) -> httpx.Response:
    form = {"files": {"file": ("f", b"same")}, "data": {"purpose": what}}
    return http.post("/files", headers={"idempotency-key": container}, **form)  # type: ignore[arg-type]


def copy(http: httpx.Client, container: str, what: str) -> httpx.Response:
    source = answered(create_file(http, f"source of {container}", "same"))["id"]
    body = {"file_id": source, "path": what}
    return http.post(f"/containers/{container}/files", json=body, headers={"idempotency-key": container})


@pytest.mark.parametrize("send", [create_container, upload, create_file, copy])
def test_the_same_request_again_gets_the_same_answer_once(
    server: LiveServer, http: httpx.Client, container: str, send: Send
) -> None:
    first = answered(send(http, container, "a"))
    before = contents_in(server.data_dir)
    assert answered(send(http, container, "a")) == first
    assert refused(send(http, container, "b"), 409)["code"] == "idempotency_key_reused"
    assert contents_in(server.data_dir) == before
    assert answered(send(http, create(http)["id"], "a"))["id"] != first["id"]


def test_a_key_is_not_for_another_endpoint(http: httpx.Client, container: str) -> None:
    other = create(http)["id"]
    key = {"idempotency-key": container}
    upload = {"file": ("f", b"")}
    answered(http.post(f"/containers/{container}/files", files=upload, headers=key))
    second = http.post(f"/containers/{other}/files", files=upload, headers=key)
    refused(second, 409)
    assert second.headers["x-should-retry"] == "false"


def test_the_answer_outlives_what_it_speaks_of(http: httpx.Client, container: str) -> None:
    first = answered(upload(http, container, "a"))
    answered(http.delete(f"/containers/{container}/files/{first['id']}"))
    assert answered(upload(http, container, "a")) == first
    assert answered(http.get(f"/containers/{container}"))["file_count"] == 0


def test_what_failed_may_be_sent_again(http: httpx.Client, container: str) -> None:
    key = {"idempotency-key": f"fails {container}"}
    refused(http.post(f"/containers/{container}/files", json={"file_id": "file-no"}, headers=key), 404, "file_id")
    source = answered(http.post("/files", files={"file": ("f", b"")}, data={"purpose": "x"}))
    answered(http.post(f"/containers/{container}/files", json={"file_id": source["id"]}, headers=key))


def test_over_long_keys_are_refused(http: httpx.Client) -> None:
    refused(http.post("/containers", json={"name": "a"}, headers={"idempotency-key": "k" * 256}), 400)


@pytest.mark.parametrize("send", [create_container, upload])
def test_two_at_the_same_time_even_at_two_servers(tmp_path: Path, send: Send) -> None:
    with running_server(tmp_path / "store") as one, running_server(tmp_path / "store") as two:
        with httpx.Client(base_url=one.base_url) as http:
            containers = [create(http)["id"] for _ in range(6)]
        together = threading.Barrier(8)

        def client(number: int) -> list[str]:
            ids = []
            with httpx.Client(base_url=(one, two)[number % 2].base_url, timeout=60) as http:
                for container in containers:
                    together.wait(60)
                    ids.append(str(answered(send(http, container, "x" * 10_000 if send is upload else "x"))["id"]))
            return ids

        with ThreadPoolExecutor(8) as pool:
            results = list(pool.map(client, range(8)))
        assert len({tuple(ids) for ids in results}) == 1
        with httpx.Client(base_url=one.base_url) as http:
            made = len(answered(http.get("/containers", params={"limit": 100}))["data"]) - 6
            counts = [answered(http.get(f"/containers/{container}"))["file_count"] for container in containers]
        assert (made, counts) == ((0, [1] * 6) if send is upload else (6, [0] * 6))
        assert len(contents_in(tmp_path / "store")) == sum(counts)
