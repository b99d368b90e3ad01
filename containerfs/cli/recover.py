"""``containerfs recover``: lists, saves, sends again or discards what could not be uploaded."""

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from containerfs.cli.failure import fail, reporting

if TYPE_CHECKING:
    from containerfs.fs.writing.recovery import Leftover, Recovery

recover = typer.Typer(help="List, save, send again or discard what could not be uploaded.", no_args_is_help=True)

CacheDirOption = Annotated[Path | None, typer.Option(help="Cache directory of the mounts, which has their journals.")]
NameArgument = Annotated[str, typer.Argument(help="CONTAINER/PATH or an id, as shown by 'recover list'.")]


@recover.command("list")
def list_leftovers(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False, cache_dir: CacheDirOption = None
) -> None:
    """List what is on this machine and not on the service, and why."""
    with reporting("recover"):
        leftovers = _recovery(cache_dir).leftovers()
        if as_json:
            typer.echo(json.dumps([_described(leftover) for leftover in leftovers]))
            return
        several = len({leftover.journal for leftover in leftovers}) > 1
        for leftover in leftovers:
            typer.echo(_line(leftover) + (f"  in {leftover.journal}" if several else ""))


@recover.command()
def save(
    name: NameArgument,
    destination: Annotated[Path, typer.Argument(help="A file to write, or a directory to write it into.")],
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing file.")] = False,
    cache_dir: CacheDirOption = None,
) -> None:
    """Copy the content elsewhere; it also stays here."""
    with reporting("recover"):
        recovery = _recovery(cache_dir)
        leftover = recovery.find(name)
        if destination.is_dir():
            destination = destination / leftover.name.rpartition("/")[2]
        if destination.exists() and not force:
            fail("recover", f"{destination} exists: --force overwrites it")
        is_whole = recovery.save(leftover, destination)
        typer.echo(f"Saved {leftover.name} as {destination}")
        if not is_whole:
            fail("recover", f"{destination} is not what was closed: it was damaged on this machine's disk")


@recover.command()
def send(name: NameArgument, cache_dir: CacheDirOption = None) -> None:
    """Send it again: by the next mount, or by a running one at 'containerfs sync MOUNT'."""
    with reporting("recover"):
        recovery = _recovery(cache_dir)
        leftover = recovery.find(name)
        recovery.send(leftover)
        typer.echo(f"The next mount sends {leftover.name}; one that runs does at 'containerfs sync MOUNT'")


@recover.command()
def discard(
    name: NameArgument,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    cache_dir: CacheDirOption = None,
) -> None:
    """Delete it from this machine: there is no other copy."""
    with reporting("recover"):
        recovery = _recovery(cache_dir)
        leftover = recovery.find(name)
        leftover.check_is_free()
        if not yes and not _confirmed(leftover):
            fail("recover", f"{leftover.name} is kept; --yes discards it without asking")
        recovery.discard(leftover)
        typer.echo(f"Discarded {leftover.name}")


def _recovery(cache_dir: Path | None) -> "Recovery":
    from containerfs.config import load
    from containerfs.fs.writing.recovery import Recovery

    return Recovery(load(cache_dir=cache_dir).cache_dir.absolute())


def _confirmed(leftover: "Leftover") -> bool:
    try:
        return typer.confirm(f"Delete {_line(leftover)}?")
    except typer.Abort:  # there is nobody to answer
        typer.echo()
        return False


def _line(leftover: "Leftover") -> str:
    name = leftover.name if leftover.name.isprintable() else repr(leftover.name)
    size = "its data is missing" if leftover.size is None and leftover.path else f"{leftover.size or 0} bytes"
    when = "" if leftover.written_at is None else time.strftime("  %Y-%m-%d %H:%M", time.localtime(leftover.written_at))
    running = "" if not leftover.is_running else f" [{_mount(leftover)} has it]"
    return f"{leftover.id}  {name}  {size}{when}  {leftover.error}{running}"


def _mount(leftover: "Leftover") -> str:
    return "a running mount" if leftover.mount is None else f"the mount of process {leftover.mount}"


def _described(leftover: "Leftover") -> dict[str, Any]:
    return {
        "id": leftover.id,
        "name": leftover.name,
        "container_id": leftover.container_id,
        "size": leftover.size,
        "written_at": leftover.written_at,
        "error": leftover.error,
        "set_aside": leftover.is_set_aside,
        "running": leftover.is_running,
        "mount": leftover.mount,
        "journal": str(leftover.journal),
    }
