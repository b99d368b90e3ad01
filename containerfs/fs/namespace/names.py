"""Names that programs use for their own purposes.

There are two kinds. *Scratch* files stay on this machine and disappear with the mount, because they mean nothing to
anybody else. Files with *temporary* names usually get another name within a moment. Such a file is safe on this machine
once it is closed, and is uploaded only if it still has that name a while later. So writing a temporary file and
renaming it is one upload.
"""

import re
from fnmatch import translate

SCRATCH = (
    ".DS_Store", "._*", ".localized", "Thumbs.db", "desktop.ini", ".directory",
    ".*.sw?", ".*.swpx", "4913", ".#*", "#*#",
    ".~lock.*#", "~$*", ".nfs*", ".fuse_hidden*", ".goutputstream-*",
)  # fmt: skip
"""Kept here and never uploaded: files that desktops, editors and office suites make for themselves."""

ROOT_REFUSED = (".Trash", ".Trash-*", ".Trashes", ".fseventsd", ".Spotlight-V100", ".xdg-volume-info", "autorun.inf")
"""Directories that desktops make at the top of every mount. They are refused there, as scratch names are."""

TEMPORARY = ("*.tmp", "*.part", "*.crdownload", "*.partial", "tmp_obj_*", "tmp_pack_*", "tmp_idx_*")
"""Browsers, git and other careful programs write such files and then rename them."""

_RSYNC = re.compile(r"\..+\.(?=[^.]*[A-Z])(?=[^.]*[a-z0-9])(?![A-Z][a-z]{5}$)[A-Za-z0-9]{6}", re.DOTALL)
"""rsync's ``.NAME.XXXXXX``: six random letters and digits that are not a word, such as ``config`` or ``Backup``. One in
25 of rsync's names looks like a word too; such a file is uploaded under it, and then renamed."""

_GIT_LOCK = re.compile(r"(?:.*/)?\.git/.*\.lock", re.DOTALL)
"""git's own locks, which it renames. ``poetry.lock`` and the like are files that people keep."""


class NamePolicy:
    """Tells by its name what a file is for.

    Args:
        scratch: shell patterns of scratch names, matched against the last segment of a path. Source: fnmatch(3).
        temporary: shell patterns of temporary names, likewise.
    """

    def __init__(self, scratch: tuple[str, ...] = SCRATCH, temporary: tuple[str, ...] = TEMPORARY) -> None:
        self._scratch = _any_of(scratch)
        self._temporary = _any_of(temporary)
        self._refused = _any_of(scratch + ROOT_REFUSED)

    def is_scratch(self, name: str) -> bool:
        """Tell whether files with this name are kept on this machine only."""
        return self._scratch.match(name) is not None

    def is_temporary(self, path: str) -> bool:
        """Tell whether a file with this path below its container will probably be renamed in a moment."""
        name = path.rpartition("/")[2]
        known = self._temporary.match(name) or _RSYNC.fullmatch(name) or _GIT_LOCK.fullmatch(path)
        return known is not None

    def is_refused_at_top(self, name: str) -> bool:
        """Tell whether directories with this name are refused at the top of a mount."""
        return self._refused.match(name) is not None


def _any_of(patterns: tuple[str, ...]) -> re.Pattern[str]:
    # Without patterns nothing must match, but an empty expression matches everything.
    return re.compile("|".join(map(translate, patterns)) or "(?!)", re.DOTALL)
