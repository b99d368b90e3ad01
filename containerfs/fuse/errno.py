"""The table of error numbers: what programs see for each error of the file system. Source: errno(3)."""

import errno
import logging

from containerfs.fs import types

log = logging.getLogger(__name__)

_ERRNO: dict[type[types.FsError], int] = {
    types.NotFound: errno.ENOENT,
    types.AlreadyExists: errno.EEXIST,
    types.NotADirectory: errno.ENOTDIR,
    types.IsADirectory: errno.EISDIR,
    types.DirectoryNotEmpty: errno.ENOTEMPTY,
    types.NotPermitted: errno.EPERM,
    types.AccessDenied: errno.EACCES,
    types.ReadOnly: errno.EROFS,
    types.CrossDevice: errno.EXDEV,
    types.NotSupported: errno.EOPNOTSUPP,
    types.NoAttribute: errno.ENODATA,
    types.BadHandle: errno.EBADF,
    types.InvalidName: errno.EILSEQ,
    types.NameTooLong: errno.ENAMETOOLONG,
    types.NoSpace: errno.ENOSPC,
    types.TooLarge: errno.EFBIG,
    types.TooManyOpenFiles: errno.EMFILE,
    types.Gone: errno.ESTALE,
    types.Refused: errno.EIO,
    types.KeyConflict: errno.EIO,
    types.Unreachable: errno.EIO,
    types.AnswerLost: errno.EIO,
    types.Down: errno.EIO,
    types.Interrupted: errno.EINTR,
    types.Damaged: errno.EIO,
    types.Cancelled: errno.EIO,
    types.Failed: errno.EIO,
}


def errno_of(error: BaseException, operation: str) -> int:
    """Return the number for an error. Errors that programs see as EIO are explained in the log."""
    if isinstance(error, OSError) and error.errno:
        return error.errno
    if not isinstance(error, types.FsError):
        log.error("%s failed: %r", operation, error, exc_info=error)
        return errno.EIO
    number = _ERRNO.get(type(error), errno.EIO)
    if number == errno.EIO:
        log.warning("%s: %s", operation, error)
    return number
