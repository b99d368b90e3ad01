"""Containers and files. Stores of this revision are in SQLite, and were created in this form."""

revision = "0001"
down_revision = None


def upgrade() -> None: ...
