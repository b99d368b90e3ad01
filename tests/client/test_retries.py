"""Retries, redirects and errors over real connections."""

import asyncio
import io
import socket
import threading
from pathlib import Path

import httpx
import pytest

import containerfs
from containerfs import AsyncClient, Client
from tests.client.service import CONTENT, Reply, Request, Service

busy = Reply({"error": {"message": "busy", "type": "server_error", "param": "p", "code": "overloaded"}}, 503)


def test_a_failed_request_is_sent_again_with_the_same_key(
    service: Service, client: Client, no_waiting: list[float]
) -> None:
    service.replies(busy, Reply(dropped=True))
    assert client.containers.create(name="n").id == "cntr_1"
    assert len({request.headers["idempotency-key"] for request in service.requests}) == 1
    assert len(service.requests) == 3
    assert len(no_waiting) == 2
    client.containers.create(name="n")
    assert service.requests[3].headers["idempotency-key"] != service.requests[0].headers["idempotency-key"]


def test_the_last_failure_is_raised(service: Service, client: Client, no_waiting: list[float]) -> None:
    service.replies(busy, busy, busy)
    with pytest.raises(containerfs.InternalServerError) as raised:
        client.containers.retrieve("c")
    error = raised.value
    assert (error.status_code, error.code, error.param, error.type) == (503, "overloaded", "p", "server_error")
    assert str(error) == "503: busy"
    assert len(service.requests) == 3


def test_async_retries_alike(service: Service, no_waiting: list[float]) -> None:
    async def retrieve() -> None:
        async with AsyncClient(base_url=service.url, max_retries=1) as client:
            service.replies(busy)
            assert (await client.containers.retrieve("c")).id == "cntr_1"
            service.replies(busy, busy)
            with pytest.raises(containerfs.InternalServerError):
                await client.containers.retrieve("c")

    asyncio.run(retrieve())
    assert len(no_waiting) == 2


def test_both_colours_wait_as_long_as_the_service_asks(service: Service, client: Client) -> None:
    soon = Reply(status=429, headers={"Retry-After-Ms": "1"})

    async def retrieve() -> str:
        async with AsyncClient(base_url=service.url) as in_async:
            return (await in_async.containers.retrieve("c")).id

    service.replies(soon, soon)
    assert client.containers.retrieve("c").id == "cntr_1"
    service.replies(soon, soon)
    assert asyncio.run(retrieve()) == "cntr_1"
    assert len(service.requests) == 6


def test_a_rate_limit_holds_up_every_request(service: Service, client: Client, no_waiting: list[float]) -> None:
    client.containers.retrieve("c")
    assert no_waiting == []
    service.replies(Reply(status=429, headers={"Retry-After": "100"}))
    client.containers.retrieve("c")
    no_waiting.clear()
    client.containers.retrieve("another")
    (held,) = no_waiting
    assert 0 < held <= 100


def test_an_upload_is_rewound(service: Service, client: Client, no_waiting: list[float], tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(CONTENT)
    with path.open("rb") as file:
        file.seek(100)  # sent from its start all the same, as the SDK does
        for source in (path, file, io.BytesIO(CONTENT), CONTENT):
            service.requests.clear()
            service.replies(busy, Reply(dropped=True))
            client.containers.files.create("c", file=("a", source))
            assert len(service.requests) == 3
            assert len({request.body for request in service.requests}) == 1
            assert CONTENT in service.requests[0].body


class Pipe(io.RawIOBase):
    """A file that can be read once."""

    def __init__(self, content: bytes) -> None:
        self._content = io.BytesIO(content)

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        return self._content.read(size)


def test_an_upload_that_cannot_be_rewound_is_sent_once(
    service: Service, client: Client, no_waiting: list[float]
) -> None:
    service.replies(busy)
    with pytest.raises(containerfs.InternalServerError):
        client.containers.files.create("c", file=("a", Pipe(CONTENT)))  # type: ignore[arg-type]
    assert len(service.requests) == 1
    assert CONTENT in service.requests[0].body
    assert no_waiting == []


def test_an_upload_that_was_not_begun_is_sent_again(
    service: Service, no_waiting: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
    with Client(base_url=url) as client, pytest.raises(containerfs.APIConnectionError) as raised:
        client.containers.files.create("c", file=("a", Pipe(CONTENT)))  # type: ignore[arg-type]
    assert not raised.value.sent
    assert len(no_waiting) == 2


def test_a_broken_connection_may_have_brought_the_request(service: Service) -> None:
    service.respond = lambda request: Reply(dropped=True)
    with Client(base_url=service.url, max_retries=0) as client, pytest.raises(containerfs.APIConnectionError) as raised:
        client.containers.create(name="n")
    assert raised.value.sent


@pytest.mark.parametrize(
    ("error", "sent"), [(httpx.ConnectTimeout, False), (httpx.PoolTimeout, False), (httpx.WriteTimeout, True)]
)
def test_a_time_out_tells_whether_there_was_a_connection(error: type[httpx.TimeoutException], sent: bool) -> None:
    def fail(request: httpx.Request) -> httpx.Response:
        raise error("slow", request=request)

    http = httpx.Client(transport=httpx.MockTransport(fail))
    client = Client(base_url="http://x/v1", http_client=http, max_retries=0)
    with client, pytest.raises(containerfs.APITimeoutError) as raised:
        client.containers.create(name="n")
    assert raised.value.sent == sent


def test_a_service_that_does_not_answer_is_a_time_out(service: Service) -> None:
    proceed = threading.Event()

    def stall(_: Request) -> Reply:
        proceed.wait(60)
        return Reply(dropped=True)

    service.respond = stall
    try:
        with Client(base_url=service.url, max_retries=0) as client, pytest.raises(containerfs.APITimeoutError):
            client.containers.retrieve("c", timeout=0.05)
    finally:
        proceed.set()


def test_redirects_are_followed_with_the_body_and_without_the_key_for_strangers(service: Service) -> None:
    with Service() as stranger:
        service.replies(Reply(status=307, headers={"Location": f"{stranger.url}/containers/elsewhere"}))
        with Client(base_url=service.url, api_key="sk-secret", auth_header="api-key") as client:
            assert client.containers.create(name="n").id == "cntr_1"
        assert service.requests[0].headers["api-key"] == "sk-secret"
        (moved,) = stranger.requests
        assert (moved.path, moved.body) == ("/v1/containers/elsewhere", b'{"name":"n"}')
        assert "sk-secret" not in repr(moved)


def test_a_redirect_within_the_service_keeps_the_key(service: Service, client: Client) -> None:
    service.replies(Reply(status=308, headers={"Location": "/v1/containers/d"}))
    client.containers.retrieve("c")
    assert [request.headers["authorization"] for request in service.requests] == ["Bearer sk-secret"] * 2


def test_endless_redirects_are_an_error(service: Service, client: Client) -> None:
    service.respond = lambda request: Reply(status=302, headers={"Location": request.target})
    with pytest.raises(containerfs.APIResponseValidationError, match="in a loop"):
        client.containers.retrieve("c")


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, containerfs.BadRequestError),
        (401, containerfs.AuthenticationError),
        (403, containerfs.PermissionDeniedError),
        (404, containerfs.NotFoundError),
        (410, containerfs.NotFoundError),
        (418, containerfs.APIStatusError),
        (422, containerfs.UnprocessableEntityError),
    ],
)
def test_each_status_is_its_error(
    service: Service, client: Client, status: int, error: type[containerfs.APIStatusError]
) -> None:
    service.replies(Reply({"error": {"message": "no"}}, status, {"x-request-id": "req_1"}))
    with pytest.raises(error, match="no") as raised:
        client.containers.files.content.retrieve("f", container_id="c")
    assert type(raised.value) is error
    assert raised.value.request_id == "req_1"


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        (b"<html>", "Invalid JSON"),
        (b"", "Invalid JSON"),
        (b"[" * 100_000, "Invalid JSON"),
        ({"name": "n"}, "id: Field required"),
        ({"id": 7}, "id: Input should be a valid string"),
        ([], "Input should be an object"),
    ],
)
def test_an_answer_that_is_not_the_apis_is_one_clear_line(
    service: Service, client: Client, body: object, complaint: str
) -> None:
    service.replies(Reply(body))
    with pytest.raises(containerfs.APIResponseValidationError, match=complaint) as raised:
        client.containers.retrieve("c")
    assert str(raised.value).startswith("GET /containers/c: the service's answer is not what the API promises: ")
    assert "\n" not in str(raised.value)


def test_a_listing_without_data_is_an_error(service: Service, client: Client) -> None:
    service.replies(Reply({"has_more": False}))
    with pytest.raises(containerfs.APIResponseValidationError, match="data: Field required"):
        client.containers.list()


@pytest.mark.parametrize("reply", [Reply(status=204), Reply(b""), Reply({"deleted": True})])
def test_any_success_deletes(service: Service, client: Client, reply: Reply) -> None:
    service.replies(reply)
    client.containers.delete("c")
    assert service.requests[0].method == "DELETE"


@pytest.mark.parametrize("body", [b"<html>Please log in</html>", b"[" * 100_000])
def test_a_page_of_html_deletes_nothing(service: Service, client: Client, body: bytes) -> None:
    service.replies(Reply(body))
    with pytest.raises(containerfs.APIResponseValidationError, match="not JSON"):
        client.containers.delete("c")
