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
    copies = sa.text("file_id IS NOT NULL")
    op.drop_index("container_files_source")
    op.create_index(
        "container_files_source",
        "container_files",
        ["container_id", "file_id"],
        sqlite_where=copies,
        postgresql_where=copies,
    )
