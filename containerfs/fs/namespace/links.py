"""Symbolic links, which the API does not have: a link is a small file, ``NAME.rclonelink``, that contains its target.

The convention is that of ``rclone --links``, so both show the same links. Such a file is shown as an ordinary file if
it cannot be a link (it is empty, or longer than a target can be), or if something else has the name.
"""

SUFFIX = ".rclonelink"
TARGET_MAX = 4095
"""Bytes of a target, at most. Source: limits.h, PATH_MAX, without the NUL that ends it."""


def may_be_link(path: str, size: int | None) -> bool:
    """Whether a file of the service may stand for a link.

    Args:
        path: below the container, as the service has it.
        size: in bytes; None where it is not known, which a link does not hide.
    """
    name = path.rpartition("/")[2]
    return name.endswith(SUFFIX) and name != SUFFIX and (size is None or 0 < size <= TARGET_MAX)


def link_path(path: str) -> str:
    """The path of the link that a file of the service stands for."""
    return path.removesuffix(SUFFIX)
