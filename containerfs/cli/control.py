"""``unmount``, ``status``, ``sync`` and ``refresh``: what one asks of a mount, through the mount itself."""

import json
import os
import select
import time
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import typer

from containerfs.cli.failure import fail, reporting

_REFRESH = "user.containerfs.refresh"
_SYNC = "user.containerfs.sync"
_STATUS = "user.containerfs.status"
_FAILED = "user.containerfs.failed"
_RECOVER = "'containerfs recover' saves, sends or discards what was set aside"
_PAUSE = 0.02  # seconds between two looks at a mount that is uploading


def unmount(
    mountpoint: Annotated[Path, typer.Argument()],
    timeout: Annotated[str, typer.Option(help="How long to wait for uploads, as 5m.")] = "5m",
) -> None:
    """Unmount, once everything is uploaded."""
    with reporting("unmount"):
        from containerfs.config import parse_span
        from containerfs.fuse import mount

        mountpoint = Path(os.path.abspath(mountpoint))
        try:
            deadline = time.monotonic() + float(str(parse_span(timeout)))
        except ValueError as error:
            fail("unmount", f"--timeout: {error}")
        if mount.is_dead(mountpoint):
            mount.detach(mountpoint)
            return
        if not mount.is_ours(mountpoint):
            fail("unmount", f"{mountpoint} is not a mount of containerfs")
        pid = _status(mountpoint)["pid"]
        process = os.pidfd_open(pid)
        left = _drain(mountpoint, deadline)
        mount.unmount(mountpoint)
        if left["failed"]:
            kept = ", ".join(left["failed"]) + (f"; {_RECOVER}" if left["set_aside"] else "")
            fail("unmount", f"unmounted; {len(left['failed'])} not uploaded, kept for the next mount: {kept}")
        if not select.select([process], [], [], max(1.0, deadline - time.monotonic()))[0]:
            fail("unmount", f"unmounted; process {pid} is still uploading {left['pending']} files")


def status(
    mountpoint: Annotated[Path, typer.Argument()],
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Show what a mount is doing."""
    with reporting("status"):
        from containerfs.fuse import mount

        mountpoint = Path(os.path.abspath(mountpoint))
        if not mount.is_ours(mountpoint):
            fail("status", f"{mountpoint} is not a mount of containerfs")
        told = _status(mountpoint)
        if as_json:
            typer.echo(json.dumps(told))
            return
        cache, uploads = told["cache"], told["uploads"]
        typer.echo(f"{told['service']}, process {told['pid']}")
        typer.echo(f"cache: {cache['bytes'] / 1e6:.1f} MB in {cache['entries']} files")
        typer.echo(f"uploads: {uploads['pending']} waiting, {len(uploads['failed'])} failed")
        for failed in uploads["failed"]:
            typer.echo(f"  {failed}")
        if uploads["set_aside"]:
            typer.echo(_RECOVER)


def sync(path: Annotated[Path, typer.Argument(help="A mount, a container or a directory in one.")]) -> None:
    """Wait until everything below a directory is uploaded."""
    with reporting("sync"):
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
            os.fsync(descriptor)
        except OSError as error:
            fail("sync", f"{path}: {error.strerror}; 'containerfs status' tells what is not uploaded")


def refresh(path: Annotated[Path, typer.Argument(help="A mount, or anything in one.")]) -> None:
    """Ask the service anew at the next look, whatever the metadata expiry."""
    try:
        os.setxattr(path, _REFRESH, b"")
    except OSError as error:
        fail("refresh", f"{path}: {error.strerror}")


def _drain(mountpoint: Path, deadline: float) -> dict[str, Any]:
    """Have what is due uploaded; returns what the mount says of its uploads then, or when the time is over.

    An fsync would be simpler, but nobody could end one that waits for a service that hangs.
    """
    with suppress(OSError):  # a read-only mount, on which nothing is due
        os.setxattr(mountpoint, _SYNC, b"")
    uploads: dict[str, Any] = _status(mountpoint)["uploads"]
    while uploads["pending"] and time.monotonic() < deadline:
        time.sleep(_PAUSE)
        uploads = _status(mountpoint)["uploads"]
    return uploads


def _status(mountpoint: Path) -> dict[str, Any]:
    try:
        told: dict[str, Any] = json.loads(os.getxattr(mountpoint, _STATUS))
        for page in range(1, told.pop("further_pages") + 1):
            with suppress(OSError):  # fewer have failed meanwhile
                told["uploads"]["failed"] += json.loads(os.getxattr(mountpoint, f"{_FAILED}.{page}"))
    except OSError as error:
        fail("status", f"{mountpoint} does not answer: {error.strerror}")
    return told
