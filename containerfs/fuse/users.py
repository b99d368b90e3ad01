"""Which processes use a mount, from /proc. The mount itself is not asked. Source: proc(5).

Only root can look into the processes of other users; otherwise these are left out.
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from containerfs.fuse import table

_PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class User:
    """A process that uses a mount.

    Attributes:
        how: the path of a file that it has open, or ``its working directory`` and the like.
    """

    pid: int
    name: str
    how: str

    def __str__(self) -> str:
        return f"{self.name} (process {self.pid}: {self.how})"


def users(mount: table.Entry) -> list[User]:
    """Return the processes that keep a mount from being unmounted, and how they use it."""
    found = []
    for process in _processes():
        with suppress(OSError):
            how = _use(process, mount)
            if how is not None:
                found.append(User(int(process.name), _name(process), how))
    return found


def holders(device: str) -> list[User]:
    """Return one process of each other mount namespace where a file system is still mounted. Source:
    mount_namespaces(7).

    Args:
        device: of the file system, as in ``table.Entry``.
    """
    seen = {os.readlink("/proc/self/ns/mnt")}
    found = []
    for process in _processes():
        with suppress(OSError):
            namespace = os.readlink(process / "ns" / "mnt")
            if namespace not in seen:
                seen.add(namespace)
                places = [each.path for each in table.entries(process.name) if each.device == device and each.is_ours]
                found += [User(int(process.name), _name(process), str(place)) for place in places[:1]]
    return found


def _processes() -> Iterator[Path]:
    own = str(os.getpid())
    return (path for path in sorted(_PROC.glob("[0-9]*")) if path.name != own)


def _use(process: Path, mount: table.Entry) -> str | None:
    for link, how in (("cwd", "its working directory"), ("root", "its root"), ("exe", "its program")):
        if Path(os.readlink(process / link)).is_relative_to(mount.path):
            return how
    for descriptor in (process / "fdinfo").iterdir():
        with suppress(OSError):
            if f"mnt_id:\t{mount.id}\n" in descriptor.read_text():
                return os.readlink(process / "fd" / descriptor.name)
    return _mapped(process, mount)


def _mapped(process: Path, mount: table.Entry) -> str | None:
    """Return a file of the mount that the process has mapped into its memory."""
    major, minor = map(int, mount.device.split(":"))
    device = f" {major:02x}:{minor:02x} ".encode()
    lines = (process / "maps").read_bytes().splitlines()
    return next((os.fsdecode(line.split(None, 5)[-1]) for line in lines if device in line), None)


def _name(process: Path) -> str:
    return (process / "comm").read_text(errors="replace").strip()
