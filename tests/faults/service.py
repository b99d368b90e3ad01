"""A service for a mount to meet: the real server, behind a proxy that fails.

What it holds is asked of the server itself.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from containerfs.api.paths import upload_name
from tests.faults.manners import Manner
from tests.faults.proxy import Proxy
from tests.fuse.mounted import eventually
from tests.server.live import LiveServer

DATA = "/mnt/data/"
Holding = list[tuple[str, bytes]]


class Service:
    """The service.

    Attributes:
        url: what a mount is given.
        proxy: where its failures are set.
    """

    def __init__(self, server: LiveServer, manner: Manner) -> None:
        address = server.root_url.removeprefix("http://").split(":")
        self.manner = manner
        self.proxy = Proxy((address[0], int(address[1])), manner)
        self._http = httpx.Client(base_url=server.base_url, timeout=60)

    @property
    def url(self) -> str:
        return self.proxy.url

    def container_id(self, name: str) -> str:
        (found,) = self._listed("/containers", name=name)
        return str(found["id"])

    def create(self, name: str) -> str:
        return str(self._http.post("/containers", json={"name": name}).raise_for_status().json()["id"])

    def put(self, container_id: str, name: str, content: bytes) -> None:
        """Store a file, as another machine would."""
        self._http.post(
            f"/containers/{container_id}/files", files={"file": (upload_name(name), content)}
        ).raise_for_status()

    def delete(self, name: str) -> None:
        """Delete a container with all that it has, as its expiry does."""
        self._http.delete(f"/containers/{self.container_id(name)}").raise_for_status()

    def delete_file(self, container: str, name: str) -> None:
        """Delete a file, as another machine would."""
        files = f"/containers/{self.container_id(container)}/files"
        (found,) = (file["id"] for file in self._listed(files) if self._path(file) == name)
        self._http.delete(f"{files}/{found}").raise_for_status()

    def holds(self, container: str) -> Holding:
        """The paths and contents of all files of a container, of two of one path both; without directories."""
        files = f"/containers/{self.container_id(container)}/files"
        listed = [file for file in self._listed(files) if not file["path"].endswith("/")]
        return sorted((self._path(file), self._content(f"{files}/{file['id']}/content")) for file in listed)

    def names(self, container: str) -> list[str]:
        listed = self._listed(f"/containers/{self.container_id(container)}/files")
        return sorted(self._path(file) for file in listed if not file["path"].endswith("/"))

    def comes_to_hold(self, container: str, wanted: dict[str, bytes], limit: float = 15.0) -> None:
        """Wait until it holds exactly these files, each once."""
        expected = sorted(wanted.items())
        last: Holding = []

        def same() -> bool:
            nonlocal last
            last = self.holds(container)
            return last == expected

        try:
            eventually(same, "the service holds what it should", limit)
        finally:
            assert shown(last) == shown(expected)

    def close(self) -> None:
        self.proxy.close()
        self._http.close()

    def _path(self, file: dict[str, Any]) -> str:
        return self.manner.path(file["path"]).removeprefix(DATA)

    def _content(self, url: str) -> bytes:
        """Nothing where the file has just been deleted or replaced."""
        answer = self._http.get(url)
        return b"(gone meanwhile)" if answer.status_code == 404 else answer.raise_for_status().content

    def _listed(self, url: str, **query: str) -> list[dict[str, Any]]:
        listed: list[dict[str, Any]] = []
        page: dict[str, Any] = {"has_more": True}
        while page["has_more"]:
            page = self._http.get(url, params={"limit": "100", **query}).raise_for_status().json()
            listed += page["data"]
            query["after"] = page["last_id"] or ""
        return listed


def shown(holding: Holding) -> list[tuple[str, str]]:
    """The same, with contents that an error message can hold."""
    return [(path, f"{content[:24]!r} ({len(content)} bytes)") for path, content in holding]


@contextmanager
def speaking(server: LiveServer, manner: type[Manner] = Manner) -> Iterator[Service]:
    service = Service(server, manner())
    try:
        yield service
    finally:
        service.close()
