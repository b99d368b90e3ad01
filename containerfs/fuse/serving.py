"""Serves a mount until it ends.

``serve`` runs in the process that stays. It returns once the mount is gone, whatever ended it: ``containerfs unmount``,
``fusermount -u``, or SIGTERM.
"""

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

from containerfs.fs.filesystem import FileSystem
from containerfs.fs.namespace.nodes import FileNode
from containerfs.fuse.answers import Validity
from containerfs.fuse.heap import keep_buffers
from containerfs.fuse.mount import MountError, kernel_expiry
from containerfs.fuse.nodes import NodeTable
from containerfs.fuse.operations import ContainerOperations
from containerfs.fuse.session import Session


def serve(
    filesystem: FileSystem,
    mountpoint: Path,
    *,
    service: str,
    metadata_expiry: float,
    read_only: bool,
    inode32: bool,
    options: str,
    on_ready: Callable[[], None],
) -> None:
    """Mount, and serve the kernel until the mount ends. Call it on the main thread.

    Args:
        service: shown by mount(8) as the source of the mount.
        metadata_expiry: how long a listing is believed in seconds, including the kernel's cache.
        read_only: whether the kernel refuses changes.
        inode32: whether inode numbers have 32 bits.
        options: further ones of mount.fuse(8), separated by commas.
        on_ready: called once the mount answers.

    Raises:
        MountError: if libfuse refuses; it explains that on standard error.
    """
    keep_buffers()
    nodes, expiry = NodeTable(filesystem.top), kernel_expiry(metadata_expiry)
    mount_options = _options(service, options, read_only=read_only)
    validity = Validity(*(_seconds(mount_options, f"{what}_timeout", expiry) for what in ("entry", "attr")))
    operations = ContainerOperations(filesystem, nodes, validity, inode32=inode32)
    try:
        session = Session(operations, on_ready, ["-o", ",".join(mount_options.values())])
        filesystem.attach_kernel(lambda node: _forget(session, nodes, node))
        os.chdir("/")  # it is never unmounted
        session.serve(os.path.realpath(mountpoint))  # fusermount3 accepts no symbolic links
    except OSError as error:
        raise MountError(f"{mountpoint}: {error.strerror}") from error


def _options(service: str, further: str, *, read_only: bool) -> dict[str, str]:
    """Return the options for libfuse, by name."""
    own = [f"fsname={service.replace(',', '_')}", "subtype=containerfs", "default_permissions"]
    own.append("ro" if read_only else "rw")
    return {option.partition("=")[0]: option for option in [*own, *filter(None, further.split(","))]}


def _seconds(options: dict[str, str], name: str, default: float) -> float:
    """Remove a number of seconds from the options and return it. Raises MountError."""
    given = options.pop(name, f"={default}")
    with contextlib.suppress(ValueError):
        seconds = float(given.partition("=")[2])
        if seconds >= 0:
            return seconds
    raise MountError(f"-o {given}: give a number of seconds")


def _forget(session: Session, nodes: NodeTable, node: FileNode) -> bool:
    number = nodes.number_of(node)
    return number is None or session.forget_pages(number)
