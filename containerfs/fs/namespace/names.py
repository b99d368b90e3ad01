"""Names that programs use for their own purposes.

There are two kinds. *Scratch* files stay on this machine and disappear with the mount: they mean nothing to anybody
else. *Temporary* names usually turn into another file within a moment. Such a file is safe on this machine when it is
closed, and uploaded under that name only if it still has it a while later, so that writing a temporary file and
renaming it uploads once.
"""

import re
from fnmatch import translate

SCRATCH = (
    ".DS_Store", "._*", ".localized", "Thumbs.db", "desktop.ini", ".directory",
    ".*.sw?", ".*.swpx", "4913", ".#*", "#*#",
    ".~lock.*#", "~$*", ".nfs*", ".fuse_hidden*", ".goutputstream-*",
)  # fmt: skip
"""Kept here, never uploaded: desktops', editors' and office suites' own files."""

ROOT_REFUSED = (".Trash", ".Trash-*", ".Trashes", ".fseventsd", ".Spotlight-V100", ".xdg-volume-info", "autorun.inf")
"""Directories that desktops make at the top of whatever is mounted; beside scratch names, refused there."""

TEMPORARY = ("*.tmp", "*.part", "*.crdownload", "*.partial", "tmp_obj_*", "tmp_pack_*", "tmp_idx_*")
"""Browsers, git and programs that write carefully make these and rename them."""

_RSYNC = re.compile(r"\..+\.(?=[^.]*[A-Z])(?=[^.]*[a-z0-9])(?![A-Z][a-z]{5}$)[A-Za-z0-9]{6}", re.DOTALL)
"""rsync's ``.NAME.XXXXXX``: six random letters and digits, which a word such as ``config`` or ``Backup`` is not. One in
25 of rsync's names looks like a word, too: that file is uploaded under it, and then renamed."""

_GIT_LOCK = re.compile(r"(?:.*/)?\.git/.*\.lock", re.DOTALL)
"""git's own locks, which it renames; ``poetry.lock`` and its like are files that people keep."""


class NamePolicy:
    """Tells what a file is by its name.

    Args:
        scratch, temporary: shell patterns, each matched against the last segment of a path. Source: fnmatch(3).
    """

    def __init__(self, scratch: tuple[str, ...] = SCRATCH, temporary: tuple[str, ...] = TEMPORARY) -> None:
        self._scratch = _any_of(scratch)
        self._temporary = _any_of(temporary)
        self._refused = _any_of(scratch + ROOT_REFUSED)

    def is_scratch(self, name: str) -> bool:
        """Whether a file of this name lives on this machine only."""
        return self._scratch.match(name) is not None

    def is_temporary(self, path: str) -> bool:
        """Whether a file at this path below its container will probably have another name in a moment."""
        name = path.rpartition("/")[2]
        known = self._temporary.match(name) or _RSYNC.fullmatch(name) or _GIT_LOCK.fullmatch(path)
        return known is not None

    def is_refused_at_top(self, name: str) -> bool:
        """Whether no directory of this name is made at the top of a mount."""
        return self._refused.match(name) is not None


def _any_of(patterns: tuple[str, ...]) -> re.Pattern[str]:
    # Without patterns nothing is to match, where an empty expression would match everything.
    return re.compile("|".join(map(translate, patterns)) or "(?!)", re.DOTALL)
