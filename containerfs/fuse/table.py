"""What is mounted, from the kernel's table: a mount is not asked, because it may hang.

The table is read as bytes: names need not be UTF-8, and may contain what text mode takes for the end of a line.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path

_KIND = b"fuse.containerfs"
_ESCAPED = re.compile(rb"\\([0-7]{3})")  # spaces, tabs, newlines and backslashes
_OWNER = re.compile(rb"\buser_id=(\d+)")
_MOST_LINKS = 40  # that one path may lead through. Source: path_resolution(7)


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of the table.

    Attributes:
        id: of the mount, in its namespace.
        device: ``MAJOR:MINOR``, one for all places where a file system is mounted.
        owner: the user who mounted it; None where the kernel does not say.
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
    """What a process sees mounted. Source: proc_pid_mountinfo(5). Raises OSError."""
    with open(f"/proc/{process}/mountinfo", "rb") as table:
        return [_entry(line) for line in table]


def entry(mountpoint: Path) -> Entry | None:
    """What is mounted there, on top."""
    wanted = Path(real(mountpoint))
    return next((each for each in reversed(entries()) if each.path == wanted), None)


def real(mountpoint: Path) -> str:
    """The path without symbolic links, resolved without touching what is mounted there."""
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
