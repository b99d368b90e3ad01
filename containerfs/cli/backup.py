"""``containerfs backup``."""

from pathlib import Path
from typing import Annotated

import typer

from containerfs.cli.failure import fail


def backup(
    destination: Annotated[
        Path, typer.Argument(help="Directory to copy to; contents it already has are not copied again.")
    ],
    data_dir: Annotated[Path | None, typer.Option(help="The data directory of the server.")] = None,
) -> None:
    """Copy a server's store while it is in use, into a directory that a server can be started on."""
    from containerfs.config import SettingsError
    from containerfs.server import settings
    from containerfs.server.storage.backup import back_up
    from containerfs.server.storage.failures import StoreError

    try:
        server = settings.load(data_dir=data_dir)
        if server.database or server.blobs:
            fail(
                "backup",
                "only stores in files can be copied; for a database or an object store see docs/SERVER.md, Backups",
            )
        made = back_up(server.data_dir, destination)
    except (SettingsError, StoreError) as error:
        fail("backup", str(error))
    typer.echo(f"{made.blobs} contents of {made.bytes} bytes, {made.copied} of them new")
    if made.missing:
        fail("backup", f"{made.missing} contents are missing from the store, and so from the backup")
