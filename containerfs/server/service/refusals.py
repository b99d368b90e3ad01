"""Refusals of the service, worded as the published API words them, where it does."""

from containerfs.server.errors import Conflict, NotFound, Overloaded
from containerfs.server.storage.records import RecordedAnswer


def no_container(id: str) -> NotFound:
    return NotFound(f"Container with id '{id}' not found.")


def no_container_file(container_id: str, id: str) -> NotFound:
    return NotFound(f"File {id} not found on container {container_id}")


def no_file(id: str, *, param: str = "id") -> NotFound:
    return NotFound(f"No such File object: {id}", param=param)


def ambiguous_name(name: str) -> Conflict:
    return Conflict(
        f"There is a file {name!r}, and this upload may be for another: the form escapes both names alike. "
        "To replace the file, delete it first, or send its name as 'filename*' as well.",
        param="file",
        code="ambiguous_file_name",
    )


def late_upload() -> Overloaded:
    return Overloaded("The upload took too long to be recorded; send it again.", code="upload_expired")


def same_request(answer: RecordedAnswer, digest: str) -> RecordedAnswer:
    if answer.digest != digest:
        raise Conflict("This Idempotency-Key was used with a different request.", code="idempotency_key_reused")
    return answer
