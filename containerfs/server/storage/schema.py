"""The tables, and how a store of an older version becomes one of this version.

``seq`` is the order of insertion: it breaks ties between items created in the same second, which makes the order of a
listing total. ``departed`` keeps the places of deleted items for a while, so that a cursor that names one still works.
"""

import json
from collections.abc import Callable

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    Connection,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    insert,
    inspect,
    select,
    update,
)

from containerfs.server.storage.base import StoreError

VERSION = 3
"""The version of the schema below."""

_SEQ = BigInteger().with_variant(Integer(), "sqlite")

metadata = MetaData()

schema_version = Table("schema_version", metadata, Column("version", Integer, nullable=False))

containers = Table(
    "containers",
    metadata,
    Column("seq", _SEQ, primary_key=True, autoincrement=True),
    Column("id", Text, nullable=False, unique=True),
    Column("namespace", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("last_active_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger),
    Column("anchor", Text),
    Column("span", BigInteger),
    Column("unit", Text),
    Column("memory_limit", Text),
    Column("network_policy", JSON(none_as_null=True)),
    Column("file_count", BigInteger, nullable=False),
    Index("containers_listing", "namespace", "created_at", "seq"),
    Index("containers_name", "namespace", "name", "created_at", "seq"),
    Index("containers_expiry", "expires_at"),
    sqlite_autoincrement=True,
)

container_files = Table(
    "container_files",
    metadata,
    Column("seq", _SEQ, primary_key=True, autoincrement=True),
    Column("id", Text, nullable=False, unique=True),
    Column("container_id", Text, ForeignKey("containers.id"), nullable=False),
    Column("path", Text, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("blob", Text, nullable=False),
    Column("file_id", Text),
    UniqueConstraint("container_id", "path"),
    Index("container_files_listing", "container_id", "created_at", "seq"),
    Index("container_files_source", "container_id", "file_id"),
    Index("container_files_blob", "blob"),
    sqlite_autoincrement=True,
)

files = Table(
    "files",
    metadata,
    Column("seq", _SEQ, primary_key=True, autoincrement=True),
    Column("id", Text, nullable=False, unique=True),
    Column("namespace", Text, nullable=False),
    Column("filename", Text, nullable=False),
    Column("purpose", Text, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("blob", Text, nullable=False),
    Column("expires_at", BigInteger),
    Index("files_listing", "namespace", "created_at", "seq"),
    Index("files_purpose", "namespace", "purpose", "created_at", "seq"),
    Index("files_expiry", "expires_at"),
    Index("files_blob", "blob"),
    sqlite_autoincrement=True,
)

departed = Table(
    "departed",
    metadata,
    Column("listing", Text, primary_key=True),
    Column("id", Text, primary_key=True),
    Column("created_at", BigInteger, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("departed_at", BigInteger, nullable=False),
    Index("departed_age", "departed_at"),
)

answers = Table(
    "answers",
    metadata,
    Column("namespace", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("digest", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("answered_at", BigInteger, nullable=False),
    Index("answers_age", "answered_at"),
)


def prepare(connection: Connection) -> None:
    """Create the tables in an empty database, or bring an older store forward. Call within a write transaction.

    Raises:
        StoreError: if the store was made by a newer version.
    """
    found = _version(connection)
    if found == VERSION:
        return
    if found is None:
        metadata.create_all(connection, checkfirst=False)
        connection.execute(insert(schema_version).values(version=VERSION))
        return
    if found > VERSION:
        raise StoreError(f"the store has schema version {found}, this containerfs knows {VERSION}: use a newer one")
    for version in range(found + 1, VERSION + 1):
        _STEPS[version](connection)
    connection.execute(update(schema_version).values(version=VERSION))


def _version(connection: Connection) -> int | None:
    if not inspect(connection).has_table("schema_version"):
        return None
    return connection.scalar(select(schema_version.c.version))


def _add_departed_and_answers(connection: Connection) -> None:
    metadata.create_all(connection, tables=(departed, answers), checkfirst=False)


def _index_names_and_forget_secrets(connection: Connection) -> None:
    for table, name in ((containers, "containers_name"), (files, "files_purpose")):
        next(index for index in table.indexes if index.name == name).create(connection)
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("PRAGMA secure_delete = ON")  # else what is overwritten stays readable in the file
    policies = select(containers.c.seq, containers.c.network_policy).where(containers.c.network_policy.is_not(None))
    for seq, policy in connection.execute(policies).all():
        if policy.pop("domain_secrets", None) is not None:
            connection.execute(update(containers).where(containers.c.seq == seq).values(network_policy=policy))
    bodies = select(answers.c.namespace, answers.c.key, answers.c.body).where(answers.c.body.contains("domain_secrets"))
    for namespace, key, body in connection.execute(bodies).all():
        answer = json.loads(body)
        (answer.get("network_policy") or {}).pop("domain_secrets", None)
        this = (answers.c.namespace == namespace) & (answers.c.key == key)
        connection.execute(update(answers).where(this).values(body=json.dumps(answer)))


_STEPS: dict[int, Callable[[Connection], None]] = {
    2: _add_departed_and_answers,
    3: _index_names_and_forget_secrets,
}
"""What brings a store of the version before to each version."""
