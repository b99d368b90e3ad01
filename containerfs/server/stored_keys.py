"""API keys in the database: who may ask, for whom, until when, and whether to change anything."""

import asyncio
import math
import secrets
import time
from collections.abc import Callable

from starlette.datastructures import Headers

from containerfs.server.auth import Identity, bearer_key, hashed, unknown_key
from containerfs.server.errors import Unauthenticated
from containerfs.server.storage.base import KeyRecord, MetadataStore

REMEMBERED_S = 10
"""How long the keys are believed to be as they were, in seconds: so long a revoked one may still be used."""


class StoredKeys:
    """The keys in a store. All are read at once, so that unknown keys cost no queries."""

    def __init__(
        self,
        metadata: MetadataStore,
        *,
        guards_operations: bool = False,
        clock: Callable[[], float] = time.time,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        """``guards_operations`` demands a key for the server's metrics and description, too."""
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
    """A key that is stored nowhere yet, and its secret. Its namespace is its own, if none is given.

    Args:
        lifetime: in seconds; None for a key that stays.
    """
    id, secret, now = f"key_{secrets.token_hex(8)}", f"sk-{secrets.token_urlsafe(32)}", int(time.time())
    expires_at = None if lifetime is None else now + int(lifetime)
    return KeyRecord(id, name, hashed(secret), namespace or id, read_only, now, expires_at), secret
