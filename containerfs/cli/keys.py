"""``containerfs keys``: who may use a server."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

if TYPE_CHECKING:
    from containerfs.server.auth import KeyFile

keys = typer.Typer(help="The API keys of a server.", no_args_is_help=True)

KeyFileOption = Annotated[Path, typer.Option("--api-keys", help="Key file, the one that 'containerfs serve' is given.")]


@keys.command()
def add(name: Annotated[str, typer.Argument(help="What to call the key.")], api_keys: KeyFileOption) -> None:
    """Make a key, and print it: it cannot be shown again."""
    with _refusals():
        key, secret = _key_file(api_keys).add(name)
    typer.echo(f"{key.id} ({name}), shown only now:", err=True)
    typer.echo(secret)


@keys.command("list")
def list_keys(api_keys: KeyFileOption) -> None:
    """List the keys, which are known by their ids and names."""
    import time

    with _refusals():
        found = _key_file(api_keys).keys()
    for key in found:
        typer.echo(f"{key.id}  {time.strftime('%Y-%m-%d', time.gmtime(key.created_at))}  {key.name}")


@keys.command()
def revoke(id: Annotated[str, typer.Argument(help="As 'keys list' shows it.")], api_keys: KeyFileOption) -> None:
    """Forget a key. A running server refuses it from the next request on."""
    with _refusals():
        revoked = _key_file(api_keys).revoke(id)
    if not revoked:
        _refuse(f"there is no key {id}")


def _key_file(path: Path) -> "KeyFile":
    from containerfs.server.auth import KeyFile

    return KeyFile(path)


@contextlib.contextmanager
def _refusals() -> Iterator[None]:
    from containerfs.server.auth import KeyFileError

    try:
        yield
    except KeyFileError as error:
        _refuse(str(error))


def _refuse(message: str) -> NoReturn:
    typer.echo(f"containerfs keys: {message}", err=True)
    raise typer.Exit(1)
