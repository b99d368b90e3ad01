"""Whether a namespace has room for a file. The store enforces quotas; this refuses a file before it is sent."""

from dataclasses import replace

from containerfs.server.storage.failures import QuotaExceededError
from containerfs.server.storage.metadata_store import Transaction
from containerfs.server.storage.records import Quota


def quota_for(tx: Transaction, namespace: str, key: str | None) -> Quota | None:
    """The quota that a request is held to; None if there is none, or if the request's idempotency key was used before.

    A repeated request is answered as the first was, and stores nothing.
    """
    quota = tx.quota(namespace)
    return None if quota and key and tx.is_claimed(namespace, key) else quota


def check_room(quota: Quota, size: int) -> None:
    """Raise QuotaExceededError if one more file of ``size`` bytes would exceed the quota."""
    with_file = replace(quota, bytes=quota.bytes + size, files=quota.files + 1)
    if with_file.is_exceeded:
        raise QuotaExceededError(with_file, size)
