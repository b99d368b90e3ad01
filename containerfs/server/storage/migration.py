"""Creates the tables of a store, and migrates stores of older versions.

The migrations are alembic's, in ``migrations/versions``. A migration only adds; what is no longer needed is removed by
a later version, so that servers of the previous version keep working. A new store is created in its latest form.
"""

from pathlib import Path

from sqlalchemy import Connection, insert, inspect, literal_column, select, table

from containerfs.server.storage.failures import StoreError
from containerfs.server.storage.schema import metadata, revision

REVISIONS = ("0001", "0002", "0003", "0004", "0005", "0006", "0007")
"""All revisions that this version knows, oldest first. It works with the last one."""


class OutdatedError(StoreError):
    """The store must be created or migrated first."""


def check(connection: Connection) -> None:
    """Check that the store has the revision of this version.

    Raises:
        OutdatedError: if there is no store, or an older one.
        StoreError: if the store is newer.
    """
    found = _revision(connection)
    if found is None:
        raise OutdatedError("there is no store in it")
    if found not in REVISIONS:
        raise StoreError(
            f"the store has schema version {found}, this containerfs knows {REVISIONS[-1]}: use a newer one"
        )
    if found != REVISIONS[-1]:
        raise OutdatedError(f"the store has schema version {found}, but this version needs {REVISIONS[-1]}")


def prepare(connection: Connection) -> None:
    """Create the tables in an empty database, or migrate an older store, within the connection's transaction.

    Raises:
        StoreError: if the store is newer.
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
    if tables.has_table("schema_version"):  # stores had this before they used alembic
        return f"{connection.scalar(select(literal_column('version')).select_from(table('schema_version'))):04}"
    return None


def _upgrade(connection: Connection) -> None:
    from alembic import command  # slow to import, and rarely needed
    from alembic.config import Config

    if not inspect(connection).has_table(revision.name):
        found = _revision(connection)
        revision.create(connection)
        connection.execute(insert(revision).values(version_num=found))
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, REVISIONS[-1])
