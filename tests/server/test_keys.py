"""API keys: each sees its own, and nothing of another's."""

import json
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.server.conftest import answered, create, refused
from tests.server.live import LiveServer, running_server


def keys(*arguments: str, status: int = 0) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "containerfs", "keys", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == status, done.stderr
    return done


@pytest.fixture(scope="module")
def key_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keys") / "keys.json"


@pytest.fixture(scope="module")
def guarded(key_file: Path) -> Iterator[LiveServer]:
    """A server that demands keys, of which there is one."""
    keys("add", "first", "--api-keys", str(key_file))
    with running_server(key_file.with_name("store"), "--api-keys", str(key_file)) as live:
        yield live


@pytest.fixture
def client_of(guarded: LiveServer, key_file: Path) -> Iterator[Callable[[str], httpx.Client]]:
    clients = []

    def connect(name: str) -> httpx.Client:
        secret = keys("add", name, "--api-keys", str(key_file)).stdout.strip()
        client = httpx.Client(base_url=guarded.base_url, headers={"authorization": f"Bearer {secret}"})
        clients.append(client)
        return client

    yield connect
    for client in clients:
        client.close()


def test_nothing_of_another_key_can_be_seen(client_of: Callable[[str], httpx.Client]) -> None:
    mine, other = client_of("mine"), client_of("other")
    container = create(mine)["id"]
    file = answered(mine.post(f"/containers/{container}/files", files={"file": ("f", b"secret")}))["id"]
    source = answered(mine.post("/files", files={"file": ("s", b"secret")}, data={"purpose": "x"}))["id"]
    own = create(other)["id"]
    for response in (
        other.get(f"/containers/{container}"),
        other.delete(f"/containers/{container}"),
        other.get(f"/containers/{container}/files"),
        other.get(f"/containers/{container}/files/{file}"),
        other.get(f"/containers/{container}/files/{file}/content"),
        other.delete(f"/containers/{container}/files/{file}"),
        other.post(f"/containers/{container}/files", files={"file": ("g", b"")}),
        other.get(f"/files/{source}"),
        other.get(f"/files/{source}/content"),
        other.delete(f"/files/{source}"),
        other.post("/containers", json={"name": "a", "file_ids": [source]}),
        other.post(f"/containers/{own}/files", json={"file_id": source}),
        other.post(f"/containers/{own}/files", json={"file_id": file}),
    ):
        assert answered(response, 404)["error"]["message"].endswith(("found.", source, file, container))
    assert [item["id"] for item in answered(other.get("/containers"))["data"]] == [own]
    assert answered(other.get("/files"))["data"] == []
    for path, cursor in (("/containers", container), ("/files", source)):
        refused(other.get(path, params={"after": cursor}), 400, "after")
    assert mine.get(f"/containers/{container}/files/{file}/content").content == b"secret"


def test_idempotency_keys_are_each_keys_own(client_of: Callable[[str], httpx.Client]) -> None:
    once = {"idempotency-key": "shared"}
    ids = {
        answered(client_of(name).post("/containers", json={"name": "a"}, headers=once))["id"] for name in ("one", "two")
    }
    assert len(ids) == 2


@pytest.mark.parametrize("authorization", [None, "", "Bearer", "Basic abc", "Bearer sk-guess", "sk-guess"])
def test_without_a_known_key_nothing(guarded: LiveServer, authorization: str | None) -> None:
    headers = {} if authorization is None else {"authorization": authorization}
    with httpx.Client(base_url=guarded.base_url, headers=headers) as http:
        for method, path in (("GET", "/containers"), ("POST", "/containers"), ("POST", "/files"), ("GET", "/files/f")):
            response = http.request(method, path)
            refused(response, 401)
            assert response.headers["www-authenticate"] == "Bearer"


OPERATIONS = ("/metrics", "/docs", "/openapi.json")


def test_on_this_machine_operations_need_no_key(guarded: LiveServer) -> None:
    for path in ("/healthz", *OPERATIONS):
        assert httpx.get(guarded.root_url + path).status_code == 200


def test_elsewhere_operations_need_a_key_and_health_does_not(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    secret = keys("add", "a", "--api-keys", str(path)).stdout.strip()
    with (
        running_server(tmp_path / "store", "--host", "0.0.0.0", "--api-keys", str(path)) as server,
        httpx.Client(base_url=server.root_url) as http,
    ):
        assert http.get("/healthz").status_code == 200
        for operation in OPERATIONS:
            refused(http.get(operation), 401)
            assert http.get(operation, headers={"authorization": f"Bearer {secret}"}).status_code == 200


def test_a_revoked_key_is_refused_from_the_next_request(
    client_of: Callable[[str], httpx.Client], key_file: Path
) -> None:
    client = client_of("short-lived")
    create(client)
    listed = keys("list", "--api-keys", str(key_file)).stdout
    [line] = [line for line in listed.splitlines() if line.endswith("short-lived")]
    keys("revoke", line.split()[0], "--api-keys", str(key_file))
    assert refused(client.get("/containers"), 401)["code"] == "invalid_api_key"
    assert "no key" in keys("revoke", line.split()[0], "--api-keys", str(key_file), status=1).stderr


def test_the_file_holds_no_key_and_is_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    secret = keys("add", "a", "--api-keys", str(path)).stdout.strip()
    assert secret.startswith("sk-")
    assert secret not in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert {"id", "name", "sha256", "created_at"} == set(json.loads(path.read_text())["keys"][0])


def test_a_name_is_one_keys(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    keys("add", "alice", "--api-keys", str(path))
    before = path.read_text()
    [id, *_] = keys("list", "--api-keys", str(path)).stdout.split()
    said = keys("add", "alice", "--api-keys", str(path), status=1).stderr
    assert id in said
    assert said.count("\n") == 1
    assert path.read_text() == before
    keys("revoke", id, "--api-keys", str(path))
    keys("add", "alice", "--api-keys", str(path))


def test_there_is_nothing_in_a_file_that_is_not_there(tmp_path: Path) -> None:
    path = str(tmp_path / "keys.json")
    for arguments in (["list"], ["revoke", "key_1"]):
        assert f"keys add NAME --api-keys {path}" in keys(*arguments, "--api-keys", path, status=1).stderr


def test_keys_added_at_the_same_time_are_all_there(tmp_path: Path) -> None:
    path = str(tmp_path / "keys.json")
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: keys("add", f"k{number}", "--api-keys", path), range(8)))
    listed = keys("list", "--api-keys", path, "--data-dir", str(tmp_path / "no store")).stdout
    assert sorted(line.split()[-1] for line in listed.splitlines()) == [f"k{number}" for number in range(8)]


def test_a_broken_file_lets_no_one_in_and_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    path.write_text("{")
    assert keys("list", "--api-keys", str(path), status=1).stderr.count("\n") == 1
    assert keys("add", "a", "--api-keys", str(tmp_path / "no" / "keys"), status=1).stderr.count("\n") == 1


def test_a_file_that_breaks_under_a_server_lets_no_one_in_until_it_is_mended(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    secret = keys("add", "a", "--api-keys", str(path)).stdout.strip()
    good = path.read_text()
    with (
        running_server(tmp_path / "store", "--api-keys", str(path), "--no-access-log") as server,
        httpx.Client(base_url=server.base_url, headers={"authorization": f"Bearer {secret}"}) as http,
    ):
        create(http)
        path.write_text("{")
        for _ in range(2):
            assert refused(http.get("/containers"), 401)["code"] == "invalid_api_key"
        path.unlink()
        refused(http.get("/containers"), 401)
        path.write_text(good)
        assert len(answered(http.get("/containers"))["data"]) == 1
    broken, missing = server.log.read_text().splitlines()
    assert str(path) in broken
    assert str(path) in missing


def test_neither_keys_nor_contents_are_logged(client_of: Callable[[str], httpx.Client], guarded: LiveServer) -> None:
    client = client_of("logged")
    container = create(client, name="name of a container")["id"]
    answered(client.post(f"/containers/{container}/files", files={"file": ("name of a file", b"content of a file")}))
    answered(client.get("/containers"))  # by then, the line of the request before it on this connection is written
    log = guarded.log.read_text()
    mine = next(line for line in log.splitlines() if container in line)
    secret = client.headers["authorization"].split()[1]
    for said in (secret, "name of a container", "name of a file", "content of a file"):
        assert said not in log
    assert json.loads(mine)["status"] == 200


def test_the_list_says_what_each_key_has_in_the_store(tmp_path: Path) -> None:
    path, store = tmp_path / "keys.json", tmp_path / "store"
    secrets = {name: keys("add", name, "--api-keys", str(path)).stdout.strip() for name in ("one", "two", "gone")}
    options = ("--api-keys", str(path), "--data-dir", str(store))
    assert "containers" not in keys("list", *options).stdout
    assert not store.exists()
    with running_server(store, "--api-keys", str(path)) as server:
        for name in ("one", "gone"):
            authorization = {"Authorization": f"Bearer {secrets[name]}"}
            with httpx.Client(base_url=server.base_url, headers=authorization) as http:
                container = create(http)["id"]
                file = answered(http.post(f"/containers/{container}/files", files={"file": b"content"}))
                answered(http.post(f"/containers/{container}/files", json={"file_id": file["id"], "path": "copy"}))
        id_of_gone = keys("list", *options).stdout.split("\n")[2].split()[0]
        keys("revoke", id_of_gone, "--api-keys", str(path))
        one, two, left, end = keys("list", *options).stdout.split("\n")
    assert one.endswith("  one  1 containers  2 files  14 bytes")
    assert two.endswith("  two")
    assert left == f"{id_of_gone}  of no key  1 containers  2 files  14 bytes"
    assert end == ""
