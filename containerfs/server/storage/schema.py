"""The tables, and how a store of an older version becomes one of this version.

``seq`` is the order of insertion: it breaks ties between items created in the same second, which makes the order of a
listing total. ``departed`` keeps the places of deleted items for a while, so that a cursor that names one still works.
"""

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

VERSION = 2
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

_ADDED = {2: (departed, answers)}
"""The tables that each version added to the one before."""


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
        metadata.create_all(connection, tables=_ADDED[version], checkfirst=False)
    connection.execute(update(schema_version).values(version=VERSION))


def _version(connection: Connection) -> int | None:
    if not inspect(connection).has_table("schema_version"):
        return None
    return connection.scalar(select(schema_version.c.version))
