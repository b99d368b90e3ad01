"""``ls`` and ``info``: listing containers and files without a mount."""

import json
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from containerfs.cli import wording
from containerfs.cli.options import JsonOption, on_service

if TYPE_CHECKING:
    from containerfs.api.models import Container
    from containerfs.cli.session import Session
    from containerfs.config import Settings
    from containerfs.fs.namespace.nodes import Directory, FileNode, Node
    from containerfs.transfer.catalog import Catalog

NAMES = "CONTAINER or CONTAINER/PATH, as below a mountpoint, with * ? [...] as in a shell; ids do, too."


@on_service
def ls(
    settings: "Settings",
    names: Annotated[list[str] | None, typer.Argument(help=f"{NAMES} By default, all containers.")] = None,
    details: Annotated[bool, typer.Option("-l", help="Show sizes and times, and when containers end.")] = False,
    recursive: Annotated[
        bool, typer.Option("--recursive", "-R", help="List all files below, with their paths.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """List containers or their contents."""
    from containerfs.cli.session import connected

    with connected(settings) as session:
        listings = list(_listings(session.catalog, names or [], recursive=recursive))
        if as_json:
            typer.echo(json.dumps([_described(node) for _, nodes in listings for _, node in nodes]))
            return
        for place, (title, nodes) in enumerate(listings):
            if title:
                typer.echo(("\n" if place else "") + f"{title}:")
            _print(nodes, details=details)


@on_service
def info(
    settings: "Settings",
    names: Annotated[list[str], typer.Argument(help=NAMES)],
    as_json: JsonOption = False,
) -> None:
    """Show everything known about containers, directories or files."""
    from containerfs.cli.session import connected

    with connected(settings) as session:
        found = [_info(session, node) for name in names for node in session.catalog.match(name)]
    if as_json:
        typer.echo(json.dumps(found))
        return
    for place, fields in enumerate(found):
        lines = [[f"{name.replace('_', ' ')}:", _value(name, value)] for name, value in fields.items()]
        typer.echo(("\n" if place else "") + "\n".join(wording.columns(lines)))


Listing = tuple[str, list[tuple[str, "Node"]]]
"""A title, and the entries below it with the names that are shown."""


def _listings(catalog: "Catalog", names: list[str], *, recursive: bool) -> Iterator[Listing]:
    """Return listings as in ls(1): named files first, then each directory, with titles if there are several."""
    from containerfs.fs.namespace.nodes import Directory
    from containerfs.transfer.catalog import full_name

    if not names or names == ["/"]:
        for container in catalog.containers() if recursive else ():
            yield container.name, _content(catalog, container, recursive=True)
        if not recursive:
            yield "", [(node.name, node) for node in catalog.containers()]
        return
    nodes = [node for name in names for node in catalog.match(name)]
    files = [(full_name(node), node) for node in nodes if not isinstance(node, Directory)]
    if files:
        yield "", files
    for node in nodes:
        if isinstance(node, Directory):
            yield full_name(node) if len(nodes) > 1 else "", _content(catalog, node, recursive=recursive)


def _content(catalog: "Catalog", directory: "Directory", *, recursive: bool) -> list[tuple[str, "Node"]]:
    from containerfs.fs.namespace.nodes import Directory
    from containerfs.transfer.catalog import below

    if recursive:
        return [(path, node) for path, node in below(directory, catalog.files(directory))]
    return [(node.name + "/" * isinstance(node, Directory), node) for node in catalog.children(directory)]


def _print(nodes: list[tuple[str, "Node"]], *, details: bool) -> None:
    from containerfs.fs.namespace.nodes import Link

    now = time.time()
    if details and nodes:
        rows = [[*_details(node, now), wording.shown(name) + "@" * isinstance(node, Link)] for name, node in nodes]
        typer.echo("\n".join(wording.columns(rows)))
    elif nodes:
        typer.echo("\n".join(wording.shown(name) for name, _ in nodes))


def _details(node: "Node", now: float) -> list[str]:
    from containerfs.fs.namespace.nodes import ContainerDirectory, FileNode

    if isinstance(node, ContainerDirectory):
        return [node.remote.id, wording.when(node.remote.created_at), wording.until(node.remote.expires_at, now)]
    if isinstance(node, FileNode) and node.remote is not None:
        return ["?" if node.known_size is None else str(node.known_size), wording.when(node.remote.created_at)]
    return ["-", "-"]


def _described(node: "Node") -> dict[str, Any]:
    from containerfs.fs.namespace.nodes import ContainerDirectory, FileNode, Link
    from containerfs.transfer.catalog import full_name

    fields: dict[str, Any] = {"name": full_name(node), "type": "directory", "container_id": node.container.remote.id}
    if isinstance(node, ContainerDirectory):
        remote = node.remote
        return fields | {
            "type": "container",
            "id": remote.id,
            "created_at": remote.created_at,
            "expires_at": remote.expires_at,
        }
    if isinstance(node, FileNode) and node.remote is not None:
        created_at = node.remote.created_at
        kind = "link" if isinstance(node, Link) else "file"
        return fields | {"type": kind, "id": node.remote.id, "size": node.known_size, "created_at": created_at}
    return fields


def _info(session: "Session", node: "Node") -> dict[str, Any]:
    """Return the known facts by their displayed names, in order."""
    from containerfs.fs.namespace.nodes import ContainerDirectory, Directory, FileNode, Link

    if isinstance(node, FileNode):
        target = {"target": session.transfers.target(node.remote)} if isinstance(node, Link) and node.remote else {}
        return _described(node) | _of_file(session, node) | target
    assert isinstance(node, Directory)
    files = session.catalog.files(node)
    sizes = [file.known_size for file in files]
    total = None if None in sizes else sum(size or 0 for size in sizes)
    counts = {"files": len(files), "size": total}
    if isinstance(node, ContainerDirectory):
        return _described(node) | _of_container(session.client.containers.retrieve(node.remote.id)) | counts
    return _described(node) | counts


def _of_container(container: "Container") -> dict[str, Any]:
    from containerfs.api.expiry import ends_at
    from containerfs.api.rules import describe

    rule = container.expires_after
    fields = {
        "service_name": container.name,
        "status": container.status,
        "last_active_at": container.last_active_at,
        "expires_at": ends_at(container),
        "expires_after": describe(rule) if rule else None,
        "memory_limit": container.memory_limit,
    }
    return {name: value for name, value in fields.items() if value is not None or name == "expires_at"}


def _of_file(session: "Session", node: "FileNode") -> dict[str, Any]:
    remote = node.remote
    assert remote is not None
    file = session.client.containers.files.retrieve(remote.container_id, remote.id)
    size = remote.size if remote.size is not None else session.remote.size(remote)
    fields = {"path": file.path, "size": size, "source": file.source, "file_id": file.file_id}
    return {name: value for name, value in fields.items() if value is not None or name == "size"}


def _value(name: str, value: Any) -> str:
    if name == "expires_at":
        return "never" if value is None else f"{wording.when(value)} ({wording.until(value, time.time())})"
    if name.endswith("_at"):
        return wording.when(value)
    if name == "size":
        return "unknown" if value is None else f"{value} ({wording.size(value)})" if value >= 1000 else str(value)
    return wording.shown(str(value))
