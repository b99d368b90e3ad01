"""Adds an account of all blobs, which replaces the indexes that were used to find blobs that no row names."""

import time
from collections.abc import Iterator
from pathlib import Path

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

_LINGER_S = 3600


def upgrade() -> None:
    op.create_table(
        "blobs",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("copies", sa.BigInteger, nullable=False),
        sa.Column("due_at", sa.BigInteger),
        sqlite_with_rowid=False,
    )
    op.execute(
        "INSERT INTO blobs (name, state, copies) SELECT blob, 'live', count(*) FROM "
        "(SELECT blob FROM container_files UNION ALL SELECT blob FROM files) GROUP BY blob"
    )
    _account_for_orphans(op.get_bind())
    op.create_index("blobs_due", "blobs", ["due_at"], sqlite_where=sa.text("due_at IS NOT NULL"))
    op.drop_index("container_files_blob")
    op.drop_index("files_blob")
    op.drop_table("schema_version")


def _account_for_orphans(connection: sa.Connection) -> None:
    """Record the files next to the database that no row names as dead blobs."""
    found = sa.text("INSERT OR IGNORE INTO blobs (name, state, copies, due_at) VALUES (:name, 'dead', 0, :due_at)")
    due_at = int(time.time()) + _LINGER_S
    if rows := [{"name": name, "due_at": due_at} for name in _names(connection)]:
        connection.execute(found, rows)


def _names(connection: sa.Connection) -> Iterator[str]:
    [file] = [file for _, name, file in connection.exec_driver_sql("PRAGMA database_list") if name == "main"]
    return (path.name for path in (Path(file).parent / "blobs").glob("*/*")) if file else iter(())
