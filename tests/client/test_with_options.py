"""Clients with other settings over the same connections."""

import asyncio
import gc
from typing import Literal

import openai
import pytest

from containerfs import AsyncClient, Client, ContainerFSError, InternalServerError, NotFoundError, Timeout, omit
from tests.client.service import CONTENT, Reply, Service


def test_other_settings_over_the_same_connection(service: Service, no_waiting: list[float]) -> None:
    with Client(base_url=service.url, api_key="sk-1", default_headers={"X-A": "a", "X-B": "b"}) as client:
        other = client.with_options(
            max_retries=0, timeout=3, default_headers={"x-b": "c", "X-A": omit}, default_query={"api-version": "1"}
        )
        assert type(other) is Client
        other.containers.retrieve("c")
        headers = service.requests[-1].headers
        assert (headers["authorization"], headers["x-b"], "x-a" in headers) == ("Bearer sk-1", "c", False)
        assert service.requests[-1].query == [("api-version", "1")]
        client.containers.retrieve("c")
        assert (service.requests[-1].headers["x-a"], service.requests[-1].query) == ("a", [])
        assert service.connections == 1
        service.respond = lambda _: Reply({}, 500)
        with pytest.raises(InternalServerError):
            other.files.retrieve("f")
        assert len(service.requests) == 3


def test_retries_limited_by_time_for_one_of_two(service: Service, no_waiting: list[float]) -> None:
    with Client(base_url=service.url, retry_for=3600) as client:
        service.replies(*[Reply({}, 500)] * 4)
        with pytest.raises(InternalServerError):
            client.with_options(retry_for=0.0).files.retrieve("f")
        assert len(service.requests) == 1
        client.files.retrieve("f")
        assert len(service.requests) == 5
        service.replies(*[Reply({}, 500)] * 4)
        with pytest.raises(InternalServerError):
            client.with_options(retry_for=None, max_retries=1).files.retrieve("f")
        assert len(service.requests) == 7


def test_what_is_left_out_stays(service: Service, no_waiting: list[float]) -> None:
    with Client(base_url=service.url, max_retries=1, timeout=7) as client:
        other = client.with_options(default_headers={"X-A": "a"})
        service.respond = lambda _: Reply({}, 500)
        with pytest.raises(InternalServerError):
            other.files.retrieve("f")
        assert len(service.requests) == 2
        assert other._options.timeout == client._options.timeout


def test_the_first_client_may_be_forgotten(service: Service) -> None:
    files = Client(base_url=service.url).with_options(timeout=3).files
    gc.collect()
    assert files.content("f").read() == CONTENT


def test_what_a_service_asks_of_one_holds_for_all(service: Service, no_waiting: list[float]) -> None:
    with Client(base_url=service.url) as client:
        service.replies(Reply({}, 429, {"retry-after": "100"}))
        client.with_options(timeout=3).files.retrieve("f")
        client.files.retrieve("f")
        held, again, other = no_waiting
        assert held == 100
        assert 90 < again <= 100
        assert 90 < other <= 100


def test_invalid_settings_are_refused(client: Client) -> None:
    with pytest.raises(ContainerFSError, match="max_retries"):
        client.with_options(max_retries=-1)


def test_copies_and_closed_clients_are_as_the_sdks(service: Service) -> None:
    for kind in (openai.OpenAI, Client):
        first = kind(base_url=service.url, api_key="-")
        second = first.copy(max_retries=0)
        assert not first.is_closed()
        second.close()
        assert first.is_closed()
        assert second.is_closed()


@pytest.mark.parametrize("auth_header", ["bearer", "api-key"])
def test_settings_change_for_the_next_call(
    service: Service, no_waiting: list[float], auth_header: Literal["bearer", "api-key"]
) -> None:
    with Client(base_url=service.url, api_key="sk-1", auth_header=auth_header) as client:
        files, other = client.files, client.with_options(api_key="sk-2")
        client.api_key, client.timeout, client.max_retries = "sk-3", 7, 1
        assert (client.api_key, client.timeout, client.max_retries) == ("sk-3", Timeout(7), 1)
        assert (other.api_key, other.max_retries) == ("sk-2", 2)
        name, prefix = {"bearer": ("authorization", "Bearer "), "api-key": ("api-key", "")}[auth_header]
        answering = service.respond
        service.respond = lambda request: Reply({"error": {"message": request.headers[name]}}, 500)
        with pytest.raises(InternalServerError, match=r"\[API key\]") as raised:
            files.retrieve("f")
        assert "sk-" not in repr(raised.value)
        assert [request.headers[name] for request in service.requests] == [f"{prefix}sk-3"] * 2
        service.respond = answering
        other.files.retrieve("f")
        assert service.requests[-1].headers[name] == f"{prefix}sk-2"
        with pytest.raises(ContainerFSError, match="API key"):
            client.api_key = "a b"
        with pytest.raises(ContainerFSError, match="max_retries"):
            client.max_retries = -1
        assert client.api_key == "sk-3"


def test_a_header_of_ones_own_stays_where_the_key_changes(service: Service) -> None:
    with Client(base_url=service.url, api_key="sk-1", default_headers={"Authorization": "Other"}) as client:
        client.api_key = "sk-2"
        client.files.retrieve("f")
        assert service.requests[-1].headers["authorization"] == "Other"


def test_settings_are_read_and_set_as_the_sdks(service: Service) -> None:
    for kind in (openai.OpenAI, Client):
        with kind(base_url=service.url, api_key="sk-1", timeout=5) as client:
            client.api_key = f"{client.api_key}2"
            client.max_retries += 1
            client.timeout = 9
            client.files.retrieve("f")
            assert service.requests[-1].headers["authorization"] == "Bearer sk-12"
            assert client.max_retries == 3


def test_in_async(service: Service) -> None:
    async def go() -> None:
        async with AsyncClient(base_url=service.url) as client:
            other = client.with_options(max_retries=0, default_headers={"X-A": "a"})
            await other.containers.retrieve("c")
            assert service.requests[-1].headers["x-a"] == "a"
            service.replies(Reply({}, 404))
            with pytest.raises(NotFoundError):
                await other.files.retrieve("f")
            await client.files.retrieve("f")
            assert service.connections == 1
        assert client.is_closed()
        assert other.is_closed()

    asyncio.run(go())
