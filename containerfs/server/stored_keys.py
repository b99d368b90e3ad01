"""API keys in the database, with namespaces, expiry, and keys that may only read."""

import asyncio
import math
import secrets
import time
from collections.abc import Callable

from starlette.datastructures import Headers

from containerfs.server.auth import Identity, bearer_key, hashed, unknown_key
from containerfs.server.errors import Unauthenticated
from containerfs.server.storage.metadata_store import MetadataStore
from containerfs.server.storage.records import KeyRecord

REMEMBERED_S = 10
"""How long the keys are cached, in seconds. A revoked key may be used for this long."""


class StoredKeys:
    """The API keys in a database. All are read at once, so that unknown keys cost no queries."""

    def __init__(
        self,
        metadata: MetadataStore,
        *,
        guards_operations: bool = False,
        clock: Callable[[], float] = time.time,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        """Use the keys in a database, which are read with the first request.

        Args:
            guards_operations: whether the server's metrics and description need a key as well.
            clock: returns the time in Unix seconds.
            timer: returns the seconds since some fixed moment.
        """
        self._metadata, self._clock, self._timer = metadata, clock, timer
        self._guards_operations = guards_operations
        self._keys: dict[str, KeyRecord] = {}
        self._good_until = -math.inf
        self._reading = asyncio.Lock()

    async def admit(self, headers: Headers) -> None:
        if self._guards_operations:
            await self.identify(headers)

    async def identify(self, headers: Headers) -> Identity:
        sha256 = hashed(bearer_key(headers))
        await self._refresh()
        key = self._keys.get(sha256)
        if key is None:
            raise unknown_key()
        if key.expires_at is not None and self._clock() >= key.expires_at:
            raise Unauthenticated("This API key has expired.", code="expired_api_key")
        return Identity(key.namespace, may_write=not key.read_only)

    async def _refresh(self) -> None:
        if self._timer() < self._good_until:
            return
        async with self._reading:
            if self._timer() >= self._good_until:
                asked_at = self._timer()
                keys = await self._metadata.read(lambda tx: tx.keys())
                self._keys = {key.sha256: key for key in keys}
                self._good_until = asked_at + REMEMBERED_S


def new_key(
    name: str, namespace: str | None = None, *, read_only: bool = False, lifetime: float | None = None
) -> tuple[KeyRecord, str]:
    """Make a key, without storing it.

    Args:
        namespace: the key's namespace; None for one of its own.
        read_only: whether the key may only read.
        lifetime: in seconds; None for a key that does not expire.

    Returns:
        The key's record, and its secret.
    """
    id, secret, now = f"key_{secrets.token_hex(8)}", f"sk-{secrets.token_urlsafe(32)}", int(time.time())
    expires_at = None if lifetime is None else now + int(lifetime)
    return KeyRecord(id, name, hashed(secret), namespace or id, read_only, now, expires_at), secret
