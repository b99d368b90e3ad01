"""Names of uploaded files: which are accepted, and their paths in containers.

A name is a relative path. Every file name that Linux allows is kept exactly. Names that could lead out of the
container, or that no file can have, are refused.
"""

from containerfs.api.paths import DATA_ROOT, NAME_MAX_BYTES
from containerfs.server.errors import InvalidRequest

PATH_MAX_BYTES = 4096
"""The longest path on Linux, in bytes. Source: limits.h, PATH_MAX."""


def checked_name(name: str, *, param: str = "file") -> str:
    """Return the name if it is allowed.

    Args:
        param: the parameter that an error names.

    Raises:
        InvalidRequest: if it is not a relative path, or has a segment that is ``.``, ``..``, empty or too long.
    """
    if problem := _problem(name):
        raise InvalidRequest(f"Invalid file name: {problem}.", param=param, code="invalid_file_name")
    return name


def is_directory(name: str) -> bool:
    """Tell whether a name is a directory's. Only directories without files are stored, and they have no content."""
    return name.endswith("/")


def checked_container_name(name: str, *, param: str = "file") -> str:
    """Return the name if it is allowed in a container, where names may also be those of directories.

    Raises:
        InvalidRequest: as ``checked_name``.
    """
    checked_name(name.removesuffix("/"), param=param)
    return name


def container_path(name: str) -> str:
    """Return the path of a file in its container: ``/mnt/data/a/b.txt`` for ``a/b.txt``."""
    return DATA_ROOT + name


def file_name(path: str) -> str:
    """Return the name of a file by its path in its container, the inverse of ``container_path``."""
    return path.removeprefix(DATA_ROOT)


def _problem(name: str) -> str | None:
    try:
        encoded = name.encode()
    except UnicodeEncodeError:
        return "it is not valid Unicode"
    segments = encoded.split(b"/")
    if not encoded:
        return "it is empty"
    if b"\0" in encoded:
        return "it contains a NUL character"
    if encoded.startswith(b"/"):
        return "it is an absolute path"
    if not all(segments):
        return "it has an empty segment"
    if any(segment in (b".", b"..") for segment in segments):
        return "it has a segment '.' or '..'"
    if any(len(segment) > NAME_MAX_BYTES for segment in segments):
        return f"a segment is longer than {NAME_MAX_BYTES} bytes"
    if len(container_path(name).encode()) >= PATH_MAX_BYTES:
        return f"its path is longer than {PATH_MAX_BYTES - 1} bytes"
    return None
