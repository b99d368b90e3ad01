"""Contents in an object store, through the server: whole, in parts, by redirect, and while the store is away."""

import asyncio
import hashlib
import json
import os
import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import obstore
import openai
import pytest

from containerfs import Client
from containerfs.server.storage.open import Stores, sqlite_url
from tests.server.conftest import LARGE, answered, create, refused
from tests.server.hosted import Clock, application, hosted
from tests.server.live import LiveServer, ServerDidNotStart, running_server
from tests.server.s3 import ObjectStorage

MIB = 1 << 20


@pytest.fixture(scope="module", params=["proxy", "redirect"])
def server(
    request: pytest.FixtureRequest, object_storage: ObjectStorage, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LiveServer]:
    store = tmp_path_factory.mktemp("server") / "store"
    options = ["--blobs", object_storage.new_bucket(), "--downloads", request.param, "--max-upload-size", "0"]
    with running_server(store, *options) as live:
        yield live
    assert "Traceback" not in live.log.read_text()


@pytest.fixture
def http(server: LiveServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.base_url, timeout=60, follow_redirects=True) as client:
        yield client


def test_contents_come_back_whole_and_in_parts(http: httpx.Client) -> None:
    container = create(http)["id"]
    for size in (0, 1, 5000, 20 * MIB + 1):
        content = random.Random(size).randbytes(size)
        file = answered(http.post(f"/containers/{container}/files", files={"file": (f"f{size}", content)}))
        assert file["bytes"] == size
        path = f"/containers/{container}/files/{file['id']}/content"
        assert http.get(path).content == content
        assert int(http.head(path).headers["content-length"]) == size
        if size > 1:
            part = http.get(path, headers={"range": f"bytes={size // 2}-{size - 2}"})
            assert (part.status_code, part.content) == (206, content[size // 2 : size - 1])
        assert http.get(path, headers={"if-none-match": f'"{file["id"]}"'}).status_code == 304


def test_our_client_and_the_sdk_read_from_either(server: LiveServer) -> None:
    content = random.Random(1).randbytes(3 * MIB)
    with Client(base_url=server.base_url, api_key="sk-test") as client:
        container = client.containers.create(name="a")
        file = client.containers.files.create(container.id, file=("f", content))
        assert client.containers.files.content.retrieve(file.id, container_id=container.id).read() == content
    with openai.OpenAI(base_url=server.base_url, api_key="sk-test") as sdk:
        assert sdk.containers.files.content.retrieve(file.id, container_id=container.id).read() == content


def test_a_redirect_is_to_the_store_and_for_a_while(server: LiveServer, object_storage: ObjectStorage) -> None:
    with httpx.Client(base_url=server.base_url) as http:
        path = f"/containers/{create(http)['id']}/files"
        file = answered(http.post(path, files={"file": LARGE}))["id"]
        answer = http.get(f"{path}/{file}/content")
        if answer.status_code == 200:
            assert answer.content == LARGE
            return
        assert answer.status_code == 302
        address = httpx.URL(answer.headers["location"])
        assert str(address).startswith(object_storage.endpoint)
        assert address.params["X-Amz-Expires"] == "900"
        assert httpx.get(address).content == LARGE
        assert httpx.get(address.copy_with(query=None)).status_code == 403


def test_an_object_that_is_gone_is_told_of_in_the_log(object_storage: ObjectStorage, tmp_path: Path) -> None:
    bucket = object_storage.new_bucket()
    with (
        running_server(tmp_path / "store", "--blobs", bucket) as server,
        httpx.Client(base_url=server.base_url) as http,
    ):
        path = f"/containers/{create(http)['id']}/files"
        file = answered(http.post(path, files={"file": LARGE}))["id"]
        [name] = object_storage.objects_in(bucket)
        object_storage.remove(bucket, name)
        refused(http.get(f"{path}/{file}/content"), 404)
        assert server.log.read_text().count(name) == 1


def test_memory_is_bounded_however_large_the_upload(server: LiveServer, http: httpx.Client) -> None:
    path = f"/containers/{create(http)['id']}/files"
    answered(http.post(path, files={"file": bytes(9 * MIB)}))

    def upload(number: int) -> None:
        content = os.urandom(MIB) * 100
        digest = hashlib.sha256(content).hexdigest()
        with httpx.Client(base_url=server.base_url, timeout=60, follow_redirects=True) as each:
            file = answered(each.post(path, files={"file": (str(number), content)}))
            assert hashlib.sha256(each.get(f"{path}/{file['id']}/content").content).hexdigest() == digest

    before = memory(server)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(upload, range(2)))
    assert memory(server) - before < 2 * 48


def memory(server: LiveServer) -> float:
    """What the server had at most, in MiB."""
    lines = Path(f"/proc/{server.process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


def test_an_upload_that_is_broken_off_leaves_nothing(object_storage: ObjectStorage, tmp_path: Path) -> None:
    bucket = object_storage.new_bucket()
    with running_server(tmp_path / "store", "--blobs", bucket, "--max-upload-size", "80M") as server:
        with httpx.Client(base_url=server.base_url, timeout=60) as http:
            path = f"/containers/{create(http)['id']}/files"
            boundary = "b" * 20

            def body(size: int) -> Iterator[bytes]:
                yield f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n'.encode()
                for _ in range(size):
                    yield bytes(MIB)
                raise RuntimeError("the client goes away")

            headers = {"content-type": f"multipart/form-data; boundary={boundary}"}
            for size in (3, 75, 120):  # the last is too large, which the server may say first
                with pytest.raises((RuntimeError, httpx.TransportError)):
                    http.post(path, content=body(size), headers=headers)
            assert answered(http.get(path))["data"] == []
        assert server.stop() == 0
    assert object_storage.objects_in(bucket) == {}
    assert object_storage.unfinished() == {}


@pytest.fixture
def counted(object_storage: ObjectStorage, monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """How often the object store was asked, by what for."""
    counts: dict[str, int] = {}

    def counting(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            counts[name] = counts.get(name, 0) + 1
            return function(*arguments, **named)

        return call

    for name in ("put_async", "get_async", "delete_async", "head_async", "list"):
        monkeypatch.setattr(obstore, name, counting(name, getattr(obstore, name)))
    return counts


def test_no_request_asks_the_object_store_for_more_than_it_must(
    object_storage: ObjectStorage, tmp_path: Path, counted: dict[str, int]
) -> None:
    stores = Stores.open(sqlite_url(tmp_path), object_storage.new_bucket())
    with hosted(application(stores, Clock())) as url, httpx.Client(base_url=url, timeout=60) as http:
        path = f"/containers/{create(http)['id']}/files"
        large = answered(http.post(path, files={"file": ("large", bytes(20 * MIB))}))["id"]
        other = answered(http.post(path, files={"file": ("other", LARGE)}))["id"]
        small = answered(http.post(path, files={"file": ("small", b"x")}))["id"]
        copy = answered(http.post(path, json={"file_id": small, "path": "copy"}))["id"]
        assert counted == {"put_async": 2}
        for id in (large, other, small, copy):
            http.head(f"{path}/{id}/content")
            answered(http.get(f"{path}/{id}"))
        assert counted == {"put_async": 2}
        assert len(http.get(f"{path}/{large}/content").content) == 20 * MIB
        assert len(http.get(f"{path}/{large}/content", headers={"range": "bytes=-5"}).content) == 5
        assert http.get(f"{path}/{small}/content").content == b"x"
        assert counted == {"put_async": 2, "get_async": 2}
        for id in (large, other, small, copy):
            answered(http.delete(f"{path}/{id}"))
        assert counted == {"put_async": 2, "get_async": 2}


@pytest.fixture
def google(monkeypatch: pytest.MonkeyPatch) -> Iterator[set[str]]:
    """The names of objects in a service that deletes as Google Cloud Storage does: what is not there is an error."""
    names: set[str] = set()

    class Bucket(BaseHTTPRequestHandler):
        def do_DELETE(self) -> None:
            name = self.path.rpartition("/")[2]
            self.send_response(204 if name in names else 404)
            names.discard(name)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Bucket) as server:
        account = {"private_key": "", "private_key_id": "", "client_email": "", "disable_oauth": True}
        account["gcs_base_url"] = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setenv("GOOGLE_SERVICE_ACCOUNT_KEY", json.dumps(account))
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield names
        server.shutdown()
        thread.join()


def test_blobs_that_were_never_stored_do_not_keep_others_from_being_deleted(google: set[str], tmp_path: Path) -> None:
    names = [f"blob{number}" for number in range(40)]
    google.update(names)

    async def scenario() -> None:
        stores = Stores.open(sqlite_url(tmp_path), "gs://bucket")
        assert await stores.blobs.delete(["never", *names])
        await stores.close()

    asyncio.run(scenario())
    assert google == set()


def test_an_account_that_cannot_sign_addresses_has_none(
    google: set[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> str | None:
        stores = Stores.open(sqlite_url(tmp_path), "gs://bucket")
        reader = await stores.blobs.open("blob", 1)
        address = await reader.address(900)
        await stores.close()
        return address

    assert asyncio.run(scenario()) is None
    assert "cannot sign" in caplog.text


@pytest.mark.parametrize("url", ["ftp://a/b", "memory://", "nothing"])
def test_a_bucket_that_cannot_be_is_told_of(tmp_path: Path, url: str) -> None:
    with pytest.raises(ServerDidNotStart) as refusal, running_server(tmp_path / "store", "--blobs", url):
        pass
    assert str(refusal.value).count("\n") == 1
    assert url in str(refusal.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AWS_ENDPOINT_URL", ""),
        ("AWS_ENDPOINT_URL", "localhost:9000"),
        ("AWS_ENDPOINT_URL", "http://127.0.0.1:9000.example"),
        ("AWS_REGION", "eu west"),
        ("AWS_SECRET_ACCESS_KEY", "secret\n"),
    ],
)
def test_a_setting_of_s3_that_cannot_be_is_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with (
        pytest.raises(ServerDidNotStart, match=name) as refusal,
        running_server(tmp_path / "store", "--blobs", "s3://b"),
    ):
        pass
    assert str(refusal.value).count("\n") == 1
    assert "secret" not in str(refusal.value)
