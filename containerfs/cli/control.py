"""``sync`` and ``refresh``: commands that a mount carries out."""

import os
from pathlib import Path
from typing import Annotated

import typer

from containerfs.cli.failure import fail, reporting

_REFRESH = "user.containerfs.refresh"


def sync(path: Annotated[Path, typer.Argument(help="A mount, a container or a directory in one.")]) -> None:
    """Wait until everything below a directory is uploaded."""
    with reporting("sync"):
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
            os.fsync(descriptor)
        except OSError as error:
            fail("sync", f"{path}: {error.strerror}; 'containerfs status' tells what is not uploaded")


def refresh(path: Annotated[Path, typer.Argument(help="A mount, or anything in one.")]) -> None:
    """Make the next look ask the service, whatever the metadata expiry."""
    try:
        os.setxattr(path, _REFRESH, b"")
    except OSError as error:
        fail("refresh", f"{path}: {error.strerror}")
