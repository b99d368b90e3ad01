"""Operations on containers."""

from containerfs.api.models import Container, Deletion, ListPage
from containerfs.server.errors import InvalidRequest, NotFound
from containerfs.server.requests import SECONDS, CreateContainer, ExpiryRule, RenameContainer
from containerfs.server.service import ids
from containerfs.server.service.copies import copies_of
from containerfs.server.service.objects import container_object, container_record
from containerfs.server.service.pages import from_cursor, page_of
from containerfs.server.service.refusals import no_container
from containerfs.server.service.transactions import Change, Once, Transactions
from containerfs.server.storage.failures import BlobNotFoundError
from containerfs.server.storage.metadata_store import Transaction
from containerfs.server.storage.records import ContainerRecord, PageQuery

_ROWS_AT_ONCE = 100
"""Deleted with a container before its deletion is answered; removing the bytes of 1,000 files takes up to 0.5 s."""

_POLICY_MAX_BYTES = 32 * 1024
"""Of a network policy as JSON. A page has up to 100 of them, and other requests wait while it is rendered."""


class Containers:
    """Operations on the containers of a namespace.

    All raise NotFound for a container that does not exist, has expired, or belongs to another namespace.
    """

    def __init__(self, transactions: Transactions, default_expiry: ExpiryRule | None) -> None:
        self._transactions = transactions
        self._default_expiry = default_expiry

    async def create(self, namespace: str, request: CreateContainer, once: Once | None = None) -> Container:
        """Create a container with copies of the files in ``file_ids``.

        Raises:
            NotFound: if one of the files does not exist.
            InvalidRequest: if the network policy is too large to be listed with others.
        """
        _check_policy(request)

        def work(tx: Transaction, now: int) -> Change[Container]:
            id = ids.container_id()
            files = copies_of(tx, namespace, id, request.file_ids or (), now)
            record = container_record(id, namespace, request, self._default_expiry, now, len(files))
            tx.insert_container(record)
            try:
                tx.insert_container_files(files)
            except BlobNotFoundError as error:  # deleted since it was looked up
                raise NotFound("One of the files was deleted.", param="file_ids") from error
            return Change(container_object(record))

        return await self._transactions.write(namespace, once, Container, work)

    async def retrieve(self, namespace: str, id: str) -> Container:
        return await self._transactions.read(lambda tx, now: container_object(live_container(tx, namespace, id, now)))

    async def page(self, namespace: str, query: PageQuery, name: str | None = None) -> ListPage[Container]:
        """List containers.

        Args:
            name: lists only containers with this name, if given.

        Raises:
            InvalidRequest: if the cursor of ``query`` is not in the list.
        """
        records = await self._transactions.read(
            from_cursor(query, lambda tx, now: tx.containers(namespace, query, now, name))
        )
        return page_of([container_object(record) for record in records], query.limit)

    async def rename(self, namespace: str, id: str, request: RenameContainer, once: Once | None = None) -> Container:
        def work(tx: Transaction, now: int) -> Change[Container]:
            container = live_container(tx, namespace, id, now, lock=True)
            tx.rename_container(container.id, request.name)
            record_activity(tx, container, now)
            return Change(container_object(live_container(tx, namespace, id, now)))

        return await self._transactions.write(namespace, once, Container, work)

    async def delete(self, namespace: str, id: str) -> Deletion:
        """Delete a container with its files. It is gone when this returns; the sweeper removes what is left of it."""

        def work(tx: Transaction, now: int) -> Change[Deletion]:
            live_container(tx, namespace, id, now, lock=True)
            tx.end_container(id)
            removal = tx.remove_container(id, now, _ROWS_AT_ONCE)
            deletion = Deletion(id=id, object="container.deleted")
            return Change(deletion, removal.garbage, unfinished=removal.rows == _ROWS_AT_ONCE)

        return await self._transactions.free(work)


def live_container(tx: Transaction, namespace: str, id: str, now: int, *, lock: bool = False) -> ContainerRecord:
    """The container that has not expired; locked until the transaction ends if ``lock``.

    Raises:
        NotFound: if there is none in the namespace.
    """
    container = tx.container(namespace, id, now, lock=lock)
    if container is None:
        raise no_container(id)
    return container


def _check_policy(request: CreateContainer) -> None:
    policy = request.network_policy
    if policy and len(policy.model_dump_json(exclude_none=True).encode()) > _POLICY_MAX_BYTES:
        raise InvalidRequest(
            f"The network policy is larger than {_POLICY_MAX_BYTES} bytes of JSON: allow fewer domains.",
            param="network_policy.allowed_domains",
            code="network_policy_too_large",
        )


def record_activity(tx: Transaction, container: ContainerRecord, now: int, *, added: int = 0) -> None:
    """Record activity in a container, and extend its expiry if that is counted from there.

    Args:
        added: how many files the container has gained; negative for files that it has lost.
    """
    expires_at = container.expires_at
    if container.anchor == "last_active_at" and container.span and container.unit:
        expires_at = now + container.span * SECONDS[container.unit]
    tx.touch_container(container.id, now, expires_at, added)
