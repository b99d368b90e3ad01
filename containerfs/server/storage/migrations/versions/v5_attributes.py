"""Adds attributes of files."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.add_column("container_files", sa.Column("attributes", sa.JSON))
