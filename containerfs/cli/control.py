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
        _check("sync", path)
        if not path.is_dir():
            fail("sync", f"{path} is not a directory")
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
            os.fsync(descriptor)
        except OSError as error:
            fail("sync", f"{path}: {error.strerror}; 'containerfs status' tells what is not uploaded")


def refresh(path: Annotated[Path, typer.Argument(help="A mount, or anything in one.")]) -> None:
    """Make the next look ask the service, whatever the metadata expiry."""
    _check("refresh", path)
    try:
        os.setxattr(path, _REFRESH, b"")
    except OSError as error:
        fail("refresh", f"{path}: {error.strerror}")


def _check(command: str, path: Path) -> None:
    from containerfs.fuse import table

    try:
        if table.is_in_ours(path):
            return
    except OSError as error:
        fail(command, f"{path}: {error.strerror}")
    fail(command, f"{path} is not in a mount of containerfs")
