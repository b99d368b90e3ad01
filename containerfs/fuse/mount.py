"""Mountpoints: checks before mounting, and unmounting."""

import contextlib
import errno
import fcntl
import os
import select
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from containerfs.api.errors import ContainerFSError
from containerfs.fs.types import NoThread
from containerfs.fuse import libfuse, table

_DEVICE = Path("/dev/fuse")
_KERNEL_EXPIRY = 1.0  # seconds, at most, that the kernel caches names and attributes
_PATIENCE = 5.0  # seconds to wait for what is mounted at a mountpoint, or above it


class MountError(ContainerFSError):
    """Mounting or unmounting failed. The message says why, and what to do."""


def check_machine() -> None:
    """Check that this machine can mount. Raises MountError, FuseMissing."""
    libfuse.load()
    if not _DEVICE.exists():
        raise MountError(
            f"{_DEVICE} is missing: load the kernel module (sudo modprobe fuse); in a container: --device /dev/fuse"
        )
    if not fusermount():
        raise MountError(f"fusermount is missing. Install it: {libfuse.install_command()}")


def check_answers(mountpoint: Path) -> None:
    """Check that a mountpoint does not hang, before anything accesses it that would. Called before any thread has
    started.

    A separate process looks at it, because it may not even be possible to end that process.

    Raises:
        MountError: if something that hangs is mounted there, or above it.
        NoThread: if no process can be started.
    """
    try:
        looking = os.fork()
    except BlockingIOError as error:
        raise NoThread(error) from error
    if not looking:
        os.closerange(0, os.sysconf("SC_OPEN_MAX"))  # whoever reads the output of this command would wait for it too
        with contextlib.suppress(OSError):
            os.statvfs(mountpoint)
        os._exit(0)
    ended = select.poll()
    process = os.pidfd_open(looking)
    ended.register(process, select.POLLIN)
    answers = ended.poll(_PATIENCE * 1000)
    os.close(process)
    if not answers:
        raise MountError(
            f"{mountpoint} does not answer: what is mounted there, or above it, hangs; 'umount -l' detaches it"
        )
    os.waitpid(looking, 0)


def prepare(mountpoint: Path) -> int:
    """Prepare a mountpoint: create it if its parent exists, and remove a dead mount.

    Returns:
        A descriptor. Until it is closed, nobody else who prepares the mountpoint can mount there.

    Raises:
        MountError: if it cannot be used.
    """
    if is_dead(mountpoint):
        detach(mountpoint)
    _check_free(mountpoint)
    if not mountpoint.exists():
        if not mountpoint.parent.is_dir():
            raise MountError(f"{mountpoint} cannot be created: {mountpoint.parent} does not exist")
        with _explained(mountpoint):
            mountpoint.mkdir(exist_ok=True)
    if not mountpoint.is_dir():
        raise MountError(f"{mountpoint} is not a directory")
    with _explained(mountpoint):
        if any(mountpoint.iterdir()):
            raise MountError(f"{mountpoint} is not empty: mount on an empty directory")
        claim = _claim(mountpoint)
    _check_free(mountpoint)  # by now whoever had the claim before may have mounted
    return claim


def _check_free(mountpoint: Path) -> None:
    if is_mounted(mountpoint):
        raise MountError(f"{mountpoint} is already mounted; to unmount it: containerfs unmount {mountpoint}")


def _claim(mountpoint: Path) -> int:
    """Lock the directory itself, which a mount covers. Raises OSError, MountError. Source: flock(2)."""
    claim = os.open(mountpoint, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(claim)
        raise MountError(f"another command is just mounting on {mountpoint}") from error
    except OSError:  # not every file system has locks
        pass
    return claim


def kernel_expiry(metadata_expiry: float) -> float:
    """Return how many seconds the kernel caches attributes, which is a part of the whole expiry."""
    return min(_KERNEL_EXPIRY, metadata_expiry / 10)


def is_mounted(mountpoint: Path) -> bool:
    """Tell whether something is mounted there. Asks the kernel's table and not the mount, which may hang."""
    return table.entry(mountpoint) is not None


def is_ours(mountpoint: Path) -> bool:
    """Tell whether a containerfs is mounted there."""
    found = table.entry(mountpoint)
    return found is not None and found.is_ours


def is_dead(mountpoint: Path) -> bool:
    """Tell whether a mount was left there whose process is gone ("Transport endpoint is not connected")."""
    try:
        os.statvfs(mountpoint)  # the kernel asks the process for this, while it may remember attributes
    except OSError as error:
        return error.errno == errno.ENOTCONN and is_mounted(mountpoint)
    return False


def unmount(mountpoint: Path) -> None:
    """Unmount. Raises MountError if programs use the mount."""
    _fusermount("-u", mountpoint)


def detach(mountpoint: Path) -> None:
    """Detach a mount from its name at once. It ends when nothing uses it any more."""
    _fusermount("-uz", mountpoint)


def fusermount() -> str | None:
    """Return the program that unmounts for ordinary users. Source: fusermount(1)."""
    return shutil.which("fusermount") or shutil.which("fusermount3")


def _fusermount(flags: str, mountpoint: Path) -> None:
    program = fusermount()
    if program is None:
        raise MountError(f"fusermount is missing. Install it: {libfuse.install_command()}")
    command = [program, flags, table.real(mountpoint)]
    done = subprocess.run(command, capture_output=True, text=True, errors="surrogateescape")
    if done.returncode:
        raise MountError(done.stderr.strip() or f"{program} could not unmount {mountpoint}")


@contextlib.contextmanager
def _explained(mountpoint: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise MountError(f"{mountpoint} cannot be used: {error.strerror}") from error
