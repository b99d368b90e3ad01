"""A container as another program of its service sees it."""

from dataclasses import dataclass
from typing import Any

import httpx

from tests.server.live import LiveServer


@dataclass(frozen=True)
class Box:
    """A container of a server."""

    name: str
    id: str
    url: str

    @classmethod
    def create(cls, server: LiveServer, name: str, **fields: object) -> "Box":
        answer = httpx.post(f"{server.base_url}/containers", json={"name": name, **fields})
        container_id = answer.raise_for_status().json()["id"]
        return cls(name, container_id, f"{server.base_url}/containers/{container_id}")

    def put(self, name: str, content: bytes = b"content") -> dict[str, Any]:
        answer = httpx.post(f"{self.url}/files", files={"file": (name, content)})
        found: dict[str, Any] = answer.raise_for_status().json()
        return found

    def holds(self) -> dict[str, bytes]:
        """All files, by path."""
        listed = httpx.get(f"{self.url}/files", params={"limit": 100}).raise_for_status().json()["data"]
        paths = [file["path"].removeprefix("/mnt/data/") for file in listed]
        assert len(set(paths)) == len(paths), paths
        return {
            path: httpx.get(f"{self.url}/files/{file['id']}/content").raise_for_status().content
            for path, file in zip(paths, listed, strict=True)
        }

    @property
    def is_there(self) -> bool:
        return httpx.get(self.url).status_code == 200

    def delete(self) -> None:
        httpx.delete(self.url).raise_for_status()
