"""``create``, ``rm`` and ``rename``: changes on the service, without a mount."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from containerfs.api.paths import decode_name
from containerfs.cli import wording
from containerfs.cli.failure import fail
from containerfs.cli.listing import NAMES
from containerfs.cli.options import ExpiresAfterOption, YesOption, on_service

_ATONCE = 8

if TYPE_CHECKING:
    from containerfs.cli.session import Session
    from containerfs.config import Settings
    from containerfs.fs.namespace.nodes import ContainerDirectory, Directory, FileNode, Node
    from containerfs.transfer.plans import Copy


@on_service
def create(
    settings: "Settings",
    name: Annotated[str, typer.Argument(help="Name of the container.")],
    expires_after: ExpiresAfterOption = None,
    add: Annotated[
        list[str] | None, typer.Option("--add", metavar="FILE_ID", help="Copy a file of /files into it. Repeatable.")
    ] = None,
    memory: Annotated[str | None, typer.Option(help="Memory for programs in it: 1g, 4g, 16g or 64g.")] = None,
) -> None:
    """Create a container and print its id."""
    from containerfs.api.rules import parse_rule
    from containerfs.cli.session import connected

    fields: dict[str, object] = {"file_ids": add, "memory_limit": memory}
    if expires_after is not None:
        try:
            fields["expires_after"] = parse_rule(expires_after).model_dump(exclude_none=True)
        except ValueError as error:
            raise typer.BadParameter(str(error), param_hint="--expires-after") from error
    if not name:
        raise typer.BadParameter("a container needs a name", param_hint="NAME")
    given = {field: value for field, value in fields.items() if value}
    with connected(settings) as session:
        container = session.remote.create_container(name, given)
    typer.echo(container.id)


@on_service
def rm(
    settings: "Settings",
    names: Annotated[list[str], typer.Argument(help=NAMES)],
    recursive: Annotated[
        bool, typer.Option("--recursive", "-r", help="Include directories with everything in them.")
    ] = False,
    yes: YesOption = False,
) -> None:
    """Delete files, directories or containers. Asks before deleting a container."""
    from containerfs.cli.session import connected
    from containerfs.fs.namespace.nodes import ContainerDirectory, Directory

    with connected(settings) as session:
        nodes = list(dict.fromkeys(node for name in names for node in session.catalog.match(name)))
        containers = [node for node in nodes if isinstance(node, ContainerDirectory)]
        inside = [node for node in nodes if node.container not in containers]
        files = _files(session, inside, recursive=recursive)
        kept = [session.catalog.directories(node) for node in inside if isinstance(node, Directory)]
        if containers and not yes and not _confirmed(session, containers):
            fail(
                "rm",
                f"nothing was deleted; --yes deletes {wording.counted(len(containers), 'container')} without asking",
            )
        _delete(session, files)
        for directory in (each for directories in kept for each in directories):
            session.transfers.remove(directory)
        for container in containers:
            session.remote.delete_container(container.remote.id)


@on_service
def rename(
    settings: "Settings",
    old: Annotated[str, typer.Argument(help="CONTAINER, or CONTAINER/PATH of a file or a directory.")],
    new: Annotated[str, typer.Argument(help="CONTAINER, or CONTAINER/PATH in the same container.")],
    force: Annotated[bool, typer.Option("--force", "-f", help="Replace an existing file.")] = False,
) -> None:
    """Rename a container, or a file or directory within its container.

    A container keeps its id with 'containerfs serve'. With other services, only empty containers can be renamed; they
    are created again.

    If the service can copy, nothing is transferred; otherwise the content is downloaded and uploaded. The old names are
    deleted once everything has its new one.
    """
    from containerfs.cli.session import connected
    from containerfs.fs.namespace.nodes import ContainerDirectory, Directory
    from containerfs.transfer.plans import Planner

    with connected(settings) as session:
        node = session.catalog.find(old)
        if isinstance(node, ContainerDirectory):
            _rename_container(session, node, old, new)
            return
        steps = Planner(session.catalog, recursive=True).moves(node, new)
        taken = next((step.place.name for step in steps if step.place.replaced), None)
        if taken and not force:
            fail("rename", f"{taken} exists: --force replaces it")
        _move(session, steps)
        if isinstance(node, Directory):
            _move_directories(session, node, new)


def _rename_container(session: "Session", container: "ContainerDirectory", old: str, new: str) -> None:
    name = new.strip("/")
    if not name or "/" in name:
        fail("rename", f"{old} is a container, and {new} is not a name for one")
    if any(each.name == name for each in session.catalog.containers()):
        fail("rename", f"there is already a container {name}")
    if not session.remote.dialect.renames:
        fail(
            "rename",
            f"{old}: this service cannot rename containers; 'containerfs cp -r {old}/* OTHER' copies what is in it",
        )
    session.remote.rename_container(container.remote.id, decode_name(name))


def _files(session: "Session", nodes: "list[Node]", *, recursive: bool) -> "list[FileNode]":
    """Return the files that these nodes are or contain, each once."""
    from containerfs.fs.namespace.nodes import Directory, FileNode
    from containerfs.transfer.catalog import full_name

    files: dict[FileNode, None] = {}
    for node in nodes:
        if isinstance(node, FileNode):
            files[node] = None
        elif isinstance(node, Directory):
            if not recursive:
                fail("rm", f"{full_name(node)} is a directory: --recursive deletes what is in it")
            files |= dict.fromkeys(session.catalog.files(node))
    return list(files)


def _confirmed(session: "Session", containers: "list[ContainerDirectory]") -> bool:
    """Ask the user, if there is a terminal."""
    for container in containers:
        files = session.catalog.files(container)
        total = wording.size(sum(file.known_size or 0 for file in files))
        typer.echo(
            f"{wording.shown(container.name)} ({container.remote.id}): {wording.counted(len(files), 'file')}, {total}",
            err=True,
        )
    if not sys.stdin.isatty():
        return False
    these = "this container" if len(containers) == 1 else f"these {len(containers)} containers"
    return typer.confirm(f"Delete {these} for good?", err=True)


def _delete(session: "Session", files: "list[FileNode]") -> None:
    from containerfs.cli.progress import board
    from containerfs.transfer.catalog import full_name, remote_file
    from containerfs.transfer.crew import Crew
    from containerfs.transfer.plans import Removal

    crew = Crew(_ATONCE)
    steps = [Removal(full_name(file), remote_file(file)) for file in files]
    with board("rm", "Deleted", crew.check, quiet=True) as shown:
        shown.each(crew, steps, lambda step: session.transfers.remove(step.file))


def _move(session: "Session", steps: "list[Copy]") -> None:
    """Store all files under their new names, then delete the old ones. If one cannot be stored, none of them is."""
    from containerfs.transfer.transfers import Unwatched

    stored = []
    try:
        for step in steps:
            place = step.place
            container_id = place.container.remote.id
            stored.append(session.transfers.copy(step.file, container_id, place.path, Unwatched(), place.replaced))
    except BaseException:
        for file in stored:
            session.transfers.remove(file)
        raise
    for step in steps:
        session.transfers.remove(step.file)


def _move_directories(session: "Session", node: "Directory", new: str) -> None:
    """Move the attributes that the service stores for a renamed directory."""
    from containerfs.fs.types import FileAttributes

    top = new.strip("/").partition("/")[2]
    for kept in session.catalog.directories(node):
        path = top + kept.path.rstrip("/")[len(node.path) :]
        session.remote.make_directory(kept.container_id, path, kept.attributes or FileAttributes())
        session.transfers.remove(kept)
