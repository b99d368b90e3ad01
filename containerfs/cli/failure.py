"""How commands fail: one line on standard error that says what to do, and a status that is not zero."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import typer

from containerfs.api.errors import ContainerFSError


def fail(command: str, why: str) -> NoReturn:
    """End the command."""
    typer.echo(f"containerfs {command}: {why}", err=True)
    raise typer.Exit(1)


@contextmanager
def reporting(command: str) -> Iterator[None]:
    """End the command with one line for any error that containerfs raises on its own account."""
    try:
        yield
    except ContainerFSError as error:
        fail(command, str(error))
