"""Symbolic links, which the API does not have: a link is a small file, ``NAME.rclonelink``, that contains its target.

This is the convention of ``rclone --links``, so both show the same links. A file is shown as an ordinary file if it
cannot be a link (it is empty, or longer than any target), or if something else has the name.
"""

SUFFIX = ".rclonelink"
TARGET_MAX = 4095
"""The longest target in bytes. Source: limits.h, PATH_MAX, without the terminating NUL."""


def may_be_link(path: str, size: int | None) -> bool:
    """Tell whether a file of the service may be a link.

    Args:
        path: below the container, as the service has it.
        size: in bytes; None if it is not known, when the file may be one.
    """
    name = path.rpartition("/")[2]
    return name.endswith(SUFFIX) and name != SUFFIX and (size is None or 0 < size <= TARGET_MAX)


def link_path(path: str) -> str:
    """Return the path of the link that a file of the service is."""
    return path.removesuffix(SUFFIX)
