"""Exit statuses, by the kind of failure. 0 is success and 2 wrong usage, as in typer; 130 is an interrupt."""

from containerfs.api import errors
from containerfs.fs import types

FAILED, NOT_FOUND, ACCESS_DENIED, UNREACHABLE = 1, 3, 4, 5
INTERRUPTED = 130

_STATUS: tuple[tuple[type[Exception], int], ...] = (
    (types.NotFound, NOT_FOUND),
    (types.AccessDenied, ACCESS_DENIED),
    (types.Unreachable, UNREACHABLE),
    (errors.NotFoundError, NOT_FOUND),
    (errors.AuthenticationError, ACCESS_DENIED),
    (errors.PermissionDeniedError, ACCESS_DENIED),
    (errors.APIConnectionError, UNREACHABLE),
)


def reason(error: BaseException) -> str:
    """Return what to tell people about an error."""
    if isinstance(error, RuntimeError) and "start new thread" in str(error):
        error = types.NoThread(error)
    if isinstance(error, OSError) and error.strerror:
        return error.strerror if error.filename is None else f"{error.strerror}: {error.filename}"
    return str(error) or repr(error)


def status_of(error: Exception) -> int:
    """Return the exit status for an error."""
    return next((status for kind, status in _STATUS if isinstance(error, kind)), FAILED)
