"""A mount point: checked, mounted, served until it ends, and taken down.

``serve`` runs in the process that stays; it returns once the kernel has let go, whoever asked for it: ``containerfs
unmount``, ``fusermount -u``, or SIGTERM, at which libfuse unmounts by itself.
"""

import contextlib
import errno
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from containerfs.api.errors import ContainerFSError
from containerfs.fuse import binding, table

if TYPE_CHECKING:
    from containerfs.fs.filesystem import FileSystem

_DEVICE = Path("/dev/fuse")
_KERNEL_EXPIRY = 1.0  # seconds, at most, for which the kernel keeps names and attributes to itself


class MountError(ContainerFSError):
    """It cannot be mounted, or unmounted; the message says why, and what to do."""


def check_machine() -> None:
    """Raises MountError, FuseMissing: this machine cannot mount."""
    binding.load()
    if not _DEVICE.exists():
        raise MountError(f"{_DEVICE} is missing: load the kernel module (sudo modprobe fuse), or give the device in")
    if not fusermount():
        raise MountError(f"fusermount is missing. Install it: {binding.install_command()}")


def prepare(mountpoint: Path) -> None:
    """Make a directory ready to be mounted on: made if its parent exists, and freed of a dead mount.

    Raises:
        MountError: it cannot be used.
    """
    if is_dead(mountpoint):
        detach(mountpoint)
    if is_mounted(mountpoint):
        raise MountError(f"{mountpoint} is mounted already: containerfs unmount {mountpoint}")
    if not mountpoint.exists():
        if not mountpoint.parent.is_dir():
            raise MountError(f"{mountpoint} cannot be made: {mountpoint.parent} is not there")
        with _explained(mountpoint):
            mountpoint.mkdir()
    if not mountpoint.is_dir():
        raise MountError(f"{mountpoint} is not a directory")
    with _explained(mountpoint):
        if any(mountpoint.iterdir()):
            raise MountError(f"{mountpoint} is not empty: mount on an empty directory")


def serve(
    filesystem: "FileSystem",
    mountpoint: Path,
    *,
    service: str,
    metadata_expiry: float,
    read_only: bool,
    inode32: bool,
    options: str,
    on_ready: Callable[[], None],
) -> None:
    """Mount, and answer the kernel until the mount ends.

    Args:
        service: shown by mount(8) as what is mounted.
        inode32: whether inode numbers are to have 32 bits.
        options: further ones of mount.fuse(8), separated by commas.
        on_ready: called once the mount answers.

    Raises:
        MountError: libfuse refused; its own words are on standard error.
    """
    from containerfs.fuse.operations import ContainerOperations  # which takes a while, and taking down needs none of it

    module = binding.load()
    answering = threading.Event()

    def ready() -> None:
        answering.set()
        on_ready()

    operations = ContainerOperations(
        filesystem,
        lambda: binding.context(module),
        lambda: binding.interrupted(module),
        lambda: binding.forgetting(module),
        ready,
        inode32=inode32,
    )
    try:
        binding.run(module, operations, str(mountpoint), _options(service, metadata_expiry, read_only, options))
    except RuntimeError as error:
        if not answering.is_set():  # else a signal has ended it, which libfuse 3 counts as an error
            raise MountError(f"libfuse could not mount {mountpoint} ({error})") from error


def kernel_expiry(metadata_expiry: float) -> float:
    """Seconds for which the kernel keeps attributes: a part of the expiry, which both together must not exceed."""
    return min(_KERNEL_EXPIRY, metadata_expiry / 10)


def is_mounted(mountpoint: Path) -> bool:
    """Whether something is mounted there. Asks the kernel's table and not the mount, which may hang."""
    return table.entry(mountpoint) is not None


def is_ours(mountpoint: Path) -> bool:
    """Whether a containerfs is mounted there."""
    found = table.entry(mountpoint)
    return found is not None and found.is_ours


def is_dead(mountpoint: Path) -> bool:
    """Whether a mount was left there whose process is gone: "Transport endpoint is not connected"."""
    try:
        os.statvfs(mountpoint)  # which the kernel asks of the process; attributes it may still remember
    except OSError as error:
        return error.errno == errno.ENOTCONN and is_mounted(mountpoint)
    return False


def unmount(mountpoint: Path) -> None:
    """Ask the kernel to let go. Raises MountError if programs use the mount."""
    _fusermount("-u", mountpoint)


def detach(mountpoint: Path) -> None:
    """Take a mount away from its name, at once; what uses it ends by itself."""
    _fusermount("-uz", mountpoint)


def fusermount() -> str | None:
    """The program that unmounts for ordinary users. Source: fusermount(1)."""
    return shutil.which("fusermount") or shutil.which("fusermount3")


def _fusermount(flags: str, mountpoint: Path) -> None:
    program = fusermount()
    if program is None:
        raise MountError(f"fusermount is missing. Install it: {binding.install_command()}")
    command = [program, flags, table.real(mountpoint)]
    done = subprocess.run(command, capture_output=True, text=True, errors="surrogateescape")
    if done.returncode:
        raise MountError(done.stderr.strip() or f"{program} could not unmount {mountpoint}")


def _options(service: str, metadata_expiry: float, read_only: bool, further: str) -> dict[str, object]:
    kernel = kernel_expiry(metadata_expiry)
    options: dict[str, object] = {
        "fsname": service.replace(",", "_"),
        "subtype": "containerfs",
        "default_permissions": True,
        "use_ino": True,
        "big_writes": True,  # 128 KiB at a time in place of 4
        "atomic_o_trunc": True,  # else opening with O_TRUNC would upload an empty file first
        "entry_timeout": kernel,
        "attr_timeout": kernel,
        "negative_timeout": 0,
        "ro": read_only,
    }
    for option in filter(None, further.split(",")):
        name, given, value = option.partition("=")
        options[name] = value if given else True
    return options


@contextlib.contextmanager
def _explained(mountpoint: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise MountError(f"{mountpoint} cannot be used: {error.strerror}") from error
