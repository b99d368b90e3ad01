"""The rows in SQL: a Transaction of statements for SQLite and PostgreSQL."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any, TypeVar

from sqlalchemy import Executable, Select, Table

from containerfs.server.storage import schema, statements
from containerfs.server.storage.failures import BlobNotFoundError, QuotaExceededError, UnknownCursorError
from containerfs.server.storage.metadata_store import LINGER_S
from containerfs.server.storage.prepared import Cursor
from containerfs.server.storage.records import (
    ContainerFileRecord,
    ContainerRecord,
    FileRecord,
    KeyRecord,
    PageQuery,
    Quota,
    RecordedAnswer,
    Removal,
    Usage,
)
from containerfs.server.storage.schema import NEW, container_files, containers, departed, files

_AGAIN_S = 300
"""After how many seconds another server may delete a blob that one server was to delete, and has not."""

Record = TypeVar("Record", ContainerRecord, ContainerFileRecord, FileRecord, RecordedAnswer, Quota)


class SqlTransaction:
    """A Transaction within one of a database, which the store begins and ends."""

    def __init__(self, cursor: Cursor) -> None:
        self._sql = cursor

    def insert_container(self, record: ContainerRecord) -> None:
        self._sql.run(statements.insertion(containers), **asdict(record))

    def container(self, namespace: str, id: str, now: int, *, lock: bool = False) -> ContainerRecord | None:
        statement = statements.locked_container if lock else statements.container
        return self._one(ContainerRecord, statement, namespace=namespace, id=id, now=now)

    def containers(self, namespace: str, query: PageQuery, now: int, name: str | None) -> list[ContainerRecord]:
        return self._page(ContainerRecord, containers, namespace, query, "name", name, now=now)

    def touch_container(self, id: str, last_active_at: int, expires_at: int | None, added: int) -> None:
        self._sql.run(statements.touch_container, touched=id, active_at=last_active_at, until=expires_at, added=added)

    def rename_container(self, id: str, name: str) -> None:
        self._sql.run(statements.rename_container, renamed=id, new_name=name)

    def end_container(self, id: str) -> None:
        self._sql.run(statements.end_container, ended=id)

    def remove_container(self, id: str, now: int, limit: int) -> Removal:
        blobs = self._names(statements.blobs_of_some_files, container_id=id, limit=limit)
        rows = self._delete_files(id, limit) if blobs else 0
        # The places of its files are not needed any more, because listing them is a 404 from now on.
        rows += self._sql.run(statements.delete_some_places_of, listing=id, limit=limit - rows)
        if rows < limit:
            self._depart(containers, id, now)
            rows += 1
        return Removal(rows, self._release(blobs, now))

    def expired_containers(self, now: int, limit: int) -> list[str]:
        return [id for (id,) in self._sql.rows(statements.expired(containers), now=now, limit=limit)]

    def insert_container_file(self, record: ContainerFileRecord, replaced_id: str | None, now: int) -> list[str]:
        self._use(record.blob)  # first, because the other row may be the last that names the same blob
        released = self._depart(container_files, replaced_id, now) if replaced_id else []
        self._sql.run(statements.insertion(container_files), **asdict(record))
        self._charge(container_files, record.container_id, record.bytes, 1)
        return self._release(released, now)

    def insert_container_files(self, records: Sequence[ContainerFileRecord]) -> None:
        if not records:
            return
        self._use_all(
            sorted(record.blob for record in records)
        )  # in a fixed order, so that no two transactions wait for each other
        self._sql.run_each(statements.insertion(container_files), [asdict(record) for record in records])
        size = sum(record.bytes for record in records)
        self._charge(container_files, records[0].container_id, size, len(records))

    def set_attributes(self, id: str, attributes: Mapping[str, int] | None) -> None:
        self._sql.run(statements.set_attributes, changed=id, given=attributes)

    def container_file(self, container_id: str, id: str) -> ContainerFileRecord | None:
        where = {"container_id": container_id, "id": id}
        return self._one(ContainerFileRecord, statements.container_file, **where) or self._one(
            ContainerFileRecord, statements.container_file_copied_from, **where
        )

    def container_file_at(self, container_id: str, path: str) -> ContainerFileRecord | None:
        return self._one(ContainerFileRecord, statements.container_file_at, container_id=container_id, path=path)

    def container_files(self, container_id: str, query: PageQuery) -> list[ContainerFileRecord]:
        return self._page(ContainerFileRecord, container_files, container_id, query)

    def source(self, namespace: str, id: str, now: int) -> FileRecord | ContainerFileRecord | None:
        return self.file(namespace, id, now) or self._one(
            ContainerFileRecord, statements.container_file_in_namespace, namespace=namespace, id=id, now=now
        )

    def sources(self, namespace: str, ids: Collection[str], now: int) -> dict[str, FileRecord | ContainerFileRecord]:
        found: dict[str, FileRecord | ContainerFileRecord] = {}
        for kind, statement in (
            (FileRecord, statements.files_of_ids),
            (ContainerFileRecord, statements.container_files_of_ids),
        ):
            for some in _parts([id for id in ids if id not in found]):
                where = {**statements.names_of(some), "namespace": namespace, "now": now}
                records = (kind(*row) for row in self._sql.rows(statement, **where))
                found |= {record.id: record for record in records}
        return found

    def delete_container_file(self, id: str, now: int) -> list[str]:
        return self._release(self._depart(container_files, id, now), now)

    def insert_file(self, record: FileRecord) -> None:
        self._use(record.blob)
        self._sql.run(statements.insertion(files), **asdict(record))
        self._charge(files, record.namespace, record.bytes, 1)

    def file(self, namespace: str, id: str, now: int, *, lock: bool = False) -> FileRecord | None:
        statement = statements.locked_file if lock else statements.file
        return self._one(FileRecord, statement, namespace=namespace, id=id, now=now)

    def files(self, namespace: str, query: PageQuery, now: int, purpose: str | None) -> list[FileRecord]:
        return self._page(FileRecord, files, namespace, query, "purpose", purpose, now=now)

    def delete_file(self, id: str, now: int) -> list[str]:
        return self._release(self._depart(files, id, now), now)

    def expired_files(self, now: int, limit: int) -> list[str]:
        return [id for (id,) in self._sql.rows(statements.expired(files), now=now, limit=limit)]

    def claim_key(self, namespace: str, key: str, digest: str, since: int, now: int) -> RecordedAnswer | None:
        claim = {"namespace": namespace, "key": key, "digest": digest, "since": since, "now": now}
        if self._sql.run(statements.claim_key, **claim):
            return None
        return self._one(RecordedAnswer, statements.answer, namespace=namespace, key=key)

    def is_claimed(self, namespace: str, key: str) -> bool:
        return self._one(RecordedAnswer, statements.answer, namespace=namespace, key=key) is not None

    def record_answer(self, namespace: str, key: str, body: str) -> None:
        self._sql.run(statements.record_answer, of_namespace=namespace, of_key=key, answer=body)

    def lease_blobs(self, blobs: Collection[str], until: int) -> None:
        rows = [{"name": name, "state": NEW, "copies": 0, "due_at": until} for name in blobs]
        self._sql.run_each(statements.insertion(schema.blobs), rows)

    def keeps_small_blobs(self) -> bool:
        return self._sql.row(statements.keeps_small_blobs) is not None

    def insert_small_blob(self, blob: str, content: bytes) -> None:
        self._sql.run(statements.insertion(schema.blobs), name=blob, state=NEW, copies=0, due_at=None)
        self._sql.run(statements.insertion(schema.small_blobs), name=blob, content=content)

    def small_blob(self, blob: str) -> bytes | None:
        row = self._sql.row(statements.small_blob, name=blob)
        return None if row is None else bytes(row[0])

    def abandon_blob(self, blob: str, now: int) -> list[str]:
        dead = {"blob": blob, "dead_until": now + LINGER_S}
        is_marked = self._sql.run(statements.abandon_blob, **dead) or self._sql.run(statements.record_dead_blob, **dead)
        return [blob] if is_marked else []

    def due_blobs(self, now: int, limit: int) -> list[str]:
        due = self._names(statements.due_blobs, now=now, limit=limit)
        for some in _parts(due):
            self._sql.run(statements.claim_blobs, **statements.names_of(some), again_at=now + _AGAIN_S)
        return due

    def forget_blobs(self, blobs: Collection[str]) -> None:
        for some in _parts(blobs):
            self._sql.run(statements.forget_blobs, **statements.names_of(some))

    def usage(self, now: int) -> list[Usage]:
        return [Usage(*row) for row in self._sql.rows(statements.usage, now=now)]

    def keys(self) -> list[KeyRecord]:
        return [KeyRecord(*row) for row in self._sql.rows(statements.keys)]

    def insert_key(self, key: KeyRecord) -> bool:
        if self._sql.row(statements.keys_named, name=key.name):
            return False
        self._sql.run(statements.insertion(schema.api_keys), **asdict(key))
        return True

    def delete_key(self, id: str) -> bool:
        return self._sql.run(statements.deletion(schema.api_keys), id=id) > 0

    def quotas(self) -> list[Quota]:
        return [Quota(*row) for row in self._sql.rows(statements.all_quotas)]

    def quota(self, namespace: str) -> Quota | None:
        return self._one(Quota, statements.quota, namespace=namespace)

    def set_quota(self, namespace: str, max_bytes: int | None, max_files: int | None) -> None:
        if self._sql.dialect.name == "postgresql":  # SQLite has one writer at a time
            self._sql.run(statements.keep_writers_out)
        self._sql.run(statements.delete_quota, namespace=namespace)
        if max_bytes is None and max_files is None:
            return
        [counted] = self._sql.rows(statements.bytes_and_files, namespace=namespace)
        self._sql.run(statements.insertion(schema.quotas), **asdict(Quota(namespace, max_bytes, max_files, *counted)))

    def forget(self, cursors_before: int, answers_before: int, limit: int) -> Removal:
        places = self._sql.run(statements.delete_some_old_places, before=cursors_before, limit=limit)
        return Removal(places + self._sql.run(statements.delete_some_old_answers, before=answers_before, limit=limit))

    def _page(
        self,
        kind: type[Record],
        table: Table,
        listing: str,
        query: PageQuery,
        filter_by: str | None = None,
        wanted: str | None = None,
        **values: object,
    ) -> list[Record]:
        """Return one page of ``listing``; with ``wanted``, only rows with this value in the column ``filter_by``."""
        values |= {"listing": listing, "limit": query.limit + 1, "filter": wanted}
        if query.after is not None:
            values["place_created_at"], values["place_seq"] = self._place(table, listing, query.after)
        statement = statements.page(
            table, query.order, continued=query.after is not None, filter_by=None if wanted is None else filter_by
        )
        return [kind(*row) for row in self._sql.rows(statement, **values)]

    def _place(self, table: Table, listing: str, id: str) -> tuple[int, int]:
        where = {"id": id, "listing": listing}
        for statement in (statements.place(table), statements.departed_place):
            if row := self._sql.row(statement, **where):
                return row[0], row[1]
        raise UnknownCursorError(id)

    def _depart(self, table: Table, id: str, now: int) -> list[str]:
        """Delete a row and keep its place in the listing; return its blob if it has one."""
        row = self._sql.row(statements.row_and_place(table), id=id)
        if row is None:
            return []
        listing, created_at, seq, *content = row
        self._sql.run(statements.deletion(table), id=id)
        self._sql.run(
            statements.insertion(departed), id=id, listing=listing, created_at=created_at, seq=seq, departed_at=now
        )
        if not content:
            return []
        blob, size = content
        self._charge(table, listing, -size, -1)
        return [blob]

    def _delete_files(self, container_id: str, limit: int) -> int:
        """Delete some files of a container, and return how many."""
        some = {"container_id": container_id, "limit": limit}
        [[size]] = self._sql.rows(statements.bytes_of_some_files, **some)
        rows = self._sql.run(statements.delete_some_files, **some)
        self._charge(container_files, container_id, -int(size), -rows)
        return rows

    def _charge(self, table: Table, listing: str, more_bytes: int, more_files: int) -> None:
        """Count what was inserted or deleted. This comes last, because a new quota counts what was there before."""
        charge, charged, of = {
            container_files: (statements.charge_container, statements.quota_of_container, "container_id"),
            files: (statements.charge_namespace, statements.quota, "namespace"),
        }[table]
        is_counted = self._sql.run(charge, charged=listing, more_bytes=more_bytes, more_files=more_files)
        if is_counted and more_files > 0:
            quota = self._one(Quota, charged, **{of: listing})
            if quota and quota.is_exceeded:
                raise QuotaExceededError(quota, more_bytes)

    def _use(self, blob: str) -> None:
        if not self._sql.run(statements.use_blob, used=blob):
            raise BlobNotFoundError(blob)

    def _use_all(self, blobs: Sequence[str]) -> None:
        if self._sql.run_each(statements.use_blob, [{"used": blob} for blob in blobs]) != len(blobs):
            for blob in blobs:
                self._use(blob)  # which names it

    def _release(self, blobs: Iterable[str], now: int) -> list[str]:
        """Note that a row for each of the blobs is gone. Remove small blobs that are dead now; return the others."""
        released = sorted(Counter(blobs).items())  # in a fixed order, so that no two transactions wait for each other
        if not released:
            return []
        rows = [{"blob": blob, "released": rows, "dead_until": now + LINGER_S} for blob, rows in released]
        self._sql.run_each(statements.release_blob, rows)
        dead: list[str] = []
        for some in _parts([blob for blob, _ in released]):
            self._sql.run(statements.forget_small_blobs, **statements.names_of(some))
            dead += self._names(statements.dead_blobs, **statements.names_of(some))
        return dead

    def _names(self, statement: Select[Any], **values: object) -> list[str]:
        """Return the names that a statement yields, as one row, because the driver gives up the interpreter at every
        row."""
        [[names]] = self._sql.rows(statement, **values)
        return str(names).split("\n") if names else []

    def _one(self, kind: type[Record], statement: Executable, **values: object) -> Record | None:
        row = self._sql.row(statement, **values)
        return None if row is None else kind(*row)


def _parts(names: Collection[str]) -> Iterator[list[str]]:
    some = list(names)
    return (some[start : start + statements.NAMES_AT_ONCE] for start in range(0, len(some), statements.NAMES_AT_ONCE))
