"""How a store gets its tables, and how one of an older version becomes one of this version.

Migrations are alembic's, in ``migrations/versions``. They expand first and contract in a later version, so that servers
of the version before go on with a store that was migrated. A new store is made as it is, and has seen them all.
"""

from pathlib import Path

from sqlalchemy import Connection, insert, inspect, literal_column, select, table

from containerfs.server.storage.base import StoreError
from containerfs.server.storage.schema import metadata, revision

REVISIONS = ("0001", "0002", "0003", "0004", "0005", "0006")
"""All that this version knows, oldest first. It works with the last."""


class OutdatedError(StoreError):
    """The store is to be created or migrated first."""


def check(connection: Connection) -> None:
    """Look whether the store is one of this version.

    Raises:
        OutdatedError: if there is none, or an older one.
        StoreError: if it is of a newer version.
    """
    found = _revision(connection)
    if found is None:
        raise OutdatedError("there is no store in it")
    if found not in REVISIONS:
        raise StoreError(
            f"the store has schema version {found}, this containerfs knows {REVISIONS[-1]}: use a newer one"
        )
    if found != REVISIONS[-1]:
        raise OutdatedError(f"the store has schema version {found}, and needs {REVISIONS[-1]}")


def prepare(connection: Connection) -> None:
    """Create the tables in an empty database, or bring an older store forward, in the connection's transaction.

    Raises:
        StoreError: if the store was made by a newer version.
    """
    try:
        check(connection)
    except OutdatedError:
        if _revision(connection) is None:
            metadata.create_all(connection, checkfirst=False)
            connection.execute(insert(revision).values(version_num=REVISIONS[-1]))
        else:
            _upgrade(connection)


def _revision(connection: Connection) -> str | None:
    tables = inspect(connection)
    if tables.has_table(revision.name):
        return connection.scalar(select(revision.c.version_num))
    if tables.has_table("schema_version"):  # which stores had before there was alembic
        return f"{connection.scalar(select(literal_column('version')).select_from(table('schema_version'))):04}"
    return None


def _upgrade(connection: Connection) -> None:
    from alembic import command  # slow to import, and seldom needed
    from alembic.config import Config

    if not inspect(connection).has_table(revision.name):
        found = _revision(connection)
        revision.create(connection)
        connection.execute(insert(revision).values(version_num=found))
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, REVISIONS[-1])
