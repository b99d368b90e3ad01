"""Creates the tables of a store, and migrates stores of older versions.

The migrations are alembic's, in ``migrations/versions``. A new store is created in its latest form. One that servers of
the previous version may be using is migrated in two steps. The first expands it: it only adds, and servers of both
versions work with it. The second, once the last server of the previous version has stopped, finishes: from then on,
servers do what only this version understands.
"""

from pathlib import Path

from sqlalchemy import Connection, insert, inspect, literal_column, select, table

from containerfs.server.storage.failures import StoreError
from containerfs.server.storage.schema import metadata, revision

REVISIONS = ("0001", "0002", "0003", "0004", "0005", "0006", "0007", "0008")
"""All revisions that this version knows, oldest first."""

EXPANDED, FINISHED = "0007", REVISIONS[-1]
"""The first revision that this version works with, which is also the last that the previous version works with while it
runs; and the one after which only this version runs."""


class OutdatedError(StoreError):
    """The store must be created or migrated first."""


def check(connection: Connection) -> str:
    """Check that this version works with the store, and return its revision.

    Raises:
        OutdatedError: if there is no store, or an older one.
        StoreError: if the store is newer.
    """
    found = _known_revision(connection)
    if found is None:
        raise OutdatedError("there is no store in it")
    if found < EXPANDED:
        raise OutdatedError(f"the store has schema version {found}, but this version needs {EXPANDED}")
    return found


def prepare(connection: Connection, target: str = FINISHED) -> str:
    """Create the tables in an empty database, or migrate an older store to ``target``, within the connection's
    transaction. Return the revision that it has then.

    Raises:
        StoreError: if the store is newer.
    """
    found = _known_revision(connection)
    if found is None:
        metadata.create_all(connection, checkfirst=False)
        connection.execute(insert(revision).values(version_num=FINISHED))
        return FINISHED
    if found < target:
        _upgrade(connection, target)
    return max(found, target)


def _known_revision(connection: Connection) -> str | None:
    found = _revision(connection)
    if found is not None and found not in REVISIONS:
        raise StoreError(f"the store has schema version {found}, this containerfs knows {FINISHED}: use a newer one")
    return found


def _revision(connection: Connection) -> str | None:
    tables = inspect(connection)
    if tables.has_table(revision.name):
        return connection.scalar(select(revision.c.version_num))
    if tables.has_table("schema_version"):  # stores had this before they used alembic
        return f"{connection.scalar(select(literal_column('version')).select_from(table('schema_version'))):04}"
    return None


def _upgrade(connection: Connection, target: str) -> None:
    from alembic import command  # slow to import, and rarely needed
    from alembic.config import Config

    if not inspect(connection).has_table(revision.name):
        found = _revision(connection)
        revision.create(connection)
        connection.execute(insert(revision).values(version_num=found))
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, target)
