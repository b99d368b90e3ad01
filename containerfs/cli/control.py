"""``unmount``, ``sync`` and ``refresh``: what one has a mount do, through the mount itself."""

import os
import select
import time
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import typer

from containerfs.cli.asking import ask
from containerfs.cli.failure import fail, reporting
from containerfs.cli.options import MountpointArgument

_REFRESH = "user.containerfs.refresh"
_SYNC = "user.containerfs.sync"
_RECOVER = "'containerfs recover' saves, sends or discards what was set aside"
_PAUSE = 0.02  # seconds between two looks at a mount that is uploading


def unmount(
    mountpoint: MountpointArgument,
    timeout: Annotated[str, typer.Option(help="How long to wait for uploads, as 5m.")] = "5m",
) -> None:
    """Unmount, once everything is uploaded."""
    with reporting("unmount"):
        from containerfs.config import parse_span
        from containerfs.fuse import mount

        try:
            deadline = time.monotonic() + float(str(parse_span(timeout)))
        except ValueError as error:
            fail("unmount", f"--timeout: {error}")
        if mount.is_dead(mountpoint):
            mount.detach(mountpoint)
            return
        if not mount.is_ours(mountpoint):
            fail("unmount", f"{mountpoint} is not a mount of containerfs")
        pid = ask(mountpoint)["pid"]
        process = os.pidfd_open(pid)
        left = _drain(mountpoint, deadline)
        mount.unmount(mountpoint)
        if left["failed"]:
            kept = ", ".join(f"{each['name']} ({each['reason']})" for each in left["failed"])
            kept += f"; {_RECOVER}" if left["set_aside"] else ""
            fail("unmount", f"unmounted; {len(left['failed'])} not uploaded, kept for the next mount: {kept}")
        if not select.select([process], [], [], max(1.0, deadline - time.monotonic()))[0]:
            fail("unmount", f"unmounted; process {pid} is still uploading {left['pending']} files")


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
    uploads: dict[str, Any] = ask(mountpoint)["uploads"]
    while uploads["pending"] and time.monotonic() < deadline:
        time.sleep(_PAUSE)
        uploads = ask(mountpoint)["uploads"]
    return uploads
