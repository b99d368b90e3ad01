"""How commands fail: one line on standard error that says what to do, and an exit status for the kind of failure."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import typer

from containerfs.api.errors import ContainerFSError
from containerfs.mount.statuses import FAILED, status_of


def fail(command: str, why: str, status: int = FAILED) -> NoReturn:
    """End the command."""
    complain(command, why)
    raise typer.Exit(status)


def complain(command: str, why: str) -> None:
    """Print one line about a problem."""
    typer.echo(f"containerfs {command}: {' '.join(why.splitlines())}", err=True)


@contextmanager
def reporting(command: str) -> Iterator[None]:
    """End the command with one line for any error that containerfs raises."""
    try:
        yield
    except ContainerFSError as error:
        fail(command, str(error), status_of(error))
