"""Adds a table for small blobs, and leaves files that are not copies out of the index of sources."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.create_table(
        "small_blobs",
        sa.Column("name", sa.Text, sa.ForeignKey("blobs.name", ondelete="CASCADE"), primary_key=True),
        sa.Column("content", sa.LargeBinary, nullable=False),
        sqlite_with_rowid=False,
    )
    _leave_out_files_that_are_not_copies(op.get_bind().dialect.name)


def _leave_out_files_that_are_not_copies(database: str) -> None:
    if database == "postgresql":  # readers wait from the moment an index is dropped, so this comes after the long part
        _create("container_files_copies")
        op.drop_index("container_files_source")
        op.execute("ALTER INDEX container_files_copies RENAME TO container_files_source")
    else:
        op.drop_index("container_files_source")
        _create("container_files_source")


def _create(index: str) -> None:
    copies = sa.text("file_id IS NOT NULL")
    columns = ["container_id", "file_id"]
    op.create_index(index, "container_files", columns, sqlite_where=copies, postgresql_where=copies)
