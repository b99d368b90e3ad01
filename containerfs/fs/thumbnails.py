"""Thumbnailers: programs that open every file of a directory that somebody looks at in a file manager.

They would download a whole directory of videos for a few icons. So they do not get large files that are not on this
machine yet. The thumbnailers of GNOME, Xfce and KDE run in processes of their own, by which they are recognised.
Source: proc_pid_cmdline(5).
"""

import os
from pathlib import Path

from containerfs.fs.process import thread_group

LARGE = 8 << 20
"""The size in bytes from which files are not downloaded for a thumbnail: most photos are smaller, and videos are
larger."""

_NAMES = ("thumbnail", "tumbler")
_INTERPRETERS = ("kioslave", "kioworker", "perl", "python")
"""Programs whose argument tells what they are."""


def is_thumbnailer(thread: int) -> bool:
    """Tell whether a thread belongs to a thumbnailer.

    Args:
        thread: its id, as FUSE gives it. Of threads that are gone, nothing is known.
    """
    group = thread_group(thread)
    if group is None:
        return False
    try:
        words = Path(f"/proc/{group}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return makes_thumbnails([os.fsdecode(word) for word in words])


def makes_thumbnails(command_line: list[str]) -> bool:
    """Tell whether a command line is that of a thumbnailer."""
    program, *arguments = map(os.path.basename, command_line[:2])
    named = [program, *arguments] if program.startswith(_INTERPRETERS) else [program]
    return any(name in word for word in named for name in _NAMES)
