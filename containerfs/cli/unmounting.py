"""``containerfs unmount``: unmounts once everything is uploaded; the mount stays if that takes too long."""

import os
import select
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from containerfs.cli import wording
from containerfs.cli.asking import Document, ask
from containerfs.cli.failure import fail, reporting
from containerfs.cli.options import MountpointArgument, QuietOption, span

if TYPE_CHECKING:
    from rich.progress import Progress

    from containerfs.fuse.table import Entry

_SYNC = "user.containerfs.sync"
_RECOVER = "'containerfs recover' saves, sends or discards what was set aside"
_PAUSES = 0.02, 0.2  # seconds between checks of a mount that is uploading: the first, and the longest
_END = 10.0  # seconds, at least, for a process to end after its uploads
_SETTLED = 1.0  # seconds after which a namespace that holds the mount is not just ending
_LOOK = 0.25  # seconds between checks of a process that is to end
_NAMED = 5  # files, or programs, that a message names


def unmount(
    mountpoint: MountpointArgument,
    timeout: Annotated[str, typer.Option(metavar="TIME", help="How long to wait for uploads.")] = "5m",
    lazy: Annotated[
        bool,
        typer.Option("--lazy", help="If so, detach the mount; its process continues to upload."),
    ] = False,
    quiet: QuietOption = False,
) -> None:
    """Unmount once everything is uploaded. The mount stays if that takes too long, or if programs use it."""
    deadline = time.monotonic() + span(timeout, "--timeout")
    with reporting("unmount"):
        from containerfs.fuse import table
        from containerfs.fuse.mount import detach, is_dead

        entry = table.entry(mountpoint)
        if entry is None or not entry.is_ours:
            fail("unmount", f"{mountpoint} is not a mount of containerfs")
        if is_dead(mountpoint):
            detach(mountpoint)
            return
        pid = ask(mountpoint)["pid"]
        process = os.pidfd_open(pid)
        uploads = _drain(mountpoint, deadline, quiet=quiet)
        if uploads["pending"] and not lazy:
            what = f"still uploading {_named(uploads['files'])}; the mount stays"
            fail("unmount", f"{what}: wait longer (--timeout), or let the uploads finish in the background (--lazy)")
        _take_down(mountpoint, entry, pid, uploads, lazy=lazy)
        if uploads["failed"]:
            kept = ", ".join(f"{each['name']} ({each['reason']})" for each in uploads["failed"])
            kept += f"; {_RECOVER}" if uploads["set_aside"] else ""
            fail("unmount", f"unmounted; {len(uploads['failed'])} not uploaded, kept for the next mount: {kept}")
        _await_end(process, pid, entry, deadline)


def _take_down(mountpoint: Path, entry: "Entry", pid: int, uploads: Document, *, lazy: bool) -> None:
    """Unmount. A mount that is in use or still uploading stays, or is detached with ``lazy``."""
    from containerfs.fuse.mount import MountError, detach
    from containerfs.fuse.mount import unmount as take_down
    from containerfs.fuse.table import entries
    from containerfs.fuse.users import users

    refusal: MountError | None = None
    if not uploads["pending"]:
        try:
            return take_down(mountpoint)
        except MountError as error:
            refusal = error
    using = users(entry)
    who = ", ".join(map(str, using[:_NAMED])) + (f" and {len(using) - _NAMED} more" if len(using) > _NAMED else "")
    if refusal is not None and not lazy:
        if using:
            fail("unmount", f"{mountpoint} is in use by {who}; close them, or detach the mount (--lazy)")
        below = [f"{each.path}" for each in entries() if entry.path in each.path.parents]
        if below:
            fail("unmount", f"{', '.join(below[:_NAMED])} is mounted inside {mountpoint}: unmount that first")
        raise refusal
    detach(mountpoint)
    works = [f"still used by {who}"] if using else []
    works += [f"still uploading {_named(uploads['files'])}"] if uploads["pending"] else []
    typer.echo(f"Detached {mountpoint}; process {pid} goes on: {'; '.join(works) or 'it is ending'}")
    raise typer.Exit


def _await_end(process: int, pid: int, entry: "Entry", deadline: float) -> None:
    """Wait until the process has ended, which another mount namespace can prevent."""
    from containerfs.fuse.users import holders

    begun = time.monotonic()
    until = max(begun + _END, deadline)
    while not select.select([process], [], [], _LOOK)[0]:
        holding = holders(entry.device) if time.monotonic() > begun + _SETTLED else []
        if holding:
            who = ", ".join(f"{each.name} (process {each.pid}), at {each.how}" for each in holding[:_NAMED])
            fail("unmount", f"unmounted here; another mount namespace still holds it: that of {who}")
        if time.monotonic() > until:
            fail("unmount", f"unmounted; process {pid} has not ended")


def _drain(mountpoint: Path, deadline: float, *, quiet: bool) -> dict[str, Any]:
    """Upload everything that is due, and return the state of uploads then, or at the deadline.

    An fsync would be simpler, but it could not be interrupted while it waits for a service that hangs.
    """
    with suppress(OSError):  # a read-only mount has nothing to upload
        os.setxattr(mountpoint, _SYNC, b"")
    uploads: Document = ask(mountpoint)["uploads"]
    if not uploads["pending"] or quiet or not sys.stderr.isatty():
        return _watch(mountpoint, uploads, deadline, None)
    from containerfs.cli.progress import bars

    with bars() as progress:
        return _watch(mountpoint, uploads, deadline, progress)


def _watch(mountpoint: Path, uploads: Document, deadline: float, progress: "Progress | None") -> Document:
    task = None if progress is None else progress.add_task("", total=None)
    total, (pause, longest) = 0, _PAUSES
    while uploads["pending"] and time.monotonic() < deadline:
        if progress is not None and task is not None:
            missing = sum((each["bytes"] or 0) - (each["sent"] or 0) for each in uploads["files"])
            total = max(total, sum(each["bytes"] or 0 for each in uploads["files"]))
            files = wording.counted(uploads["pending"], "file")
            progress.update(task, description=f"uploading {files}", total=total, completed=total - missing)
        time.sleep(pause)
        pause = min(2 * pause, longest)
        uploads = ask(mountpoint)["uploads"]
    return uploads


def _named(files: list[Document]) -> str:
    """Return the number of files, and the names of some."""
    names = ", ".join(f"{each['name']} ({_size(each)})" for each in files[:_NAMED])
    more = f" and {len(files) - _NAMED} more" if len(files) > _NAMED else ""
    return f"{wording.counted(len(files), 'file')}: {names}{more}"


def _size(file: Document) -> str:
    return "?" if file["bytes"] is None else wording.size(file["bytes"])
