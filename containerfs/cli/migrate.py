"""``containerfs migrate``."""

from typing import Annotated

import typer

from containerfs.cli.failure import fail


def migrate(
    database: Annotated[
        str | None, typer.Option(help="The database of the server.", metavar="URL", show_default=False)
    ] = None,
    finish: Annotated[
        bool, typer.Option("--finish", help="End the upgrade, once no server of the previous version runs.")
    ] = False,
) -> None:
    """Create the tables of a store in a database, or update them to this version. Stores in files do not need this.

    Running servers of the previous version can go on until --finish.
    """
    from containerfs.config import SettingsError
    from containerfs.server import settings
    from containerfs.server.storage.failures import StoreError
    from containerfs.server.storage.migration import FINISHED
    from containerfs.server.storage.open import migrate_database

    try:
        url = settings.load(database=database).database
        if url is None:
            fail("migrate", "give the database with --database, or in CONTAINERFS_DATABASE")
        revision = migrate_database(url, finish=finish)
    except (SettingsError, StoreError) as error:
        fail("migrate", str(error))
    typer.echo(f"the database has schema version {revision}")
    if revision != FINISHED:
        typer.echo("once no server of the previous version runs, run 'containerfs migrate --finish'")
