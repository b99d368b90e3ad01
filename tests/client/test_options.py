"""Settings from arguments and environment; and that the API key stays where it belongs."""

import io
import logging
import traceback
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

import containerfs
from containerfs import Client, ContainerFSError, omit
from containerfs.client.types import AuthHeader
from tests.client.service import Reply, Service

SECRET = "sk-very-secret"


def sent_headers(service: Service, **settings: object) -> dict[str, str]:
    with Client(base_url=service.url, **settings) as client:  # type: ignore[arg-type]
        client.containers.retrieve("c")
    return dict(service.requests[-1].headers)


def test_everything_from_the_environment(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", f" {SECRET}\n")
    monkeypatch.setenv("OPENAI_BASE_URL", f"{service.url}/")
    monkeypatch.setenv("OPENAI_ORG_ID", "org")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "proj")
    with Client() as client:
        client.containers.retrieve("c")
        assert client.base_url == service.url
    (request,) = service.requests
    assert request.path == "/v1/containers/c"
    assert request.headers["authorization"] == f"Bearer {SECRET}"
    assert request.headers["openai-organization"] == "org"
    assert request.headers["openai-project"] == "proj"
    headers = sent_headers(service, api_key="other", organization="mine", project="too")
    assert headers["authorization"] == "Bearer other"
    assert (headers["openai-organization"], headers["openai-project"]) == ("mine", "too")


def test_without_a_key_nothing_is_sent_in_its_place(service: Service) -> None:
    assert not {"authorization", "api-key"} & set(sent_headers(service))
    assert not {"authorization", "api-key"} & set(sent_headers(service, auth_header="api-key"))


def test_openai_itself_needs_a_key() -> None:
    with pytest.raises(ContainerFSError, match="pass api_key, or set OPENAI_API_KEY"):
        Client()
    with Client(api_key=SECRET) as client:
        assert client.base_url == "https://api.openai.com/v1"


def test_azures_headers_and_query(service: Service) -> None:
    headers = sent_headers(service, api_key=SECRET, auth_header="api-key", default_query={"api-version": "2025-01-01"})
    assert headers["api-key"] == SECRET
    assert "authorization" not in headers
    assert service.requests[0].query == [("api-version", "2025-01-01")]


def test_a_query_in_the_base_url_is_kept(service: Service) -> None:
    with Client(base_url=f"{service.url}?api-version=1") as client:
        client.containers.list(limit=3)
    assert service.requests[0].path == "/v1/containers"
    assert service.requests[0].query == [("api-version", "1"), ("limit", "3")]


def test_each_level_of_headers_and_query_wins_over_the_one_before(service: Service) -> None:
    with Client(
        base_url=service.url,
        api_key=SECRET,
        project="p",
        default_headers={"X-One": "client", "X-Two": "client", "User-Agent": "mine", "OpenAI-Project": omit},
        default_query={"limit": "1", "q": [1, True, None], "o": {"a": "b"}},
    ) as client:
        client.containers.list(
            limit=2, extra_headers={"x-two": "call", "Authorization": omit}, extra_query={"limit": 3, "z": False}
        )
    (request,) = service.requests
    assert (request.headers["x-one"], request.headers["x-two"]) == ("client", "call")
    assert request.headers["user-agent"] == "mine"
    assert not {"openai-project", "authorization"} & set(request.headers)
    assert request.query == [("limit", "3"), ("q[]", "1"), ("q[]", "true"), ("o[a]", "b"), ("z", "false")]


def test_extra_body_adds_fields(service: Service) -> None:
    with Client(base_url=service.url) as client:
        client.containers.create(name="n", extra_body={"name": "m", "more": 1})
        client.containers.files.create("c", file=b"x", extra_body={"path": "a/b"})
        client.containers.delete("c", extra_body={"why": "old"})
    created, uploaded, deleted = service.requests
    assert created.body == b'{"name":"m","more":1}'
    assert b'name="path"\r\n\r\na/b\r\n' in uploaded.body
    assert (deleted.body, deleted.headers["content-type"]) == (b'{"why":"old"}', "application/json")


def timeouts_of(client: Client, **options: object) -> dict[str, float | None]:
    seen: list[dict[str, float | None]] = []

    def note(request: httpx.Request) -> None:
        seen.append(request.extensions["timeout"])

    client._transport._http.event_hooks = {"request": [note]}
    client.containers.retrieve("c", **options)  # type: ignore[arg-type]
    return seen[0]


def test_time_outs(service: Service) -> None:
    with Client(base_url=service.url) as client:
        assert timeouts_of(client) == {"connect": 5, "read": 600, "write": 600, "pool": 600}
        assert set(timeouts_of(client, timeout=3).values()) == {3}
        assert set(timeouts_of(client, timeout=None).values()) == {None}
        assert timeouts_of(client, timeout=containerfs.Timeout(9, read=1))["read"] == 1
    with Client(base_url=service.url, timeout=7) as client:
        assert set(timeouts_of(client).values()) == {7}
        assert set(timeouts_of(client, timeout=containerfs.NOT_GIVEN).values()) == {7}


def test_an_http_client_of_ones_own(service: Service) -> None:
    own = httpx.Client(headers={"X-Own": "yes"})
    with Client(base_url=service.url, http_client=own) as client:
        client.containers.retrieve("c")
    assert service.requests[0].headers["x-own"] == "yes"
    assert own.is_closed


def test_the_time_outs_of_ones_own_http_client(service: Service) -> None:
    for own, seconds in ((httpx.Client(), 600), (httpx.Client(timeout=8), 8), (httpx.Client(timeout=None), None)):
        with Client(base_url=service.url, http_client=own) as client:
            assert timeouts_of(client)["read"] == seconds


def test_a_unix_socket_is_not_looked_for_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "https://elsewhere.invalid/v1")
    with Client(uds=tmp_path / "a.sock") as client:
        assert client.base_url == "http://localhost/v1"


@pytest.mark.parametrize("url", ["", "localhost", "localhost:8080/v1", "ftp://x/v1", "http://", "http://[::1/v1"])
def test_a_base_url_that_cannot_be(url: str) -> None:
    with pytest.raises(ContainerFSError, match=r"base_url|api_key"):
        Client(base_url=url)


@pytest.mark.parametrize("key", ["sk-ab\ncd", "sk-ab cd", "sk-\u00e9", "sk-\0"])
def test_a_key_that_cannot_be_sent_is_refused_unquoted(key: str) -> None:
    with pytest.raises(ContainerFSError, match="OPENAI_API_KEY") as raised:
        Client(base_url="http://x/v1", api_key=key)
    assert "sk-" not in str(raised.value)


def test_a_password_in_the_base_url_is_refused_unquoted() -> None:
    with pytest.raises(ContainerFSError, match="user name or password") as raised:
        Client(base_url=f"http://user:{SECRET}@x/v1")
    assert SECRET not in str(raised.value)


def test_negative_retries_are_refused() -> None:
    with pytest.raises(ContainerFSError, match="max_retries"):
        Client(base_url="http://x/v1", max_retries=-1)


@pytest.mark.parametrize("value", ["a\nb", " a", "\u00e9", "\0"])
def test_a_header_that_cannot_be_sent_is_refused_unquoted(service: Service, value: str) -> None:
    with pytest.raises(ValueError, match="X-Secret") as raised:
        sent_headers(service, default_headers={"X-Secret": value + SECRET})
    assert SECRET not in str(raised.value)
    assert service.requests == []


def test_a_header_name_that_cannot_be_sent_is_refused(service: Service) -> None:
    with pytest.raises(ValueError, match="X Bad"):
        sent_headers(service, default_headers={"X Bad": "a"})


def test_what_ones_own_http_client_cannot_send_is_not_quoted(service: Service) -> None:
    own = httpx.Client(headers={"X-Secret": f"a\nb{SECRET}"})
    with (
        Client(base_url=service.url, http_client=own, max_retries=0) as client,
        pytest.raises(containerfs.APIConnectionError, match="not valid HTTP") as raised,
    ):
        client.containers.retrieve("c")
    assert SECRET not in "".join(traceback.format_exception(raised.value))


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    """Everything that any logger says while the test runs."""
    said = io.StringIO()
    recorder = logging.StreamHandler(said)
    root = logging.getLogger()
    level = root.level
    root.addHandler(recorder)
    root.setLevel(logging.DEBUG)
    yield said
    root.removeHandler(recorder)
    root.setLevel(level)


REFUSED = Reply({"error": {"message": f"Incorrect API key provided: {SECRET}"}}, 401)


@pytest.mark.parametrize("auth_header", ["bearer", "api-key"])
@pytest.mark.parametrize(
    "reply", [REFUSED, Reply(f"bad key {SECRET}".encode(), 403), Reply(dropped=True), Reply(b"nonsense")]
)
def test_the_key_is_in_no_repr_log_or_error(
    service: Service, logged: io.StringIO, auth_header: AuthHeader, reply: Reply
) -> None:
    service.replies(reply)
    with Client(base_url=service.url, api_key=SECRET, auth_header=auth_header, max_retries=0) as client:
        with pytest.raises(containerfs.APIError) as raised:
            client.containers.retrieve("c")
        shown = [repr(client), str(client), repr(client._options), repr(raised.value), str(vars(raised.value))]
    text = "".join([*shown, *traceback.format_exception(raised.value), logged.getvalue()])
    assert len(logged.getvalue()) > 0
    assert SECRET not in text
    assert SECRET in str(service.requests[0].headers)
