"""A service under the test's control, and clients of it."""

from collections.abc import Iterator

import pytest

from containerfs import Client
from tests.client.service import Service

_SETTINGS = ("OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID")
_PROXIES = ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy")


@pytest.fixture(autouse=True)
def _no_settings_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*_SETTINGS, *_PROXIES):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def service() -> Iterator[Service]:
    with Service() as service:
        yield service


@pytest.fixture
def client(service: Service) -> Iterator[Client]:
    with Client(base_url=service.url, api_key="sk-secret") as client:
        yield client


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Retries follow at once; the delays that were decided on are in the list."""
    waits: list[float] = []

    async def note(_: object, seconds: float) -> None:
        waits.append(seconds)

    monkeypatch.setattr("containerfs.client.sync_transport.SyncTransport._sleep", note)
    monkeypatch.setattr("containerfs.client.async_transport.AsyncTransport._sleep", note)
    return waits
