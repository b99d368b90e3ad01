"""Translates the client's errors into the file system's, here and nowhere else.

For every error this answers two questions. Is it lasting, so that a retry is pointless? And if something was to be
stored, may it have been stored? If that is not certain, the error is ``AnswerLost``.
"""

from containerfs.api import errors
from containerfs.fs import types

_BY_STATUS: dict[int, type[types.FsError]] = {
    401: types.AccessDenied,
    403: types.AccessDenied,
    404: types.NotFound,
    408: types.Unreachable,
    409: types.Unreachable,
    410: types.NotFound,
    413: types.TooLarge,
    423: types.Failed,
    425: types.Failed,
    429: types.Failed,
    507: types.NoSpace,
}
"""Other statuses of 4xx are refusals. Those of 5xx often come from a proxy whose upstream is down."""


def translate(error: errors.APIError) -> types.FsError:
    """Return the file system's error for a call that stores nothing."""
    match error:
        case errors.APIConnectionError():
            return types.Unreachable(error.message)
        case errors.APIStatusError():
            return _kind(error)(error.message)
        case _:
            return types.Failed(error.message)


def translate_storing(error: errors.APIError) -> types.FsError:
    """Return the file system's error for an upload or a copy: ``AnswerLost`` unless it is certain that nothing was
    stored."""
    if isinstance(error, errors.APIConnectionError) and not error.sent:
        return types.Unreachable(error.message)
    translated = translate(error)
    if isinstance(translated, types.Unreachable) or isinstance(error, errors.APIResponseValidationError):
        return types.AnswerLost(error.message)
    return translated


def _kind(error: errors.APIStatusError) -> type[types.FsError]:
    if isinstance(error, errors.BadRequestError) and "expired" in error.message.lower():
        return types.NotFound
    if isinstance(error, errors.ConflictError) and error.code == "idempotency_key_reused":
        return types.KeyConflict
    if error.status_code in _BY_STATUS:
        return _BY_STATUS[error.status_code]
    return types.Unreachable if error.status_code >= 500 else types.Refused
