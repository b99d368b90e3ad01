"""Symbolic links on this machine: read to be stored, and created from what the service holds.

A downloaded link may lead anywhere, so nothing is ever written through one.
"""

import os
import secrets
from pathlib import Path
from stat import S_IMODE, S_IRWXU

from containerfs.fs import types
from containerfs.fs.disk import disk_errors
from containerfs.fs.remote import BytesSource
from containerfs.fs.types import FileAttributes


class LinkSource(BytesSource):
    """The target of a local link as content to upload."""

    def __init__(self, path: Path) -> None:
        with disk_errors():
            super().__init__(os.readlink(os.fsencode(path)))
            self.attributes = FileAttributes(mtime=path.lstat().st_mtime_ns)


def make_link(path: Path, target: bytes) -> None:
    """Create a link, replacing what has its name. Raises FsError."""
    new = path.with_name(f".containerfs-{secrets.token_hex(8)}.part")
    try:
        with disk_errors():
            os.symlink(target, os.fsencode(new))
            new.replace(path)
    except types.FsError:
        new.unlink(missing_ok=True)
        raise
    except ValueError as error:
        raise types.Failed("its target contains a NUL, which no link can have") from error


def make_directory(top: Path, path: Path, attributes: FileAttributes) -> None:
    """Create a directory if it is missing, and set its mode, as far as the umask allows, and its time.

    Raises:
        FsError: if that is not possible.
        NotPermitted: if a symbolic link is in the way.
    """
    make_parents(top, path / "inside")
    with disk_errors():
        if attributes.mode is not None:
            path.chmod(attributes.mode & S_IMODE(path.stat().st_mode) | attributes.mode & S_IRWXU)
        if attributes.mtime is not None:
            os.utime(path, ns=(attributes.mtime, attributes.mtime))


def make_parents(top: Path, path: Path) -> None:
    """Create the directories between ``top`` and ``path``. Raises NotPermitted if one of them is a link."""
    with disk_errors():
        top.mkdir(parents=True, exist_ok=True)
        for parent in reversed(path.relative_to(top).parents[:-1]):
            if (top / parent).is_symlink():
                raise types.NotPermitted(f"{top / parent} is a symbolic link: nothing is written through it")
            (top / parent).mkdir(exist_ok=True)
