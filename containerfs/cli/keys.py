"""``containerfs keys``: who may use a server."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

if TYPE_CHECKING:
    from containerfs.server.auth import KeyFile
    from containerfs.server.storage.base import Usage

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
def list_keys(
    api_keys: KeyFileOption,
    data_dir: Annotated[Path | None, typer.Option(help="The store, as 'containerfs serve' has it.")] = None,
) -> None:
    """List the keys, which are known by their ids and names, and what each has in the store."""
    import time

    from containerfs.config import SettingsError
    from containerfs.server import settings
    from containerfs.server.storage.base import StoreError

    with _refusals():
        found = _key_file(api_keys).keys()
    try:
        usage = _usage(settings.load(data_dir=data_dir).data_dir)
    except (SettingsError, StoreError) as error:
        _refuse(str(error))
    for key in found:
        made = time.strftime("%Y-%m-%d", time.gmtime(key.created_at))
        typer.echo(f"{key.id}  {made}  {key.name}{_described(usage.pop(key.id, None))}")
    for namespace, left in usage.items():
        typer.echo(f"{namespace}  of no key{_described(left)}")


def _usage(data_dir: Path) -> "dict[str, Usage]":
    """What is in the namespaces of a store, if there is one yet."""
    import asyncio
    import time

    from containerfs.server.storage.open import holds_store, open_stores

    async def survey() -> "dict[str, Usage]":
        stores = open_stores(data_dir)
        try:
            usage = await stores.metadata.survey(lambda tx: tx.usage(int(time.time())))
        finally:
            await stores.metadata.close()
        return {each.namespace: each for each in usage}

    return asyncio.run(survey()) if holds_store(data_dir) else {}


def _described(usage: "Usage | None") -> str:
    return f"  {usage.containers} containers  {usage.files} files  {usage.bytes} bytes" if usage else ""


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
