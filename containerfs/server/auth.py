"""API keys: who may ask, and whose containers they see.

The key file holds one record per key, with a SHA-256 of the key: keys are 256 random bits, so a slow hash would protect
nothing more. Each key has a namespace of its own. Changes to the file take effect with the next request.
"""

import contextlib
import fcntl
import hashlib
import json
import logging
import os
import secrets
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from containerfs.server.errors import Forbidden, Unauthenticated
from containerfs.server.listener import is_loopback

logger = logging.getLogger("containerfs.server")

SHARED_NAMESPACE = "shared"
"""The one namespace of a server without keys."""


class KeyFileError(Exception):
    """The key file cannot be used; the message is one line."""


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as stored. ``id`` is also its namespace; ``created_at`` is in Unix seconds."""

    id: str
    name: str
    sha256: str
    created_at: int


class Authenticator(Protocol):
    def namespace(self, headers: Mapping[str, str]) -> str:
        """Whose containers a request with these headers is about; raises Unauthenticated or Forbidden."""
        ...


class Everyone:
    """No keys: whoever reaches the server is one and the same."""

    def namespace(self, headers: Mapping[str, str]) -> str:
        return SHARED_NAMESPACE


class ThisMachine:
    """No keys, and a port of this machine: its programs may use it, and a web page in its browser may not.

    A page of another site names itself in ``Origin``; one that had its name resolved to this machine (DNS rebinding) is
    betrayed by ``Host``.
    """

    def namespace(self, headers: Mapping[str, str]) -> str:
        for name, address in (("Host", f"//{headers.get('host', '')}"), ("Origin", headers.get("origin", ""))):
            host = _host(address)
            if host is not None and not is_loopback(host):
                raise Forbidden(f"Without API keys this server is for this machine alone, not for {name} {host!r}.")
        return SHARED_NAMESPACE


class KeyFile:
    """The keys in a file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int, int] | None = None
        self._namespaces: dict[str, str] = {}

    def namespace(self, headers: Mapping[str, str]) -> str:
        scheme, _, key = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not key.strip():
            raise Unauthenticated("Give an API key, as 'Authorization: Bearer KEY'.", code="missing_api_key")
        self._refresh()
        # Looked up by hash: how long that takes says nothing about the key.
        namespace = self._namespaces.get(_hashed(key.strip()))
        if namespace is None:
            raise Unauthenticated("Incorrect API key provided.", code="invalid_api_key")
        return namespace

    def keys(self) -> list[ApiKey]:
        """All keys, oldest first. Raises KeyFileError if the file is missing or cannot be read."""
        try:
            return [ApiKey(**record) for record in json.loads(self._path.read_text())["keys"]]
        except FileNotFoundError as error:
            make = f"containerfs keys add NAME --api-keys {self._path}"
            raise KeyFileError(f"there is no key file {self._path}: make one with '{make}'") from error
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise KeyFileError(f"cannot read the API keys in {self._path}: {error}") from error

    def add(self, name: str) -> tuple[ApiKey, str]:
        """A new key, and its secret, which is stored nowhere. Raises KeyFileError if another key has the name."""
        secret = f"sk-{secrets.token_urlsafe(32)}"
        key = ApiKey(f"key_{secrets.token_hex(8)}", name, _hashed(secret), int(time.time()))
        with self._locked():
            keys = self.keys() if self._path.exists() else []
            if same := [other for other in keys if other.name == name]:
                raise KeyFileError(
                    f"{same[0].id} has the name {name} already: choose another, or revoke that key first"
                )
            self._store([*keys, key])
        return key, secret

    def revoke(self, id: str) -> bool:
        """Forget a key; whether there was one. What is in its namespace stays in the store."""
        with self._locked():
            keys = self.keys()
            kept = [key for key in keys if key.id != id]
            if len(kept) < len(keys):
                self._store(kept)
        return len(kept) < len(keys)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Alone among those who change the file. Its directory is what all can lock: the file is replaced."""
        try:
            directory = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            raise KeyFileError(f"cannot write the API keys to {self._path}: {error.strerror}") from error
        try:
            fcntl.flock(directory, fcntl.LOCK_EX)
            yield
        finally:
            os.close(directory)

    def _store(self, keys: list[ApiKey]) -> None:
        unfinished = self._path.with_name(f"{self._path.name}.{secrets.token_hex(4)}")
        try:
            with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                json.dump({"keys": [asdict(key) for key in keys]}, file, indent=2)
                file.flush()
                os.fsync(file.fileno())
            unfinished.rename(self._path)
        except OSError as error:
            raise KeyFileError(f"cannot write the API keys to {self._path}: {error.strerror}") from error

    def _refresh(self) -> None:
        """Read the file if it is not the one that was read. A file that is gone or broken lets no one in."""
        try:
            stat = self._path.stat()
            seen = (stat.st_ino, stat.st_mtime_ns, stat.st_size)
        except FileNotFoundError:
            seen = (0, 0, 0)
        if seen != self._seen:
            self._seen, self._namespaces = seen, {}
            try:
                self._namespaces = {key.sha256: key.id for key in self.keys()}
            except KeyFileError as error:
                logger.error("%s; until it is mended, no key is accepted", error)


def _host(address: str) -> str | None:
    """The host in a URL; what is none (``null``, or nonsense) stands for itself, so that it is no loopback."""
    try:
        return urlsplit(address).hostname if "//" in address else address or None
    except ValueError:
        return address


def _hashed(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
