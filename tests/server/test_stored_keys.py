"""API keys in the database, and what namespaces may have."""

import asyncio
import contextlib
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from starlette.datastructures import Headers

from containerfs.server.errors import Unauthenticated
from containerfs.server.storage.metadata_store import MetadataStore
from containerfs.server.storage.open import sqlite_url
from containerfs.server.stored_keys import StoredKeys, new_key
from tests.server.conftest import answered, create, refused
from tests.server.hosted import Clock, opened
from tests.server.live import LiveServer, eventually, running_server
from tests.server.raw import connect
from tests.server.test_keys import keys


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    if request.param == "sqlite":
        return sqlite_url(tmp_path_factory.mktemp("rows"))
    return str(request.getfixturevalue("postgres").new_database())


@pytest.fixture(scope="module")
def guarded(database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    store = tmp_path_factory.mktemp("server") / "store"
    with running_server(store, "--database", database, "--api-keys", "database") as live:
        yield live
    assert "Traceback" not in live.log.read_text()


@pytest.fixture
def client_of(guarded: LiveServer, database: str) -> Iterator[Callable[..., httpx.Client]]:
    """A client with a new key of this name, made with these options."""
    with contextlib.ExitStack() as stack:

        def connect(name: str, *options: str) -> httpx.Client:
            secret = keys("add", name, "--database", database, *options).stdout.strip()
            headers = {"authorization": f"Bearer {secret}"}
            client = stack.enter_context(httpx.Client(base_url=guarded.base_url, headers=headers, timeout=60))
            eventually(lambda: client.get("/containers").json().get("error", {}).get("code") != "invalid_api_key")
            return client

        yield connect


def id_of(database: str, name: str) -> str:
    [line] = [line for line in keys("list", "--database", database).stdout.splitlines() if line.split()[2] == name]
    return line.split()[0]


def test_keys_that_share_a_namespace_and_one_that_only_reads(
    client_of: Callable[..., httpx.Client], database: str, guarded: LiveServer
) -> None:
    writer, other = client_of("writer"), client_of("other")
    reader = client_of("reader", "--namespace", id_of(database, "writer"), "--read-only")
    container = create(writer)["id"]
    path = f"/containers/{container}/files"
    file = answered(writer.post(path, files={"file": b"content"}))["id"]
    assert reader.get(f"{path}/{file}/content").content == b"content"
    refused(other.get(f"/containers/{container}"), 404)
    for method, where in (("POST", path), ("DELETE", f"{path}/{file}"), ("POST", "/files"), ("POST", "/containers")):
        assert refused(reader.request(method, where), 403)["code"] == "read_only_api_key"
    with httpx.Client(base_url=guarded.base_url, headers={"authorization": "Bearer sk-guess"}) as nobody:
        assert refused(nobody.get("/containers"), 401)["code"] == "invalid_api_key"
    listed = keys("list", "--database", database).stdout
    assert "read-only" in listed
    assert f"namespace {id_of(database, 'writer')}  1 containers  1 files  7 bytes" in listed
    assert "already" in keys("add", "writer", "--database", database, status=1).stderr


def test_a_key_ends_when_it_expires_or_is_revoked(client_of: Callable[..., httpx.Client], database: str) -> None:
    short, revoked = client_of("short", "--expires-after", "1s"), client_of("revoked")
    eventually(lambda: short.get("/containers").status_code == 401)
    assert refused(short.get("/containers"), 401)["code"] == "expired_api_key"
    assert "expired" in keys("list", "--database", database).stdout
    keys("revoke", id_of(database, "revoked"), "--database", database)
    eventually(lambda: revoked.get("/containers").status_code == 401)
    assert "no key" in keys("revoke", "key_0", "--database", database, status=1).stderr


def test_keys_are_read_every_ten_seconds(tmp_path: Path) -> None:
    clock = Clock()

    async def is_known(keys: StoredKeys, secret: str) -> bool:
        try:
            return bool(await keys.identify(Headers({"authorization": f"Bearer {secret}"})))
        except Unauthenticated:
            return False

    async def scenario(metadata: MetadataStore) -> None:
        (first, secret), (second, later) = new_key("first"), new_key("second")
        await metadata.write(lambda tx: tx.insert_key(first))
        keys = StoredKeys(metadata, timer=clock)
        assert await is_known(keys, secret)
        await metadata.write(lambda tx: tx.delete_key(first.id))
        await metadata.write(lambda tx: tx.insert_key(second))
        clock.now += 9.5
        assert (await is_known(keys, secret), await is_known(keys, later)) == (True, False)
        clock.now += 0.5
        assert (await is_known(keys, secret), await is_known(keys, later)) == (False, True)

    with opened(tmp_path) as stores:
        asyncio.run(scenario(stores.metadata))


def test_a_namespace_has_no_more_than_its_quota(client_of: Callable[..., httpx.Client], database: str) -> None:
    client = client_of("bounded")
    namespace = id_of(database, "bounded")
    container = create(client)["id"]
    path = f"/containers/{container}/files"
    first = answered(client.post(path, files={"file": ("before", b"12345")}))["id"]
    keys("quota", namespace, "--database", database, "--files", "4", "--bytes", "1K")
    assert f"namespace {namespace}  1 containers  1 files  5 bytes  at most 4 files and 1024 bytes" in (
        keys("list", "--database", database).stdout
    )

    def upload(number: int) -> httpx.Response:
        return client.post(path, files={"file": (f"f{number}", b"12345")})

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(upload, range(8)))
    assert sorted(answer.status_code for answer in answers) == [200] * 3 + [507] * 5
    assert {answer.json()["error"]["code"] for answer in answers if answer.status_code == 507} == {
        "file_quota_exceeded"
    }
    assert refused(client.post("/files", files={"file": b""}, data={"purpose": "x"}), 507)["code"]
    refused(client.post(path, json={"file_id": first, "path": "copy"}), 507)
    answered(client.post(path, files={"file": ("before", b"replaced")}))
    answered(client.delete(f"{path}/{answered(client.get(path))['data'][0]['id']}"))
    assert refused(client.post(path, files={"file": bytes(1024)}), 507)["code"] == "byte_quota_exceeded"
    answered(client.post(path, files={"file": bytes(900)}))
    answered(client.delete(f"/containers/{container}"))
    path = f"/containers/{create(client)['id']}/files"
    for number in range(4):
        answered(client.post(path, files={"file": (str(number), bytes(256))}))
    keys("quota", namespace, "--database", database)
    answered(client.post(path, files={"file": ("more", bytes(5000))}))


def test_a_file_for_which_deleting_makes_no_room_is_too_large(
    client_of: Callable[..., httpx.Client], database: str
) -> None:
    client = client_of("small")
    namespace = id_of(database, "small")
    path = f"/containers/{create(client)['id']}/files"
    large = answered(client.post("/files", files={"file": ("large", bytes(101))}, data={"purpose": "x"}))["id"]
    keys("quota", namespace, "--database", database, "--bytes", "100", "--files", "1")
    answers = (
        client.post(path, files={"file": bytes(101)}),
        client.post("/files", files={"file": bytes(101)}, data={"purpose": "x"}),
        client.post(path, json={"file_id": large}),
    )
    assert [refused(answer, 413)["code"] for answer in answers] == ["byte_quota_exceeded"] * 3
    full = client.post(path, files={"file": bytes(100)})
    assert refused(full, 507)["code"] == "file_quota_exceeded"
    assert full.headers["x-should-retry"] == "false"  # at once; a mount tries it again later
    answered(client.delete(f"/files/{large}"))
    answered(client.post(path, files={"file": bytes(100)}))
    keys("quota", namespace, "--database", database, "--files", "0")
    assert refused(client.post(path, files={"file": b""}), 413)["code"] == "file_quota_exceeded"


CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


def announced(live: LiveServer, client: httpx.Client, path: str, size: int, name: str = "") -> str:
    """What is said to the head of an upload of so many bytes; with a name, to that and the head of its file."""
    with connect(live) as connection:
        connection.send(
            f"POST /v1{path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {client.headers['authorization']}\r\n"
            f"Content-Type: multipart/form-data; boundary=B\r\nContent-Length: {size}\r\n"
            "Expect: 100-continue\r\n\r\n".encode()
        )
        said = connection.receive_until((b"}}", CONTINUE))
        if said == CONTINUE and name:
            connection.send(f'--B\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'.encode())
            said = connection.receive_until(b"}}")
    codes = re.findall(rb'"code":"(\w+)"', said)
    return b" ".join([said.split()[1], *codes]).decode()


def test_what_does_not_fit_is_refused_before_it_is_sent(
    client_of: Callable[..., httpx.Client], database: str, guarded: LiveServer
) -> None:
    client = client_of("announcing")
    namespace = id_of(database, "announcing")
    path, mib = f"/containers/{create(client)['id']}/files", 1 << 20
    keys("quota", namespace, "--database", database, "--bytes", "4M", "--files", "2")
    sent = {"files": {"file": ("half", bytes(2 * mib))}, "headers": {"idempotency-key": "half"}}
    first = answered(client.post(path, **sent))
    assert announced(guarded, client, path, 5 * mib) == "413 byte_quota_exceeded"
    assert announced(guarded, client, "/files", 5 * mib) == "413 byte_quota_exceeded"
    assert announced(guarded, client, "/files", 3 * mib) == "507 byte_quota_exceeded"
    assert announced(guarded, client, path, 3 * mib) == "100"  # it may take the place of a file
    assert announced(guarded, client, path, 3 * mib, "other") == "507 byte_quota_exceeded"
    answered(client.post(path, files={"file": ("half", bytes(3 * mib))}))
    answered(client.post(path, files={"file": ("other", b"")}))
    assert announced(guarded, client, "/files", mib) == "507 file_quota_exceeded"
    assert announced(guarded, client, path, mib, "third") == "507 file_quota_exceeded"
    assert answered(client.post(path, **sent)) == first  # it is sent again, and is no other file
    keys("quota", namespace, "--database", database, "--files", "0")
    assert announced(guarded, client, path, mib) == "413 file_quota_exceeded"


def test_names_and_bounds_that_cannot_be_stored_or_shown(database: str) -> None:
    def refusal(*arguments: str) -> str:
        return keys(*arguments, "--database", database, status=1).stderr

    assert "printable" in refusal("add", " ")
    assert "printable" in refusal("add", "\x1b[31m")
    assert "printable" in refusal("add", "a", "--namespace", "a\nb")
    keys("add", "a", "--namespace", "before its first use", "--database", database)
    assert "--bytes" in refusal("quota", "before its first use", "--bytes", "9999999999T")


def test_options_that_a_file_has_no_place_for(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    assert "database" in keys("add", "a", "--read-only", "--api-keys", str(path), status=1).stderr
    assert "--database" in keys("add", "a", status=1).stderr
    assert not path.exists()
