"""``containerfs keys``: who may use a server."""

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn, TypeVar

import typer

if TYPE_CHECKING:
    from containerfs.server.auth import KeyFile
    from containerfs.server.storage.metadata_store import MetadataStore, Transaction
    from containerfs.server.storage.records import Quota, Usage

T = TypeVar("T")

_COUNT_MAX = 2**63 - 1
"""The largest number that a database column holds."""

keys = typer.Typer(help="The API keys of a server: in a file, or in its database.", no_args_is_help=True)

KeyFileOption = Annotated[Path | None, typer.Option("--api-keys", help="Key file of the server.")]

DatabaseOption = Annotated[
    str | None,
    typer.Option(help="The database of the server.", metavar="URL", show_default=False),
]


@keys.command()
def add(
    name: Annotated[str, typer.Argument(help="Name of the key.")],
    api_keys: KeyFileOption = None,
    database: DatabaseOption = None,
    namespace: Annotated[
        str | None, typer.Option(help="Namespace to share with another key; in the database only.")
    ] = None,
    read_only: Annotated[
        bool, typer.Option("--read-only", help="Refuse every change with this key; in the database only.")
    ] = False,
    expires_after: Annotated[str | None, typer.Option(help="Lifetime, as 90d or 12h; in the database only.")] = None,
) -> None:
    """Create a key and print it; it cannot be shown again."""
    from containerfs.server.stored_keys import new_key
    from containerfs.units import parse_span

    for option, text in (("name", name), ("namespace", namespace)):
        if text is not None and not (text.isprintable() and text.strip()):
            _refuse(f"invalid {option} {text!r}: use printable characters, which 'keys list' can show")
    if api_keys is not None:
        if namespace or read_only or expires_after:
            _refuse("--namespace, --read-only and --expires-after are for keys in a database")
        with _refusals():
            stored, secret = _key_file(api_keys).add(name)
        id = stored.id
    else:
        try:
            lifetime = parse_span(expires_after) if expires_after else None
        except ValueError as error:
            _refuse(f"--expires-after: {error}")
        key, secret = new_key(name, namespace, read_only=read_only, lifetime=lifetime)
        if not _written(database, lambda tx: tx.insert_key(key)):
            _refuse(f"there is a key of the name {name} already: choose another, or revoke that key first")
        id = key.id
    typer.echo(f"{id} ({name}), shown only now:", err=True)
    typer.echo(secret)


@keys.command("list")
def list_keys(
    api_keys: KeyFileOption = None,
    data_dir: Annotated[Path | None, typer.Option(help="The data directory of the server.")] = None,
    database: DatabaseOption = None,
) -> None:
    """List the ids and names of the keys, and what each has in the store."""
    if api_keys is not None:
        _list_file(api_keys, data_dir, database)
    else:
        _list_stored(database)


def _list_file(path: Path, data_dir: Path | None, database: str | None) -> None:
    with _refusals():
        found = _key_file(path).keys()
    usage = _usage(data_dir, database)
    for key in found:
        typer.echo(f"{key.id}  {_day(key.created_at)}  {key.name}{_described(usage.pop(key.id, None))}")
    for namespace, left in usage.items():
        typer.echo(f"{namespace}  of no key{_described(left)}")


def _list_stored(database: str | None) -> None:
    def survey(tx: "Transaction") -> "tuple[dict[str, Usage], dict[str, Quota]]":
        usage = {each.namespace: each for each in tx.usage(int(time.time()))}
        return usage, {each.namespace: each for each in tx.quotas()}

    usage, quotas = _surveyed(database, survey)
    for key in _surveyed(database, lambda tx: tx.keys()):
        marks = [f"namespace {key.namespace}"] * (key.namespace != key.id) + ["read-only"] * key.read_only
        if key.expires_at is not None:
            marks.append(f"{'expired' if time.time() >= key.expires_at else 'expires'} {_day(key.expires_at)}")
        typer.echo("  ".join([key.id, _day(key.created_at), key.name, *marks]))
    for namespace in sorted(usage.keys() | quotas.keys()):
        has = _described(usage.get(namespace)) or "  empty"
        typer.echo(f"namespace {namespace}{has}{_allowed(quotas.get(namespace))}")


def _allowed(quota: "Quota | None") -> str:
    if quota is None:
        return ""
    bounds = ((quota.max_files, "files"), (quota.max_bytes, "bytes"))
    return "  at most " + " and ".join(f"{number} {what}" for number, what in bounds if number is not None)


def _day(seconds: int) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(seconds))


def _usage(data_dir: Path | None, database: str | None) -> "dict[str, Usage]":
    """Return what the namespaces of a store contain, if there is a store."""
    from containerfs.config import SettingsError
    from containerfs.server import settings
    from containerfs.server.storage.open import holds_store, sqlite_url

    try:
        server = settings.load(data_dir=data_dir, database=database)
    except SettingsError as error:
        _refuse(str(error))
    if not server.database and not holds_store(server.data_dir):
        return {}
    url = server.database or sqlite_url(server.data_dir)
    return {each.namespace: each for each in _surveyed(url, lambda tx: tx.usage(int(time.time())))}


def _described(usage: "Usage | None") -> str:
    return f"  {usage.containers} containers  {usage.files} files  {usage.bytes} bytes" if usage else ""


@keys.command()
def revoke(
    id: Annotated[str, typer.Argument(help="Id, as shown by 'keys list'.")],
    api_keys: KeyFileOption = None,
    database: DatabaseOption = None,
) -> None:
    """Revoke a key. A running server refuses it from the next request on; a key in a database, within ten seconds."""
    if api_keys is not None:
        with _refusals():
            revoked = _key_file(api_keys).revoke(id)
    else:
        revoked = _written(database, lambda tx: tx.delete_key(id))
    if not revoked:
        _refuse(f"there is no key {id}")


@keys.command()
def quota(
    namespace: Annotated[str, typer.Argument(help="Namespace, as shown by 'keys list'; by default a key's id.")],
    database: DatabaseOption = None,
    size: Annotated[str | None, typer.Option("--bytes", help="Most bytes, as 10G; no limit if not given.")] = None,
    files: Annotated[int | None, typer.Option(min=0, max=_COUNT_MAX, help="Most files; no limit if not given.")] = None,
) -> None:
    """Limit what a namespace may hold, in a database. Servers that add files wait while its contents are counted."""
    from containerfs.units import parse_size

    try:
        max_bytes = parse_size(size) if size else None
    except ValueError as error:
        _refuse(f"--bytes: {error}")
    if max_bytes is not None and max_bytes > _COUNT_MAX:
        _refuse(f"--bytes: the largest quota is {_COUNT_MAX} bytes")
    _written(database, lambda tx: tx.set_quota(namespace, max_bytes, files))


def _written(database: str | None, work: "Callable[[Transaction], T]") -> T:
    import asyncio

    return _with_metadata(database, lambda metadata: asyncio.run(metadata.write(work)))


def _surveyed(database: str | None, work: "Callable[[Transaction], T]") -> T:
    import asyncio

    return _with_metadata(database, lambda metadata: asyncio.run(metadata.survey(work)))


def _with_metadata(database: str | None, use: "Callable[[MetadataStore], T]") -> T:
    import asyncio

    from containerfs.config import SettingsError
    from containerfs.server import settings
    from containerfs.server.storage.failures import StoreError, StoreUnavailableError
    from containerfs.server.storage.open import open_metadata

    try:
        url = settings.load(database=database).database
        if url is None:
            _refuse("give the key file with --api-keys, or the database with --database")
        metadata = open_metadata(url)
        try:
            return use(metadata)
        finally:
            asyncio.run(metadata.close())
    except (SettingsError, StoreError, StoreUnavailableError) as error:
        _refuse(str(error))


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
