"""How commands fail: one line on standard error that says what to do, and an exit status for the kind of failure.

0 is success and 2 wrong usage, as in typer; 130 is an interrupt.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import typer

from containerfs.api import errors
from containerfs.api.errors import ContainerFSError
from containerfs.fs import types

FAILED, NOT_FOUND, ACCESS_DENIED, UNREACHABLE = 1, 3, 4, 5

_STATUS: tuple[tuple[type[ContainerFSError], int], ...] = (
    (types.NotFound, NOT_FOUND),
    (types.AccessDenied, ACCESS_DENIED),
    (types.Unreachable, UNREACHABLE),
    (errors.NotFoundError, NOT_FOUND),
    (errors.AuthenticationError, ACCESS_DENIED),
    (errors.PermissionDeniedError, ACCESS_DENIED),
    (errors.APIConnectionError, UNREACHABLE),
)


def fail(command: str, why: str, status: int = FAILED) -> NoReturn:
    """End the command."""
    complain(command, why)
    raise typer.Exit(status)


def complain(command: str, why: str) -> None:
    """Print one line about what is wrong."""
    typer.echo(f"containerfs {command}: {' '.join(why.splitlines())}", err=True)


def status_of(error: ContainerFSError) -> int:
    """The exit status for an error."""
    return next((status for kind, status in _STATUS if isinstance(error, kind)), FAILED)


@contextmanager
def reporting(command: str) -> Iterator[None]:
    """End the command with one line for any error that containerfs raises."""
    try:
        yield
    except ContainerFSError as error:
        fail(command, str(error), status_of(error))
