"""Names that programs scatter and mean for themselves.

Two kinds. *Scratch* stays on this machine, and goes when the mount does: it means nothing to anybody else. *Temporary*
names usually become another file in a moment: such a file is safe on this machine when it is closed, and uploaded
under that name only if it still has it a while later, so that writing a temporary and renaming it uploads once.
"""

import re
from fnmatch import translate

HIDDEN_PREFIX = ".fuse_hidden"
"""What libfuse calls an open file that was deleted. Source: libfuse, lib/fuse.c, hide_node."""

SCRATCH = (
    ".DS_Store", "._*", ".localized", "Thumbs.db", "desktop.ini", ".directory",
    ".*.sw?", ".*.swpx", "4913", ".#*", "#*#",
    ".~lock.*#", "~$*", ".nfs*", HIDDEN_PREFIX + "*", ".goutputstream-*",
)  # fmt: skip
"""Kept here, never uploaded: desktops', editors' and office suites' own files."""

ROOT_REFUSED = (".Trash", ".Trash-*", ".Trashes", ".fseventsd", ".Spotlight-V100", ".xdg-volume-info", "autorun.inf")
"""Directories that desktops make at the top of whatever is mounted; beside scratch names, refused there."""

TEMPORARY = (
    ".*.??????",
    "*.tmp",
    "*.part",
    "*.crdownload",
    "*.partial",
    "tmp_obj_*",
    "tmp_pack_*",
    "tmp_idx_*",
    "*.lock",
)
"""rsync, browsers, git and others write these and rename them."""


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
        return self._scratch.match(name) is not None

    def is_temporary(self, name: str) -> bool:
        return self._temporary.match(name) is not None

    def is_refused_as_container(self, name: str) -> bool:
        return self._refused.match(name) is not None


def _any_of(patterns: tuple[str, ...]) -> re.Pattern[str]:
    # Without patterns nothing is to match, where an empty expression would match everything.
    return re.compile("|".join(map(translate, patterns)) or "(?!)", re.DOTALL)
