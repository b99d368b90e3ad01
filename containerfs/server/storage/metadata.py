"""The rows in SQL: a Transaction on a connection of SQLAlchemy Core, in statements that SQLite and PostgreSQL take."""

from collections.abc import Collection
from dataclasses import asdict
from typing import Any, TypeVar

from sqlalchemy import Connection, Delete, Executable, Table

from containerfs.server.storage import statements
from containerfs.server.storage.base import (
    ContainerFileRecord,
    ContainerRecord,
    FileRecord,
    PageQuery,
    RecordedAnswer,
    Removal,
    UnknownCursorError,
    Usage,
)
from containerfs.server.storage.schema import answers, container_files, containers, departed, files

Record = TypeVar("Record", ContainerRecord, ContainerFileRecord, FileRecord, RecordedAnswer)


class SqlTransaction:
    """A Transaction on one SQL connection, inside a database transaction that the store began and will end."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def insert_container(self, record: ContainerRecord) -> None:
        self._run(statements.insertion(containers), **asdict(record))

    def container(self, namespace: str, id: str, now: int) -> ContainerRecord | None:
        return self._one(ContainerRecord, statements.container, namespace=namespace, id=id, now=now)

    def containers(self, namespace: str, query: PageQuery, now: int, name: str | None) -> list[ContainerRecord]:
        return self._page(ContainerRecord, containers, namespace, query, "name", name, now=now)

    def touch_container(self, id: str, last_active_at: int, expires_at: int | None, added: int) -> None:
        self._run(statements.touch_container, touched=id, active_at=last_active_at, until=expires_at, added=added)

    def end_container(self, id: str) -> None:
        self._run(statements.end_container, ended=id)

    def remove_container(self, id: str, now: int, limit: int) -> Removal:
        blobs = self._connection.scalar(statements.blobs_of_some_files, {"container_id": id, "limit": limit})
        rows = self._delete(statements.delete_some_files, container_id=id, limit=limit) if blobs else 0
        # Its files need no places any more: listing them is a 404 from now on.
        rows += self._delete(statements.delete_some_places_of, listing=id, limit=limit - rows)
        if rows < limit:
            self._depart(containers, id, now)
            rows += 1
        return Removal(rows, self._garbage(set(blobs.split("\n")) if blobs else set()))

    def expired_containers(self, now: int, limit: int) -> list[str]:
        return list(self._connection.scalars(statements.expired(containers), {"now": now, "limit": limit}))

    def insert_container_file(self, record: ContainerFileRecord) -> None:
        self._run(statements.insertion(container_files), **asdict(record))

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

    def delete_container_file(self, id: str, now: int) -> list[str]:
        return self._garbage(self._depart(container_files, id, now))

    def insert_file(self, record: FileRecord) -> None:
        self._run(statements.insertion(files), **asdict(record))

    def file(self, namespace: str, id: str, now: int) -> FileRecord | None:
        return self._one(FileRecord, statements.file, namespace=namespace, id=id, now=now)

    def files(self, namespace: str, query: PageQuery, now: int, purpose: str | None) -> list[FileRecord]:
        return self._page(FileRecord, files, namespace, query, "purpose", purpose, now=now)

    def delete_file(self, id: str, now: int) -> list[str]:
        return self._garbage(self._depart(files, id, now))

    def expired_files(self, now: int, limit: int) -> list[str]:
        return list(self._connection.scalars(statements.expired(files), {"now": now, "limit": limit}))

    def answer(self, namespace: str, key: str, since: int) -> RecordedAnswer | None:
        return self._one(RecordedAnswer, statements.answer, namespace=namespace, key=key, since=since)

    def record_answer(self, namespace: str, key: str, answer: RecordedAnswer, now: int) -> None:
        self._run(statements.delete_answer, namespace=namespace, key=key)  # one that is no longer remembered
        self._run(statements.insertion(answers), namespace=namespace, key=key, answered_at=now, **asdict(answer))

    def usage(self, now: int) -> list[Usage]:
        return [Usage(*row) for row in self._connection.execute(statements.usage, {"now": now})]

    def named_blobs(self, blobs: Collection[str]) -> set[str]:
        names, named = list(blobs), set[str]()
        for start in range(0, len(names), statements.BLOBS_AT_ONCE):
            some = statements.blobs(names[start : start + statements.BLOBS_AT_ONCE])
            named.update(self._connection.scalars(statements.named_blobs, some))
        return named

    def forget(self, cursors_before: int, answers_before: int, limit: int) -> Removal:
        places = self._delete(statements.delete_some_old_places, before=cursors_before, limit=limit)
        return Removal(places + self._delete(statements.delete_some_old_answers, before=answers_before, limit=limit))

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
        """One page of ``listing``; with ``wanted``, only of the rows whose column ``filter_by`` is that."""
        values |= {"listing": listing, "limit": query.limit + 1, "filter": wanted}
        if query.after is not None:
            values["place_created_at"], values["place_seq"] = self._place(table, listing, query.after)
        statement = statements.page(
            table, query.order, continued=query.after is not None, filter_by=None if wanted is None else filter_by
        )
        return [kind(*row) for row in self._connection.execute(statement, values).all()]

    def _place(self, table: Table, listing: str, id: str) -> tuple[int, int]:
        where = {"id": id, "listing": listing}
        for statement in (statements.place(table), statements.departed_place):
            if row := self._connection.execute(statement, where).first():
                return row[0], row[1]
        raise UnknownCursorError(id)

    def _depart(self, table: Table, id: str, now: int) -> set[str]:
        """Delete a row and keep its place in the listing; returns its blob, if it has one."""
        row = self._connection.execute(statements.row_and_place(table), {"id": id}).first()
        if row is None:
            return set()
        listing, created_at, seq, *blobs = row
        self._run(statements.deletion(table), id=id)
        self._run(
            statements.insertion(departed), id=id, listing=listing, created_at=created_at, seq=seq, departed_at=now
        )
        return set(blobs)

    def _delete(self, statement: Delete, **values: object) -> int:
        """How many rows it deleted."""
        return self._connection.execute(statement, values).rowcount

    def _garbage(self, blobs: set[str]) -> list[str]:
        return sorted(blobs - self.named_blobs(blobs))

    def _one(self, kind: type[Record], statement: Executable, **values: object) -> Record | None:
        row = self._connection.execute(statement, values).first()
        return None if row is None else kind(*row)

    def _run(self, statement: Executable, **values: Any) -> None:
        self._connection.execute(statement, values)
