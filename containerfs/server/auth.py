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
import re
import secrets
import time
from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Protocol

from starlette.datastructures import Headers

from containerfs.server.errors import Forbidden, Unauthenticated
from containerfs.server.listener import is_loopback

logger = logging.getLogger("containerfs.server")

SHARED_NAMESPACE = "shared"
"""The one namespace of a server without keys."""

_AUTHORITY = re.compile(r"(\[[0-9a-f:.]+\]|[^\s:@/?#\[\]]+)(?::\d{1,5})?")
"""A host and, maybe, a port, and nothing else. Source: RFC 9110, section 7.2."""

_FEW = 64
"""Names by which clients know this machine; what is known of them is kept."""


class KeyFileError(Exception):
    """The key file cannot be used; the message is one line."""


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as stored. ``id`` is also its namespace; ``created_at`` is in Unix seconds."""

    id: str
    name: str
    sha256: str
    created_at: int


@dataclass(frozen=True, slots=True)
class Identity:
    """Whose containers a request is about, and whether it may change them."""

    namespace: str
    may_write: bool = True


class Authenticator(Protocol):
    async def identify(self, headers: Headers) -> Identity:
        """Who sends a request with these headers; raises Unauthenticated or Forbidden."""
        ...

    async def admit(self, headers: Headers) -> None:
        """Let pass a request about the server itself: its metrics, its description. Raises as ``identify`` does."""
        ...


_SHARED = Identity(SHARED_NAMESPACE)


class Everyone:
    """No keys: everybody who can reach the server shares one namespace."""

    async def identify(self, headers: Headers) -> Identity:
        return _SHARED

    async def admit(self, headers: Headers) -> None:
        pass


class ThisMachine:
    """No keys, and a port of this machine: its programs may use it, and a web page in its browser may not.

    A page of another site names itself in ``Origin``; one that had its name resolved to this machine (DNS rebinding) is
    betrayed by ``Host``. So there must be one ``Host``, at most one ``Origin``, and each must name this machine.

    Args:
        allowed_hosts: further names, of a proxy in front that passes its own on.
    """

    def __init__(self, allowed_hosts: Collection[str] = ()) -> None:
        self._allowed = {name.lower() for name in allowed_hosts}
        self._is_ours = lru_cache(_FEW)(self._names_this_machine)

    async def identify(self, headers: Headers) -> Identity:
        await self.admit(headers)
        return _SHARED

    async def admit(self, headers: Headers) -> None:
        hosts, origins = headers.getlist("host"), headers.getlist("origin")
        if len(hosts) != 1 or not self._is_ours(hosts[0]):
            raise self._refusal("Host", hosts)
        if len(origins) > 1 or not all(self._is_ours(_without_scheme(origin)) for origin in origins):
            raise self._refusal("Origin", origins)

    def _names_this_machine(self, authority: str) -> bool:
        match = _AUTHORITY.fullmatch(authority.lower())
        return match is not None and (match[1] in self._allowed or is_loopback(match[1].strip("[]")))

    def _refusal(self, header: str, values: list[str]) -> Forbidden:
        said = f"is {', '.join(map(repr, values))}" if values else "is missing"
        return Forbidden(
            f"Without API keys this server is for programs of this machine, and the request's {header} {said}. "
            "Behind a proxy that passes its own name on, start it with --allowed-host NAME.",
            code="host_not_allowed",
        )


class KeyFile:
    """The keys in a file."""

    def __init__(self, path: Path, *, guards_operations: bool = False) -> None:
        """``guards_operations`` demands a key for the server's metrics and description, too."""
        self._path = path
        self._guards_operations = guards_operations
        self._seen: tuple[int, int, int] | None = None
        self._namespaces: dict[str, str] = {}

    async def admit(self, headers: Headers) -> None:
        if self._guards_operations:
            await self.identify(headers)

    async def identify(self, headers: Headers) -> Identity:
        sha256 = hashed(bearer_key(headers))
        self._refresh()
        namespace = self._namespaces.get(sha256)
        if namespace is None:
            raise unknown_key()
        return Identity(namespace)

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
        key = ApiKey(f"key_{secrets.token_hex(8)}", name, hashed(secret), int(time.time()))
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


def _without_scheme(origin: str) -> str:
    """The host and port of an Origin. Anything but a web page's, such as ``null`` and ``file://``, has none."""
    scheme, _, authority = origin.partition("://")
    return authority if scheme.lower() in ("http", "https") else ""


def bearer_key(headers: Headers) -> str:
    """The key that a request has; raises Unauthenticated if it has none."""
    scheme, _, key = headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not key.strip():
        raise Unauthenticated("Give an API key, as 'Authorization: Bearer KEY'.", code="missing_api_key")
    return key.strip()


def unknown_key() -> Unauthenticated:
    return Unauthenticated("Incorrect API key provided.", code="invalid_api_key")


def hashed(key: str) -> str:
    """What a key is looked up by: how long that takes says nothing about the key."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
