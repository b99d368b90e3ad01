"""Names of uploaded files: which are taken, and what they are called in a container.

A name is a relative path of ordinary segments. All that Linux allows in a file name survives exactly; what could lead
out of the container, or could not be a file name at all, is refused.
"""

from containerfs.api.paths import DATA_ROOT, NAME_MAX_BYTES
from containerfs.server.errors import InvalidRequest

PATH_MAX_BYTES = 4096
"""The longest path that Linux takes. Source: limits.h, PATH_MAX."""


def checked_name(name: str, *, param: str = "file") -> str:
    """The name itself.

    Raises:
        InvalidRequest: if it is not a relative path without ``.``, ``..``, empty or over-long segments.
    """
    if problem := _problem(name):
        raise InvalidRequest(f"Invalid file name: {problem}.", param=param, code="invalid_file_name")
    return name


def is_directory(name: str) -> bool:
    """Whether a name is that of a directory, which is kept, without content, where no file makes it."""
    return name.endswith("/")


def checked_container_name(name: str, *, param: str = "file") -> str:
    """The same for a name in a container, where directories are, too. Raises InvalidRequest."""
    checked_name(name.removesuffix("/"), param=param)
    return name


def container_path(name: str) -> str:
    """Where an upload of this name lies in its container: ``a/b.txt`` at ``/mnt/data/a/b.txt``."""
    return DATA_ROOT + name


def file_name(path: str) -> str:
    """The inverse of ``container_path``."""
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
