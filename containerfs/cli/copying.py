"""``get``, ``put`` and ``cp``: files in, out, and from one container to another, without a mount."""

import os
import sys
import tempfile
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from containerfs.cli.failure import complain
from containerfs.cli.listing import NAMES
from containerfs.cli.options import ParallelOption, QuietOption, RecursiveOption, on_service, span

if TYPE_CHECKING:
    from containerfs.cli.progress import Board
    from containerfs.cli.session import Session
    from containerfs.config import Settings
    from containerfs.transfer.crew import Crew
    from containerfs.transfer.plans import Copy, Download, StoredDirectory, Upload

_STREAM = "-"
_ATONCE = 4


@on_service
def get(
    settings: "Settings",
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="NAME",
            help=f"{NAMES} If there are several, the last is the destination: a directory, a file, or - for "
            "standard output. By default, the working directory.",
        ),
    ],
    recursive: RecursiveOption = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Keep running and save new files as they appear, until the container ends.")
    ] = False,
    interval: Annotated[
        str, typer.Option("--interval", metavar="TIME", help="Time between two looks of --watch.")
    ] = "5s",
    parallel: ParallelOption = _ATONCE,
    quiet: QuietOption = False,
) -> None:
    """Download files, directories or containers.

    Interrupted downloads resume if the service supports ranges, even when the command is run again. A file gets its
    name once it is complete.
    """
    from containerfs.cli.progress import board
    from containerfs.cli.session import connected
    from containerfs.transfer.crew import Crew
    from containerfs.transfer.links import make_directory
    from containerfs.transfer.plans import Planner

    *sources, destination = names if len(names) > 1 else [*names, "."]
    pause = span(interval, "--interval")
    crew = Crew(parallel)
    with connected(settings) as session, board("get", "Downloaded", crew.check, quiet=quiet) as shown:
        if destination == _STREAM:
            _to_output(session, sources, shown)
        elif watch:
            _watch(session, crew, sources, destination, pause, shown, recursive=recursive)
        else:
            planner = Planner(session.catalog, recursive=recursive)
            steps, directories = (
                planner.downloads(sources, destination),
                planner.local_directories(sources, destination),
            )
            shown.each(crew, steps, lambda step: _download(session, step, shown))
            for directory in directories:  # afterwards, because creating a file in a directory changes its time
                make_directory(directory.top, directory.target, directory.attributes)


@on_service
def put(
    settings: "Settings",
    sources: Annotated[list[str], typer.Argument(metavar="FILE", help="Files or directories; - is standard input.")],
    destination: Annotated[str, typer.Argument(metavar="NAME", help="CONTAINER or CONTAINER/PATH.")],
    recursive: RecursiveOption = False,
    verify: Annotated[bool, typer.Option("--verify", help="Read back what was stored and compare its digest.")] = False,
    parallel: ParallelOption = _ATONCE,
    quiet: QuietOption = False,
) -> None:
    """Upload files or directories into a container.

    An existing file is replaced once the new one is stored.
    """
    from containerfs.cli.progress import board
    from containerfs.cli.session import connected
    from containerfs.transfer.crew import Crew
    from containerfs.transfer.plans import Planner, Upload

    crew = Crew(parallel)
    with (
        connected(settings) as session,
        tempfile.TemporaryDirectory(prefix="containerfs-") as spool,
        board("put", "Uploaded", crew.check, quiet=quiet) as shown,
    ):
        planner = Planner(session.catalog, recursive=recursive)
        if sources == [_STREAM]:
            place = planner.place(destination, "stdin")
            steps = [Upload(_spooled(Path(spool, "stdin")), place, keeps=False)]
        else:
            steps = planner.uploads(sources, destination)
            _keep_directories(session, planner.directories_to_store(sources, destination))
        shown.each(crew, steps, lambda step: _upload(session, step, shown, verify=verify))


@on_service
def cp(
    settings: "Settings",
    names: Annotated[list[str], typer.Argument(metavar="NAME", help=NAMES)],
    destination: Annotated[str, typer.Argument(metavar="DESTINATION", help="CONTAINER or CONTAINER/PATH.")],
    recursive: RecursiveOption = False,
    parallel: ParallelOption = _ATONCE,
    quiet: QuietOption = False,
) -> None:
    """Copy files or directories within a container, or to another.

    If the service can copy, nothing is transferred; otherwise the content passes through this machine.
    """
    from containerfs.cli.progress import board
    from containerfs.cli.session import connected
    from containerfs.transfer.crew import Crew
    from containerfs.transfer.plans import Planner

    crew = Crew(parallel)
    with connected(settings) as session, board("cp", "Copied", crew.check, quiet=quiet) as shown:
        planner = Planner(session.catalog, recursive=recursive)
        steps = planner.copies(names, destination)
        _keep_directories(session, planner.directories_to_copy(names, destination))
        shown.each(crew, steps, lambda step: _copy(session, step, shown))


def _keep_directories(session: "Session", directories: "list[StoredDirectory]") -> None:
    for each in directories:
        session.transfers.keep_directory(each.container.remote.id, each.path, each.attributes)


def _download(session: "Session", step: "Download", shown: "Board") -> None:
    from containerfs.transfer.links import make_parents

    with shown.file(step.name, step.file.size) as meter:
        make_parents(step.top, step.target)
        if step.is_link:
            session.transfers.link(step.file, step.target, meter)
        else:
            session.transfers.download(step.file, step.target, meter)


def _watch(
    session: "Session",
    crew: "Crew",
    names: list[str],
    destination: str,
    interval: float,
    shown: "Board",
    *,
    recursive: bool,
) -> None:
    """Download existing and new files; print a line for each saved file."""
    from containerfs.fs import types
    from containerfs.fs.disk import disk_errors
    from containerfs.transfer.watch import Watch

    for name in names:
        session.catalog.container(name.strip("/").partition("/")[0])
    with disk_errors():
        Path(destination).mkdir(parents=True, exist_ok=True)
    watch = Watch(
        session.look,
        names,
        destination,
        interval,
        recursive=recursive,
        unanswered=lambda error: complain("get", f"{error}; trying again"),
    )

    def save(step: "Download") -> None:
        try:
            _download(session, step, shown)
        except types.Unreachable:
            watch.retry(step)
            raise
        typer.echo(os.fspath(step.target))

    for new in watch:
        shown.each(crew, new, save)
    complain("get", f"{', '.join(names)}: the container has ended")


def _to_output(session: "Session", names: list[str], shown: "Board") -> None:
    """Write files to standard output, one after another."""
    from containerfs.transfer.plans import Planner

    for step in Planner(session.catalog, recursive=False).downloads(names, "."):
        with shown.file(step.name, step.file.size) as meter:
            session.transfers.write_to(step.file, sys.stdout.fileno(), meter)


def _upload(session: "Session", step: "Upload", shown: "Board", *, verify: bool) -> None:
    from containerfs.transfer.links import LinkSource
    from containerfs.transfer.transfers import opened

    place = step.place
    content = nullcontext(LinkSource(step.source)) if step.is_link else opened(step.source)
    with content as source, shown.file(step.name, source.size) as meter:
        stored = session.transfers.upload(
            source,
            place.container.remote.id,
            place.path,
            meter,
            place.replaced,
            source.attributes if step.keeps else None,
        )
        if verify:
            session.transfers.verify(stored, source, meter)


def _spooled(path: Path) -> Path:
    """Yield standard input as a file, so that its size is known."""
    with open(path, "wb") as file:
        while block := sys.stdin.buffer.read(1 << 20):
            file.write(block)
    return path


def _copy(session: "Session", step: "Copy", shown: "Board") -> None:
    place = step.place
    with shown.file(step.name, step.file.size) as meter:
        session.transfers.copy(step.file, place.container.remote.id, place.path, meter, place.replaced)
