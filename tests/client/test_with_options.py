"""Clients with other settings over the same connections."""

import asyncio
import gc

import openai
import pytest

from containerfs import AsyncClient, Client, ContainerFSError, InternalServerError, NotFoundError, omit
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
