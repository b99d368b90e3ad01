"""The tables of a store, in SQLite and in PostgreSQL.

``seq`` is the order of insertion. It orders items that were created in the same second, so that the order of a listing
is total. ``departed`` keeps the places of deleted items for a while, so that they can still be used as cursors.

``blobs`` accounts for all bytes. It has a row for them before they are stored, and until they are deleted:

    lease            first row names it       last row is gone         deleted, then forgotten
    ───────► new ─────────────────────► live ─────────────────► dead ──────────────────────────►
              └── the lease ends, or the upload is given up ──────┘

A small blob is kept with the rows, in ``small_blobs``. It is new and dead only within the transactions in which the
first row names it, and the last is gone.

``copies`` is the number of rows that name a blob. ``due_at`` is the time when a lease ends, or when a dead blob is to
be deleted.

PostgreSQL differs in two ways. Its indexes take at most 2.7 kB of a row, so they contain digests of long names. And its
writers run concurrently.
"""

from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Connection,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    UniqueConstraint,
    event,
    text,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import ReturnTypeFromArgs

_SEQ = BigInteger().with_variant(Integer(), "sqlite")


class indexed(ReturnTypeFromArgs[str]):
    """Return what indexes contain of a text: a digest on PostgreSQL, and the text itself on SQLite. Compare this and
    the text."""

    inherit_cache = True


@compiles(indexed, "postgresql")
def _digest(element: indexed, compiler: Any, **kw: Any) -> str:
    return f"md5({compiler.process(element.clauses, **kw)})"


@compiles(indexed)
def _itself(element: indexed, compiler: Any, **kw: Any) -> str:
    text: str = compiler.process(element.clauses, **kw)
    return text


metadata = MetaData()

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

Index(
    "containers_name",
    containers.c.namespace,
    indexed(containers.c.name),
    containers.c.created_at,
    containers.c.seq,
)

_COPIES = text("file_id IS NOT NULL")
_source = Index("container_files_source", "container_id", "file_id", sqlite_where=_COPIES)

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
    Column("attributes", JSON(none_as_null=True)),
    UniqueConstraint("container_id", "path").ddl_if(dialect="sqlite"),
    Index("container_files_listing", "container_id", "created_at", "seq"),
    _source,
    sqlite_autoincrement=True,
)

Index("container_files_path", container_files.c.container_id, indexed(container_files.c.path), unique=True).ddl_if(
    dialect="postgresql"
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

_DUE = text("due_at IS NOT NULL")
_due = Index("blobs_due", "due_at", sqlite_where=_DUE)

blobs = Table(
    "blobs",
    metadata,
    Column("name", Text, primary_key=True),
    Column("state", Text, nullable=False),
    Column("copies", BigInteger, nullable=False),
    Column("due_at", BigInteger),
    _due,
    sqlite_with_rowid=False,
)

small_blobs = Table(
    "small_blobs",
    metadata,
    Column("name", Text, ForeignKey("blobs.name", ondelete="CASCADE"), primary_key=True),
    Column("content", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)
"""The bytes of those blobs that are kept with the rows. They are apart from ``blobs`` because that changes with every
copy, and SQLite would write them again."""

SMALL_BLOBS_SINCE = "0008"
"""The revision since which all servers look there."""

NEW, LIVE, DEAD = "new", "live", "dead"

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("sha256", Text, nullable=False, unique=True),
    Column("namespace", Text, nullable=False),
    Column("read_only", Boolean, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger),
)

quotas = Table(
    "quotas",
    metadata,
    Column("namespace", Text, primary_key=True),
    Column("max_bytes", BigInteger),
    Column("max_files", BigInteger),
    Column("bytes", BigInteger, nullable=False),
    Column("files", BigInteger, nullable=False),
)
"""What namespaces may hold, and what they hold. A namespace without a quota has no row, so that its writers do not wait
for each other."""

revision = Table(
    "alembic_version",
    metadata,
    Column("version_num", String(32), nullable=False),
    PrimaryKeyConstraint("version_num", name="alembic_version_pkc"),
)
"""The last migration of the store. Source: alembic, which defines this table."""


@event.listens_for(metadata, "before_create")
def _for_postgresql(_: MetaData, connection: Connection, **given: Any) -> None:
    """Set options of PostgreSQL only there, because otherwise SQLAlchemy imports everything that it knows of its
    drivers."""
    if connection.dialect.name == "postgresql":
        _due.dialect_kwargs["postgresql_where"] = _DUE
        _source.dialect_kwargs["postgresql_where"] = _COPIES
