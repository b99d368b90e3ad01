"""What is mounted, from the kernel's table. The mounts are not asked, because they may hang.

The table is read as bytes: names need not be UTF-8, and may contain characters that text mode takes for line ends.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path

_KIND = b"fuse.containerfs"
_ESCAPED = re.compile(rb"\\([0-7]{3})")  # spaces, tabs, newlines and backslashes
_OWNER = re.compile(rb"\buser_id=(\d+)")
_MOST_LINKS = 40  # symbolic links that one path may lead through. Source: path_resolution(7)


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of the table.

    Attributes:
        id: of the mount, in its namespace.
        device: ``MAJOR:MINOR``, the same wherever a file system is mounted.
        owner: the user who mounted it; None if the kernel does not tell.
    """

    id: int
    device: str
    path: Path
    kind: bytes
    owner: int | None

    @property
    def is_ours(self) -> bool:
        """Whether it is a containerfs."""
        return self.kind == _KIND


def entries(process: int | str = "self") -> list[Entry]:
    """Return what a process sees mounted. Source: proc_pid_mountinfo(5). Raises OSError."""
    with open(f"/proc/{process}/mountinfo", "rb") as table:
        return [_entry(line) for line in table]


def entry(mountpoint: Path) -> Entry | None:
    """Return what is mounted there, on top."""
    wanted = Path(real(mountpoint))
    return next((each for each in reversed(entries()) if each.path == wanted), None)


def is_in_ours(path: Path) -> bool:
    """Tell whether a path leads into a containerfs, which is asked for it. Raises OSError."""
    device = path.stat().st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    return any(each.is_ours and each.device == number for each in entries())


def real(mountpoint: Path) -> str:
    """Return the path without symbolic links, resolved without accessing what is mounted there."""
    for _ in range(_MOST_LINKS):
        try:
            mountpoint = mountpoint.parent / os.readlink(mountpoint)
        except OSError:  # not a link
            break
    return os.path.join(os.path.realpath(mountpoint.parent), mountpoint.name)


def _entry(line: bytes) -> Entry:
    fields, _, rest = line.rstrip(b"\n").partition(b" - ")
    number, _, device, _, where, *_ = fields.split(b" ")
    kind, _, options = rest.split(b" ", 2)
    path = os.fsdecode(_ESCAPED.sub(lambda octal: bytes([int(octal[1], 8)]), where))
    owner = _OWNER.search(options)
    return Entry(int(number), device.decode(), Path(path), kind, int(owner[1]) if owner else None)
