"""API keys: who may send requests, and whose containers they see.

The key file has one record for each key, with the SHA-256 of the key. Keys are 256 random bits, so a slow hash would
not protect them any better. Each key has its own namespace. Changes to the file apply from the next request on.
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
"""The only namespace of a server without keys."""

_AUTHORITY = re.compile(r"(\[[0-9a-f:.]+\]|[^\s:@/?#\[\]]+)(?::\d{1,5})?")
"""A host, optionally with a port, and nothing else. Source: RFC 9110, section 7.2."""

_FEW = 64
"""Names by which clients know this machine; what is known of them is kept."""


class KeyFileError(Exception):
    """The key file cannot be used. The message is one line."""


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as stored.

    Attributes:
        id: also the key's namespace.
        sha256: of the secret, as hexadecimal digits.
        created_at: in Unix seconds.
    """

    id: str
    name: str
    sha256: str
    created_at: int


@dataclass(frozen=True, slots=True)
class Identity:
    """The namespace that a request is for, and whether it may make changes."""

    namespace: str
    may_write: bool = True


class Authenticator(Protocol):
    """Identifies the senders of requests."""

    async def identify(self, headers: Headers) -> Identity:
        """Identify the sender of a request by its headers.

        Raises:
            Unauthenticated: if the request has no valid key.
            Forbidden: if the server has no keys and the request may come from a web page.
        """
        ...

    async def admit(self, headers: Headers) -> None:
        """Check that the sender may see the server's metrics and description. Raises as ``identify`` does."""
        ...


_SHARED = Identity(SHARED_NAMESPACE)


class Everyone:
    """Admits everybody who can reach the server, without keys, to one shared namespace."""

    async def identify(self, headers: Headers) -> Identity:
        return _SHARED

    async def admit(self, headers: Headers) -> None:
        pass


class ThisMachine:
    """Admits programs on this machine, without keys, but not web pages in its browsers.

    A page of another site is recognised by ``Origin``. A page whose name was resolved to this machine (DNS rebinding)
    is recognised by ``Host``. So there must be exactly one ``Host`` and at most one ``Origin``, and each must name this
    machine.

    Args:
        allowed_hosts: further names to accept, for a proxy that passes its own name on.
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
        problem = f"is {', '.join(map(repr, values))}" if values else "is missing"
        return Forbidden(
            f"Without API keys, this server only answers programs on this machine; the request's {header} {problem}. "
            "If it is behind a proxy that passes its own name on, start it with --allowed-host NAME.",
            code="host_not_allowed",
        )


class KeyFile:
    """The API keys in a file."""

    def __init__(self, path: Path, *, guards_operations: bool = False) -> None:
        """Use the keys in a file, which is read with the first request.

        Args:
            guards_operations: whether the server's metrics and description need a key as well.
        """
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
        """Return all keys, oldest first.

        Raises:
            KeyFileError: if the file is missing or cannot be read.
        """
        try:
            return [ApiKey(**record) for record in json.loads(self._path.read_text())["keys"]]
        except FileNotFoundError as error:
            make = f"containerfs keys add NAME --api-keys {self._path}"
            raise KeyFileError(f"there is no key file {self._path}: make one with '{make}'") from error
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise KeyFileError(f"cannot read the API keys in {self._path}: {error}") from error

    def add(self, name: str) -> tuple[ApiKey, str]:
        """Add a key.

        Returns:
            The key, and its secret, which is not stored.

        Raises:
            KeyFileError: if another key has the name, or the file cannot be written.
        """
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
        """Remove a key. The contents of its namespace stay in the store.

        Returns:
            Whether there was such a key.

        Raises:
            KeyFileError: if the file cannot be read or written.
        """
        with self._locked():
            keys = self.keys()
            kept = [key for key in keys if key.id != id]
            if len(kept) < len(keys):
                self._store(kept)
        return len(kept) < len(keys)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Keep other processes from changing the file. The lock is on its directory, because the file itself is
        replaced."""
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
        """Read the file again if it has changed. If it is missing or broken, no key is accepted."""
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
                logger.error("%s; no key is accepted until that is fixed", error)


def _without_scheme(origin: str) -> str:
    """Return the host and port of a web page's Origin, and "" for others, such as ``null`` and ``file://``."""
    scheme, _, authority = origin.partition("://")
    return authority if scheme.lower() in ("http", "https") else ""


def bearer_key(headers: Headers) -> str:
    """Return the API key of a request.

    Raises:
        Unauthenticated: if it has none.
    """
    scheme, _, key = headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not key.strip():
        raise Unauthenticated("Give an API key, as 'Authorization: Bearer KEY'.", code="missing_api_key")
    return key.strip()


def unknown_key() -> Unauthenticated:
    return Unauthenticated("Incorrect API key provided.", code="invalid_api_key")


def hashed(key: str) -> str:
    """Hash a key for looking it up, so that the time that takes reveals nothing about the key."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
