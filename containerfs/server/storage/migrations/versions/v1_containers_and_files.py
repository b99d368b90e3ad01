"""Containers and files. Stores of this version are SQLite's, and were made whole."""

revision = "0001"
down_revision = None


def upgrade() -> None: ...
